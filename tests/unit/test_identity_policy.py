"""Who may do what: the table, read aloud."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from backend.identity import Viewer, policy
from backend.identity.policy import TABLE, UnknownAction, allowed


def viewer(name: str, *roles: str, coordinates: tuple[str, ...] = ()) -> Viewer:
    return Viewer(name, name, 1000, frozenset({"user", *roles}), "login", coordinates=frozenset(coordinates))


ADA = viewer("ada")
BOB = viewer("bob")
CLEO = viewer("cleo", "coordinator", coordinates=("astro",))
DORA = viewer("dora", "operator")
EVE = viewer("eve", "admin")


@dataclass(frozen=True)
class Thing:
    owner: str
    account: str = ""


ADAS = Thing("ada", "astro")


@pytest.mark.parametrize(
    ("action", "who"),
    [
        ("session.see", {"ada", "dora", "eve"}),
        ("session.open", {"ada"}),
        ("session.log", {"ada"}),
        ("session.stop", {"ada", "dora", "eve"}),
        ("session.keep", {"ada"}),
        ("session.remove", {"ada"}),
        ("job.see", {"ada", "cleo", "dora", "eve"}),
        ("job.cancel", {"ada", "cleo", "dora", "eve"}),
    ],
)
def test_what_is_adas_is_open_to(action: str, who: set[str]) -> None:
    assert {each.name for each in (ADA, BOB, CLEO, DORA, EVE) if allowed(each, action, ADAS)} == who


@pytest.mark.parametrize(
    ("action", "who"),
    [
        ("session.launch", {"ada", "bob", "cleo", "dora", "eve"}),
        ("jobs.all", {"dora", "eve"}),
        ("jobs.accounts", {"cleo", "dora", "eve"}),
        ("person.admin", {"eve"}),
        ("page:home", {"ada", "bob", "cleo", "dora", "eve"}),
        ("page:admin", {"dora", "eve"}),
    ],
)
def test_what_needs_a_role_is_open_to(action: str, who: set[str]) -> None:
    assert {each.name for each in (ADA, BOB, CLEO, DORA, EVE) if allowed(each, action)} == who


@pytest.mark.parametrize("action", sorted(TABLE))
def test_nobody_may_do_nothing(action: str) -> None:
    assert not allowed(None, action, ADAS)


@pytest.mark.parametrize("action", sorted(TABLE))
def test_a_row_names_roles_and_relations_that_exist(action: str) -> None:
    rule = TABLE[action]
    assert rule.roles <= set(policy.ROLES)
    assert rule.relations <= set(policy.RELATIONS)
    assert rule.roles | rule.relations


@pytest.mark.parametrize("action", ["", "session", "page:nowhere", "person.admin "])
def test_an_action_that_is_not_in_the_table_is_an_error(action: str) -> None:
    with pytest.raises(UnknownAction):
        allowed(EVE, action)


def test_a_job_is_a_row_too() -> None:
    assert allowed(ADA, "job.see", {"user": "ada", "account": "astro"})
    assert allowed(CLEO, "job.see", {"user": "ada", "account": "astro"})
    assert not allowed(CLEO, "job.see", {"user": "ada", "account": "biology"})
    assert not allowed(BOB, "job.see", {"user": "ada", "account": None})


def test_a_target_without_an_owner_belongs_to_nobody() -> None:
    assert not allowed(ADA, "session.open", None)
    assert not allowed(ADA, "session.open", {})
    assert not allowed(viewer(""), "session.open", {})
