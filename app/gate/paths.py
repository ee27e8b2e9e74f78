"""Where to go after signing in: only ever a page of this console."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

HOME = "/"
NOWHERE = ("/login", "/logout", "/setup", "/api/", "/assets/", "/static/", "/components/")
OWN_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")  # visible ASCII without a backslash; never `//host`


def own_path(text: str) -> str:
    """`text` when it is a path of this console that one can be sent to, else the home page."""
    if len(text) > 2000 or not OWN_PATH.fullmatch(text):
        return HOME
    try:
        parts = urlsplit(text)
    except ValueError:
        return HOME
    if parts.scheme or parts.netloc or "//" in parts.path or parts.path.startswith(NOWHERE):
        return HOME
    return text
