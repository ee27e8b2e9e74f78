"""The memory of the telemetry process, asked over its socket; while that process is away, what its log has."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import pyarrow as pa

from backend.telemetry.intake.link import ProcessAway, ask_blocking, socket_path
from backend.telemetry.model import TelemetryUnusable
from backend.telemetry.store import Chunk, Recovered, from_table

log = logging.getLogger("carme.telemetry")

ANSWER_S = 15.0
WORD_S = 5.0  # its word on itself: a few numbers, which wait for nothing
STATE_S = 2.0  # how long that is used again
HANGS_S = 10.0  # how long one that took a question and gave no answer is not asked again: a page asks many

T = TypeVar("T")


class Remote:
    """`Memory` of another process. Safe in several threads; blocks. Away and back are logged once each."""

    def __init__(self, data_dir: Path, now: Callable[[], float] = time.time) -> None:
        self._socket = socket_path(data_dir)
        self._recovered = Recovered(data_dir / "telemetry")
        self._now = now
        self._lock = Lock()
        self._away_since_s: float | None = None
        self._state: tuple[float, dict[str, Any]] | None = None
        self._hung_at_s: float | None = None  # monotonic

    @property
    def newest_s(self) -> float | None:
        """The newest sample of all."""
        state = self._told()
        return self._recovered.newest_s if state is None else state["newest_s"]

    @property
    def trouble(self) -> tuple[str, float | None] | None:
        """What is wrong with the process, in words, and since when."""
        state = self._told()
        if state is None:
            return str(ProcessAway()), self._away_since_s
        return (state["error"], state["error_since_s"]) if state["error"] else None

    @property
    def counts(self) -> dict[str, int]:
        """Batches taken, their values, batches refused, since the process was started; empty while it is away."""
        state = self._told()
        return {} if state is None else {name: state[name] for name in ("batches", "values", "refused")}

    def chunks(self, cluster: str, job_id: int) -> list[Chunk]:
        """The job's samples that are in no file yet."""
        asked = self._ask({"do": "chunks", "cluster": cluster, "job_id": job_id})
        if asked is None:
            return self._recovered.chunks(cluster, job_id)
        return list(from_table(_table(asked[1])))

    def footprints(self, cluster: str | None, jobs: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """Rows of FOOTPRINTS of attempts that run or ended not long ago."""
        asked = self._ask({"do": "footprints", "cluster": cluster, "jobs": None if jobs is None else list(jobs)})
        if asked is None:
            return self._recovered.footprints(cluster, jobs)
        rows: list[dict[str, Any]] = _table(asked[1]).to_pylist()
        return rows

    def _told(self) -> dict[str, Any] | None:
        known = self._state
        if known is not None and time.monotonic() - known[0] < STATE_S:
            return known[1]
        asked = self._ask({"do": "state"}, WORD_S)
        if asked is None:
            return None
        self._state = (time.monotonic(), asked[0])
        return asked[0]

    def _ask(self, head: dict[str, Any], timeout_s: float | None = None) -> tuple[dict[str, Any], bytes] | None:
        """None while the process is away. One that hung is not waited for as long a second time."""
        hung_at_s = self._hung_at_s
        if hung_at_s is not None and time.monotonic() - hung_at_s < HANGS_S:
            return None
        if timeout_s is None:
            timeout_s = ANSWER_S if hung_at_s is None else WORD_S
        try:
            answer = ask_blocking(self._socket, head, timeout_s)
        except ProcessAway as away:
            with self._lock:
                self._hung_at_s = time.monotonic() if isinstance(away.__cause__, TimeoutError) else None
                if self._away_since_s is None:
                    self._away_since_s = self._now()
                    log.warning("%s What is on disk is shown.", away)
            return None
        with self._lock:
            self._hung_at_s = None
            if self._away_since_s is not None:
                self._away_since_s = None
                log.warning("the telemetry process answers again")
        return answer


def _table(data: bytes) -> pa.Table:
    try:
        with pa.ipc.open_stream(data) as source:
            return source.read_all()
    except pa.ArrowException as error:
        raise TelemetryUnusable(f"The telemetry process was not understood: {error}") from error
