"""Open pages without a browser: websocket clients that speak Bokeh's protocol as the console's component does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp

from tests.harness.console import Console

TOKEN = re.compile(r'"token":\s*"([^"]+)"')
TOPICS = ("fresh", "home", "mine")


@dataclass
class Watch:
    """When snapshots came to disk, and how long after that each page was told."""

    written_s: list[float] = field(default_factory=list)
    delays_s: list[float] = field(default_factory=list)

    def arrived(self, now_s: float) -> None:
        newest = next((written for written in reversed(self.written_s) if written <= now_s), None)
        if newest is not None:
            self.delays_s.append(now_s - newest)


def patch(event: str, entries: list[object]) -> tuple[str, str, str]:
    """The three frames of a PATCH-DOC message that carries one Bokeh event."""
    values = {"type": "map", "entries": entries} if entries else {"type": "map"}
    data = {"type": "event", "name": event, "values": values}
    sent = {"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": data}
    return json.dumps({"msgid": uuid.uuid4().hex, "msgtype": "PATCH-DOC"}), "{}", json.dumps({"events": [sent]})


def component_id(content: str) -> str:
    """The model id of the console's component in a PULL-DOC-REPLY."""

    def find(value: object) -> str | None:
        if isinstance(value, dict):
            attributes = value.get("attributes")
            if isinstance(attributes, dict) and attributes.get("name") == "Console" and "id" in value:
                return str(value["id"])
            return next(filter(None, map(find, value.values())), None)
        if isinstance(value, list):
            return next(filter(None, map(find, value)), None)
        return None

    found = find(json.loads(content))
    assert found, content[:2000]
    return found


async def one_page(
    http: aiohttp.ClientSession, console: Console, cookies: str, watch: Watch | None, ready: asyncio.Event
) -> None:
    """Open Home as a browser does, watch its topics, and note when something changes on it."""
    headers = {"Cookie": cookies, "Origin": console.url}
    async with http.get(console.url + "/", headers=headers, allow_redirects=False) as answer:
        token = TOKEN.search(await answer.text())
    assert token, f"Home holds no token ({answer.status}): is the person signed in?"
    address = console.url.replace("http", "ws", 1) + "/ws"
    async with http.ws_connect(address, protocols=("bokeh", token[1]), headers=headers, max_msg_size=0) as socket:
        for _ in range(3):  # ACK
            await socket.receive()
        for frame in (json.dumps({"msgid": uuid.uuid4().hex, "msgtype": "PULL-DOC-REQ"}), "{}", "{}"):
            await socket.send_str(frame)
        frames = [await socket.receive() for _ in range(3)]
        model = component_id(frames[2].data)
        keys = {"type": "map", "entries": [["keys", list(TOPICS)], ["have", {"type": "map"}]]}
        question = {"type": "map", "entries": [["id", 0], ["do", "topics"], ["with", keys]]}
        watch_topics = patch("data_event", [["model", {"id": model}], ["data", question]])
        for frame in (*patch("document_ready", []), *watch_topics):
            await socket.send_str(frame)
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT or '\\"t\\":' not in message.data:
                continue
            if not ready.is_set():
                ready.set()
            elif watch is not None:
                watch.arrived(time.time())


async def follow_disk(console: Console, watch: Watch) -> None:
    """Note each time the collector has replaced the snapshot's status."""
    seen = 0
    while True:
        for status in (console.data_dir / "snapshot").glob("*/status.json"):
            written = status.stat().st_mtime_ns
            if written != seen:
                seen = written
                watch.written_s.append(written / 1e9)
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def open_pages(console: Console, cookies: list[str], pages: int, watch: Watch | None = None) -> Iterator[None]:
    """Keep `pages` Home pages open, taking the logins in turn, from a thread of its own."""
    opened, close = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    async def main() -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            tasks = [asyncio.create_task(follow_disk(console, watch))] if watch is not None else []
            for number in range(pages):
                ready = asyncio.Event()
                task = asyncio.create_task(one_page(http, console, cookies[number % len(cookies)], watch, ready))
                tasks.append(task)
                waiting = asyncio.create_task(ready.wait())
                await asyncio.wait({task, waiting}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
                if not ready.is_set():
                    waiting.cancel()
                    raise (task.exception() if task.done() else None) or TimeoutError("a page did not open")
            opened.set()
            while not close.is_set():
                for task in tasks:
                    if task.done():
                        raise task.exception() or ConnectionError("the console closed a page")
                await asyncio.sleep(0.2)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits
            failed.append(error)
            opened.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    opened.wait()
    if failed:
        raise failed[0]
    try:
        yield
    finally:
        close.set()
        thread.join(30)
    if failed:
        raise failed[0]
