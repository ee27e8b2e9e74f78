"""Stretches of time by the names people have for them, and the one before each, to compare with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from backend.accounting.usage.terms.zones import day_start_s

NAMES = {
    "today": "Today",
    "yesterday": "Yesterday",
    "7d": "Last 7 days",
    "30d": "Last 30 days",
    "90d": "Last 90 days",
    "365d": "Last 365 days",
    "month": "This month",
    "last_month": "Last month",
    "quarter": "This quarter",
    "last_quarter": "Last quarter",
    "year": "This year",
    "last_year": "Last year",
    "all": "Everything",
}
DEFAULT = "30d"
_DAYS = {"7d": 7, "30d": 30, "90d": 90, "365d": 365}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_DATE = re.compile(r"(?a)\d{4}-\d{2}-\d{2}")
_DAY_S = 86400
EARLIEST = date(1980, 1, 1)
LATEST = date(2199, 1, 1)


class NoWindow(ValueError):
    """Dates that are none, or none that a window can be made of; the message is for the person."""


@dataclass(frozen=True)
class Window:
    """Half-open, in Unix seconds; both ends are where days begin in the zone. `name`: of NAMES, or "" for dates."""

    since_s: int
    until_s: int
    name: str
    zone: str

    @property
    def since(self) -> date:
        return datetime.fromtimestamp(self.since_s, ZoneInfo(self.zone)).date()

    @property
    def until(self) -> date:
        """The day after the last one."""
        return datetime.fromtimestamp(self.until_s, ZoneInfo(self.zone)).date()

    @property
    def days(self) -> int:
        return (self.until - self.since).days

    def words(self) -> str:
        """24 Oct – 22 Nov 2026, the last day included."""
        first, last = self.since, self.until - timedelta(days=1)
        end = f"{last.day} {last:%b %Y}"
        if first == last:
            return end
        if first.year != last.year:
            return f"{first.day} {first:%b %Y} – {end}"
        return f"{first.day} {first:%b} – {end}" if first.month != last.month else f"{first.day} – {end}"


def named(name: str, zone: str, now_s: float, oldest_s: int | None = None, seen_s: int | None = None) -> Window:
    """One of NAMES as of now; the day of today belongs to it as a whole. "all" is from `oldest_s` to `seen_s`."""
    today = datetime.fromtimestamp(now_s, ZoneInfo(zone)).date()
    first, after = today, today + timedelta(days=1)
    if name == "yesterday":
        first, after = today - timedelta(days=1), today
    elif name in _DAYS:
        first = after - timedelta(days=_DAYS[name])
    elif name.removeprefix("last_") in _MONTHS:
        months = _MONTHS[name.removeprefix("last_")]
        first = today.replace(month=today.month - (today.month - 1) % months, day=1)
        after = _later(first, months)
        if name.startswith("last_"):
            first, after = _later(first, -months), first
    elif name == "all":
        oldest = datetime.fromtimestamp(oldest_s if oldest_s is not None else now_s, ZoneInfo(zone)).date()
        first = min(oldest, today).replace(day=1)
        last = datetime.fromtimestamp(seen_s if seen_s is not None else now_s, ZoneInfo(zone)).date()
        after = min(after, max(first, last) + timedelta(days=1))
    return _between(first, after, name, zone)


def between(since: str, until: str, zone: str) -> Window:
    """From one date to before another, as YYYY-MM-DD. Raises NoWindow."""
    first, after = _date(since), _date(until)
    if after <= first:
        raise NoWindow("The window is empty: it must end after it begins.")
    return _between(first, after, "", zone)


def before(window: Window, seen_s: float | None) -> tuple[int, int]:
    """The period before, [since, until): as long, or the calendar's month, quarter or year before. Of a window that
    still goes on only as much of it as has passed, so that like is compared with like."""
    months = _MONTHS.get(window.name.removeprefix("last_"))
    first = _later(window.since, -months) if months else window.since - (window.until - window.since)
    zone = ZoneInfo(window.zone)
    since_s = day_start_s(first, zone)
    if seen_s is None or seen_s >= window.until_s:
        return since_s, window.since_s
    passed = max(0, int(seen_s) - window.since_s)
    days, rest_s = divmod(passed, _DAY_S)
    until_s = day_start_s(first + timedelta(days=days), zone) + rest_s
    return since_s, max(since_s + 1, min(until_s, window.since_s))


def before_words(window: Window, seen_s: float | None, oldest_s: int | None = None) -> str:
    """What it is compared with, in a few words; why with nothing, where the accounts begin later."""
    if oldest_s is not None and before(window, seen_s)[0] < oldest_s:
        first = datetime.fromtimestamp(oldest_s, ZoneInfo(window.zone))
        return f"No change is shown: the accounts begin on {first.day} {first:%b %Y}, within the period before."
    partly = seen_s is not None and seen_s < window.until_s
    name = {
        "month": "the month before", "last_month": "the month before", "quarter": "the quarter before",
        "last_quarter": "the quarter before", "year": "the year before", "last_year": "the year before",
        "today": "yesterday", "yesterday": "the day before",
    }.get(window.name, f"the {window.days} days before" if window.days > 1 else "the day before")  # fmt: skip
    return f"Change against {name}{', up to the same moment' if partly else ''}."


def grain(window: Window) -> str:
    """Pieces of time that make a chart of some thirty to a hundred bars."""
    for most, name in ((2, "hour"), (100, "day"), (550, "week"), (3700, "month")):
        if window.days <= most:
            return name
    return "year"


def _between(first: date, after: date, name: str, zone: str) -> Window:
    info = ZoneInfo(zone)
    return Window(day_start_s(first, info), day_start_s(after, info), name, zone)


def _later(day: date, months: int) -> date:
    """The first of a month, so many months on."""
    place = day.year * 12 + day.month - 1 + months
    return date(place // 12, place % 12 + 1, 1)


def _date(text: str) -> date:
    if _DATE.fullmatch(text):
        try:
            day = date.fromisoformat(text)
        except ValueError:
            day = None
        if day is not None and EARLIEST <= day <= LATEST:
            return day
    raise NoWindow(f"{text[:20]!r} is no date: YYYY-MM-DD is wanted.")
