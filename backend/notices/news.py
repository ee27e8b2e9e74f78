"""The site's news: one Markdown file that an operator edits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 256 * 1024


@dataclass(frozen=True)
class News:
    """The file's Markdown and when it was last changed; `error` says why there is none to show."""

    markdown: str
    changed_s: int | None
    error: str = ""


def read_news(path: Path) -> News:
    """The news as they stand; empty when there is no file. A file that can't be read is told in `error`."""
    try:
        raw = path.read_bytes()[:MOST_BYTES]
        return News(markdown=raw.decode("utf-8", errors="replace"), changed_s=int(path.stat().st_mtime))
    except FileNotFoundError:
        return News(markdown="", changed_s=None)
    except OSError as error:
        return News(markdown="", changed_s=None, error=f"The news file {path} can't be read: {error.strerror}")
