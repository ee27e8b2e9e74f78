"""From the click to the job: what is stored first, what the launcher is asked, what a second click does."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from backend.agent.spec import AgentSpec
from backend.sessions import LaunchRefused, LaunchRequest, RequestError, SessionError, SessionNotFound
from backend.sessions.life.submission import new_session_id
from backend.store import models
from tests.unit.sessions_kit import (
    ADA,
    BOB,
    ME,
    OPERATOR,
    AcceptingLauncher,
    Desk,
    RefusingLauncher,
    SilentLauncher,
)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def spec_of(desk: Desk) -> AgentSpec:
    files = desk.launcher.of("submit")[-1]["files"]
    return AgentSpec.from_json(base64.b64decode(files["session.json"]).decode())


async def test_a_launch_with_defaults_is_submitted_as_the_person(desk: Desk) -> None:
    session = await desk.sessions.launch(ADA, desk.sessions.options(ADA).defaults)
    assert (session.state, session.job_id, session.owner) == ("pending", 7, "ada")
    user, action, arguments = desk.launcher.calls[0]
    assert (user, action) == (ME, "submit")
    assert arguments["session"] == session.id
    assert arguments["options"] == {
        "account": "physics", "partition": "gpu", "gpu_type": "a100", "gpus": 1,
        "cpus": 8, "memory_mb": 32768, "time_s": 14400, "nodes": 1,
    }  # fmt: skip


async def test_its_agent_looks_as_often_as_the_site_says(tmp_path: Path) -> None:
    desk = Desk(tmp_path, **{"agent.sample_every_s": 5})
    await desk.sessions.launch(ADA, desk.sessions.options(ADA).defaults)
    assert spec_of(desk).sample_every_s == 5


async def test_the_row_is_there_before_anything_is_submitted(tmp_path: Path) -> None:
    class Watching(AcceptingLauncher):
        def call_blocking(self, user: str, action: str, **arguments: Any) -> dict[str, Any]:
            row = desk.row(arguments["session"])
            seen.append((row.state, row.job_id, row.not_after_s == arguments["not_after_s"]))
            return super().call_blocking(user, action, **arguments)

    seen: list[Any] = []
    desk = Desk(tmp_path, Watching())
    await desk.launch(gpus=1)
    assert seen == [("submitting", None, True)]


async def test_waiting_for_the_database_leaves_the_scheduler_its_whole_time(tmp_path: Path) -> None:
    desk = Desk(tmp_path, **{"sessions.submit_timeout_s": 5})
    with desk.db.begin() as tx:  # somebody else writes
        tx.connection()
        launching = asyncio.ensure_future(desk.launch(gpus=1))
        await asyncio.sleep(1.5)
        freed_s = time.time()
    row = desk.row(await launching)
    assert row.created_s >= int(freed_s)
    assert row.not_after_s >= freed_s + 5
    assert desk.launcher.of("submit")[0]["not_after_s"] == row.not_after_s


async def test_the_agents_file_carries_the_secret_and_the_database_does_not(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1, work_dir="/data/a b")
    spec, row = spec_of(desk), desk.row(session_id)
    assert (spec.session_id, spec.work_dir) == (session_id, "/data/a b")
    assert spec.secret.encode() not in row.secret
    assert desk.box.decrypt(row.secret, purpose=f"session:{session_id}").decode() == spec.secret
    database = Path(desk.db.url.database or "").read_bytes()
    assert spec.secret.encode() not in database
    assert b"PRIVATE KEY" not in database


async def test_each_session_has_its_own_secret_certificate_and_name(desk: Desk) -> None:
    rows = [desk.row(await desk.launch(gpus=1)) for _ in range(2)]
    for field in ("id", "secret", "tls_fingerprint"):
        assert len({getattr(row, field) for row in rows}) == 2


def test_ids_are_one_dns_label() -> None:
    ids = {new_session_id() for _ in range(200)}
    assert len(ids) == 200
    assert all(each.isascii() and each.isalnum() and each[0] == "s" and len(each) == 16 for each in ids)


async def test_a_double_click_is_one_session(desk: Desk) -> None:
    request = LaunchRequest(gpus=1)
    both = await asyncio.gather(*(desk.sessions.launch(ADA, request, key="click-1") for _ in range(5)))
    assert len({session.id for session in both}) == 1
    assert len(desk.launcher.of("submit")) == 1


async def test_two_clicks_are_two_sessions(desk: Desk) -> None:
    assert await desk.launch(gpus=1, key="one") != await desk.launch(gpus=1, key="two")


async def test_the_same_key_of_another_person_is_another_click(desk: Desk) -> None:
    first = await desk.launch(gpus=1, key="one")
    with pytest.raises(LaunchRefused):  # bob is not the owner of this console: refused, not given ada's session
        await desk.sessions.launch(BOB, LaunchRequest(gpus=1), key="one")
    assert [row.id for row in desk.rows.live()] == [first]


async def test_a_launch_goes_on_when_the_browser_goes_away(tmp_path: Path) -> None:
    class Slow(AcceptingLauncher):
        async def call(self, user: str, action: str, **arguments: Any) -> dict[str, Any]:
            await asyncio.sleep(0.3)
            return await super().call(user, action, **arguments)

    desk = Desk(tmp_path, Slow())
    waiting = asyncio.ensure_future(desk.sessions.launch(ADA, LaunchRequest(gpus=1)))
    await asyncio.sleep(0.15)
    waiting.cancel()
    await asyncio.sleep(0.5)
    (row,) = desk.rows.live()
    assert (row.state, row.job_id) == ("pending", 7)


async def test_a_refusal_is_told_in_words_and_by_field_and_leaves_no_card(tmp_path: Path) -> None:
    desk = Desk(tmp_path, RefusingLauncher())
    with pytest.raises(LaunchRefused) as refused:
        await desk.launch(gpus=1, key="click")
    (problem,) = refused.value.problems
    assert problem.field == "qos"
    assert "can't be used with this account" in problem.message
    assert "Invalid qos specification" in problem.message
    assert desk.sessions.list(ADA) == []
    with pytest.raises(LaunchRefused):
        await desk.launch(gpus=1, key="click")
    assert len(desk.launcher.of("submit")) == 1


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("down", "its launcher is not running"),
        ("unavailable", "The scheduler can't be reached"),
        ("too_late", "Nothing was submitted"),
        ("not_allowed", "the owner only"),
    ],
)
async def test_each_way_of_failing_has_its_words(tmp_path: Path, kind: str, part: str) -> None:
    desk = Desk(tmp_path, RefusingLauncher(kind=kind, message="This console acts for the owner only."))
    with pytest.raises(LaunchRefused, match=part):
        await desk.launch(gpus=1)
    assert [row.state for row in desk.rows.live()] == []


async def test_an_open_outcome_stays_submitting_until_the_scheduler_tells(tmp_path: Path) -> None:
    desk = Desk(tmp_path, SilentLauncher())
    session = await desk.sessions.launch(ADA, LaunchRequest(gpus=1))
    assert (session.state, session.job_id) == ("submitting", None)


async def test_a_limit_refuses_before_anything_is_stored(desk: Desk) -> None:
    with pytest.raises(LaunchRefused, match="No node of partition gpu has 5 GPUs"):
        await desk.launch(gpus=5, partition="gpu")
    assert desk.launcher.calls == []
    assert desk.rows.list(None, over=True, limit=10) == []


async def test_one_person_has_so_many_sessions_and_no_more(tmp_path: Path) -> None:
    desk = Desk(tmp_path, **{"sessions.max_active_per_person": 2})
    answers = await asyncio.gather(*(desk.launch(gpus=1) for _ in range(5)), return_exceptions=True)
    refused = [each for each in answers if isinstance(each, LaunchRefused)]
    assert len(refused) == 3
    assert "as many as are allowed" in str(refused[0])
    assert len(desk.launcher.of("submit")) == 2


async def test_only_the_owner_of_a_console_without_sudo_launches(desk: Desk) -> None:
    with pytest.raises(LaunchRefused, match=f"launches for its owner only, the Unix user {ME}"):
        await desk.launch(BOB, gpus=1)
    assert "for its owner only" in desk.sessions.options(BOB).refusal
    assert desk.sessions.options(ADA).refusal == ""


async def test_before_the_scheduler_was_ever_seen_nothing_is_launched(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.publish(cluster="")
    with pytest.raises(LaunchRefused, match="not reached the scheduler yet"):
        await desk.launch(gpus=1)


HOSTILE = [
    "$(reboot)", "`id`", "; rm -rf /", "a\nb", "a\r\nb", "x" * 10_000, "<script>alert(1)</script>",
    "--uid=0", "-n1", "' OR 1=1 --", '"quoted"', "a\0b", "../../etc/passwd", "%j", "\x1b[31m", "a b",
    "{session}", "${HOME}", "é", "a,b",
]  # fmt: skip
FIELDS = (
    "app",
    "account",
    "cluster",
    "partition",
    "qos",
    "gpu_type",
    "image",
    "work_dir",
    "reservation",
    "title",
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(FIELDS), value=st.one_of(st.sampled_from(HOSTILE), st.text(min_size=1, max_size=60)))
def test_a_hostile_value_is_refused_or_is_data(desk: Desk, field: str, value: str) -> None:
    desk.launcher.calls.clear()
    request = LaunchRequest.from_dict({"gpus": 1, field: value})
    try:
        session = asyncio.run(desk.sessions.launch(ADA, request))
    except LaunchRefused as refused:
        assert refused.problems
        assert desk.launcher.of("submit") == []
        return
    (submission,) = desk.launcher.of("submit")
    names = json.dumps(submission["options"])
    told = json.loads(base64.b64decode(submission["files"]["session.json"]))
    if field in ("work_dir", "title"):
        assert told[field] == value  # unchanged, in a JSON file, never on a command line
        assert value not in names or value in json.dumps(desk.sessions.options(ADA).defaults.to_dict())
    asyncio.run(desk.sessions.stop(ADA, session.id))
    desk.rows.change(session.id, lambda row: {"state": "ended"})


@pytest.mark.parametrize("image", ["/etc/passwd", "../x.sif", "/images/../etc/x", "/images", "/images/a\nb", "nope"])
async def test_an_image_outside_the_sites_own_is_refused(tmp_path: Path, image: str) -> None:
    desk = Desk(tmp_path, **{"sessions.image_folders": ["/images"], "sessions.runtime": "apptainer",
                             "sessions.runtime_command": "/opt/apptainer"})  # fmt: skip
    with pytest.raises(LaunchRefused, match="not one of those the site offers"):
        await desk.launch(gpus=1, image=image)


async def test_an_image_by_name_or_in_a_folder_of_the_site_is_used(tmp_path: Path) -> None:
    images = [{"name": "Lab", "path": "/sw/lab.sif", "apps": ["jupyterlab"]}]
    apptainer = {"sessions.runtime": "apptainer", "sessions.runtime_command": "/opt/apptainer"}
    desk = Desk(tmp_path, **{"sessions.images": images, "sessions.image_folders": ["/images"], **apptainer})
    for image, path in (
        ("", "/sw/lab.sif"),
        ("Lab", "/sw/lab.sif"),
        ("/images/own $(x).sif", "/images/own $(x).sif"),
    ):
        await desk.launch(gpus=1, image=image)
        runtime = spec_of(desk).runtime
        assert (runtime.kind, runtime.command, runtime.image, runtime.nv) == (
            "apptainer",
            "/opt/apptainer",
            path,
            True,
        )


@pytest.mark.parametrize("raw", [{"gpus": "1"}, {"gpus": True}, {"gpus": 1.0}, {"app": 5}, {"uid": 0}, {"nodes": None}])
def test_a_request_of_wrong_shape_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        LaunchRequest.from_dict(raw)


async def test_others_sessions_are_not_there(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    assert desk.sessions.list(BOB) == []
    assert desk.sessions.list(BOB, owner="ada") == []
    assert desk.sessions.list(BOB, owner="*") == []
    for ask in (desk.sessions.get, desk.sessions.remove):
        with pytest.raises(SessionNotFound):
            ask(BOB, session_id)
    for call in (desk.sessions.stop, desk.sessions.log_tail, desk.sessions.relaunch):
        with pytest.raises(SessionNotFound):
            await call(BOB, session_id)
    assert desk.launcher.of("cancel") == []


async def test_an_operator_sees_and_stops_but_reads_no_log(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    assert [each.id for each in desk.sessions.list(OPERATOR, owner="*")] == [session_id]
    with pytest.raises(SessionNotFound):
        await desk.sessions.log_tail(OPERATOR, session_id)
    stopped = await desk.sessions.stop(OPERATOR, session_id)
    assert stopped.state == "stopping"
    assert desk.launcher.calls[-1][0] == ME  # cancelled as the owner


async def test_stop_cancels_by_the_jobs_number(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    assert (await desk.sessions.stop(ADA, session_id)).state == "stopping"
    assert desk.launcher.of("cancel") == [{"job_id": 7}]


async def test_stop_while_submitting_cancels_what_comes_of_it(tmp_path: Path) -> None:
    class Slow(AcceptingLauncher):
        async def call(self, user: str, action: str, **arguments: Any) -> dict[str, Any]:
            if action == "submit":
                going.set()
                await go_on.wait()
            return await super().call(user, action, **arguments)

    going, go_on = asyncio.Event(), asyncio.Event()
    desk = Desk(tmp_path, Slow())
    launching = asyncio.ensure_future(desk.sessions.launch(ADA, LaunchRequest(gpus=1)))
    await going.wait()
    (row,) = desk.rows.live()
    await desk.sessions.stop(ADA, row.id)
    assert desk.launcher.of("cancel") == [{"session": row.id}]
    go_on.set()
    assert (await launching).state == "stopping"
    assert desk.launcher.of("cancel")[-1] == {"job_id": 7}


async def test_removing_takes_a_card_and_its_folder_away_but_no_live_one(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    with pytest.raises(SessionError, match="Stop it first"):
        desk.sessions.remove(ADA, session_id)
    desk.rows.change(session_id, lambda row: {"state": "ended"})
    desk.sessions.remove(ADA, session_id)
    assert desk.sessions.list(ADA) == []
    assert desk.launcher.of("forget") == [{"session": session_id}]


async def test_relaunch_asks_for_the_same_again(desk: Desk) -> None:
    first = await desk.launch(gpus=2, title="my thesis")
    again = await desk.sessions.relaunch(ADA, first)
    assert again.id != first
    assert again.request == desk.sessions.get(ADA, first).request


async def test_launch_and_stop_are_audited(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    await desk.sessions.stop(ADA, session_id, address="10.1.2.3")
    with desk.db.read() as tx:
        lines = [(each.actor, each.action, each.target) for each in tx.scalars(select(models.Audit))]
    assert lines == [("ada", "session.launch", session_id), ("ada", "session.stop", session_id)]


async def test_every_change_of_any_session_changes_the_version(desk: Desk) -> None:
    versions = [desk.sessions.version()]
    session_id = await desk.launch(gpus=1)
    versions.append(desk.sessions.version())
    await desk.sessions.stop(ADA, session_id)
    versions.append(desk.sessions.version())
    assert versions == sorted(set(versions))


async def test_the_log_is_read_as_the_person(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    assert await desk.sessions.log_tail(ADA, session_id, max_bytes=10**9) == "the log"
    assert desk.launcher.of("tail") == [{"session": session_id, "max_bytes": 256 * 1024}]


async def test_fit_is_told_from_the_snapshot(desk: Desk) -> None:
    found = desk.sessions.fit(ADA, LaunchRequest(gpus=4))
    assert (found.nodes_now, found.fits, found.words) == (2, True, "Fits now on 2 nodes.")


async def test_an_estimate_is_asked_once_and_kept(desk: Desk) -> None:
    first = await desk.sessions.estimate(ADA, LaunchRequest(gpus=1))
    again = await desk.sessions.estimate(ADA, LaunchRequest(gpus=1))
    assert first == again
    assert first.start_s is not None
    assert len(desk.launcher.of("estimate")) == 1
