"""The collector: one question at a time, few of them, and an outage that shows.

Fakes: `Quiet` answers with what it is given and counts; `Away` raises; `Slow` takes its time.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from backend.cluster import ENDED, JOBS, SCHEMAS, SchedulerAway, Snapshot, SnapshotReader, SnapshotWriter
from backend.cluster.clock import Clock, Kicks, Task
from backend.cluster.collector import Collector, CollectorRunning, _only_one
from backend.cluster.looks import Looks
from backend.cluster.needs import SessionJob
from backend.cluster.protocol import Intervals, LimitsReading, Reading
from tests.unit.cluster_kit import job_row

OFTEN = Intervals(jobs_s=0.3, nodes_s=0.5, partitions_s=0.5, reservations_s=0.5, limits_s=0.5, waiting_s=0.1)
SELDOM = Intervals(jobs_s=60, nodes_s=60, partitions_s=60, reservations_s=60, limits_s=60, waiting_s=0.2)


class Quiet:
    """A scheduler that answers at once and counts what it is asked."""

    def __init__(self, intervals: Intervals = OFTEN) -> None:
        self.intervals = intervals
        self.asked: Counter[str] = Counter()
        self.jobs: list[dict[str, Any]] = []
        self.ended: list[dict[str, Any]] = []
        self.asked_ids: list[list[int]] = []
        self.away = False
        self.takes_s = 0.0
        self.at_once = 0
        self.most_at_once = 0

    def cluster(self) -> str:
        return "fake"

    def _answer(self, name: str, rows: list[dict[str, Any]] | None = None) -> Reading:
        self.asked[name] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.takes_s)
        self.at_once -= 1
        if self.away:
            raise SchedulerAway("Slurm does not answer: connection refused")
        return Reading(pa.Table.from_pylist(rows or [], schema=SCHEMAS[name]))

    def read_jobs(self) -> Reading:
        return self._answer("jobs", self.jobs)

    def read_nodes(self) -> Reading:
        return self._answer("nodes")

    def read_partitions(self) -> Reading:
        return self._answer("partitions")

    def read_reservations(self) -> Reading:
        return self._answer("reservations")

    def read_limits(self) -> LimitsReading:
        return LimitsReading(*(self._answer(name) for name in ("qos", "associations", "accounts")))

    def read_waiting(self, job_ids: Iterable[int]) -> Reading:
        wanted = sorted(job_ids)
        self.asked_ids.append(wanted)
        return self._answer("waiting", [row for row in self.jobs if row["job_id"] in wanted])

    def read_ended(self, job_ids: Iterable[int]) -> Reading:
        wanted = sorted(job_ids)
        return self._answer("ended", [row for row in self.ended if row["job_id"] in wanted])


class Sessions:
    """The console's live sessions."""

    def __init__(self, *jobs: SessionJob) -> None:
        self.jobs = list(jobs)

    def __call__(self) -> list[SessionJob]:
        return list(self.jobs)


@contextmanager
def collecting(scheduler: Quiet, folder: Path, sessions: Sessions | None = None) -> Iterator[SnapshotReader]:
    stop = threading.Event()
    collector = Collector(scheduler, folder, sessions or Sessions())
    thread = threading.Thread(target=collector.run, args=(stop,))
    thread.start()
    try:
        yield SnapshotReader(folder)
    finally:
        stop.set()
        thread.join()


def until(reader: SnapshotReader, holds: Any, timeout_s: float = 8.0) -> Snapshot:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        reader.refresh()
        if holds(reader.current):
            return reader.current
        time.sleep(0.02)
    raise AssertionError(f"it never came: {reader.current.jobs}")


def test_every_part_is_published(tmp_path: Path) -> None:
    scheduler = Quiet()
    scheduler.jobs = [job_row(1)]
    with collecting(scheduler, tmp_path) as reader:
        parts = [name for name in SCHEMAS if name != "ended"]
        seen = until(reader, lambda now: all(getattr(now, name).taken_s for name in parts))
    assert seen.jobs.table["job_id"].to_pylist() == [1]
    assert seen.jobs.every_s == 0.3


def test_an_outage_shows_since_when_and_passes(tmp_path: Path) -> None:
    scheduler = Quiet()
    scheduler.jobs = [job_row(1)]
    with collecting(scheduler, tmp_path) as reader:
        until(reader, lambda now: now.jobs.table.num_rows == 1)
        began_s = time.time()
        scheduler.away = True
        seen = until(reader, lambda now: now.jobs.error)
        assert seen.jobs.table.num_rows == 1
        assert seen.jobs.error == "Slurm does not answer: connection refused"
        assert seen.jobs.failing_since_s is not None and seen.jobs.failing_since_s >= began_s - 1
        since_s = seen.jobs.failing_since_s
        time.sleep(0.8)
        reader.refresh()
        assert reader.current.jobs.failing_since_s == since_s
        scheduler.away = False
        until(reader, lambda now: now.jobs.error is None and (now.jobs.taken_s or 0) > since_s)


def test_a_slow_scheduler_is_never_asked_twice_at_once(tmp_path: Path) -> None:
    scheduler = Quiet(Intervals(0.05, 60, 60, 60, 60, 0.05))
    scheduler.takes_s = 0.4
    with collecting(scheduler, tmp_path) as reader:
        until(reader, lambda now: now.jobs.taken_s)
        scheduler.asked.clear()
        time.sleep(1.3)
    assert scheduler.asked["jobs"] <= 4


def test_nobody_waiting_means_no_question_for_the_waiting(tmp_path: Path) -> None:
    scheduler = Quiet(SELDOM)
    with collecting(scheduler, tmp_path, Sessions(SessionJob("a", 1, waiting=False))) as reader:
        until(reader, lambda now: now.jobs.taken_s)
        time.sleep(0.6)
    assert scheduler.asked["waiting"] == 0


def test_all_waiting_sessions_share_one_question(tmp_path: Path) -> None:
    scheduler = Quiet(SELDOM)
    sessions = Sessions(*(SessionJob(str(n), n, waiting=True) for n in range(1, 51)))
    scheduler.jobs = [job_row(n) for n in range(1, 51)]
    with collecting(scheduler, tmp_path, sessions) as reader:
        until(reader, lambda now: now.waiting.table.num_rows == 50)
        scheduler.jobs[0]["state"] = "RUNNING"
        until(reader, lambda now: "RUNNING" in now.waiting.table["state"].to_pylist())
    assert scheduler.asked["jobs"] == 1
    assert all(ids == list(range(1, 51)) for ids in scheduler.asked_ids)


def test_the_look_at_the_queue_serves_the_waiting_too(tmp_path: Path) -> None:
    scheduler = Quiet()
    looks = Looks(
        Quiet(Intervals(60, 60, 60, 60, 60, 60)),
        SnapshotWriter(tmp_path, "fake", {}),
        Sessions(SessionJob("a", 1, True)),
    )
    looks.scheduler.jobs = scheduler.jobs = [job_row(1), job_row(2)]  # type: ignore[attr-defined]
    looks.jobs()
    looks.waiting()
    reader = SnapshotReader(tmp_path)
    reader.refresh()
    assert reader.current.waiting.table["job_id"].to_pylist() == [1]
    assert looks.scheduler.asked["waiting"] == 0  # type: ignore[attr-defined]


def test_a_job_that_left_the_queue_is_looked_up_until_its_end_is_known(tmp_path: Path) -> None:
    scheduler = Quiet(Intervals(0.2, 60, 60, 60, 60, 0.2))
    sessions = Sessions(SessionJob("a", 1, waiting=False))
    scheduler.jobs = [job_row(1, state="RUNNING"), job_row(2)]
    with collecting(scheduler, tmp_path, sessions) as reader:
        until(reader, lambda now: now.jobs.table.num_rows == 2)
        assert scheduler.asked["ended"] == 0
        scheduler.jobs = [job_row(1, state="COMPLETED", exit_code="0:0"), job_row(2)]
        until(reader, lambda now: scheduler.asked["ended"] >= 1)
        scheduler.ended = [{"job_id": 1, "state": "COMPLETED", "end_s": 1_795_351_200, "exit_code": "0:0"}]
        seen = until(reader, lambda now: now.ended.table.num_rows == 1)
        asked = scheduler.asked["ended"]
        time.sleep(1.5)
        assert scheduler.asked["ended"] == asked
    assert seen.ended.table.schema == ENDED
    assert asked <= 3


def test_a_missing_job_is_believed_missing_only_after_a_while(tmp_path: Path) -> None:
    scheduler = Quiet(Intervals(0.2, 60, 60, 60, 60, 0.2))
    with collecting(scheduler, tmp_path, Sessions(SessionJob("a", 77, waiting=True))) as reader:
        until(reader, lambda now: now.jobs.taken_s)
        time.sleep(1.0)
        assert scheduler.asked["ended"] == 0
        until(reader, lambda now: scheduler.asked["ended"] > 0)


def test_a_completing_job_is_not_over(tmp_path: Path) -> None:
    looks = Looks(Quiet(), SnapshotWriter(tmp_path, "fake", {}), Sessions(SessionJob("a", 1, False)))
    looks.scheduler.jobs = [job_row(1, state="COMPLETED", flags=["COMPLETING"])]  # type: ignore[attr-defined]
    looks.jobs()
    looks.ended()
    assert looks.scheduler.asked["ended"] == 0  # type: ignore[attr-defined]


def test_a_kick_brings_the_next_look_at_once(tmp_path: Path) -> None:
    scheduler = Quiet(SELDOM)
    with collecting(scheduler, tmp_path) as reader:
        until(reader, lambda now: now.jobs.taken_s)
        scheduler.jobs = [job_row(5)]
        began = time.monotonic()
        reader.kick()
        until(reader, lambda now: now.jobs.table.num_rows == 1)
        assert time.monotonic() - began < 1.0


def test_many_kicks_are_few_looks(tmp_path: Path) -> None:
    scheduler = Quiet(SELDOM)
    with collecting(scheduler, tmp_path) as reader:
        until(reader, lambda now: now.jobs.taken_s)
        for _ in range(60):
            reader.kick()
            time.sleep(0.03)
    assert scheduler.asked["jobs"] <= 5


def test_a_kick_during_a_look_is_followed_by_another_look(tmp_path: Path) -> None:
    scheduler = Quiet(SELDOM)
    with collecting(scheduler, tmp_path) as reader:
        until(reader, lambda now: now.jobs.taken_s)
        scheduler.takes_s = 0.5
        reader.kick()
        time.sleep(0.25)
        reader.kick()
        time.sleep(1.4)
    assert scheduler.asked["jobs"] == 3


def test_an_unexpected_error_of_one_task_stops_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ran: Counter[str] = Counter()

    def bad() -> None:
        ran["bad"] += 1
        raise RuntimeError("boom")

    def good() -> None:
        ran["good"] += 1

    stop = threading.Event()
    clock = Clock([Task("bad", 0.05, bad), Task("good", 0.05, good)], Kicks(tmp_path / "kick"), kicked="good")
    thread = threading.Thread(target=clock.run, args=(stop,))
    thread.start()
    time.sleep(0.8)
    stop.set()
    thread.join()
    assert ran["good"] >= 3 and ran["bad"] >= 3
    assert caplog.text.count("looking at bad failed") == 1


def test_two_collectors_never_serve_one_folder(tmp_path: Path) -> None:
    with (
        _only_one(tmp_path / "collector.lock"),
        pytest.raises(CollectorRunning),
        _only_one(tmp_path / "collector.lock"),
    ):
        pass
    with _only_one(tmp_path / "collector.lock"):
        pass


def test_the_waiting_part_has_the_schema_of_jobs(tmp_path: Path) -> None:
    SnapshotWriter(tmp_path, "fake", {}).publish("waiting", JOBS.empty_table(), taken_s=1.0, duration_s=0.0)
    reader = SnapshotReader(tmp_path)
    reader.refresh()
    assert reader.current.waiting.error is None
