"""The access log: who asked for what, without anything secret that a URL may hold."""

from __future__ import annotations

import logging
import re

from tornado.web import RequestHandler

log = logging.getLogger("carme.access")

UNPRINTABLE = re.compile(r"[^\x21-\x7e]")


def log_request(handler: RequestHandler) -> None:
    """One line a request: never the query, never a byte that could start a line of its own."""
    request = handler.request
    visit = getattr(request, "visit", None)
    who = visit.viewer.name if visit is not None and visit.viewer is not None else "-"
    status = handler.get_status()
    level = logging.ERROR if status == 500 else logging.INFO
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
    return printable(path)[:300]


def printable(text: str) -> str:
    return UNPRINTABLE.sub("?", text)
