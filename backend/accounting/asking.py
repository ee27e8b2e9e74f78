"""A question from text: the words of the command line and of REST, which are the same.

Unknown metrics and dimensions are the engine's to refuse; here only what can't be read is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import cast
from zoneinfo import ZoneInfo

from backend.accounting.usage import BadQuestion, Definitions, Question

LONGEST_VALUE = 256  # characters
MOST_NAMES = 32  # metrics, or dimensions
MOST_VALUES = 200  # of all filters together
MOST_ROWS = 10**9
DEFINITIONS = ("carme", "xdmod")
TIMES = "2026-11-01, 2026-11, 2026-11-01T12:00 (with Z or +01:00 for another zone), today, now-30days, @UNIX_SECONDS"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_DATE = re.compile(r"(?a)(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")
_TIME = re.compile(r"(?a)\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2})?(?:Z|[+-]\d{2}:?\d{2})?")
_RELATIVE = re.compile(r"(?a)(now|today|yesterday|tomorrow)(?:([+-])(\d{1,6})(seconds?|minutes?|hours?|days?|weeks?))?")
_UNIX = re.compile(r"(?a)@(\d{1,11})")
_UNIT_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
_DAYS = {"today": 0, "yesterday": -1, "tomorrow": 1}


@dataclass(frozen=True)
class Words:
    """A question as it is typed: names with commas between them or one by one, filters as `key=value`."""

    since: str
    until: str
    metrics: Sequence[str]
    by: Sequence[str] = ()
    where: Sequence[str] = ()
    zone: str = "UTC"
    definitions: str = "carme"
    order: str = ""
    limit: int | None = None


def read_question(words: Words, now_s: float) -> Question:
    """The question that the words ask at `now_s`. Raises BadQuestion, whose `part` is the word to change."""
    zone = read_zone(words.zone)
    since_s = read_time(words.since, zone, now_s, "since")
    until_s = read_time(words.until, zone, now_s, "until")
    if until_s <= since_s:
        raise BadQuestion("until", "The window is empty: until must be later than since.")
    metrics = read_names(words.metrics, "metric")
    if not metrics:
        raise BadQuestion("metric", "Ask for at least one metric.")
    if words.definitions not in DEFINITIONS:
        raise BadQuestion("definitions", f"definitions: one of {', '.join(DEFINITIONS)} is wanted.")
    if words.order and not _NAME.fullmatch(words.order.removeprefix("-")):
        raise BadQuestion("order", "order: a metric or dimension is wanted, with - before it for the largest first.")
    if words.limit is not None and not 1 <= words.limit <= MOST_ROWS:
        raise BadQuestion("limit", f"limit: a number from 1 to {MOST_ROWS} is wanted.")
    return Question(
        metrics=metrics,
        since_s=since_s,
        until_s=until_s,
        by=read_names(words.by, "by"),
        where=read_filters(words.where),
        zone=words.zone,
        definitions=cast(Definitions, words.definitions),
        order=words.order,
        limit=words.limit,
    )


def read_zone(name: str) -> ZoneInfo:
    """Raises BadQuestion for what the tz database doesn't know."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # OSError: a folder of the database, such as "America"
        raise BadQuestion("tz", f"{name[:60]!r} is no time zone: Europe/Berlin, UTC, ... is wanted.") from error


def read_time(text: str, zone: ZoneInfo, now_s: float, part: str = "time") -> int:
    """Unix seconds of a day's, month's or year's beginning, a moment, or one relative to now (as Slurm writes it).

    Raises BadQuestion for `part`.
    """
    try:
        ways = (_unix(text), _date(text, zone), _moment(text, zone), _relative(text, zone, now_s))
    except (ValueError, OverflowError):  # a thirteenth month, the year 0
        ways = (None,) * 4
    for found in ways:
        if found is not None:
            return found
    raise BadQuestion(part, f"{part}: {text[:40]!r} is no time that is known here. Known are {TIMES}.")


def _unix(text: str) -> int | None:
    found = _UNIX.fullmatch(text)
    return int(found[1]) if found else None


def _date(text: str, zone: ZoneInfo) -> int | None:
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    year, month, day = (int(each) if each else 1 for each in found.groups())
    return _s(datetime(year, month, day, tzinfo=zone))


def _moment(text: str, zone: ZoneInfo) -> int | None:
    if not _TIME.fullmatch(text):
        return None
    found = datetime.fromisoformat(text)
    return _s(found if found.tzinfo is not None else found.replace(tzinfo=zone))


def _relative(text: str, zone: ZoneInfo, now_s: float) -> int | None:
    found = _RELATIVE.fullmatch(text)
    if found is None:
        return None
    base, sign, count, unit = found.groups()
    unit_s = _UNIT_S[unit.rstrip("s")] if unit else 0
    number = int(count or 0) * (-1 if sign == "-" else 1)
    if base == "now":
        return int(now_s) + number * unit_s
    # Days are the calendar's: 23 or 25 hours long where the clocks change.
    days, rest_s = divmod(number * unit_s, 86400)
    day = datetime.fromtimestamp(now_s, zone).date() + timedelta(days=_DAYS[base] + days)
    return day_start_s(day, zone) + rest_s


def day_start_s(day: date, zone: ZoneInfo) -> int:
    """When the day begins in the zone."""
    return _s(datetime(day.year, day.month, day.day, tzinfo=zone))


def _s(moment: datetime) -> int:
    return int(moment.astimezone(timezone.utc).timestamp())


def read_names(texts: Sequence[str], part: str) -> tuple[str, ...]:
    """Names with commas between them, each once. Raises BadQuestion for `part`."""
    names = tuple(dict.fromkeys(name.strip() for text in texts for name in text.split(",") if name.strip()))
    for name in names:
        if not _NAME.fullmatch(name):
            raise BadQuestion(part, f"{part}: {name[:40]!r} is no name of one.")
    if len(names) > MOST_NAMES:
        raise BadQuestion(part, f"{part}: at most {MOST_NAMES} of them.")
    return names


def read_filters(texts: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """`key=value`; a key that comes again adds a value. Nothing after the `=`: jobs that have none.

    Raises BadQuestion.
    """
    if len(texts) > MOST_VALUES:
        raise BadQuestion("where", f"where: at most {MOST_VALUES} values.")
    found: dict[str, dict[str, None]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not _NAME.fullmatch(key):
            raise BadQuestion("where", f"where: {text[:60]!r} is no filter: key=value is wanted, such as user=ada.")
        if len(value) > LONGEST_VALUE or "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise BadQuestion("where", f"where: the value of {key} can't be one.")
        found.setdefault(key, {})[value] = None
    return tuple((key, tuple(values)) for key, values in found.items())
