"""One request on its way through the gate: where it goes, who sends it, from where."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from app.gate.guards import Route
from app.gate.origins import Source
from backend.identity import PendingLogin, Viewer


@dataclass(frozen=True)
class Framing:
    """Which other sites an embed's answer is for. Without one, nobody's frame shows it and nobody's script reads it."""

    sites: tuple[str, ...] = ()
    styles: bool = False  # a chart is drawn: Bokeh writes its styles into the page


@dataclass
class Visit:
    route: Route
    source: Source
    viewer: Viewer | None = None  # signed in with every factor
    pending: PendingLogin | None = None  # gave a password, no more
    cookie: str = ""  # the cookie that says so
    browser: str = ""  # the cookie of a browser in which somebody signed in before
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(16))  # of the scripts of the answer
    failed: bool = False  # the page could not be built: the answer shows words instead
    form_action: str = ""  # another origin that a form of the answer may be sent to
    framing: Framing = Framing()  # of an embed
