"""What is pushed to open pages: topics, each made once for everybody, or once a person."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.identity import Viewer
from backend.services import Services

Message = dict[str, Any]


@dataclass(frozen=True)
class Topic:
    """`make` runs in a thread and may read the snapshot and the database; its sections must be JSON values.

    `depends` names the marks (see `pages.parts.live.look`) after whose change it is made again; a section in
    `keyed` is a dict of rows, of which only the changed ones are sent. It is kept up to date for `keep_s` after the
    last page that showed it, so that the next one has it in its first picture.
    """

    name: str
    make: Callable[[Services, Viewer | None], Message]
    depends: tuple[str, ...]
    personal: bool = False
    keyed: frozenset[str] = field(default_factory=frozenset)
    keep_s: float = 60.0

    def key(self, viewer: Viewer) -> str:
        """Under which it is kept: with the person when it is the person's."""
        return f"{self.name}:{viewer.name}" if self.personal else self.name


def to_json(value: Any) -> str:
    """Compact, and safe to stand in a script."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def difference(old: Message, new: Message, keyed: frozenset[str]) -> Message | None:
    """What turns `old` into `new`, {"set": …, "keyed": {section: {"set": rows, "del": keys}}}, or None."""
    whole: Message = {}
    rows: Message = {}
    for section, value in new.items():
        before = old.get(section)
        if before == value:
            continue
        if section in keyed and isinstance(before, Mapping):
            changed = {key: row for key, row in value.items() if before.get(key) != row}
            rows[section] = {"set": changed, "del": [key for key in before if key not in value]}
        else:
            whole[section] = value
    if not whole and not rows:
        return None
    return {"set": whole, "keyed": rows}
