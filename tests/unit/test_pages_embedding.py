"""Embeds as the reports page makes, lists and ends them: only of reports one may see, only one's own to copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.accounting.reports import Draft
from backend.identity import Viewer
from backend.services import Services, open_services
from config import load_settings
from pages.parts.desk import Refused
from pages.parts.embedding import ACTIONS, Wanted, end, listed, make
from pages.shell import ACTIONS as SHELL_ACTIONS
from tests.unit.usage_rest_kit import fill

QUESTION = {"metrics": ["cpu_hours"], "by": ["user"], "since": "2026-11-01", "until": "2026-12-01"}
SITE = "https://wiki.example.org"


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    fill(tmp_path)
    made = open_services(load_settings(None, {"CARME_DATA": str(tmp_path)}))
    for name, roles in (("ada", ()), ("bob", ()), ("olga", ("operator",))):
        made.identity.add_person("console", name, "correct horse battery staple", roles=roles)
    yield made
    made.identity.close()
    made.db.close()


def viewer(services: Services, name: str) -> Viewer:
    found = services.identity.standing(name)
    assert found is not None
    return found


def saved(services: Services, owner: str, visibility: str = "private") -> str:
    return services.reports.save(viewer(services, owner), Draft("Hours", QUESTION, visibility=visibility)).id


def wanted(report: str, *sites: str, days: int = 0) -> Wanted:
    return Wanted(report, sites or (SITE,), True, days)


def test_the_shell_knows_the_actions() -> None:
    assert ACTIONS.items() <= SHELL_ACTIONS.items()
    assert {name.partition(".")[0] for name in ACTIONS} == {"reports"}  # who may see that page may ask


def test_a_report_that_is_not_shown_can_not_be_embedded(services: Services) -> None:
    report = saved(services, "ada")
    for name in ("bob", "olga"):
        with pytest.raises(Refused):
            make(services, viewer(services, name), wanted(report))
    assert make(services, viewer(services, "ada"), wanted(report))["script"]


def test_a_wrong_site_names_its_field(services: Services) -> None:
    with pytest.raises(Refused) as refused:
        make(services, viewer(services, "ada"), wanted(saved(services, "ada"), "*"))
    assert refused.value.problems[0][0] == "sites"


def test_the_list_holds_what_holds_and_codes_of_one_s_own(services: Services) -> None:
    report = saved(services, "ada", "everyone")
    ada, bob, olga = (viewer(services, name) for name in ("ada", "bob", "olga"))
    first, second = make(services, ada, wanted(report)), make(services, bob, wanted(report))
    assert [each["id"] for each in listed(services, ada, report, True)["embeds"]] == [first["id"]]
    assert listed(services, ada, "another", False)["embeds"] == []
    everyones = listed(services, olga, "", True)
    assert {each["id"] for each in everyones["embeds"]} == {first["id"], second["id"]}
    assert {each["script"] for each in everyones["embeds"]} == {None}
    with pytest.raises(Refused):
        end(services, bob, first["id"])
    end(services, olga, first["id"])
    assert listed(services, ada, report, False)["embeds"] == []
