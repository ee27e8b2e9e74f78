"""The sites whose pages may show an embed, as browsers name them: scheme, host and port."""

from __future__ import annotations

import re
from collections.abc import Iterable

MOST = 10
_ORIGIN = re.compile(r"(?a)(https?)://([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::([0-9]{1,5}))?/?")
_PORTS = {"http": 80, "https": 443}


class BadOrigin(ValueError):
    """No origin: the message says what is wanted."""


def origins(texts: Iterable[str]) -> tuple[str, ...]:
    """Each once, as browsers send them. Raises BadOrigin; a site is named whole, there are no wildcards."""
    found = tuple(dict.fromkeys(origin(text) for text in texts))
    if not found:
        raise BadOrigin("Name the site that will show it, such as https://wiki.example.org.")
    if len(found) > MOST:
        raise BadOrigin(f"At most {MOST} sites.")
    return found


def origin(text: str) -> str:
    """One. Raises BadOrigin."""
    read = _ORIGIN.fullmatch(text.strip().lower())
    port = int(read[3]) if read and read[3] else 0
    if read is None or port > 65535 or (read[3] and not port):
        raise BadOrigin(
            f"{text[:80]!r} is no site's origin: https://wiki.example.org is wanted, without a path and without *."
        )
    shown = f":{port}" if port and port != _PORTS[read[1]] else ""
    return f"{read[1]}://{read[2]}{shown}"
