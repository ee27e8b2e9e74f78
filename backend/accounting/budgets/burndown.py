"""How a budget is used up: day by day, against an even use, and where it is likely to go.

The forecast takes each coming day to be one like the last four weeks'. Its middle is their mean. Its band holds four of
five of a thousand futures put together from whole weeks of those days (of single days where there are fewer than two
weeks), drawn with replacement from weeks that were drawn in the same way: so both how much the use varies and how
little four weeks say about its mean are in it (a moving-block bootstrap after Künsch 1989, in two steps).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from backend.accounting.budgets.days import start_s
from backend.accounting.budgets.model import BudgetRow
from backend.accounting.usage import Answer, Question, Scope, Usage

HISTORY_DAYS = 28
FEWEST_DAYS = 7
LOOK_BACK_DAYS = 120  # for an account's first use
FUTURES = 1000
WEEK = 7
BAND = (10, 90)  # percentiles
LONGEST_DAYS = 3700  # of a period
SEED = 20_261_122  # the same figures at each look
Floats = npt.NDArray[np.float64]
METHOD = (
    f"Each coming day is taken to be like the last {HISTORY_DAYS}: the middle is their mean, the band holds 80 % of "
    f"{FUTURES:,} futures drawn from whole weeks of them (from single days where there are fewer than two weeks)."
)

GONE = "The site’s list of projects has no project of this name any more, so nothing can be counted."


@dataclass(frozen=True)
class Forecast:
    """From the present day on. `middle`, `low`, `high`: used in all at each day's end, `days` long."""

    middle: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    history_days: int
    out_day: date | None  # when the middle uses the budget up, within ten years; None: not, or it is used up
    out_early: date | None  # the same of the band's upper edge
    out_late: date | None  # and of its lower edge; None: not within the period


@dataclass(frozen=True)
class Burndown:
    """`days` of the period; `used` in all at the end of each, until the present one."""

    budget: BudgetRow
    days: tuple[date, ...]
    daily: tuple[float, ...]
    used: tuple[float, ...]
    total: float
    now_s: int
    forecast: Forecast | None
    why_none: str = ""  # there is no forecast
    used_up: date | None = None  # the day on which it was used up
    notes: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        return self.total / float(self.budget.amount)

    def ideal(self, day: int) -> float:
        """Used at the end of the n-th day (from 0), had it been used evenly."""
        return float(self.budget.amount) * (day + 1) / len(self.days)


def known(usage: Usage, budget: BudgetRow) -> bool:
    """Whether there is still what it is a budget of: a project may have been taken out of the list."""
    return not budget.project or usage.projects.current().named(budget.project) is not None


def totals(usage: Usage, budget: BudgetRow, now_s: int) -> float:
    """Used so far."""
    until_s = min(budget.until_s, max(budget.from_s + 1, now_s))
    answer = usage.ask(_question(budget, budget.from_s, until_s, usage.zone), Scope(everything=True))
    return float(answer.totals[budget.metric] or 0.0)


def burndown(usage: Usage, budget: BudgetRow, now_s: int) -> Burndown:
    """Of the jobs of everyone in the account and below it, or in the project. Raises WarehouseUnusable."""
    zone = usage.zone
    first, last = _day(budget.from_s, zone), _day(budget.until_s - 1, zone)
    days = tuple(first + timedelta(days=at) for at in range((last - first).days + 1))
    today = _day(now_s, zone)
    if not known(usage, budget):
        return Burndown(budget, days, (), (), 0.0, now_s, None, why_none=GONE)
    back_s = start_s(today - timedelta(days=LOOK_BACK_DAYS), zone)
    since_s = min(budget.from_s, back_s)
    until_s = min(max(now_s, since_s + 1), max(budget.until_s, back_s + 1))
    question = replace(_question(budget, since_s, until_s, zone), by=("day",))
    answer = usage.ask(question, Scope(everything=True))
    by_day = _by_day(answer, budget.metric)
    begun = [day for day in days if day <= today]
    daily = [by_day.get(day, 0.0) for day in begun]
    used = np.cumsum(daily).tolist() if daily else []
    total = float(used[-1]) if used else 0.0
    amount = float(budget.amount)
    made = Burndown(
        budget, days, tuple(daily), tuple(used), total, now_s, None,
        used_up=next((day for day, sofar in zip(begun, used, strict=True) if sofar >= amount), None),
        notes=tuple(note for note in answer.notes if _matters(note, usage, budget)),
    )  # fmt: skip
    if today > last:
        return replace(made, why_none="The period is over.")
    if budget.ended_s is not None:
        return replace(made, why_none="The budget was ended.")
    forecast, why = _forecast(made, by_day, today, zone)
    return replace(made, forecast=forecast, why_none=why)


def _matters(note: str, usage: Usage, budget: BudgetRow) -> bool:
    """Not what is true of the weeks before the period only, which are asked for the forecast."""
    if note.startswith("The first price"):
        first_s = usage.prices.current().first_s
        return first_s is not None and first_s > budget.from_s
    return True


def _question(budget: BudgetRow, since_s: int, until_s: int, zone: str) -> Question:
    whose = ("project", (budget.project,)) if budget.project else ("account", (budget.account,))
    return Question((budget.metric,), since_s, until_s, where=(whose,), zone=zone)


def _by_day(answer: Answer, metric: str) -> dict[date, float]:
    columns = answer.table.select(["day", metric]).to_pydict()
    return {
        date.fromisoformat(label): float(value)
        for label, value in zip(columns["day"], columns[metric], strict=True)
        if value is not None
    }


def _day(at_s: float, zone: str) -> date:
    return datetime.fromtimestamp(at_s, ZoneInfo(zone)).date()


def _forecast(made: Burndown, by_day: dict[date, float], today: date, zone: str) -> tuple[Forecast | None, str]:
    """From the days before this one, which are whole."""
    first_used = min((day for day, value in by_day.items() if value > 0), default=None)
    begin = today - timedelta(days=HISTORY_DAYS)
    if first_used is None or first_used >= today:
        return None, f"There is no forecast yet: nothing was used before today, and it needs {FEWEST_DAYS} days."
    begin = max(begin, first_used)
    count = (today - begin).days
    if count < FEWEST_DAYS:
        return None, (
            f"There is no forecast yet: it needs {FEWEST_DAYS} whole days of use, and there are {count} so far."
        )
    history = np.array([by_day.get(begin + timedelta(days=at), 0.0) for at in range(count)])
    coming = tuple(day for day in made.days if day >= today)
    if made.days[0] > today:
        rest = np.ones(len(coming))
        base = 0.0
    else:
        rest = np.ones(len(coming))
        rest[0] = 1.0 - _share_of_day(made.now_s, today, zone)
        base = made.total
    mean = float(history.mean())
    middle = base + mean * np.cumsum(rest)
    futures = base + np.cumsum(_futures(history, len(coming)) * rest, axis=1)
    low, high = np.percentile(futures, BAND, axis=0)
    amount = float(made.budget.amount)
    return Forecast(
        middle=tuple(middle.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        history_days=count,
        out_day=_reached_later(base, mean, amount, coming, middle),
        out_early=_reached(high, amount, coming) if base < amount else None,
        out_late=_reached(low, amount, coming) if base < amount else None,
    ), ""


def _share_of_day(now_s: int, today: date, zone: str) -> float:
    """How much of today is over."""
    begin_s, end_s = start_s(today, zone), start_s(today + timedelta(days=1), zone)
    return min(1.0, max(0.0, (now_s - begin_s) / (end_s - begin_s)))


def _futures(history: Floats, days: int) -> Floats:
    """FUTURES × days, by blocks that follow each other around the history's end."""
    dice = np.random.default_rng(SEED)
    block = WEEK if len(history) >= 2 * WEEK else 1
    steps = np.arange(block)

    def drawn(of: Floats, length: int) -> Floats:
        starts = dice.integers(0, of.shape[1], (FUTURES, -(-length // block)))
        places = (starts[:, :, None] + steps).reshape(FUTURES, -1)[:, :length] % of.shape[1]
        return np.take_along_axis(of, places, axis=1)

    once = drawn(np.broadcast_to(history, (FUTURES, len(history))), len(history))
    return drawn(once, days)


def _reached(path: Floats, amount: float, days: tuple[date, ...]) -> date | None:
    past = np.flatnonzero(path >= amount)
    return days[int(past[0])] if len(past) else None


def _reached_later(base: float, mean: float, amount: float, days: tuple[date, ...], middle: Floats) -> date | None:
    """On the way of the middle, also after the period's end."""
    if base >= amount:
        return None
    within = _reached(middle, amount, days)
    if within is not None or mean <= 0:
        return within
    more = int(np.ceil((amount - float(middle[-1])) / mean))
    return days[-1] + timedelta(days=more) if more <= LONGEST_DAYS else None
