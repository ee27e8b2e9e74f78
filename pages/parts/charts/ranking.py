"""Who used most: one bar each, the longest first, and all others together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bokeh.core.properties import value as fixed
from bokeh.models import ColumnDataSource

from backend.accounting.usage import Answer
from pages.parts.charts.amounts import amount, change, stacks, ticks
from pages.parts.charts.chart import FONT, NOTHING, Cell, Chart, Key, NothingToDraw, Twin, blank, mark, named, touchable
from pages.parts.charts.groups import Value, called
from pages.parts.charts.look import Look
from pages.parts.charts.over_time import REST

MOST = 20
ROW_PX = 27
LETTER_PX = 8.0
LONGEST = 22  # letters of a name beside its bar


def ranking(answer: Answer, look: Look, title: str = "", before: Mapping[Value, float | None] | None = None) -> Chart:
    """`answer` by one dimension. `before`: the same of the period before, drawn as a mark on the bar.

    Raises NothingToDraw.
    """
    question = answer.question
    dimension, metric = question.by[0], question.metrics[0]
    known = [row for row in answer.table.to_pylist() if row[metric] is not None and math.isfinite(row[metric])]
    known = [row for row in known if row[metric] > 0 or not stacks(metric)]
    if not known:
        raise NothingToDraw(NOTHING)
    known.sort(key=lambda row: (-row[metric], str(row[dimension])))
    shown, hidden = known[:MOST], known[MOST:]
    title = title or metric
    bars: list[tuple[Value, str, float]] = [
        (row[dimension], called(dimension, row[dimension]), float(row[metric])) for row in shown
    ]
    if hidden and stacks(metric):
        bars.append((REST, f"{len(hidden):,} others", sum(float(row[metric]) for row in hidden)))
    earlier = [(before or {}).get(value) if value != REST else None for value, _, _ in bars]
    top = max([value for _, _, value in bars] + [value for value in earlier if value is not None])
    places, names, end = ticks(top, metric, 3 if look.narrow else 6)
    height = 64 + ROW_PX * len(bars)
    # Room at the right for the figure that stands behind the longest bar.
    made = blank(look, height, (0, end * (1.24 if look.narrow else 1.1)), (len(bars) - 0.4, -0.6))
    mark(made.xaxis[0], places, names)
    longest = LONGEST if not look.narrow else 13
    mark(
        made.yaxis[0],
        [float(row) for row in range(len(bars))],
        {float(row): _clipped(name, longest) for row, (_, name, _) in enumerate(bars)},
    )
    made.yaxis.major_label_text_color = look.strong
    made.ygrid.grid_line_color = None
    made.xgrid.grid_line_color = look.line
    columns: dict[str, list[Any]] = {
        "y": list(range(len(bars))),
        "value": [value for _, _, value in bars],
        "colour": [look.rest if key == REST else look.accent for key, _, _ in bars],
        "text": [amount(value, metric) for _, _, value in bars],
        "text_x": [
            _beside(value, was, LETTER_PX * len(amount(value, metric)) * end * 1.2 / look.width)
            for was, (_, _, value) in zip(earlier, bars, strict=True)
        ],
        "tip_head": [f"{name} · {amount(value, metric)}" for _, name, value in bars],
        "tip_body": [
            f"the period before: {amount(was, metric)}" if was is not None else title
            for was, _ in zip(earlier, bars, strict=True)
        ],
        "cell": [named({dimension: key}) for key, _, _ in bars],
    }
    source = ColumnDataSource(columns)
    drawn = made.hbar(
        y="y", right="value", height=0.66, fill_color="colour", line_color=None, source=source,
        hover_fill_color="colour", hover_fill_alpha=0.8, hover_line_color=look.strong,
    )  # fmt: skip
    touchable(made, source, look, drawn)
    made.text(
        "text_x", "y", "text", source=source, x_offset=7, text_baseline="middle", text_color=look.ink,
        text_font_size="12px", text_font=fixed(FONT),
    )  # fmt: skip
    keys: tuple[Key, ...] = ()
    marks = [(was, row) for row, was in enumerate(earlier) if was is not None]
    if marks:
        made.segment(
            x0=[was for was, _ in marks], x1=[was for was, _ in marks], y0=[row - 0.42 for _, row in marks],
            y1=[row + 0.42 for _, row in marks], line_color=look.strong, line_width=2,
        )  # fmt: skip
        keys = (Key(title, look.accent), Key("the period before", look.strong, dashed=True))
    leader = ", ".join(f"{name} {amount(value, metric)}" for _, name, value in bars[:3])
    return Chart(
        kind="rank",
        figure=made,
        height=height,
        name=f"{title} by {dimension.replace('_', ' ')}, largest first: {leader}. The table holds every figure.",
        legend=keys,
        twin=_twin(known, dimension, metric, title, before),
    )


def _beside(value: float, mark: float | None, room: float) -> float:
    """Where the figure begins: behind its bar, or behind the mark that would stand in it."""
    return mark if mark is not None and value <= mark <= value + room else value


def _clipped(name: str, longest: int) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _twin(
    rows: list[dict[str, Any]], dimension: str, metric: str, title: str, before: Mapping[Value, float | None] | None
) -> Twin:
    whole = sum(float(row[metric]) for row in rows) if stacks(metric) else 0.0
    heads = [(dimension.replace("_", " ").capitalize(), False), (title, True)]
    heads += [("Share", True)] if whole else []
    heads += [("Before", True), ("Change", True)] if before is not None else []
    made = []
    for row in rows:
        value = row[metric]
        cells = [
            Cell(called(dimension, row[dimension]), str(row[dimension] or "")),
            Cell(amount(value, metric), value, {dimension: row[dimension]}),
        ]
        if whole:
            cells.append(Cell(f"{100 * value / whole:.1f} %", value / whole))
        if before is not None:
            was = before.get(row[dimension])
            grown = change(value, was)
            cells.append(Cell(amount(was, metric), was))
            cells.append(Cell("–" if grown is None else f"{100 * grown:+.0f} %", grown))
        made.append(tuple(cells))
    return Twin(tuple(heads), tuple(made))
