"""Each way around the documented recipe for signing in to Panel, tried against the running server."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from bokeh.util.token import generate_jwt_token, generate_session_id

from tests.unit.gatehouse import House, Person, payload, running

DOORS = ("/", "/ws", "/metadata", "/autoload.js?bokeh-autoload-element=x")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture(scope="module")
def ada(house: House) -> Person:
    return house.person("ada", roles=("admin",))


@pytest.fixture(scope="module")
def bob(house: House) -> Person:
    return house.person("bob")


async def closed(socket: aiohttp.ClientWebSocketResponse, within_s: float) -> float:
    """Seconds until the server has closed the socket."""
    start = time.monotonic()
    while True:
        message = await asyncio.wait_for(socket.receive(), within_s + start - time.monotonic())
        if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING):
            return time.monotonic() - start


# Without a login, or with half of one


@pytest.mark.parametrize("page", ["", "/cluster", "/people"])
async def test_nobody_gets_a_page_or_any_of_its_doors(house: House, page: str) -> None:
    async with house.browser() as stranger:
        got = await stranger.get(page or "/")
        assert (got.status, got.location) == (302, "/login?next=" + (page or "/").replace("/", "%2F"))
        assert (await stranger.get(f"{page}/metadata")).status == 404
        assert (await stranger.get(f"{page}/autoload.js?bokeh-autoload-element=x")).status == 404
        assert await stranger.refused(f"{page}/ws", "x") == 401


@pytest.mark.parametrize("path", DOORS)
async def test_a_password_without_its_code_opens_nothing(house: House, bob: Person, path: str) -> None:
    async with house.browser() as half:
        assert (await half.give_password(bob)).location.startswith("/login/code")
        half.cookies["carme"] = half.cookies["carme-half"]  # also not under the other cookie's name
        got = await half.get(path)
        assert got.status in (302, 403, 404)
        assert "Hello" not in got.text
        assert "token" not in got.text


async def test_a_half_login_has_no_socket(house: House, bob: Person) -> None:
    async with house.browser() as whole, house.browser() as half:
        whole.enter(bob)
        token = (await whole.get("/")).token
        await half.give_password(bob)
        half.cookies["carme"] = half.cookies["carme-half"]
        assert await half.refused("/ws", token) == 401


# Pages one may not see


async def test_the_socket_of_a_page_one_may_not_see_is_refused_whatever_the_token(
    house: House, ada: Person, bob: Person
) -> None:
    async with house.browser() as admin, house.browser() as user:
        admin.enter(ada)
        user.enter(bob)
        assert (await admin.get("/people")).status == 200
        assert (await user.get("/people")).status == 403
        assert (await user.get("/people/")).status == 403
        assert await user.refused("/people/ws", (await user.get("/")).token) == 403
        assert await user.refused("/people/ws", (await admin.get("/people")).token) == 403


async def test_autoload_and_metadata_answer_to_nobody(house: House, ada: Person) -> None:
    async with house.browser() as admin:
        admin.enter(ada)
        for page in ("", "/cluster", "/people"):
            got = await admin.get(f"{page}/autoload.js?bokeh-autoload-element=x", {"Origin": "http://x.test"})
            assert got.status == 404
            assert "Access-Control-Allow-Origin" not in got.headers
            assert (await admin.get(f"{page}/metadata")).status == 404


async def test_a_token_opens_only_the_page_it_was_made_for(house: House, bob: Person) -> None:
    async with house.browser() as user:
        user.enter(bob)
        token = (await user.get("/")).token
        assert await user.refused("/cluster/ws", token) == 403
        assert await user.refused("/ws", token) == 101


# Tokens and Bokeh sessions of others


async def test_another_persons_token_is_refused(house: House, ada: Person, bob: Person) -> None:
    async with house.browser() as one, house.browser() as other:
        one.enter(ada)
        other.enter(bob)
        assert await other.refused("/ws", (await one.get("/")).token) == 403


async def test_the_same_persons_token_of_another_login_is_refused(house: House, bob: Person) -> None:
    async with house.browser() as one, house.browser() as other:
        one.enter(bob)
        other.enter(bob)
        assert await other.refused("/ws", (await one.get("/")).token) == 403


@pytest.mark.parametrize("way", ["argument", "token", "header", "both"])
@pytest.mark.parametrize("path", ["/", "/cluster"])
async def test_a_bokeh_session_cannot_be_chosen(house: House, bob: Person, way: str, path: str) -> None:
    async with house.browser() as user:
        user.enter(bob)
        token = (await user.get(path)).token
        session = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))["session_id"]
        query = {"argument": f"?bokeh-session-id={session}", "token": f"?bokeh-token={token}"}.get(way, "")
        headers = {"Bokeh-Session-Id": session} if way in ("header", "both") else {}
        if way == "both":
            query = f"?x=1&bokeh%2Dsession-id={session}"
        assert (await user.get(path + query, headers)).status == 403


async def test_a_token_signed_with_another_key_or_not_at_all_is_refused(house: House, bob: Person) -> None:
    async with house.browser() as user:
        user.enter(bob)
        mine = payload((await user.get("/")).token)["carme"]
        for key, signed in ((b"x" * 32, True), (None, False)):
            forged = generate_jwt_token(
                generate_session_id(key, signed), key, signed, extra_payload={"carme": mine}
            )
            assert await user.refused("/ws", forged) == 403
        token = (await user.get("/")).token
        for broken in (token[:-2], token + "x", token.split(".")[0], "", "a.b", token.upper()):
            assert await user.refused("/ws", broken or "-") == 403


async def test_a_socket_without_the_pages_token_is_refused(house: House, bob: Person) -> None:
    async with house.browser() as user:
        user.enter(bob)
        token = (await user.get("/")).token
        for protocols in ((), ("bokeh",), ("other", token), ("bokeh", token, "more"), (token, "bokeh")):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await user.http.ws_connect(
                    house.at + "/ws",
                    headers={"Origin": house.url} | user.headers("GET", {}),
                    protocols=protocols,
                )
            assert refused.value.status == 403


# What a page holds


async def test_the_page_holds_no_cookie_and_no_header_that_identifies(house: House, bob: Person) -> None:
    async with house.browser() as user:
        user.enter(bob)
        page = await user.get("/", {"Authorization": "Bearer private", "X-Private": "private"})
        said = payload(page.token)
        viewer = house.services.identity.viewer(user.cookies["carme"])
        assert viewer is not None
        assert said["carme"] == {"name": "bob", "login_id": viewer.login_id, "page": "/"}
        assert said["cookies"] == {}
        assert set(said["headers"]) <= {"User-Agent", "Host", "Accept-Language"}
        for cookie in user.cookies.values():
            assert cookie not in page.text
            assert cookie not in json.dumps(said)


# Origins


@pytest.mark.parametrize(
    "origin", ["-", "http://evil.test", "null", "https://localhost", "http://localhost", "http://127.0.0.1:1"]
)
async def test_a_socket_needs_the_consoles_own_origin(house: House, bob: Person, origin: str) -> None:
    async with house.browser() as user:
        user.enter(bob)
        token = (await user.get("/")).token
        assert await user.refused("/ws", token) == 101
        said = {"Origin": origin} | user.headers("GET", {})
        if origin == "-":
            said.pop("Origin")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await user.http.ws_connect(house.at + "/ws", headers=said, protocols=("bokeh", token))
        assert refused.value.status == 403


async def test_a_page_of_another_site_reads_nothing_with_the_persons_cookies(
    house: House, bob: Person
) -> None:
    async with house.browser() as user:
        user.enter(bob)
        for site in ("cross-site", "same-site"):
            for mode, dest in (("cors", "empty"), ("no-cors", "script"), ("navigate", "iframe")):
                headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
                for path in ("/", "/api/session", "/account", "/api/v1/login"):
                    got = await user.get(path, headers)
                    assert got.status == 403, (path, headers)
                    assert "bob" not in got.text
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert (await user.get("/", link)).status == 200


async def test_no_answer_invites_another_origin(house: House, bob: Person) -> None:
    async with house.browser() as user:
        user.enter(bob)
        for path in (
            "/",
            "/api/session",
            "/static/js/bokeh.min.js",
            "/assets/logo.svg",
            "/healthz",
            "/nothing",
        ):
            got = await user.get(path, {"Origin": "http://evil.test"})
            assert not [name for name in got.headers if name.lower().startswith("access-control")], path


@pytest.mark.parametrize(
    "host", ["evil.test", "evil.test:5006", "localhost.evil.test", "", "a b", "localhost:x"]
)
async def test_a_name_that_is_not_the_consoles_is_not_answered(house: House, bob: Person, host: str) -> None:
    async with house.browser() as user:
        user.enter(bob)
        got = await user.get("/api/session", {"Host": host})
        assert got.status in (400, 421)
        assert "bob" not in got.text
        got = await user.get("/", {"Host": host})
        assert got.status in (302, 400, 421)
        assert got.status != 302 or got.location == house.services.settings.web.public_url + "/"


# Sockets after the login


async def test_a_socket_closes_within_a_second_of_signing_out(house: House, bob: Person) -> None:
    async with house.browser() as user:
        user.enter(bob)
        socket = await user.socket("/cluster/ws", (await user.get("/cluster")).token)
        csrf = await user.csrf()
        assert (await user.post("/logout", {"csrf": csrf})).status == 200
        assert await closed(socket, 5) < 1
        assert socket.close_code == 4401


async def test_a_socket_closes_within_a_second_of_signing_out_everywhere(house: House, bob: Person) -> None:
    async with house.browser() as user, house.browser() as elsewhere:
        user.enter(bob)
        elsewhere.enter(bob)
        socket = await elsewhere.socket("/ws", (await elsewhere.get("/")).token)
        assert (await user.post("/logout/everywhere", {"csrf": await user.csrf()})).status == 200
        assert await closed(socket, 5) < 1
        assert (await elsewhere.get("/")).status == 302


async def test_a_socket_closes_when_another_process_ends_the_login(house: House, bob: Person) -> None:
    from backend.services import open_services

    other = open_services(house.settings)
    async with house.browser() as user:
        user.enter(bob)
        socket = await user.socket("/cluster/ws", (await user.get("/cluster")).token)
        other.identity.sign_out_person("console", "bob")
        assert await closed(socket, 5) < 2.5
        assert (await user.get("/")).status == 302


async def test_a_socket_closes_when_the_person_is_locked(house: House) -> None:
    carol = house.person("carol")
    async with house.browser() as user:
        user.enter(carol)
        socket = await user.socket("/ws", (await user.get("/")).token)
        house.services.identity.lock_person("console", "carol")
        assert await closed(socket, 5) < 2.5
        assert (await user.get("/")).status == 302


async def test_a_socket_closes_when_the_login_runs_out(tmp_path: Path) -> None:
    with running(tmp_path, login__idle_s=3, login__warn_s=1) as house:
        dan = house.person("dan")
        async with house.browser() as user:
            user.enter(dan)
            socket = await user.socket("/cluster/ws", (await user.get("/cluster")).token)
            assert 1 < await closed(socket, 8) < 5  # frames that the server sends are no input of the person
            assert (await user.get("/")).status == 302


async def test_a_closed_socket_does_not_open_again_with_its_token(house: House, bob: Person) -> None:
    async with house.browser() as user:
        user.enter(bob)
        token = (await user.get("/")).token
        await user.post("/logout", {"csrf": await user.csrf()})
        assert await user.refused("/ws", token) == 401
        user.enter(bob)
        assert await user.refused("/ws", token) == 403


# Doors that Panel and Bokeh would open


async def test_components_imports_no_module(
    house: House, bob: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    for signed_in in (False, True):
        async with house.browser() as user:
            if signed_in:
                user.enter(bob)
            for path in (
                "this/a/b/c",
                "antigravity/a/b/c",
                "os/path/_resources/x",
                "this",
                "panel.nothing/a/b/c",
            ):
                assert (await user.get(f"/components/{path}")).status in (401, 404)
    assert "this" not in sys.modules
    assert "Beautiful is better" not in capfd.readouterr().out


@pytest.mark.parametrize(
    "path",
    [
        "/liveness",
        "/liveness?endpoint=/",
        "/rest",
        "/rest/session_info",
        "/rest/param",
        "/session_info",
        "/admin",
        "/panel_dist/x",
        "/_stcore/health",
        "/index",
        "/static/../config/default.toml",
        "/login/../people",
    ],
)
async def test_panels_other_doors_are_absent(house: House, ada: Person, path: str) -> None:
    async with house.browser() as admin:
        admin.enter(ada)
        assert (await admin.get(path)).status in (403, 404)


async def test_files_outside_of_the_served_folders_are_not_given(house: House) -> None:
    async with house.browser() as anyone:
        for base in ("/assets/", "/static/", "/static/extensions/panel/", "/assets/0123456789ab/"):
            for climb in ("../", "..%2f", "%2e%2e/", "....//", "/", "%00"):
                got = await anyone.get(f"{base}{climb * 6}etc/passwd")
                assert got.status in (400, 403, 404), (base, climb)
                assert "root:" not in got.text


# Cookies of others


async def test_a_planted_second_login_cookie_signs_nobody_in(house: House, ada: Person, bob: Person) -> None:
    async with house.browser() as one, house.browser() as other:
        one.enter(ada)
        other.enter(bob)
        mine, planted = one.cookies["carme"], other.cookies["carme"]
        both = {"Cookie": f"carme={planted}; carme={mine}"}
        assert (await one.get("/", both)).status == 302
        junk = {"Cookie": f"carme=junk; carme={mine}; carme="}
        assert "ada" in (await one.get("/api/session", junk)).text


async def test_a_user_cookie_as_panel_reads_it_changes_nothing(house: House, bob: Person) -> None:
    async with house.browser() as user:
        user.enter(bob)
        user.cookies["user"] = "ada"
        assert payload((await user.get("/")).token)["carme"]["name"] == "bob"
