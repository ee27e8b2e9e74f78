"""Finding jobs of all years: each filter, whose jobs are found, order, pages and what is said of their number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.accounting.history import Cursor, History, HistoryQuestion, JobKey, NotAsked, Range
from backend.accounting.history import asked as asking
from backend.accounting.usage import Scope
from backend.accounting.warehouse import Warehouse
from tests.unit.history_kit import HOSTILE, UIDS, Footprints, fill
from tests.unit.usage_kit import at, job

ALL = Scope(everything=True)
DAY_S = 86400
NOW_S = at("2026-11-05")


def row(number: int, day: str, user: str = "ada", hours: float = 1, **more: Any) -> dict[str, Any]:
    start_s = at(day)
    columns = {"submit_s": start_s - 600, "user": user, "uid": UIDS[user], "cpus": 2, **more}
    return job(number, start_s, start_s + int(hours * 3600), **columns)


ROWS = [
    row(1, "2023-05-01"),
    row(2, "2025-12-30", state="FAILED", job_name=HOSTILE),
    row(3, "2026-10-10", "bob", account="biology", state="FAILED", partition="gpu", gpus=2, gpu_type="a100", hours=5),
    row(4, "2026-11-01", "leo", account="lasers", gpus=4, gpu_type="a100=2,h100=2", cpus=64, nodes=2, mem_mb=8192,
        mem_peak_mb=2048, cpu_used_s=64 * 1800, qos="high"),
    row(5, "2026-11-02", "eve", cpu_used_s=60, app="jupyterlab"),
    row(6, "2026-11-03", "bob", account="biology", state="REQUEUED", hours=1),
    row(6, "2026-11-03T02:00", "bob", account="biology", state="COMPLETED", hours=1),
    job(7, at("2026-11-04T20:00"), None, submit_s=at("2026-11-04"), seen_s=NOW_S, uid=50001),
    job(8, None, None, submit_s=at("2026-11-04"), seen_s=NOW_S, uid=50001, user="ada"),
    job(9, None, at("2026-11-04"), submit_s=at("2026-11-03"), state="CANCELLED", user="eve", uid=50005),
    row(31, "2026-10-20", "eve", array_job_id=30, array_task_id=1, submit_s=at("2026-10-19")),
    row(30, "2026-10-21", "eve", array_job_id=30, array_task_id=2, submit_s=at("2026-10-19")),
]  # fmt: skip
FOOTPRINTS = Footprints([
    {"job_id": 4, "start_s": at("2026-11-01"), "end_s": at("2026-11-01T01:00"), "gpu_percent_mean": 3.0,
     "memory_peak_bytes": 900, "memory_limit_bytes": 1000},
    {"job_id": 3, "start_s": at("2026-10-10"), "end_s": at("2026-10-10T05:00"), "gpu_percent_mean": 90.0},
])  # fmt: skip


class Tags:
    def with_tags(self, tags: Any) -> list[JobKey]:
        return [JobKey("c", 2, at("2025-12-30") - 600), JobKey("c", 3, 0)] if "kept" in tags else []


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    folder = tmp_path_factory.mktemp("history")
    for rows in (ROWS[:2], ROWS[2:6], ROWS[6:]):
        fill(folder, rows)
    return History(Warehouse(folder), FOOTPRINTS, Tags(), clock=lambda: NOW_S)


def found(history: History, scope: Scope = ALL, **question: Any) -> list[int]:
    return history.search(HistoryQuestion(**question), scope).table["job_id"].to_pylist()


EVERY = [7, 9, 6, 5, 4, 30, 31, 3, 2, 1]


def test_the_newest_end_comes_first_and_what_runs_before_it(history: History) -> None:
    assert found(history) == EVERY


@pytest.mark.parametrize(
    ("question", "jobs"),
    [
        ({"since_s": at("2026-11-02"), "until_s": at("2026-11-03")}, [5]),
        ({"since_s": at("2026-11-01")}, [7, 9, 6, 5, 4]),
        ({"until_s": at("2024-01-01")}, [1]),
        ({"states": ("FAILED",)}, [3, 2]),
        ({"states": ("PENDING",)}, [8]),
        ({"states": ("RUNNING", "CANCELLED")}, [7, 9]),
        ({"users": ("bob", "leo")}, [6, 4, 3]),
        ({"accounts": ("physics",)}, [7, 9, 5, 4, 30, 31, 2, 1]),
        ({"accounts": ("lasers",)}, [4]),
        ({"partitions": ("gpu",)}, [3]),
        ({"qos": ("high",)}, [4]),
        ({"apps": ("jupyterlab",)}, [5]),
        ({"clusters": ("elsewhere",)}, []),
        ({"gpu_types": ("h100",)}, [4]),
        ({"gpu_types": ("a100",)}, [4, 3]),
        ({"gpus": Range(1, 3)}, [3]),
        ({"gpus": Range(None, 0), "since_s": at("2026-11-03")}, [7, 9, 6]),
        ({"cpus": Range(64)}, [4]),
        ({"nodes": Range(2, 2)}, [4]),
        ({"wall_s": Range(2 * 3600)}, [7, 3]),
        ({"jobs": (30,)}, [30, 31]),
        ({"jobs": (31, 5, 77)}, [5, 31]),
        ({"cpu_percent": Range(None, 10)}, [5]),
        ({"cpu_percent": Range(40, 60)}, [4]),
        ({"gpu_percent": Range(None, 5)}, [4]),
        ({"gpu_percent": Range(50)}, [3]),
        ({"memory_percent": Range(80)}, [4]),
        ({"tags": ("kept",)}, [2]),
        ({"tags": ("other",)}, []),
        ({"name": "SCRIPT>alert(1)"}, [2]),
        ({"name": "%_"}, [2]),
        ({"name": "' OR 1=1 --"}, []),
    ],
)
def test_each_filter_finds_its_jobs(history: History, question: dict[str, Any], jobs: list[int]) -> None:
    assert found(history, **question) == jobs


@pytest.mark.parametrize(
    ("scope", "jobs"),
    [
        (Scope(user="ada", uid=50001), [7, 2, 1]),
        (Scope(user="ada", uid=99), []),
        (Scope(user="cleo", uid=50003, accounts=frozenset({"physics"})), [7, 9, 5, 4, 30, 31, 2, 1]),
        (Scope(user="bob"), [6, 3]),
        (Scope(), []),
    ],
)
def test_nobody_finds_what_they_may_not_see(history: History, scope: Scope, jobs: list[int]) -> None:
    assert found(history, scope) == jobs
    assert set(found(history, scope, users=("bob",))) <= set(jobs)
    assert set(found(history, scope, tags=("kept",))) <= set(jobs)
    keys = [JobKey("c", each["job_id"], each["submit_s"]) for each in ROWS]
    assert set(history.rows(keys, scope)["job_id"].to_pylist()) == set(jobs) | ({8} & set(_own(scope)))
    assert [bool(history.numbered("c", n, scope).num_rows) for n in EVERY] == [n in jobs for n in EVERY]


def _own(scope: Scope) -> list[int]:
    return [8] if scope.uid == 50001 or "physics" in scope.accounts else []


def test_a_requeued_job_is_one_job_with_its_attempts(history: History) -> None:
    rows = history.search(HistoryQuestion(jobs=(6,)), ALL).rows
    assert [(each["attempt"], each["state"], each["origin_s"]) for each in rows] == [
        (2, "COMPLETED", at("2026-11-03") - 600)
    ]


def test_a_hostile_name_comes_back_unchanged(history: History) -> None:
    assert history.search(HistoryQuestion(jobs=(2,)), ALL).rows[0]["job_name"] == HOSTILE


@pytest.mark.parametrize("sort", ["end_s", "start_s", "submit_s", "job_id", "wall_s", "wait_s", "cpus", "cpu_percent"])
@pytest.mark.parametrize("descending", [True, False])
def test_pages_follow_each_other_and_lead_back(history: History, sort: str, descending: bool) -> None:
    question = HistoryQuestion(sort=sort, descending=descending)
    whole = history.search(question, ALL).table["job_id"].to_pylist()
    assert sorted(whole) == sorted(EVERY)
    pages, cursor = [], None
    while True:
        page = history.search(question, ALL, limit=3, cursor=cursor, count_for_s=60)
        pages.append(page)
        if page.after is None:
            break
        cursor = Cursor.read(page.after.text(), "after")
    assert [n for page in pages for n in page.table["job_id"].to_pylist()] == whole
    assert all(page.total == len(EVERY) and page.exact for page in pages)
    back = pages[-1].before
    assert back is not None
    assert history.search(question, ALL, limit=3, cursor=back).table.equals(pages[-2].table)


def test_a_page_stays_the_same_when_new_jobs_have_ended(tmp_path: Path) -> None:
    fill(tmp_path, [row(number, f"2026-10-{number:02d}") for number in range(1, 11)])
    history = History(Warehouse(tmp_path), clock=lambda: NOW_S)
    first = history.search(HistoryQuestion(), ALL, limit=4)
    fill(tmp_path, [row(number, f"2026-10-{number:02d}") for number in range(20, 25)])
    second = history.search(HistoryQuestion(), ALL, limit=4, cursor=first.after)
    assert second.table["job_id"].to_pylist() == [6, 5, 4, 3]


def test_a_number_that_came_again_is_another_job(tmp_path: Path) -> None:
    fill(tmp_path, [row(1, "2020-01-01"), row(1, "2026-10-01", "bob")])
    history = History(Warehouse(tmp_path), clock=lambda: NOW_S)
    old = JobKey("c", 1, at("2020-01-01") - 600)
    assert history.rows([old], ALL)["user"].to_pylist() == ["ada"]
    assert history.numbered("c", 1, ALL)["user"].to_pylist() == ["bob", "ada"]


def test_a_number_of_jobs_that_was_not_counted_is_said_to_be_at_least_so_much(history: History) -> None:
    page = history.search(HistoryQuestion(), ALL, limit=3, count_for_s=-1)
    assert 4 <= page.total <= len(EVERY)
    assert page.exact is (page.total == len(EVERY))
    assert history.search(HistoryQuestion(), ALL, limit=50, count_for_s=-1).exact


def test_without_accounts_there_are_no_jobs(tmp_path: Path) -> None:
    page = History(Warehouse(tmp_path)).search(HistoryQuestion(), ALL)
    assert (page.rows, page.total, page.exact, page.as_of_s) == ([], 0, True, None)


def test_what_was_measured_is_needed_only_by_its_filters(history: History) -> None:
    blind = History(history.warehouse, clock=lambda: NOW_S)
    assert found(blind) == EVERY
    assert found(blind, gpu_percent=Range(0)) == []


def test_what_was_measured_is_read_once_a_chunk_and_of_clusters_that_there_are(history: History) -> None:
    measured = Footprints(FOOTPRINTS.table.to_pylist())
    counting = History(history.warehouse, measured, clock=lambda: NOW_S)
    names = ("c", *(f"a{number}" for number in range(99)))
    page = counting.search(HistoryQuestion(clusters=names, gpu_percent=Range(0)), ALL, limit=1, count_for_s=60)
    assert (page.table["job_id"].to_pylist(), page.total, page.exact) == ([4], 2, True)
    spans = [of for what, of in measured.asked if what == "footprints_of"]
    assert spans and len(spans) == len(set(spans))
    assert {clusters for clusters, _, _ in spans} == {("c",)}


def test_where_jobs_are_not_listed_those_are_looked_up_that_other_filters_leave(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = Footprints(FOOTPRINTS.table.to_pylist(), lists_jobs=False)
    named = History(history.warehouse, measured, clock=lambda: NOW_S)
    assert found(named, gpu_percent=Range(0)) == [4, 3]
    measured.asked.clear()
    assert found(named, gpu_percent=Range(0), partitions=("gpu",)) == [3]
    assert {job.job_id for what, jobs in measured.asked for job in jobs} == {3}
    monkeypatch.setattr(asking, "MOST_NAMED", 2)
    with pytest.raises(NotAsked, match="at most 2 jobs") as refused:
        found(named, gpu_percent=Range(0))
    assert refused.value.part == "gpu_eff"
    assert found(named, gpu_percent=Range(0), users=("leo",)) == [4]


@pytest.mark.parametrize("question", [{"sort": "user; drop"}, {"since_s": 5, "until_s": 5}])
def test_a_question_without_sense_is_refused(history: History, question: dict[str, Any]) -> None:
    with pytest.raises(NotAsked):
        found(history, **question)


_PLACES = st.builds(
    Cursor,
    at=st.integers(-(2**62), 2**62) | st.floats(-1e15, 1e15),
    job_id=st.integers(0, 2**62),
    submit_s=st.integers(0, 2**40),
    cluster=st.text(min_size=1, max_size=20),
)


@given(_PLACES)
def test_a_page_s_place_stands_in_an_address(place: Cursor) -> None:
    assert Cursor.read(place.text(), "after") == place


@given(st.text(max_size=60))
def test_any_place_is_read_or_refused(text: str) -> None:
    try:
        Cursor.read(text, "after")
    except NotAsked as error:
        assert error.part == "after"


def test_a_page_has_all_columns_even_when_it_is_empty(history: History) -> None:
    full = history.search(HistoryQuestion(), ALL).table
    none = history.search(HistoryQuestion(jobs=(999,)), ALL).table
    assert none.schema.equals(pa.schema(full.schema))
