"""One job over HTTP: its facts long after its end, its curves as JSON and as files, its actions; and only for whom."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.jobfile import JobFile
from app.rest import jobtelemetry
from app.rest.jobtelemetry import JobTelemetry
from app.rest.onejob import OneJob
from app.rest.table import PREFIX
from backend.cluster import SnapshotWriter
from tests.unit.gatehouse import Answer, House, Person
from tests.unit.jobs_kit import keep, past
from tests.unit.sessions_kit import UID, job, site, table
from tests.unit.telemetry_kit import TelemetrySite, square

CLUSTER = "tiny"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("restjob"), instance__time_zone="UTC")
    telemetry = TelemetrySite(tmp_path_factory.mktemp("samples"), cluster=CLUSTER)
    telemetry.now_s = float(int(time.time()))
    run = telemetry.job(11, nodes=("n1", "n2"), hours=0.5, shape={"cpu_cores": square(1, 7)})
    old = telemetry.job(40, hours=0.2, ended_ago_s=4000)
    made.services = replace(made.services, telemetry=telemetry.telemetry)
    writer = SnapshotWriter(made.settings.instance.data_dir / "snapshot", CLUSTER, {})
    rows = [job("x", 11, start_s=run.start_s, submit_s=run.start_s), job("x", 12, user="eve", uid=UID + 5)]
    for name, each in ({"jobs": rows} | site()).items():
        writer.publish(name, table(name, each), taken_s=time.time(), duration_s=0.01)
    keep(made, past(40, uid=UID, cluster=CLUSTER, submit_s=old.start_s - 9, start_s=old.start_s, end_s=old.end_s))
    made.start()
    yield made
    made.stop()
    telemetry.store.close()


@pytest.fixture(scope="module")
def ada(house: House) -> Person:
    """The owner of this instance: the jobs of our Unix user are hers."""
    return house.person("ada")


@pytest.fixture(scope="module")
def bob(house: House) -> Person:
    return house.person("bob")


async def get(house: House, person: Person, path: str) -> Answer:
    async with house.browser() as browser:
        browser.enter(person)
        return await browser.get(path)


async def post(house: House, person: Person, path: str, body: Any = None) -> Answer:
    async with house.browser() as browser:
        browser.enter(person)
        token = (await browser.get(f"{PREFIX}/login")).json()["csrf_token"]
        headers = {"X-CSRF-Token": token, "Content-Type": "application/json"}
        return await browser.ask("POST", PREFIX + path, headers, data=json.dumps(body) if body is not None else None)


def described(answer: Answer, operation: Any) -> Any:
    assert answer.status == 200, answer.text
    Draft202012Validator(operation.answers[200]).validate(answer.json())
    return answer.json()


async def test_a_job_long_over_is_found_with_its_attempts(house: House, ada: Person) -> None:
    found = described(await get(house, ada, f"{PREFIX}/jobs/40"), OneJob.operations["GET"])
    assert (found["in_queue"], found["state"], len(found["attempts"])) == (False, "COMPLETED", 1)
    running = described(await get(house, ada, f"{PREFIX}/jobs/11"), OneJob.operations["GET"])
    assert (running["in_queue"], running["state"]) == (True, "RUNNING")


async def test_its_curves_are_what_was_measured(house: House, ada: Person) -> None:
    address = f"{PREFIX}/jobs/11/telemetry?metric=cpu_cores&node=n2&points=1000"
    found = described(await get(house, ada, address), JobTelemetry.operations["GET"])
    (line,) = found["series"]
    assert (line["node"], line["metric"]) == ("n2", "cpu_cores")
    assert {round(value) for value in line["means"]} == {1, 7}
    assert len(found["devices"]) == 4


@pytest.mark.parametrize(
    "query", ["metric=nothing", "points=0", "points=10000000", "since_s=x", "resolution=week", "submit=now", "run=-1"]
)
async def test_a_wrong_question_is_told_what_is_wanted(house: House, ada: Person, query: str) -> None:
    answer = await get(house, ada, f"{PREFIX}/jobs/11/telemetry?{query}")
    assert answer.status == 400
    assert answer.json()["detail"]


@pytest.mark.parametrize("path", ["", "/telemetry", "/log", "/script"])
async def test_none_and_not_theirs_are_the_same(house: House, bob: Person, path: str) -> None:
    answers = [await get(house, bob, f"{PREFIX}/jobs/{job_id}{path}") for job_id in (11, 40, 999)]
    assert {(each.status, each.text) for each in answers} == {(404, answers[0].text)}


async def test_one_answer_holds_only_so_many_points(house: House, ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobtelemetry, "MOST_NUMBERS", 1000)
    found = described(await get(house, ada, f"{PREFIX}/jobs/11/telemetry"), JobTelemetry.operations["GET"])
    assert 100 < sum(len(line["means"]) for line in found["series"]) <= 1000
    answer = await get(house, ada, f"{PREFIX}/jobs/11/telemetry?points=600")
    assert (answer.status, "at most" in answer.json()["detail"]) == (400, True)


@pytest.mark.parametrize("what", ["hold", "release", "requeue", "cancel", "extend"])
async def test_nobody_changes_the_job_of_another(house: House, bob: Person, what: str) -> None:
    body = {"time_s": 600} if what == "extend" else None
    assert (await post(house, bob, f"/jobs/11/{what}", body)).status == 404


async def test_what_can_not_be_done_now_says_why(house: House, ada: Person) -> None:
    held = await post(house, ada, "/jobs/11/hold")
    assert (held.status, held.json()["detail"]) == (409, "Only a job that waits can be held.")
    assert (await post(house, ada, "/jobs/11/extend", {"time_s": "long"})).status == 400
    assert (await post(house, ada, "/jobs/11/extend", {"time_s": 1})).status == 400


async def test_the_file_has_a_row_a_time_and_device(house: House, ada: Person) -> None:
    answer = await get(house, ada, "/downloads/job/11.csv")
    assert answer.status == 200, answer.text
    assert "Job-11" in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert {(row["node"], row["device"]) for row in rows} == {
        (node, device) for node in ("n1", "n2") for device in ("", "gpu:0")
    }
    job_rows = [row for row in rows if row["node"] == "n1" and not row["device"]]
    assert len(job_rows) == 180
    assert {float(row["cpu_cores"]) for row in job_rows} == {1.0, 7.0}
    assert all(row["gpu_power_w"] == "" for row in job_rows)


async def test_a_file_of_too_many_rows_is_refused(house: House, ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobFile, "most_rows", 4 * 180 - 1)
    answer = await get(house, ada, "/downloads/job/11.csv")
    assert (answer.status, "Choose a shorter window" in answer.text) == (413, True)


async def test_the_file_of_anothers_job_is_not_there(house: House, ada: Person, bob: Person) -> None:
    for person, job_id in ((bob, 11), (bob, 40), (ada, 12), (ada, 999)):
        assert (await get(house, person, f"/downloads/job/{job_id}.csv")).status == 404
    async with house.browser() as stranger:
        assert (await stranger.get("/downloads/job/11.csv")).status == 302


async def test_a_job_that_nobody_measured_gives_an_empty_file(house: House, ada: Person) -> None:
    answer = await get(house, ada, "/downloads/job/40.csv?run=5")
    assert (answer.status, answer.text) == (200, "time_s,node,device\n")
