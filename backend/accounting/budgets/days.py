"""Days as people write them, in the site's zone."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from backend.accounting.budgets.model import BudgetRefused
from backend.accounting.usage.terms.zones import day_start_s

FIRST, LAST = date(1990, 1, 1), date(2200, 1, 1)


def day_of(text: str, part: str) -> date:
    """Raises BudgetRefused."""
    try:
        day = date.fromisoformat(text.strip())
    except ValueError as error:
        raise BudgetRefused(part, "Choose a day, such as 2026-11-01.") from error
    if not FIRST <= day <= LAST:
        raise BudgetRefused(part, f"Choose a day between {FIRST.year} and {LAST.year}.")
    return day


def start_s(day: date, zone: str) -> int:
    return day_start_s(day, ZoneInfo(zone))


def today(now_s: float, zone: str) -> date:
    return datetime.fromtimestamp(now_s, ZoneInfo(zone)).date()


def tomorrow_s(now_s: float, zone: str) -> int:
    return start_s(today(now_s, zone) + timedelta(days=1), zone)


def name_of(at_s: int, zone: str) -> str:
    return datetime.fromtimestamp(at_s, ZoneInfo(zone)).date().isoformat()
