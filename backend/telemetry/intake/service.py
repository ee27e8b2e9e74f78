"""The telemetry process: takes samples in, answers what is in its memory, and keeps the store in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa

from backend.cluster import SnapshotReader
from backend.sessions.life.rows import Rows
from backend.starting import CantStart
from backend.store import Database, SecretBox
from backend.telemetry.intake.committer import Committer
from backend.telemetry.intake.keeping import Housekeeper, keeping_of
from backend.telemetry.intake.keys import Keys
from backend.telemetry.intake.link import HEAD_LIMIT_BYTES, message, receive, socket_path
from backend.telemetry.intake.rights import Rights
from backend.telemetry.intake.sight import JobsNow
from backend.telemetry.intake.taking import Taking
from backend.telemetry.intake.wire import MOST_SENT_BYTES
from backend.telemetry.model import TelemetryUnusable
from backend.telemetry.store import Store, StoreBusy, chunk_table, footprint_table
from config import Settings

log = logging.getLogger("carme.telemetry")

AT_ONCE = 2048  # connections; a web process opens one for each batch it relays
STOP_GRACE_S = 5.0


class TelemetryStartError(CantStart):
    """The telemetry process can't start; the message says what to change."""


class Service:
    """Answers on the socket."""

    def __init__(self, store: Store, taking: Taking, housekeeper: Housekeeper) -> None:
        self._store, self._taking, self._housekeeper = store, taking, housekeeper
        self._connections = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: questions, one after another."""
        self._connections += 1
        try:
            while (asked := await receive(reader, MOST_SENT_BYTES + 1)) is not None:
                head, body = await self._answer(*asked)
                writer.write(message(head, body))
                await writer.drain()
        except (OSError, ValueError, EOFError, KeyError, TypeError):
            log.info("a connection was lost, or made no sense")
        finally:
            self._connections -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        if head["do"] == "take":
            if self._connections > AT_ONCE:
                return {"status": 503, "retry_after_s": 10}, b""
            taken = await self._taking.take(head["sender"], head["mac"], body)
            return {"status": taken.status, "retry_after_s": taken.retry_after_s}, taken.body
        if head["do"] == "chunks":
            return {}, await asyncio.to_thread(self._chunks, head["cluster"], head["job_id"])
        if head["do"] == "footprints":
            return {}, await asyncio.to_thread(self._footprints, head["cluster"], head["jobs"])
        if head["do"] == "state":
            return self._state(), b""
        raise ValueError(head["do"])

    def _chunks(self, cluster: str, job_id: int) -> bytes:
        return _ipc(chunk_table(self._store.chunks(cluster, job_id)))

    def _footprints(self, cluster: str | None, jobs: list[int] | None) -> bytes:
        return _ipc(footprint_table(self._store.footprints(cluster, jobs)))

    def _state(self) -> dict[str, Any]:
        trouble = self._taking.trouble or self._housekeeper.trouble
        return {
            "newest_s": self._store.newest_s,
            "error": trouble and trouble[0],
            "error_since_s": trouble and trouble[1],
            "batches": self._taking.batches,
            "values": self._taking.values,
            "refused": self._taking.refused,
        }


def _ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop`. Raises TelemetryStartError."""
    data_dir = settings.instance.data_dir
    try:
        store = await asyncio.to_thread(Store, data_dir / "telemetry", keeping_of(settings))
    except StoreBusy as error:
        raise TelemetryStartError(str(error)) from error
    except TelemetryUnusable as error:
        raise TelemetryStartError(f"{error} (docs/telemetry.md says what may be removed)") from error
    db = Database(settings.store.url)
    box = SecretBox(data_dir, settings.store.key, settings.store.key_file)
    jobs = JobsNow(SnapshotReader(data_dir / "snapshot"))
    rights = Rights(jobs, store)
    committer = Committer(store)
    keys = Keys(Rows(db), box, settings.telemetry.node_key_file)
    housekeeper = Housekeeper(store, jobs, rights, data_dir / "accounting")
    service = Service(store, Taking(store, keys, rights, committer), housekeeper)
    path = socket_path(data_dir)
    server = await _listen(service, path)
    log.info("telemetry at %s", path)
    try:
        housekeeper.start()
        await stop.wait()
    finally:
        server.close()
        await asyncio.to_thread(housekeeper.stop, STOP_GRACE_S)
        await asyncio.to_thread(committer.close)
        store.close()
        db.close()
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def _make_way(path: Path) -> None:
    """The store's lock is ours: whatever socket is here is of a process that has died."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)


async def _listen(service: Service, path: Path) -> asyncio.Server:
    await asyncio.to_thread(_make_way, path)
    before = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(
            service.connected, str(path), limit=HEAD_LIMIT_BYTES, backlog=1024
        )
    except OSError as error:
        raise TelemetryStartError(f"{path}: {error.strerror or error}") from error
    finally:
        os.umask(before)


def run_telemetry(settings: Settings) -> None:
    """Run the telemetry process until SIGTERM or SIGINT. Raises TelemetryStartError."""
    if settings.telemetry.source != "embedded":
        raise TelemetryStartError('telemetry.source is "prometheus": nothing is kept here, and no process is needed')

    async def until_told() -> None:
        stop = asyncio.Event()
        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(each, stop.set)
        await serve(settings, stop)

    asyncio.run(until_told())


