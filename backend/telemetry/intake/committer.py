"""Writes to the log in a thread of its own: all batches that came during one write go to disk in the next together."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Sequence

from backend.telemetry.model import TelemetryUnusable
from backend.telemetry.store import Batch, JobFacts, Store

MOST_TOGETHER = 512
Waiting = tuple[Sequence[JobFacts | Batch], asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class Committer:
    """`commit` returns when it is on disk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    async def commit(self, records: Sequence[JobFacts | Batch]) -> None:
        """Have the records on disk and in memory. Raises TelemetryUnusable: then none of them is."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.put((records, loop, done))
        await done

    def close(self) -> None:
        """Write what is waiting, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        over = False
        while not over:
            group = [self._waiting.get()]
            while len(group) < MOST_TOGETHER and not self._waiting.empty():
                group.append(self._waiting.get())
            over = None in group
            self._write([item for item in group if item is not None])

    def _write(self, group: list[Waiting]) -> None:
        if not group:
            return
        failure: Exception | None = None
        try:
            self._store.append([record for records, _, _ in group for record in records])
        except TelemetryUnusable as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it, and the thread goes on
            failure = TelemetryUnusable(f"The samples can't be written: {error!r}")
        for _, loop, done in group:
            loop.call_soon_threadsafe(_settle, done, failure)


def _settle(done: asyncio.Future[None], failure: Exception | None) -> None:
    if done.done():  # whoever waited has gone
        return
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)
