"""The history over REST and on the command line: the same jobs for each role, as described, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli import main
from app.rest.table import PREFIX
from tests.unit.gatehouse import Answer, Browser, House, Person
from tests.unit.test_rest_api import as_described
from tests.unit.usage_kit import at
from tests.unit.usage_rest_kit import HOSTILE, fill

# Whose jobs each sees: one's own, a coordinator those of the account and of all below it, operators all.
SEEN = {"bob": {4}, "ada": {1, 2, 3, 5}, "olga": {1, 2, 3, 4, 5}, "nina": set[int]()}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("history"))
    fill(made.settings.instance.data_dir)
    made.services.identity.coordinates_by(lambda name: frozenset({"physics"}) if name == "ada" else frozenset())
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def people(house: House) -> dict[str, Person]:
    uids = {"ada": 1001, "bob": 1004, "nina": 1077, "olga": 2001}
    found = {}
    for name, uid in uids.items():
        identity = house.services.identity
        roles = ("operator",) if name == "olga" else ()
        identity.add_person("console", name, "correct horse battery staple", roles=roles, uid=uid)
        found[name] = Person(name, identity.enrol_directly(name), lambda: "")
    return found


async def mark(browser: Browser, number: int, body: dict[str, object]) -> Answer:
    token = {"X-CSRF-Token": await browser.csrf()}
    return await browser.ask("POST", f"{PREFIX}/jobs/{number}/marks", token, json=body)


@pytest.mark.parametrize("name", SEEN)
async def test_each_role_finds_its_jobs_and_no_more(house: House, people: dict[str, Person], name: str) -> None:
    async with house.browser() as browser:
        browser.enter(people[name])
        answer = await browser.get(f"{PREFIX}/jobs/history?who=all")
        assert {row["job_id"] for row in answer.json()["jobs"]} == SEEN[name]
        described = (await browser.get(f"{PREFIX}/openapi.json")).json()
        as_described(described, "/jobs/history", "GET", answer)
        for number in {1, 2, 3, 4, 5} - SEEN[name]:
            as_described(described, "/jobs/{job}/marks", "GET", await browser.get(f"{PREFIX}/jobs/{number}/marks"))
            assert (await browser.get(f"{PREFIX}/jobs/{number}/marks")).status == 404
            assert (await mark(browser, number, {"add": ["x"]})).status == 404


async def test_filters_pages_and_names_come_back_as_they_are(house: House, people: dict[str, Person]) -> None:
    async with house.browser() as browser:
        browser.enter(people["olga"])
        path = f"{PREFIX}/jobs/history?who=all&since=2026-11-03&wall=2h..&limit=2"
        first = (await browser.get(path)).json()
        second = (await browser.get(f"{path}&after={first['after']}")).json()
        assert [row["job_id"] for row in first["jobs"] + second["jobs"]] == [4, 3, 2, 1]
        assert first["jobs"][0]["job_name"] == HOSTILE
        back = (await browser.get(f"{path}&before={second['before']}")).json()
        assert back["jobs"] == first["jobs"]


async def test_the_owner_writes_on_a_job_and_a_coordinator_only_reads(house: House, people: dict[str, Person]) -> None:
    async with house.browser() as bob, house.browser() as ada:
        bob.enter(people["bob"])
        described = (await bob.get(f"{PREFIX}/openapi.json")).json()
        answer = await mark(bob, 4, {"add": ["Paper"], "note": "<b>see</b>\nfig. 3"})
        as_described(described, "/jobs/{job}/marks", "POST", answer)
        assert (answer.json()["tags"], answer.json()["note"]) == (["paper"], "<b>see</b>\nfig. 3")
        found = (await bob.get(f"{PREFIX}/jobs/history?tag=paper")).json()["jobs"]
        assert [(row["job_id"], row["tags"], row["note"]) for row in found] == [(4, ["paper"], "<b>see</b>\nfig. 3")]
        ada.enter(people["ada"])
        assert (await ada.get(f"{PREFIX}/jobs/2/marks")).status == 200
        refused = await mark(ada, 2, {"add": ["mine"]})
        as_described(described, "/jobs/{job}/marks", "POST", refused)
        assert refused.status == 403


@pytest.mark.parametrize(
    "query",
    ["state=ASLEEP", "colour=red", "gpus=x", "after=x", "limit=0", "sort=user", "since=today&until=today"],
)
async def test_a_question_without_sense_is_answered_with_its_word(
    house: House, people: dict[str, Person], query: str
) -> None:
    async with house.browser() as browser:
        browser.enter(people["bob"])
        answer = await browser.get(f"{PREFIX}/jobs/history?{query}")
        assert answer.status == 400, answer.text


@pytest.mark.parametrize(
    "body", [{"add": "x"}, {"add": ["two words"]}, {"colour": 1}, {"note": 5}, {"note": "x" * 5000}]
)
async def test_marks_that_make_no_sense_are_refused(
    house: House, people: dict[str, Person], body: dict[str, object]
) -> None:
    async with house.browser() as browser:
        browser.enter(people["bob"])
        assert (await mark(browser, 4, body)).status == 400


# -- the command line ----------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("CARME_", "SUDO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CARME_DATA", str(tmp_path / "data"))
    fill(tmp_path / "data")


@pytest.mark.usefixtures("data")
def test_the_command_finds_jobs_of_bobryone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "history", "--user", "ada,bob", "--wall", "2h..", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["job_id"] for row in found["jobs"]] == [4, 1]
    assert (found["jobs"][0]["job_name"], found["total"], found["exact"]) == (HOSTILE, 2, True)
    assert found["jobs"][0]["end_s"] == at("2026-11-03T08:00")


@pytest.mark.usefixtures("data")
def test_the_table_can_t_be_broken_by_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "history"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert not any("\u202e" in line for line in lines)


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("wrong", [["--state", "ASLEEP"], ["--gpus", "x"], ["--after", "x"], ["--limit", "0"]])
def test_wrong_use_is_told(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "history", *wrong]) == 2
    assert "carme:" in capsys.readouterr().err
