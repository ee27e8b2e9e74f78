"""Reports and embeds over REST: who may see, run, embed and end what."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.rest.table import PREFIX
from backend.accounting.reports import Draft
from tests.unit.gatehouse import Answer, Browser, House, Person
from tests.unit.usage_rest_kit import UIDS, fill

SITE = "https://wiki.example.org"
QUESTION = {"metrics": ["cpu_hours"], "by": ["user"], "since": "2026-11-01", "until": "2026-12-01"}
ROLES: dict[str, tuple[str, ...]] = {"ada": (), "bob": (), "olga": ("operator",), "root": ("admin",)}
SEEN = {
    "bob": {"bob"},
    "ada": {"ada", "eve", "leo"},
    "olga": {"ada", "eve", "leo", "bob"},
    "root": {"ada", "eve", "leo", "bob"},
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("rest-embeds"))
    fill(made.settings.instance.data_dir)
    identity = made.services.identity
    identity.coordinates_by(lambda name: frozenset({"physics"}) if name == "ada" else frozenset())
    for name, roles in ROLES.items():
        identity.add_person("console", name, "correct horse battery staple", roles=roles, uid=UIDS.get(name, 2001))
    made.start()
    yield made
    made.stop()


def person(name: str) -> Person:
    return Person(name, "", lambda: "")


def saved(house: House, owner: str, visibility: str = "private", **question: Any) -> str:
    viewer = house.services.identity.standing(owner)
    assert viewer is not None
    return house.services.reports.save(viewer, Draft("Hours", QUESTION | question, visibility=visibility)).id


async def post(browser: Browser, path: str, body: Any = None) -> Answer:
    token = (await browser.get(f"{PREFIX}/login")).json()["csrf_token"]
    headers = {"X-CSRF-Token": token, "Content-Type": "application/json"}
    return await browser.ask("POST", PREFIX + path, headers, data=json.dumps(body) if body is not None else None)


async def embedded(house: House, name: str, report: str, **wanted: Any) -> Answer:
    async with house.browser() as browser:
        browser.enter(person(name))
        return await post(browser, "/embeds", {"report": report, "origins": [SITE], **wanted})


async def users(house: House, token: str) -> set[str]:
    async with house.browser() as anyone:
        answer = await anyone.get(f"/embed/{token}/figures")
        return {row[0] for row in answer.json()["table"]["rows"]} if answer.status == 200 else set()


@pytest.mark.parametrize("reader", SEEN)
async def test_a_report_shown_to_all_gives_each_only_their_own_rows(house: House, reader: str) -> None:
    report = saved(house, "olga", "everyone")
    async with house.browser() as browser:
        browser.enter(person(reader))
        listed = (await browser.get(f"{PREFIX}/reports")).json()["reports"]
        assert report in {each["id"] for each in listed}
        found = await browser.get(f"{PREFIX}/reports/{report}/run")
        assert {row["user"] for row in found.json()["rows"]} == SEEN[reader]
        text = (await browser.get(f"{PREFIX}/reports/{report}/run?format=csv")).text
        assert {row["user"] for row in csv.DictReader(io.StringIO(text))} == SEEN[reader]


@pytest.mark.parametrize("stranger", ["bob", "olga", "root"])
async def test_a_private_report_is_none_to_anyone_else(house: House, stranger: str) -> None:
    report = saved(house, "ada")
    async with house.browser() as browser:
        browser.enter(person(stranger))
        assert report not in (await browser.get(f"{PREFIX}/reports")).text
        for path in (f"/reports/{report}", f"/reports/{report}/run"):
            theirs = await browser.get(PREFIX + path)
            none = await browser.get(PREFIX + path.replace(report, "0" * 16))
            assert (theirs.status, theirs.json()) == (404, none.json())
        assert (await post(browser, "/embeds", {"report": report, "origins": [SITE]})).status == 404


@pytest.mark.parametrize("maker", SEEN)
@pytest.mark.parametrize("live", [True, False])
async def test_an_embed_shows_what_its_maker_may_see_whoever_wrote_the_report(
    house: House, maker: str, live: bool
) -> None:
    made = await embedded(house, maker, saved(house, "olga", "everyone"), live=live)
    assert made.status == 201, made.text
    assert await users(house, made.json()["token"]) == SEEN[maker]


async def test_one_about_its_reader_s_own_jobs_is_about_its_maker_s(house: House) -> None:
    made = await embedded(house, "ada", saved(house, "olga", "everyone", who="mine"))
    assert await users(house, made.json()["token"]) == {"ada"}


async def test_a_report_changed_later_changes_no_embed(house: House) -> None:
    report = saved(house, "ada")
    token = (await embedded(house, "ada", report)).json()["token"]
    viewer = house.services.identity.standing("ada")
    assert viewer is not None
    house.services.reports.change(viewer, report, Draft("Other", QUESTION | {"by": ["account"]}))
    assert await users(house, token) == SEEN["ada"]
    house.services.reports.delete(viewer, report)
    assert await users(house, token) == SEEN["ada"]


async def test_its_code_is_told_to_its_maker(house: House) -> None:
    made = (await embedded(house, "ada", saved(house, "ada"), title='A "quoted" <title>', days=30)).json()
    assert made["url"].endswith(f"/embed/{made['token']}")
    assert f'data-carme-embed="{made["token"]}"' in made["script"]
    assert "&quot;quoted&quot; &lt;title&gt;" in made["script"]
    assert 'sandbox="allow-scripts allow-same-origin"' in made["iframe"]
    assert made["expires_s"] - made["created_s"] == 30 * 86400


async def test_operators_see_and_end_everybody_s_embeds_without_their_tokens(house: House) -> None:
    made = (await embedded(house, "bob", saved(house, "bob"))).json()
    async with house.browser() as ada, house.browser() as olga:
        ada.enter(person("ada"))
        olga.enter(person("olga"))
        theirs = (await ada.get(f"{PREFIX}/embeds?everyones=true")).json()["embeds"]
        assert {each["owner"] for each in theirs} <= {"ada"}
        assert (await post(ada, f"/embeds/{made['id']}/revoke")).status == 404
        answer = await olga.get(f"{PREFIX}/embeds?everyones=true")
        found = {each["id"]: each for each in answer.json()["embeds"]}
        assert found[made["id"]]["token"] is None
        assert made["token"].partition(".")[2] not in answer.text
        revoked = await post(olga, f"/embeds/{made['id']}/revoke")
        assert revoked.status == 200
        assert revoked.json()["revoked_s"]
    assert await users(house, made["token"]) == set()


@pytest.mark.parametrize(
    "wanted",
    [
        {}, {"report": 1, "origins": [SITE]}, {"report": "x"}, {"report": "x", "origins": SITE},
        {"report": "x", "origins": [1]}, {"report": "x", "origins": [SITE], "live": "no"},
        {"report": "x", "origins": [SITE], "days": "9"}, {"report": "x", "origins": [SITE], "days": True},
        {"report": "x", "origins": [SITE], "scope": "all"},
    ],
)  # fmt: skip
async def test_a_body_that_makes_no_sense_is_refused(house: House, wanted: dict[str, Any]) -> None:
    async with house.browser() as browser:
        browser.enter(person("ada"))
        answer = await post(browser, "/embeds", wanted)
        assert answer.status == 400, answer.text
        assert answer.json()["detail"]


@pytest.mark.parametrize(
    "wanted", [{"origins": []}, {"origins": ["*"]}, {"origins": ["x"]}, {"days": 0}, {"days": 9999}]
)
async def test_what_can_not_be_made_says_why(house: House, wanted: dict[str, Any]) -> None:
    answer = await embedded(house, "ada", saved(house, "ada"), **wanted)
    assert answer.status == 400
    assert answer.json()["detail"]


async def test_making_and_revoking_need_the_login_s_token(house: House) -> None:
    async with house.browser() as browser:
        browser.enter(person("ada"))
        for path in ("/embeds", "/embeds/x/revoke"):
            answer = await browser.ask("POST", PREFIX + path, {"Content-Type": "application/json"}, data="{}")
            assert answer.status == 403
