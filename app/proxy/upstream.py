"""Connections to sessions' gateways: TLS pinned to the session's certificate, never shared between apps."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

from app.proxy.headers import Lines

BUFFER_BYTES = 512 * 1024
HEAD_LIMIT_BYTES = 64 * 1024
WRITE_HIGH_BYTES = 512 * 1024
CONNECT_TIMEOUT_S = 5.0
IDLE_TIMEOUT_S = 20.0
IDLE_LIMIT = 8
"""Idle connections kept for one app: a browser opens six."""
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")
_CHUNK_LINE_LIMIT_BYTES = 4096


class UpstreamError(Exception):
    """The session's gateway can't be reached, or is not the one it should be, or broke off."""


class BadAnswer(UpstreamError):
    """The app's answer is no HTTP/1.1 that could be passed on."""


@dataclass(frozen=True)
class Target:
    """One app of one session, and where its gateway listens. Also the key of the pool."""

    session_id: str
    app: str
    address: str
    port: int
    fingerprint: str
    """SHA-256 of the certificate in DER, in hex."""


@dataclass(frozen=True)
class AnswerHead:
    """The head of an app's answer. Header values are Latin-1."""

    status: int
    reason: str
    lines: Lines
    keep_alive: bool
    length_bytes: int | None
    chunked: bool

    def has_body(self, method: str) -> bool:
        """Whether bytes follow."""
        return method != "HEAD" and self.status not in (204, 304) and self.status >= 200

    def delimited(self, method: str) -> bool:
        """Whether the answer ends before the connection does."""
        return self.chunked or self.length_bytes is not None or not self.has_body(method)


class Upstream(asyncio.BufferedProtocol):
    """One TLS connection. Reads land in one buffer that is handed on without copying.

    A view from `read` is valid until the next call of `read` or `consume`.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.reused = False
        self._loop = asyncio.get_running_loop()
        self._view = memoryview(bytearray(BUFFER_BYTES))
        self._start = 0
        self._end = 0
        self._reading_paused = False
        self._readable: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._write_paused = False
        self._eof = False
        self._lost: Exception | None = None
        self.closed = False
        self.idle_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - says it to the type checker
        self.transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        self._end += nbytes
        if self._end == BUFFER_BYTES:
            self._reading_paused = True
            self.transport.pause_reading()
        self._wake(self._readable)

    def eof_received(self) -> bool:
        self._eof = True
        self._wake(self._readable)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._eof = True
        self._lost = exc
        self._wake(self._readable)
        self._wake(self._writable)

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._wake(self._writable)

    @staticmethod
    def _wake(waiter: asyncio.Future[None] | None) -> None:
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    @property
    def usable(self) -> bool:
        """Whether an idle connection may carry one more request."""
        return not (self.closed or self._eof or self._start != self._end or self.transport.is_closing())

    @property
    def buffered(self) -> bool:
        """Whether bytes lie here that nobody has read."""
        return self._start != self._end

    def close(self) -> None:
        """Drop the connection now."""
        self.closed = True
        if self.idle_timer is not None:
            self.idle_timer.cancel()
        self.transport.abort()

    def finish(self) -> None:
        """Send what is still to be sent, and no more."""
        if not self.transport.is_closing():
            self.transport.close()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, waiting while the other side is slow. Raises UpstreamError when the connection is gone."""
        if self.closed or self.transport.is_closing():
            raise UpstreamError("the connection is closed")
        self.transport.write(data)
        if self._write_paused:
            self._writable = self._loop.create_future()
            await self._writable
            if self.closed:
                raise UpstreamError("the connection is closed")

    async def read(self) -> memoryview:
        """What has arrived, at least one byte; empty at the end. `consume` says how much was used."""
        while self._start == self._end:
            self._rewind()
            if self._eof:
                if self._lost is not None:
                    raise UpstreamError(f"the connection broke: {self._lost}")
                return self._view[:0]
            self._readable = self._loop.create_future()
            await self._readable
        return self._view[self._start : self._end]

    def consume(self, nbytes: int) -> None:
        """The first bytes of the last view are done with."""
        self._start += nbytes
        if self._start == self._end:
            self._rewind()

    def _rewind(self) -> None:
        self._start = self._end = 0
        if self._reading_paused and not self.closed:
            self._reading_paused = False
            self.transport.resume_reading()

    async def _more(self, have: int) -> None:
        """Wait for more than `have` unread bytes. Raises UpstreamError at the end."""
        if self._start:  # move the little there is to the front
            size = self._end - self._start
            self._view[:size] = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, size
            if self._reading_paused and not self.closed:
                self._reading_paused = False
                self.transport.resume_reading()
        while self._end - self._start <= have:
            if self._eof:
                raise UpstreamError("the app closed the connection before its answer was complete")
            self._readable = self._loop.create_future()
            await self._readable

    async def _line(self, ending: bytes, limit_bytes: int) -> bytes:
        """Up to and without `ending`. Raises BadAnswer when it is longer than the limit."""
        while True:
            have = self._end - self._start
            found = bytes(self._view[self._start : self._start + min(have, limit_bytes)]).find(ending)
            if found >= 0:
                line = bytes(self._view[self._start : self._start + found])
                self.consume(found + len(ending))
                return line
            if have >= limit_bytes:
                raise BadAnswer("a line or head is too long")
            await self._more(have)

    async def head(self) -> AnswerHead:
        """The next answer's head; 1xx other than 101 are passed over. Raises UpstreamError."""
        while True:
            head = parse_head(await self._line(b"\r\n\r\n", HEAD_LIMIT_BYTES))
            if head.status >= 200 or head.status == 101:
                return head

    async def body(self, head: AnswerHead, method: str) -> AsyncIterator[memoryview]:
        """The answer's body in pieces, without chunk framing. Raises UpstreamError when it is cut short."""
        if not head.has_body(method):
            return
        if head.chunked:
            while size := await self._chunk_size():
                async for piece in self._exactly(size):
                    yield piece
                if await self._line(b"\r\n", _CHUNK_LINE_LIMIT_BYTES):
                    raise BadAnswer("a chunk is longer than it says")
            while await self._line(b"\r\n", HEAD_LIMIT_BYTES):
                pass  # trailers are hop-by-hop here
        elif head.length_bytes is not None:
            async for piece in self._exactly(head.length_bytes):
                yield piece
        else:
            while len(view := await self.read()):
                yield view
                self.consume(len(view))

    async def _chunk_size(self) -> int:
        match = _CHUNK_SIZE.fullmatch(await self._line(b"\r\n", _CHUNK_LINE_LIMIT_BYTES))
        if match is None:
            raise BadAnswer("a chunk has no size")
        return int(match.group(1), 16)

    async def _exactly(self, size_bytes: int) -> AsyncIterator[memoryview]:
        left = size_bytes
        while left:
            view = await self.read()
            if not len(view):
                raise UpstreamError("the app closed the connection before its answer was complete")
            view = view[:left]
            yield view
            self.consume(len(view))
            left -= len(view)


def parse_head(raw: bytes) -> AnswerHead:
    """Read an answer's head (without the empty line). Raises BadAnswer where readers could disagree."""
    first, *rest = raw.split(b"\r\n")
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise BadAnswer("no status line")
    lines: Lines = []
    for line in rest:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name) or _CONTROL.search(value):
            raise BadAnswer("bad header line")
        lines.append((name.decode("ascii"), value.strip(b" \t").decode("latin-1")))
    status = int(match.group(2))
    values: dict[str, list[str]] = {}
    for key, text in lines:
        values.setdefault(key.lower(), []).append(text)
    codings = values.get("transfer-encoding", [])
    lengths = set(values.get("content-length", []))
    if codings and (len(codings) > 1 or codings[0].lower() != "chunked" or lengths):
        raise BadAnswer("ambiguous framing")
    if len(lengths) > 1 or not all(_LENGTH.fullmatch(text) for text in lengths):
        raise BadAnswer("bad Content-Length")
    words = {word.strip().lower() for text in values.get("connection", []) for word in text.split(",")}
    return AnswerHead(
        status=status,
        reason=(match.group(3) or b"").decode("latin-1"),
        lines=lines,
        keep_alive=match.group(1) == b"1" and "close" not in words,
        length_bytes=int(next(iter(lengths))) if lengths else None,
        chunked=bool(codings),
    )


class Pool:
    """Connections by app. An idle one is handed out again for the same app of the same session only."""

    def __init__(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # The certificate is the session's own and signed by nobody: what counts is its fingerprint.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._context = context
        self._idle: dict[Target, list[Upstream]] = {}

    async def connect(self, target: Target, *, fresh: bool = False) -> Upstream:
        """A connection to the app's gateway; with `fresh` a new one. Raises UpstreamError."""
        idle = self._idle.get(target, [])
        while idle and not fresh:
            connection = idle.pop()
            if connection.idle_timer is not None:
                connection.idle_timer.cancel()
            if connection.usable:
                connection.reused = True
                return connection
            connection.close()
        return await self._open(target)

    def give_back(self, connection: Upstream) -> None:
        """Keep a connection whose last answer was read to its end."""
        idle = self._idle.setdefault(connection.target, [])
        if not connection.usable or len(idle) >= IDLE_LIMIT:
            connection.close()
            return
        idle.append(connection)
        loop = asyncio.get_running_loop()
        connection.idle_timer = loop.call_later(IDLE_TIMEOUT_S, self._expire, connection)

    def close(self) -> None:
        """Drop all idle connections."""
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()

    def _expire(self, connection: Upstream) -> None:
        idle = self._idle.get(connection.target, [])
        if connection in idle:
            idle.remove(connection)
        if not idle:
            self._idle.pop(connection.target, None)
        connection.close()

    async def _open(self, target: Target) -> Upstream:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await loop.create_connection(
                    lambda: Upstream(target),
                    target.address,
                    target.port,
                    ssl=self._context,
                    server_hostname="",
                )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            raise UpstreamError(f"{target.address}:{target.port}: {error or 'no answer'}") from error
        # asyncio sets TCP_NODELAY itself; the peer may vanish without a word
        raw: socket.socket = connection.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        certificate: bytes | None = connection.transport.get_extra_info("ssl_object").getpeercert(True)
        shown = hashlib.sha256(certificate or b"").hexdigest()
        if not hmac.compare_digest(shown, target.fingerprint.lower().replace(":", "")):
            connection.close()
            raise UpstreamError(f"{target.address}:{target.port} shows another certificate")
        return connection
