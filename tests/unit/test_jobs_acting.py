"""What may be done to a job, by whom and when; the scheduler has the last word and is quoted."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from backend import jobs
from backend.identity import Viewer
from backend.launcher import LauncherError
from backend.store.models import Audit
from tests.unit.jobs_kit import Desk
from tests.unit.pages_kit import ADA, BOB, COORDINATOR, OPERATOR, World, job

ROWS = [
    job(1),
    job(2, state="PENDING"),
    job(3, state="PENDING", reason="JobHeldUser"),
    job(4, state="COMPLETED"),
    job(5, name="carme-sabcdefgh2345672"),
    job(6, label="7_2", array_job_id=7, array_task_id="2"),
]
CAN = {
    1: {"cancel", "requeue", "extend"},
    2: {"cancel", "hold", "extend"},
    3: {"cancel", "release", "extend"},
    4: {"requeue"},
    5: {"cancel", "extend"},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("acting"), jobs=ROWS)


def row(world: World, job_id: int) -> dict[str, Any]:
    return jobs.find(OPERATOR, world.services.snapshots.current, job_id)


@pytest.mark.parametrize("job_id", CAN)
def test_what_can_be_done_follows_from_the_state(world: World, job_id: int) -> None:
    found = jobs.refusals(Desk(world, ADA).services, ADA, row(world, job_id))
    assert {name for name, why in found.items() if not why} == CAN[job_id]
    assert all(why.endswith(".") for why in found.values() if why)


def test_a_job_that_left_the_queue_can_not_be_changed(world: World) -> None:
    found = jobs.refusals(Desk(world, ADA).services, ADA, None)
    assert set(found) == set(jobs.ACTIONS) and all(found.values())


@pytest.mark.parametrize("asked", jobs.ACTIONS)
@pytest.mark.parametrize("viewer", [OPERATOR, COORDINATOR, ADA, BOB])
def test_owner_coordinator_and_operator_may_and_nobody_else(world: World, asked: jobs.Asked, viewer: Viewer) -> None:
    refused = [jobs.refusal(viewer, row(world, number), asked) for number in (1, 2, 3, 4)]
    rights = [each for each in refused if each is not None and each.why == "rights"]
    assert len(rights) == (4 if viewer is BOB else 0)


def test_jobs_of_this_machine_are_not_put_back(world: World) -> None:
    assert jobs.refusals(Desk(world, ADA, kind="local").services, ADA, row(world, 1))["requeue"]


@pytest.mark.parametrize(
    ("asked", "job_id", "call"),
    [
        ("hold", 2, ("ada", "hold", {"job_id": "2"})),
        ("release", 3, ("ada", "release", {"job_id": "3"})),
        ("requeue", 1, ("ada", "requeue", {"job_id": "1"})),
        ("extend", 1, ("ada", "update", {"job_id": "1", "time_s": 7200})),
        ("cancel", 6, ("ada", "cancel", {"job_id": "7_2"})),
    ],
)
async def test_it_is_done_as_the_person_and_noted(
    world: World, asked: jobs.Asked, job_id: int, call: tuple[str, str, dict[str, Any]]
) -> None:
    desk = Desk(world, ADA)
    await jobs.act(desk.services, ADA, asked, job_id, time_s=7200 if asked == "extend" else None)
    assert desk.launcher.calls == [call]
    assert _noted(world, f"job.{asked}") == ("ada", str(job_id), "done")


async def test_what_the_scheduler_refuses_is_quoted_and_noted(world: World) -> None:
    desk = Desk(world, ADA)
    desk.launcher.error = LauncherError("refused", "Job is in held state")
    with pytest.raises(LauncherError, match="Job is in held state"):
        await jobs.requeue(desk.services, ADA, 1)
    assert _noted(world, "job.requeue") == ("ada", "1", "failed")


async def test_why_slurm_denies_more_time_is_said(world: World) -> None:
    desk = Desk(world, ADA)
    desk.launcher.error = LauncherError("refused", "Access/permission denied for job 1")
    with pytest.raises(LauncherError, match=r"only its operators raise a time limit.*Access/permission denied"):
        await jobs.extend(desk.services, ADA, 1, 9000)


@pytest.mark.parametrize("time_s", [None, 0, 59, 10**9])
async def test_a_time_limit_that_is_none_reaches_nobody(world: World, time_s: int | None) -> None:
    desk = Desk(world, ADA)
    with pytest.raises(jobs.ActionRefused) as refused:
        await jobs.act(desk.services, ADA, "extend", 1, time_s=time_s)
    assert (refused.value.why, desk.launcher.calls) == ("wrong", [])


@pytest.mark.parametrize(("viewer", "job_id"), [(BOB, 1), (ADA, 99)])
async def test_what_one_may_not_see_reaches_nobody(world: World, viewer: Viewer, job_id: int) -> None:
    desk = Desk(world, viewer)
    with pytest.raises(jobs.JobNotFound):
        await jobs.hold(desk.services, viewer, job_id)
    assert desk.launcher.calls == []


def _noted(world: World, action: str) -> tuple[str, str, str]:
    with world.services.db.begin() as rows:
        line = rows.scalars(select(Audit).where(Audit.action == action).order_by(Audit.id.desc())).first()
        assert line is not None
        return line.actor, line.target, line.outcome
