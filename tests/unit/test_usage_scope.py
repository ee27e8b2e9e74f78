"""Whose usage a person sees, by each door of the engine: nothing beyond the scope is counted, shown or named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backend.accounting.rights import scope_of
from backend.accounting.usage import CATALOGUE, Question, Scope, Usage
from backend.identity import Viewer
from tests.unit.usage_kit import Accounts, job, suspended

HOUR_S, DAY_S = 3600, 86400
TREE = [{"cluster": "c", "name": "quantum", "parent": "physics"}, {"cluster": "c", "name": "spin", "parent": "quantum"}]
# Each job has as many CPUs as its number has: a power of two, so that a sum names its parts.
PEOPLE = [
    (1, "ada", 1001, "physics"), (2, "ada", 1001, "chemistry"), (4, "bob", 1002, "quantum"),
    (8, "bob", 1002, "chemistry"), (16, "eve", 1003, "spin"),
    (32, "ada", 1999, "chemistry"),  # another person, who had the name before
    (64, "ada", None, "biology"),  # imported: no uid is known
    (128, "ada-renamed", 1001, "biology"),  # the same person under a later name
]  # fmt: skip


def viewer(name: str, uid: int | None, roles: str, coordinates: str = "") -> Viewer:
    return Viewer(name, name, uid, frozenset(roles.split()), "login", coordinates=frozenset(coordinates.split()))


ROLES = {
    "user": (viewer("ada", 1001, "user"), {1, 2, 64, 128}),
    "user without uid": (viewer("bob", None, "user"), {4, 8}),
    "user without jobs": (viewer("joe", 1009, "user"), set()),
    "coordinator": (viewer("bob", 1002, "user coordinator", "quantum"), {4, 8, 16}),
    "coordinator of a parent": (viewer("eve", 1003, "user coordinator", "physics"), {1, 4, 16}),
    "operator": (viewer("op", 1, "user operator"), {row[0] for row in PEOPLE}),
    "admin": (viewer("root", 0, "user admin"), {row[0] for row in PEOPLE}),
}


@pytest.fixture(scope="module", params=["UTC", None], ids=["roll-up", "detail"])
def usage(request: pytest.FixtureRequest) -> Usage:
    rows, stops = [], []
    for number, user, uid, account in PEOPLE:
        said: dict[str, Any] = {
            "user": user,
            "uid": uid,
            "account": account,
            "cpus": number,
            "job_name": f"job{number}",
        }
        rows.append(job(number, 0, HOUR_S, **said))
        # The same once more, running, pending, suspended, requeued and in components: each way of being counted.
        rows.append(job(1000 + number, 0, None, seen_s=HOUR_S, **said))
        rows.append(job(2000 + number, None, None, submit_s=0, seen_s=HOUR_S, **(said | {"cpus": 0})))
        rows.append(job(3000 + number, 0, 2 * HOUR_S, suspended_s=HOUR_S, **said))
        stops += suspended(rows[-1], (0, HOUR_S))
        rows.append(job(4000 + number, 0, HOUR_S, state="REQUEUED", last_attempt=False, **said))
        rows.append(job(5000 + number, 0, HOUR_S, het_job_id=5000 + number, het_offset=0, **said))
        rows.append(job(6000 + number, 0, HOUR_S, gpus=3, gpu_type="a100=2,h100=1", **said))
    return Usage(Accounts(rows, stops, accounts=TREE, rollup_zone=request.param), "UTC")


OF_EACH = 6.0  # CPU hours of each number, over its rows
Ask = Callable[[Usage, Question, Scope], set[int]]
BY_ACCOUNT = Question(("cpu_hours", "jobs"), 0, DAY_S, by=("account", "user", "day"))


def numbers(cpu_hours: float) -> set[int]:
    total = cpu_hours / OF_EACH
    return {row[0] for row in PEOPLE if int(total) & row[0]} if total == int(total) else {-1}


def by_total(usage: Usage, question: Question, scope: Scope) -> set[int]:
    return numbers(usage.ask(question, scope).totals["cpu_hours"] or 0)


def by_rows(usage: Usage, question: Question, scope: Scope) -> set[int]:
    return numbers(sum(usage.ask(question, scope).table["cpu_hours"].to_pylist()))


def by_hours(usage: Usage, question: Question, scope: Scope) -> set[int]:
    asked = Question(("cpu_hours",), question.since_s, question.until_s, ("hour",), question.where)
    return numbers(sum(usage.ask(asked, scope).table["cpu_hours"].to_pylist()))


def by_jobs(usage: Usage, question: Question, scope: Scope) -> set[int]:
    found = usage.jobs(question, scope, limit=None)
    assert found.total_rows == found.table.num_rows
    assert numbers(found.sums["cpu_hours"] or 0) == {n % 1000 for n in found.table["job_id"].to_pylist()}
    return {int(name.removeprefix("job")) for name in found.table["job_name"].to_pylist()}


def by_file(usage: Usage, question: Question, scope: Scope) -> set[int]:
    with usage.job_reader(question, scope) as reader:
        return {number % 1000 for number in reader.read_all()["job_id"].to_pylist()}


DOORS: dict[str, Ask] = {"total": by_total, "rows": by_rows, "hours": by_hours, "jobs": by_jobs, "file": by_file}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("role", ROLES)
def test_each_role_gets_its_rows_and_no_other_by_every_door(usage: Usage, role: str, door: str) -> None:
    person, expected = ROLES[role]
    assert DOORS[door](usage, BY_ACCOUNT, scope_of(person)) == expected


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "where",
    [
        (("user", ("ada", "bob", "eve", "ada-renamed")),),
        (("account", ("physics", "chemistry", "biology")),),
        (("user", ("eve",)), ("account", ("physics",))),
        (("cluster", ("c",)),),
        (("user", ("eve' OR 1=1 --",)),),
        (("gpu_type", ("", "a100", "h100", "a100=2,h100=1")),),
    ],
)
@pytest.mark.parametrize("role", ["user", "coordinator"])
def test_no_filter_widens_a_scope(usage: Usage, role: str, where: Any, door: str) -> None:
    person, expected = ROLES[role]
    question = Question(BY_ACCOUNT.metrics, 0, DAY_S, BY_ACCOUNT.by, where)
    assert DOORS[door](usage, question, scope_of(person)) <= expected


@pytest.mark.parametrize("role", ROLES)
def test_a_cell_of_someone_else_holds_no_job(usage: Usage, role: str) -> None:
    person, expected = ROLES[role]
    for number, user, _, account in PEOPLE:
        cell = {"user": user, "account": account, "day": "1970-01-01"}
        found = usage.jobs(BY_ACCOUNT, scope_of(person), cell, limit=None)
        assert {each % 1000 for each in found.table["job_id"].to_pylist()} <= expected
        assert found.total_rows or number not in expected


@pytest.mark.parametrize("role", ROLES)
def test_filters_offer_no_name_beyond_the_scope(usage: Usage, role: str) -> None:
    person, expected = ROLES[role]
    known = [row for row in PEOPLE if row[0] in expected]
    assert usage.values("user", scope_of(person)) == sorted({row[1] for row in known})
    assert usage.values("account", scope_of(person)) == sorted({row[3] for row in known})


@pytest.mark.parametrize("role", ROLES)
def test_every_metric_is_of_the_scope_alone(usage: Usage, role: str) -> None:
    # Alone in a warehouse, one's own rows must give what they give among all others'.
    person, expected = ROLES[role]
    question = Question(tuple(metric.name for metric in CATALOGUE.metrics), 0, DAY_S)
    names = Question(question.metrics, 0, DAY_S, where=(("user", ("nobody",)),))
    found = usage.ask(question, scope_of(person))
    if not expected:
        assert found.totals == usage.ask(names, Scope(everything=True)).totals
        assert not any("run" in note for note in found.notes)
    else:
        assert found.totals["jobs"] == 7 * len(expected)
        assert any(f"{len(expected)} jobs still run" in note for note in found.notes)


def test_a_scope_of_nobody_sees_nothing(usage: Usage) -> None:
    for door in DOORS.values():
        assert door(usage, BY_ACCOUNT, Scope()) == set()
    assert usage.values("user", Scope()) == []


def test_an_answer_is_never_handed_to_another_scope(usage: Usage) -> None:
    everything = usage.ask(BY_ACCOUNT, Scope(everything=True))
    own = usage.ask(BY_ACCOUNT, Scope(user="bob", uid=1002))
    assert own.totals["cpu_hours"] != everything.totals["cpu_hours"]
    assert usage.ask(BY_ACCOUNT, Scope(user="bob", uid=1002)) is own
