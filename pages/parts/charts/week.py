"""When the week is busy: each hour of the week as a tile, the mean of that hour over the window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bokeh.models import ColumnDataSource

from backend.accounting.usage import Answer
from pages.parts.charts import buckets
from pages.parts.charts.amounts import NONE, adds_up, plain
from pages.parts.charts.chart import NOTHING, Cell, Chart, Key, NothingToDraw, Twin, blank, mark, named, touchable
from pages.parts.charts.look import Look

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def week(answer: Answer, look: Look, title: str = "") -> Chart:
    """`answer` by hour. An hour of the week that is not over yet does not count as an empty one.

    Raises NothingToDraw.
    """
    question = answer.question
    metric, title = question.metrics[0], title or question.metrics[0]
    if not adds_up(metric):
        raise NothingToDraw(f"{title} can’t be added up over weeks. Choose an amount: CPU hours, jobs started.")
    until_s = min(question.until_s, answer.as_of_s or question.until_s)
    counts: dict[tuple[int, int], int] = {}
    place_of: dict[str, tuple[int, int]] = {}
    for hour in buckets.of("hour", question.zone, question.since_s, max(until_s, question.since_s + 1)):
        moment = buckets.local(hour.from_s, question.zone)
        place = place_of[hour.label] = (moment.weekday(), moment.hour)
        counts[place] = counts.get(place, 0) + 1
    sums: dict[tuple[int, int], float] = {}
    for row in answer.table.to_pylist():
        if row[metric] is not None and math.isfinite(row[metric]) and row["hour"] in place_of:
            place = place_of[row["hour"]]
            sums[place] = sums.get(place, 0.0) + float(row[metric])
    if not any(sums.values()):
        raise NothingToDraw(NOTHING)
    means = {place: sums.get(place, 0.0) / count for place, count in counts.items()}
    return _drawn(means, counts, title, look)


def _drawn(means: dict[tuple[int, int], float], counts: dict[tuple[int, int], int], title: str, look: Look) -> Chart:
    top = max(means.values()) or 1.0
    height = 250 if look.narrow else 292
    made = blank(look, height, (-0.5, 23.5), (6.5, -0.5))
    step = 6 if look.narrow else 3 if look.width < 760 else 2
    hours = range(0, 24, step)
    mark(made.xaxis[0], [hour - 0.5 for hour in hours], {hour - 0.5: f"{hour:02d}:00" for hour in hours})
    mark(made.yaxis[0], [float(day) for day in range(7)], {float(day): DAYS[day][:3] for day in range(7)})
    made.ygrid.grid_line_color = None
    places = sorted(means)
    columns: dict[str, list[Any]] = {
        "x": [hour for _, hour in places],
        "y": [day for day, _ in places],
        "colour": [_shade(means[place] / top, look.scale) for place in places],
        "tip_head": [
            f"{DAYS[day]} {hour:02d}:00–{(hour + 1) % 24:02d}:00 · {_mean(means[day, hour])}" for day, hour in places
        ],
        "tip_body": [f"mean of {counts[place]:,} such {'hour' if counts[place] == 1 else 'hours'}" for place in places],
        "cell": [named({"weekday": day, "hour_of_day": hour}) for day, hour in places],
    }  # fmt: skip
    source = ColumnDataSource(columns)
    drawn = made.rect(
        "x", "y", width=0.94, height=0.9, fill_color="colour", line_color=None, source=source,
        hover_fill_color="colour", hover_line_color=look.strong,
    )  # fmt: skip
    touchable(made, source, look, drawn)
    peak = max(places, key=lambda place: means[place])
    steps = len(look.scale)
    return Chart(
        kind="week",
        figure=made,
        height=height,
        name=f"{title} by hour of the week, mean: most on {DAYS[peak[0]]} at {peak[1]:02d}:00 with "
        f"{_mean(means[peak])}. The table holds every figure.",
        legend=tuple(
            Key(_mean(top * index / (steps - 1)), colour)
            for index, colour in enumerate(look.scale)
            if index in (0, steps // 2, steps - 1)
        ),
        twin=Twin(
            (("Hour", False), *((day, True) for day in DAYS)),
            tuple(
                (
                    Cell(f"{hour:02d}:00", hour),
                    *(
                        Cell(_mean(means.get((day, hour))), means.get((day, hour)),
                             {"weekday": day, "hour_of_day": hour} if (day, hour) in means else None)
                        for day in range(7)
                    ),
                )
                for hour in range(24)
            ),
        ),
        notes=(f"{title} an hour: each tile is the mean of that hour over the weeks of the window.",),
    )  # fmt: skip


def _mean(value: float | None) -> str:
    """A mean of counts is rarely whole."""
    return NONE if value is None else plain(value)


def _shade(share: float, scale: Sequence[str]) -> str:
    """A colour between the scale's, by linear steps of sRGB."""
    place = max(0.0, min(1.0, share)) * (len(scale) - 1)
    low = min(int(place), len(scale) - 2)
    part = place - low
    ends = [[int(scale[low + each][i : i + 2], 16) for i in (1, 3, 5)] for each in (0, 1)]
    mixed = [round(a + (b - a) * part) for a, b in zip(*ends, strict=True)]
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
