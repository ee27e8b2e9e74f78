"""Which host and path belong to which session and app, and from where a request may come."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urlsplit

SESSION_PLACE = "{session}"
_SESSION = re.compile(r"[a-z][a-z0-9]{7,62}")
_APP = re.compile(r"[a-z][a-z0-9-]{0,31}")
_PATH = re.compile(r"/s/([^/]*)/([^/]*)(/.*)?", re.DOTALL)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_DECODINGS = 3  # an app behind another server might decode once more than we do
_DEFAULT_PORTS = {"http": 80, "https": 443}


class NoSuchPlace(LookupError):
    """Host and path name no session's app (or try to trick their way to another)."""


class ForeignRequest(PermissionError):
    """Another site's page is behind this request."""


@dataclass(frozen=True)
class Place:
    """Where a request wants to go. `rest` is still encoded and "" when the closing slash is missing."""

    session_id: str
    app: str
    rest: str


@dataclass(frozen=True)
class AppsOrigin:
    """The apps origin (with `{session}` in its host name: one for each session) and the console's."""

    scheme: str
    netloc: str
    """Host and port in lower case, perhaps with the session's place; the scheme's own port left out."""
    console: str
    """The console's origin, the only one that may hand over tickets."""

    @classmethod
    def from_urls(cls, apps_url: str, console_url: str) -> AppsOrigin:
        """From `apps.url` and the console's public address."""
        scheme, netloc = _origin(apps_url)
        return cls(scheme, netloc, "://".join(_origin(console_url)))

    @property
    def per_session(self) -> bool:
        """Whether every session has a host name of its own."""
        return SESSION_PLACE in self.netloc

    @property
    def secure(self) -> bool:
        """Whether browsers come by HTTPS."""
        return self.scheme == "https"

    def of(self, session_id: str) -> str:
        """The session's origin, as a browser writes it in `Origin`."""
        return f"{self.scheme}://{self.netloc.replace(SESSION_PLACE, session_id)}"

    def knows_host(self, host: str) -> str | None:
        """The session that the host names, "" where all share one. None: not the apps origin."""
        host = _without_default_port(self.scheme, host.lower())
        if not self.per_session:
            return "" if host == self.netloc else None
        before, after = self.netloc.split(SESSION_PLACE)
        session_id = host[len(before) : len(host) - len(after)]
        if host != before + session_id + after or not _SESSION.fullmatch(session_id):
            return None
        return session_id

    def place(self, host: str, raw_path: str) -> Place:
        """What a request's Host and raw path (no query) name. Raises NoSuchPlace."""
        session_of_host = self.knows_host(host)
        match = _PATH.fullmatch(raw_path)
        if session_of_host is None or match is None:
            raise NoSuchPlace
        session_id, app, rest = match.group(1), match.group(2), match.group(3) or ""
        if not _SESSION.fullmatch(session_id) or not _APP.fullmatch(app):
            raise NoSuchPlace
        if session_of_host not in ("", session_id) or not _stays_inside(rest):
            raise NoSuchPlace
        return Place(session_id, app, rest)

    def cookie_name(self, session_id: str) -> str:
        """The grant cookie's name. `__Host-` keeps other hosts from setting it, where a browser knows it."""
        if self.per_session:
            return "__Host-carme-app" if self.secure else f"carme-app-{session_id}"
        return f"__Secure-carme-app-{session_id}" if self.secure else f"carme-app-{session_id}"

    def cookie_path(self, session_id: str) -> str:
        """Where browsers send the grant cookie: where sessions share a host, only below their own path."""
        return "/" if self.per_session else f"/s/{session_id}/"

    def check_source(
        self, session_id: str, method: str, *, websocket: bool, origin: str | None, fetch: dict[str, str]
    ) -> None:
        """Refuse what another site's page asks for. `fetch` holds the Sec-Fetch-* values by their last word.

        Sessions of one site count as "same-site" to a browser, so SameSite cookies alone don't keep one
        session's pages from calling another's. Raises ForeignRequest.
        """
        if origin is not None and origin.lower() != self.of(session_id):
            raise ForeignRequest
        if websocket:
            if origin is None:
                raise ForeignRequest
            return
        site = fetch.get("site", "same-origin")
        if site in ("same-origin", "none"):
            return
        navigation = fetch.get("mode") == "navigate" and fetch.get("dest") == "document"
        if method not in _SAFE_METHODS or not navigation:
            raise ForeignRequest

    def check_handover(self, origin: str | None) -> None:
        """Only the console's own page hands over a ticket: else one could be led into another's session.

        A console on this machine alone answers to any of its names and forwarded ports, so all pass.
        """
        if origin is None or origin.lower() == self.console:
            return
        both_local = _is_loopback(self.console) and _is_loopback(origin.lower())
        if not both_local or origin.lower() == f"{self.scheme}://{self.netloc}":
            raise ForeignRequest


def is_navigation(method: str, fetch: dict[str, str]) -> bool:
    """Whether a person went to this page, as the browser tells it."""
    return method == "GET" and fetch.get("mode") == "navigate"


def is_unsafe(method: str) -> bool:
    """Whether the method may change something."""
    return method not in _SAFE_METHODS


def _stays_inside(rest: str) -> bool:
    """No reading of the path, however often decoded, leaves the app."""
    text = rest.encode("latin-1", "replace")
    for _ in range(_DECODINGS):
        if b"\\" in text or b"//" in text or any(byte < 0x20 or byte == 0x7F for byte in text):
            return False
        # a part's ";parameter" is dropped by some servers: "..;x" is as bad as ".."
        if any(part.split(b";")[0] in (b".", b"..") for part in text.split(b"/")):
            return False
        decoded = unquote_to_bytes(text)
        if decoded == text:
            return True
        text = decoded
    return False


def _is_loopback(origin: str) -> bool:
    try:
        return urlsplit(origin).hostname in ("localhost", "127.0.0.1", "::1")
    except ValueError:
        return False


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, _without_default_port(scheme, parts.netloc.lower())


def _without_default_port(scheme: str, netloc: str) -> str:
    return netloc.removesuffix(f":{_DEFAULT_PORTS.get(scheme, 0)}")
