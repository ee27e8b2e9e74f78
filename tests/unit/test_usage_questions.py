"""What can be asked, in which order it is answered, and what is refused."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from backend.accounting.model import JOBS
from backend.accounting.usage import CATALOGUE, JOB_SIZES, BadQuestion, Question, Scope, Usage
from backend.accounting.usage.cache import ENTRY_BYTES, Cache
from backend.accounting.usage.figures.formulas import FORMULAS, QUANTILES, SHARES, UNAVAILABLE
from backend.accounting.warehouse import Warehouse
from tests.unit.usage_kit import Accounts, at, job

HOUR_S, DAY_S = 3600, 86400
ALL = Scope(everything=True)
ASKED = Question(("cpu_hours",), 0, DAY_S, by=("user",))


@pytest.fixture(scope="module")
def usage() -> Usage:
    sizes = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    return Usage(
        Accounts([job(n, user=f"u{n % 3}", nodes=nodes, cpus=n, app=None) for n, nodes in enumerate(sizes, 1)]), "UTC"
    )


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"metrics": ()}, "metrics"),
        ({"metrics": ("cpu_hour",)}, "metrics"),
        ({"metrics": ("cpu_hours; DROP TABLE jobs",)}, "metrics"),
        ({"by": ("nodes",)}, "by"),
        ({"by": ('user" --',)}, "by"),
        ({"by": ("project",)}, "by"),
        ({"where": (("project", ("p",)),)}, "where"),
        ({"where": (("day", ("2026-01-01",)),)}, "where"),
        ({"where": (("user", ()),)}, "where"),
        ({"until_s": 0}, "until"),
        ({"since_s": -1}, "since"),
        ({"until_s": 10**15}, "since"),
        ({"order": "jobs"}, "order"),
        ({"order": "-"}, "order"),
        ({"limit": 0}, "limit"),
        ({"zone": "Nowhere"}, "zone"),
        ({"definitions": "other"}, "definitions"),
        ({"by": ("hour",), "until_s": at("2026-01-01")}, "by"),
    ],
)
def test_a_question_that_makes_no_sense_names_the_part_to_change(
    usage: Usage, change: dict[str, Any], part: str
) -> None:
    with pytest.raises(BadQuestion) as refused:
        usage.ask(replace(ASKED, **change), ALL)
    assert refused.value.part == part


def test_projects_say_that_they_are_not_set_up(usage: Usage) -> None:
    with pytest.raises(BadQuestion, match="not set up"):
        usage.ask(replace(ASKED, by=("project",)), ALL)


@pytest.mark.parametrize(
    "cell",
    [{"day": "1970-01-01"}, {"user": "u1", "account": "x"}, {"project": "p"}],
)
def test_a_cell_of_other_dimensions_than_asked_is_refused(usage: Usage, cell: dict[str, str]) -> None:
    with pytest.raises(BadQuestion):
        usage.jobs(ASKED, ALL, cell)


def test_a_cell_outside_of_the_window_is_refused(usage: Usage) -> None:
    with pytest.raises(BadQuestion):
        usage.jobs(replace(ASKED, by=("day",)), ALL, {"day": "1970-01-09"})


@pytest.mark.parametrize("order", ["nonsense", "work_dir; --", "-gpu_hours"])
def test_jobs_are_put_in_order_by_known_words_only(usage: Usage, order: str) -> None:
    with pytest.raises(BadQuestion):
        usage.jobs(ASKED, ALL, order=order)


def test_every_metric_has_a_way_to_be_made_and_a_note_of_it() -> None:
    assert {*FORMULAS, *QUANTILES, *SHARES, *UNAVAILABLE, "cost"} == {metric.name for metric in CATALOGUE.metrics}
    assert all(metric.method.endswith(".") and metric.title for metric in CATALOGUE.metrics)


def test_an_answer_carries_the_method_of_each_metric(usage: Usage) -> None:
    answer = usage.ask(replace(ASKED, metrics=("cpu_hours", "jobs")), ALL)
    assert answer.methods == {name: CATALOGUE.metric(name).method for name in ("cpu_hours", "jobs")}
    other = usage.ask(replace(ASKED, definitions="xdmod"), ALL)
    assert "XDMoD" in other.methods["cpu_hours"]


def test_columns_are_dimensions_then_metrics_as_they_were_asked(usage: Usage) -> None:
    table = usage.ask(Question(("jobs", "cpu_hours"), 0, DAY_S, by=("user", "month", "account")), ALL).table
    assert table.column_names == ["user", "month", "account", "jobs", "cpu_hours"]


def test_the_largest_come_first_when_asked_so_and_the_rest_is_left_out(usage: Usage) -> None:
    found = usage.ask(replace(ASKED, order="-cpu_hours", limit=2), ALL)
    assert found.table["user"].to_pylist() == ["u2", "u1"]
    assert found.totals["cpu_hours"] == 66.0


def test_sizes_are_in_order_of_size(usage: Usage) -> None:
    found = usage.ask(replace(ASKED, by=("job_size",)), ALL).table["job_size"].to_pylist()
    assert found == list(JOB_SIZES[1:])


def test_an_answer_without_dimensions_has_one_row_even_of_nothing(usage: Usage) -> None:
    found = usage.ask(Question(("cpu_hours", "jobs", "wait_mean_s"), 50 * DAY_S, 51 * DAY_S), ALL)
    assert found.table.to_pylist() == [{"cpu_hours": 0.0, "jobs": 0, "wait_mean_s": None}]


def test_what_is_not_known_is_null_and_says_why(usage: Usage) -> None:
    metrics = ("gpu_efficiency", "cost", "energy_kwh", "cpu_efficiency", "utilisation")
    answer = usage.ask(Question(metrics, 0, DAY_S), ALL)
    assert set(answer.totals.values()) == {None}
    assert len(answer.notes) >= len(metrics)


def test_an_empty_value_stands_for_jobs_that_have_none(usage: Usage) -> None:
    assert usage.ask(replace(ASKED, where=(("app", ("",)),)), ALL).totals["cpu_hours"] == 66.0
    assert usage.ask(replace(ASKED, where=(("app", ("jupyterlab",)),)), ALL).totals["cpu_hours"] == 0.0


def test_a_hundred_thousand_groups_are_answered() -> None:
    count = 100_000
    table = pa.Table.from_pylist([job(n) for n in range(100)])
    many = table.take(pa.array(np.arange(count) % 100))
    for name, values in (("job_id", np.arange(count)), ("user", [f"user{n:06d}" for n in range(count)])):
        many = many.set_column(many.schema.get_field_index(name), name, pa.array(values))
    usage = Usage(Accounts(many), "UTC")
    assert usage.ask(ASKED, ALL).table.num_rows == count
    top = usage.ask(replace(ASKED, order="-user", limit=20), ALL)
    assert top.table["user"].to_pylist()[0] == "user099999"
    assert top.totals["cpu_hours"] == float(count)


def test_the_same_question_is_computed_once_until_the_accounts_change() -> None:
    accounts = Accounts([job(1)])
    usage = Usage(accounts, "UTC")
    first = usage.ask(ASKED, ALL)
    assert usage.ask(ASKED, ALL) is first
    accounts.generation += 1
    second = usage.ask(ASKED, ALL)
    assert second is not first
    assert second.generation == first.generation + 1


def test_many_who_ask_at_once_cost_one_computation() -> None:
    cache: Cache[str, int] = Cache(2**20)
    made = []

    def make() -> int:
        made.append(threading.get_ident())
        time.sleep(0.05)
        return 7

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: cache.get(1, "same", make, lambda _value: 1), range(100)))
    assert (set(found), len(made)) == ({7}, 1)


def test_answers_kept_are_bounded_and_the_oldest_go_first() -> None:
    cache: Cache[int, int] = Cache(10 * (ENTRY_BYTES + 100))
    made: list[int] = []
    for key in [*range(30), 29, 0]:
        cache.get(1, key, lambda key=key: made.append(key) or key, lambda _value: 100)  # type: ignore[misc]
    assert made == [*range(30), 0]


def test_a_failure_is_everyones_who_waits_and_is_not_kept() -> None:
    cache: Cache[str, int] = Cache(2**20)

    def fail() -> int:
        raise BadQuestion("by", "no")

    with pytest.raises(BadQuestion):
        cache.get(1, "same", fail, lambda _value: 1)
    assert cache.get(1, "same", lambda: 3, lambda _value: 1) == 3


def test_rows_of_jobs_come_by_pages_and_as_a_stream(usage: Usage) -> None:
    pages = [usage.jobs(ASKED, ALL, order="-cpu_hours", limit=4, offset=offset) for offset in (0, 4, 8, 12)]
    paged = [number for page in pages for number in page.table["job_id"].to_pylist()]
    with usage.job_reader(ASKED, ALL, order="-cpu_hours", rows=3) as reader:
        streamed = [number for batch in reader for number in batch["job_id"].to_pylist()]
    assert paged == streamed == list(range(11, 0, -1))
    assert {page.total_rows for page in pages} == {11}


def test_the_rows_of_a_page_are_found_in_whichever_file_they_lie(tmp_path: Path) -> None:
    """Numbers begin anew, clocks go wrong, jobs run for months: neither order says where a row is."""
    draw = random.Random(3)
    numbers = draw.sample(range(1, 400), 60)
    rows = []
    for number in numbers:
        submit_s = draw.randrange(360) * DAY_S
        end_s = draw.choice([submit_s + HOUR_S, submit_s + 90 * DAY_S, submit_s - HOUR_S, None])
        cluster = draw.choice(["c", "d"])
        more = {"cluster": cluster, "submit_s": submit_s, "job_name": f"{cluster}{number}", "seen_s": submit_s + DAY_S}
        rows.append(job(number, submit_s - 2 * HOUR_S, end_s, **more))
    with Warehouse.write(tmp_path, "UTC") as writer:
        for cluster in ("c", "d"):
            for part in range(4):  # files of their own
                some = [row for row in rows if row["cluster"] == cluster and row["submit_s"] // (90 * DAY_S) == part]
                writer.upsert(pa.Table.from_pylist(some, schema=JOBS), cluster=cluster)
                writer.commit()
    usage = Usage(Warehouse(tmp_path, 256), "UTC")
    asked = Question(("cpu_hours", "jobs"), 0, 500 * DAY_S)
    for order in ("-submit_s", "job_id"):
        found = [
            (row["cluster"], row["job_id"], row["job_name"])
            for offset in range(0, 60, 12)
            for row in usage.jobs(asked, ALL, order=order, limit=12, offset=offset).table.to_pylist()
        ]
        assert sorted(found) == sorted((row["cluster"], row["job_id"], row["job_name"]) for row in rows), order


class Moving(Accounts):
    """Goes on to a generation without a roll-up in the moment in which it is first asked."""

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        if self.generation == 1:
            self._db.execute("DELETE FROM usage_day")
            self.generation, self.rollup_zone = 2, None
        with super().cursor() as con:
            yield con


def test_an_answer_is_of_one_generation_while_another_thread_goes_on_to_the_next() -> None:
    jobs = [job(1, 0, 5 * DAY_S)]
    asked = Question(("cpu_hours",), DAY_S, 3 * DAY_S)
    assert Usage(Moving(jobs), "UTC").ask(asked, ALL).totals == {"cpu_hours": 48.0}
