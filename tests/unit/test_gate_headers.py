"""What every answer says to the browser."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from tornado.httputil import HTTPHeaders

from app.accesslog import shown_path
from app.gate.guards import Guard, Route
from app.gate.headers import Compression, with_nonce
from app.gate.origins import Source
from app.gate.visit import Visit
from backend.store import models
from pages import PAGES
from tests.unit.gatehouse import House, Person, running

HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture(scope="module")
def bob(house: House) -> Person:
    return house.person("bob")


def policy_of(headers: object) -> dict[str, list[str]]:
    text = headers["Content-Security-Policy"]  # type: ignore[index]
    return {part.split()[0]: part.split()[1:] for part in text.split("; ")}


async def test_every_answer_has_the_headers(house: House, bob: Person) -> None:
    async with house.browser() as user:
        user.enter(bob)
        for path in ("/", "/account", "/login", "/api/session", "/nothing", "/healthz", "/assets/logo.svg",
                     "/static/js/bokeh.min.js", "/people", "/favicon.ico"):  # fmt: skip
            got = await user.get(path)
            assert got.headers["X-Content-Type-Options"] == "nosniff", path
            assert got.headers["X-Frame-Options"] == "DENY", path
            assert got.headers["Referrer-Policy"] == "same-origin", path
            assert got.headers["Cross-Origin-Resource-Policy"] == "same-origin", path
            assert policy_of(got.headers)["frame-ancestors"] == ["'none'"], path
            assert "Server" not in got.headers, path
            assert "Strict-Transport-Security" not in got.headers, path


async def test_no_answer_about_a_person_is_kept(house: House, bob: Person) -> None:
    async with house.browser() as user:
        user.enter(bob)
        for path in ("/", "/account", "/login?again=1", "/api/session", "/people"):
            assert (await user.get(path)).headers["Cache-Control"] == "no-store", path


async def test_scripts_run_by_nonce_and_none_by_eval(house: House, bob: Person) -> None:
    async with house.browser() as user:
        user.enter(bob)
        nonces = set()
        for path in ("/", "/cluster", "/account", "/login?again=1"):
            got = await user.get(path)
            policy = policy_of(got.headers)
            assert policy["default-src"] == ["'none'"]
            assert policy["base-uri"] == ["'none'"]
            assert policy["form-action"] == ["'self'"]
            own, nonce, blob = policy["script-src"]
            assert (own, blob) == ("'self'", "blob:")
            assert nonce not in nonces
            nonces.add(nonce)
            inline = re.findall(r"<script(?![^>]* src=)([^>]*)>", got.text)
            assert all(nonce.strip("'").removeprefix("nonce-") in found for found in inline), path
            assert not re.search(r"\son[a-z]+=", got.text), f"an inline handler in {path}"


@pytest.mark.parametrize("name", ["theme", "x", "bokeh-absolute-url", "bokeh-app-path", "title", "autoreload"])
async def test_nothing_of_the_address_is_among_the_scripts_of_a_page(house: House, bob: Person, name: str) -> None:
    async with house.browser() as user:
        user.enter(bob)
        plain = await user.get("/")
        for value in (HOSTILE, "'-alert(1)-'", "</script><script>alert(1)</script>", "dark"):
            for address in (f"/?{name}={quote(value)}", f"/?{quote(value)}={name}"):
                got = await user.get(address, {"Referer": HOSTILE, "User-Agent": HOSTILE, "Accept-Language": HOSTILE})
                assert "alert(1)" not in got.text
                if name in address.partition("=")[0]:
                    # Panel writes this one into the page as it stands: the gate refuses all of Bokeh's own.
                    assert got.status == (403 if name.startswith("bokeh-") else 200)
                if got.status == 200:
                    assert got.text.count("<script") == plain.text.count("<script")


async def test_nothing_a_person_is_called_is_among_the_scripts_of_a_page(tmp_path: Path) -> None:
    with running(tmp_path, tuple(PAGES)) as console:
        mallory = console.person("mallory", ("operator",))  # who sees every page
        async with console.browser() as user:
            user.enter(mallory)
            plain = {page.path: await user.get(page.path) for page in PAGES}
            with console.services.db.begin() as rows:
                row = rows.get(models.Person, "mallory")
                assert row is not None
                row.display_name = "</script><script>alert(1)</script><!--<script>"
            console.services.identity.logins_kept.forget_person("mallory")
            for page in PAGES:
                got = await user.get(page.path)
                assert got.status == 200
                assert got.text.count("<script") == plain[page.path].text.count("<script"), page.path
                assert "<script>alert" not in got.text and "</script><script>" not in got.text


@pytest.mark.parametrize(
    ("source", "encoding"),
    [
        (Source("127.0.0.1", "http", "localhost"), None),
        (Source("192.0.2.7", "http", "localhost"), "gzip"),
        (Source("192.0.2.7", "https", "localhost", proxied=True), None),
    ],
)
def test_a_browser_that_comes_over_a_network_gets_it_compressed(source: Source, encoding: str | None) -> None:
    class Asked:
        headers = HTTPHeaders({"Accept-Encoding": "gzip"})
        visit = Visit(Route("/", Guard.OPEN), source)

    headers = HTTPHeaders({"Content-Type": "text/html"})
    page = b"<p>hello</p>" * 1000
    _, headers, chunk = Compression(Asked()).transform_first_chunk(200, headers, page, True)  # type: ignore[arg-type]
    assert headers.get("Content-Encoding") == encoding
    assert (gzip.decompress(chunk) if encoding else chunk) == page


def test_the_nonce_goes_to_scripts_and_the_watch_to_the_end_of_the_head() -> None:
    page = with_nonce(b"<head><script>1</script></head><body><script src=x></script><scripty></body>", "n")
    assert page == (
        b'<head><script nonce="n">1</script><script nonce="n" type="module" src="/assets/login-watch.js">'
        b'</script></head><body><script nonce="n" src=x></script><scripty></body>'
    )


async def test_behind_https_cookies_and_headers_say_so(tmp_path: Path) -> None:
    web = {"web__public_url": "https://console.example.org", "web__trusted_proxies": ["127.0.0.1"]}
    with running(tmp_path, **web) as house:
        person = house.person("eve")
        said = {
            "Host": "console.example.org",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-For": "198.51.100.4",
            "Origin": "https://console.example.org",
        }
        async with house.browser() as user:
            form = await user.get("/login", said)
            assert form.headers["Strict-Transport-Security"].startswith("max-age=31536000")
            fields = {"csrf": form.field("csrf"), "name": "eve", "password": person.password}
            half = await user.post("/login", fields, said)
            assert half.status == 303, half.text
            code = await user.get("/login/code", said)
            fields = {"csrf": code.field("csrf"), "code": person.code()}
            full = await user.post("/login/code", fields, said)
            assert set(user.cookies) == {"__Host-carme", "__Host-carme-browser"}
            for cookie in [*half.headers.getall("Set-Cookie"), *full.headers.getall("Set-Cookie")]:
                assert "Secure" in cookie and "HttpOnly" in cookie and "Path=/" in cookie, cookie
                assert "SameSite=" in cookie and "Domain" not in cookie, cookie
            page = await user.get("/", said)
            assert page.status == 200
            assert policy_of(page.headers)["connect-src"][2:] == [
                "ws://console.example.org",
                "wss://console.example.org",
            ]
            assert await user.refused("/ws", page.token, said) == 101
            assert await user.refused("/ws", page.token, said | {"Origin": "http://console.example.org"}) == 403
            assert (await user.get("/", said | {"X-Forwarded-Proto": "http"})).status == 421
            [login] = house.services.identity.logins(house.services.identity.viewer(user.cookies["__Host-carme"]))
            assert login.address == "198.51.100.4"


async def test_the_access_log_names_who_and_what_and_no_secret(
    house: House, bob: Person, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "carme.access")
    async with house.browser() as user:
        user.enter(bob)
        await user.get("/setup?token=very-secret")
        await user.get("/api/session?code=123456")
        await user.get("/%0d%0aforged", {"User-Agent": "agent-secret", "Referer": "http://referrer-secret"})
    lines = [record.getMessage() for record in caplog.records if record.name == "carme.access"]
    assert any(re.fullmatch(r"127\.0\.0\.1 bob GET /api/session 200 [0-9.]+ms", line) for line in lines), lines
    assert not [line for line in lines if "secret" in line or "123456" in line or "\n" in line or "\r" in line]


def test_a_path_is_shown_on_one_line() -> None:
    assert shown_path("/a\nb\x1b[2J") == "/a?b?[2J"
    assert len(shown_path("/" + "x" * 10_000)) == 300
