"""Cost: the engine's hours times the prices in force, equal to plain arithmetic over each attempt, by every path."""

from __future__ import annotations

import csv
import io
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.accounting.exports import billing_jobs, billing_months, write
from backend.accounting.usage import Price, PriceList, Question, Scope, Usage
from tests.unit import usage_reference as reference
from tests.unit.test_usage_exactness import ACCOUNTS, BELOW, LENGTH_S, PROJECT_OF, PROJECTS, cases
from tests.unit.usage_kit import Accounts, at, job

ALL = Scope(everything=True)
HOUR_S, DAY_S = 3600, 86400
EXAMPLES = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
UNITS = {"cpu": ("cpu_s", 1), "mem": ("mem_mb_s", 1024), "node": ("node_s", 1), "billing": ("billing_s", 1),
         "gres/gpu": ("gpu_s", 1)}  # fmt: skip


class Kept:
    """A price list in memory."""

    def __init__(self, *prices: Price, currency: str = "EUR") -> None:
        self.list = PriceList(prices, currency, 1)

    def current(self) -> PriceList:
        return self.list


def price(tres: str, amount: str, from_s: int = 0, partition: str = "", qos: str = "") -> Price:
    return Price(tres, Decimal(amount), from_s, partition, qos)


def usage_of(rows: Any, *prices: Price, **more: Any) -> Usage:
    return Usage(Accounts(rows, **more), "UTC", prices=Kept(*prices))


def cost(rows: Any, *prices: Price, until_s: int = DAY_S, **said: Any) -> Any:
    return usage_of(rows, *prices).ask(Question(("cost",), 0, until_s, **said), ALL).totals["cost"]


# -- the reference -------------------------------------------------------------------------------------------


def applies(prices: Iterable[Price], base: str, kind: str | None, row: Any, at_s: int) -> float:
    """Among the newest of each combination, typed before untyped, then partition and QOS > partition > QOS > any."""
    names = ([f"{base}:{kind}"] if base == "gres/gpu" and kind else []) + [base]
    for name in names:
        for partition, qos in ((row["partition"], row["qos"]), (row["partition"], ""), ("", row["qos"]), ("", "")):
            found = [p for p in prices if p.about == (name, partition, qos) and p.from_s <= at_s]
            if found:
                return float(max(found, key=lambda p: p.from_s).amount)
    return 0.0


def expected(case: tuple[Any, ...], prices: tuple[Price, ...]) -> dict[tuple[Any, ...], float]:
    rows, stops, question, scope, _ = case
    of = defaultdict(list)
    for each in stops:
        of[each["cluster"], each["job_id"], each["submit_s"]].append((each["from_s"], each["to_s"]))
    costs: dict[tuple[Any, ...], float] = defaultdict(float)
    first_s = min(p.from_s for p in prices)
    for row in rows:
        if not reference.counts(row, question.definitions) or not reference.seen(row, scope, BELOW):
            continue
        attempt = reference.Attempt(row, of[row["cluster"], row["job_id"], row["submit_s"]], question.definitions)
        for labels, from_s, to_s in reference.buckets(question):
            edges = sorted({from_s, to_s, *(p.from_s for p in prices if from_s < p.from_s < to_s)})
            for begin_s, end_s in itertools.pairwise(edges):
                if begin_s < first_s:
                    continue
                for kind, sums in attempt.within(begin_s, end_s):
                    dims = reference.dimensions(row, PROJECT_OF) | labels | {"gpu_type": kind}
                    if reference.passes(dims, question.where, row["cluster"], BELOW):
                        key = tuple(dims[name] for name in question.by)
                        for base, (raw, by) in UNITS.items():
                            rate = applies(prices, base, kind, row, begin_s)
                            costs[key] += sums.get(raw, 0) / 3600 / by * rate
    return costs


@st.composite
def priced(draw: st.DrawFn) -> tuple[Any, ...]:
    case = draw(cases())
    middle_s = (case[2].since_s + case[2].until_s) // 2
    tres = st.sampled_from(["cpu", "mem", "node", "billing", "gres/gpu", "gres/gpu:a100", "gres/gpu:h100"])
    prices = draw(st.lists(
        st.builds(
            Price, tres, st.sampled_from([Decimal("0"), Decimal("0.013"), Decimal("2.5"), Decimal("100")]),
            st.integers(-LENGTH_S // 3600, LENGTH_S // 3600).map(lambda hour: middle_s + 3600 * hour),
            st.sampled_from(["", "", "cpu", "gpu"]), st.sampled_from(["", "", "high"]),
        ), min_size=1, max_size=7, unique_by=lambda p: (p.about, p.from_s),
    ))  # fmt: skip
    return case, tuple(prices)


def priced_usage(case: tuple[Any, ...]) -> Usage:
    (rows, stops, _, _, rollup_zone), prices = case
    accounts = Accounts(rows, stops, accounts=ACCOUNTS, rollup_zone=rollup_zone)
    return Usage(accounts, "UTC", prices=Kept(*prices), projects=PROJECTS)


def near(one: float | None, other: float) -> bool:
    return (one or 0.0) == pytest.approx(other, rel=1e-9, abs=1e-9)


@EXAMPLES
@given(priced())
def test_cost_agrees_with_plain_arithmetic(given_case: tuple[Any, ...]) -> None:
    (_, _, question, scope, _), prices = given_case
    usage = priced_usage(given_case)
    question = replace(question, metrics=("cost", "cpu_hours"), order="-cost")
    reckoned = expected(given_case[0], prices)
    answer = usage.ask(question, scope)
    assert near(answer.totals["cost"], sum(reckoned.values()))
    found = {tuple(row[name] for name in question.by): row["cost"] for row in answer.table.to_pylist()}
    assert set(reckoned) <= {*found, *(key for key, value in reckoned.items() if not value)}
    assert all(near(value, reckoned.get(key, 0.0)) for key, value in found.items())
    order = [value for value in answer.table["cost"].to_pylist() if value is not None]
    assert order == sorted(order, reverse=True)


@EXAMPLES
@given(priced(), st.integers(1, 99))
def test_the_cost_of_a_window_is_that_of_its_parts(given_case: tuple[Any, ...], share: int) -> None:
    question, scope = given_case[0][2:4]
    usage = priced_usage(given_case)
    whole = replace(question, metrics=("cost",), by=(), order="")
    cut_s = question.since_s + max(1, (question.until_s - question.since_s) * share // 100)
    if cut_s >= question.until_s:
        return
    parts = (replace(whole, until_s=cut_s), replace(whole, since_s=cut_s))
    assert near(usage.ask(whole, scope).totals["cost"], sum(usage.ask(p, scope).totals["cost"] or 0 for p in parts))


@EXAMPLES
@given(priced(), st.data())
def test_the_jobs_behind_a_cost_sum_to_it(given_case: tuple[Any, ...], data: st.DataObject) -> None:
    question, scope = given_case[0][2:4]
    usage = priced_usage(given_case)
    question = replace(question, metrics=("jobs", "cost", "cpu_hours", "energy_kwh"), order="")
    groups = usage.ask(question, scope).table.to_pylist()
    if not groups:
        return
    group = data.draw(st.sampled_from(groups))
    drilled = usage.jobs(question, scope, {n: group[n] for n in question.by}, order="-cost", limit=None)
    assert near(drilled.sums["cost"], group["cost"] or 0.0)
    assert {n: drilled.sums[n] for n in ("jobs", "cpu_hours", "energy_kwh")} == {
        n: group[n] for n in ("jobs", "cpu_hours", "energy_kwh")
    }
    shown = drilled.table["cost"].to_pylist()
    assert near(sum(value or 0.0 for value in shown), group["cost"] or 0.0)
    known = [value for value in shown if value is not None]
    assert known == sorted(known, reverse=True)


# -- by hand -------------------------------------------------------------------------------------------------


def test_hours_times_price() -> None:
    assert cost([job(1, 0, HOUR_S, cpus=4)], price("cpu", "0.25")) == 1.0


def test_memory_is_priced_by_the_gb() -> None:
    assert cost([job(1, 0, HOUR_S, mem_mb=2048)], price("mem", "0.5")) == 1.0


def test_a_type_of_gpu_has_its_own_price_and_never_both() -> None:
    rows = [job(1, 0, HOUR_S, gpus=2, gpu_type="h100"), job(2, 0, HOUR_S, gpus=1, gpu_type="a100")]
    assert cost(rows, price("gres/gpu", "1"), price("gres/gpu:h100", "4")) == 9.0


def test_of_a_mix_each_type_has_its_own_price() -> None:
    rows = [job(1, 0, HOUR_S, gpus=3, gpu_type="a100=2,h100=1")]
    assert cost(rows, price("gres/gpu:a100", "1"), price("gres/gpu:h100", "10")) == 12.0
    assert cost(rows, price("gres/gpu", "1"), price("gres/gpu:h100", "10")) == 12.0


def test_a_type_of_gpu_that_was_only_in_a_mix_has_a_row_with_its_cost() -> None:
    usage = usage_of([job(1, 0, HOUR_S, gpus=3, gpu_type="a100=2,h100=1")], price("gres/gpu:h100", "7"))
    answer = usage.ask(Question(("cost", "cpu_hours"), 0, DAY_S, by=("gpu_type",)), ALL)
    assert {row["gpu_type"]: row["cost"] for row in answer.table.to_pylist()}["h100"] == 7


@pytest.mark.parametrize(
    ("partition", "qos", "value"), [("gpu", "high", 8), ("gpu", "low", 4), ("cpu", "high", 2), ("cpu", "low", 1)]
)
def test_the_most_specific_price_applies(partition: str, qos: str, value: int) -> None:
    prices = (
        price("cpu", "1"), price("cpu", "2", qos="high"), price("cpu", "4", partition="gpu"),
        price("cpu", "8", partition="gpu", qos="high"),
    )  # fmt: skip
    assert cost([job(1, 0, HOUR_S, partition=partition, qos=qos)], *prices) == value


def test_each_hour_has_the_price_that_was_in_force_then() -> None:
    prices = (price("cpu", "1"), price("cpu", "10", from_s=2 * HOUR_S))
    assert cost([job(1, 0, 3 * HOUR_S)], *prices) == 12.0


def test_suspended_time_costs_what_its_hours_do() -> None:
    assert cost([job(1, 0, 2 * HOUR_S, suspended_s=HOUR_S)], price("cpu", "1"), price("node", "1")) == 3.0


def test_without_prices_there_is_no_cost_and_it_says_so() -> None:
    answer = usage_of([job(1)]).ask(Question(("cost", "cpu_hours"), 0, DAY_S, by=("user",)), ALL)
    assert answer.table.to_pylist() == [{"user": "ada", "cost": None, "cpu_hours": 1.0}]
    assert answer.totals == {"cost": None, "cpu_hours": 1.0}
    assert "No prices are set, so nothing has a cost." in answer.notes
    rows = usage_of([job(1)]).jobs(Question(("cost",), 0, DAY_S), ALL, order="-cost")
    assert rows.sums == {"cost": None}


def test_usage_before_the_first_price_is_left_out_and_noted() -> None:
    usage = usage_of([job(1, 0, HOUR_S), job(2, DAY_S, DAY_S + HOUR_S)], price("cpu", "1", from_s=DAY_S))
    answer = usage.ask(Question(("cost",), 0, 2 * DAY_S, by=("day",)), ALL)
    assert answer.table["cost"].to_pylist() == [None, 1.0]
    assert answer.totals["cost"] == 1.0
    assert any("usage before is left out" in note for note in answer.notes)
    assert "Costs are in EUR." in answer.notes


def test_groups_are_ordered_and_limited_by_cost() -> None:
    rows = [job(n, 0, HOUR_S, user=f"u{n}", cpus=n) for n in range(1, 6)]
    question = Question(("cost",), 0, DAY_S, by=("user",), order="-cost", limit=2)
    answer = usage_of(rows, price("cpu", "1")).ask(question, ALL)
    assert answer.table.to_pylist() == [{"user": "u5", "cost": 5.0}, {"user": "u4", "cost": 4.0}]
    assert answer.totals["cost"] == 15.0


def test_a_new_price_list_is_not_answered_from_memory() -> None:
    kept = Kept(price("cpu", "1"))
    usage = Usage(Accounts([job(1)]), "UTC", prices=kept)
    question = Question(("cost",), 0, DAY_S)
    assert usage.ask(question, ALL).totals["cost"] == 1.0
    kept.list = PriceList((price("cpu", "3"),), "EUR", 2)
    assert usage.ask(question, ALL).totals["cost"] == 3.0


def columns() -> Iterator[str]:
    yield from ("cluster", "user", "account", "partition", "qos", "gpu_type", "state", "day", "month")


@pytest.mark.parametrize("name", list(columns()))
def test_cost_by_each_dimension_sums_to_the_total(name: str) -> None:
    rows = [job(n, n * HOUR_S, n * HOUR_S + 5000, gpus=n % 2, gpu_type="a100" if n % 2 else None) for n in range(60)]
    usage = usage_of(rows, price("cpu", "0.3"), price("gres/gpu", "2", from_s=DAY_S))
    answer = usage.ask(Question(("cost",), 0, 4 * DAY_S, by=(name,)), ALL)
    assert near(sum(answer.table["cost"].to_pylist()), answer.totals["cost"] or 0)
    assert answer.totals["cost"]


def test_the_billing_export_has_the_cost_of_each_job_and_month() -> None:
    begin_s = at("2026-11-01")
    rows = [job(n, begin_s + n * DAY_S, begin_s + n * DAY_S + HOUR_S, cpus=n) for n in range(1, 5)]
    usage = usage_of(rows, price("cpu", "0.5"), price("cpu", "5", from_s=begin_s + 3 * DAY_S))
    with billing_jobs(usage, begin_s, begin_s + 30 * DAY_S, "UTC") as sheet:
        out = io.BytesIO()
        write(sheet, "csv", out)
    found = {row["job_id"]: float(row["cost"]) for row in csv.DictReader(io.StringIO(out.getvalue().decode()))}
    assert found == {"1": 0.5, "2": 1.0, "3": 15.0, "4": 20.0}
    out = io.BytesIO()
    write(billing_months(usage, begin_s, begin_s + 30 * DAY_S, "UTC"), "csv", out)
    assert [float(row["cost"]) for row in csv.DictReader(io.StringIO(out.getvalue().decode()))] == [36.5]
