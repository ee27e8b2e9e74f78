"""The thread that keeps sessions up to date: takes in each new snapshot, probes gateways, sends cancels."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from backend.cluster import SnapshotReader
from backend.launcher import Launcher, LauncherError
from backend.sessions.apps import base_path
from backend.sessions.life.probe import Gateway, probe
from backend.sessions.life.reconcile import Reconciler
from backend.sessions.life.registration import secret_of
from backend.sessions.life.rows import Contended, Row, Rows
from backend.sessions.life.scheduler import now_s, sight_of
from backend.sessions.person import unix_name
from backend.store import CONSOLE, NotDecrypted, SecretBox, audit
from config import Settings

log = logging.getLogger("carme.sessions")

TICK_S = 0.3
PASS_EVERY_S = 5.0
PROBE_EVERY_S = 2.0
SWEEP_EVERY_S = 3600.0
HELPERS = 8


class Watcher:
    """Reconciles and probes in a thread of its own; `wake()` from any thread makes it look at once."""

    def __init__(
        self,
        settings: Settings,
        rows: Rows,
        box: SecretBox,
        snapshots: SnapshotReader,
        launcher: Launcher,
        *,
        sweep: Callable[[], None],
    ) -> None:
        """`sweep` is called now and then to clear away what is old."""
        self._sweep = sweep
        self._settings = settings
        self._rows = rows
        self._box = box
        self._snapshots = snapshots
        self._launcher = launcher
        self._reconciler = Reconciler(rows, self._send_cancel)
        self._woken = threading.Event()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._helpers = ThreadPoolExecutor(HELPERS, thread_name_prefix="sessions")
        self._versions: dict[str, int] = {}
        self._pass_at = 0.0
        self._swept_at = time.monotonic()
        self._probing: dict[str, Future[None]] = {}
        self._probed_at: dict[str, float] = {}

    def start(self) -> None:
        """Begin; once a process."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sessions", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._over.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
        self._helpers.shutdown(wait=False, cancel_futures=True)

    def wake(self) -> None:
        """Something happened that the next look should not wait for."""
        self._woken.set()

    def _run(self) -> None:
        failing = False
        while not self._over.is_set():
            woken = self._woken.wait(TICK_S)
            self._woken.clear()
            try:
                self.look(force=woken)
                failing = False
            except (SQLAlchemyError, OSError, Contended) as error:
                if not failing:  # the database or the disk is away: said once, tried again at every tick
                    log.exception("sessions can't be brought up to date: %s", type(error).__name__)
                failing = True

    def look(self, force: bool = True) -> None:
        """One tick: take in what is new; `force` also when nothing is."""
        self._snapshots.refresh()
        clusters = dict(self._snapshots.clusters)
        versions = {name: snapshot.version for name, snapshot in clusters.items()}
        due = time.monotonic() - self._pass_at >= PASS_EVERY_S
        if not (force or due or versions != self._versions):
            return
        self._versions = versions
        self._pass_at = time.monotonic()
        for snapshot in clusters.values():
            self._reconciler.run(snapshot, sight_of(snapshot))
        self._probe_all()
        if time.monotonic() - self._swept_at >= SWEEP_EVERY_S:
            self._swept_at = time.monotonic()
            self._sweep()

    def _probe_all(self) -> None:
        starting = [row for row in self._rows.live() if row.state == "starting"]
        self._probed_at = {row.id: self._probed_at.get(row.id, 0.0) for row in starting}
        self._probing = {key: future for key, future in self._probing.items() if not future.done()}
        for row in starting:
            if not (row.confirmed and row.address and row.port) or row.id in self._probing:
                continue
            told_ready = "ready" in row.apps.values()
            if told_ready or time.monotonic() - self._probed_at[row.id] >= PROBE_EVERY_S:
                self._probed_at[row.id] = time.monotonic()
                self._probing[row.id] = self._helpers.submit(self._probe, row)

    def _probe(self, row: Row) -> None:
        try:
            secret = secret_of(self._box, row)
        except NotDecrypted:
            log.exception("the secret of session %s can't be read", row.id)
            return
        gateway = Gateway(str(row.address), int(row.port or 0), row.tls_fingerprint, secret)
        apps = {app: probe(gateway, app, base_path(row.id, app)) for app in row.apps}
        if "stranger" in apps.values():
            log.warning("something that is not session %s answers at its port", row.id)
        if "ready" not in apps.values():
            return

        def decide(fresh: Row) -> dict[str, Any]:
            if fresh.state != "starting" or (fresh.address, fresh.port) != (row.address, row.port):
                return {}
            states = {name: "ready" if apps.get(name) == "ready" else old for name, old in fresh.apps.items()}
            return {"state": "ready", "ready_s": fresh.ready_s or now_s(), "apps": states}

        self._rows.change(row.id, decide)

    def _send_cancel(self, row: Row, job_id: int | None) -> None:
        self._helpers.submit(self.cancel_now, row, job_id)

    def cancel_now(self, row: Row, job_id: int | None) -> None:
        """Ask the scheduler, as the person, to cancel. A failure is logged; the next look tries again."""
        target: dict[str, Any] = {"session": row.id} if job_id is None else {"job_id": job_id}
        try:
            user = unix_name(self._settings, row.owner, row.uid)
            self._launcher.call_blocking(user, "cancel", **target)
        except (LauncherError, KeyError) as error:
            log.warning("session %s could not be cancelled yet: %s", row.id, error)
        self._snapshots.kick()


def stop_note(row: Row, actor: str, address: str) -> Any:
    """The audit line of a stop, for the transaction that records it."""
    return lambda tx: audit(tx, actor or CONSOLE, "session.stop", row.id, address=address, owner=row.owner)
