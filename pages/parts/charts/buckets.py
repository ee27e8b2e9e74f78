"""Pieces of time: what they are called on an axis and in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from backend.accounting.usage import TIME
from backend.accounting.usage.terms.zones import Stretch, stretches, zone_of

GRAINS = TIME


def local(seconds: int, zone: str) -> datetime:
    return datetime.fromtimestamp(seconds, tz=ZoneInfo(zone))


def of(grain: str, zone: str, since_s: int, until_s: int) -> Sequence[Stretch]:
    """The pieces that [since, until) touches, as answers name them. Raises BadQuestion when they are too many."""
    return stretches(grain, zone_of(zone), since_s, until_s)


def name(grain: str, start_s: int, zone: str) -> str:
    """In a sentence: Tue 3 Nov 2026, 14:00–15:00."""
    moment = local(start_s, zone)
    match grain:
        case "hour":
            end = local(start_s + 3600, zone)
            return f"{moment:%a} {moment.day} {moment:%b %Y, %H:%M}–{end:%H:%M}"
        case "day":
            return f"{moment:%a} {moment.day} {moment:%b %Y}"
        case "week":
            end = moment + timedelta(days=6)
            return f"{moment.day} {moment:%b} – {end.day} {end:%b %Y}"
        case "month":
            return f"{moment:%B %Y}"
        case "quarter":
            return f"Q{(moment.month + 2) // 3} {moment.year}"
        case _:
            return f"{moment.year}"


def short_day(seconds: int, zone: str) -> str:
    moment = local(seconds, zone)
    return f"{moment.day} {moment:%b}"


def _short(grain: str, start_s: int, zone: str) -> str:
    moment = local(start_s, zone)
    match grain:
        case "hour":
            return f"{moment:%a} {moment.day} {moment:%b}" if moment.hour == 0 else f"{moment:%H:%M}"
        case "day" | "week":
            return f"{moment.day} {moment:%b}"
        case "month":
            return f"{moment:%b}\n{moment.year}" if moment.month == 1 else f"{moment:%b}"
        case "quarter":
            return f"Q{(moment.month + 2) // 3}\n{moment.year}" if moment.month == 1 else f"Q{(moment.month + 2) // 3}"
        case _:
            return f"{moment.year}"


def labels(grain: str, all_starts: Sequence[int], zone: str, wanted: int) -> dict[int, str]:
    """Which of the buckets, by their number, get a label on the axis: at most about `wanted`, at round places."""
    count = len(all_starts)
    moments = [local(start, zone) for start in all_starts]
    rhythms: dict[str, list[list[int]]] = {
        "hour": [[i for i, m in enumerate(moments) if m.hour % step == 0] for step in (1, 2, 3, 6, 12, 24)],
        "day": [
            list(range(count)),
            *([i for i, m in enumerate(moments) if (m.toordinal() - 1) % step == 0] for step in (2, 7, 14)),
            [i for i, m in enumerate(moments) if m.day == 1],
        ],
        "week": [list(range(count - 1, -1, -step))[::-1] for step in (1, 2, 4, 8, 13)],
        "month": [[i for i, m in enumerate(moments) if (m.month - 1) % step == 0] for step in (1, 2, 3, 6, 12)],
        "quarter": [[i for i, m in enumerate(moments) if (m.month - 1) % step == 0] for step in (3, 6, 12)],
        "year": [list(range(count))],
    }
    fitting = [marks for marks in rhythms[grain] if 0 < len(marks) <= wanted]
    places = fitting[0] if fitting else list(range(0, count, max(1, -(-count // wanted))))
    found = {index: _short(grain, all_starts[index], zone) for index in places}
    if places and grain in ("month", "quarter") and "\n" not in found[places[0]]:
        found[places[0]] += f"\n{moments[places[0]].year}"
    return found
