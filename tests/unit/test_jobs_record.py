"""One job, whole: out of the queue and out of the accounts, for those who may see it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from backend import jobs
from tests.unit.jobs_kit import Desk, keep, past
from tests.unit.pages_kit import ADA, BOB, COORDINATOR, OPERATOR, World, job

YEAR_S = 365 * 86400


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("record"), jobs=[job(1), job(2, state="PENDING", reason="JobHeldUser")])
    now = int(time.time())
    keep(
        made,
        past(50, state="REQUEUED", submit_s=now - 9000, start_s=now - 8900, end_s=now - 8000),
        past(50, submit_s=now - 8000, state="FAILED", exit_status=3),
        past(51, submit_s=now - 2 * YEAR_S, start_s=now - 2 * YEAR_S, end_s=now - 2 * YEAR_S + 60),
        past(51, "bob", account="bio"),
        past(52, state="TIMEOUT"),
    )
    return made


def test_a_job_of_the_queue_needs_no_accounts(world: World) -> None:
    record = jobs.look(world.services, ADA, 1)
    assert (record.running, record.over, record.attempts) == (True, False, ())
    assert [(run.start_s, run.end_s) for run in record.runs()] == [(record.live["start_s"], None)]  # type: ignore[index]


def test_one_that_waits_has_run_nowhere(world: World) -> None:
    record = jobs.look(world.services, ADA, 2)
    assert record.runs() == ()
    assert record.words(world.services.snapshots.current, ADA).startswith("Held by its owner")


def test_an_ended_job_has_every_attempt_and_how_it_ended(world: World) -> None:
    record = jobs.look(world.services, ADA, 50)
    assert [row["state"] for row in record.attempts] == ["FAILED", "REQUEUED"]
    assert [run.end_s for run in record.runs()] == [row["end_s"] for row in record.attempts]
    assert "exit code 3" in record.words(world.services.snapshots.current, ADA)
    assert record.facts()["exit_code"] == "3:0"
    assert record.over


def test_jobs_of_one_number_are_told_apart_and_chosen_by_their_submit_time(world: World) -> None:
    newest = jobs.look(world.services, OPERATOR, 51)
    assert (newest.owner["user"], [each.user for each in newest.others]) == ("bob", ["ada"])
    older = jobs.look(world.services, OPERATOR, 51, submit_s=newest.others[0].origin_s)
    assert (older.owner["user"], [each.user for each in older.others]) == ("ada", ["bob"])


def test_another_job_of_the_number_is_no_secret_let_out(world: World) -> None:
    record = jobs.look(world.services, ADA, 51)
    assert (record.owner["user"], record.others) == ("ada", ())


@pytest.mark.parametrize("job_id", [1, 50, 999])
def test_what_one_may_not_see_is_not_there(world: World, job_id: int) -> None:
    with pytest.raises(jobs.JobNotFound):
        jobs.look(world.services, BOB, job_id)


def test_a_coordinator_sees_the_ended_jobs_of_the_account(world: World) -> None:
    assert jobs.look(world.services, COORDINATOR, 52).facts()["state"] == "TIMEOUT"


def test_the_queues_row_and_the_accounts_are_one_job_also_before_a_requeue_is_in_them(world: World) -> None:
    now = int(time.time())
    keep(world, past(60, submit_s=now - 900, start_s=now - 800, end_s=now - 100, state="REQUEUED"))
    world.publish(jobs=[job(1), job(60, submit_s=now - 100, start_s=now - 50, restarts=1)])
    record = jobs.look(world.services, ADA, 60)
    assert (record.others, record.origin_s, len(record.runs())) == ((), now - 900, 2)


def test_a_running_job_is_not_measured_twice(world: World, tmp_path: Path) -> None:
    now = int(time.time())
    start_s = now - 500
    keep(world, past(61, submit_s=now - 600, start_s=start_s, end_s=now - 10))
    world.publish(jobs=[job(61, submit_s=now - 600, start_s=start_s)])
    assert [run.end_s for run in jobs.look(world.services, ADA, 61).runs()] == [None]


async def test_logs_and_scripts_are_read_as_their_owner_and_of_nobody_else(world: World) -> None:
    desk = Desk(world, ADA)
    desk.launcher.answer = {"text": "hello", "path": "/home/ada/slurm-50.out", "size_bytes": 5, "note": ""}
    record = jobs.look(world.services, ADA, 50)
    part = await jobs.read_log(desk.services, ADA, record)
    assert (part.text, desk.launcher.calls[0][:2]) == ("hello", ("ada", "job_log"))
    given = desk.launcher.calls[0][2]
    assert given["gone"] is True and given["since_s"] < given["until_s"]
    for stranger in (OPERATOR, COORDINATOR):
        with pytest.raises(jobs.JobNotFound):
            await jobs.read_log(desk.services, stranger, record)
        with pytest.raises(jobs.JobNotFound):
            await jobs.read_script(desk.services, stranger, record)
    assert len(desk.launcher.calls) == 1
