"""The way through the proxy against JupyterLab itself: a long download, and a terminal's echo.

Both ways are taken in turns on the same files, alone and while the web process builds pages. The download is a
browser's, as a person's is: direct, from a JupyterLab like the session's on a TCP port. A bare socket that drops what
it reads into a file is measured too: it takes so little of two cores that what the gateway and the proxy encrypt,
decrypt and copy shows at its largest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from playwright.sync_api import Browser

from tests.bench import Figure
from tests.bench._console import embedded, visitor
from tests.browser.person import SignedUp
from tests.harness.browser import chromium
from tests.harness.console import Console
from tests.harness.visitor import Visitor

SIZE_BYTES = 200 * 1000 * 1000
READ_BYTES = 64 * 1024
DOWNLOADS = 8  # of each way; the best counts: what else the machine does only ever makes one slower
ECHOES = 400
READY_S = 90
HIDDEN = re.compile(r'name="(\w+)" value="([^"]*)"')


FETCH = """async (address) => {
  const began = performance.now()
  const reader = (await fetch(address, {cache: "no-store"})).body.getReader()
  let size = 0
  for (let piece; !(piece = await reader.read()).done; ) size += piece.value.length
  return [(performance.now() - began) / 1000, size]
}"""
Download = Callable[[], float]


@dataclass(frozen=True)
class Tabs:
    """The download in Chromium, direct and through the proxy."""

    direct: Download
    proxied: Download


@dataclass(frozen=True)
class Way:
    """How one gets to the session's JupyterLab; `headers` go with each request."""

    connect: Callable[[], socket.socket]
    connector: Callable[[], aiohttp.BaseConnector]
    headers: dict[str, str]
    base: str
    host: str
    port: int

    def download(self, path: str, saved: Path) -> float:
        """Seconds for a whole file, saved as a browser or curl does: piece by piece."""
        buffer = memoryview(bytearray(READ_BYTES))
        with self.connect() as connection, saved.open("wb", buffering=0) as file:
            lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
            began = time.perf_counter()
            connection.sendall(f"GET {self.base}{path} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode())
            got = 0
            while size := connection.recv_into(buffer):
                file.write(buffer[:size])
                got += size
        assert got >= SIZE_BYTES, f"{got} bytes, which end {bytes(buffer[:200])!r}"
        return time.perf_counter() - began


def figures() -> Iterator[Figure]:
    with embedded() as console:
        name = "root" if os.getuid() == 0 else "bench"
        person = SignedUp(name, console.add_person(name), console.enrol(name))
        browser = visitor(console, person)
        folder = console.folder / "work"
        folder.mkdir()
        (folder / "big.bin").write_bytes(os.urandom(1000) * (SIZE_BYTES // 1000))
        session = launch(browser, folder)
        direct, proxied = ways(console, browser, session)
        saved = console.folder / "saved"
        with own_jupyterlab(session["id"]) as port, chromium() as chrome:
            tabs = Tabs(
                direct=tab(chrome, f"http://127.0.0.1:{port}{direct.base}", {}),
                proxied=tab(chrome, f"http://{proxied.host}{proxied.base}", proxied.headers),
            )
            yield from measure("", direct, proxied, saved, tabs)
            with pages_being_built(console, browser):
                yield from measure("_while_pages_are_built", direct, proxied, saved, tabs)


def measure(name: str, direct: Way, proxied: Way, saved: Path, tabs: Tabs) -> Iterator[Figure]:
    """All figures, the ways in turns."""
    yield compare(f"proxy_download_ratio{name}", ">= 0.45", "in Chromium", tabs.direct, tabs.proxied)
    bare = "from its unix socket into a file, by a bare socket"
    ways_ = (partial(way.download, "files/big.bin", saved) for way in (direct, proxied))
    yield compare(f"proxy_bare_download_ratio{name}", "", bare, *ways_)
    with ThreadPoolExecutor(1) as apart:  # Chromium's driver has this thread's event loop
        added_ms = apart.submit(asyncio.run, echo_added_ms(direct, proxied)).result()
    yield Figure(f"proxy_echo_added_p50{name}", added_ms, "ms", "<= 0.5", "the same terminal, direct")


def compare(name: str, goal: str, how: str, direct: Download, proxied: Download) -> Figure:
    """How fast through the proxy, as a part of direct."""
    direct_s, proxied_s = [], []
    for _ in range(DOWNLOADS):
        direct_s.append(direct())
        proxied_s.append(proxied())
    direct_mb_s, proxied_mb_s = (SIZE_BYTES / 1e6 / min(times) for times in (direct_s, proxied_s))
    against = f"JupyterLab, {how}: {direct_mb_s:.0f} MB/s; through the proxy {proxied_mb_s:.0f}"
    return Figure(name, proxied_mb_s / direct_mb_s, "x", goal, against)


@contextlib.contextmanager
def own_jupyterlab(session_id: str) -> Iterator[int]:
    """A JupyterLab started as the session's was, but on a TCP port, which a browser can reach; yields the port."""
    like = jupyter(session_id)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    words = [word for word in like.cmdline() if not word.startswith("--ServerApp.sock=")]
    words += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    process = subprocess.Popen(
        words, env=like.environ(), cwd=like.cwd(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + READY_S
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            assert process.poll() is None and time.monotonic() < deadline, "JupyterLab does not start"
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait()


def tab(chrome: Browser, address: str, headers: dict[str, str]) -> Download:
    """A page of JupyterLab's origin in Chromium, and the file fetched in it, to its last byte, in seconds."""
    context = chrome.new_context()
    if cookie := headers.get("Cookie"):
        name, _, value = cookie.partition("=")
        context.add_cookies([{"name": name, "value": value, "url": address}])
    page = context.new_page()
    page.goto(address + "static/favicons/favicon.ico")  # only its origin is needed

    def download() -> float:
        took_s, size_bytes = page.evaluate(FETCH, address + "files/big.bin")
        assert size_bytes == SIZE_BYTES, f"{size_bytes} bytes"
        return float(took_s)

    return download


def launch(browser: Visitor, folder: Path) -> dict[str, Any]:
    """A ready session that works in `folder`."""
    answer = browser.api("POST", "/sessions", {"app": "jupyterlab", "time_s": 3600, "work_dir": str(folder)})
    assert answer.status_code == 201, answer.text
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        session: dict[str, Any] = browser.api("GET", f"/sessions/{answer.json()['id']}").json()
        if session["state"] == "ready":
            return session
        time.sleep(0.3)
    raise AssertionError(f"the session is {session['state']}: {session['reason']}")


def ways(console: Console, browser: Visitor, session: dict[str, Any]) -> tuple[Way, Way]:
    """Direct, and through the proxy as the console hands over."""
    sid, port = session["id"], console.apps_port
    host = f"{sid}.localhost:{port}"
    page = browser.post_form(f"/sessions/{sid}/open/jupyterlab")
    entered = browser.http.post(
        f"http://127.0.0.1:{port}/_carme/enter",
        data=dict(HIDDEN.findall(page.text)),
        headers={"Host": host, "Origin": console.url},
        allow_redirects=False,
        timeout=30,
    )
    cookie = entered.headers["Set-Cookie"].split(";")[0]
    path = jupyter_socket(sid)
    base = f"/s/{sid}/jupyterlab/"

    def unix() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        return connection

    def tcp() -> socket.socket:
        return socket.create_connection(("127.0.0.1", port))

    said = {"Host": host, "Referer": f"http://{host}{base}lab"}  # JupyterLab serves files to its own pages
    direct = Way(unix, lambda: aiohttp.UnixConnector(path), said, base, host, port)
    proxied = Way(tcp, aiohttp.TCPConnector, said | {"Cookie": cookie}, base, host, port)
    return direct, proxied


def jupyter(session_id: str) -> psutil.Process:
    """The process of the session's JupyterLab."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if any(word.startswith("--ServerApp.sock=") for word in words) and session_id in " ".join(words):
                return process
    raise AssertionError("JupyterLab's process was not found")


def jupyter_socket(session_id: str) -> str:
    """The unix socket it listens on."""
    words = jupyter(session_id).cmdline()
    return next(word.partition("=")[2] for word in words if word.startswith("--ServerApp.sock="))


async def echo_added_ms(direct: Way, proxied: Way) -> float:
    """What the proxy adds to the echo of one key in a terminal: difference of the medians."""
    samples: dict[str, list[float]] = {"direct": [], "proxied": []}
    async with contextlib.AsyncExitStack() as stack:
        sockets = {
            name: await stack.enter_async_context(terminal(way))
            for name, way in (("direct", direct), ("proxied", proxied))
        }
        for _ in range(ECHOES):
            for name, socket_ in sockets.items():
                samples[name].append(await echo_s(socket_))
    median = {name: statistics.median(values) for name, values in samples.items()}
    return (median["proxied"] - median["direct"]) * 1000


@contextlib.asynccontextmanager
async def terminal(way: Way) -> Any:
    """A terminal's websocket, once its shell has fallen silent."""
    async with aiohttp.ClientSession(connector=way.connector(), cookie_jar=aiohttp.DummyCookieJar()) as client:
        at = f"http://127.0.0.1:{way.port}{way.base}"
        async with client.get(at + "lab", headers=way.headers) as page:
            xsrf = page.cookies["_xsrf"].value
        cookies = "; ".join(filter(None, [way.headers.get("Cookie"), f"_xsrf={xsrf}"]))
        said = way.headers | {"Cookie": cookies, "Origin": f"http://{way.host}", "X-XSRFToken": xsrf}
        async with client.post(at + "api/terminals", headers=said, json={}) as made:
            name = (await made.json())["name"]
        async with client.ws_connect(at + f"terminals/websocket/{name}", headers=said) as opened:
            await opened.send_str(json.dumps(["stdin", "stty -echo; exec cat\r"]))
            with contextlib.suppress(TimeoutError):
                while True:
                    await opened.receive(1.0)
            yield opened


async def echo_s(opened: aiohttp.ClientWebSocketResponse) -> float:
    """Seconds until a line that was typed comes back."""
    began = time.perf_counter()
    await opened.send_str('["stdin","x\\r"]')
    while "x" not in (await opened.receive_str(timeout=10)):
        pass
    return time.perf_counter() - began


@contextlib.contextmanager
def pages_being_built(console: Console, browser: Visitor) -> Iterator[None]:
    """Home asked for again and again, as fast as the web process builds it."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            answer = browser.get("/")
            if answer.status_code == 429:  # one person may only have so many built at a time
                time.sleep(0.1)
                continue
            assert answer.status_code == 200, f"{answer.status_code} {answer.text[:300]}"

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        ended.set()
        asking.join()
