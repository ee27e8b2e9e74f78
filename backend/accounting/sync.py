"""Keeping the warehouse up to date with where the accounts come from. The collector process runs `Accountant`."""

from __future__ import annotations

import fcntl
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from backend.accounting.dbd import SlurmdbdSource, SourceError
from backend.accounting.local import LocalSource
from backend.accounting.rounds import Progress, Queue, Round, Source, Stopped
from backend.accounting.warehouse import Warehouse, WarehouseBusy, WarehouseUnusable
from backend.cluster import SnapshotReader
from backend.store import Database
from backend.store.models import Session
from config import Settings

log = logging.getLogger(__name__)

FRESH_S = 600  # an older picture of the queue says nothing about which jobs are gone
IDS_AT_ONCE = 500
LOCK = "sync.lock"


class SyncBusy(Exception):
    """Another process is bringing the accounts up to date."""


class NothingToSync(Exception):
    """The accounts come by import only."""


def warehouse_folder(settings: Settings) -> Path:
    """Where the warehouse of this instance is."""
    return settings.instance.data_dir / "accounting"


def open_source(settings: Settings) -> Source | None:
    """Where the settings say that accounts come from; None: by import only."""
    if settings.accounting.source == "slurmdbd":
        return SlurmdbdSource(settings)
    if settings.accounting.source == "local":
        return LocalSource(settings)
    return None


class Accountant:
    """Brings the warehouse up to date every so often. `snapshots`: what the scheduler knows, as published."""

    def __init__(self, settings: Settings, snapshots: SnapshotReader, db: Database) -> None:
        self.settings = settings
        self.snapshots = snapshots
        self._db = db
        self._said: dict[str, str] = {}  # by cluster: what went wrong the last time, which is logged once
        self._failed = ""

    def run(self, stop: threading.Event) -> None:
        """Until told to stop. What goes wrong is said in the warehouse's state, and never the end of it."""
        if self.settings.accounting.source == "import":
            return
        source: Source | None = None
        try:
            while not stop.is_set():
                began = time.monotonic()
                source = source or self._opened()
                if source is not None:
                    self._once(source, stop)
                stop.wait(max(1.0, self.settings.accounting.sync_every_s - (time.monotonic() - began)))
        finally:
            if source is not None:
                source.close()

    def _opened(self) -> Source | None:
        try:
            return open_source(self.settings)
        except Exception as error:  # noqa: BLE001 - logged there, and tried again the next round
            self._note(error)
            return None

    def _once(self, source: Source, stop: threading.Event) -> None:
        try:
            self.sync(source, stop)
        except SyncBusy:
            log.info("the accounts are being brought up to date by another process")
        except Exception as error:  # noqa: BLE001 - logged there; a defect must not end the loop
            self._note(error)
        else:
            self._failed = ""

    def _note(self, error: Exception) -> None:
        """Every round meets a lasting failure: it is logged once."""
        if self._failed != repr(error):
            log.exception("the accounts could not be brought up to date")
        self._failed = repr(error)

    def sync(
        self,
        source: Source,
        stop: threading.Event,
        *,
        rebuild: bool = False,
        progress: Progress | None = None,
    ) -> Mapping[str, str]:
        """One round over all clusters; gives the error of each that failed ("" is the source as a whole).

        Raises SyncBusy.
        """
        folder = warehouse_folder(self.settings)
        errors: dict[str, str] = {}
        with _only_one(folder):
            warehouse = Warehouse(folder, self.settings.accounting.memory_mb)
            turn = Round(
                warehouse=warehouse,
                zone=self.settings.instance.time_zone,
                queue=self._queue,
                apps=self._apps,
                stop=stop,
                rebuild=rebuild,
                **({"progress": progress} if progress else {}),
            )
            try:
                for cluster in source.clusters():
                    try:
                        source.bring(cluster, turn)
                    except (SourceError, WarehouseBusy, WarehouseUnusable, OSError) as error:
                        errors[cluster] = str(error)
                    except SQLAlchemyError as error:
                        errors[cluster] = f"The console's database can't be asked: {error}".partition("\n")[0]
            except SourceError as error:
                errors |= dict.fromkeys(self._blamed(source, warehouse) or [""], str(error))
            except Stopped:
                pass
            finally:
                try:
                    for cluster, words in errors.items():
                        self._tell(turn, source, cluster, words)
                finally:
                    self._said = errors
                    warehouse.close()
        return errors

    def _blamed(self, source: Source, warehouse: Warehouse) -> list[str]:
        """The clusters whose accounts stand still when the source as a whole can't be read."""
        try:
            warehouse.refresh()
        except WarehouseUnusable as error:
            log.warning("accounts: %s", error)
        known = [name for name, state in warehouse.state.clusters.items() if state.source == source.name]
        if known:
            return known
        self.snapshots.refresh()
        name = self.settings.scheduler.cluster or self.snapshots.current.cluster
        return [name] if name else []

    def _tell(self, turn: Round, source: Source, cluster: str, words: str) -> None:
        """Write down why a cluster's accounts stand still, once."""
        said = self._said.get(cluster) == words
        if not said:
            log.warning("accounts of %s: %s", cluster or source.name, words)
        try:
            if not cluster or turn.state(cluster).error == words:
                return
            since_s = turn.state(cluster).error_since_s or int(time.time())
            with Warehouse.write(turn.warehouse.folder, turn.zone, wait_s=5.0) as writer:
                writer.set_state(cluster, source=source.name, error=words, error_since_s=since_s)
                writer.commit()
        except (WarehouseBusy, WarehouseUnusable) as error:
            if not said:
                log.warning("accounts of %s: %s", cluster, error)

    def _queue(self, cluster: str) -> Queue | None:
        self.snapshots.refresh()
        snapshot = self.snapshots.clusters.get(cluster)
        if snapshot is None or snapshot.jobs.error or snapshot.jobs.taken_s is None:
            return None
        if time.time() - snapshot.jobs.taken_s > FRESH_S:
            return None
        ids = set(snapshot.jobs.table["job_id"].to_pylist())
        ids.update(snapshot.jobs.table["array_job_id"].drop_null().to_pylist())
        return Queue(frozenset(ids), int(snapshot.jobs.taken_s))

    def _apps(self, identities: Sequence[str], cluster: str) -> dict[str, tuple[int, str]]:
        found: dict[str, tuple[int, str]] = {}
        wanted = sorted(set(identities))
        with self._db.read() as look:
            for at in range(0, len(wanted), IDS_AT_ONCE):
                rows = look.execute(
                    select(Session.id, Session.uid, Session.request).where(
                        Session.id.in_(wanted[at : at + IDS_AT_ONCE]), Session.cluster == cluster
                    )
                )
                found |= {identity: (uid, app) for identity, uid, asked in rows if (app := asked.get("app"))}
        return found


def sync_once(
    settings: Settings,
    db: Database,
    *,
    rebuild: bool = False,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Mapping[str, str]:
    """One round now; gives the error of each cluster that failed. Raises SyncBusy, NothingToSync."""
    source = open_source(settings)
    if source is None:
        raise NothingToSync("accounting.source is import: accounts come by `carme import-sacct`.")
    accountant = Accountant(settings, SnapshotReader(settings.instance.data_dir / "snapshot"), db)
    try:
        return accountant.sync(source, stop or threading.Event(), rebuild=rebuild, progress=progress)
    finally:
        source.close()


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    with (folder / LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SyncBusy("Another process is bringing the accounts up to date.") from error
        yield


__all__ = ["Accountant", "NothingToSync", "SyncBusy", "open_source", "sync_once", "warehouse_folder"]
