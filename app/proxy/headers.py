"""Which headers and cookies pass between a browser and an app."""

from __future__ import annotations

import re
from collections.abc import Iterable

Lines = list[tuple[str, str]]
"""Header lines in order: (name, value), values in Latin-1."""

_HOP_BY_HOP = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    ]
)
# What a client says of the way it came, or claims to be: nobody in front of us is asked to set these.
_FORWARDING = frozenset(["forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"])
_OURS = ("x-carme-", "x-forwarded-", "x-original-", "x-rewrite-", "x-remote-", "remote-")
_OPENER_POLICY = "Cross-Origin-Opener-Policy"
_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TOKEN = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def request_lines(lines: Iterable[tuple[str, str]], *, websocket: bool) -> Lines:
    """The headers an app gets: no hop-by-hop, no claims about the way, no cookie of the console's."""
    lines = list(lines)
    named = _connection_names(lines)
    kept: Lines = []
    for name, value in lines:
        low = name.lower()
        if low in _HOP_BY_HOP or low in _FORWARDING or low in named or low.startswith(_OURS):
            continue
        if low in ("expect", "content-length"):  # the first is answered here, the second set anew
            continue
        passed = app_cookies(value) if low == "cookie" else value
        if passed or low != "cookie":
            kept.append((name, passed))
    if websocket:
        kept += [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    return kept


def response_lines(lines: Iterable[tuple[str, str]], *, cookie_path: str) -> Lines:
    """The headers a browser gets: no hop-by-hop, cookies for this host and below `cookie_path` only.

    Unless the app says otherwise, a page of another origin that opens it (another session's) gets no handle on its
    window; the windows it opens itself, to sign in somewhere for example, can answer it.
    """
    lines = list(lines)
    named = _connection_names(lines)
    kept: Lines = []
    for name, value in lines:
        low = name.lower()
        if low in _HOP_BY_HOP or low in named or low.startswith("x-carme-"):
            continue
        if low == "clear-site-data":
            continue  # its "cookies" are those of the whole registered domain, the console's too
        if low == "service-worker-allowed" and cookie_path != "/":
            continue  # on a shared origin this reaches into other sessions
        passed = confined_cookie(value, cookie_path) if low == "set-cookie" else value
        if passed is not None:
            kept.append((name, passed))
    if not any(name.lower() == _OPENER_POLICY.lower() for name, _ in kept):
        kept.append((_OPENER_POLICY, "same-origin-allow-popups"))
    return kept


def is_console_cookie(name: str) -> bool:
    """Whether a cookie is one of the console's or the proxy's own."""
    for prefix in ("__Host-Http-", "__Host-", "__Secure-", "__Http-"):
        name = name.removeprefix(prefix)
    return name.lower().startswith("carme")


def app_cookies(value: str) -> str:
    """A Cookie header without the console's cookies; "" when none is left."""
    pairs = (part.strip() for part in value.split(";"))
    return "; ".join(pair for pair in pairs if pair and not is_console_cookie(pair.split("=", 1)[0].strip()))


def cookie_values(lines: Iterable[tuple[str, str]], name: str) -> list[str]:
    """All values of a cookie, in the order sent: several when another page tossed one of the same name."""
    found = []
    for header, value in lines:
        if header.lower() == "cookie":
            for part in value.split(";"):
                key, equals, text = part.strip().partition("=")
                if equals and key == name:
                    found.append(text)
    return found


def confined_cookie(value: str, path: str) -> str | None:
    """An app's Set-Cookie for its own host only and not above `path`; None when it may not be set at all."""
    pair, *attributes = [part.strip() for part in value.split(";")]
    name = pair.partition("=")[0].strip()
    if "=" not in pair or not _COOKIE_NAME.fullmatch(name) or not _TOKEN.fullmatch(value):
        return None
    if is_console_cookie(name):
        return None
    kept, has_path = [pair], False
    for attribute in attributes:
        key, _, text = attribute.partition("=")
        low = key.strip().lower()
        if low == "domain":
            continue
        if low == "path":
            has_path = True
            kept.append(attribute if text.strip().startswith(path) else f"Path={path}")
        else:
            kept.append(attribute)
    if not has_path and path != "/":
        kept.append(f"Path={path}")
    return "; ".join(kept)


def _connection_names(lines: Lines) -> frozenset[str]:
    names: set[str] = set()
    for name, value in lines:
        if name.lower() == "connection":
            names.update(word.strip().lower() for word in value.split(","))
    # Nobody may have these dropped by naming them.
    return frozenset(names - {"host", "cookie", "origin", "close", "keep-alive"})
