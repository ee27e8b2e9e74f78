"""What is left of a budget: day by day, beside an even use, and where it is likely to go."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from typing import Any

from bokeh.models import ColumnDataSource
from bokeh.models.annotations import Span
from bokeh.plotting import figure

from backend.accounting.budgets import Burndown
from backend.accounting.budgets.days import start_s
from pages.parts.charts import buckets
from pages.parts.charts.amounts import plain, round_step, short
from pages.parts.charts.chart import Cell, Chart, Key, Twin, blank, mark, touchable
from pages.parts.charts.look import Look

Point = tuple[float, float]  # days since the period's start, and what is left then


@dataclass(frozen=True)
class _Lines:
    left: list[Point]
    middle: list[Point]
    low: list[Point]  # the least that is likely to be left
    high: list[Point]


def burndown(made: Burndown, look: Look, *, unit: str, zone: str) -> Chart:
    """`unit`: the currency, or "h"."""
    amount = float(made.budget.amount)
    lines = _lines(made, amount, zone)
    lowest = min([0.0, *(y for points in (lines.left, lines.low) for _, y in points)])
    step = round_step(amount - lowest, 5 if look.narrow else 7)
    places = [step * at for at in range(math.floor(lowest / step + 1e-9), math.ceil(amount / step - 1e-9) + 1)]
    names = {place: f"{'−' if place < 0 else ''}{short(round(abs(place), 9))}" for place in places}
    height = 280 if look.narrow else 340
    plot = blank(look, height, (0, len(made.days)), (places[0], places[-1]))
    mark(plot.yaxis[0], places, names)
    starts = [start_s(day, zone) for day in made.days]
    marks = buckets.labels("day", starts, zone, max(3, look.width // 62))
    mark(plot.xaxis[0], [float(at) for at in marks], {float(at): text for at, text in marks.items()})
    _draw(plot, made, lines, look, amount)
    _points(plot, made, lines, look, unit)
    keys = [Key("Left", look.accent), Key("Used evenly", look.ink, dashed=True)]
    if lines.middle:
        keys.append(Key("Forecast, with the band of 80 %", look.series[1], dashed=True))
    return Chart(
        kind="burndown",
        figure=plot,
        name=f"Left of the budget by day: {_amount(amount - made.total, unit)} of {_amount(amount, unit)} now. "
        "The table holds every figure.",
        height=height,
        twin=_twin(made, lines, unit, amount),
        legend=tuple(keys),
    )


def _lines(made: Burndown, amount: float, zone: str) -> _Lines:
    left: list[Point] = [(0.0, amount)]
    begun = len(made.used)
    over = made.now_s >= made.budget.until_s
    for at, used in enumerate(made.used):
        last = at == begun - 1 and not over
        left.append((at + _share(made, at, zone) if last else at + 1.0, amount - used))
    if made.forecast is None:
        return _Lines(left if begun else [], [], [], [])
    first = max(begun - 1, 0)
    start = [left[-1]] if begun else [(0.0, amount)]

    def ahead(used: tuple[float, ...]) -> list[Point]:
        return start + [(first + at + 1.0, amount - value) for at, value in enumerate(used)]

    forecast = made.forecast
    return _Lines(left if begun else [], ahead(forecast.middle), ahead(forecast.high), ahead(forecast.low))


def _share(made: Burndown, at: int, zone: str) -> float:
    begin_s = start_s(made.days[at], zone)
    return min(1.0, max(0.0, (made.now_s - begin_s) / 86400))


def _draw(plot: figure, made: Burndown, lines: _Lines, look: Look, amount: float) -> None:
    plot.line([0, len(made.days)], [amount, 0], line_color=look.ink, line_dash=[5, 4], line_width=1.5)
    if lines.middle:
        colour = look.series[1]
        xs = [x for x, _ in lines.middle]
        low, high = [y for _, y in lines.low], [y for _, y in lines.high]
        plot.varea(x=xs, y1=low, y2=high, fill_color=colour, fill_alpha=0.25)
        plot.line(xs, [y for _, y in lines.middle], line_color=colour, line_dash=[2, 3], line_width=2.5)
    if lines.left:
        xs, ys = [x for x, _ in lines.left], [y for _, y in lines.left]
        plot.varea(x=xs, y1=[0.0] * len(xs), y2=ys, fill_color=look.accent, fill_alpha=0.12)
        plot.line(xs, ys, line_color=look.accent, line_width=2.5, line_join="round")
    plot.add_layout(Span(location=0, dimension="width", line_color=look.strong, line_width=1))


def _points(plot: figure, made: Burndown, lines: _Lines, look: Look, unit: str) -> None:
    columns: dict[str, list[Any]] = {name: [] for name in ("x", "y", "colour", "tip_head", "tip_body", "cell")}

    def add(point: Point, colour: str, head: str, body: str) -> None:
        for name, value in zip(columns, (*point, colour, head, body, ""), strict=True):
            columns[name].append(value)

    for at, point in enumerate(lines.left[1:]):
        body = f"{_day(made.days[at])}: used {_amount(made.daily[at], unit)}"
        add(point, look.accent, f"{_amount(point[1], unit)} left", body)
    first = max(len(made.used) - 1, 0)
    for at, point in enumerate(lines.middle[1:]):
        low, high = lines.low[at + 1][1], lines.high[at + 1][1]
        band = f"{_day(made.days[first + at])}: likely {_amount(low, unit)} to {_amount(high, unit)}"
        add(point, look.series[1], f"{_amount(point[1], unit)} left, forecast", band)
    source = ColumnDataSource(columns)
    small = len(made.days) > look.width // 12
    drawn = plot.scatter(
        "x", "y", source=source, size=3 if small else 6, fill_color="colour", line_color=look.ground,
        line_width=0 if small else 1, hover_line_color=look.strong, hover_fill_color="colour",
    )  # fmt: skip
    touchable(plot, source, look, drawn)


def _twin(made: Burndown, lines: _Lines, unit: str, amount: float) -> Twin:
    heads = (("Day", False), ("Used", True), ("Used in all", True), ("Left", True), ("Left if used evenly", True),
             ("Forecast of what is left", True))  # fmt: skip
    first = max(len(made.used) - 1, 0)
    rows = []
    for at, day in enumerate(made.days):
        even = amount - made.ideal(at)
        known = at < len(made.used)
        used = (made.daily[at], made.used[at], amount - made.used[at]) if known else (None, None, None)
        ahead = at - first + 1
        forecast = Cell("")
        if lines.middle and 1 <= ahead < len(lines.middle):
            middle, low, high = (points[ahead][1] for points in (lines.middle, lines.low, lines.high))
            words = f"{_amount(middle, unit)} ({_amount(low, unit)} to {_amount(high, unit)})"
            forecast = Cell(words, middle)
        rows.append((
            Cell(_day(day), day.toordinal()),
            *(Cell("" if each is None else _amount(each, unit), each) for each in used),
            Cell(_amount(even, unit), even), forecast,
        ))  # fmt: skip
    return Twin(heads, tuple(rows))


def _day(day: date) -> str:
    return f"{day:%a} {day.day} {day:%b %Y}"


def _amount(value: float, unit: str) -> str:
    text = plain(abs(value))
    return f"{'−' if value < 0 and text != '0' else ''}{text} {unit}".rstrip()
