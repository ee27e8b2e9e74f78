"""The snapshot on disk: whole at every moment, cheap to watch, honest about its age."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from backend.cluster import JOBS, SCHEMAS, SnapshotReader, SnapshotWriter
from tests.unit.cluster_kit import job_row

EVERY = {"jobs": 10.0}


def jobs(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=JOBS)


@pytest.fixture
def writer(tmp_path: Path) -> SnapshotWriter:
    return SnapshotWriter(tmp_path, "alpha", EVERY)


def test_a_reader_sees_what_was_published(tmp_path: Path, writer: SnapshotWriter) -> None:
    reader = SnapshotReader(tmp_path)
    writer.publish("jobs", jobs(job_row(1)), taken_s=100.0, duration_s=0.5, problems=("row 3 …",))
    assert reader.refresh()
    part = reader.current.jobs
    assert part.table["job_id"].to_pylist() == [1]
    assert (part.taken_s, part.duration_s, part.every_s, part.error) == (100.0, 0.5, 10.0, None)
    assert part.problems == ("row 3 …",)
    assert reader.clusters["alpha"] is reader.current


def test_before_anything_was_published_all_is_empty(tmp_path: Path) -> None:
    reader = SnapshotReader(tmp_path / "absent")
    assert not reader.refresh()
    assert {getattr(reader.current, name).taken_s for name in SCHEMAS} == {None}
    assert reader.current.jobs.table.schema == JOBS


def test_nothing_new_is_no_news_and_the_same_objects(tmp_path: Path, writer: SnapshotWriter) -> None:
    reader = SnapshotReader(tmp_path)
    assert reader.refresh()
    before = reader.current
    assert not reader.refresh()
    assert reader.current is before


def test_a_failure_keeps_the_rows_and_says_since_when(tmp_path: Path, writer: SnapshotWriter) -> None:
    reader = SnapshotReader(tmp_path)
    writer.publish("jobs", jobs(job_row(1)), taken_s=100.0, duration_s=0.5)
    assert writer.fail("jobs", "Slurm does not answer", 110.0)
    assert not writer.fail("jobs", "Slurm does not answer", 120.0)
    writer.fail("jobs", "another error", 130.0)
    reader.refresh()
    part = reader.current.jobs
    assert part.table.num_rows == 1
    assert (part.taken_s, part.error, part.failing_since_s) == (100.0, "another error", 110.0)
    writer.publish("jobs", jobs(), taken_s=140.0, duration_s=0.5)
    reader.refresh()
    part = reader.current.jobs
    assert (part.taken_s, part.error, part.failing_since_s) == (140.0, None, None)


def test_another_writer_goes_on_where_the_first_died(tmp_path: Path, writer: SnapshotWriter) -> None:
    writer.publish("jobs", jobs(job_row(1)), taken_s=100.0, duration_s=0.5)
    writer.fail("nodes", "away", 110.0)
    reader = SnapshotReader(tmp_path)
    reader.refresh()
    version = reader.current.version
    SnapshotWriter(tmp_path, "alpha", EVERY)
    assert reader.refresh()
    assert reader.current.version > version
    assert reader.current.jobs.table.num_rows == 1
    assert reader.current.nodes.failing_since_s == 110.0


def test_untouched_parts_are_not_read_again(tmp_path: Path, writer: SnapshotWriter) -> None:
    writer.publish("jobs", jobs(job_row(1)), taken_s=100.0, duration_s=0.5)
    reader = SnapshotReader(tmp_path)
    reader.refresh()
    table = reader.current.jobs.table
    writer.fail("nodes", "away", 110.0)
    reader.refresh()
    assert reader.current.jobs.table is table


def test_rows_are_mapped_not_copied(tmp_path: Path, writer: SnapshotWriter) -> None:
    writer.publish("jobs", jobs(*(job_row(n, comment="x" * 500) for n in range(20_000))), taken_s=1.0, duration_s=0.1)
    before = pa.total_allocated_bytes()
    reader = SnapshotReader(tmp_path)
    reader.refresh()
    assert reader.current.jobs.table.nbytes > 10_000_000
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_an_old_table_stays_good_while_new_ones_replace_it(tmp_path: Path, writer: SnapshotWriter) -> None:
    reader = SnapshotReader(tmp_path)
    writer.publish("jobs", jobs(*(job_row(n) for n in range(1000))), taken_s=1.0, duration_s=0.1)
    reader.refresh()
    old = reader.current.jobs.table
    for round_ in range(20):
        writer.publish("jobs", jobs(job_row(round_)), taken_s=2.0, duration_s=0.1)
        reader.refresh()
    assert old["job_id"].to_pylist() == list(range(1000))


def test_a_file_of_another_release_is_an_empty_part_that_says_so(tmp_path: Path, writer: SnapshotWriter) -> None:
    writer.publish("jobs", pa.table({"job_id": [1]}), taken_s=1.0, duration_s=0.1)
    reader = SnapshotReader(tmp_path)
    reader.refresh()
    assert reader.current.jobs.table.schema == JOBS
    assert "another release" in (reader.current.jobs.error or "")


def test_a_broken_file_is_an_empty_part_that_says_so(tmp_path: Path, writer: SnapshotWriter) -> None:
    writer.publish("jobs", jobs(job_row(1)), taken_s=1.0, duration_s=0.1)
    (writer.folder / "jobs.arrow").write_bytes(b"ARROW1 broken")
    reader = SnapshotReader(tmp_path)
    reader.refresh()
    assert "can't be read" in (reader.current.jobs.error or "")


def test_the_configured_cluster_is_the_current_one(tmp_path: Path, writer: SnapshotWriter) -> None:
    SnapshotWriter(tmp_path, "beta", EVERY)
    reader = SnapshotReader(tmp_path, "alpha")
    reader.refresh()
    assert reader.current.cluster == "alpha"
    assert set(reader.clusters) == {"alpha", "beta"}


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "..", "x y"])
def test_a_cluster_name_is_no_path(tmp_path: Path, name: str) -> None:
    writer = SnapshotWriter(tmp_path / "snapshot", name, EVERY)
    assert writer.folder.parent == tmp_path / "snapshot"
    reader = SnapshotReader(tmp_path / "snapshot")
    reader.refresh()
    assert list(reader.clusters) == [name]


def test_a_kick_touches_a_file(tmp_path: Path, writer: SnapshotWriter) -> None:
    reader = SnapshotReader(tmp_path)
    reader.kick()
    first = (tmp_path / "kick").stat().st_mtime_ns
    time.sleep(0.02)
    reader.kick()
    assert (tmp_path / "kick").stat().st_mtime_ns > first
    SnapshotReader(tmp_path / "absent").kick()


def test_only_owner_and_group_can_read(writer: SnapshotWriter) -> None:
    writer.publish("jobs", jobs(job_row(1)), taken_s=1.0, duration_s=0.1)
    assert (writer.folder / "jobs.arrow").stat().st_mode & 0o777 == 0o640
    assert writer.folder.stat().st_mode & 0o007 == 0


def test_many_threads_read_while_one_writes(tmp_path: Path, writer: SnapshotWriter) -> None:
    reader = SnapshotReader(tmp_path)
    stop, errors = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            reader.refresh()
            ids = reader.current.jobs.table["job_id"].to_pylist()
            if ids and ids != list(range(len(ids))):
                errors.append(ids)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for size in range(60):
        writer.publish("jobs", jobs(*(job_row(n) for n in range(size))), taken_s=1.0, duration_s=0.1)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []


def _publish_forever(folder: str) -> None:
    writer = SnapshotWriter(Path(folder), "alpha", EVERY)
    size = 0
    while True:
        size = (size + 37) % 400
        writer.publish("jobs", jobs(*(job_row(n) for n in range(size))), taken_s=float(size), duration_s=0.1)


def test_a_writer_killed_at_any_moment_leaves_a_whole_snapshot(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_publish_forever, args=(str(tmp_path),))
    process.start()
    reader = SnapshotReader(tmp_path)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not reader.current.jobs.taken_s:
        reader.refresh()
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    fresh = SnapshotReader(tmp_path)
    fresh.refresh()
    part = fresh.current.jobs
    assert part.error is None
    assert part.table.num_rows == part.taken_s
    SnapshotWriter(tmp_path, "alpha", EVERY)
    assert [path.name for path in (tmp_path / "alpha").iterdir() if path.name.startswith(".")] == []
    assert json.loads((tmp_path / "alpha" / "status.json").read_text())["cluster"] == "alpha"
