"""No other site, and no app of a session, may act with a person's cookies.

Two checks, both on the server: where the request comes from (Origin, Sec-Fetch-Site), and a token that
another origin can't know: for a login an HMAC of it, for the forms before sign-in a signed one that lives for
an hour.
"""

from __future__ import annotations

import secrets
import time

from tornado.httputil import HTTPHeaders

from app.gate.origins import Origins, Source
from backend.store import SecretBox

FIELD = "csrf"
HEADER = "X-CSRF-Token"
FORM_LIFE_S = 3600
PURPOSE = "entry form"


def foreign(headers: HTTPHeaders, source: Source, origins: Origins) -> str:
    """Why a state-changing request is not the console's own doing; empty when it is."""
    site = headers.get("Sec-Fetch-Site", "")
    if site and site != "same-origin":
        return "It was sent by another site."
    origin = headers.get("Origin", "")
    if not origin:
        return "" if site else "It does not say which site sent it."
    return "" if origins.same(source, origin) else "It was sent by another site."


def reads_across(headers: HTTPHeaders) -> bool:
    """Whether another origin reads: anything but the person following a link to a page.

    Browsers that don't say (an old one, plain HTTP off this machine) are held by CORS and
    Cross-Origin-Resource-Policy.
    """
    if headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none"):
        return False
    return headers.get("Sec-Fetch-Mode") != "navigate" or headers.get("Sec-Fetch-Dest") != "document"


class EntryForms:
    """Tokens of the forms that nobody is signed in for yet."""

    def __init__(self, box: SecretBox) -> None:
        self._box = box

    def issue(self, subject: str = "") -> str:
        """A token for one hour, bound to `subject` (the half login's cookie, or nothing)."""
        head = f"{int(time.time()) + FORM_LIFE_S}.{secrets.token_urlsafe(9)}"
        return f"{head}.{self._sign(head, subject)}"

    def good(self, token: str, subject: str = "") -> bool:
        head, _, signature = token.rpartition(".")
        if not secrets.compare_digest(signature.encode(), self._sign(head, subject).encode()):
            return False
        return int(head.partition(".")[0]) >= time.time()

    def _sign(self, head: str, subject: str) -> str:
        return self._box.hmac(PURPOSE, f"{head}.{subject}")
