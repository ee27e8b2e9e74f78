"""Rows and the scheduler: what a look at the queue makes of a session, and what it never makes of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from backend.sessions.life.reconcile import ACCEPTANCE_MARGIN_S, FORGOTTEN_S, STOPPED_UNSEEN_S, Reconciler
from backend.sessions.life.rows import Rows
from backend.sessions.life.scheduler import sight_of
from tests.unit.sessions_kit import ADA, UID, Desk, SilentLauncher, job, site, snapshot


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def lost(tmp_path: Path) -> Desk:
    """A console that never hears what became of its submissions."""
    return Desk(tmp_path, SilentLauncher())


def later(desk: Desk, session_id: str, seconds: float = 0) -> float:
    """A moment at which nothing of this session can be submitted any more."""
    return desk.row(session_id).not_after_s + ACCEPTANCE_MARGIN_S + 1 + seconds


async def test_a_pending_job_says_why_and_when(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    soon = int(time.time()) + 600
    desk.look(jobs=[job(session_id, 7, "PENDING", reason="Resources", start_s=soon, start_expected=True)])
    row = desk.row(session_id)
    assert (row.state, row.confirmed, row.start_s, row.start_expected) == ("pending", True, soon, True)
    assert row.reason != ""
    assert row.reason != "Resources"


async def test_a_running_job_gives_node_address_and_end(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    running = job(session_id, 7)
    desk.look(jobs=[running])
    row = desk.row(session_id)
    assert (row.state, row.node, row.address) == ("starting", "a1", "10.0.0.2")
    assert (row.start_s, row.limit_end_s) == (running["start_s"], running["end_s"])


async def test_the_first_of_several_nodes_is_where_it_runs(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1, nodes=2)
    desk.look(jobs=[job(session_id, 7, node_list="a[22,1]")])
    assert desk.row(session_id).node == "a22"


async def test_an_open_submission_is_adopted_by_name_cluster_and_uid(lost: Desk) -> None:
    session_id = await lost.launch(gpus=1)
    lost.look(jobs=[job(session_id, 41)])
    row = lost.row(session_id)
    assert (row.state, row.job_id, row.confirmed) == ("starting", 41, True)


@pytest.mark.parametrize(
    "forged",
    [
        {"uid": UID + 1},
        {"name": "carme-sotherotherother"},
        {"name": "carme-"},
        {"name": "CARME-"},
    ],
)
async def test_a_job_that_only_looks_like_it_changes_nothing(lost: Desk, forged: dict[str, Any]) -> None:
    session_id = await lost.launch(gpus=1)
    before = lost.row(session_id)
    lost.look(jobs=[{**job(session_id, 41), **forged}])
    after = lost.row(session_id)
    assert (after.state, after.job_id, after.version) == ("submitting", None, before.version)
    assert lost.cancelled == []


async def test_a_name_with_newlines_is_no_sessions_name(lost: Desk) -> None:
    session_id = await lost.launch(gpus=1)
    lost.look(
        jobs=[
            job(session_id, 41, name=f"x\ncarme-{session_id}"),
            job(session_id, 42, name=f"carme-{session_id}\n"),
        ]
    )
    assert lost.row(session_id).job_id is None


async def test_the_same_name_on_another_cluster_changes_nothing(lost: Desk) -> None:
    session_id = await lost.launch(gpus=1)
    elsewhere = snapshot(cluster="other", **site(jobs=[job(session_id, 41)]))
    lost.reconciler.run(elsewhere, sight_of(elsewhere))
    assert lost.row(session_id).job_id is None
    assert lost.cancelled == []


async def test_another_job_of_ones_own_with_a_live_sessions_name_has_no_effect(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    desk.look(jobs=[job(session_id, 7), job(session_id, 5, "PENDING"), job(session_id, 9, "FAILED")])
    row = desk.row(session_id)
    assert (row.job_id, row.state) == (7, "starting")


async def test_nothing_accepted_is_a_failure_only_after_not_after(lost: Desk) -> None:
    session_id = await lost.launch(gpus=1)
    lost.look(taken_s=lost.row(session_id).not_after_s)
    assert lost.row(session_id).state == "submitting"
    lost.look(taken_s=later(lost, session_id))
    row = lost.row(session_id)
    assert row.state == "failed"
    assert "never accepted" in row.reason


async def test_a_job_that_comes_after_it_was_given_up_is_cancelled(lost: Desk) -> None:
    session_id = await lost.launch(gpus=1)
    moment = later(lost, session_id)
    lost.look(taken_s=moment)
    lost.look(taken_s=moment + 60, jobs=[job(session_id, 41, "PENDING")])
    assert lost.cancelled == [(session_id, 41)]
    assert lost.row(session_id).state == "failed"


async def test_a_cancel_is_not_sent_at_every_look(lost: Desk) -> None:
    session_id = await lost.launch(gpus=1)
    moment = later(lost, session_id)
    lost.look(taken_s=moment)
    for step in range(5):
        lost.look(taken_s=moment + 60 + step, jobs=[job(session_id, 41)])
    assert lost.cancelled == [(session_id, 41)]


async def test_a_ghosts_forged_twin_is_not_cancelled(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    ended = int(time.time()) - 60
    desk.look(jobs=[job(session_id, 7, "COMPLETED", end_s=ended)])
    assert desk.row(session_id).state == "ended"
    desk.look(jobs=[job(session_id, 8), job(session_id, 9, uid=UID + 1)])
    assert desk.cancelled == []


async def test_a_job_without_a_row_is_left_alone(desk: Desk) -> None:
    desk.look(jobs=[job("sfromanotherone", 3)])
    assert desk.cancelled == []


@pytest.mark.parametrize(
    ("facts", "state", "words"),
    [
        ({"state": "COMPLETED"}, "ended", "It ended by itself."),
        ({"state": "TIMEOUT"}, "ended", "Its time limit of 1 h was reached."),
        (
            {"state": "FAILED", "exit_code": "3:0"},
            "failed",
            "It failed with exit status 3; its log says more.",
        ),
        ({"state": "FAILED", "exit_code": "0:11"}, "failed", "It failed with signal 11; its log says more."),
        (
            {"state": "OUT_OF_MEMORY"},
            "failed",
            "It used more memory than it asked for. Ask for more next time.",
        ),
        ({"state": "NODE_FAIL"}, "failed", "Its node failed."),
        ({"state": "CANCELLED"}, "ended", "It was cancelled."),
        ({"state": "PREEMPTED"}, "ended", "It had to make room for a job of higher priority."),
    ],
)
async def test_an_end_says_why(desk: Desk, facts: dict[str, Any], state: str, words: str) -> None:
    session_id = await desk.launch(gpus=1)
    desk.look(jobs=[job(session_id, 7, end_s=1795000000, **facts)])
    row = desk.row(session_id)
    assert (row.state, row.reason, row.end_s) == (state, words, 1795000000)


async def test_a_vanished_jobs_end_comes_from_accounting(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    desk.look(jobs=[job(session_id, 7)])
    ended = {"job_id": 7, "name": f"carme-{session_id}", "uid": UID, "state": "CANCELLED"}
    desk.look(ended=[{**ended, "cancelled_by": "0", "end_s": 1795000000, "start_s": 1794990000}])
    row = desk.row(session_id)
    assert (row.state, row.reason, row.end_s) == ("ended", "It was cancelled by root.", 1795000000)


@pytest.mark.parametrize("forged", [{"uid": UID + 1}, {"name": "carme-sother"}, {"end_s": None}, {"state": "RUNNING"}])
async def test_accounting_of_another_or_an_open_job_ends_nothing(desk: Desk, forged: dict[str, Any]) -> None:
    session_id = await desk.launch(gpus=1)
    desk.look(jobs=[job(session_id, 7)])
    ended = {"job_id": 7, "name": f"carme-{session_id}", "uid": UID, "state": "FAILED", "end_s": 1795000000}
    desk.look(ended=[{**ended, **forged}])
    assert desk.row(session_id).state == "starting"


async def test_a_job_nobody_knows_any_more_is_given_up_after_a_while(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    now = time.time()
    desk.look(taken_s=now, jobs=[job(session_id, 7)])
    desk.look(taken_s=now + 10)
    assert desk.row(session_id).state == "starting"
    desk.look(taken_s=now + 11 + FORGOTTEN_S)
    row = desk.row(session_id)
    assert row.state == "ended"
    assert "no longer knows its job" in row.reason


async def test_a_job_that_was_to_end_anyway_is_given_up_sooner(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    now = time.time()
    desk.look(taken_s=now, jobs=[job(session_id, 7)])
    await desk.sessions.stop(ADA, session_id)
    desk.look(taken_s=now + 5)
    assert desk.row(session_id).state == "stopping"
    desk.look(taken_s=now + 6 + STOPPED_UNSEEN_S)
    row = desk.row(session_id)
    assert (row.state, row.reason) == ("ended", "You stopped it.")


async def test_a_scheduler_that_is_away_changes_nothing(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    look, rows = time.time(), [job(session_id, 7)]
    desk.look(taken_s=look, jobs=rows)
    version = desk.row(session_id).version
    for _ in range(3):  # the collector fails: the same rows, as old as they are
        desk.look(taken_s=look, jobs=rows)
    assert desk.row(session_id).version == version


async def test_a_look_older_than_the_submission_ends_nothing(desk: Desk) -> None:
    before = time.time() - 60
    session_id = await desk.launch(gpus=1)
    desk.look(taken_s=before)
    desk.look(taken_s=time.time() + 1)
    assert desk.row(session_id).state == "pending"


async def test_the_fresher_look_at_waiting_sessions_counts(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    now = time.time()
    made = desk.publish(now, **site(jobs=[job(session_id, 7, "PENDING")]))
    newer = snapshot(now + 2, **site(waiting=[job(session_id, 7)])).waiting
    mixed = type(made)(**{**vars(made), "waiting": newer})
    desk.reconciler.run(mixed, sight_of(mixed))
    assert desk.row(session_id).state == "starting"


async def test_an_older_look_at_waiting_sessions_brings_nothing_back(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    now = time.time()
    desk.look(taken_s=now, jobs=[job(session_id, 7, "COMPLETED")])
    made = desk.publish(now + 10, **site())
    older = snapshot(now + 5, **site(waiting=[job(session_id, 7)])).waiting
    mixed = type(made)(**{**vars(made), "waiting": older})
    desk.reconciler.run(mixed, sight_of(mixed))
    assert desk.row(session_id).state == "ended"
    assert desk.cancelled == []


async def test_a_stop_is_sent_again_until_the_job_is_gone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    session_id = await desk.launch(gpus=1)
    desk.look(jobs=[job(session_id, 7)])
    await desk.sessions.stop(ADA, session_id)
    desk.look(jobs=[job(session_id, 7)])
    assert desk.cancelled == []  # just sent
    desk.rows.change(session_id, lambda row: {"stop_sent_s": row.stop_sent_s - 60})
    desk.look(jobs=[job(session_id, 7)])
    assert desk.cancelled == [(session_id, 7)]
    assert desk.row(session_id).state == "stopping"
    desk.look(jobs=[job(session_id, 7, "CANCELLED", end_s=int(time.time()))])
    row = desk.row(session_id)
    assert (row.state, row.reason) == ("ended", "You stopped it.")


async def test_a_stop_of_what_was_never_accepted_ends_it(lost: Desk) -> None:
    session_id = await lost.launch(gpus=1)
    await lost.sessions.stop(ADA, session_id)
    lost.look(taken_s=later(lost, session_id))
    row = lost.row(session_id)
    assert row.state == "ended"
    assert row.reason.startswith("You stopped it.")


async def test_two_processes_reconcile_as_one(lost: Desk) -> None:
    session_id = await lost.launch(gpus=1)
    other: list[Any] = []
    second = Reconciler(Rows(lost.db), lambda row, job_id: other.append((row.id, job_id)))
    moment = later(lost, session_id)
    lost.look(taken_s=moment)
    for step in range(2):
        made = snapshot(moment + 60 + step, **site(jobs=[job(session_id, 41)]))
        second.run(made, sight_of(made))
        lost.reconciler.run(made, sight_of(made))
    assert len(lost.cancelled + other) == 1


async def test_ready_stays_ready_while_it_runs(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    desk.look(jobs=[job(session_id, 7)])
    desk.rows.change(session_id, lambda row: {"state": "ready", "ready_s": 5})
    desk.look(jobs=[job(session_id, 7)])
    assert desk.row(session_id).state == "ready"


async def test_nothing_new_writes_nothing(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    running = job(session_id, 7)
    desk.look(jobs=[running])
    version = desk.row(session_id).version
    desk.look(jobs=[running])
    assert desk.row(session_id).version == version


def test_a_look_at_a_hundred_thousand_jobs_is_quick(desk: Desk) -> None:
    rows = [job(f"s{number:015d}".replace("0", "a"), number + 1, name="train") for number in range(100_000)]
    made = snapshot(**site(jobs=rows))
    began = time.perf_counter()
    sight_of(made)
    assert time.perf_counter() - began < 0.2
