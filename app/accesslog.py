"""The access log: who asked for what, without anything secret that a URL may hold."""

from __future__ import annotations

import logging
import re

from tornado.web import RequestHandler

log = logging.getLogger("carme.access")

SECRET_PATH = re.compile(r"^(/setup/)[^/?]+")
UNPRINTABLE = re.compile(r"[^\x21-\x7e]")


def log_request(handler: RequestHandler) -> None:
    """One line a request: never the query, never the secret of a set-up link, never a byte that starts a line."""
    request = handler.request
    visit = getattr(request, "visit", None)
    who = visit.viewer.name if visit is not None and visit.viewer is not None else "-"
    status = handler.get_status()
    level = logging.INFO if status < 500 else logging.ERROR
    log.log(
        level,
        "%s %s %s %s %d %.1fms",
        request.remote_ip,
        printable(who),
        request.method,
        shown_path(request.path),
        status,
        1000 * request.request_time(),
    )


def shown_path(path: str) -> str:
    return printable(SECRET_PATH.sub(r"\1…", path))[:300]


def printable(text: str) -> str:
    return UNPRINTABLE.sub(lambda match: "…" if match[0] == "…" else "?", text)
