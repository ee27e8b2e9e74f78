"""An open document: whose questions are answered, how mistakes are told; nothing outlives the page."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import panel as pn
import pytest
from bokeh.document import Document
from hypothesis import given
from hypothesis import strategies as st
from panel.io.state import set_curdoc, state

from backend.identity import Viewer
from pages import PAGES
from pages.parts.console import Console, in_script
from pages.parts.desk import MOST_AT_ONCE, Desk, Refused
from pages.parts.topics import to_json
from pages.shell import ACTIONS, live_of
from tests.unit.pages_kit import ADA, World

HALF = "\ud800"  # of a character: JSON can hold it, UTF-8 can't


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("world"))
    person = world.services.identity.add_person("console", "ada", "correct horse battery staple")
    assert person.name == "ada"
    return world


@pytest.fixture
def signed_in(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Viewer]]:
    """The logins that hold, by id."""
    logins = {ADA.login_id: ADA}
    monkeypatch.setattr(world.services.identity, "viewer_of", logins.get)
    yield logins


class Talk(Desk):
    """A desk that keeps its answers."""

    def __init__(self, world: World, **actions: Any) -> None:
        super().__init__(world.services, ADA, live_of(world.services), actions)
        self.answers: list[dict[str, Any]] = []
        self.sit_down(Document())

    def send(self, text: str) -> None:
        self.answers += json.loads(text)

    async def ask(self, action: str, number: Any = 1, **args: Any) -> list[dict[str, Any]]:
        self.receive(object(), {"id": number, "do": action, "with": args})  # type: ignore[arg-type]
        while self._tasks:
            await asyncio.gather(*self._tasks)
            await asyncio.sleep(0)
        return self.answers


async def test_a_question_is_answered_under_its_number(world: World, signed_in: Any) -> None:
    async def add(desk: Desk, args: dict[str, Any]) -> int:
        return int(args["a"]) + int(args["b"])

    talk = Talk(world, **{"jobs.add": add})
    assert await talk.ask("jobs.add", 7, a=1, b=2) == [{"re": 7, "ok": 3}]


async def test_nothing_is_done_for_a_login_that_is_over(world: World, signed_in: dict[str, Viewer]) -> None:
    done = []

    async def act(desk: Desk, args: dict[str, Any]) -> None:
        done.append(args)

    signed_in.clear()
    assert await Talk(world, **{"jobs.act": act}).ask("jobs.act") == [{"re": 1, "error": "signed-out"}]
    assert done == []


async def test_roles_are_those_of_now_not_of_when_the_page_was_opened(
    world: World, signed_in: dict[str, Viewer]
) -> None:
    async def roles(desk: Desk, args: dict[str, Any]) -> list[str]:
        return sorted(desk.viewer.roles)

    signed_in[ADA.login_id] = Viewer("ada", "", 1, frozenset({"user", "admin"}), ADA.login_id)
    assert (await Talk(world, **{"jobs.roles": roles}).ask("jobs.roles"))[0]["ok"] == ["admin", "user"]


async def test_a_page_that_is_not_ones_own_answers_nothing(world: World, signed_in: Any) -> None:
    async def act(desk: Desk, args: dict[str, Any]) -> str:
        return "secret"

    (answer,) = await Talk(world, **{"people.list": act}).ask("people.list")
    assert "error" in answer
    assert "secret" not in json.dumps(answer)


async def test_a_refusal_is_told_in_its_words_and_by_field(world: World, signed_in: Any) -> None:
    async def refuse(desk: Desk, args: dict[str, Any]) -> None:
        raise Refused("Too long.", (("time_s", "At most 1 d."),))

    (answer,) = await Talk(world, **{"jobs.no": refuse}).ask("jobs.no")
    assert answer == {
        "re": 1,
        "error": "Too long.",
        "problems": [{"field": "time_s", "message": "At most 1 d."}],
    }


async def test_a_mistake_of_the_console_is_told_by_its_reference_alone(
    world: World, signed_in: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(desk: Desk, args: dict[str, Any]) -> None:
        raise ValueError("the database password is hunter2")

    (answer,) = await Talk(world, **{"jobs.breaks": breaks}).ask("jobs.breaks")
    assert "hunter2" not in answer["error"]
    assert answer["error"].split()[-1].rstrip(".") in caplog.text


@pytest.mark.parametrize("message", [None, [], "x", {}, {"id": "1", "do": "jobs.list", "with": {}}, {"id": 1, "do": 2}])
async def test_a_message_of_another_shape_is_left_alone(world: World, signed_in: Any, message: Any) -> None:
    talk = Talk(world)
    talk.receive(object(), message)  # type: ignore[arg-type]
    assert (talk.answers, talk._tasks) == ([], set())


@pytest.mark.parametrize(
    ("action", "args"),
    [("jobs.list", {"text": HALF}), ("jobs.list", {"user": [HALF]}), ("sessions.log", {"id": HALF})],
)
async def test_half_a_character_is_refused_and_no_mistake_of_the_consoles(
    world: World, signed_in: Any, action: str, args: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (answer,) = await Talk(world, **ACTIONS).ask(action, **args)
    assert answer["error"] == "That request is not one the page makes."
    assert not caplog.records


async def test_who_asks_too_much_at_once_is_told_to_wait(world: World, signed_in: Any) -> None:
    hold = asyncio.Event()

    async def waits(desk: Desk, args: dict[str, Any]) -> None:
        await hold.wait()

    talk = Talk(world, **{"jobs.waits": waits})
    for number in range(1, MOST_AT_ONCE + 2):
        talk.receive(object(), {"id": number, "do": "jobs.waits", "with": {}})  # type: ignore[arg-type]
    assert [answer["re"] for answer in talk.answers] == [MOST_AT_ONCE + 1]
    hold.set()
    await asyncio.gather(*talk._tasks)


def test_every_action_belongs_to_a_page() -> None:
    names = {page.name for page in PAGES}
    assert {action.partition(".")[0] for action in ACTIONS} <= names


def build(world: World, path: str) -> Document:
    document = Document()
    with set_curdoc(document):
        page = next(page for page in PAGES if page.path == path)
        pn.panel(page.build(world.services, ADA)).server_doc(document, title=page.title, location=True)
    return document


@pytest.mark.parametrize("path", [page.path for page in PAGES])
async def test_every_page_builds_with_one_component_of_ours(world: World, path: str) -> None:
    document = build(world, path)
    models = [model for model in document.models if getattr(model, "class_name", "") == Console.__name__]
    assert len(models) == 1
    boot = json.loads(document.template_variables["carme_boot"])
    assert boot["page"] == (path.strip("/") or "home")
    assert [item["path"] for item in boot["nav"]] == [page.path for page in PAGES if page.roles & ADA.roles]


@given(st.text())
def test_what_people_have_named_can_not_leave_the_documents_json(name: str) -> None:
    written = in_script(to_json({"name": name + "</script><script>alert(1)</script><!--"}))
    assert not set("<>&") & set(written)
    assert json.loads(written)["name"].startswith(name)


async def test_a_page_holds_no_watch_on_the_whole_server(world: World) -> None:
    before = len(state.param.watchers.get("busy", {}).get("value", []))
    document = build(world, "/")
    assert len(state.param.watchers.get("busy", {}).get("value", [])) == before
    assert document.roots


def desks_of(document: Document) -> list[weakref.ref[Desk]]:
    found = [item for item in gc.get_objects() if isinstance(item, Desk) and item._document is document]
    return [weakref.ref(item) for item in found]


async def test_a_document_that_is_gone_leaves_no_desk_behind(world: World) -> None:
    document = build(world, "/")
    (desk,) = desks_of(document)
    context = SimpleNamespace(id="gone", _document=document)
    callbacks = list(document.callbacks.session_destroyed_callbacks)
    while callbacks:
        callbacks.pop()(context)
    document.clear()
    del document, context
    gc.collect()
    assert desk() is None
