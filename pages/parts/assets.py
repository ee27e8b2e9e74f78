"""The addresses of the console's own scripts and styles, which change with their content.

A browser may keep such a file for ever. `main.js?v=…` would not do, since modules import each other by
relative paths: the version is a folder, `/assets/<version>/console/main.js` is `assets/web/console/main.js`.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "web"
CONSOLE = FOLDER / "console"
IMPORTED = re.compile(r'^import .* from "(\.[^"]+)"', re.MULTILINE)


@cache
def version() -> str:
    """Twelve hex digits of everything in `assets/web/console`."""
    digest = hashlib.sha256()
    for path in sorted(path for path in CONSOLE.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(CONSOLE)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def base() -> str:
    """The address of the console's folder, without a slash at its end."""
    return f"/assets/{version()}/console"


@cache
def modules(page: str) -> tuple[str, ...]:
    """The addresses of all scripts that the page called `page` needs: asked for at once, so that imports find them."""
    found: set[Path] = set()
    waiting = [CONSOLE / "main.js", CONSOLE / f"{page}.js"]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [(path.parent / name).resolve() for name in IMPORTED.findall(path.read_text())]
    return tuple(f"{base()}/{path.relative_to(CONSOLE)}" for path in sorted(found))
