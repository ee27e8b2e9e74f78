"""The secret signs and never travels; only the console's own word ends a session."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.agent import registration
from tests.unit.agent_kit import SESSION, console

SECRET = "k" * 43
MESSAGE = {
    "session": SESSION,
    "port": 40000,
    "node": "n1",
    "time_s": 1_700_000_000,
    "apps": {"jupyterlab": "ready"},
}


def test_the_mac_is_hmac_sha256_of_the_canonical_json() -> None:
    text = (
        '{"apps":{"jupyterlab":"ready"},"node":"n1","port":40000,'
        f'"session":"{SESSION}","time_s":1700000000}}'
    )
    expected = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
    assert registration.mac_of(SECRET, MESSAGE) == expected


@given(st.sampled_from(sorted(MESSAGE)), st.one_of(st.text(), st.integers(), st.none()))
def test_any_change_breaks_the_mac(key: str, value: object) -> None:
    signed = registration.signed(SECRET, MESSAGE)
    assert registration.is_signed(SECRET, json.loads(json.dumps(signed)))
    if MESSAGE[key] != value:
        assert not registration.is_signed(SECRET, {**signed, key: value})
    assert not registration.is_signed("x" + SECRET[1:], signed)


@pytest.mark.parametrize("mac", [None, 5, "", "ü", "\ud800", [], "0" * 64])
def test_a_malformed_mac_is_no_mac(mac: object) -> None:
    assert not registration.is_signed(SECRET, {**MESSAGE, "mac": mac})
    assert not registration.is_signed(SECRET, dict(MESSAGE))


def test_204_is_known_and_a_signed_410_is_over() -> None:
    with console() as door:
        door.secret = SECRET
        assert not registration.register(SECRET, door.url, "/api/v1/agent/register", MESSAGE).over
        door.answer = 410
        assert registration.register(SECRET, door.url, "/api/v1/agent/register", MESSAGE).over
        assert registration.is_signed(SECRET, door.messages[0])
        assert SECRET not in json.dumps(door.messages)


def test_a_410_of_another_program_on_that_port_ends_nothing() -> None:
    with console() as door:
        door.answer = 4100
        with pytest.raises(registration.Refused):
            registration.register(SECRET, door.url, "/r", MESSAGE)
        door.answer, door.secret = 410, "z" * 43
        with pytest.raises(registration.Refused):
            registration.register(SECRET, door.url, "/r", MESSAGE)


def test_a_word_that_the_session_is_kept_counts_for_its_own_message_only() -> None:
    first = registration.signed(SECRET, MESSAGE)
    second = registration.signed(SECRET, {**MESSAGE, "time_s": MESSAGE["time_s"] + 1})  # type: ignore[operator]
    body = json.dumps(registration.kept_answer(SECRET, first, 7)).encode()
    assert registration.kept_ago_s(SECRET, first, body) == 7
    assert registration.kept_ago_s(SECRET, second, body) is None
    assert not registration.is_over(SECRET, first, body)
    for ago_s in (-1, None, "7", True):
        other = registration.signed(SECRET, {"kept_ago_s": ago_s, "session": first["session"], "answers": first["mac"]})
        assert registration.kept_ago_s(SECRET, first, json.dumps(other).encode()) is None


def test_an_over_answer_counts_for_its_own_message_only() -> None:
    first = registration.signed(SECRET, MESSAGE)
    second = registration.signed(SECRET, {**MESSAGE, "time_s": MESSAGE["time_s"] + 1})  # type: ignore[operator]
    body = json.dumps(registration.over_answer(SECRET, first)).encode()
    assert registration.is_over(SECRET, first, body)
    assert not registration.is_over(SECRET, second, body)
    for other in (b"", b"[]", b"null", json.dumps(first).encode()):
        assert not registration.is_over(SECRET, first, other)


@pytest.mark.parametrize("status", [400, 403, 404, 200, 301])
def test_other_answers_are_refusals(status: int) -> None:
    with console() as door:
        door.answer = status
        with pytest.raises(registration.Refused, match=str(status)):
            registration.register(SECRET, door.url, "/r", MESSAGE)


def test_a_console_that_is_away_or_ill_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    with console() as door:
        door.answer = 503
        with pytest.raises(registration.Unreachable):
            registration.register(SECRET, door.url, "/r", MESSAGE)
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        door.answer = 204
        assert registration.register(SECRET, door.url, "/r", MESSAGE) == registration.Standing()  # by no HTTP proxy
        url = door.url
    with pytest.raises(registration.Unreachable):
        registration.register(SECRET, url, "/r", MESSAGE)
