"""The base of the console's own handlers. The gate has let the request in: none of them checks a login."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable
from concurrent.futures import Executor
from http import HTTPStatus
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, RequestHandler

from app.accesslog import shown_path
from app.gate import Gate, Refusal
from app.gate.guards import Kind
from app.gate.visit import Visit
from backend.identity import Viewer
from backend.services import Services

log = logging.getLogger("carme.web")

P = ParamSpec("P")
T = TypeVar("T")
TEMPLATES = Path(__file__).parent / "templates"


class ConsoleHandler(RequestHandler):
    """`services`, the `visit` and, on a route that asks for a login, the `viewer`."""

    @property
    def services(self) -> Services:
        found: Services = self.settings["services"]
        return found

    @property
    def gate(self) -> Gate:
        found: Gate = self.settings["gate"]
        return found

    @property
    def visit(self) -> Visit:
        return visit_of(self.request)

    @property
    def viewer(self) -> Viewer:
        """Who is signed in. Raises HTTPError on a route that doesn't ask for it."""
        if self.visit.viewer is None:
            raise HTTPError(401)
        return self.visit.viewer

    @property
    def address(self) -> str:
        return self.visit.source.address

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something that blocks (the database, a directory) away from the event loop."""
        executor: Executor = self.settings["executor"]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(executor, lambda: function(*args, **kwargs))

    def json(self, content: Any, status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(content, separators=(",", ":"), allow_nan=False))

    def problem(self, status: int, title: str, detail: str = "", **more: Any) -> None:
        """An error as problem details (RFC 9457)."""
        self.set_status(status)
        self.set_header("Content-Type", "application/problem+json; charset=utf-8")
        content = {"type": "about:blank", "title": title, "status": status, **more}
        if detail:
            content["detail"] = detail
        self.finish(json.dumps(content, separators=(",", ":"), allow_nan=False))

    # Pages

    def get_template_path(self) -> str | None:
        return str(TEMPLATES)

    def page(self, template: str, *, status: int = 200, **names: Any) -> None:
        """Answer with a template of `app/templates`."""
        self.set_status(status)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.render(template, **names)

    def get_template_namespace(self) -> dict[str, Any]:
        return super().get_template_namespace() | {
            "console_name": self.services.settings.instance.name,
            "nonce": self.visit.nonce,
            "csrf": self.gate.entry_token(self.visit),
            "viewer": self.visit.viewer,
            "bad": "",
            "good": "",
        }

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Every error in words; a mistake of the program goes to the log, by a number the person can tell."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        words = str(error) if isinstance(error, Refusal) else ""
        if status_code >= 500:
            reference = secrets.token_hex(4)
            what = f"{self.request.method} {shown_path(self.request.path)}"
            log.error("reference %s: %s", reference, what, exc_info=error)
            words = f"Something went wrong here. The log has it under {reference}."
        self.refuse(status_code, words or _phrase(status_code))

    def refuse(self, status: int, words: str) -> None:
        if self.visit.route.kind is Kind.PAGE and self.request.method != "HEAD":
            self.page("refused.html", status=status, title=_phrase(status), words=words)
        else:
            self.problem(status, _phrase(status), words)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if isinstance(value, Refusal) or (isinstance(value, HTTPError) and value.status_code < 500):
            log.debug("%s %s: %s", self.request.method, shown_path(self.request.path), value)
        # write_error logs the rest, with its reference


class RefusedHandler(ConsoleHandler):
    """Answers what the gate refused, whatever the method."""

    def initialize(self, refusal: Refusal) -> None:
        self.refusal = refusal

    async def prepare(self) -> None:
        refusal = self.refusal
        if refusal.closes:
            self.set_header("Connection", "close")
        if refusal.location and self.visit.route.kind is Kind.PAGE:
            self.set_header("Cache-Control", "no-store")
            self.redirect(refusal.location, status=303 if self.request.method == "POST" else 302)
            return
        self.refuse(refusal.status, str(refusal))


def visit_of(request: HTTPServerRequest) -> Visit:
    """The request's visit, put there by the gate. Raises AttributeError for one that passed no gate."""
    visit: Visit = request.visit  # type: ignore[attr-defined]
    return visit


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
