"""The loop that keeps the accounts: sources that fail, are busy or stop, and this machine's own jobs.

Fakes: `Ledger` stands for the supervisor's answer; `Broken` raises what it is given.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy.exc import OperationalError

from backend.accounting import local
from backend.accounting.dbd import SourceError
from backend.accounting.dbd.rows.ahead import ahead_of
from backend.accounting.dbd.runaways import bounded
from backend.accounting.model import JOBS
from backend.accounting.rounds import Queue, Round
from backend.accounting.sync import Accountant, NothingToSync, open_source, sync_once, warehouse_folder
from backend.accounting.warehouse import Warehouse
from backend.cluster import SnapshotReader
from backend.store import Database
from config import Settings, load_settings

MACHINE = {"name": "here", "gpus": [{"index": 0, "type": "a100"}, {"index": 1, "type": "h100"}]}
JOB = {
    "id": 1, "name": "carme-abc", "submit_s": 1000.7, "start_s": 1001.2, "end_s": None, "state": "RUNNING", "gpus": [0],
    "exit_code": "", "cpu_used_s": None, "memory_peak_mb": 0, "cwd": "/home/me",
    "wanted": {"cpus": 2, "memory_mb": 4096, "gpus": 1, "gpu_type": "a100", "time_s": 3600},
}  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(None, {"CARME_DATA": str(tmp_path / "data"), "CARME_INSTANCE__TIME_ZONE": "Europe/Berlin"})


@pytest.fixture
def store(settings: Settings) -> Iterator[Database]:
    db = Database(settings.store.url)
    db.upgrade()
    yield db
    db.close()


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "backend.cluster.local.ask_supervisor", lambda *_: {"ok": True, "jobs": jobs, "machine": MACHINE}
    )
    return jobs


def asked(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    warehouse = Warehouse(warehouse_folder(settings))
    with warehouse.cursor() as look:
        found = look.execute(sql).fetchall()
    warehouse.close()
    return found


def test_this_machines_jobs_have_accounts(settings: Settings, store: Database, ledger: list[dict[str, Any]]) -> None:
    ledger.append(dict(JOB))
    assert sync_once(settings, store) == {}
    assert asked(settings, "select state, gpus, gpu_type, tres, end_s, seen_s is null from jobs") == [
        ("RUNNING", 1, "a100", "billing=2,cpu=2,gres/gpu:a100=1,gres/gpu=1,mem=4096M,node=1", None, False)
    ]
    ledger[0] |= {"state": "COMPLETED", "end_s": 1100.9, "exit_code": "0:0", "cpu_used_s": 12.5, "memory_peak_mb": 77}
    assert sync_once(settings, store) == {}
    assert asked(settings, "select state, end_s - start_s, cpu_used_s, mem_peak_mb, count(*) over () from jobs") == [
        ("COMPLETED", 99, 12.5, 77, 1)
    ]


def test_what_the_supervisor_forgets_is_kept(settings: Settings, store: Database, ledger: list[dict[str, Any]]) -> None:
    ledger.append({**JOB, "state": "FAILED", "end_s": 1100.0, "exit_code": "3:0"})
    sync_once(settings, store)
    ledger.clear()
    sync_once(settings, store)
    assert asked(settings, "select exit_status from jobs") == [(3,)]


def test_a_job_that_waits_has_nothing_allocated(
    settings: Settings, store: Database, ledger: list[dict[str, Any]]
) -> None:
    ledger.append({**JOB, "state": "PENDING", "start_s": None, "gpus": []})
    sync_once(settings, store)
    assert asked(settings, "select cpus, gpus, nodes, tres, req_gpus, node_list from jobs") == [(0, 0, 0, "", 1, "")]


def test_several_gpu_types_are_told_apart() -> None:
    assert local.tres(1, 5, ["h100", "a100", "h100"]).split(",")[2:5] == [
        "gres/gpu:a100=1", "gres/gpu:h100=2", "gres/gpu=3",
    ]  # fmt: skip


def test_a_source_that_fails_says_why_and_since_when(settings: Settings, store: Database) -> None:
    class Broken:
        name = "local"

        def clusters(self) -> Sequence[str]:
            return ("one", "two")

        def bring(self, cluster: str, turn: Round) -> None:
            if cluster == "one":
                raise SourceError("the disk is full")
            with turn.writer() as writer:
                writer.set_state(cluster, source="local", synced_s=5)
                writer.commit()

        def close(self) -> None:
            pass

    accountant = Accountant(settings, SnapshotReader(settings.instance.data_dir / "snapshot"), store)
    assert accountant.sync(Broken(), threading.Event()) == {"one": "the disk is full"}
    warehouse = Warehouse(warehouse_folder(settings))
    states = warehouse.state.clusters
    warehouse.close()
    assert states["one"].error == "the disk is full" and states["one"].error_since_s
    assert (states["two"].error, states["two"].synced_s) == ("", 5)


def test_a_defect_in_a_source_does_not_end_the_loop(settings: Settings, store: Database) -> None:
    calls = []
    stop = threading.Event()

    class Defect:
        name = "local"

        def clusters(self) -> Sequence[str]:
            calls.append(1)
            raise KeyError("a defect")

        def bring(self, cluster: str, turn: Round) -> None: ...

        def close(self) -> None:
            calls.append(2)

    accountant = Accountant(settings, SnapshotReader(settings.instance.data_dir / "snapshot"), store)
    accountant._once(Defect(), stop)
    assert calls == [1]


def accountant_of(settings: Settings, store: Database) -> Accountant:
    return Accountant(settings, SnapshotReader(settings.instance.data_dir / "snapshot"), store)


class Failing:
    """Two clusters, each of which raises its error."""

    name = "local"

    def __init__(self, **errors: Exception) -> None:
        self.errors = errors

    def clusters(self) -> Sequence[str]:
        return tuple(self.errors)

    def bring(self, cluster: str, turn: Round) -> None:
        raise self.errors[cluster]

    def close(self) -> None: ...


def test_a_source_that_cant_be_opened_yet_is_tried_again(
    settings: Settings, store: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stop, tries = threading.Event(), []

    def opened(_settings: Settings) -> Failing:
        tries.append(1)
        if len(tries) < 3:
            raise KeyError("no such uid")
        stop.set()
        return Failing()

    monkeypatch.setattr("backend.accounting.sync.open_source", opened)
    monkeypatch.setattr(stop, "wait", lambda _s: False)
    accountant_of(settings, store).run(stop)
    assert len(tries) == 3
    assert len(caplog.records) == 1


def test_the_consoles_database_or_a_disk_that_is_away_is_told_of_each_cluster(
    settings: Settings, store: Database
) -> None:
    away = Failing(one=OperationalError("select", {}, Exception("gone")), two=OSError("No space left on device"))
    errors = accountant_of(settings, store).sync(away, threading.Event())
    assert "database" in errors["one"] and errors["two"] == "No space left on device"


def test_a_damaged_warehouse_is_logged_once_whatever_the_source_says(
    settings: Settings, store: Database, caplog: pytest.LogCaptureFixture
) -> None:
    folder = warehouse_folder(settings)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{")
    accountant = accountant_of(settings, store)
    for source in (Failing(one=SourceError("away")), Failing(one=SourceError("away"))):
        accountant._once(source, threading.Event())
    words = [record.getMessage() for record in caplog.records]
    assert len(words) == 2 and "away" in words[0] and "manifest.json" in words[1]


def test_a_failure_that_lasts_is_logged_once(
    settings: Settings, store: Database, caplog: pytest.LogCaptureFixture
) -> None:
    accountant = accountant_of(settings, store)
    for _ in range(3):
        accountant._once(Failing(one=SourceError("away"), two=SourceError("away")), threading.Event())
    assert len([record for record in caplog.records if "away" in record.getMessage()]) == 2
    for _ in range(3):
        accountant._once(Failing(one=KeyError("a defect")), threading.Event())
    assert len([record for record in caplog.records if "up to date" in record.getMessage()]) == 1


def test_with_accounts_by_import_there_is_nothing_to_sync(tmp_path: Path, store: Database) -> None:
    settings = load_settings(None, {"CARME_DATA": str(tmp_path), "CARME_ACCOUNTING__SOURCE": "import"})
    assert open_source(settings) is None
    with pytest.raises(NothingToSync):
        sync_once(settings, store)


# Runaway jobs


def rows(*jobs: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(
        [{"cluster": "c", "submit_s": 100, "start_s": 110, "seen_s": 5000, "state": "RUNNING", **job} for job in jobs],
        schema=JOBS,
    )


def test_an_open_row_that_the_scheduler_does_not_know_keeps_when_it_was_seen() -> None:
    jobs = rows({"job_id": 1, "db_inx": 11}, {"job_id": 2, "db_inx": 12})
    before = rows({"job_id": 1, "db_inx": 11, "seen_s": 3000}, {"job_id": 2, "db_inx": 12, "seen_s": 3000})
    found, runaways = bounded(jobs, before, Queue(frozenset([2]), 5000))
    assert (found["seen_s"].to_pylist(), runaways) == ([3000, 5000], [1])


def test_a_runaway_at_first_sight_has_no_usage() -> None:
    found, _ = bounded(rows({"job_id": 1, "db_inx": 11}), rows(), Queue(frozenset(), 5000))
    assert found["seen_s"].to_pylist() == [110]


def test_a_job_younger_than_the_picture_is_no_runaway() -> None:
    _, runaways = bounded(rows({"job_id": 1, "db_inx": 11, "start_s": 4990}), rows(), Queue(frozenset(), 5000))
    assert runaways == []


def test_a_folded_array_is_known_by_its_own_number() -> None:
    master = {"job_id": 7, "db_inx": 11, "array_job_id": 7, "start_s": None, "state": "PENDING"}
    _, runaways = bounded(rows(master), rows(), Queue(frozenset([7, 9]), 5000))
    assert runaways == []


# Fetching ahead


def test_items_come_in_order_and_only_so_far_ahead() -> None:
    made = []

    def produce() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            yield number

    items = ahead_of(produce, 2)
    assert next(items) == 0
    threading.Event().wait(0.2)
    assert len(made) <= 5
    assert list(items) == list(range(1, 50))


def test_what_goes_wrong_ahead_is_raised_in_its_place() -> None:
    def produce() -> Iterator[int]:
        yield 1
        raise SourceError("gone")

    items = ahead_of(produce, 4)
    assert next(items) == 1
    with pytest.raises(SourceError, match="gone"):
        next(items)


def test_whoever_stops_listening_ends_the_fetching() -> None:
    before = threading.active_count()
    items = ahead_of(lambda: iter(range(10**9)), 2)
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
