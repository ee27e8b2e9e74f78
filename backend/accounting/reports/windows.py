"""Stretches of time by name, as of a moment: what a saved report asks moves with the calendar."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

NAMES = {
    "today": "Today",
    "yesterday": "Yesterday",
    "7d": "Last 7 days",
    "30d": "Last 30 days",
    "90d": "Last 90 days",
    "365d": "Last 365 days",
    "week": "This week",
    "last_week": "Last week",
    "month": "This month",
    "last_month": "Last month",
    "quarter": "This quarter",
    "last_quarter": "Last quarter",
    "year": "This year",
    "last_year": "Last year",
    "all": "Everything",
}
_DAYS = {"7d": 7, "30d": 30, "90d": 90, "365d": 365}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
FIRST_DAY = date(2002, 1, 1)  # Slurm's first release is of that year: no job is older


def named(name: str, zone: ZoneInfo, now_s: float) -> tuple[int, int]:
    """[since, until) of one of NAMES in Unix seconds; the day of now belongs to it as a whole. Raises KeyError."""
    today = datetime.fromtimestamp(now_s, zone).date()
    first, after = _days(name, today)
    return day_start_s(first, zone), day_start_s(after, zone)


def _days(name: str, today: date) -> tuple[date, date]:
    tomorrow = today + timedelta(days=1)
    monday = today - timedelta(days=today.weekday())
    plain = {
        "today": (today, tomorrow),
        "yesterday": (today - timedelta(days=1), today),
        "week": (monday, monday + timedelta(days=7)),
        "last_week": (monday - timedelta(days=7), monday),
        "all": (FIRST_DAY, tomorrow),
    }
    if name in plain:
        return plain[name]
    if name in _DAYS:
        return tomorrow - timedelta(days=_DAYS[name]), tomorrow
    months = _MONTHS[name.removeprefix("last_")]
    first = today.replace(month=today.month - (today.month - 1) % months, day=1)
    if name.startswith("last_"):
        return later(first, -months), first
    return first, later(first, months)


def later(first_of_month: date, months: int) -> date:
    """So many months later, on the 1st."""
    count = first_of_month.year * 12 + first_of_month.month - 1 + months
    return date(count // 12, count % 12 + 1, 1)


def day_start_s(day: date, zone: ZoneInfo) -> int:
    """When the day begins in the zone."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(timezone.utc).timestamp())
