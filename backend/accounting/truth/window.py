"""Which time is compared: a month, or as much of it as slurmdbd has rolled up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

HOUR_S = 3600
DAY_S = 86_400

_MONTH = re.compile(r"(19[7-9][0-9]|2[0-9]{3})-(0[1-9]|1[0-2])\Z")


@dataclass(frozen=True)
class Window:
    """Half-open, Unix seconds. `clock`: the zone in which its ends are whole hours; UTC where they are there too."""

    since_s: int
    until_s: int
    clock: str = "UTC"

    @property
    def empty(self) -> bool:
        return self.until_s <= self.since_s

    def days(self) -> Iterator[Window]:
        """Pieces of at most 24 hours."""
        since_s = self.since_s
        while since_s < self.until_s:
            until_s = min(since_s + DAY_S, self.until_s)
            yield Window(since_s, until_s, self.clock)
            since_s = until_s

    def hours(self) -> Iterator[tuple[int, int]]:
        """slurmdbd's hours."""
        for since_s in range(self.since_s, self.until_s, HOUR_S):
            yield since_s, min(since_s + HOUR_S, self.until_s)


def month_of(at_s: float, zone: str) -> str:
    """The month of a moment, as 2026-11."""
    return f"{datetime.fromtimestamp(at_s, ZoneInfo(zone)):%Y-%m}"


def month_before(month: str) -> str:
    year, number = int(month[:4]), int(month[5:])
    return f"{year - 1}-12" if number == 1 else f"{year}-{number - 1:02}"


def is_month(text: str) -> bool:
    return _MONTH.match(text) is not None


def month_window(month: str, zone: str) -> Window:
    """The whole month `2026-11` in the zone. Raises ValueError when it is none."""
    found = _MONTH.match(month)
    if found is None:
        raise ValueError(f"{month!r} is no month. Write it like 2026-11.")
    year, number = int(found[1]), int(found[2])
    following = (year + 1, 1) if number == 12 else (year, number + 1)
    since_s = _start_s(year, number, zone)
    until_s = _start_s(*following, zone)
    whole_hours = since_s % HOUR_S == 0 and until_s % HOUR_S == 0
    return Window(since_s, until_s, "UTC" if whole_hours else zone)


def _start_s(year: int, month: int, zone: str) -> int:
    return int(datetime(year, month, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC).timestamp())


def closed_part(window: Window, closed_s: int) -> Window:
    """The part of the window before `closed_s`, cut back to an hour of the window's."""
    until_s = min(window.until_s, closed_s)
    until_s -= max(0, until_s - window.since_s) % HOUR_S
    return Window(window.since_s, max(window.since_s, until_s), window.clock)
