"""How long a request's body may be. A longer one is refused in words, and for the words to arrive it has to be read:
who still sends when the connection is closed sees the connection lost and no answer."""

from __future__ import annotations

from tornado.httputil import HTTPHeaders

from app.gate.gate import Refusal

MAX_BODY_BYTES = 1 << 20  # forms and JSON; files go through the sessions' apps
DRAINED_BYTES = 16 << 20  # of one that is too long are read and thrown away; then the connection is closed
NO_LIMIT_BYTES = 1 << 62  # of Tornado's, which would answer 400 and nothing else


class TooLong(Refusal):
    def __init__(self, *, closes: bool = False) -> None:
        super().__init__(413, f"More than {MAX_BODY_BYTES >> 20} MiB is not taken at once.", closes=closes)


def declared_bytes(headers: HTTPHeaders) -> int:
    """The length that a request's head tells; 0 where it tells none, or nonsense, which Tornado refuses."""
    text = headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
