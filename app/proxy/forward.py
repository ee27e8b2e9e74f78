"""One request on its way to an app and its answer on the way back, streamed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from typing import Any, cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders, ResponseStartLine
from tornado.iostream import StreamClosedError

from app.proxy import answers
from app.proxy.answers import Answer
from app.proxy.headers import Lines, request_lines, response_lines
from app.proxy.upstream import AnswerHead, Pool, Target, Upstream, UpstreamError

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT_S = 60.0
_GATEWAY_HEADER = "x-carme-gateway"
_SAFE_TO_REPEAT = frozenset({"GET", "HEAD", "OPTIONS"})


class Forward:
    """Sends one request to its app; created once the request may pass."""

    def __init__(
        self,
        browser: HTTP1Connection,
        pool: Pool,
        target: Target,
        *,
        secret: str,
        cookie_path: str,
        console: str,
        ended: Callable[[Forward], None],
    ) -> None:
        """`ended` is called once, when nothing is left to do."""
        self._browser = browser
        self._pool = pool
        self._target = target
        self._secret = secret
        self._cookie_path = cookie_path
        self._console = console
        self._ended = ended
        self._upstream: Upstream | None = None
        self._task: asyncio.Task[None] | None = None
        self._sent = asyncio.Event()  # the request has been read to its end
        self._method = "GET"
        self._head = b""
        self._chunked_upload = False
        self._has_body = False
        self._head_written = False
        self._drop = False  # the answer came first: nobody wants the rest of the request
        self._raw = False  # the gateway reads no more requests on this connection

    async def start(self, method: str, raw_target: str, headers: HTTPHeaders) -> None:
        """Send the head and begin to wait for the answer."""
        length, chunked = headers.get("Content-Length"), "Transfer-Encoding" in headers
        self._method = method
        self._chunked_upload = chunked
        self._has_body = chunked or (length is not None and length.strip() != "0")
        framing: Lines = []
        if chunked:
            framing.append(("Transfer-Encoding", "chunked"))
        elif length is not None:
            framing.append(("Content-Length", length.strip()))
        lines = request_lines(headers.get_all(), websocket=False)
        self._head = self._request_head(raw_target, lines + framing)
        try:
            self._upstream = await self._pool.connect(self._target, fresh=self._has_body)
            await self._upstream.write(self._head)
        except UpstreamError as error:
            if self._upstream is None:
                log.info("session %s: %s", self._target.session_id, error)
                self.answer(answers.unreachable(self._console))
                return
        self._begin(self._run())

    async def handshake(self, raw_target: str, headers: HTTPHeaders) -> tuple[Upstream, AnswerHead] | None:
        """Ask the app for a websocket. None: it said no, and its answer is under way to the browser."""
        self._raw = self._drop = True  # what the browser sends before the app has agreed is no request of ours
        self._head = self._request_head(raw_target, request_lines(headers.get_all(), websocket=True))
        try:
            self._upstream = await self._pool.connect(self._target, fresh=True)
            await self._upstream.write(self._head)
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                head = await self._upstream.head()
        except (UpstreamError, TimeoutError) as error:
            log.info("session %s: %s", self._target.session_id, error)
            self.answer(answers.unreachable(self._console))
            return None
        if head.status == 101:
            return self._upstream, head
        self._begin(self._run(head))
        return None

    def answer(self, answer: Answer) -> None:
        """Answer in the app's place."""
        self._drop = True
        self._begin(self._run_answer(answer))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.create_task(work)
        self._task.add_done_callback(lambda _task: self._ended(self))

    async def data(self, chunk: bytes) -> None:
        """A piece of the request's body."""
        if self._drop or self._upstream is None:
            return
        try:
            if self._chunked_upload:
                await self._upstream.write(b"%x\r\n" % len(chunk) + chunk + b"\r\n")
            else:
                await self._upstream.write(chunk)
        except UpstreamError:
            self._drop = True  # what it answered, if anything, is on its way

    def request_ended(self) -> None:
        """The request was read to its end."""
        upstream = self._upstream
        if self._chunked_upload and not self._drop and upstream is not None and not upstream.closed:
            upstream.transport.write(b"0\r\n\r\n")
        self._sent.set()
        self._browser.set_close_callback(self.close)

    def close(self) -> None:
        """The browser has gone, or may not go on."""
        if self._task is not None:
            self._task.cancel()
        if self._upstream is not None:
            self._upstream.close()

    def cut(self) -> None:
        """The login or the session behind it has ended."""
        self.close()
        self._browser.close()

    def _request_head(self, raw_target: str, lines: Lines) -> bytes:
        own = [("X-Carme-Secret", self._secret), ("X-Carme-App", self._target.app)]
        head = "".join(f"{name}: {value}\r\n" for name, value in own + lines)
        return f"{self._method} {raw_target} HTTP/1.1\r\n{head}\r\n".encode("latin-1")

    async def _run(self, head: AnswerHead | None = None) -> None:
        try:
            upstream, head = await self._first(head)
            if any(name.lower() == _GATEWAY_HEADER for name, _ in head.lines):
                upstream.close()
                page = answers.starting() if head.status == 503 else answers.unreachable(self._console)
                await self._answer(page)
                return
            await self._stream(upstream, head)
        except UpstreamError as error:
            log.info("session %s: %s", self._target.session_id, error)
            await self._fail()
        except StreamClosedError:
            self.close()

    async def _run_answer(self, answer: Answer) -> None:
        try:
            await self._answer(answer)
        except StreamClosedError:
            self.close()

    async def _first(self, head: AnswerHead | None) -> tuple[Upstream, AnswerHead]:
        """The connection and the answer's head; a kept connection that was stale is replaced once."""
        upstream = self._upstream
        assert upstream is not None  # noqa: S101 - says it to the type checker
        if head is not None:
            return upstream, head
        try:
            return upstream, await upstream.head()
        except UpstreamError:
            stale = upstream.reused and not upstream.buffered and not self._has_body
            if not stale or self._method not in _SAFE_TO_REPEAT:
                raise
        self._upstream = await self._pool.connect(self._target, fresh=True)
        await self._upstream.write(self._head)
        return self._upstream, await self._upstream.head()

    async def _stream(self, upstream: Upstream, head: AnswerHead) -> None:
        lines = response_lines(head.lines, cookie_path=self._cookie_path)
        await self._write_head(head.status, head.reason, lines)
        async for piece in upstream.body(head, self._method):
            await self._browser.write(cast(bytes, piece))  # a memoryview, which is not copied
        if not self._sent.is_set():
            await self._drop_rest()
        elif head.keep_alive and head.delimited(self._method) and not self._raw:
            self._upstream = None
            self._pool.give_back(upstream)
        else:
            upstream.close()
        self._browser.finish()

    async def _drop_rest(self) -> None:
        """The answer came before the request's end: read the rest away, so that the answer is seen."""
        self._drop = True
        if self._upstream is not None:
            self._upstream.close()
        await self._sent.wait()

    async def _fail(self) -> None:
        """The app broke off: say so where that is still possible, else let the browser see the break."""
        if self._head_written:
            self.cut()
            return
        try:
            await self._answer(answers.unreachable(self._console))
        except StreamClosedError:
            self.close()

    async def _answer(self, answer: Answer) -> None:
        await self._write_head(answer.status, answer.reason, answer.headers())
        if self._method != "HEAD":
            await self._browser.write(answer.body)
        await self._drop_rest()
        self._browser.finish()

    async def _write_head(self, status: int, reason: str, lines: Lines) -> None:
        headers = HTTPHeaders()
        for name, value in lines:
            headers.add(name, value)
        if "Date" not in headers:
            headers.add("Date", formatdate(usegmt=True))
        self._head_written = True
        if not reason.isascii():
            reason = ""
        await self._browser.write_headers(ResponseStartLine("HTTP/1.1", status, reason), headers)
