"""The proxy's own answers: few, small, and the same for "not yours" and "does not exist"."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

from app.proxy.headers import Lines

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:32rem;padding:0 1rem}"
    ":root{color-scheme:light dark}h1{font-size:1.4rem}a{color:inherit}"
)
_REASONS = {
    200: "OK",
    303: "See Other",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    410: "Gone",
    413: "Content Too Large",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


@dataclass(frozen=True)
class Answer:
    """A whole answer. `lines` are further headers."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    lines: Lines = field(default_factory=list)

    @property
    def reason(self) -> str:
        """The status line's words."""
        return _REASONS[self.status]

    def headers(self) -> Lines:
        """All headers of the answer."""
        return [
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
            (
                "Content-Security-Policy",
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
            ),
            *self.lines,
        ]


def not_found() -> Answer:
    """Whatever is not the asking browser's: one answer, so that nothing can be learnt from it."""
    return Answer(404, b"404 Not Found\n")


def refused() -> Answer:
    """Another site's page asked."""
    return Answer(403, b"403 This was asked by another site's page.\n")


def too_large() -> Answer:
    """A hand-over form of a size that no ticket has."""
    return Answer(413, b"413 Content Too Large\n")


def healthy() -> Answer:
    """For a load balancer."""
    return Answer(200, b"ok\n")


def enter(location: str, cookie: str) -> Answer:
    """The ticket was good: here is the cookie, go to the app."""
    return Answer(303, lines=[("Location", location), ("Set-Cookie", cookie)])


def signed_out(console: str, cookie: str) -> Answer:
    """The browser's own grant, whose login has ended."""
    return _page(
        401,
        "You are signed out",
        f'Your work goes on. <a href="{escape(console)}/">Sign in again</a> and open it from there.',
        [("Set-Cookie", cookie)],
    )


def over(console: str) -> Answer:
    """The browser's own grant, whose session has ended."""
    return _page(
        410,
        "This session has ended",
        f'Its apps are gone with it. <a href="{escape(console)}/sessions">Your sessions</a> say why.',
    )


def starting() -> Answer:
    """The gateway or the app is not there yet."""
    again = [("Retry-After", "2"), ("Refresh", "2")]
    return _page(503, "It is starting", "This page tries again by itself.", again)


def unusable() -> Answer:
    """The console's database can't be asked."""
    again = [("Retry-After", "5"), ("Refresh", "5")]
    return _page(503, "The console is not well", "Its database does not answer; this page tries again.", again)


def unreachable(console: str) -> Answer:
    """The gateway can't be reached, or the app has failed."""
    return _page(
        502,
        "The app does not answer",
        "It may have stopped, or its node can't be reached. "
        f'<a href="{escape(console)}/sessions">Your sessions</a> say more.',
    )


def _page(status: int, title: str, html: str, lines: Lines | None = None) -> Answer:
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1><p>{html}</p></html>\n"
    )
    return Answer(status, text.encode(), "text/html; charset=utf-8", lines or [])
