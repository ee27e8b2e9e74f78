"""Requests that change something come from the console's own pages and carry what only they know."""

from __future__ import annotations

from pathlib import Path

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest

from app.gate.csrf import EntryForms, foreign, reads_across
from app.gate.gate import form_field
from app.gate.origins import Origins, Source
from backend.store import SecretBox
from config import load_settings

HERE = Source("127.0.0.1", "http", "localhost:5006")


@pytest.fixture
def origins() -> Origins:
    return Origins(load_settings(None, {"CARME_DATA": "/nowhere"}))


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost:5006", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://localhost:5006"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
)
def test_the_consoles_own_requests_pass(origins: Origins, headers: dict[str, str]) -> None:
    assert foreign(HTTPHeaders(headers), HERE, origins) == ""


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "http://localhost:5007"},
        {"Origin": "http://s1.localhost:5006"},
        {"Origin": "https://localhost:5006"},
        {"Origin": "http://localhost:5006.evil.test"},
        {"Origin": "http://localhost:5006", "Sec-Fetch-Site": "same-site"},
        {"Origin": "http://localhost:5006", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://localhost:5006", "Sec-Fetch-Site": "none"},
        {"Origin": "http://evil.test", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_others_do_not(origins: Origins, headers: dict[str, str]) -> None:
    assert foreign(HTTPHeaders(headers), HERE, origins)


def test_reading_across_is_following_a_link_or_nothing() -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert not reads_across(HTTPHeaders(link))
    assert reads_across(HTTPHeaders(link | {"Sec-Fetch-Dest": "iframe"}))
    assert reads_across(HTTPHeaders(link | {"Sec-Fetch-Mode": "cors"}))
    assert not reads_across(HTTPHeaders({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}))
    assert not reads_across(HTTPHeaders({}))


def test_an_entry_form_holds_for_its_subject_and_for_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms = EntryForms(SecretBox(tmp_path))
    token, half = forms.issue(), forms.issue("half")
    assert forms.good(token) and forms.good(half, "half")
    assert not forms.good(half) and not forms.good(token, "half") and not forms.good(half, "another")
    monkeypatch.setattr("app.gate.csrf.time.time", lambda: 4_000_000_000.0)
    assert not forms.good(token)


@pytest.mark.parametrize(
    "token", ["", ".", "..", "1.2.3", "9999999999.x.", "ü", "9999999999", "x" * 5000, "\x00"]
)
def test_a_made_up_token_is_not_good(tmp_path: Path, token: str) -> None:
    assert not EntryForms(SecretBox(tmp_path)).good(token)


def test_an_entry_form_of_another_console_is_not_good(tmp_path: Path) -> None:
    other = EntryForms(SecretBox(tmp_path / "other"))
    assert not EntryForms(SecretBox(tmp_path / "one")).good(other.issue())


def request(kind: str) -> HTTPServerRequest:
    class Connection:
        class context:
            remote_ip = "127.0.0.1"

    return HTTPServerRequest(
        "POST", "/x", headers=HTTPHeaders({"Content-Type": kind}), connection=Connection()
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "body", "found"),
    [
        ("application/x-www-form-urlencoded", b"a=1&csrf=x%20y", "x y"),
        ("application/x-www-form-urlencoded; charset=utf-8", b"csrf=x", "x"),
        ("application/x-www-form-urlencoded", b"csrf=x&csrf=y", ""),
        ("application/x-www-form-urlencoded", b"csrf=\xff", ""),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 500) + b"&csrf=x", ""),
        ("text/plain", b"csrf=x", ""),
        ("application/json", b'{"csrf": "x"}', ""),
    ],
)
def test_the_token_is_read_from_a_plain_form(kind: str, body: bytes, found: str) -> None:
    assert form_field(request(kind), body, "csrf") == found
