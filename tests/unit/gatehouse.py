"""A running web process for tests of the gate: the real server with real logins, in a thread, and browsers.

- `running(folder, **overrides)`: the server, with a few small pages in place of the console's.
- `House.person(name)`: a local account with its second factor; `House.browser()`: cookies, forms, sockets.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import panel as pn
import pyotp

from app.server import ConsoleServer, build_server
from backend.services import Services, open_services
from backend.telemetry import Telemetry
from config import load_settings
from pages import Page

PASSWORD = "correct horse battery staple"
PEOPLE = frozenset({"user"})
SLOW_S = 12  # what a browser may take to send a code


def _plain(services: Services, viewer: Any) -> Any:
    return pn.pane.Markdown(f"# Hello {viewer.name}")


def _live(services: Services, viewer: Any) -> Any:
    """A page that sends something ten times a second, as long as anyone listens."""
    shown = pn.pane.Markdown("0")

    def count() -> None:
        shown.object = str(int(shown.object) + 1)

    pn.state.add_periodic_callback(count, period=100)
    return shown


# Small stand-ins at addresses that the policy knows: "/people" is for admins alone.
PAGES = (
    Page("/", "Home", "home", PEOPLE, _plain),
    Page("/cluster", "Cluster", "cluster", PEOPLE, _live),
    Page("/people", "People", "people", frozenset({"admin"}), _plain),
)


@dataclass
class Person:
    name: str
    secret: str
    renew: Callable[[], str]
    password: str = PASSWORD
    used: set[int] = field(default_factory=set)

    def code(self) -> str:
        """A code that was not used yet; with those of the accepted three steps used up, of a new factor."""
        # The step before now, unless that is over before a slow browser has sent it.
        first = int(time.time() + SLOW_S) // 30 - 1
        step = max(max(self.used, default=0) + 1, first)
        if step > int(time.time()) // 30 + 1:
            self.secret, self.used, step = self.renew(), set(), first
        self.used.add(step)
        return pyotp.TOTP(self.secret).generate_otp(step)


class House:
    """One running server."""

    def __init__(
        self, folder: Path, pages: tuple[Page, ...] = PAGES, telemetry: Telemetry | None = None, **overrides: Any
    ) -> None:
        given = {key.replace("__", "."): value for key, value in overrides.items()}
        self.services = open_services(
            load_settings(None, {"CARME_DATA": str(folder)}, {"login.throttle_after": 100, **given})
        )
        if telemetry is not None:
            self.services = replace(self.services, telemetry=telemetry)
        self.settings = self.services.settings
        self.server: ConsoleServer
        self.port = 0
        self._pages = pages
        self._up = threading.Event()
        self._failed: BaseException | None = None
        self._ended: asyncio.Event
        self.loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._up.wait(120)
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised by start()
            self._failed = error
            self._up.set()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self.server = build_server(self.services, self._pages)
        self.port = self.server.listen("127.0.0.1", 0)
        self.server.start()
        self._up.set()
        await self._ended.wait()
        await self.server.stop()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def at(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def person(self, name: str, roles: tuple[str, ...] = ()) -> Person:
        identity = self.services.identity
        identity.add_person("console", name, PASSWORD, roles=roles)
        return Person(name, identity.enrol_directly(name), lambda: identity.enrol_directly(name))

    def browser(self) -> Browser:
        return Browser(self)


@dataclass
class Answer:
    status: int
    headers: Any
    text: str

    @property
    def location(self) -> str:
        return str(self.headers.get("Location", ""))

    def field(self, name: str) -> str:
        found = re.search(rf'name="{name}" value="([^"]*)"', self.text)
        assert found, f"no field {name} in {self.text[:2000]}"
        return found[1]

    @property
    def token(self) -> str:
        """The Bokeh token in a page."""
        found = re.search(r'"token":"([^"]+)"', self.text)
        assert found, self.text[:2000]
        return found[1]

    def json(self) -> Any:
        return json.loads(self.text)


class Browser:
    """Cookies and requests as Chromium sends them to `http://localhost:PORT`."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.cookies: dict[str, str] = {}
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Browser:
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()

    @property
    def http(self) -> aiohttp.ClientSession:
        assert self._http is not None
        return self._http

    def headers(self, method: str, more: dict[str, str] | None) -> dict[str, str]:
        said = {"Host": f"localhost:{self.house.port}", "User-Agent": "Mozilla/5.0 (X11; Linux) Chrome/156.0"}
        if self.cookies:
            said["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if method not in ("GET", "HEAD"):
            said |= {"Origin": self.house.url, "Sec-Fetch-Site": "same-origin"}
        said |= more or {}
        return {name: value for name, value in said.items() if value != "-"}

    async def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, keep: bool = True, **given: Any
    ) -> Answer:
        async with self.http.request(
            method,
            aiohttp.client.URL(self.house.at + path, encoded=True),
            headers=self.headers(method, headers),
            allow_redirects=False,
            **given,
        ) as answer:
            if keep:
                for name, morsel in answer.cookies.items():
                    if not morsel.value:
                        self.cookies.pop(name, None)
                    else:
                        self.cookies[name] = morsel.value
            return Answer(answer.status, answer.headers, await answer.text(errors="replace"))

    async def get(self, path: str, headers: dict[str, str] | None = None, **given: Any) -> Answer:
        return await self.ask("GET", path, headers, **given)

    async def post(
        self, path: str, fields: dict[str, str], headers: dict[str, str] | None = None, **given: Any
    ) -> Answer:
        return await self.ask("POST", path, headers, data=fields, **given)

    async def give_password(self, person: Person, password: str = "", path: str = "/") -> Answer:
        form = await self.get(f"/login?next={path}")
        fields = {
            "csrf": form.field("csrf"),
            "next": path,
            "name": person.name,
            "password": password or person.password,
        }
        return await self.post("/login", fields)

    async def give_code(self, code: str, path: str = "/") -> Answer:
        form = await self.get(f"/login/code?next={path}")
        return await self.post("/login/code", {"csrf": form.field("csrf"), "next": path, "code": code})

    async def sign_in(self, person: Person) -> None:
        half = await self.give_password(person)
        assert half.status == 303, half.text
        full = await self.give_code(person.code())
        assert (full.status, full.location) == (303, "/"), full.text

    def enter(self, person: Person) -> None:
        """Be signed in, without the forms: what a login opens is another matter than how it is got."""
        identity = self.house.services.identity
        with self.house.services.db.begin() as rows:
            login = identity.begin_full(
                rows, person.name, roles=[], address="127.0.0.1", user_agent="", browser=""
            )
        self.cookies["carme"] = login.cookie

    async def csrf(self) -> str:
        state = await self.get("/api/session", {"Sec-Fetch-Site": "same-origin"})
        return str(state.json()["csrf"])

    async def socket(
        self, path: str, token: str, headers: dict[str, str] | None = None
    ) -> aiohttp.ClientWebSocketResponse:
        """Raises aiohttp.WSServerHandshakeError when it is refused."""
        said = {"Origin": self.house.url} | self.headers("GET", headers)
        return await self.http.ws_connect(self.house.at + path, headers=said, protocols=("bokeh", token))

    async def refused(self, path: str, token: str, headers: dict[str, str] | None = None) -> int:
        """The status with which a socket is refused; 101 when it opens."""
        try:
            socket = await self.socket(path, token, headers)
        except aiohttp.WSServerHandshakeError as error:
            return error.status
        await socket.close()
        return 101


def payload(token: str) -> dict[str, Any]:
    """What a Bokeh token says."""

    def decode(text: str) -> bytes:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    said: dict[str, Any] = json.loads(decode(token.split(".", maxsplit=1)[0]))
    packed = said.pop("__bk__zlib_")
    return said | json.loads(zlib.decompress(decode(packed)))


@contextlib.contextmanager
def running(
    folder: Path, pages: tuple[Page, ...] = PAGES, telemetry: Telemetry | None = None, **overrides: Any
) -> Iterator[House]:
    house = House(folder, pages, telemetry, **overrides)
    house.start()
    try:
        yield house
    finally:
        house.stop()
