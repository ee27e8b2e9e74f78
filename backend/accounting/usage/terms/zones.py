"""Days, weeks, months in a time zone, as stretches of Unix seconds.

A day begins when the clock first shows 00:00, or, where a change of the clock skips it, at the first moment after.
So days have 23, 24 or 25 hours (and halves of them), follow each other without gap, and none overlap.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from backend.accounting.usage.terms.question import BadQuestion

MOST_BUCKETS = 100_000


@dataclass(frozen=True)
class Stretch:
    """Half-open: [from_s, to_s)."""

    from_s: int
    to_s: int
    label: str


def zone_of(name: str) -> ZoneInfo:
    """Raises BadQuestion."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadQuestion("zone", f"{name!r} is no time zone. Write it like Europe/Berlin or UTC.") from error


@functools.lru_cache(maxsize=65536)
def day_start_s(day: date, zone: ZoneInfo) -> int:
    """The first second of the day."""
    midnight = datetime.combine(day, time.min)
    at_s = int(midnight.replace(tzinfo=zone).timestamp())
    if _clock(at_s, zone) == midnight:
        return at_s
    before_s, after_s = at_s - 90_000, at_s + 90_000  # the clock skips midnight: look for the jump
    while after_s - before_s > 1:
        middle_s = (before_s + after_s) // 2
        if _clock(middle_s, zone) >= midnight:
            after_s = middle_s
        else:
            before_s = middle_s
    return after_s


def _clock(at_s: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at_s, zone).replace(tzinfo=None)


def _first(kind: str, day: date) -> date:
    """The day on which the stretch of this kind begins that holds `day`."""
    match kind:
        case "day":
            return day
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(month=day.month - (day.month - 1) % 3, day=1)
        case _:
            return day.replace(month=1, day=1)


_LONGEST = {"day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366}


def _label(kind: str, first: date) -> str:
    match kind:
        case "day":
            return first.isoformat()
        case "week":
            year, week, _ = first.isocalendar()
            return f"{year}-W{week:02}"
        case "month":
            return f"{first:%Y-%m}"
        case "quarter":
            return f"{first.year:04}-Q{(first.month + 2) // 3}"
        case _:
            return f"{first.year:04}"


@functools.lru_cache(maxsize=256)
def stretches(kind: str, zone: ZoneInfo, since_s: int, until_s: int) -> tuple[Stretch, ...]:
    """The whole days, weeks, … that [since_s, until_s) touches: the first may begin before it.

    Labels: 2026-01-31, 2026-W05, 2026-01, 2026-Q1, 2026; an hour 2026-01-31T14:00+01:00. Raises BadQuestion when
    there are too many to be of use.
    """
    if (until_s - since_s) / (3600 if kind == "hour" else 86400 * _LONGEST[kind]) > MOST_BUCKETS:
        raise BadQuestion("by", f"The window holds more than {MOST_BUCKETS} {kind}s. Choose a shorter one.")
    if kind == "hour":
        return tuple(_hours(zone, since_s, until_s))
    found: list[Stretch] = []
    first = _first(kind, datetime.fromtimestamp(since_s, zone).date())
    while (from_s := day_start_s(first, zone)) > since_s:  # the clock went back over midnight
        first = _first(kind, first - timedelta(days=1))
    while from_s < until_s:
        following = _first(kind, first + timedelta(days=_LONGEST[kind]))
        to_s = day_start_s(following, zone)
        if to_s > from_s and to_s > since_s:  # a few places have skipped a whole day
            found.append(Stretch(from_s, to_s, _label(kind, first)))
        first, from_s = following, to_s
    return tuple(found)


def _hours(zone: ZoneInfo, since_s: int, until_s: int) -> Iterator[Stretch]:
    """Hours of the clock; one that a change of the clock cuts is in pieces of its own."""
    offset_s = _offset_s(since_s, zone)
    from_s = since_s - (since_s + offset_s) % 3600
    if _offset_s(from_s, zone) != offset_s:
        from_s = _change_s(from_s, since_s, zone)
    while from_s < until_s:
        offset_s = _offset_s(from_s, zone)
        to_s = from_s - (from_s + offset_s) % 3600 + 3600
        if _offset_s(to_s, zone) != offset_s:
            to_s = _change_s(from_s, to_s, zone)
        label = datetime.fromtimestamp(from_s, zone).isoformat(timespec="minutes")
        yield Stretch(from_s, to_s, label)
        from_s = to_s


def _offset_s(at_s: int, zone: ZoneInfo) -> int:
    return int((_clock(at_s, zone) - datetime.fromtimestamp(at_s, UTC).replace(tzinfo=None)).total_seconds())


def _change_s(before_s: int, after_s: int, zone: ZoneInfo) -> int:
    """The first second with the offset of `after_s`."""
    wanted = _offset_s(after_s, zone)
    while after_s - before_s > 1:
        middle_s = (before_s + after_s) // 2
        if _offset_s(middle_s, zone) == wanted:
            after_s = middle_s
        else:
            before_s = middle_s
    return after_s
