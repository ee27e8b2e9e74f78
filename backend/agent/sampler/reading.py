"""Small files of /proc and /sys, and counters that become rates."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection
from typing import Any

from .model import Missing, Unavailable

MOST_BYTES = 4 << 20
"""Of any file: more than the processes of the largest node fill."""
_CHUNK_BYTES = 65536
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""A link in a file's place would have root read another file, a pipe have it wait for ever."""


def text(path: str, most_bytes: int = MOST_BYTES) -> str:
    """A small file's content, or its beginning. Raises OSError. Plain system calls: this runs for every process of a
    job. To the end: of a longer list /proc gives a page at a time."""
    descriptor = os.open(path, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        chunks: list[bytes] = []
        left = most_bytes
        while left and (chunk := os.read(descriptor, min(left, _CHUNK_BYTES))):
            chunks.append(chunk)
            left -= len(chunk)
    finally:
        os.close(descriptor)
    return b"".join(chunks).decode("utf-8", "replace")


def natural(word: str, digits: int = 18) -> int | None:
    """The number a word is: of ASCII digits, and not too many of them."""
    return int(word) if len(word) <= digits and word.isascii() and word.isdigit() else None


def available(path: str) -> str:
    """The same, for a metric. Raises Unavailable."""
    try:
        return text(path)
    except FileNotFoundError:
        raise Unavailable(f"there is no {path}") from None
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error


def keyed(content: str) -> dict[str, int]:
    """Lines `name 123 …` as a mapping; what is no number is left out."""
    found = {}
    for line in content.split("\n"):
        name, _, rest = line.partition(" ")
        value = natural(rest.strip().partition(" ")[0], digits=20)
        if value is not None:
            found[name.rstrip(":")] = value
    return found


def listed(content: str) -> int:
    """How many numbers a list like `0-3,8` names."""
    total = 0
    for part in content.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            total += int(last or first) - int(first) + 1
    return total


def device_bytes(
    content: str, *, only: Collection[str] | None = None, leave_out: Collection[str] = ()
) -> tuple[int, int]:
    """Bytes received and sent, from /proc/net/dev, over the named devices."""
    received = sent = 0
    for line in content.split("\n"):
        name, colon, rest = line.partition(":")
        name, fields = name.strip(), rest.split()
        if colon and len(fields) >= 16 and name not in leave_out and (only is None or name in only):
            received += int(fields[0])
            sent += int(fields[8])
    return received, sent


def ask(missing: Missing, path: str, question: Callable[[], Any]) -> Any:
    """The answer, or None after noting under `path` why there is none."""
    try:
        return question()
    except Unavailable as reason:
        missing[path] = str(reason)
        return None


class Rates:
    """Counters seen before, by name, so that the next sight of each gives its rate."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[float, float]] = {}
        self._now: dict[str, tuple[float, float]] = {}

    def per_s(self, name: str, counter: float | None, at_s: float) -> float:
        """Mean rate since the sample before; `at_s` is on the monotonic clock. Raises Unavailable."""
        if counter is None:
            raise Unavailable("its counter is missing")
        self._now[name] = (counter, at_s)
        before, before_s = self._before.get(name, (None, at_s))
        if before is None or at_s <= before_s:
            raise Unavailable("a rate needs a second sample")
        if counter < before:
            raise Unavailable("its counter has started again")
        return (counter - before) / (at_s - before_s)

    def turn(self) -> None:
        """A sample is complete: what it didn't see is forgotten."""
        self._before, self._now = self._now, {}
