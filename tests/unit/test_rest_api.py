"""The REST API on the running web process: each address answers as described, and only to whom it may."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.gate.guards import Guard
from app.rest import ROUTES, document
from app.rest.table import ADDRESSES, PREFIX
from backend.accounting.reports import Draft
from backend.cluster import SnapshotWriter
from backend.sessions import Sessions
from tests.unit.gatehouse import Answer, Browser, House, Person
from tests.unit.sessions_kit import ME, UID, AcceptingLauncher, job, site, table

CLUSTER = "tiny"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The web process on a small cluster's snapshot, with a launcher that takes every job."""
    made = House(tmp_path_factory.mktemp("rest"))
    launcher: Any = AcceptingLauncher()
    services = made.services
    sessions = Sessions(services.settings, services.db, services.box, services.snapshots, launcher)
    made.services = replace(services, launcher=launcher, sessions=sessions)
    publish(made)
    made.start()
    yield made
    made.stop()


def publish(house: House) -> None:
    jobs = [
        job("x", 11, name="mine"),
        job("x", 12, state="PENDING", name="<b>hers</b>", user="eve", uid=UID + 5, reason="Resources"),
        job("x", 13, state="PENDING", name="waits", reason="Priority", partition="cpu", gpus=2),
    ]
    writer = SnapshotWriter(house.settings.instance.data_dir / "snapshot", CLUSTER, {})
    for name, rows in ({"jobs": jobs, "reservations": [{"name": "course", "state": "ACTIVE"}]} | site()).items():
        writer.publish(name, table(name, rows), taken_s=time.time(), duration_s=0.01)


@pytest.fixture(scope="module")
def ada(house: House) -> Person:
    """The owner of this instance: the jobs of our Unix user are hers."""
    return house.person("ada")


@pytest.fixture(scope="module")
def bob(house: House) -> Person:
    return house.person("bob")


@pytest.fixture(scope="module")
def olga(house: House) -> Person:
    return house.person("olga", roles=("operator",))


async def change(browser: Browser, method: str, path: str, body: Any = None) -> Answer:
    """A request that changes something, as the description asks."""
    token = (await browser.get(f"{PREFIX}/login")).json()["csrf_token"]
    headers = {"X-CSRF-Token": token, "Content-Type": "application/json"}
    data = json.dumps(body) if body is not None else None
    return await browser.ask(method, PREFIX + path, headers, data=data)


async def launched(browser: Browser) -> str:
    answer = await change(browser, "POST", "/sessions", {"app": "jupyterlab", "title": "<i>mine</i>"})
    assert answer.status == 201, answer.text
    return str(answer.json()["id"])


def test_the_description_is_sound_and_names_every_route() -> None:
    described = document("http://localhost:5006")
    assert described["openapi"].startswith("3.1")
    assert [route.pattern for route in ROUTES] == [address.pattern for address in ADDRESSES]
    assert set(described["paths"]) == {address.path for address in ADDRESSES}
    names = []
    for path, methods in described["paths"].items():
        parameters = methods.pop("parameters", [])
        assert [f"{{{each['name']}}}" in path for each in parameters] == [True] * path.count("{")
        for operation in methods.values():
            names.append(operation["operationId"])
            for schema in schemas_of(operation):
                Draft202012Validator.check_schema(schema)
    assert len(names) == len(set(names))


def schemas_of(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (each["schema"] for each in operation.get("parameters", []))
    for part in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from (kind["schema"] for kind in part.get("content", {}).values())


def as_described(described: dict[str, Any], path: str, method: str, answer: Answer) -> None:
    """Raises when the answer is not one the description tells of."""
    operation = described["paths"][path][method.lower()]
    told = operation["responses"].get(str(answer.status))
    assert told is not None, f"{method} {path} answers {answer.status}, which is not described: {answer.text[:500]}"
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    if "content" not in told:
        assert answer.text == ""
        return
    schema = told["content"][kind]["schema"] | {"components": described["components"]}
    Draft202012Validator(schema).validate(answer.json())


def embedded(house: House) -> tuple[str, str]:
    """A saved report of ada's and an embed of it: their ids."""
    services = house.services
    viewer = services.identity.standing("ada")
    assert viewer is not None
    question = {"metrics": ["cpu_hours"], "by": ["day"], "window": "month"}
    report = services.reports.save(viewer, Draft("Mine", question))
    embed = services.embeds.make(
        viewer, title="Mine", question=report.question, chart="", origins=["https://wiki.example.org"], live=True
    )
    return report.id, embed.id


async def test_each_address_answers_as_described(house: House, ada: Person) -> None:
    async with house.browser() as browser:
        await browser.sign_in(ada)
        described = (await browser.get(f"{PREFIX}/openapi.json")).json()
        assert described == document(house.settings.web.public_url)
        session = await launched(browser)
        report, embed = embedded(house)
        window = "since=2026-11-01&until=2026-12-01&metric=cpu_hours&by=day"
        asked: dict[tuple[str, str], tuple[str, Any]] = {
            ("POST", "/sessions"): ("/sessions", {"app": "jupyterlab"}),
            ("POST", "/sessions/estimate"): ("/sessions/estimate", {"app": "jupyterlab"}),
            ("POST", "/agent/register"): ("/agent/register", {"session": session}),
            ("DELETE", "/sessions/{session}"): (f"/sessions/{session}", None),
            ("POST", "/embeds"): ("/embeds", {"report": report, "origins": ["https://wiki.example.org"]}),
            ("GET", "/usage"): (f"/usage?{window}", None),
            ("GET", "/usage/jobs"): (f"/usage/jobs?{window}", None),
        }
        for address in ADDRESSES:
            path = address.path.replace("{session}", session).replace("{job}", "11")
            path = path.replace("{report}", report).replace("{embed}", embed)
            for method in address.handler.operations:
                at, body = asked.get((method, address.path), (path, None))
                if method == "GET":
                    answer = await browser.get(PREFIX + at)
                    assert answer.status == 200, (at, answer.text)
                else:
                    answer = await change(browser, method, at, body)
                as_described(described, address.path, method, answer)


@pytest.mark.parametrize("path", [address.path for address in ADDRESSES if address.guard is not Guard.AGENT])
async def test_nothing_answers_without_a_login(house: House, ada: Person, path: str) -> None:
    at = PREFIX + path.replace("{session}", "s1234567").replace("{job}", "11")
    at = at.replace("{report}", "r1").replace("{embed}", "e1")
    async with house.browser() as stranger, house.browser() as half:
        await half.give_password(ada)
        for browser in (stranger, half):
            answer = await browser.get(at)
            assert answer.status in (401, 405), answer.text
            assert answer.headers["Content-Type"].startswith("application/problem+json")
            assert (await browser.ask("POST", at, data="{}")).status in (401, 405)


async def test_a_session_of_another_is_the_same_as_none(house: House, ada: Person, bob: Person) -> None:
    async with house.browser() as owner, house.browser() as other:
        await owner.sign_in(ada)
        await other.sign_in(bob)
        session = await launched(owner)
        for method, rest in (("GET", ""), ("GET", "/log"), ("POST", "/stop"), ("DELETE", "")):
            ask = change if method != "GET" else _read
            theirs = await ask(other, method, f"/sessions/{session}{rest}")
            none = await ask(other, method, f"/sessions/snone0000001{rest}")
            assert theirs.status == none.status == 404
            assert theirs.json() == none.json()
        forged = {"X-Forwarded-User": "ada", "X-Forwarded-For": "127.0.0.1", "X-Remote-User": "ada"}
        assert (await other.get(f"{PREFIX}/sessions/{session}", forged)).status == 404
        assert session not in (await other.get(f"{PREFIX}/sessions")).text
        assert (await other.get(f"{PREFIX}/sessions?owner=ada")).status == 403
        assert (await owner.get(f"{PREFIX}/sessions/{session}")).status == 200


async def _read(browser: Browser, method: str, path: str) -> Answer:
    return await browser.ask(method, PREFIX + path)


async def test_an_operator_sees_and_stops_others_sessions_but_reads_no_log(
    house: House, ada: Person, olga: Person
) -> None:
    async with house.browser() as owner, house.browser() as operator:
        await owner.sign_in(ada)
        await operator.sign_in(olga)
        session = await launched(owner)
        listed = (await operator.get(f"{PREFIX}/sessions?owner=*")).json()["sessions"]
        assert session in [each["id"] for each in listed]
        assert (await operator.get(f"{PREFIX}/sessions/{session}/log")).status == 404
        stopped = await change(operator, "POST", f"/sessions/{session}/stop")
        assert (stopped.status, stopped.json()["state"]) == (202, "stopping")


async def test_a_change_needs_the_logins_token_and_the_consoles_own_page(house: House, ada: Person) -> None:
    async with house.browser() as browser:
        await browser.sign_in(ada)
        json_type = {"Content-Type": "application/json"}
        for headers in (json_type, json_type | {"X-CSRF-Token": "guess"}):
            assert (await browser.ask("POST", f"{PREFIX}/sessions", headers, data="{}")).status == 403
        token = (await browser.get(f"{PREFIX}/login")).json()["csrf_token"]
        foreign = json_type | {
            "X-CSRF-Token": token,
            "Origin": "http://sx.localhost:5007",
            "Sec-Fetch-Site": "same-site",
        }
        assert (await browser.ask("POST", f"{PREFIX}/sessions", foreign, data="{}")).status == 403
        reading = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
        assert (await browser.get(f"{PREFIX}/sessions", reading)).status == 403


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"app": "jupyterlab", "colour": "red"}', 400),
        ('{"gpus": "one"}', 400),
        ('{"gpus": true}', 400),
        ("[]", 400),
        ("{", 400),
        ("[" * 100_000, 400),
        ('{"app": "\\ud800"}', 400),
        ('{"app": "jupyterlab", "time_s": NaN}', 400),
        ('{"app": "jupyterlab", "time_s": 999999999}', 422),
        ('{"app": "jupyterlab", "work_dir": "/tmp/\\n; rm -rf /"}', 422),
        ('{"app": "nethack"}', 422),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused_in_words(
    house: House, ada: Person, body: str, status: int
) -> None:
    async with house.browser() as browser:
        await browser.sign_in(ada)
        token = (await browser.get(f"{PREFIX}/login")).json()["csrf_token"]
        headers = {"X-CSRF-Token": token, "Content-Type": "application/json"}
        answer = await browser.ask("POST", f"{PREFIX}/sessions", headers, data=body)
        assert answer.status == status, answer.text
        problem = answer.json()
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert problem["status"] == status
        assert problem["detail"]
        if status == 422:
            assert problem["problems"][0]["field"]


async def test_the_same_key_launches_once(house: House, ada: Person) -> None:
    async with house.browser() as browser:
        await browser.sign_in(ada)
        token = (await browser.get(f"{PREFIX}/login")).json()["csrf_token"]
        headers = {"X-CSRF-Token": token, "Content-Type": "application/json", "Idempotency-Key": "click-1"}
        answers = [
            await browser.ask("POST", f"{PREFIX}/sessions", headers, data='{"app": "jupyterlab"}') for _ in range(2)
        ]
        assert answers[0].json()["id"] == answers[1].json()["id"]


async def jobs(browser: Browser, query: str = "") -> list[int]:
    answer = await browser.get(f"{PREFIX}/jobs?{query}")
    assert answer.status == 200, answer.text
    return [row["job_id"] for row in answer.json()["jobs"]]


async def test_the_queue_shows_each_only_what_they_may_see(
    house: House, ada: Person, bob: Person, olga: Person
) -> None:
    async with house.browser() as owner, house.browser() as other, house.browser() as operator:
        await owner.sign_in(ada)
        await other.sign_in(bob)
        await operator.sign_in(olga)
        assert await jobs(owner, "sort=job_id&descending=false") == [11, 13]
        assert await jobs(owner, "scope=all&sort=job_id&descending=false") == [11, 13]
        assert await jobs(other, "scope=all") == []
        assert await jobs(operator, "scope=all&sort=job_id&descending=false") == [11, 12, 13]
        assert (await other.get(f"{PREFIX}/jobs/11")).status == 404
        assert (await other.get(f"{PREFIX}/jobs/99")).json() == (await other.get(f"{PREFIX}/jobs/11")).json()
        assert (await owner.get(f"{PREFIX}/jobs/11")).json()["name"] == "mine"
        assert (await change(other, "POST", "/jobs/11/cancel")).status == 404


async def test_the_queue_is_filtered_ordered_and_paged(house: House, olga: Person) -> None:
    async with house.browser() as browser:
        await browser.sign_in(olga)
        everything = "scope=all&sort=job_id&descending=false"
        assert await jobs(browser, f"{everything}&state=PENDING") == [12, 13]
        assert await jobs(browser, f"{everything}&state=PENDING,RUNNING&partition=cpu") == [13]
        assert await jobs(browser, f"{everything}&gpus=true") == [13]
        assert await jobs(browser, f"{everything}&user=eve&user={ME}") == [11, 12, 13]
        assert await jobs(browser, f"{everything}&offset=1&limit=1") == [12]
        assert await jobs(browser, "scope=all&sort=job_id") == [13, 12, 11]
        for wrong in (
            "state=HAPPY",
            "sort=flags",
            "limit=0",
            "limit=1001",
            "offset=-1",
            "gpus=maybe",
            "scope=none",
        ):
            assert (await browser.get(f"{PREFIX}/jobs?{wrong}")).status == 400, wrong


async def test_a_job_is_cancelled_as_the_person(house: House, ada: Person) -> None:
    async with house.browser() as browser:
        await browser.sign_in(ada)
        answer = await change(browser, "POST", "/jobs/13/cancel")
        assert (answer.status, answer.json()) == (202, {"job_id": 13})
        launcher: Any = house.services.launcher
        assert launcher.calls[-1] == (ME, "cancel", {"job_id": "13"})


async def test_an_agents_message_without_proof_is_refused(house: House) -> None:
    async with house.browser() as agent:
        headers = {"Content-Type": "application/json"}
        answer = await agent.ask("POST", f"{PREFIX}/agent/register", headers, data='{"session": "s1234567"}')
        assert answer.status == 403
        for odd in ('{"mac": "\\ud800"}', '{"mac": NaN}'):
            assert (await agent.ask("POST", f"{PREFIX}/agent/register", headers, data=odd)).status == 400
        long = json.dumps({"session": "x" * 20_000})
        assert (await agent.ask("POST", f"{PREFIX}/agent/register", headers, data=long)).status == 413
