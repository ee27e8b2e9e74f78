"""The way into a job's apps: one TLS port on the node, spliced to the apps' unix sockets.

For the author of the proxy
---------------------------
* Connect by TLS to node:port and compare the SHA-256 of the certificate (DER) with the session's fingerprint;
  the name in the certificate is the session's id (SAN, and fine as SNI), no authority signed it.
* EVERY request carries `X-Carme-Secret: <secret>` and `X-Carme-App: <name>`. Both are removed before the
  app sees the request, on a connection's first and on all later requests: connections may be kept in a
  pool, since the gateway follows the framing of requests (responses it never reads). One connection
  serves one app: asking for another app on it closes it, so pool by (session, app).
* Nothing else is changed: not Host, not Origin, not the path (except that an app that wants its base path
  stripped gets its target without it). A request with `Connection: Upgrade` turns the connection raw in both
  directions for the rest of its life, whatever the app answers.
* Answers of the gateway itself, all with `Connection: close`: 400 not plain HTTP/1.1 (also a request with
  both Content-Length and Transfer-Encoding), 403 no or wrong secret (and nothing is said about apps), 404 no
  such app, 431 head above 64 kB, 502 the app has failed, 503 the app is not answering yet or too many
  connections. They carry `X-Carme-Gateway: <reason>`, which apps' own answers cannot imitate to any effect.
* On a later request of a kept connection a refusal is a plain close.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from .http_head import HEAD_LIMIT_BYTES, BadRequest, ChunkedBody, Head, LengthBody, parse_head

HEAD_TIMEOUT_S = 10
CONNECTION_LIMIT = 1024
UNPROVEN_LIMIT = 128
"""Connections that have not shown the secret yet; above it the oldest is dropped, so that strangers who hold
connections open can't keep the console out."""
BUFFER_HIGH_BYTES = 1024 * 1024
DRAIN_TIMEOUT_S = 600
"""How long a client may take to read the last buffered bytes after the app has closed."""

SECRET_HEADER = b"x-carme-secret"
APP_HEADER = b"x-carme-app"
_OWN_HEADERS = frozenset((SECRET_HEADER, APP_HEADER))
_REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
    503: "Service Unavailable",
}


@dataclass(frozen=True)
class Route:
    """Where an app answers: its unix socket, and the base path that is stripped when `strip_prefix`."""

    socket_path: str
    base_path: str = "/"
    strip_prefix: bool = False

    def target(self, target: bytes) -> bytes:
        """The request target the app is given."""
        prefix = self.base_path.encode()
        if self.strip_prefix and (target + b"/").startswith(prefix):
            return b"/" + target[len(prefix) :]
        return target


@dataclass(frozen=True)
class _Refusal(Exception):
    status: int
    reason: str


class Gateway:
    """Accepts connections, checks the secret and connects each to its app. One event loop, no threads."""

    def __init__(
        self, secret: str, routes: Mapping[str, Route], failed: Callable[[str], bool] = lambda _app: False
    ) -> None:
        """`failed(app)` tells that an app won't come back (502 instead of 503)."""
        self._secret = secret.encode()
        self._routes = {name.encode(): route for name, route in routes.items()}
        self._failed = failed
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._unproven: OrderedDict[object, Callable[[], object]] = OrderedDict()
        self.connections: set[_Client] = set()
        self.last_traffic_s = time.time()

    async def start(self, bind_host: str, context: ssl.SSLContext) -> int:
        """Bind an ephemeral port (1024 or above), accept from now on, and return the port."""
        family = socket.AF_INET6 if ":" in bind_host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setblocking(False)
        listener.bind((bind_host, 0))
        listener.listen(512)
        self._listener = listener
        self._accepting = asyncio.ensure_future(self._accept(listener, context))
        return int(listener.getsockname()[1])

    async def close(self) -> None:
        """Stop accepting and cut every connection."""
        if self._accepting is not None:
            self._accepting.cancel()
        if self._listener is not None:
            self._listener.close()
        for drop in list(self._unproven.values()):
            drop()
        for client in list(self.connections):
            client.abort()
        await asyncio.sleep(0)

    async def _accept(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError:
                await asyncio.sleep(0.1)  # out of descriptors: connections will end, the gateway must not
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            handshake = asyncio.ensure_future(self._handshake(connection, context))
            self._wait_for_proof(handshake, handshake.cancel)
            handshake.add_done_callback(self.proven)

    async def _handshake(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: _Client(self), connection, ssl=context, ssl_handshake_timeout=HEAD_TIMEOUT_S
            )
        except (OSError, ssl.SSLError, asyncio.TimeoutError):  # noqa: UP041 - Python 3.9
            connection.close()

    def _wait_for_proof(self, key: object, drop: Callable[[], object]) -> None:
        self._unproven[key] = drop
        if len(self._unproven) > UNPROVEN_LIMIT:
            self._unproven.popitem(last=False)[1]()

    def opened(self, client: _Client) -> None:
        """A connection finished its TLS handshake."""
        self.connections.add(client)
        self._wait_for_proof(client, client.abort)

    def proven(self, key: object) -> None:
        """A connection showed the secret, or is gone."""
        self._unproven.pop(key, None)

    def closed(self, client: _Client) -> None:
        """A connection ended."""
        self.connections.discard(client)
        self.proven(client)

    def route(self, head: Head) -> tuple[bytes, Route]:
        """The app a request is for. Raises _Refusal; the secret is checked before anything else."""
        secrets = head.values(SECRET_HEADER)
        given = secrets[0] if len(secrets) == 1 else b""
        if not hmac.compare_digest(given, self._secret):
            raise _Refusal(403, "secret")
        names = head.values(APP_HEADER)
        if len(names) != 1 or names[0] not in self._routes:
            raise _Refusal(404, "app")
        if len(self.connections) > CONNECTION_LIMIT:
            raise _Refusal(503, "connections")
        return names[0], self._routes[names[0]]

    def unreachable(self, app: bytes) -> _Refusal:
        """What is answered when the app's socket can't be connected to."""
        return _Refusal(502, "failed") if self._failed(app.decode()) else _Refusal(503, "starting")


class _Client(asyncio.Protocol):
    """A connection from the console's proxy."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._body: LengthBody | ChunkedBody | None = None
        self._raw = False
        self._app = b""
        self._held: list[bytes] = []
        self._connecting: asyncio.Task[None] | None = None
        self._closed = False
        self.upstream: _Upstream | None = None
        self._timer = self._loop.call_later(HEAD_TIMEOUT_S, self.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=BUFFER_HIGH_BYTES)
        self._gateway.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        self._gateway.last_traffic_s = time.time()
        if self._raw:
            self._forward(data)
            return
        try:
            self._read_requests(data)
        except BadRequest:
            self._refuse(_Refusal(400, "request"))
        except _Refusal as refusal:
            self._refuse(refusal)

    def _read_requests(self, data: bytes) -> None:
        while data and not self._raw:
            if self._body is not None:
                taken = self._body.take(data)
                self._forward(data[:taken] if taken < len(data) else data)
                data = data[taken:]
                if self._body.done:
                    self._body = None
                continue
            self._buffer += data
            end = self._buffer.find(b"\r\n\r\n")
            if end > HEAD_LIMIT_BYTES or (end < 0 and len(self._buffer) > HEAD_LIMIT_BYTES):
                raise _Refusal(431, "head")
            if end < 0:
                return
            raw, data, self._buffer = self._buffer[: end + 4], self._buffer[end + 4 :], b""
            self._start_request(parse_head(raw))
        if data:
            self._forward(data)

    def _start_request(self, head: Head) -> None:
        app, route = self._gateway.route(head)
        body = head.body()
        if self._app and app != self._app:
            raise _Refusal(400, "one app a connection")
        self._timer.cancel()
        self._gateway.proven(self)
        self._raw = head.upgrades
        self._body = None if self._raw or body.done else body
        self._forward(head.render(_OWN_HEADERS, route.target(head.target)))
        if not self._app:
            self._app = app
            self.transport.pause_reading()
            self._connecting = asyncio.ensure_future(self._connect(route))

    async def _connect(self, route: Route) -> None:
        try:
            await self._loop.create_unix_connection(lambda: _Upstream(self), route.socket_path)
        except OSError:
            self._refuse(self._gateway.unreachable(self._app), first=True)

    def connected(self, upstream: _Upstream) -> None:
        """The app accepted: send what waited, then splice."""
        if self._closed:
            upstream.transport.abort()
            return
        self.upstream = upstream
        held, self._held = self._held, []
        upstream.transport.writelines(held)
        self.transport.resume_reading()

    def _forward(self, data: bytes) -> None:
        if self.upstream is None:
            self._held.append(data)
        else:
            self.upstream.transport.write(data)

    def _refuse(self, refusal: _Refusal, first: bool = False) -> None:
        if self._app and not first:
            self.abort()
            return
        self._closed = True
        body = f"{refusal.status} {_REASONS[refusal.status]}\n"
        retry = "Retry-After: 1\r\n" if refusal.status == 503 else ""
        self.transport.write(
            (
                f"HTTP/1.1 {refusal.status} {_REASONS[refusal.status]}\r\n"
                f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n{retry}"
                f"X-Carme-Gateway: {refusal.reason}\r\nConnection: close\r\n\r\n{body}"
            ).encode()
        )
        self.finish()

    def finish(self) -> None:
        """Close once what is buffered has been read."""
        self._timer.cancel()
        self.transport.close()
        self._timer = self._loop.call_later(DRAIN_TIMEOUT_S, self.abort)

    def abort(self) -> None:
        """Close now."""
        self._closed = True
        self.transport.abort()

    def pause_writing(self) -> None:
        if self.upstream is not None:
            self.upstream.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.upstream is not None:
            self.upstream.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._timer.cancel()
        self._gateway.closed(self)
        if self._connecting is not None:
            self._connecting.cancel()
        if self.upstream is not None:
            self.upstream.transport.close()


class _Upstream(asyncio.Protocol):
    """The connection to an app's unix socket that belongs to one client connection."""

    def __init__(self, client: _Client) -> None:
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=BUFFER_HIGH_BYTES)
        self._client.connected(self)

    def data_received(self, data: bytes) -> None:
        # a memoryview, because the TLS transport slices what one record could not hold
        self._client.transport.write(memoryview(data))

    def pause_writing(self) -> None:
        self._client.transport.pause_reading()

    def resume_writing(self) -> None:
        self._client.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.finish()
