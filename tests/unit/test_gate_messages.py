"""What a signed-in browser may say on a page's socket, and what closes it before anything is made of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from app.gate.messages import LONGEST, MOST_VALUES, why_not
from tests.unit.gatehouse import House, Person, running

MODELS = [{"type": "object", "name": "Range1d", "id": f"r{number}"} for number in range(3000)]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture(scope="module")
def bob(house: House) -> Person:
    return house.person("bob")


def patch(*events: dict[str, Any]) -> tuple[str, Any]:
    return "PATCH-DOC", {"events": list(events)}


def said(values: Any) -> tuple[str, Any]:
    """A Bokeh event as the console's component sends it."""
    data = {"type": "event", "name": "data_event", "values": values}
    return patch({"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": data})


NOT_READ = {
    "a new root": patch({"kind": "RootAdded", "model": MODELS[0]}),
    "a root removed": patch({"kind": "RootRemoved", "model": {"id": "p1001"}}),
    "rows without end": patch({"kind": "ColumnsStreamed", "model": {"id": "p1001"}, "data": {}, "rollover": None}),
    "another title": patch({"kind": "TitleChanged", "title": "x"}),
    "models in a value": patch({"kind": "ModelChanged", "model": {"id": "p1001"}, "attr": "tags", "new": MODELS}),
    "models in an event": said({"type": "map", "entries": [["data", MODELS]]}),
    "very many values": said({"type": "map", "entries": [["data", [0] * MOST_VALUES]]}),
    "another document": ("PUSH-DOC", {"doc": {"roots": MODELS}}),
    "an answer": ("PULL-DOC-REPLY", {"doc": {}}),
    "no events": ("PATCH-DOC", {}),
    "events of another kind": ("PATCH-DOC", {"events": "x"}),
    "an event that is none": ("PATCH-DOC", {"events": [1]}),
}


@pytest.mark.parametrize("what", list(NOT_READ))
def test_what_adds_to_a_document_is_not_read(what: str) -> None:
    assert why_not(*NOT_READ[what])


def test_what_the_pages_send_is_read() -> None:
    question = {"type": "map", "entries": [["id", 1], ["do", "jobs.list"], ["with", {"type": "map"}]]}
    assert why_not(*said({"type": "map", "entries": [["model", {"id": "p1001"}], ["data", question]]})) == ""
    assert why_not(*patch({"kind": "ModelChanged", "model": {"id": "p1"}, "attr": "search", "new": "?a"})) == ""
    assert why_not("PULL-DOC-REQ", {}) == ""


def test_deep_values_are_looked_at_without_recursion() -> None:
    deep: Any = MODELS[0]
    for _ in range(5000):
        deep = [deep]
    assert why_not(*said(deep))


@pytest.mark.parametrize("frame", ["new root", "binary", "long", "deep"])
async def test_a_socket_closes_at_once_and_nobody_waits(house: House, bob: Person, frame: str) -> None:
    async with house.browser() as user:
        user.enter(bob)
        socket = await user.socket("/ws", (await user.get("/")).token)
        await socket.receive()
        began = time.monotonic()
        head = json.dumps({"msgid": "1", "msgtype": "PATCH-DOC"})
        if frame == "binary":
            await socket.send_bytes(b"x")
        elif frame == "long":
            await socket.send_str("x" * (LONGEST + 1))
        else:
            content = json.dumps(NOT_READ["a new root"][1]) if frame == "new root" else "[" * 20_000 + "]" * 20_000
            for text in (head, "{}", content):
                await socket.send_str(text)
        while (answer := await socket.receive(5)).type is aiohttp.WSMsgType.TEXT:
            pass
        assert answer.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        assert (await user.get("/healthz")).status == 200
        assert time.monotonic() - began < 2
