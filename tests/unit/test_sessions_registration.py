"""What an agent may tell the console, and what it may not: only the holder of the secret, only a port."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from backend.agent.registration import is_over, kept_ago_s, signed
from backend.sessions import SessionError, SessionNotFound
from backend.sessions.life.registration import secret_of
from backend.store import models
from tests.unit.sessions_kit import ADA, BOB, Desk, job


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def message(desk: Desk, session_id: str, **changes: Any) -> dict[str, Any]:
    secret = changes.pop("secret", None) or secret_of(desk.box, desk.row(session_id))
    told = {"session": session_id, "port": 40123, "node": "a1", "time_s": int(time.time()),
            "apps": {"jupyterlab": "starting"}, **changes}  # fmt: skip
    return signed(secret, told)


async def test_a_signed_message_gives_the_port(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    assert desk.sessions.registered(message(desk, session_id)).status == 204
    row = desk.row(session_id)
    assert (row.port, row.apps) == (40123, {"jupyterlab": "starting"})


async def test_a_registration_asks_for_an_early_look_while_the_node_is_unknown(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    kicks = desk.snapshots.kicks
    desk.sessions.registered(message(desk, session_id))
    assert desk.snapshots.kicks == kicks + 1


async def test_the_host_an_agent_names_is_not_believed(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    answer = desk.sessions.registered(message(desk, session_id, node="evil.example.org", address="6.6.6.6"))
    assert answer.status == 204
    assert (desk.row(session_id).node, desk.row(session_id).address) == (None, None)
    desk.look(jobs=[job(session_id, 7)])
    assert (desk.row(session_id).node, desk.row(session_id).address) == ("a1", "10.0.0.2")


@pytest.mark.parametrize(
    "changes",
    [
        {"secret": "x" * 43},
        {"port": 22}, {"port": 0}, {"port": 65536}, {"port": "40123"}, {"port": True}, {"port": None},
        {"time_s": 0}, {"time_s": int(time.time()) + 3600}, {"time_s": "now"}, {"time_s": None},
        {"time_s": float("nan")}, {"time_s": float("inf")},
        {"session": "snobodynobodyno2"},
    ],
)  # fmt: skip
async def test_a_wrong_message_is_refused_and_changes_nothing(desk: Desk, changes: dict[str, Any]) -> None:
    session_id = await desk.launch(gpus=1)
    version = desk.row(session_id).version
    answer = desk.sessions.registered(message(desk, session_id, **changes))
    assert (answer.status, answer.body) == (403, None)
    assert desk.row(session_id).version == version


async def test_a_message_of_one_session_does_not_count_for_another(desk: Desk) -> None:
    one, other = await desk.launch(gpus=1), await desk.launch(gpus=1)
    forged = message(desk, other, secret=secret_of(desk.box, desk.row(one)))
    assert desk.sessions.registered(forged).status == 403


async def test_a_changed_message_is_refused(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    changed = {**message(desk, session_id), "port": 40999}
    assert desk.sessions.registered(changed).status == 403


async def test_an_older_message_replayed_changes_nothing(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    old = message(desk, session_id, port=40001, time_s=int(time.time()) - 10)
    desk.sessions.registered(old)
    desk.sessions.registered(message(desk, session_id, port=40002))
    assert desk.sessions.registered(old).status == 204
    assert desk.row(session_id).port == 40002


async def test_a_session_that_is_over_is_told_so_with_a_signature(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    sent = message(desk, session_id)
    desk.rows.change(session_id, lambda row: {"state": "ended"})
    answer = desk.sessions.registered(sent)
    assert answer.status == 410
    import json

    assert is_over(secret_of(desk.box, desk.row(session_id)), sent, json.dumps(dict(answer.body or {})).encode())


async def test_only_the_sessions_own_apps_and_known_states_are_kept(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    desk.sessions.registered(message(desk, session_id, apps={"jupyterlab": "<b>", "shell": "ready", "x": 1}))
    assert desk.row(session_id).apps == {"jupyterlab": "starting"}


async def test_a_repeated_message_writes_nothing(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    desk.sessions.registered(message(desk, session_id))
    version = desk.row(session_id).version
    desk.sessions.registered(message(desk, session_id))
    assert desk.row(session_id).version == version


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["session", "port", "node", "time_s", "apps", "mac", "extra"]),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text())),
    )
)
def test_nonsense_is_refused(desk: Desk, nonsense: dict[str, Any]) -> None:
    assert desk.sessions.registered(nonsense).status == 403


async def ready_idle(desk: Desk, **told: Any) -> str:
    """A session that is ready, and whose agent says that it is idle."""
    session_id = await desk.launch()
    desk.look(jobs=[job(session_id, 7)])
    desk.rows.change(session_id, lambda row: {"state": "ready"})
    desk.sessions.registered(message(desk, session_id, **{"idle_s": 1500, "idle_timeout_s": 3600, **told}))
    return session_id


async def test_an_idle_session_is_shown_with_its_end(desk: Desk) -> None:
    session = desk.sessions.get(ADA, await ready_idle(desk))
    assert session.idle_since_s is not None and abs(time.time() - session.idle_since_s - 1500) < 60
    assert session.idle_end_s == session.idle_since_s + 3600


async def test_use_ends_idleness_and_seconds_of_two_clocks_change_nothing(desk: Desk) -> None:
    session_id = await ready_idle(desk)
    version = desk.row(session_id).version
    desk.sessions.registered(message(desk, session_id, idle_s=1502, idle_timeout_s=3600))
    assert desk.row(session_id).version == version
    desk.sessions.registered(message(desk, session_id, idle_s=0, idle_timeout_s=3600))
    assert desk.sessions.get(ADA, session_id).idle_since_s is None


async def test_a_kept_session_is_idle_from_now_on_and_its_agent_is_told(desk: Desk) -> None:
    session_id = await ready_idle(desk)
    kept = desk.sessions.keep(ADA, session_id)
    assert kept.idle_since_s is not None and time.time() - kept.idle_since_s < 60
    told = message(desk, session_id, idle_s=1510, idle_timeout_s=3600)
    answer = desk.sessions.registered(told)
    assert answer.status == 200 and answer.body is not None
    secret = secret_of(desk.box, desk.row(session_id))
    ago_s = kept_ago_s(secret, told, json.dumps(dict(answer.body)).encode())
    assert ago_s is not None and ago_s < 60
    assert desk.sessions.registered(message(desk, session_id, idle_s=0, idle_timeout_s=3600)).status == 204
    with desk.db.read() as tx:
        assert "session.keep" in tx.scalars(select(models.Audit.action)).all()


async def test_only_its_person_keeps_a_session_and_only_one_that_would_end(desk: Desk) -> None:
    session_id = await ready_idle(desk)
    with pytest.raises(SessionNotFound):
        desk.sessions.keep(BOB, session_id)
    endless = await ready_idle(desk, idle_timeout_s=0)
    assert desk.sessions.get(ADA, endless).idle_end_s is None
    with pytest.raises(SessionError):
        desk.sessions.keep(ADA, endless)


@pytest.mark.parametrize("idle_s", [-1, "9", None, 1e9, True, 10**12, float("nan")])
async def test_an_idle_time_that_is_none_says_nothing(desk: Desk, idle_s: Any) -> None:
    session_id = await ready_idle(desk, idle_s=idle_s)
    assert desk.sessions.get(ADA, session_id).idle_since_s is None
