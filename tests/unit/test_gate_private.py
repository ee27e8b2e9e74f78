"""What app/private.py uses of Bokeh, Panel and Tornado beyond their promises is there and does its work."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import bokeh
import panel
import pytest
from bokeh.server import tornado as bokeh_tornado
from bokeh.server.connection import ServerConnection
from panel.io.server import ComponentResourceHandler
from tornado.web import Application

import pages
from app import private
from app.gate.guards import Guard
from app.gate.tokens import PageToken, read_token
from tests.bench._pages_client import component_id, patch
from tests.unit.gatehouse import House, Person, payload, running


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture(scope="module")
def bob(house: House) -> Person:
    return house.person("bob")


def test_the_releases_are_those_it_was_tried_with() -> None:
    assert (panel.__version__, bokeh.__version__.rpartition(".")[0]) in {("1.9.4", "3.9"), ("1.10.0", "3.10")}


def test_bokehs_own_doors_of_a_page_are_the_known_ones() -> None:
    doors = [pattern[0] for pattern in bokeh_tornado.per_app_patterns]
    assert sorted(doors) == ["/?", "/autoload.js", "/metadata", "/ws"]
    shut = {route.pattern for route in private.page_routes("/x", "page:home") if route.guard is Guard.CLOSED}
    assert shut == {"/x/metadata", "/x/autoload.js"}


def test_a_pages_socket_is_the_one_that_is_replaced() -> None:
    assert dict(bokeh_tornado.per_app_patterns)["/ws"] is private.PanelSocket
    assert list(inspect.signature(private.PanelSocket._handle).parameters)[1:] == ["message"]
    assert list(inspect.signature(private.PanelSocket._protocol_error).parameters)[1:] == ["message"]


def test_tornado_keeps_its_rules_where_we_look() -> None:
    assert [rule.target for rule in Application([("/x", ComponentResourceHandler)]).wildcard_router.rules]


def test_a_connection_knows_its_socket() -> None:
    assert "_socket" in inspect.getsource(ServerConnection.__init__)


def test_components_are_still_resolved_by_parse_url_path() -> None:
    assert list(inspect.signature(ComponentResourceHandler.parse_url_path).parameters)[1:] == ["path"]


async def test_open_sockets_are_known_by_their_login(house: House, bob: Person) -> None:
    async with house.browser() as user:
        user.enter(bob)
        socket = await user.socket("/ws", (await user.get("/")).token)
        await socket.receive()
        viewer = house.services.identity.viewer(user.cookies["carme"])
        assert viewer is not None
        found = [(name, login) for name, login, _ in private.open_sockets(house.server.tornado)]
        assert ("bob", viewer.login_id) in found
        assert private.count_documents(house.server.tornado) >= 1
        await socket.close()


async def test_a_persons_documents_are_counted_and_too_many_refused(house: House, bob: Person) -> None:
    eva = house.person("eva")
    async with house.browser() as user, house.browser() as other:
        user.enter(eva)
        other.enter(bob)
        for _ in range(3):
            await user.get("/")
        assert house.server.documents["eva"] == 3
        house.server.documents["eva"] += 197
        assert (await user.get("/")).status == 429
        assert (await other.get("/")).status == 200
        house.server.documents["eva"] -= 197


async def test_kept_tokens_of_pages_that_are_gone_make_no_more_documents_than_pages(house: House) -> None:
    ida = house.person("ida")
    async with house.browser() as user:
        user.enter(ida)
        token = (await user.get("/")).token
        house.server.documents["ida"] += 199
        assert await user.refused("/ws", token) == 101  # of the last page that may be open
        house.server.documents["ida"] += 1
        assert await user.refused("/ws", token) == 429
        house.server.documents["ida"] -= 200


async def test_a_document_that_goes_is_no_longer_counted(house: House) -> None:
    uma = house.person("uma")
    async with house.browser() as user:
        user.enter(uma)
        await user.get("/")
        context = house.server.tornado.applications["/"]
        asked = [s for s in context.sessions if not s.connection_count]

        async def drop() -> None:
            for session in asked:
                session.request_expiration()
            await context._cleanup_sessions(0)

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(drop(), house.loop))
        assert "uma" not in house.server.documents


async def test_a_page_is_built_on_the_event_loop(house: House, bob: Person) -> None:
    page = next(page for page in house._pages if page.path == "/cluster")
    whole, threads = page.build, []

    def noted(*given: object) -> object:
        threads.append(threading.get_ident())
        return whole(*given)  # type: ignore[arg-type]

    async def ident() -> int:
        return threading.get_ident()

    object.__setattr__(page, "build", noted)
    try:
        async with house.browser() as user:
            user.enter(bob)
            assert (await user.get("/cluster")).status == 200
        assert threads == [await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(ident(), house.loop))]
    finally:
        object.__setattr__(page, "build", whole)


async def test_what_a_pages_browser_asks_is_answered_on_its_socket(tmp_path: Path) -> None:
    with running(tmp_path, pages.PAGES) as real:
        await _ask_three_things(real)


async def _ask_three_things(house: House) -> None:
    async with house.browser() as user:
        user.enter(house.person("bob"))
        socket = await user.socket("/ws", (await user.get("/")).token)
        for _ in range(3):  # ACK
            await socket.receive(3)
        for frame in (json.dumps({"msgid": "1", "msgtype": "PULL-DOC-REQ"}), "{}", "{}"):
            await socket.send_str(frame)
        console = component_id([await socket.receive(3) for _ in range(3)][2].data)
        for frame in patch("document_ready", []):
            await socket.send_str(frame)
        for number in range(1, 4):
            asked = [["id", number], ["do", "no such thing"], ["with", {"type": "map"}]]
            question = {"type": "map", "entries": asked}
            for frame in patch("data_event", [["model", {"id": console}], ["data", question]]):
                await socket.send_str(frame)
            while f'\\"re\\":{number},' not in (answer := (await socket.receive(3)).data):
                assert isinstance(answer, str)
            assert "has been updated" in answer
        await socket.close()


async def test_only_loaded_modules_of_ours_reach_panels_own_look_up(house: House, bob: Person) -> None:
    async with house.browser() as user:
        user.enter(bob)
        assert (await user.get("/components/panel.pane.markup/Markdown/__doc__/x")).status == 403  # Panel's no
        assert (await user.get("/components/panel.io.jupyter_executor/x/_css/x")).status == 404
        assert (await user.get("/components/json/JSONDecoder/_css/x")).status == 404


async def test_the_token_of_a_page_says_whom_it_is_for(house: House, bob: Person) -> None:
    async with house.browser() as user:
        user.enter(bob)
        token = (await user.get("/cluster")).token
        secret = house.services.box.derive("page token")
        viewer = house.services.identity.viewer(user.cookies["carme"])
        assert viewer is not None
        assert read_token(token, secret) == PageToken("bob", viewer.login_id, "/cluster")
        assert read_token(token, b"another secret") is None
        assert read_token("x" * 100_000, secret) is None
        assert payload(token)["session_expiry"] > 0


async def test_a_page_that_fails_to_build_is_told_in_words_and_breaks_no_other(
    house: House, bob: Person, caplog: pytest.LogCaptureFixture
) -> None:
    page = next(page for page in house._pages if page.path == "/cluster")

    def broken(services: object, viewer: object) -> object:
        raise RuntimeError("not for the person's eyes")

    whole = page.build
    object.__setattr__(page, "build", broken)
    try:
        async with house.browser() as user:
            user.enter(bob)
            got = await user.get("/cluster")
            assert got.status == 500
            assert "not for the person's eyes" not in got.text
            assert (await user.get("/")).status == 200
            assert any("not for the person's eyes" in (record.exc_text or "") for record in caplog.records)
    finally:
        object.__setattr__(page, "build", whole)
