"""What every answer says to the browser, whoever wrote it."""

from __future__ import annotations

import re

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import GZipContentEncoding, OutputTransform

from app.gate.guards import Guard, Kind
from app.gate.visit import Visit

HSTS = "max-age=31536000"
SCRIPT = re.compile(rb"<script(?=[\s>])")
WATCH = b'<script type="module" src="/assets/login-watch.js"></script></head>'


def policy(visit: Visit) -> str:
    """The Content-Security-Policy of one answer: own scripts only, no eval, no frame around it.

    Panel's importmap and start script are inline and carry the nonce; its components are blob: modules.
    """
    host = visit.source.host
    sockets = f"ws://{host} wss://{host}" if host else ""
    parts = {
        "default-src": "'none'",
        "script-src": f"'self' 'nonce-{visit.nonce}' blob:",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": f"'self' blob: {sockets}".strip(),
        "worker-src": "'self' blob:",
        "manifest-src": "'self'",
        "form-action": f"'self' {visit.form_action}".strip(),
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items())


def embed_policy(visit: Visit) -> str:
    """The same of an embed: its own files, no inline script, and a frame around it on the sites it was made for.

    Bokeh writes style elements into the page it draws in; a table needs none.
    """
    parts = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self' 'unsafe-inline'" if visit.framing.styles else "'self'",
        "img-src": "'self' data:" if visit.framing.styles else "'self'",
        "font-src": "'self'",
        "connect-src": "'self'",
        "form-action": "'none'",
        "base-uri": "'none'",
        "frame-ancestors": " ".join(visit.framing.sites) or "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items())


class SecurityHeaders(OutputTransform):
    """Adds the headers, and to Bokeh's own page the nonce of its scripts and the watch on the login.

    The page Bokeh writes is a fixed frame: what people and Slurm have named comes later, over the socket.
    None of theirs can be among the scripts that get the nonce (tests/unit/test_gate_headers.py holds that).
    """

    def __init__(self, request: HTTPServerRequest) -> None:
        super().__init__(request)
        self._visit: Visit | None = getattr(request, "visit", None)
        self._origin = request.headers.get("Origin", "")

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        for name in [name for name in headers if name.lower().startswith("access-control-")]:
            del headers[name]
        headers.pop("Server", None)
        headers["X-Content-Type-Options"] = "nosniff"
        # Not no-referrer: with that a browser sends `Origin: null` with our own forms. Others learn nothing.
        headers["Referrer-Policy"] = headers.get("Referrer-Policy") or "same-origin"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
        headers["X-Frame-Options"] = "DENY"
        visit = self._visit
        if visit is None:
            headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
            return status_code, headers, chunk
        if visit.source.secure:
            headers["Strict-Transport-Security"] = HSTS
        headers["Content-Security-Policy"] = policy(visit)
        if visit.route.kind is not Kind.ASSET and "Cache-Control" not in headers:
            headers["Cache-Control"] = "no-store"
        if visit.failed:
            status_code = 500
        if visit.route.page and finishing and headers.get("Content-Type", "").startswith("text/html"):
            chunk = with_nonce(chunk, visit.nonce)
            if "Content-Length" in headers:
                headers["Content-Length"] = str(len(chunk))
        if visit.route.guard is Guard.EMBED:
            self._embed(headers, visit)
        return status_code, headers, chunk

    def _embed(self, headers: HTTPHeaders, visit: Visit) -> None:
        """Other sites may show it: the sites of its token, by frame (the policy) and by script (CORS)."""
        headers["Content-Security-Policy"] = embed_policy(visit)
        headers["Referrer-Policy"] = "no-referrer"  # the token stands in the address
        headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        del headers["X-Frame-Options"]  # which has no word for other sites
        headers.add("Vary", "Origin")
        if self._origin.lower() in visit.framing.sites:
            headers["Access-Control-Allow-Origin"] = self._origin


class Compression(OutputTransform):
    """gzip for browsers that come over a network by themselves: a proxy does it, this machine needs none."""

    def __init__(self, request: HTTPServerRequest) -> None:
        super().__init__(request)
        visit: Visit | None = getattr(request, "visit", None)
        direct = visit is not None and not visit.source.loopback and not visit.source.proxied
        self._gzip = GZipContentEncoding(request) if direct else None

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        if self._gzip is None:
            return status_code, headers, chunk
        return self._gzip.transform_first_chunk(status_code, headers, chunk, finishing)

    def transform_chunk(self, chunk: bytes, finishing: bool) -> bytes:
        return chunk if self._gzip is None else self._gzip.transform_chunk(chunk, finishing)


def with_nonce(page: bytes, nonce: str) -> bytes:
    """Bokeh's page with the nonce on each script and the watch on the login at the end of its head."""
    page = page.replace(b"</head>", WATCH, 1)
    return SCRIPT.sub(b'<script nonce="' + nonce.encode() + b'"', page)
