"""The looks of the collector: each asks the scheduler once and publishes the answer, or why there is none."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from backend.cluster.model import ENDED, ENDED_STATES, JOBS
from backend.cluster.needs import SessionJob, SessionJobs
from backend.cluster.protocol import Reading, Scheduler, SchedulerError
from backend.cluster.snapshot import SnapshotWriter

log = logging.getLogger(__name__)

GRACE_S = 3.0  # a job that was just submitted may be missing in a queue that was asked for before
FIRST_RETRY_S = 2.0  # accounting learns of an end a moment later; asked again after this, doubled up to …
LAST_RETRY_S = 60.0
KEEP_S = 3600.0  # rows of ended jobs stay published this long after their session is over


class Looks:
    """What the collector knows of one cluster between two looks."""

    def __init__(self, scheduler: Scheduler, writer: SnapshotWriter, session_jobs: SessionJobs) -> None:
        self.scheduler = scheduler
        self.writer = writer
        self.session_jobs = session_jobs
        self._jobs = JOBS.empty_table()
        self._jobs_s = 0.0  # when the queue of `_jobs` was asked for
        self._waiting_s = 0.0  # when the waiting sessions' rows were asked for
        self._waiting: dict[int, str | None] = {}  # their states then; None: not in the queue
        self._shown: set[int] | None = None  # the jobs in the part `waiting` as published
        self._first_seen: dict[int, float] = {}
        self._ended: dict[int, _Ended] = {}

    # -- parts on their own clocks -----------------------------------------------------------------

    def jobs(self) -> None:
        asked_s = time.time()
        reading = self._read("jobs", self.scheduler.read_jobs)
        if reading is None:
            return
        self._jobs, self._jobs_s = reading.table, asked_s
        self._show_waiting(reading.table, self._waiting_ids(), asked_s, time.time() - asked_s)

    def nodes(self) -> None:
        self._read("nodes", self.scheduler.read_nodes)

    def partitions(self) -> None:
        self._read("partitions", self.scheduler.read_partitions)

    def reservations(self) -> None:
        self._read("reservations", self.scheduler.read_reservations)

    def limits(self) -> None:
        taken_s, started = time.time(), time.monotonic()
        try:
            limits = self.scheduler.read_limits()
        except SchedulerError as error:
            self._fail(("qos", "associations", "accounts"), error, taken_s)
            return
        duration_s = time.monotonic() - started
        for part, reading in (
            ("qos", limits.qos),
            ("associations", limits.associations),
            ("accounts", limits.accounts),
        ):
            self._publish(part, reading, taken_s, duration_s)

    def _read(self, part: str, read: Callable[[], Reading]) -> Reading | None:
        taken_s, started = time.time(), time.monotonic()
        try:
            reading = read()
        except SchedulerError as error:
            self._fail((part,), error, taken_s)
            return None
        self._publish(part, reading, taken_s, time.monotonic() - started)
        return reading

    def _publish(self, part: str, reading: Reading, taken_s: float, duration_s: float) -> None:
        for problem in reading.problems[:5]:
            log.warning("%s: %s", part, problem)
        self.writer.publish(part, reading.table, taken_s=taken_s, duration_s=duration_s, problems=reading.problems)

    def _fail(self, parts: Iterable[str], error: SchedulerError, now_s: float) -> None:
        for part in parts:
            if self.writer.fail(part, str(error), now_s):
                log.warning("%s can't be read: %s", part, error)

    # -- the console's own sessions ----------------------------------------------------------------

    def waiting(self) -> None:
        """One question for all waiting sessions, unless the whole queue has just been asked for."""
        now_s, started = time.time(), time.monotonic()
        if now_s - max(self._jobs_s, self._waiting_s) < self.scheduler.intervals.waiting_s:
            return
        wanted = self._waiting_ids()
        if not wanted:
            self._show_waiting(self._jobs, wanted, now_s, 0.0)
            return
        self._waiting_s = now_s
        try:
            reading = self.scheduler.read_waiting(wanted)
        except SchedulerError as error:
            self._fail(("waiting",), error, now_s)
            return
        found = _states(reading.table, wanted)
        self._waiting = {job_id: found.get(job_id) for job_id in wanted}
        self._show_waiting(reading.table, wanted, now_s, time.monotonic() - started)

    def _waiting_ids(self) -> set[int]:
        return {job.job_id for job in self.session_jobs() if job.waiting}

    def _show_waiting(self, jobs: pa.Table, wanted: set[int], taken_s: float, duration_s: float) -> None:
        if not wanted and self._shown == set():
            return
        rows = jobs.filter(pc.is_in(jobs["job_id"], value_set=pa.array(sorted(wanted), pa.int64())))
        self.writer.publish("waiting", rows, taken_s=taken_s, duration_s=duration_s)
        self._shown = wanted

    def ended(self) -> None:
        """Ask accounting about sessions' jobs that ended or left the queue, until it knows their end."""
        now_s = time.time()
        live = self.session_jobs()
        asking = [entry for entry in self._gone(live, now_s) if entry.due_s <= now_s]
        forgotten = self._forget(live, now_s)
        if not asking and not forgotten:
            return
        started = time.monotonic()
        if asking:
            try:
                reading = self.scheduler.read_ended([entry.job_id for entry in asking])
            except SchedulerError as error:
                self._fail(("ended",), error, now_s)
                for entry in asking:
                    entry.later(now_s)
                return
            for entry in asking:
                entry.take(reading.table, now_s)
        rows = [entry.rows for entry in self._ended.values()]
        table = pa.concat_tables(rows) if rows else ENDED.empty_table()
        self.writer.publish("ended", table, taken_s=now_s, duration_s=time.monotonic() - started)

    def _gone(self, live: list[SessionJob], now_s: float) -> list[_Ended]:
        """The jobs of live sessions that the queue shows as ended, or does not show any more."""
        if not self._jobs_s:
            return []
        states = _states(self._jobs, {job.job_id for job in live})
        gone = []
        for job in live:
            first_s = self._first_seen.setdefault(job.job_id, now_s)
            state, seen_s = states.get(job.job_id), self._jobs_s
            if self._waiting_s > self._jobs_s and job.job_id in self._waiting:
                state, seen_s = self._waiting[job.job_id], self._waiting_s
            missing = state is None and seen_s > first_s + GRACE_S
            if state in ENDED_STATES or missing:
                gone.append(self._ended.setdefault(job.job_id, _Ended(job.job_id)))
        return gone

    def _forget(self, live: list[SessionJob], now_s: float) -> bool:
        """Drop what belongs to sessions that were over long ago; True when something was."""
        wanted = {job.job_id for job in live}
        for job_id in wanted & self._ended.keys():
            self._ended[job_id].wanted_s = now_s
        old = [job_id for job_id, entry in self._ended.items() if now_s - entry.wanted_s > KEEP_S]
        for job_id in old:
            del self._ended[job_id]
        for job_id in self._first_seen.keys() - wanted - self._ended.keys():
            del self._first_seen[job_id]
        return bool(old)


def _states(jobs: pa.Table, job_ids: set[int]) -> dict[int, str]:
    """The states of some jobs; one that completes still counts as running."""
    wanted = pc.is_in(jobs["job_id"], value_set=pa.array(sorted(job_ids), pa.int64()))
    rows = jobs.select(["job_id", "state", "flags"]).filter(wanted).to_pylist()
    return {row["job_id"]: "RUNNING" if "COMPLETING" in row["flags"] else row["state"] for row in rows}


class _Ended:
    """One job that left: what accounting said, and when to ask again."""

    def __init__(self, job_id: int) -> None:
        self.job_id = job_id
        self.rows = ENDED.empty_table()
        self.due_s = 0.0
        self.wanted_s = time.time()
        self._retry_s = FIRST_RETRY_S

    def take(self, answer: pa.Table, now_s: float) -> None:
        self.rows = answer.filter(pc.equal(answer["job_id"], self.job_id))
        last = self.rows.slice(self.rows.num_rows - 1).to_pylist() if self.rows.num_rows else []
        if last and last[0]["end_s"] is not None and last[0]["state"] in ENDED_STATES:
            self.due_s = float("inf")
        else:
            self.later(now_s)

    def later(self, now_s: float) -> None:
        self.due_s = now_s + self._retry_s
        self._retry_s = min(LAST_RETRY_S, self._retry_s * 2)
