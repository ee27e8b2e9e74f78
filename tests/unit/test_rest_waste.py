"""Waste and verdicts over REST: the same figures as the page's, within what the asker may see."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.asking import MOST_OF_ONE
from backend import jobs
from backend.store.models import Person as PersonRow
from tests.unit.gatehouse import House, Person, running
from tests.unit.jobs_kit import keep, past
from tests.unit.pages_kit import ADA, OPERATOR, UIDS
from tests.unit.verdict_kit import HOUR, gpu_footprint
from tests.unit.waste_kit import CLUSTER, WasteSite

PREFIX = "/api/v1"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> WasteSite:
    made = WasteSite(tmp_path_factory.mktemp("waste"))
    row = past(300)
    failing = [past(310 + n, state="FAILED", exit_status=1, job_name="again") for n in range(3)]
    for at, each in enumerate(failing):
        each |= {"submit_s": each["submit_s"] + 400 * at, "start_s": each["start_s"] + 400 * at}
        each["end_s"] = each["start_s"] + 20
    keep(made.world, row, *failing)
    made.telemetry.rows.append(
        gpu_footprint(
            cluster=CLUSTER, job_id=300, start_s=row["start_s"], end_s=row["end_s"], gpus=1,
            gpu_percent_by_device=[0.0], gpus_used=0, gpu_idle_s=float(HOUR), gpu_measured_s=float(HOUR), samples=360,
        )
    )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def house(site: WasteSite) -> Iterator[House]:
    folder: Path = site.services.settings.instance.data_dir
    with running(folder, telemetry=site.telemetry) as up:
        yield up


def person(house: House, name: str, roles: tuple[str, ...] = ()) -> Person:
    made = house.person(name, roles)
    with house.services.db.begin() as rows:
        row = rows.get(PersonRow, name)
        assert row is not None
        row.uid = UIDS[name]
    return made


@pytest.fixture(scope="module")
def ada(house: House) -> Person:
    return person(house, "ada")


@pytest.fixture(scope="module")
def bob(house: House) -> Person:
    return person(house, "bob")


@pytest.fixture(scope="module")
def olga(house: House) -> Person:
    return person(house, "olga", ("operator",))


async def asked(house: House, who: Person, path: str, status: int = 200) -> Any:
    async with house.browser() as browser:
        browser.enter(who)
        answer = await browser.get(PREFIX + path)
        assert answer.status == status, answer.text
        return answer.json()


async def test_an_operator_is_told_of_all_and_a_user_of_their_own(house: House, olga: Person, bob: Person) -> None:
    everything = await asked(house, olga, "/waste")
    own = await asked(house, bob, "/waste?window=month")
    assert {row["name"] for row in everything["groups"]["user"]} == {"ada", "bob"}
    assert {row["name"] for row in own["groups"]["user"]} == {"bob"}
    assert own["total"]["idle"] == pytest.approx(40 / 60)
    await asked(house, bob, "/waste?window=year", 400)


async def test_by_project_a_user_sees_their_own_and_without_projects_nobody_anything(
    house: House, bob: Person, tmp_path: Path
) -> None:
    assert (await asked(house, bob, "/waste"))["groups"]["project"] == []
    made = WasteSite(tmp_path, projects='[[project]]\nname = "life"\naccounts = ["biology"]\n')
    file = str(tmp_path / "projects.toml")
    with running(tmp_path, telemetry=made.telemetry, accounting__projects_file=file) as up:
        (row,) = (await asked(up, person(up, "bob"), "/waste"))["groups"]["project"]
        assert (row["name"], row["hours"]["jobs"]) == ("life", 2)


async def test_idle_jobs_are_those_the_asker_may_see(house: House, olga: Person, ada: Person) -> None:
    everything = await asked(house, olga, "/waste/idle?minutes=30")
    assert [job["job_id"] for job in everything["jobs"]] == [11, 12]
    assert [job["job_id"] for job in (await asked(house, ada, "/waste/idle"))["jobs"]] == [11]
    await asked(house, ada, "/waste/idle?minutes=1", 400)


async def test_while_telemetry_is_away_idle_jobs_are_not_known_and_verdicts_say_so(
    house: House, olga: Person, site: WasteSite
) -> None:
    site.telemetry.broken = "The telemetry process does not answer."
    try:
        answer = await asked(house, olga, "/waste/idle", 503)
        assert "does not answer" in answer["detail"]
        verdicts = await asked(house, olga, "/jobs/300/verdicts")
        assert verdicts["problem"] == "The telemetry process does not answer." and not verdicts["measured"]
    finally:
        site.telemetry.broken = ""


async def test_a_job_has_its_verdicts_for_those_who_may_see_it(house: House, ada: Person, bob: Person) -> None:
    answer = await asked(house, ada, "/jobs/300/verdicts")
    assert answer["measured"] is True
    (verdict,) = [each for each in answer["verdicts"] if each["rule"] == "gpu-idle"]
    assert verdict["level"] == "bad" and verdict["saves"] == "1.0 GPU-hours"
    await asked(house, bob, "/jobs/300/verdicts", 404)
    await asked(house, ada, "/jobs/999/verdicts", 404)


async def test_failing_again_and_again_needs_no_measurement(house: House, ada: Person) -> None:
    answer = await asked(house, ada, "/jobs/312/verdicts")
    assert [each["rule"] for each in answer["verdicts"]] == ["failed-early"]
    assert answer["verdicts"][0]["fact"] == "It failed after 20 s with exit status 1, as 2 jobs of this name before it."
    assert (await asked(house, ada, "/jobs/311/verdicts"))["verdicts"] == []


def test_a_running_jobs_verdict_is_of_its_time_so_far(site: WasteSite) -> None:
    found = jobs.judge(site.services, jobs.look(site.services, OPERATOR, 11))
    assert found.footprint is not None and [each.rule for each in found.verdicts] == ["gpu-mostly-idle"]
    assert jobs.judge(site.services, jobs.look(site.services, ADA, 13)).verdicts[0].level == "good"


async def test_long_questions_of_one_hold_up_nobody_and_soon_wait_themselves(
    house: House, site: WasteSite, ada: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    plainly = site.telemetry.footprints_of
    monkeypatch.setattr(site.telemetry, "footprints_of", lambda *args: (go_on.wait(60), plainly(*args))[1])
    paths = ("/waste", "/waste/idle", "/jobs/300/verdicts", "/jobs/300/telemetry")
    async with house.browser() as many:
        many.enter(ada)
        asked_long = [asyncio.ensure_future(many.get(f"{PREFIX}/waste")) for _ in range(MOST_OF_ONE)]
        try:
            async with asyncio.timeout(20):
                await asked(house, bob, "/login")
                await asked(house, bob, "/waste/idle")
                for path in paths:
                    answer = await asked_when_full(house, ada, path)
                    assert "Wait for them" in answer["detail"]
        finally:
            go_on.set()
        assert {answer.status for answer in await asyncio.gather(*asked_long)} == {200}
    await asked(house, ada, "/waste")


async def asked_when_full(house: House, who: Person, path: str) -> Any:
    """The answer once the person's questions have all come in."""
    async with house.browser() as browser:
        browser.enter(who)
        while (answer := await browser.get(PREFIX + path)).status != 429:
            await asyncio.sleep(0.05)
        return answer.json()
