"""The warehouse: what is committed is read, by everyone, all of it or nothing."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from backend.accounting.model import SMALL_TABLES
from backend.accounting.warehouse import Warehouse, WarehouseBusy, WarehouseUnusable, files, manifest, usage_day
from tests.unit.warehouse_kit import T0, ZONE, job, jobs, put, read, suspensions, waiting

VIEWS = ["accounts", "capacity", "events", "jobs", "reservations", "suspends", "usage_day"]
MONTH_S = 31 * 86400


def test_an_empty_warehouse_has_all_views_empty(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "none")
    assert warehouse.generation == 0
    assert not warehouse.refresh()
    assert not warehouse.state.clusters
    with warehouse.cursor() as cursor:
        assert [cursor.sql(f"select count(*) from {view}").fetchall() for view in VIEWS] == [[(0,)]] * len(VIEWS)


def test_rows_count_from_their_commit_on(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    with Warehouse.write(tmp_path, ZONE) as writer:
        writer.upsert(jobs(job(1)), cluster="c1")
        assert not warehouse.refresh()
        assert writer.commit() == 1
    assert warehouse.refresh()
    assert warehouse.generation == 1
    with warehouse.cursor() as cursor:
        assert cursor.sql("select job_id from jobs").fetchall() == [(1,)]


def test_without_a_commit_nothing_has_happened(tmp_path: Path) -> None:
    put(tmp_path, job(1))
    with Warehouse.write(tmp_path, ZONE) as writer:
        writer.upsert(jobs(job(1, state="FAILED"), job(2)), cluster="c1")
    assert read(tmp_path, "select job_id, state from jobs") == [(1, "COMPLETED")]


def test_what_was_left_without_a_commit_is_cleared_away(tmp_path: Path) -> None:
    put(tmp_path, job(1))
    before = set(tmp_path.rglob("*.parquet"))
    with Warehouse.write(tmp_path, ZONE) as writer:
        writer.upsert(jobs(job(2)), cluster="c1")
    assert len(set(tmp_path.rglob("*.parquet"))) > len(before)
    with Warehouse.write(tmp_path, ZONE):
        assert set(tmp_path.rglob("*.parquet")) == before


def test_a_row_put_in_again_is_one_row(tmp_path: Path) -> None:
    put(tmp_path, job(1), job(2))
    put(tmp_path, job(1, state="FAILED"))
    assert read(tmp_path, "select job_id, state from jobs order by 1") == [(1, "FAILED"), (2, "COMPLETED")]


def test_what_became_of_rows_is_told(tmp_path: Path) -> None:
    put(tmp_path, job(1), job(2), job(3))
    with Warehouse.write(tmp_path, ZONE) as writer:
        told = writer.upsert(jobs(job(1), job(2, state="FAILED"), job(3, source="sacct"), job(4), job(4)), cluster="c1")
    assert (told.new, told.changed, told.unchanged, told.outranked) == (1, 1, 1, 1)


def test_the_same_rows_again_write_nothing(tmp_path: Path) -> None:
    put(tmp_path, job(1), job(2))
    files = set(tmp_path.rglob("jobs/*/*.parquet"))
    put(tmp_path, job(1), job(2))
    assert set(tmp_path.rglob("jobs/*/*.parquet")) == files


def test_slurmdbd_counts_before_an_import_whichever_came_first(tmp_path: Path) -> None:
    put(tmp_path, job(1, source="sacct", cpus=9), job(2))
    put(tmp_path, job(1), job(2, source="sacct", cpus=9))
    assert read(tmp_path, "select job_id, cpus, source from jobs order by 1") == [
        (1, 2, "slurmdbd"),
        (2, 2, "slurmdbd"),
    ]


@pytest.mark.parametrize("off_s", [3600, -3600, 2 * 3600, 5 * 3600 + 1800])
@pytest.mark.parametrize("import_first", [True, False])
def test_a_job_imported_in_another_zone_is_not_counted_twice(tmp_path: Path, off_s: int, import_first: bool) -> None:
    rows = [job(1), job(1, T0 + off_s, source="sacct")]
    for row in reversed(rows) if import_first else rows:
        put(tmp_path, row)
    assert read(tmp_path, "select submit_s, source, attempt, last_attempt from jobs") == [(T0, "slurmdbd", 1, True)]


def test_attempts_of_one_job_are_numbered(tmp_path: Path) -> None:
    put(tmp_path, job(1, state="REQUEUED"), job(1, T0 + 110, state="NODE_FAIL"), job(1, T0 + 220))
    found = read(tmp_path, "select origin_s - submit_s, attempt, last_attempt from jobs order by submit_s")
    assert found == [(0, 1, False), (-110, 2, False), (-220, 3, True)]


def test_an_attempt_that_becomes_known_later_changes_the_others(tmp_path: Path) -> None:
    put(tmp_path, job(1, T0 + 110))
    put(tmp_path, job(1, state="REQUEUED"))
    found = read(tmp_path, "select submit_s, origin_s, attempt, last_attempt from jobs order by submit_s")
    assert found == [(T0, T0, 1, False), (T0 + 110, T0, 2, True)]


def test_an_open_attempt_continues_one_that_ended_by_a_node(tmp_path: Path) -> None:
    put(tmp_path, job(1, state="NODE_FAIL"))
    with Warehouse.write(tmp_path, ZONE) as writer:
        writer.replace_open("c1", jobs(waiting(1, T0 + 110)))
        writer.commit()
    found = read(tmp_path, "select attempt, last_attempt, origin_s from jobs order by submit_s")
    assert found == [(1, False, T0), (2, True, T0)]
    with Warehouse.write(tmp_path, ZONE) as writer:
        writer.replace_open("c1", jobs())
        writer.commit()
    assert read(tmp_path, "select attempt, last_attempt from jobs") == [(1, True)]


@pytest.mark.parametrize(
    "later",
    [
        job(1, T0 + 400 * 86400),
        job(1, T0 + 110, user="bob", uid=1002),
        job(1, T0 + 5000, job_name="another"),
    ],
)
def test_a_job_id_that_wrapped_around_is_another_job(tmp_path: Path, later: dict[str, object]) -> None:
    put(tmp_path, job(1), later)
    assert read(tmp_path, "select attempt, last_attempt, origin_s = submit_s from jobs") == [(1, True, True)] * 2


def test_open_rows_are_replaced_as_a_whole(tmp_path: Path) -> None:
    for open_rows in ([waiting(1), waiting(2)], [waiting(2, state="RUNNING", start_s=T0 + 3), waiting(3)]):
        with Warehouse.write(tmp_path, ZONE) as writer:
            writer.replace_open("c1", jobs(*open_rows))
            writer.commit()
    assert read(tmp_path, "select job_id, state from jobs order by 1") == [(2, "RUNNING"), (3, "PENDING")]
    assert Warehouse(tmp_path).state.clusters["c1"].open_rows == 2


def test_a_job_that_ended_is_open_no_more_even_where_an_older_list_says_so(tmp_path: Path) -> None:
    with Warehouse.write(tmp_path, ZONE) as writer:
        writer.replace_open("c1", jobs(waiting(1)))
        writer.commit()
        writer.upsert(jobs(job(1)), cluster="c1")
        writer.replace_open("c1", jobs(waiting(1)))
        writer.commit()
    assert read(tmp_path, "select state from jobs") == [("COMPLETED",)]


def test_open_rows_of_one_cluster_leave_the_others_alone(tmp_path: Path) -> None:
    with Warehouse.write(tmp_path, ZONE) as writer:
        writer.replace_open("c1", jobs(waiting(1)))
        writer.replace_open("c2", jobs(waiting(1, cluster="c2")))
        writer.replace_open("c1", jobs())
        writer.commit()
    assert read(tmp_path, "select cluster, job_id from jobs") == [("c2", 1)]


def test_a_cluster_of_any_name_stays_within_the_folder(tmp_path: Path) -> None:
    name = '../../etc/it\'s "x"'
    with Warehouse.write(tmp_path / "w", ZONE) as writer:
        writer.upsert(jobs(job(1, cluster=name), job(2, cluster=name, end_s=None)), cluster=name)
        writer.commit()
    assert read(tmp_path / "w", "select distinct cluster from jobs") == [(name,)]
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_a_folder_with_a_quote_in_its_name_is_read(tmp_path: Path) -> None:
    put(tmp_path / "o'brien", job(1))
    assert read(tmp_path / "o'brien", "select job_id from jobs") == [(1,)]


@pytest.mark.parametrize(
    "wrong",
    [
        job(1, cluster="c2"),
        {**job(1), "submit_s": None},
        {**job(1), "job_id": None},
        job(2**32),
        job(1, source="x"),
    ],
)  # type: ignore[arg-type]
def test_rows_that_no_source_can_have_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with Warehouse.write(tmp_path, ZONE) as writer, pytest.raises(ValueError):
        writer.upsert(jobs(wrong), cluster="c1")


def test_rows_gone_from_slurmdbd_stay_and_say_so(tmp_path: Path) -> None:
    put(tmp_path, job(1), job(2, T0 + 1000), job(3, T0 + 2000), job(4, source="sacct"))
    with Warehouse.write(tmp_path, ZONE) as writer:
        assert writer.mark_gone("c1", before_s=T0 + 500) == 1
        assert writer.mark_gone("c1", keys=[(3, T0 + 2000), (9, T0)]) == 1
        assert writer.mark_gone("c1", before_s=T0 + 500) == 0
        writer.commit()
    assert read(tmp_path, "select job_id from jobs where gone order by 1") == [(1,), (3,)]


def test_a_gone_row_that_comes_back_is_there_again(tmp_path: Path) -> None:
    put(tmp_path, job(1))
    with Warehouse.write(tmp_path, ZONE) as writer:
        writer.mark_gone("c1", before_s=T0 + 500)
        writer.commit()
    put(tmp_path, job(1))
    assert read(tmp_path, "select gone from jobs") == [(False,)]


def test_suspensions_are_replaced_with_their_row(tmp_path: Path) -> None:
    put(tmp_path, job(1), job(2), suspends=suspensions((1, T0, T0 + 20, T0 + 30), (2, T0, T0 + 20, T0 + 30)))
    put(tmp_path, job(1), suspends=suspensions((1, T0, T0 + 20, T0 + 50)))
    put(tmp_path, job(2))  # not asked about: as known
    found = read(tmp_path, "select job_id, to_s - from_s from suspends order by 1")
    assert found == [(1, 30), (2, 10)]


def test_a_changed_suspension_reaches_the_roll_up(tmp_path: Path) -> None:
    put(tmp_path, job(1, suspended_s=10), suspends=suspensions((1, T0, T0 + 20, T0 + 30)))
    put(tmp_path, job(1, suspended_s=10), suspends=suspensions((1, T0, T0 + 20, T0 + 60)))
    assert read(tmp_path, "select sum(cpu_s) from usage_day where level = 'account'") == [(2 * (100 - 40),)]


def test_small_tables_are_replaced_with_their_cluster_first(tmp_path: Path) -> None:
    for names in (["root"], ["root", "physics"]):
        with Warehouse.write(tmp_path, ZONE) as writer:
            rows = pa.Table.from_pylist([{"name": name} for name in names], schema=SMALL_TABLES["accounts"])
            writer.put_table("c1", "accounts", rows)
            writer.commit()
    assert read(tmp_path, "select cluster, name from accounts") == [("c1", "root"), ("c1", "physics")]


def test_the_state_of_a_cluster_is_kept(tmp_path: Path) -> None:
    put(tmp_path, job(1), waiting(2, T0 - 50))
    with Warehouse.write(tmp_path, ZONE) as writer:
        writer.set_state("c1", source="slurmdbd", synced_s=T0, cursor={"end_s": T0, "parts": [1, 2]})
        writer.commit()
    state = Warehouse(tmp_path).state.clusters["c1"]
    assert (state.source, state.synced_s, state.rows, state.open_rows, state.oldest_s) == (
        "slurmdbd",
        T0,
        1,
        1,
        T0 - 50,
    )
    assert state.cursor == {"end_s": T0, "parts": [1, 2]}


def test_a_cursor_stays_on_its_generation(tmp_path: Path) -> None:
    put(tmp_path, job(1))
    warehouse = Warehouse(tmp_path)
    with warehouse.cursor() as older:
        put(tmp_path, job(1, state="FAILED"), job(2))
        assert warehouse.refresh()
        with warehouse.cursor() as newer:
            assert newer.sql("select count(*) from jobs").fetchall() == [(2,)]
        assert older.sql("select state from jobs").fetchall() == [("COMPLETED",)]


def test_files_of_an_older_generation_go_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, job(1))
    first = [tmp_path / path for path in manifest.load(tmp_path).files()]
    put(tmp_path, job(1, state="FAILED"))
    put(tmp_path, job(2))
    assert all(path.exists() for path in first)
    later = time.time() + manifest.KEEP_DROPPED_S + 5
    monkeypatch.setattr("time.time", lambda: later)
    put(tmp_path, job(3))
    put(tmp_path, job(4))
    assert not any(path.exists() for path in first)
    assert all((tmp_path / path).exists() for path in manifest.load(tmp_path).files())


def test_what_lies_on_disk_is_told_by_cluster(tmp_path: Path) -> None:
    with Warehouse.write(tmp_path, ZONE) as writer:
        for cluster in ("c1", "c2.x"):
            writer.upsert(jobs(job(1, cluster=cluster)), cluster=cluster)
            writer.set_state(cluster, source="slurmdbd")
        writer.commit()
    warehouse = Warehouse(tmp_path)
    sizes = warehouse.sizes()
    assert set(sizes) == {"c1", "c2.x"}
    assert sum(sizes.values()) == sum(file.stat().st_size for file in tmp_path.rglob("*.parquet"))
    assert min(sizes.values()) > 0


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with Warehouse.write(tmp_path, ZONE), pytest.raises(WarehouseBusy), Warehouse.write(tmp_path, ZONE, wait_s=0.2):
        pass
    with Warehouse.write(tmp_path, ZONE, wait_s=0):
        pass


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 1, "columns": [], "jobs": [{}]}'])
def test_a_manifest_that_cant_be_read_is_named_each_time_and_keeps_nothing_from_starting(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "manifest.json").write_text(text)
    warehouse = Warehouse(tmp_path)
    for _ in range(2):
        with pytest.raises(WarehouseUnusable, match=r"manifest\.json"):
            warehouse.refresh()


def test_accounts_whose_files_are_gone_are_never_taken_for_empty_ones(tmp_path: Path) -> None:
    put(tmp_path, job(1))
    for path in tmp_path.glob("jobs/*/*.parquet"):
        path.unlink()
    warehouse = Warehouse(tmp_path)
    for _ in range(2):
        with pytest.raises(WarehouseUnusable):
            warehouse.refresh()


def test_a_file_that_goes_while_it_is_asked_is_told(tmp_path: Path) -> None:
    put(tmp_path, job(1))
    warehouse = Warehouse(tmp_path)
    for path in tmp_path.glob("jobs/*/*.parquet"):
        path.unlink()
    with pytest.raises(WarehouseUnusable), warehouse.cursor() as cursor:
        cursor.sql("select sum(cpus) from jobs").fetchall()


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    put(tmp_path, job(1))
    for path in tmp_path.glob("jobs/*/*.parquet"):
        path.write_bytes(b"PAR1 this is none PAR1")
    warehouse = Warehouse(tmp_path)
    with pytest.raises(WarehouseUnusable):
        warehouse.refresh()


def test_the_roll_up_is_the_sum_of_the_rows(tmp_path: Path) -> None:
    put(tmp_path, *(job(n, T0 + n * 7000, cpus=n) for n in range(1, 60)))
    put(tmp_path, job(5, T0 + 35000, cpus=50), job(99, T0 + MONTH_S))
    for level in ("account", "user", "full"):
        rolled = read(tmp_path, f"select sum(cpu_s), sum(ended) from usage_day where level = '{level}'")
        assert rolled == read(tmp_path, "select sum(cpus * (end_s - start_s)), count(*) from jobs")
    assert Warehouse(tmp_path).rollup_zone == ZONE


def test_another_zone_makes_the_roll_up_anew(tmp_path: Path) -> None:
    put(tmp_path, job(1, T0 - 1800))
    assert read(tmp_path, "select distinct day_s from usage_day") == [(T0 - 3600,)]
    with Warehouse.write(tmp_path, "UTC") as writer:
        writer.commit()
    assert read(tmp_path, "select distinct day_s from usage_day") == [(T0 - 86400,)]


def test_a_commit_may_leave_the_roll_up_for_later(tmp_path: Path) -> None:
    with Warehouse.write(tmp_path, ZONE) as writer:
        writer.upsert(jobs(job(1)), cluster="c1")
        writer.commit(roll_up=False)
        warehouse = Warehouse(tmp_path)
        assert warehouse.rollup_zone is None
        with warehouse.cursor() as cursor:
            assert cursor.sql("select count(*) from usage_day").fetchall() == [(0,)]
            assert cursor.sql("select count(*) from jobs").fetchall() == [(1,)]
        writer.commit()
    assert warehouse.refresh()
    assert warehouse.rollup_zone == ZONE


def test_small_files_are_put_together(tmp_path: Path) -> None:
    for n in range(20):
        put(tmp_path, job(n, T0 + n))
    assert len(manifest.load(tmp_path).jobs) < 10
    assert read(tmp_path, "select count(*), count(distinct job_id) from jobs") == [(20, 20)]
    assert read(tmp_path, "select sum(ended) from usage_day where level = 'full'") == [(20,)]


def test_sums_put_together_are_those_made_anew(tmp_path: Path) -> None:
    for n in range(3):
        rows = [job(10 * n + k, T0 + 50_000 * k, energy_j=k or None, user=f"u{k % 2}") for k in range(5)]
        with Warehouse.write(tmp_path, ZONE) as writer:
            writer.upsert(jobs(*rows), cluster="c1")
            writer.set_state("c1", progress=0.5)  # keeps the files apart
            writer.commit()
    assert len(manifest.load(tmp_path).jobs) == 3
    with Warehouse.write(tmp_path, ZONE) as writer:
        writer.compact(everything=True)
    everything = "select * from usage_day order by all"
    together = read(tmp_path, everything)
    with Warehouse.write(tmp_path, ZONE) as writer:
        writer.rebuild()
        writer.commit()
    assert together == read(tmp_path, everything)
    assert len(manifest.load(tmp_path).jobs) == 1


def test_the_roll_ups_of_many_files_made_at_once_are_those_of_each_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n, cluster in enumerate(("c1", "c1", "42", "c1")):
        rows = [
            job(10 * n + k, T0 + n * MONTH_S + 50_000 * k, cluster=cluster, gpus=2, gpu_type="a100=1,h100=1", cpus=k)
            for k in range(5)
        ]
        with Warehouse.write(tmp_path, ZONE) as writer:
            stops = suspensions((10 * n + 1, T0 + n * MONTH_S + 50_000, T0 + n * MONTH_S + 50_020, None))
            writer.upsert(jobs(*rows), stops if cluster == "c1" else None, cluster=cluster)
            writer.commit(roll_up=False)

    def of_each_file() -> list[list[dict[str, object]]]:
        with Warehouse.write(tmp_path, ZONE) as writer:
            writer.rebuild()
            writer.commit()
        found = [files.read_table(tmp_path, str(file.usage)).to_pylist() for file in manifest.load(tmp_path).jobs]
        return [sorted(rows, key=str) for rows in found]

    at_once = of_each_file()
    monkeypatch.setattr(usage_day, "ROWS_AT_ONCE", 1)
    assert len(at_once) == 4
    assert all(at_once)
    assert at_once == of_each_file()


def test_a_month_of_the_past_becomes_one_file_but_not_while_more_is_loaded(tmp_path: Path) -> None:
    for n, progress in enumerate((0.1, 0.5, None)):
        with Warehouse.write(tmp_path, ZONE) as writer:
            writer.upsert(jobs(job(n)), cluster="c1")
            writer.set_state("c1", progress=progress)
            writer.commit()
        assert len(manifest.load(tmp_path).jobs) == (n + 1 if progress else 1)


def test_columns_of_a_later_release_are_null_until_the_next_writer(tmp_path: Path) -> None:
    put(tmp_path, job(1), waiting(2))
    known = manifest.load(tmp_path)
    older = tuple(name for name in known.columns if name != "app")
    manifest.save(tmp_path, known, replace(known, columns=older))
    assert read(tmp_path, "select job_id, app from jobs order by 1") == [(1, None), (2, None)]
    put(tmp_path, job(3))
    assert read(tmp_path, "select count(*) from jobs") == [(3,)]
    assert "app" in manifest.load(tmp_path).columns


def test_many_read_while_one_writes(tmp_path: Path) -> None:
    put(tmp_path, *(job(n, T0 + n) for n in range(100)))
    stop, seen, errors = threading.Event(), set(), []

    def ask(warehouse: Warehouse) -> None:
        try:
            while not stop.is_set():
                warehouse.refresh()
                with warehouse.cursor() as cursor:
                    rows = cursor.sql("select count(*), sum(cpus), count(distinct job_id) from jobs").fetchall()[0]
                    assert rows[0] == rows[2] and rows[1] == 100 * (2 + rows[0] - 100), rows
                    seen.add(rows[0])
        except Exception as error:  # noqa: BLE001 - told by the test
            errors.append(error)

    shared = Warehouse(tmp_path, memory_mb=128)
    readers = [threading.Thread(target=ask, args=(one,)) for one in (shared, shared, Warehouse(tmp_path, 128))]
    for reader in readers:
        reader.start()
    for n in range(1, 8):  # each commit adds a row and a CPU to each of the hundred
        put(tmp_path, *(job(k, T0 + k, cpus=2 + n) for k in range(100)), job(1000 + n, T0 + n, cpus=0))
    stop.set()
    for reader in readers:
        reader.join()
    assert not errors
    assert len(seen) > 1
