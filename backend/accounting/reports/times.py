"""When a schedule is due: on the 1st, on a weekday or daily, at an hour of the zone's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Literal
from zoneinfo import ZoneInfo

from backend.accounting.reports.windows import later

Every = Literal["month", "week", "day"]
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class Times:
    """`weekday` counts for "week" only, 0 is Monday. An hour that the clocks leave out is the next one that is."""

    every: Every
    hour: int
    weekday: int = 0

    def after(self, moment_s: float, zone: ZoneInfo) -> int:
        """The first occurrence later than the moment."""
        day = self._begin(datetime.fromtimestamp(moment_s, zone).date())
        while (found := self._at(day, zone)) <= moment_s:
            day = self._next(day)
        return found

    def latest(self, due_s: int, now_s: float, zone: ZoneInfo) -> int:
        """Of the occurrences from `due_s` on that have passed, the last: what was missed is made up once."""
        found = due_s
        while (following := self.after(found, zone)) <= now_s:
            found = following
        return found

    def words(self) -> str:
        """`On the 1st of each month at 06:00`."""
        day = {"month": "On the 1st of each month", "week": f"Every {WEEKDAYS[self.weekday]}", "day": "Every day"}
        return f"{day[self.every]} at {self.hour:02}:00"

    def _begin(self, day: date) -> date:
        """The last day of an occurrence up to `day`."""
        if self.every == "month":
            return day.replace(day=1)
        return day - timedelta(days=(day.weekday() - self.weekday) % 7) if self.every == "week" else day

    def _next(self, day: date) -> date:
        return later(day, 1) if self.every == "month" else day + timedelta(days=7 if self.every == "week" else 1)

    def _at(self, day: date, zone: ZoneInfo) -> int:
        at = datetime(day.year, day.month, day.day, self.hour, tzinfo=zone)
        # In the hour that is left out in spring, Python gives a time that reads differently when looked at again.
        return int(at.astimezone(timezone.utc).timestamp())
