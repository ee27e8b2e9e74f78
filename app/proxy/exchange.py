"""One request at the proxy's door: which session's app it wants, whether it may, and what becomes of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from http import cookies
from urllib.parse import parse_qs

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.ioloop import IOLoop
from tornado.iostream import StreamClosedError

from app.proxy import answers
from app.proxy.activity import Activity
from app.proxy.answers import Answer
from app.proxy.doors import DoorsUnusable, Gate, Standing
from app.proxy.forward import Forward
from app.proxy.headers import cookie_values, response_lines
from app.proxy.open_ways import OpenWays
from app.proxy.origin import AppsOrigin, ForeignRequest, NoSuchPlace, Place, is_navigation, is_unsafe
from app.proxy.splice import Splice
from app.proxy.upstream import AnswerHead, Pool, Upstream

log = logging.getLogger(__name__)

ENTER_PATH = "/_carme/enter"
HEALTH_PATH = "/healthz"
FORM_LIMIT_BYTES = 4096
REFUSED_LIMIT_BYTES = 16 << 20
REFUSED_TIMEOUT_S = 20.0
"""So much and so long is read of the body of a request that goes nowhere, before its answer."""
_NO_LIMIT_BYTES = 1 << 62


@dataclass(frozen=True)
class Proxy(HTTPServerConnectionDelegate):
    """What all requests share."""

    origin: AppsOrigin
    gate: Gate
    pool: Pool
    activity: Activity
    ways: OpenWays

    def start_request(self, server_conn: object, request_conn: object) -> Exchange:
        """Tornado begins to read a request."""
        assert isinstance(request_conn, HTTP1Connection)  # noqa: S101 - says it to the type checker
        return Exchange(self, request_conn)

    def on_close(self, server_conn: object) -> None:
        """A browser's connection ended; its exchange was told."""


@dataclass(frozen=True)
class Request:
    """A request's head, as far as the proxy looks at it."""

    method: str
    raw_target: str
    headers: HTTPHeaders
    fetch: dict[str, str] = field(default_factory=dict)

    @property
    def raw_path(self) -> str:
        """The path, still encoded, without the query."""
        return self.raw_target.partition("?")[0]

    @property
    def host(self) -> str:
        """The one Host; "" when there are none or several."""
        hosts = self.headers.get_list("Host")
        return hosts[0] if len(hosts) == 1 else ""

    @property
    def websocket(self) -> bool:
        """Whether the connection is to become a websocket."""
        wanted = self.headers.get("Upgrade", "").lower() == "websocket"
        words = self.headers.get("Connection", "").lower().split(",")
        return wanted and self.method == "GET" and "upgrade" in [word.strip() for word in words]


class Exchange(HTTPMessageDelegate):
    """Tornado's delegate for one request."""

    def __init__(self, proxy: Proxy, browser: HTTP1Connection) -> None:
        self._proxy = proxy
        self._browser = browser
        self._forward: Forward | None = None
        self._answer: Answer | None = None
        self._form: bytearray | None = None
        self._request: Request | None = None
        browser.set_max_body_size(_NO_LIMIT_BYTES)

    async def headers_received(self, start_line: object, headers: HTTPHeaders) -> None:
        """Decide; then the body may follow."""
        assert isinstance(start_line, RequestStartLine)  # noqa: S101 - says it to the type checker
        fetch = {key: headers.get(f"Sec-Fetch-{key}", "").lower() for key in ("Site", "Mode", "Dest")}
        request = Request(
            start_line.method,
            start_line.path,
            headers,
            {key.lower(): value for key, value in fetch.items() if value},
        )
        self._request = request
        if self._browser.stream is not None:
            self._browser.stream.set_nodelay(True)
        try:
            self._answer = await self._decide(request)
        except DoorsUnusable as error:
            log.warning("nobody can pass: %s", error)
            self._answer = answers.unusable()
        if self._forward is None:  # a stranger could go on for ever
            self._browser.set_max_body_size(REFUSED_LIMIT_BYTES)
            self._browser.set_body_timeout(REFUSED_TIMEOUT_S)

    async def data_received(self, chunk: bytes) -> None:
        """A piece of the body."""
        if self._forward is not None:
            await self._forward.data(chunk)
        elif self._form is not None and len(self._form) <= FORM_LIMIT_BYTES:
            self._form += chunk

    def finish(self) -> None:
        """The request was read to its end."""
        if self._forward is not None:
            self._forward.request_ended()
        elif self._form is not None:
            IOLoop.current().add_callback(self._enter, bytes(self._form))
        elif self._answer is not None:
            IOLoop.current().add_callback(self._send, self._answer)

    def on_connection_close(self) -> None:
        """The browser went before its request was complete."""
        if self._forward is not None:
            self._forward.close()

    async def _decide(self, request: Request) -> Answer | None:
        """The proxy's own answer, or None when the request goes to its app (or waits for its form)."""
        if request.raw_path == HEALTH_PATH:
            return answers.healthy()
        if request.raw_path == ENTER_PATH:
            return self._before_enter(request)
        origin = self._proxy.origin
        try:
            place = origin.place(request.host, request.raw_path)
        except NoSuchPlace:
            return answers.not_found()
        cookies_shown = cookie_values(request.headers.get_all(), origin.cookie_name(place.session_id))
        found = await self._proxy.gate.standing(cookies_shown, place.session_id)
        if found is None:
            return answers.not_found()
        cookie, standing = found
        try:
            origin.check_source(
                place.session_id,
                request.method,
                websocket=request.websocket,
                origin=request.headers.get("Origin"),
                fetch=request.fetch,
            )
        except ForeignRequest:
            return answers.refused()
        return await self._pass_on(request, place, cookie, standing)

    def _instead_of_app(self, request: Request, place: Place, standing: Standing) -> Answer | None:
        """What the owner of a grant gets when the app itself is not to be had."""
        origin = self._proxy.origin
        if standing.state == "signed-out":
            return answers.signed_out(origin.console, self._grant_cookie(place.session_id, "", gone=True))
        if standing.state == "over":
            return answers.over(origin.console)
        if standing.port and place.app not in standing.apps:
            return answers.not_found()
        if not place.rest:
            query = request.raw_target.partition("?")[2]
            location = f"/s/{place.session_id}/{place.app}/" + (f"?{query}" if query else "")
            return Answer(303, lines=[("Location", location)])
        return None

    async def _pass_on(self, request: Request, place: Place, cookie: str, standing: Standing) -> Answer | None:
        origin = self._proxy.origin
        target = standing.target(place.app)
        refusal = self._instead_of_app(request, place, standing)
        if refusal is not None or target is None:
            return refusal or answers.starting()
        if is_navigation(request.method, request.fetch) or is_unsafe(request.method):
            self._proxy.activity.note(standing.login_id)
        forward = Forward(
            self._browser,
            self._proxy.pool,
            target,
            secret=standing.secret,
            cookie_path=origin.cookie_path(place.session_id),
            console=origin.console,
            ended=self._proxy.ways.remove,
        )
        self._proxy.ways.add(forward, cookie, standing)
        self._forward = forward
        if not request.websocket:
            await forward.start(request.method, request.raw_target, request.headers)
            return None
        accepted = await forward.handshake(request.raw_target, request.headers)
        if accepted is not None:
            self._forward = None
            self._proxy.ways.remove(forward)
            await self._splice(place, cookie, standing, *accepted)
        return None

    async def _splice(
        self, place: Place, cookie: str, standing: Standing, upstream: Upstream, head: AnswerHead
    ) -> None:
        stream = self._browser.detach()
        own_path = self._proxy.origin.cookie_path(place.session_id)
        try:
            await stream.write(handshake_answer(head, own_path))
        except StreamClosedError:
            upstream.close()
            return
        splice = Splice(stream, upstream, place.app, lambda: self._proxy.activity.note(standing.login_id))
        self._proxy.ways.add(splice, cookie, standing)
        IOLoop.current().add_callback(self._run_splice, splice)

    async def _run_splice(self, splice: Splice) -> None:
        try:
            await splice.run()
        finally:
            self._proxy.ways.remove(splice)

    def _before_enter(self, request: Request) -> Answer | None:
        if request.method != "POST":
            return answers.not_found()
        if self._proxy.origin.knows_host(request.host) is None:
            return answers.not_found()
        try:
            self._proxy.origin.check_handover(request.headers.get("Origin"))
        except ForeignRequest:
            return answers.refused()
        self._form = bytearray()
        return None

    async def _enter(self, body: bytes) -> None:
        request, origin = self._request, self._proxy.origin
        assert request is not None  # noqa: S101 - says it to the type checker
        if len(body) > FORM_LIMIT_BYTES:
            await self._send(answers.too_large())
            return
        form = _fields(body)
        ticket = form.get("ticket", "")
        session_id = origin.knows_host(request.host) or form.get("session", "")
        try:
            entered = await self._proxy.gate.redeem(ticket, session_id) if ticket and session_id else None
        except DoorsUnusable as error:
            log.warning("nobody can pass: %s", error)
            await self._send(answers.unusable())
            return
        if entered is None:
            await self._send(answers.not_found())
            return
        location = f"/s/{session_id}/{entered.app}/"
        await self._send(answers.enter(location, self._grant_cookie(session_id, entered.cookie)))

    def _grant_cookie(self, session_id: str, value: str, *, gone: bool = False) -> str:
        origin = self._proxy.origin
        jar: cookies.SimpleCookie = cookies.SimpleCookie()
        name = origin.cookie_name(session_id)
        jar[name] = value
        jar[name]["path"] = origin.cookie_path(session_id)
        jar[name]["httponly"] = True
        jar[name]["samesite"] = "Lax"
        if origin.secure:
            jar[name]["secure"] = True
        if gone:
            jar[name]["max-age"] = 0
        return jar[name].OutputString()

    async def _send(self, answer: Answer) -> None:
        assert self._request is not None  # noqa: S101 - says it to the type checker
        headers = HTTPHeaders()
        for name, value in answer.headers():
            headers.add(name, value)
        try:
            await self._browser.write_headers(
                ResponseStartLine("HTTP/1.1", answer.status, answer.reason),
                headers,
                answer.body if self._request.method != "HEAD" else None,
            )
            self._browser.finish()
        except StreamClosedError:
            log.debug("the browser left before its answer")


def _fields(body: bytes) -> dict[str, str]:
    """A form's fields; none when it is no form that the console sends."""
    try:
        found = parse_qs(body.decode("ascii"), max_num_fields=8)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items()}


def handshake_answer(head: AnswerHead, cookie_path: str) -> bytes:
    """The 101 as the browser gets it: the app's own headers, cookies confined."""
    lines = response_lines(head.lines, cookie_path=cookie_path)
    lines += [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    text = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return f"HTTP/1.1 101 Switching Protocols\r\n{text}\r\n".encode("latin-1")
