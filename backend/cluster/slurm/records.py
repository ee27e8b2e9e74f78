"""`scontrol`'s one-line records: `Key=value Key=value …`, where some values are anyone's text.

Only keys known in advance are looked for, and nothing is believed that stands behind the first free text
(Reason, Comment, Extra), since that can hold anything, also what looks like a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

FREE_TEXT = ("Reason", "Comment", "Extra")


def records(output: str, first_key: str) -> list[str]:
    """The records of an answer: a line that does not begin one belongs to the record before it."""
    found: list[str] = []
    for line in output.split("\n"):
        if line.startswith(f"{first_key}="):
            found.append(line)
        elif found and line.strip():
            found[-1] += "\n" + line
    return found


class KeyValues:
    """Reads the known keys out of a record. `keys` are all that may stand before the free text."""

    def __init__(self, keys: Iterable[str]) -> None:
        known = sorted({*keys, *FREE_TEXT}, key=len, reverse=True)
        self._pattern = re.compile(rf"(?:^|\s)({'|'.join(map(re.escape, known))})=")

    def read(self, record: str) -> dict[str, str]:
        """Key → value, stripped; a key's first appearance counts; free text runs to the next one."""
        values: dict[str, str] = {}
        key, start, free = "", 0, False
        for match in self._pattern.finditer(record):
            if match[1] in values or match[1] == key or (free and match[1] not in FREE_TEXT):
                continue
            if key:
                values[key] = record[start : match.start()].strip()
            key, start = match[1], match.end()
            free = free or key in FREE_TEXT
        if key:
            values[key] = record[start:].strip()
        return values
