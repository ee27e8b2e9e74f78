"""Parts for tests of the proxy: it, the gateway and TLS are real; the app is small, the doors are a table.

`EchoApp` — an app on a unix socket that tells what it was sent and answers in every way that matters.
`TableDoors` — grants and tickets that a test writes down.
`Rig` — browser side to app: proxy, gateways of any number of sessions, their apps.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket
from tornado.web import Application, RequestHandler, stream_request_body
from tornado.websocket import WebSocketHandler

from app.proxy.doors import Entered, Standing
from app.proxy.origin import AppsOrigin
from app.proxy.server import ProxyServer
from backend.agent.gateway import Gateway, Route
from backend.sessions.certs import make_certificate

CONSOLE = "http://localhost:5006"
ALICE, BOB = "salice00001", "sbob0000001"
APP = "jupyterlab"
BIG_FRAME_BYTES = 50 * 1024 * 1024


class _Echo(RequestHandler):
    def _tell(self) -> None:
        self.write(
            {
                "method": self.request.method,
                "uri": self.request.uri,
                "headers": list(self.request.headers.get_all()),
                "body": self.request.body.decode("latin-1"),
                "connection": id(self.request.server_connection),
            }
        )

    get = post = put = delete = options = _tell


class _Cookies(RequestHandler):
    def get(self) -> None:
        self.add_header("Set-Cookie", "_xsrf=1; Path=/; Domain=localhost")
        self.add_header("Set-Cookie", "theme=dark; Path=/s/")
        self.add_header("Set-Cookie", "carme=planted; Path=/")
        self.add_header("Set-Cookie", "__Host-carme-app=planted; Path=/; Secure")


class _Big(RequestHandler):
    async def get(self) -> None:
        size, piece = int(self.get_argument("bytes")), bytes(range(256)) * 1024
        if self.get_argument("length", "yes") == "yes":
            self.set_header("Content-Length", str(size))
        while size > 0:
            self.write(piece[:size])
            size -= len(piece)
            await self.flush()


@stream_request_body
class _Upload(RequestHandler):
    def prepare(self) -> None:
        self.digest, self.size = hashlib.sha256(), 0
        self.request.connection.set_max_body_size(1 << 40)

    def data_received(self, chunk: bytes) -> None:
        self.digest.update(chunk)
        self.size += len(chunk)

    def put(self) -> None:
        self.write({"sha256": self.digest.hexdigest(), "bytes": self.size})


@stream_request_body
class _TooLarge(RequestHandler):
    def prepare(self) -> None:
        self.set_status(413)
        self.finish("too large")

    def data_received(self, chunk: bytes) -> None:
        pass


class _Gzip(RequestHandler):
    def get(self) -> None:
        self.set_header("Content-Encoding", "gzip")
        self.set_header("Date", "Thu, 01 Jan 1970 00:00:00 GMT")
        self.write(b"these bytes are no gzip and nobody may care")


class _Slow(RequestHandler):
    async def get(self) -> None:
        for number in range(1000):
            self.write(f"data: {number}\n\n")
            await self.flush()
            await asyncio.sleep(0.05)


class _Socket(WebSocketHandler):
    def check_origin(self, origin: str) -> bool:
        return True

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return subprotocols[-1] if subprotocols else None

    def on_message(self, message: str | bytes) -> Any:
        if message == "close":
            self.close(4123, "as asked")
            return None
        return self.write_message(message, binary=isinstance(message, bytes))


class _NoSocket(RequestHandler):
    def get(self) -> None:
        self.set_status(418)
        self.write("no socket here")


class EchoApp:
    """On a unix socket; answers below any base path."""

    def __init__(self, path: str) -> None:
        below = r"/s/[^/]+/[^/]+"
        self._server = HTTPServer(
            Application(
                [
                    (below + "/cookies", _Cookies),
                    (below + "/big", _Big),
                    (below + "/upload", _Upload),
                    (below + "/too-large", _TooLarge),
                    (below + "/gzip", _Gzip),
                    (below + "/slow", _Slow),
                    (below + "/ws", _Socket),
                    (below + "/no-ws", _NoSocket),
                    (r".*", _Echo),
                ],
                websocket_max_message_size=2 * BIG_FRAME_BYTES,
            )
        )
        self._server.add_socket(bind_unix_socket(path))

    async def close(self) -> None:
        """Gone."""
        self._server.stop()
        await self._server.close_all_connections()


@dataclass
class TableDoors:
    """Doors that a test sets."""

    grants: dict[tuple[str, str], Standing] = field(default_factory=dict)
    tickets: dict[tuple[str, str], Entered] = field(default_factory=dict)
    touched: list[str] = field(default_factory=list)

    def standing(self, cookie: str, session_id: str) -> Standing | None:
        return self.grants.get((cookie, session_id))

    def open_among(self, grants: list[tuple[str, str]]) -> set[tuple[str, str]]:
        return {grant for grant in grants if grant in self.grants and self.grants[grant].state == "open"}

    def redeem(self, ticket: str, session_id: str) -> Entered | None:
        return self.tickets.pop((ticket, session_id), None)

    def touch(self, login_id: str) -> None:
        self.touched.append(login_id)

    def change(self, cookie: str, session_id: str, **values: Any) -> None:
        """What is true of a grant from now on."""
        self.grants[cookie, session_id] = replace(self.grants[cookie, session_id], **values)


@dataclass
class Rig:
    """All of it; `port` is the proxy's."""

    doors: TableDoors
    proxy: ProxyServer
    origin: AppsOrigin
    port: int
    client: aiohttp.ClientSession

    def headers(self, session_id: str = ALICE, cookie: str | None = "grant", **more: str) -> dict[str, str]:
        """Of a request as the session's own page sends it."""
        headers = {"Host": self.origin.of(session_id).partition("//")[2]}
        if cookie is not None:
            headers["Cookie"] = f"{self.origin.cookie_name(session_id)}={cookie}"
        return headers | {name.replace("_", "-"): value for name, value in more.items()}

    def url(self, rest: str = "", session_id: str = ALICE, app: str = APP, scheme: str = "http") -> str:
        """An address of an app on the proxy's port."""
        return f"{scheme}://127.0.0.1:{self.port}/s/{session_id}/{app}/{rest}"

    async def raw(self, request: bytes) -> bytes:
        """Send bytes, get everything until the proxy closes, or one answer that says how long it is."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        try:
            async with asyncio.timeout(10):
                answer = b""
                while not answer.endswith(b"\r\n\r\n") and (line := await reader.readline()):
                    answer += line
                length = re.search(rb"(?mi)^content-length: (\d+)", answer)
                return answer + (await reader.readexactly(int(length[1])) if length else await reader.read())
        finally:
            writer.close()

    async def status_of(self, raw_target: str, method: str = "GET", session_id: str = ALICE) -> int:
        """The status for a target sent exactly as it is."""
        head = "".join(f"{name}: {value}\r\n" for name, value in self.headers(session_id).items())
        answer = await self.raw(f"{method} {raw_target} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode("latin-1"))
        return int(answer.split(b" ")[1])

    async def socket(self, rest: str = "ws", **options: Any) -> aiohttp.ClientWebSocketResponse:
        """Open a websocket as the session's own page does."""
        headers = self.headers() | {"Origin": self.origin.of(ALICE)} | options.pop("headers", {})
        return await self.client.ws_connect(self.url(rest), headers=headers, max_msg_size=0, **options)


async def gateway(session_id: str, apps: dict[str, str], secret: str) -> tuple[Gateway, Standing]:
    """A session's gateway on loopback, and a standing that leads to it."""
    certificate, key, fingerprint = make_certificate(session_id)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w") as pem:
        pem.write(certificate + key)
        pem.flush()
        context.load_cert_chain(pem.name)
    found = Gateway(secret, {name: Route(path) for name, path in apps.items()})
    port = await found.start("127.0.0.1", context)
    standing = Standing("alice", "login-alice", session_id, "open", "127.0.0.1", port, fingerprint, secret, tuple(apps))
    return found, standing


@asynccontextmanager
async def rig(folder: Path, url: str = "http://{session}.localhost:5007") -> AsyncIterator[Rig]:
    """Two people's sessions behind one proxy: grant `grant` opens alice's, `grant-bob` bob's."""
    doors, closing = TableDoors(), []
    origin = AppsOrigin.from_urls(url, CONSOLE)
    for session_id, cookie, person in ((ALICE, "grant", "alice"), (BOB, "grant-bob", "bob")):
        apps = {}
        for app in (APP, "tensorboard"):
            apps[app] = str(folder / f"{session_id}-{app}.sock")
            closing.append(EchoApp(apps[app]))
        found, standing = await gateway(session_id, apps, f"secret-of-{session_id}-" + "x" * 32)
        closing.append(found)
        doors.grants[cookie, session_id] = replace(standing, person=person, login_id=f"login-{person}")
    proxy = ProxyServer(origin, doors)
    port = proxy.listen("127.0.0.1", 0)
    async with aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as client:
        try:
            yield Rig(doors, proxy, origin, port, client)
        finally:
            await proxy.close()
            for part in closing:
                await part.close()


def told(answer: bytes | str) -> dict[str, Any]:
    """What EchoApp said; header names in lower case."""
    found: dict[str, Any] = json.loads(answer)
    found["names"] = [name.lower() for name, _ in found["headers"]]
    found["headers"] = {name.lower(): value for name, value in found["headers"]}
    return found
