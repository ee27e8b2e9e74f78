"""What a page's browser may say on its socket: events and values, no models of its own making.

Bokeh reads whatever a browser sends into its document on the event loop that serves everybody: a megabyte of new
models takes it ten seconds, and each new root stays in memory. The console's pages need none of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LONGEST = 256 * 1024  # characters of one frame: a launch form has a few thousand
MOST_VALUES = 20_000  # of one message: some 20 ms to read
# Nothing that adds to a document: roots, rows, titles; each of these only sets what is there already.
KINDS = frozenset({"MessageSent", "ModelChanged", "ColumnDataChanged", "ColumnsPatched"})
PULL = "PULL-DOC-REQ"
PATCH = "PATCH-DOC"
ASKING = frozenset({PULL, "SERVER-INFO-REQ"})


def why_not(kind: str, content: Any) -> str:
    """Why a message of a browser is not read; empty when it may be."""
    if kind in ASKING:
        return ""
    if kind != PATCH:
        return f"{kind[:40]} is not for browsers"
    events = content.get("events") if isinstance(content, Mapping) else None
    if not isinstance(events, list) or not all(isinstance(event, Mapping) for event in events):
        return "a patch without events"
    strange = [event for event in events if event.get("kind") not in KINDS]
    if strange:
        return "a patch that adds to the document"
    return _too_rich(events)


def _too_rich(value: Any) -> str:
    """Why the values can't be read; a walk without recursion, as deep as they may be."""
    left, seen = [value], 0
    while left:
        item = left.pop()
        seen += 1
        if isinstance(item, Mapping):
            if item.get("type") == "object":
                return "a model of the browser's own"
            left.extend(item.values())
        elif isinstance(item, list):
            left.extend(item)
        if seen + len(left) > MOST_VALUES:
            return "too many values at once"
    return ""
