"""The one module that touches what Bokeh, Panel and Tornado don't promise to keep.

Pinned: Panel 1.9.4, Bokeh 3.9.2, Tornado 6.6; the same tests pass on Panel 1.10.0 with Bokeh 3.10.2 (`make
test-next`). What is used here and is not their public interface, each held by tests/unit/test_gate_private.py:

- `BokehTornado._clients` (open sockets) and `ServerConnection._socket`, to close a login's sockets;
- `tornado.web.Application.wildcard_router`, to know which rule answers before any handler exists;
- `panel.io.server.WSHandler` with its `_handle` and `_protocol_error`, to look at a message before Bokeh reads it;
- the patterns of Bokeh's doors of a page, as Panel's patches leave them;
- the request behind a document's session context, to know whom a page is built for;
- `ApplicationContext._can_initialize_document_in_worker` of Bokeh 3.10, to have pages built on the event loop;
- `panel.io.server.ComponentResourceHandler.parse_url_path`.
"""

from __future__ import annotations

import logging
import secrets
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any

import panel as pn
from bokeh.document import Document
from bokeh.protocol.message import Message
from bokeh.server.auth_provider import AuthProvider
from bokeh.server.tornado import BokehTornado
from bokeh.server.views.ws import WSHandler
from panel.io.application import Application
from panel.io.handlers import FunctionHandler
from panel.io.server import ComponentResourceHandler
from panel.io.server import WSHandler as PanelSocket
from panel.io.state import set_curdoc
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.ioloop import IOLoop
from tornado.routing import PathMatches, Rule
from tornado.web import HTTPError, RequestHandler

from app.gate import Gate, NotFound, Refusal
from app.gate.bodies import DRAINED_BYTES, MAX_BODY_BYTES, NO_LIMIT_BYTES, TooLong, declared_bytes
from app.gate.guards import Guard, Kind, Route
from app.gate.messages import why_not
from app.gate.tokens import KEY, PageToken
from app.gate.visit import Visit
from app.handler import RefusedHandler, visit_of
from backend.identity import Viewer

log = logging.getLogger("carme.web")

COMPONENT_MODULES = ("panel", "panel_material_ui", "pages")
OWN_DOORS = ("/ws", "/metadata", "/autoload.js", "/?")
CLOSED = Route("", Guard.CLOSED)
REFUSED_CLOSE = 1008  # of a websocket: against the policy


class GateAuth(AuthProvider):
    """What Bokeh asks at each of its doors: the answer is the gate's, which has already been there."""

    @property
    def get_user_async(self) -> Callable[[RequestHandler], Awaitable[Viewer | None]]:  # type: ignore[override]
        async def user(handler: RequestHandler) -> Viewer | None:
            visit = visit_of(handler.request)
            if not visit.route.page:
                raise HTTPError(403)
            return visit.viewer

        return user

    @property
    def login_url(self) -> str:
        return "/login"


class ConsoleApplication(Application):
    """One page. Its token says for whom and for which page it was made, and holds no cookie."""

    def process_request(self, request: HTTPServerRequest) -> dict[str, Any]:
        data: dict[str, Any] = super().process_request(request)
        visit = visit_of(request)
        if visit.viewer is None or not visit.route.page:
            raise HTTPError(403)
        data[KEY] = PageToken(visit.viewer.name, visit.viewer.login_id, visit.route.page).payload()
        return data

    async def process_request_async(self, request: HTTPServerRequest) -> dict[str, Any]:
        """The same, for Panel 1.10, which asks here first."""
        return self.process_request(request)


def application(title: str, build: Callable[[Viewer], Any], documents: Counter[str]) -> ConsoleApplication:
    """A page from the function that builds what it shows, called once for each document.

    `documents` counts those in memory, by person.
    """

    def fill(document: Document) -> None:
        request = document.session_context.request  # type: ignore[union-attr]
        viewer = visit_of(request).viewer
        if viewer is None:
            raise HTTPError(403)
        documents[viewer.name] += 1
        document.on_session_destroyed(partial(_leave, documents, viewer.name))
        with set_curdoc(document):
            try:
                shown = pn.panel(build(viewer))
            except Exception:
                reference = secrets.token_hex(4)
                log.exception("reference %s: building %s for %s", reference, title, viewer.name)
                visit_of(request).failed = True
                shown = pn.pane.Str(f"Something went wrong here. The log has it under {reference}.")
            shown.server_doc(document, title=title, location=True)  # type: ignore[attr-defined]

    return ConsoleApplication(FunctionHandler(fill))


def _never() -> bool:
    return False


def _leave(documents: Counter[str], name: str, _context: object) -> None:
    documents[name] -= 1
    if documents[name] <= 0:
        del documents[name]


class ConsoleTornado(BokehTornado):
    """Bokeh's web application, with the gate in front of every handler, its own or ours.

    It finds the rule itself and hands that very rule to the handler, so that the gate and the router can't
    understand a path differently.
    """

    def __init__(self, applications: Mapping[str, Any], gate: Gate, routes: list[Route], **options: Any) -> None:
        self.gate = gate
        self._by_pattern = {route.regex.pattern: route for route in routes}
        super().__init__(applications, gate=gate, **options)
        for context in self.applications.values():
            # Bokeh 3.10 would build each page in a thread of its own; pages, the counts of documents and the live
            # data belong to the event loop. Earlier releases don't ask.
            context._can_initialize_document_in_worker = _never  # type: ignore[attr-defined]

    def rules(self) -> list[Rule]:
        return list(self.wildcard_router.rules)

    def find_handler(  # type: ignore[override]
        self, request: HTTPServerRequest, **kwargs: Any
    ) -> HTTPMessageDelegate:
        peer = getattr(request.connection.context, "address", None)  # type: ignore[union-attr]
        address = peer[0] if isinstance(peer, tuple) else "127.0.0.1"
        source = self.gate.origins.source(request.headers, address, request.protocol)
        request.remote_ip, request.protocol, request.host = source.address, source.scheme, source.host
        for rule in self.rules():
            match = rule.matcher.match(request)
            if match is None or not isinstance(rule.matcher, PathMatches):
                continue
            route = self._by_pattern.get(rule.matcher.regex.pattern, CLOSED)
            visit = Visit(route, source)
            match["target_kwargs"] = rule.target_kwargs
            target = PageSocket if rule.target is PanelSocket else rule.target
            return _Guarded(self, request, visit, target, match)
        return _Guarded(self, request, Visit(CLOSED, source), None, {})


class PageSocket(PanelSocket):  # type: ignore[misc]  # Panel has no types
    """A page's socket. What a browser may not say closes it, before Bokeh makes anything of it."""

    async def on_message(self, fragment: str | bytes) -> None:
        if isinstance(fragment, bytes):
            self._protocol_error("buffers are not for browsers")
            return
        await super().on_message(fragment)

    async def _handle(self, message: Message[Any]) -> Any | None:
        if why := why_not(message.msgtype, message.content):
            self._protocol_error(why)
            return None
        return await super()._handle(message)

    def _protocol_error(self, message: str) -> None:
        viewer = visit_of(self.request).viewer
        log.warning("closed a page's socket of %s: %s", viewer.name if viewer else "nobody", message[:200])
        self.close(REFUSED_CLOSE, message[:100])


class _Guarded(HTTPMessageDelegate):
    """Asks the gate when the headers are there, and for the request's token when the body is. What is sent to who was
    refused is thrown away as it comes."""

    def __init__(
        self,
        console: ConsoleTornado,
        request: HTTPServerRequest,
        visit: Visit,
        target: Any,
        match: dict[str, Any],
    ) -> None:
        self._console = console
        self._request = request
        self._visit = visit
        self._target = target
        self._match = match
        self._body = bytearray()
        self._received_bytes = 0
        self._answered = False
        self._inner: HTTPMessageDelegate | None = None
        self._streams = bool(getattr(target, "_stream_request_body", False))
        request.visit = visit  # type: ignore[attr-defined]

    async def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        self._request.connection.set_max_body_size(NO_LIMIT_BYTES)  # type: ignore[union-attr]  # it is measured here
        declared = declared_bytes(headers)
        try:
            if declared > MAX_BODY_BYTES:
                raise TooLong(closes=declared > DRAINED_BYTES)
            await self._console.gate.admit(self._request, self._visit)
            if self._streams:
                self._console.gate.check_token(self._request, self._visit, b"")
        except Refusal as refusal:
            self._refuse(refusal)
        else:
            self._inner = self._console.get_handler_delegate(self._request, self._target, **self._match)
        ready = self._inner.headers_received(start_line, headers) if self._inner else None
        if ready is not None:
            await ready
        if declared > DRAINED_BYTES:
            self._answer()

    def _refuse(self, refusal: Refusal) -> None:
        self._streams = False
        self._target = None
        self._body.clear()
        self._inner = self._console.get_handler_delegate(self._request, RefusedHandler, {"refusal": refusal})

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._received_bytes += len(chunk)
        if self._received_bytes > DRAINED_BYTES and not self._answered:
            self._refuse(TooLong(closes=True))
            self._answer()
        elif self._received_bytes > MAX_BODY_BYTES and self._target is not None:
            self._refuse(TooLong())
        if self._target is None or self._inner is None:
            return None
        if not self._streams:
            self._body += chunk
        return self._inner.data_received(chunk)

    def finish(self) -> None:
        if not self._answered:
            self._answer()

    def _answer(self) -> None:
        """Have the handler answer; a connection whose request was not read to its end is closed after that."""
        self._answered = True
        if self._target is not None and not self._streams:
            try:
                self._console.gate.check_token(self._request, self._visit, bytes(self._body))
            except Refusal as refusal:
                self._refuse(refusal)
        if self._inner is None:
            self._refuse(NotFound())
        assert self._inner is not None  # noqa: S101 - _refuse has just set it
        self._inner.finish()

    def on_connection_close(self) -> None:
        if self._inner is not None:
            self._inner.on_connection_close()


def page_routes(path: str, action: str) -> list[Route]:
    """Bokeh's doors of one page: the page and its socket for whom it is for, the others shut.

    Nothing here uses `autoload.js` (for embedding in other sites) and `metadata`.
    """
    base = "" if path == "/" else path
    static = "/static/(?!extensions/)(.*)" if path == "/" else f"{base}/static/(.*)"
    return [
        Route(f"{base}/ws", Guard.ACTION, kind=Kind.SOCKET, action=action, page=path),
        Route(f"{base}/metadata", Guard.CLOSED, kind=Kind.API),
        Route(f"{base}/autoload.js", Guard.CLOSED, kind=Kind.API),
        Route(f"{base}/?", Guard.ACTION, action=action, page=path),
        Route(static, Guard.OPEN, kind=Kind.ASSET),
    ]


# Bokeh's files for all pages, and the index of all applications, which an own page replaces.
SHARED_ROUTES = [
    Route("/favicon.ico", Guard.OPEN, kind=Kind.ASSET),
    Route("/static/extensions/(.*)", Guard.OPEN, kind=Kind.ASSET),
    Route("/static/(.*)", Guard.OPEN, kind=Kind.ASSET),
]


class OwnComponents(ComponentResourceHandler):
    """Files that a component brings, of loaded modules of ours; Panel's own handler imports any module."""

    def parse_url_path(self, url_path: str) -> str:
        module = url_path.partition("/")[0]
        if module.partition(".")[0] not in COMPONENT_MODULES or module not in sys.modules:
            raise HTTPError(404)
        found: str = super().parse_url_path(url_path)
        return found


def open_sockets(console: BokehTornado) -> Iterator[tuple[str, str, WSHandler]]:
    """Each open page socket with its person and its login."""
    for connection in list(console._clients):
        socket = connection._socket
        viewer = visit_of(socket.request).viewer
        if viewer is not None:
            yield viewer.name, viewer.login_id, socket


def count_documents(console: BokehTornado) -> int:
    return sum(len(list(context.sessions)) for context in console.applications.values())


def current_loop() -> IOLoop:
    return IOLoop.current()
