"""Usage by project: the accounts' own figures, put together as the list of projects says now."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest

from backend.accounting.rights import scope_of
from backend.accounting.usage import CATALOGUE, PROJECT_METHOD, BadQuestion, Question, Scope, Usage
from backend.accounting.usage.figures.plan import plan
from tests.unit.test_usage_costs import Kept, price
from tests.unit.test_usage_scope import viewer
from tests.unit.usage_kit import Accounts, Declared, job

HOUR_S, DAY_S = 3600, 86400
ALL = Scope(everything=True)
TREE = [
    {"cluster": "c", "name": "physics", "parent": "root"}, {"cluster": "c", "name": "quantum", "parent": "physics"},
    {"cluster": "c", "name": "spin", "parent": "quantum"}, {"cluster": "c", "name": "biology", "parent": "root"},
]  # fmt: skip
BELONGS = {"physics": "P", "quantum": "Q", "spin": "Q", "chemistry": "P", "biology": None, None: None}
# Each job has as many CPUs as its number has: a power of two, so that a sum names its parts.
JOBS = [
    (1, "physics", "ada"), (2, "quantum", "bob"), (4, "spin", "eve"), (8, "chemistry", "ada"), (16, "biology", "bob"),
    (32, None, "ada"), (64, "quantum", "ada"),
]  # fmt: skip
BY = Question(("cpu_hours", "jobs"), 0, 2 * DAY_S, by=("project",))


def declared() -> Declared:
    return Declared(P=["physics", "chemistry"], Q=["c:quantum"])


def rows() -> list[dict[str, Any]]:
    ended = [job(n, HOUR_S, 2 * HOUR_S, cpus=n, account=account, user=user, uid=None) for n, account, user in JOBS]
    runs = job(99, 0, None, seen_s=HOUR_S, cpus=128, account="spin", user="eve", uid=None)
    return [*ended, runs]


@pytest.fixture(params=["UTC", None], ids=["roll-up", "detail"])
def usage(request: pytest.FixtureRequest) -> Usage:
    return Usage(Accounts(rows(), accounts=TREE, rollup_zone=request.param), "UTC", projects=declared())


def hours(usage: Usage, question: Question, scope: Scope = ALL) -> dict[str | None, float]:
    table = usage.ask(question, scope).table
    return dict(zip(table["project"].to_pylist(), table["cpu_hours"].to_pylist(), strict=True))


def test_a_project_has_what_its_accounts_have_and_the_rest_is_in_none(usage: Usage) -> None:
    wanted: dict[str | None, float] = defaultdict(float)
    for row in rows():
        wanted[BELONGS[row["account"]]] += row["cpus"]
    assert hours(usage, BY) == wanted
    assert sum(wanted.values()) == usage.ask(BY, ALL).totals["cpu_hours"]


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (("P",), {1, 8}), (("Q",), {2, 4, 64, 128}), (("P", "Q"), {1, 8, 2, 4, 64, 128}), (("",), {16, 32}),
        (("P", ""), {1, 8, 16, 32}), (("gone",), set()), (("gone", ""), {16, 32}),
    ],
)  # fmt: skip
def test_a_filter_by_project_keeps_its_jobs(usage: Usage, values: tuple[str, ...], numbers: set[int]) -> None:
    question = replace(BY, by=(), where=(("project", values),))
    assert usage.ask(question, ALL).totals["cpu_hours"] == sum(numbers)
    assert set(usage.jobs(question, ALL, limit=None).table["cpus"].to_pylist()) == numbers


@pytest.mark.parametrize(("cell", "numbers"), [("P", {1, 8}), ("Q", {2, 4, 64, 128}), (None, {16, 32})])
def test_a_figure_of_a_project_opens_into_its_jobs(usage: Usage, cell: str | None, numbers: set[int]) -> None:
    found = usage.jobs(BY, ALL, {"project": cell}, limit=None)
    assert set(found.table["cpus"].to_pylist()) == numbers
    assert found.sums["cpu_hours"] == hours(usage, BY)[cell]
    with usage.job_reader(BY, ALL, {"project": cell}) as reader:
        assert set(reader.read_all()["cpus"].to_pylist()) == numbers


def test_cost_and_quantiles_are_by_project_too() -> None:
    usage = Usage(Accounts(rows(), accounts=TREE), "UTC", prices=Kept(price("cpu", "2")), projects=declared())
    question = replace(BY, metrics=("cost", "wait_median_s"))
    table = usage.ask(question, ALL).table.to_pydict()
    assert dict(zip(table["project"], table["cost"], strict=True)) == {"P": 18.0, "Q": 396.0, None: 96.0}
    assert table["wait_median_s"] == [0.0, 0.0, 0.0]
    assert usage.jobs(question, ALL, {"project": "P"}).sums["cost"] == 18.0


def test_a_job_whose_attempts_were_in_two_accounts_of_a_project_is_one_job() -> None:
    first = job(1, 0, HOUR_S, account="quantum", state="REQUEUED", last_attempt=False)
    again = job(1, 2 * HOUR_S, 3 * HOUR_S, submit_s=HOUR_S, origin_s=0, attempt=2, account="spin")
    usage = Usage(Accounts([first, again], accounts=TREE), "UTC", projects=declared())
    assert usage.ask(replace(BY, metrics=("jobs", "attempts")), ALL).table.to_pylist() == [
        {"project": "Q", "jobs": 1, "attempts": 2}
    ]


def test_an_account_of_one_cluster_is_in_the_project_there_alone() -> None:
    both = [job(1, 0, HOUR_S, cluster="c", account="quantum"), job(2, 0, HOUR_S, cluster="d", account="quantum")]
    tree = [*TREE, {"cluster": "d", "name": "quantum", "parent": "root"}]
    usage = Usage(Accounts(both, accounts=tree), "UTC", projects=declared())
    assert hours(usage, BY) == {"Q": 1.0, None: 1.0}
    assert usage.ask(replace(BY, by=(), where=(("project", ("Q",)),)), ALL).totals["cpu_hours"] == 1.0


# -- rights --------------------------------------------------------------------------------------------------

COORDINATOR = viewer("eve", None, "user coordinator", "spin")


def test_a_coordinator_of_one_account_sees_of_the_project_only_that_account(usage: Usage) -> None:
    scope = scope_of(COORDINATOR)
    assert hours(usage, BY, scope) == {"Q": 4.0 + 128.0}
    for where in ((), (("project", ("Q", "P", "")),)):
        found = usage.jobs(replace(BY, where=where), scope, {"project": "Q"}, limit=None)
        assert set(found.table["account"].to_pylist()) == {"spin"}
    assert usage.values("project", scope) == ["Q"]
    assert usage.values("project", ALL) == ["P", "Q"]
    assert usage.values("project", ALL, prefix="q") == ["Q"]
    assert usage.values("project", Scope()) == []


# -- from the roll-up, from memory ---------------------------------------------------------------------------


def test_by_project_is_answered_from_the_same_roll_up_as_by_account() -> None:
    question = replace(BY, by=("project", "day"), where=(("project", ("P",)),))
    made = plan(question, ALL, "UTC")
    assert made.level == plan(replace(question, by=("account", "day"), where=()), ALL, "UTC").level == "account"
    assert made.pieces == ()
    assert plan(question, Scope(user="ada"), "UTC").level == "user"


def test_a_change_of_the_projects_is_seen_at_once_and_nothing_else_is_reckoned_again(usage: Usage) -> None:
    plain = replace(BY, by=("account",))
    by_account = usage.ask(plain, ALL)
    filtered = replace(BY, by=(), where=(("project", ("P",)),))
    assert usage.ask(BY, ALL) is usage.ask(BY, ALL)
    assert usage.ask(filtered, ALL).totals["cpu_hours"] == 9.0
    usage.projects.declare(P=["biology"])  # type: ignore[attr-defined]
    assert hours(usage, BY) == {"P": 16.0, None: 1.0 + 2 + 4 + 8 + 32 + 64 + 128}
    assert usage.ask(filtered, ALL).totals["cpu_hours"] == 16.0
    assert set(usage.jobs(BY, ALL, {"project": "P"}).table["account"].to_pylist()) == {"biology"}
    assert usage.ask(plain, ALL) is by_account


# -- what is said of it --------------------------------------------------------------------------------------


@pytest.mark.parametrize("metrics", [("cpu_hours",), ("cost",), ("wait_p90_s", "jobs")])
def test_the_method_says_that_the_mapping_is_todays(usage: Usage, metrics: tuple[str, ...]) -> None:
    for question in (replace(BY, metrics=metrics), replace(BY, metrics=metrics, by=(), where=(("project", ("P",)),))):
        assert all(note.endswith(PROJECT_METHOD) for note in usage.ask(question, ALL).methods.values())
    assert PROJECT_METHOD not in usage.ask(replace(BY, by=("account",)), ALL).methods["cpu_hours"]


def test_without_projects_the_dimension_is_not_offered_and_says_how_to_set_them_up() -> None:
    usage = Usage(Accounts(rows(), accounts=TREE), "UTC")
    assert "project" not in {each.name for each in usage.catalogue().dimensions}
    for ask in (
        lambda: usage.ask(BY, ALL),
        lambda: usage.ask(replace(BY, by=(), where=(("project", ("P",)),)), ALL),
        lambda: usage.jobs(BY, ALL),
        lambda: usage.values("project", ALL),
    ):
        with pytest.raises(BadQuestion, match=r"accounting\.projects_file"):
            ask()


def test_with_projects_the_dimension_is_offered(usage: Usage) -> None:
    assert usage.catalogue() == CATALOGUE
    assert "project" in {each.name for each in usage.catalogue().dimensions}
