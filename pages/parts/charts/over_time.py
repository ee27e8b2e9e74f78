"""When it was used: bars for each piece of time, stacked by who or what used it; lines where sums mean nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bokeh.models import ColumnDataSource
from bokeh.plotting import figure

from backend.accounting.usage import Answer
from pages.parts.charts import buckets
from pages.parts.charts.amounts import amount, log_marks, shape, stacks, ticks
from pages.parts.charts.chart import (
    NOTHING,
    Cell,
    Chart,
    Key,
    NothingToDraw,
    Place,
    Twin,
    blank,
    mark,
    named,
    shaded,
    touchable,
)
from pages.parts.charts.groups import Groups, Value, called, grouped, weights
from pages.parts.charts.look import Look

MOST_PIECES = 800
WIDE = 30  # times the median
REST = "~rest"  # of a dimension, in a cell's address: every value that has no colour of its own
Values = dict[tuple[int, int], float]  # (series, bucket) to value


@dataclass(frozen=True)
class _Plan:
    """The answer, sorted into series and buckets. The series after the last of `groups.top` is the rest."""

    metric: str
    title: str
    grain: str
    zone: str
    dimension: str
    groups: Groups
    starts: list[int]  # where the buckets begin
    values: Values
    keys: list[str]  # each bucket as the answer's table names it
    since_s: int  # of the window: the first bucket may have begun before
    seen_s: int | None

    @property
    def rest(self) -> int:
        return len(self.groups.top)

    def series(self) -> list[int]:
        return list(range(self.rest + (1 if self.groups.others else 0)))

    def name(self, series: int) -> str:
        if not self.dimension:
            return self.title
        if series == self.rest:
            return f"{self.groups.others:,} others"
        return called(self.dimension, self.groups.top[series])

    def place(self, series: int, bucket: int | None) -> Place:
        """The cell of a mark; without a bucket, of the whole series."""
        found: dict[str, str | int | None] = {}
        if bucket is not None:
            found[self.grain] = self.keys[bucket]
        if self.dimension:
            found[self.dimension] = REST if series == self.rest else self.groups.top[series]
        return found

    def when(self, bucket: int) -> str:
        name = buckets.name(self.grain, self.starts[bucket], self.zone)
        if self.starts[bucket] < self.since_s:
            name += f", from {buckets.short_day(self.since_s, self.zone)}"
        now = self.seen_s is not None and self.starts[bucket] <= self.seen_s
        last = bucket == len(self.starts) - 1 or (self.seen_s or 0) < self.starts[bucket + 1]
        return f"{name}, so far" if now and last else name


def over_time(answer: Answer, look: Look, title: str = "", before: Sequence[float | None] = ()) -> Chart:
    """`answer` by one grain of time, and by one dimension or none. `before`: the totals of the period before, one
    for each of its buckets, drawn as a dashed line. Raises NothingToDraw."""
    plan = _planned(answer, title)
    bars = stacks(plan.metric)
    highest = _highest(plan) if bars else max(plan.values.values(), default=0.0)
    shown_before = list(before[: len(plan.starts)]) if bars else []
    top = max([highest, *(value for value in shown_before if value is not None and math.isfinite(value))])
    places, names, end = ticks(top, plan.metric, 4 if look.narrow else 5)
    start, spread = 0.0, wide(plan)
    if spread:
        places, names, start, end = log_marks(list(plan.values.values()))
    height = 280 if look.narrow else 340
    ends = (-0.5, len(plan.starts) - 0.5)
    made = blank(look, height, ends, (start, end), y_axis_type="log" if spread else "linear")
    mark(made.yaxis[0], places, names)
    wanted = max(3, look.width // (62 if plan.grain != "hour" else 74))
    marks = buckets.labels(plan.grain, plan.starts, plan.zone, wanted)
    mark(made.xaxis[0], [float(index) for index in marks], {float(index): text for index, text in marks.items()})
    shaded(made, plan.starts, plan.seen_s, look)
    colours = [*look.series[: plan.rest], look.rest]
    if not plan.dimension:
        colours = [look.accent]
    (_bars if bars else _lines)(made, plan, look, colours)
    keys = [Key(plan.name(each), colours[each], plan.place(each, None)) for each in plan.series()]
    if any(value is not None for value in shown_before):
        line = [value if value is not None else math.nan for value in shown_before]
        made.line(list(range(len(line))), line, line_color=look.strong, line_dash=[5, 4], line_width=1.5)
        keys.append(Key("the period before", look.strong, dashed=True))
    return Chart(
        kind="time",
        figure=made,
        height=height,
        name=f"{plan.title} per {plan.grain}: {_summary(plan, bars)}",
        legend=tuple(keys) if plan.dimension or len(keys) > 1 else (),
        twin=_twin(plan, shown_before),
        notes=("The scale is logarithmic: the waits are too different for another.",) if spread else (),
    )


def wide(plan: _Plan) -> bool:
    """Whether times are so different that a plain scale would show the longest and nothing else."""
    if shape(plan.metric) != "seconds":
        return False
    values = sorted(max(1.0, value) for value in plan.values.values())
    return values[-1] > WIDE * values[len(values) // 2]


def _planned(answer: Answer, title: str) -> _Plan:
    question = answer.question
    grain = next((name for name in question.by if name in buckets.GRAINS), "")
    if not grain:
        raise NothingToDraw("This chart needs pieces of time.")
    dimension = next((name for name in question.by if name != grain), "")
    metric = question.metrics[0]
    rows = [row for row in answer.table.to_pylist() if row[metric] is not None and math.isfinite(row[metric])]
    if not rows:
        raise NothingToDraw(NOTHING)
    pieces = buckets.of(grain, question.zone, question.since_s, question.until_s)
    if len(pieces) > MOST_PIECES:
        raise NothingToDraw(f"That would be {len(pieces):,} time steps, too many to tell apart. Choose longer ones.")
    index = {piece.label: number for number, piece in enumerate(pieces)}
    groups = grouped(weights(rows, dimension, metric)) if dimension else Groups((None,), 0)
    if not stacks(metric):
        groups = Groups(groups.top, 0)  # a mean of means is none
    series = groups.places()
    values: Values = {}
    for row in rows:
        bucket = index.get(row[grain])
        each: int | None = series.get(row[dimension]) if dimension else 0
        if each is None and groups.others:
            each = len(groups.top)
        if bucket is None or each is None:
            continue
        values[each, bucket] = values.get((each, bucket), 0.0) + float(row[metric])
    return _Plan(
        metric=metric,
        title=title or metric,
        grain=grain,
        zone=question.zone,
        dimension=dimension,
        groups=groups,
        starts=[piece.from_s for piece in pieces],
        values=values,
        keys=[piece.label for piece in pieces],
        since_s=question.since_s,
        seen_s=answer.as_of_s,
    )


def _highest(plan: _Plan) -> float:
    sums: dict[int, float] = {}
    for (_, bucket), value in plan.values.items():
        sums[bucket] = sums.get(bucket, 0.0) + value
    return max(sums.values(), default=0.0)


def _bars(made: figure, plan: _Plan, look: Look, colours: Sequence[str]) -> None:
    columns: dict[str, list[Any]] = {name: [] for name in ("left", "right", "bottom", "top", "colour", *_TIPS)}
    many = len(plan.starts) > max(40, look.width // 9)
    half = 0.5 if many else 0.41
    floor = dict.fromkeys(range(len(plan.starts)), 0.0)
    for each in plan.series():
        for bucket in range(len(plan.starts)):
            value = plan.values.get((each, bucket))
            if not value:
                continue
            _append(columns, plan, each, bucket, value)
            columns["left"].append(bucket - half)
            columns["right"].append(bucket + half)
            columns["bottom"].append(floor[bucket])
            floor[bucket] += value
            columns["top"].append(floor[bucket])
            columns["colour"].append(colours[each])
    source = ColumnDataSource(columns)
    drawn = made.quad(
        left="left", right="right", bottom="bottom", top="top", fill_color="colour", source=source,
        line_color=look.ground, line_width=0 if many else 1, hover_fill_color="colour", hover_fill_alpha=0.78,
        hover_line_color=look.strong,
    )  # fmt: skip
    touchable(made, source, look, drawn)


def _lines(made: figure, plan: _Plan, look: Look, colours: Sequence[str]) -> None:
    columns: dict[str, list[Any]] = {name: [] for name in ("x", "y", "colour", *_TIPS)}
    least = 1.0 if wide(plan) else 0.0  # a logarithm knows no zero
    for each in plan.series():
        path = [plan.values.get((each, bucket), math.nan) for bucket in range(len(plan.starts))]
        drawn_path = [max(value, least) if math.isfinite(value) else value for value in path]
        made.line(list(range(len(path))), drawn_path, line_color=colours[each], line_width=2, line_join="round")
        for bucket, value in enumerate(path):
            if math.isfinite(value):
                _append(columns, plan, each, bucket, value)
                columns["x"].append(bucket)
                columns["y"].append(max(value, least))
                columns["colour"].append(colours[each])
    source = ColumnDataSource(columns)
    drawn = made.scatter(
        "x", "y", source=source, size=7 if len(plan.starts) <= 62 else 5, fill_color="colour", line_color=look.ground,
        hover_line_color=look.strong, hover_fill_color="colour",
    )  # fmt: skip
    touchable(made, source, look, drawn)


_TIPS = ("tip_head", "tip_body", "cell")


def _append(columns: Mapping[str, list[Any]], plan: _Plan, series: int, bucket: int, value: float) -> None:
    columns["tip_head"].append(f"{plan.name(series)} · {amount(value, plan.metric)}")
    columns["tip_body"].append(plan.when(bucket))
    columns["cell"].append(named(plan.place(series, bucket)))


def _summary(plan: _Plan, bars: bool) -> str:
    sums: dict[int, float] = {}
    for (_, bucket), value in plan.values.items():
        sums[bucket] = sums.get(bucket, 0.0) + value if bars else max(sums.get(bucket, 0.0), value)
    peak = max(sums, key=lambda bucket: sums[bucket])
    words = f"the most is {amount(sums[peak], plan.metric)} on {buckets.name(plan.grain, plan.starts[peak], plan.zone)}"
    names = ", ".join(plan.name(each) for each in plan.series()[:3]) if plan.dimension else ""
    return f"{words}{f'; {names} first' if names else ''}. The table holds every figure."


def _twin(plan: _Plan, before: Sequence[float | None]) -> Twin:
    series = plan.series()
    total = stacks(plan.metric) and len(series) > 1
    heads = [(plan.grain.capitalize(), False), *((plan.name(each), True) for each in series)]
    if total:
        heads.append(("All", True))
    if before:
        heads.append(("The period before", True))
    rows = []
    for bucket, start in enumerate(plan.starts):
        row = [Cell(plan.when(bucket), start)]
        for each in series:
            value = plan.values.get((each, bucket))
            row.append(
                Cell(amount(value, plan.metric), value, plan.place(each, bucket))
                if value is not None
                else Cell(amount(0 if stacks(plan.metric) else None, plan.metric), 0)
            )
        if total:
            whole = sum(plan.values.get((each, bucket), 0.0) for each in series)
            row.append(Cell(amount(whole, plan.metric), whole, {plan.grain: plan.keys[bucket]} if whole else None))
        if before:
            earlier = before[bucket] if bucket < len(before) else None
            row.append(Cell(amount(earlier, plan.metric), earlier))
        rows.append(tuple(row))
    return Twin(tuple(heads), tuple(rows))


__all__ = ["REST", "Value", "over_time"]
