"""The access log: who asked for what, without anything secret that a URL may hold."""

from __future__ import annotations

import logging
import re

from tornado.web import RequestHandler

log = logging.getLogger("carme.access")

UNPRINTABLE = re.compile(r"[^\x21-\x7e]")
# An embed's token stands in its path. Its first part is the embed's id, which is no secret.
TOKEN = re.compile(r"^(/embed/[0-9a-f]{0,16})[^/]*")


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
    """A path as the log may hold it: one line, and no token."""
    return printable(TOKEN.sub(r"\1-", path))[:300]


def printable(text: str) -> str:
    return UNPRINTABLE.sub("?", text)
