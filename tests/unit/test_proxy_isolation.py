"""Nobody gets into a session that is not theirs, whatever they send: it looks as if nothing were there."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from app.proxy import exchange
from app.proxy.doors import DoorsUnusable, Entered
from app.proxy.headers import response_lines
from tests.unit.proxy_kit import ALICE, APP, BOB, CONSOLE, Rig, gateway, rig

UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket"}
HONEST = ["a%20b", "x%2Fy", "100%25.txt", "…".encode().hex("%"), "a.b/..c/d..", "@a/b:c"]


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def one_origin(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path, "http://apps.example.org") as made:
        yield made


def without_date(answer: bytes) -> bytes:
    return b"\r\n".join(line for line in answer.split(b"\r\n") if not line.startswith(b"Date:"))


async def answer_to(house: Rig, raw_target: str, headers: dict[str, str], method: str = "GET") -> bytes:
    head = "".join(f"{name}: {value}\r\n" for name, value in ({"Connection": "close"} | headers).items())
    sent = f"{method} {raw_target} HTTP/1.1\r\n{head}\r\n"
    return without_date(await house.raw(sent.encode("latin-1")))


async def test_not_yours_and_not_existing_are_the_same_404(house: Rig) -> None:
    none_such = "snone000001"
    path = f"/s/{none_such}/{APP}/"
    nothing = await answer_to(house, path, house.headers(none_such))
    assert nothing.startswith(b"HTTP/1.1 404 ")
    bobs = f"/s/{BOB}/{APP}/"
    tries = {
        "no cookie": (bobs, house.headers(BOB, cookie=None)),
        "alice's cookie under bob's name": (bobs, house.headers(BOB, cookie="grant")),
        "alice's own cookie header": (bobs, house.headers(ALICE) | {"Host": f"{BOB}.localhost:5007"}),
        "alice's host, bob's path": (bobs, house.headers(ALICE)),
        "bob's host, alice's path": (f"/s/{ALICE}/{APP}/", house.headers(BOB, cookie="grant")),
        "claims by header": (bobs, house.headers(BOB, cookie="grant", X_Forwarded_Host=f"{ALICE}.localhost")),
        "an app that isn't there": (f"/s/{ALICE}/none/", house.headers(ALICE)),
        "no app": (f"/s/{ALICE}/", house.headers(ALICE)),
        "the root": ("/", house.headers(ALICE)),
        "the console's name": (bobs, house.headers(BOB) | {"Host": "localhost:5006"}),
        "a name that was pointed here": (bobs, house.headers(BOB) | {"Host": f"{BOB}.evil.example"}),
    }
    for what, (target, headers) in tries.items():
        assert await answer_to(house, target, headers) == nothing, what
        upgrade = headers | UPGRADE | {"Origin": house.origin.of(ALICE)}
        assert (await answer_to(house, target, upgrade)).startswith(b"HTTP/1.1 404 "), what


@pytest.mark.parametrize(
    "path",
    [
        f"/s/{ALICE}/{APP}/../../{BOB}/{APP}/",
        f"/s/{ALICE}/{APP}/%2e%2e/tensorboard/",
        f"/s/{ALICE}/{APP}/.%2E/tensorboard/",
        f"/s/{ALICE}/{APP}/..%2ftensorboard/",
        f"/s/{ALICE}/{APP}/%252e%252e/tensorboard/",
        f"/s/{ALICE}/{APP}/%25252e%25252e/x",
        f"/s/{ALICE}/{APP}/..;/tensorboard/",
        f"/s/{ALICE}/{APP}/a/./b",
        f"/s/{ALICE}/{APP}//evil.example/",
        f"/s/{ALICE}/{APP}/%2f/evil.example/",
        f"/s/{ALICE}/{APP}/..%5ctensorboard",
        f"/s/{ALICE}/{APP}/..\\tensorboard",
        f"/s/{ALICE}/{APP}/%00",
        f"/s/{ALICE}/{APP}/a%0d%0aX-Carme-App:%20tensorboard",
        f"//s/{ALICE}/{APP}/",
        f"/s//{ALICE}/{APP}/",
        f"/S/{ALICE}/{APP}/",
        f"/%73/{ALICE}/{APP}/",
        f"/s/{ALICE}%2f{APP}/",
        f"/s/{ALICE}/{APP}%2f..%2ftensorboard/",
        f"/s/{ALICE}/./{APP}/",
        f"/s/{ALICE}/{APP}/..",
        f"http://{BOB}.localhost:5007/s/{BOB}/{APP}/",
        f"http://{ALICE}.localhost:5007/s/{ALICE}/{APP}/",
        "*",
    ],
)
async def test_tricks_with_the_path_lead_nowhere(house: Rig, path: str) -> None:
    assert await house.status_of(path) == 404


@pytest.mark.parametrize("rest", HONEST)
async def test_honest_paths_pass(house: Rig, rest: str) -> None:
    assert await house.status_of(f"/s/{ALICE}/{APP}/{rest}") == 200


async def test_two_hosts_are_none(house: Rig) -> None:
    headers = house.headers(ALICE)
    head = f"Host: {BOB}.localhost:5007\r\nHost: {ALICE}.localhost:5007\r\nCookie: {headers['Cookie']}\r\n"
    answer = await house.raw(f"GET /s/{ALICE}/{APP}/ HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode())
    assert answer.split(b" ")[1] in (b"400", b"404")


async def test_a_tossed_cookie_neither_opens_nor_shuts_a_door(house: Rig) -> None:
    headers = house.headers(ALICE)
    name = house.origin.cookie_name(ALICE)
    headers["Cookie"] = f"{name}=tossed; {name}=grant-bob; {headers['Cookie']}"
    assert b" 200 " in await answer_to(house, f"/s/{ALICE}/{APP}/", headers)
    headers["Cookie"] = f"{name}=tossed; {name}=grant-bob"
    assert b" 404 " in await answer_to(house, f"/s/{ALICE}/{APP}/", headers)


async def test_another_origins_page_can_do_nothing(house: Rig) -> None:
    own, path = house.headers(ALICE), f"/s/{ALICE}/{APP}/"
    for origin in (house.origin.of(BOB), CONSOLE, "null", "https://evil.example"):
        assert b" 403 " in await answer_to(house, path, own | {"Origin": origin}, "POST"), origin
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await house.socket(headers={"Origin": origin})
        assert refusal.value.status == 403
    sibling = own | {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}
    assert b" 403 " in await answer_to(house, path, sibling)
    frame = own | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    assert b" 403 " in await answer_to(house, path, frame)
    link = own | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert b" 200 " in await answer_to(house, path, link)
    assert b" 403 " in await answer_to(house, path, link, "POST")


async def test_a_socket_must_say_where_it_comes_from(house: Rig) -> None:
    upgrade = house.headers(ALICE) | UPGRADE
    assert b" 403 " in await answer_to(house, f"/s/{ALICE}/{APP}/ws", upgrade)


async def enter(house: Rig, ticket: str, session_id: str = ALICE, **more: str) -> tuple[int, str, str]:
    headers = {"Host": house.origin.of(session_id).partition("//")[2], "Origin": CONSOLE} | more
    async with house.client.post(
        f"http://127.0.0.1:{house.port}/_carme/enter",
        headers=headers,
        data={"ticket": ticket, "session": session_id},
        allow_redirects=False,
    ) as answer:
        return answer.status, answer.headers.get("Location", ""), answer.headers.get("Set-Cookie", "")


async def test_a_ticket_opens_its_session_once(house: Rig) -> None:
    house.doors.tickets["t1", ALICE] = Entered("grant", APP)
    status, location, cookie = await enter(house, "t1")
    assert (status, location) == (303, f"/s/{ALICE}/{APP}/")
    assert cookie == f"carme-app-{ALICE}=grant; HttpOnly; Path=/; SameSite=Lax"
    assert (await enter(house, "t1"))[0] == 404


async def test_a_ticket_of_another_session_is_worth_nothing_here(house: Rig) -> None:
    house.doors.tickets["t1", BOB] = Entered("grant-bob", APP)
    assert await enter(house, "t1", ALICE) == (404, "", "")


async def test_only_the_console_hands_over_tickets(house: Rig) -> None:
    for origin in ("https://evil.example", "null", house.origin.of(BOB), house.origin.of(ALICE)):
        house.doors.tickets["t1", ALICE] = Entered("grant", APP)
        assert (await enter(house, "t1", Origin=origin))[0] == 403


async def test_the_cookie_is_host_only_and_secure_under_https(tmp_path: Path) -> None:
    async with rig(tmp_path, "https://{session}.apps.example.org") as house:
        house.doors.tickets["t1", ALICE] = Entered("grant", APP)
        _, _, cookie = await enter(house, "t1")
        assert cookie == "__Host-carme-app=grant; HttpOnly; Path=/; SameSite=Lax; Secure"
        assert b" 200 " in await answer_to(house, f"/s/{ALICE}/{APP}/", house.headers(ALICE))


async def test_on_one_origin_a_grant_and_an_apps_cookies_stay_below_their_session(one_origin: Rig) -> None:
    house = one_origin
    house.doors.tickets["t1", ALICE] = Entered("grant", APP)
    _, location, cookie = await enter(house, "t1")
    assert location == f"/s/{ALICE}/{APP}/"
    assert cookie == f"carme-app-{ALICE}=grant; HttpOnly; Path=/s/{ALICE}/; SameSite=Lax"
    async with house.client.get(house.url("cookies"), headers=house.headers()) as answer:
        assert answer.headers.getall("Set-Cookie") == [
            f"_xsrf=1; Path=/s/{ALICE}/",
            f"theme=dark; Path=/s/{ALICE}/",
        ]
    assert b" 404 " in await answer_to(house, f"/s/{BOB}/{APP}/", house.headers(ALICE))


async def test_the_owner_is_told_in_words_that_login_or_session_ended(house: Rig) -> None:
    house.doors.change("grant", ALICE, state="signed-out")
    answer = await answer_to(house, f"/s/{ALICE}/{APP}/", house.headers(ALICE))
    assert b" 401 " in answer
    assert b"You are signed out" in answer
    await asyncio.sleep(0.3)
    house.doors.change("grant", ALICE, state="over")
    answer = await answer_to(house, f"/s/{ALICE}/{APP}/", house.headers(ALICE))
    assert b" 410 " in answer
    assert b"This session has ended" in answer


@pytest.mark.parametrize("body", ["", "ticket", "a=1&" * 50, "ticket=\xff", "x" * 5000])
async def test_a_form_that_is_none_of_the_consoles_opens_nothing(house: Rig, body: str) -> None:
    head = f"Host: {ALICE}.localhost:5007\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    answer = await house.raw(f"POST /_carme/enter HTTP/1.1\r\n{head}\r\n{body}".encode("latin-1"))
    assert answer.split(b" ")[1] in (b"404", b"413")


@pytest.mark.parametrize("path", ["/_carme/enter", "/healthz", f"/s/{ALICE}/{APP}/"])
async def test_a_stranger_cant_hold_a_connection_with_an_endless_body(
    house: Rig, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "REFUSED_TIMEOUT_S", 0.3)
    host = f"Host: {ALICE}.localhost:5007\r\n"
    slow = f"POST {path} HTTP/1.1\r\n{host}Content-Length: 100\r\n\r\nab"
    endless = f"POST {path} HTTP/1.1\r\n{host}Content-Length: 99999999999\r\n\r\nab"
    for request in (slow, endless):
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        writer.write(request.encode())
        await asyncio.wait_for(reader.read(), 3)  # it is closed
        writer.close()


async def test_while_the_database_is_away_nobody_passes_and_it_is_said(house: Rig) -> None:
    def away(*_: object) -> None:
        raise DoorsUnusable("no route to host")

    house.doors.standing = house.doors.redeem = away  # type: ignore[method-assign,assignment]
    assert b" 503 " in await answer_to(house, f"/s/{ALICE}/{APP}/", house.headers(ALICE))
    assert (await enter(house, "t1"))[0] == 503


async def test_a_node_that_shows_another_certificate_gets_nothing(house: Rig, tmp_path: Path) -> None:
    heard: list[bytes] = []
    found, impostor = await gateway(ALICE, {APP: str(tmp_path / "none.sock")}, "x" * 32)
    found.route = lambda head: heard.append(b"a request")  # type: ignore[assignment,return-value,func-returns-value]
    house.doors.grants["grant", ALICE] = replace(house.doors.grants["grant", ALICE], port=impostor.port)
    assert b" 502 " in await answer_to(house, f"/s/{ALICE}/{APP}/", house.headers(ALICE))
    assert heard == []
    await found.close()


async def test_a_wrong_secret_is_not_the_browsers_business(house: Rig) -> None:
    house.doors.change("grant", ALICE, secret="y" * 32)
    answer = await answer_to(house, f"/s/{ALICE}/{APP}/", house.headers(ALICE))
    assert b" 502 " in answer
    assert b"X-Carme" not in answer


async def test_an_app_that_is_not_there_yet_says_that_it_is_starting(house: Rig) -> None:
    house.doors.change("grant", ALICE, port=0, apps=())
    assert b"It is starting" in await answer_to(house, f"/s/{ALICE}/{APP}/", house.headers(ALICE))


def test_the_proxy_loads_no_panel_and_no_bokeh() -> None:
    code = (
        "import sys, app.cli, app.proxy.server, app.proxy.console_doors\n"
        "print([m for m in sys.modules if m.split('.')[0] in"
        " ('panel', 'bokeh', 'holoviews', 'panel_material_ui', 'pages')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_a_page_of_another_origin_gets_no_handle_on_an_apps_window_unless_the_app_gives_it() -> None:
    policy = "Cross-Origin-Opener-Policy"
    given = response_lines([("Content-Type", "text/html")], cookie_path="/")
    assert [value for name, value in given if name == policy] == ["same-origin-allow-popups"]
    own = response_lines([(policy.lower(), "same-origin")], cookie_path="/")
    assert own == [(policy.lower(), "same-origin")]


@pytest.mark.parametrize("path", ["/", f"/s/{ALICE}/"])
def test_an_app_cant_clear_what_the_browser_keeps_for_the_console(path: str) -> None:
    # "cookies" reaches all hosts of the registered domain, the console's among them
    lines = [("Clear-Site-Data", '"cookies", "storage"'), ("Content-Type", "text/html")]
    assert "Clear-Site-Data" not in dict(response_lines(lines, cookie_path=path))
