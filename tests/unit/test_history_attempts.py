"""Attempts of a job, found again in the warehouse by its number."""

from __future__ import annotations

from pathlib import Path

from backend.accounting.history import attempts
from backend.accounting.warehouse import Warehouse
from tests.unit.warehouse_kit import T0, job, jobs, put, waiting

DAY_S = 86400


def test_every_attempt_of_a_requeued_job_is_there_the_newest_first(tmp_path: Path) -> None:
    put(tmp_path, job(7, T0, state="REQUEUED"), job(7, T0 + 200), job(8, T0 + 200))
    found = attempts(Warehouse(tmp_path), 7)
    assert [(row["submit_s"], row["state"], row["attempt"]) for row in found] == [
        (T0 + 200, "COMPLETED", 2), (T0, "REQUEUED", 1),
    ]  # fmt: skip
    assert {row["origin_s"] for row in found} == {T0}


def test_a_number_that_came_again_is_another_job(tmp_path: Path) -> None:
    put(tmp_path, job(7, T0), job(7, T0 + 400 * DAY_S, user="bob", uid=1002))
    assert {row["origin_s"] for row in attempts(Warehouse(tmp_path), 7)} == {T0, T0 + 400 * DAY_S}


def test_one_that_has_not_ended_is_found_too(tmp_path: Path) -> None:
    with Warehouse.write(tmp_path, "UTC") as writer:
        writer.replace_open("c1", jobs(waiting(9)))
        writer.commit()
    assert [row["state"] for row in attempts(Warehouse(tmp_path), 9)] == ["PENDING"]


def test_a_number_that_no_job_had_finds_nothing(tmp_path: Path) -> None:
    assert attempts(Warehouse(tmp_path), 1) == []
    put(tmp_path, job(7))
    assert attempts(Warehouse(tmp_path), 6) == []
    assert attempts(Warehouse(tmp_path), 7, "elsewhere") == []


def test_files_whose_numbers_lie_elsewhere_are_not_opened(tmp_path: Path) -> None:
    for month in range(4):
        put(tmp_path, *(job(1000 * month + n, T0 + month * 31 * DAY_S) for n in range(1, 20)))
    warehouse = Warehouse(tmp_path)
    near = warehouse.rows_near(2005)
    assert near.count(".parquet") == 1
    assert [row["job_id"] for row in attempts(warehouse, 2005)] == [2005]
