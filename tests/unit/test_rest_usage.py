"""Usage over REST: the figures, as files too, and no row of anyone whom the asker may not see."""

from __future__ import annotations

import asyncio
import csv
import io
import re
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import openpyxl
import pyarrow.parquet as pq
import pypdf
import pytest

from app.rest.table import PREFIX
from app.rest.usage import UsageHandler
from tests.unit.gatehouse import House, Person
from tests.unit.test_rest_api import as_described
from tests.unit.usage_rest_kit import HOSTILE, fill

NOVEMBER = "since=2026-11-01&until=2026-12-01"
HOURS = {"ada": 6.0, "eve": 6.0, "leo": 10.0, "bob": 14.0}
# Whose CPU hours each may see: one's own, a coordinator those of the account and of all below it, operators all.
SEEN = {
    "bob": {"bob"},
    "ada": {"ada", "eve", "leo"},
    "olga": set(HOURS),
    "root": set(HOURS),
    "nina": set(),  # has never run a job
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("usage"))
    fill(made.settings.instance.data_dir)
    made.services.identity.coordinates_by(lambda name: frozenset({"physics"}) if name == "ada" else frozenset())
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def people(house: House) -> dict[str, Person]:
    roles = {"olga": ("operator",), "root": ("admin",)}
    uids = {"ada": 1001, "bob": 1004, "nina": 1077, "olga": 2001, "root": 2002}
    found = {}
    for name in SEEN:
        identity = house.services.identity
        identity.add_person("console", name, "correct horse battery staple", roles=roles.get(name, ()), uid=uids[name])
        found[name] = Person(name, identity.enrol_directly(name), lambda: "")
    return found


async def get(house: House, person: Person, path: str) -> object:
    async with house.browser() as browser:
        browser.enter(person)
        answer = await browser.get(PREFIX + path)
        assert answer.status == 200, answer.text
        return answer.json()


@pytest.mark.parametrize("name", SEEN)
async def test_each_role_sees_its_own_figures_and_no_more(house: House, people: dict[str, Person], name: str) -> None:
    async with house.browser() as browser:
        browser.enter(people[name])
        answer = await browser.get(f"{PREFIX}/usage?{NOVEMBER}&metric=cpu_hours,jobs&by=user")
        found = answer.json()
        assert {row["user"]: row["cpu_hours"] for row in found["rows"]} == {user: HOURS[user] for user in SEEN[name]}
        assert found["totals"]["cpu_hours"] == sum(HOURS[user] for user in SEEN[name])
        described = (await browser.get(f"{PREFIX}/openapi.json")).json()
        as_described(described, "/usage", "GET", answer)
        for user in set(HOURS) - SEEN[name]:
            assert user not in str(found["rows"])


@pytest.mark.parametrize("name", SEEN)
@pytest.mark.parametrize("kind", ["csv", "json", "xlsx", "parquet", "pdf"])
async def test_no_format_shows_more(house: House, people: dict[str, Person], name: str, kind: str) -> None:
    async with house.browser() as browser:
        browser.enter(people[name])
        path = f"{PREFIX}/usage?{NOVEMBER}&metric=cpu_hours&by=user&format={kind}"
        async with browser.http.get(house.at + path, headers=browser.headers("GET", None)) as answer:
            assert answer.status == 200
            content = await answer.read()
            if kind != "json":
                assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
    users: set[str] = set()
    if kind == "csv":
        users = {line["user"] for line in csv.DictReader(io.StringIO(content.decode()))}
    elif kind == "parquet":
        users = set(pq.read_table(io.BytesIO(content))["user"].to_pylist())
    elif kind == "xlsx":
        sheet = openpyxl.load_workbook(io.BytesIO(content)).worksheets[0]
        cells = {str(cell) for row in sheet.iter_rows(values_only=True) for cell in row}
        users = cells & set(HOURS)
    elif kind == "json":
        users = {user for user in HOURS if f'"user":"{user}"' in content.decode()}
    else:
        words = "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(content)).pages)
        users = {user for user in HOURS if user == name or re.search(rf"\b{user}\b", words)}
    assert users == SEEN[name]


@pytest.mark.parametrize("name", SEEN)
async def test_no_row_behind_a_figure_is_another_s(house: House, people: dict[str, Person], name: str) -> None:
    async with house.browser() as browser:
        browser.enter(people[name])
        asked = [f"{NOVEMBER}&metric=cpu_hours", f"{NOVEMBER}&metric=cpu_hours&by=user&cell=user=bob",
                 f"{NOVEMBER}&metric=cpu_hours&where=user=bob", f"{NOVEMBER}&metric=cpu_hours&where=account=root",
                 f"{NOVEMBER}&metric=cpu_hours&by=account&cell=account=biology&order=-cpu_hours"]  # fmt: skip
        described = (await browser.get(f"{PREFIX}/openapi.json")).json()
        for query in asked:
            answer = await browser.get(f"{PREFIX}/usage/jobs?{query}")
            as_described(described, "/usage/jobs", "GET", answer)
            assert {row["user"] for row in answer.json()["jobs"]} <= SEEN[name], query
        rows = (await browser.get(f"{PREFIX}/usage/jobs?{asked[0]}")).json()
        assert {row["user"] for row in rows["jobs"]} == SEEN[name]


async def test_the_jobs_behind_a_figure_sum_to_it(house: House, people: dict[str, Person]) -> None:
    query = f"{NOVEMBER}&metric=cpu_hours&by=user,day&cell=user=ada&cell=day=2026-11-03"
    found = await get(house, people["olga"], f"/usage/jobs?{query}")
    assert isinstance(found, dict)
    assert (found["total"], found["sums"]["cpu_hours"]) == (1, 4.0)
    (job,) = found["jobs"]
    assert job["job_name"] == HOSTILE
    assert job["db_inx"] == "9000000000000000002"  # a text: more than a number in JavaScript holds
    assert job["cpu_hours"] == 4.0


async def test_pages_of_jobs(house: House, people: dict[str, Person]) -> None:
    query = f"/usage/jobs?{NOVEMBER}&metric=cpu_hours&order=job_id&limit=2&offset=2"
    found = await get(house, people["olga"], query)
    assert isinstance(found, dict)
    assert [row["job_id"] for row in found["jobs"]] == [3, 4]
    assert found["total"] == 5


async def test_a_question_is_asked_in_any_zone_and_by_either_definition(
    house: House, people: dict[str, Person]
) -> None:
    path = f"/usage?{NOVEMBER}&metric=wait_hours&by=day&tz=Asia/Tokyo&definitions=xdmod&order=-day&limit=1"
    found = await get(house, people["olga"], path)
    assert isinstance(found, dict)
    assert (found["zone"], found["since_s"] % 86400) == ("Asia/Tokyo", 15 * 3600)
    assert len(found["rows"]) == 1
    assert "XDMoD" in found["columns"][-1]["note"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "since"),
        (f"{NOVEMBER}", "metric"),
        (f"{NOVEMBER}&metric=happiness", "metric"),
        (f"{NOVEMBER}&metric=cpu_hours&by=job_name", "by"),
        (f"{NOVEMBER}&metric=cpu_hours&by=project", "by"),
        (f"{NOVEMBER}&metric=cpu_hours&where=user", "where"),
        (f"{NOVEMBER}&metric=cpu_hours&where=colour=red", "where"),
        (f"{NOVEMBER}&metric=cpu_hours&tz=Mars", "tz"),
        (f"{NOVEMBER}&metric=cpu_hours&order=user", "order"),
        ("since=2026-12-01&until=2026-11-01&metric=cpu_hours", "until"),
        (f"{NOVEMBER}&metric=cpu_hours&by=user%22%3B--", "by"),
    ],
)
async def test_what_makes_no_sense_is_a_problem_with_its_field(
    house: House, people: dict[str, Person], query: str, field: str
) -> None:
    async with house.browser() as browser:
        browser.enter(people["bob"])
        answer = await browser.get(f"{PREFIX}/usage?{query}")
        assert answer.status == 400, answer.text
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        named = answer.json()["problems"][0]["field"]
        assert named.rstrip("s") == field
        for more in ("format=exe", "limit=0", "limit=x"):
            wrong = await browser.get(f"{PREFIX}/usage?{NOVEMBER}&metric=cpu_hours&{more}")
            assert wrong.status == 400


async def test_an_odd_value_of_a_filter_is_only_a_value(house: House, people: dict[str, Person]) -> None:
    for value in ("' OR 1=1 --", "ada') OR ('1'='1", "\u202eada", "$1", "%"):
        found = await get(house, people["bob"], f"/usage?{NOVEMBER}&metric=cpu_hours&by=user&where=user={quote(value)}")
        assert isinstance(found, dict)
        assert found["rows"] == []


async def test_the_catalogue_names_what_can_be_asked(house: House, people: dict[str, Person]) -> None:
    found = await get(house, people["nina"], "/usage/catalogue")
    assert isinstance(found, dict)
    assert {"cpu_hours", "gpu_hours", "wait_median_s", "utilisation"} <= {each["name"] for each in found["metrics"]}
    assert {"day", "user", "account", "gpu_type"} <= {each["name"] for each in found["dimensions"]}


async def test_more_rows_than_the_site_allows_are_refused(house: House, people: dict[str, Person]) -> None:
    from dataclasses import replace

    services = house.services
    settings = replace(services.settings, reports=replace(services.settings.reports, max_rows=2))
    house.server.tornado.settings["services"] = replace(services, settings=settings)
    try:
        async with house.browser() as browser:
            browser.enter(people["olga"])
            answer = await browser.get(f"{PREFIX}/usage?{NOVEMBER}&metric=cpu_hours&by=user")
            assert answer.status == 413
    finally:
        house.server.tornado.settings["services"] = services


async def test_one_who_asks_a_great_deal_at_once_waits(house: House, people: dict[str, Person]) -> None:
    from contextlib import ExitStack

    from app.asking import MOST_OF_ONE

    asking = house.server.asking
    with ExitStack() as turns:
        for _ in range(MOST_OF_ONE):
            turns.enter_context(asking.turn("bob"))
        async with house.browser() as bob, house.browser() as olga:
            bob.enter(people["bob"])
            olga.enter(people["olga"])
            for path in ("/usage", "/usage/jobs"):
                answer = await bob.get(f"{PREFIX}{path}?{NOVEMBER}&metric=cpu_hours")
                assert answer.status == 429
                assert (await olga.get(f"{PREFIX}{path}?{NOVEMBER}&metric=cpu_hours")).status == 200
    async with house.browser() as bob:
        bob.enter(people["bob"])
        assert (await bob.get(f"{PREFIX}/usage?{NOVEMBER}&metric=cpu_hours")).status == 200


async def test_a_file_counts_until_it_is_sent(
    house: House, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    held, on = threading.Event(), threading.Event()
    plainly = UsageHandler.run

    async def slowly(handler: UsageHandler, function: Any, *args: Any, **given: Any) -> Any:
        if getattr(function, "__name__", "") == "read":
            held.set()
            while not on.is_set():
                await asyncio.sleep(0.01)
        return await plainly(handler, function, *args, **given)

    monkeypatch.setattr(UsageHandler, "run", slowly)
    turns = house.server.asking._of
    async with house.browser() as bob:
        bob.enter(people["bob"])
        answer = asyncio.create_task(bob.get(f"{PREFIX}/usage?{NOVEMBER}&metric=cpu_hours"))
        try:
            assert await asyncio.to_thread(held.wait, 20)
            assert turns["bob"] == 1
        finally:
            on.set()
        assert (await answer).status == 200
    for _ in range(500):  # the answer is whole a moment before its handler is done
        if not turns["bob"]:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the turn was never given back")


# -- by project ------------------------------------------------------------------------------------------------

PROJECTS = """
[[project]]
name = "light & matter"
title = "Light and matter"
accounts = ["physics"]

[[project]]
name = "life"
accounts = ["biology"]
"""
BY_PROJECT = f"/usage?{NOVEMBER}&metric=cpu_hours&by=project"


@pytest.fixture(scope="module")
def with_projects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, Person, Person]]:
    folder = tmp_path_factory.mktemp("projects")
    (folder / "projects.toml").write_text(PROJECTS)
    made = House(folder / "data", accounting__projects_file=str(folder / "projects.toml"))
    fill(made.settings.instance.data_dir)
    made.services.identity.coordinates_by(lambda name: frozenset({"lasers"}) if name == "ada" else frozenset())
    made.start()
    identity = made.services.identity
    found = []
    for name, uid, roles in (("ada", 1001, ()), ("olga", 2001, ("operator",))):
        identity.add_person("console", name, "correct horse battery staple", roles=roles, uid=uid)
        found.append(Person(name, identity.enrol_directly(name), lambda: ""))
    yield made, found[0], found[1]
    made.stop()


async def test_by_project_each_sees_what_they_may_see_of_it(with_projects: tuple[House, Person, Person]) -> None:
    house, ada, olga = with_projects
    found = await get(house, olga, BY_PROJECT)
    assert isinstance(found, dict)
    assert found["rows"] == [{"project": "life", "cpu_hours": 14.0}, {"project": "light & matter", "cpu_hours": 22.0}]
    assert "as the site's list of projects says today" in found["columns"][1]["note"]
    own = await get(house, ada, f"{BY_PROJECT}&where=project={quote('light & matter')}&where=project=life")
    assert isinstance(own, dict)
    assert own["rows"] == [{"project": "light & matter", "cpu_hours": 16.0}]  # her own and those of lasers
    behind = await get(house, ada, f"/usage/jobs?{NOVEMBER}&metric=cpu_hours&by=project&cell=project=life")
    assert isinstance(behind, dict) and behind["total"] == 0


@pytest.mark.parametrize("kind", ["csv", "xlsx", "parquet", "pdf"])
async def test_by_project_in_every_format(with_projects: tuple[House, Person, Person], kind: str) -> None:
    house, _, olga = with_projects
    async with house.browser() as browser:
        browser.enter(olga)
        path = f"{PREFIX}{BY_PROJECT}&format={kind}"
        async with browser.http.get(house.at + path, headers=browser.headers("GET", None)) as answer:
            assert answer.status == 200
            content = await answer.read()
    if kind == "parquet":
        words = str(pq.read_table(io.BytesIO(content))["project"].to_pylist())
    elif kind == "xlsx":
        words = str(list(openpyxl.load_workbook(io.BytesIO(content)).worksheets[0].iter_rows(values_only=True)))
    elif kind == "pdf":
        words = "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(content)).pages)
    else:
        words = content.decode()
    assert "light & matter" in words and "life" in words


async def test_the_dimension_is_offered_where_projects_are_set_up(
    house: House, people: dict[str, Person], with_projects: tuple[House, Person, Person]
) -> None:
    for up, who, offered in ((house, people["olga"], False), (with_projects[0], with_projects[2], True)):
        found = await get(up, who, "/usage/catalogue")
        assert isinstance(found, dict)
        assert ("project" in {each["name"] for each in found["dimensions"]}) is offered
    async with house.browser() as browser:
        browser.enter(people["olga"])
        answer = await browser.get(PREFIX + BY_PROJECT)
    assert answer.status == 400 and "accounting.projects_file" in answer.json()["detail"]
