"""The stretches of time that the waste desk offers, in the site's zone."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from backend.accounting.asking import day_start_s

WINDOWS: dict[str, str] = {
    "day": "Today",
    "week": "Last 7 days",
    "month": "Last 30 days",
    "quarter": "Last 90 days",
    "this-month": "This month",
    "last-month": "Last month",
}
FIRST = "week"
_DAYS = {"week": 7, "month": 30, "quarter": 90}


def window(name: str, zone: str, now_s: float) -> tuple[int, int]:
    """[since, until) in Unix seconds; what reaches until now ends a second after it. Raises KeyError."""
    if name not in WINDOWS:
        raise KeyError(name)
    at = ZoneInfo(zone)
    today = datetime.fromtimestamp(now_s, at).date()
    until_s = int(now_s) + 1
    if name == "day":
        return day_start_s(today, at), until_s
    first = today.replace(day=1)
    if name == "this-month":
        return day_start_s(first, at), until_s
    if name == "last-month":
        return day_start_s((first - timedelta(days=1)).replace(day=1), at), day_start_s(first, at)
    return int(now_s) - _DAYS[name] * 86400, until_s
