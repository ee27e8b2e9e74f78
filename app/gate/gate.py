"""The one gate: every request passes it before any handler exists, whoever wrote the handler.

A path that is not in the route table, or is closed there, is not found. What a route asks for (`Guard`) is
checked here and nowhere else: the login and its second factor, the role, for a websocket the Bokeh token, for
a state-changing request its source and its token. Handlers find the outcome in `request.visit`.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import TypeVar
from urllib.parse import parse_qs, quote

from tornado.httputil import HTTPServerRequest

from app.gate import cookies as names
from app.gate import csrf
from app.gate.cookies import Cookies
from app.gate.guards import SAFE, Guard, Kind
from app.gate.origins import Origins
from app.gate.tokens import PageToken, read_token
from app.gate.visit import Visit
from backend.identity import Identity, PendingLogin, Viewer, policy
from backend.store import SecretBox

log = logging.getLogger("carme.gate")

T = TypeVar("T")
# `bokeh-session-id` and `bokeh-token` choose a session; Panel writes `bokeh-absolute-url` into the page raw.
BOKEH_ARGUMENT = "bokeh-"
MOST_DOCUMENTS = 200  # of one person, at 0.3 to 1.5 MB each
FIXED_SESSION_HEADER = "Bokeh-Session-Id"
SUBPROTOCOL = "Sec-WebSocket-Protocol"
CONTROL = re.compile(r"[\x00-\x20\x7f\\]|%[01][0-9a-f]|%7f|%5c", re.IGNORECASE)  # in no path of ours
FORM = "application/x-www-form-urlencoded"


class Refusal(Exception):
    """Why a request goes no further. `location`: where a page sends the person instead. `closes`: the connection is
    closed after the answer."""

    def __init__(self, status: int, words: str, location: str = "", *, closes: bool = False) -> None:
        super().__init__(words)
        self.status = status
        self.location = location
        self.closes = closes


class NotFound(Refusal):
    def __init__(self) -> None:
        super().__init__(404, "There is nothing here.")


class NotSignedIn(Refusal):
    def __init__(self, location: str = "/login") -> None:
        super().__init__(401, "Sign in first.", location)


class Gate:
    def __init__(
        self,
        *,
        identity: Identity,
        box: SecretBox,
        origins: Origins,
        cookies: Cookies,
        token_secret: bytes,
        metrics_token: str,
        executor: Executor,
        documents: Mapping[str, int],
    ) -> None:
        self.origins = origins
        self.cookies = cookies
        self.forms = csrf.EntryForms(box)
        self._identity = identity
        self._token_secret = token_secret
        self._metrics_token = metrics_token
        self._executor = executor
        self._documents = documents  # in memory, by person

    async def admit(self, request: HTTPServerRequest, visit: Visit) -> None:
        """Fill in who it is and let the request pass, or raise Refusal."""
        route = visit.route
        if route.guard is Guard.CLOSED or CONTROL.search(request.path):
            raise NotFound
        self._check_host(request, visit)
        if request.method not in route.methods:
            raise Refusal(405, "This address does not take that kind of request.")
        if route.guard is Guard.AGENT:
            return
        if route.guard is Guard.METRICS:
            self._check_metrics(request, visit)
            return
        if route.guard in (Guard.OPEN, Guard.EMBED):
            return
        self._check_source(request, visit)
        await self._know(request, visit)
        self._check_login(request, visit)
        if route.page:
            self._check_bokeh(request, visit)

    # Where it comes from

    def _check_host(self, request: HTTPServerRequest, visit: Visit) -> None:
        if visit.route.guard in (Guard.AGENT, Guard.METRICS) or self.origins.known(visit.source):
            return
        if visit.route.guard is Guard.OPEN and visit.route.kind is Kind.API:
            return  # health checks come by address
        words = (
            f"This console answers at {self.origins.public}. Behind a proxy, web.trusted_proxies must name it"
            " and the proxy must pass on Host, X-Forwarded-For and X-Forwarded-Proto."
        )
        if visit.route.kind is Kind.PAGE and request.method == "GET" and not visit.source.proxied:
            raise Refusal(421, words, self.origins.public + (request.uri or "/"))
        raise Refusal(421, words)

    def _check_source(self, request: HTTPServerRequest, visit: Visit) -> None:
        """Reads of other origins and websockets of other pages are refused; posts wait for their token."""
        if visit.route.kind is Kind.SOCKET:
            if not self.origins.same(visit.source, request.headers.get("Origin", "")):
                raise Refusal(403, "A websocket needs the console's own Origin.")
        elif request.method in SAFE:
            if csrf.reads_across(request.headers):
                raise Refusal(403, "Another site may not read this.")
        elif why := csrf.foreign(request.headers, visit.source, self.origins):
            raise Refusal(403, why)

    def _check_metrics(self, request: HTTPServerRequest, visit: Visit) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if self._metrics_token and hmac.compare_digest(given.encode(), self._metrics_token.encode()):
            return
        if not visit.source.loopback:
            raise NotFound

    # Who it is

    async def _know(self, request: HTTPServerRequest, visit: Visit) -> None:
        values = self.cookies.values(request.headers, names.LOGIN)
        found: list[tuple[str, Viewer]] = []
        for value in values:
            viewer = await self._look(self._identity.viewer, value)
            if viewer is not None:
                found.append((value, viewer))
        if len(found) == 1:  # with two of them one was planted: then neither counts
            visit.cookie, visit.viewer = found[0]
        if visit.viewer is None and visit.route.guard in (Guard.HALF, Guard.ENTRY):
            await self._know_half(request, visit)
        browsers = self.cookies.values(request.headers, names.BROWSER)
        visit.browser = browsers[0] if len(browsers) == 1 else ""

    async def _know_half(self, request: HTTPServerRequest, visit: Visit) -> None:
        found: list[tuple[str, PendingLogin]] = []
        for value in self.cookies.values(request.headers, names.HALF):
            pending = await self._look(self._identity.pending, value)
            if pending is not None:
                found.append((value, pending))
        if len(found) == 1:
            visit.cookie, visit.pending = found[0]

    async def _look(self, ask: Callable[[str], T], value: str) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, ask, value)

    def _check_login(self, request: HTTPServerRequest, visit: Visit) -> None:
        route = visit.route
        if route.guard is Guard.ENTRY:
            return
        if route.guard is Guard.HALF:
            if visit.viewer is None and visit.pending is None:
                raise NotSignedIn
            return
        if visit.viewer is None:
            if route.kind is Kind.PAGE and request.method == "GET":
                raise NotSignedIn(f"/login?next={quote(request.uri or '/', safe='')}")
            raise NotSignedIn
        if route.guard is Guard.ACTION and not policy.allowed(visit.viewer, route.action):
            raise Refusal(403, "This page is not for your role.")

    # Bokeh's own doors

    def _check_bokeh(self, request: HTTPServerRequest, visit: Visit) -> None:
        """The browser chooses no Bokeh session; a socket opens only what its login was given for the page."""
        chosen = any(name.lower().startswith(BOKEH_ARGUMENT) for name in request.arguments)
        if chosen or FIXED_SESSION_HEADER in request.headers:
            raise Refusal(403, "A page's session can't be chosen.")
        socket = visit.route.kind is Kind.SOCKET
        mine = self._documents.get(visit.viewer.name, 0) if visit.viewer is not None else 0
        # A socket has its document already, unless that is gone: then it makes another.
        if mine >= MOST_DOCUMENTS + socket:
            raise Refusal(429, "You have very many pages open here. Close some, or wait two minutes.")
        if not socket:
            return
        parts = [part.strip() for part in request.headers.get(SUBPROTOCOL, "").split(",")]
        if len(parts) != 2 or parts[0] != "bokeh":
            raise Refusal(403, "A page's socket needs the page's token.")
        token = read_token(parts[1], self._token_secret)
        viewer = visit.viewer
        if viewer is None or token != PageToken(viewer.name, viewer.login_id, visit.route.page):
            raise Refusal(403, "The token was given to another login, or for another page.")

    # State-changing requests, once the body is there

    def check_token(self, request: HTTPServerRequest, visit: Visit, body: bytes) -> None:
        """Raises Refusal when a state-changing request lacks the token of its login or form."""
        guard = visit.route.guard
        if request.method in SAFE or guard in (Guard.AGENT, Guard.OPEN, Guard.METRICS, Guard.EMBED):
            return
        token = request.headers.get(csrf.HEADER, "") or form_field(request, body, csrf.FIELD)
        if visit.viewer is not None:
            good = self._identity.check_csrf(visit.viewer.login_id, token)
        else:
            good = visit.pending is not None and self.forms.good(token, visit.cookie)
        if guard is Guard.ENTRY:  # the form may have been loaded before another tab signed in
            good = good or self.forms.good(token)
        if not good:
            raise Refusal(403, "The page was out of date. Load it again and repeat what you did.")

    def entry_token(self, visit: Visit) -> str:
        """The token for the forms of the page that answers this visit."""
        if visit.viewer is not None:
            return self._identity.csrf_token(visit.viewer.login_id)
        return self.forms.issue(visit.cookie if visit.pending else "")


def form_field(request: HTTPServerRequest, body: bytes, name: str) -> str:
    """One field of a URL-encoded form; empty when there is none, or more than one."""
    if not request.headers.get("Content-Type", "").startswith(FORM):
        return ""
    try:
        values: list[str] = parse_qs(body.decode("ascii"), max_num_fields=200).get(name, [])
    except (UnicodeDecodeError, ValueError):
        return ""
    return values[0] if len(values) == 1 else ""
