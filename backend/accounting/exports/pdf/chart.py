"""The picture above a PDF's table: stacked bars or lines over time, or a ranking."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyarrow as pa
from reportlab.lib.colors import Color, HexColor
from reportlab.pdfgen.canvas import Canvas

from backend.accounting.exports.pdf.script import draw, set_text
from backend.accounting.exports.sheet import Chart, Sheet

HEIGHT = 190.0
# Told apart by people who see colours differently, too (Okabe and Ito 2008); the last is "all others".
COLOURS = tuple(
    HexColor(code) for code in ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
)
OTHERS = HexColor("#A9B1BE")
INK, QUIET, LINE = HexColor("#171A21"), HexColor("#5F6878"), HexColor("#E0E3E9")
MOST_RANKED = 15
BUCKETS = frozenset({"hour", "day", "week", "month", "quarter", "year"})
SMALL = 7.0


@dataclass(frozen=True)
class Place:
    """Where on a page: the upper left corner, and the width to use. Points."""

    canvas: Canvas
    x: float
    top: float
    width: float


@dataclass(frozen=True)
class Series:
    """One colour's values, one for each label; None where the figure is undefined."""

    name: str
    values: tuple[float | None, ...]
    colour: Color


def draw_chart(place: Place, sheet: Sheet, table: pa.Table) -> float:
    """Draw `sheet.chart` of the table; gives the height it took."""
    chart = sheet.chart
    if chart is None or chart.kind == "none" or not table.num_rows:
        return 0.0
    if not {chart.along, chart.measure} <= set(table.column_names):
        return 0.0
    labels, series = arranged(table, chart)
    if chart.along in BUCKETS:
        _over_time(place, labels, series, lines=chart.kind == "lines")
        height = HEIGHT
    else:
        height = _ranking(place, labels, series[0])
    column = next(column for column in sheet.columns if column.name == chart.measure)
    words = f"{column.title or column.name}{f' ({column.unit})' if column.unit else ''}"
    place.canvas.setFillColor(QUIET)
    draw(place.canvas, set_text(words, SMALL), place.x, place.top + 4, SMALL)
    if len(series) > 1:
        _legend(place, series, place.top - height - 12)
        height += 18
    return height + 14


def arranged(table: pa.Table, chart: Chart) -> tuple[list[str], list[Series]]:
    """Labels in the table's order (a ranking's by size), and the largest series; the rest are one."""
    along = [_word(value) for value in table[chart.along].to_pylist()]
    measure = table[chart.measure].to_pylist()
    split = [_word(value) for value in table[chart.split].to_pylist()] if chart.split in table.column_names else None
    labels = list(dict.fromkeys(along))
    if chart.along not in BUCKETS:
        sums: dict[str, float] = dict.fromkeys(labels, 0.0)
        for label, value in zip(along, measure, strict=True):
            sums[label] += value or 0.0
        labels = sorted(labels, key=lambda label: -sums[label])[:MOST_RANKED]
        return labels, [Series("", tuple(sums[label] for label in labels), COLOURS[0])]
    place = {label: at for at, label in enumerate(labels)}
    names = split or [""] * len(along)
    by_name: dict[str, list[float | None]] = {}
    for name, label, value in zip(names, along, measure, strict=True):
        row = by_name.setdefault(name, [None] * len(labels))
        if value is not None:
            row[place[label]] = (row[place[label]] or 0.0) + float(value)
    order = sorted(by_name, key=lambda name: -sum(value or 0.0 for value in by_name[name]))
    shown = order if len(order) <= len(COLOURS) else order[: len(COLOURS) - 1]
    series = [Series(name, tuple(by_name[name]), COLOURS[at]) for at, name in enumerate(shown)]
    if len(shown) < len(order):
        rest = [sum(by_name[name][at] or 0.0 for name in order[len(shown) :]) for at in range(len(labels))]
        series.append(Series(f"{len(order) - len(shown)} others", tuple(rest), OTHERS))
    return labels, series


def _word(value: object) -> str:
    return "none" if value is None else str(value)


def _over_time(place: Place, labels: list[str], series: list[Series], *, lines: bool) -> None:
    canvas = place.canvas
    left, base, inner = place.x + 46, place.top - HEIGHT + 16, place.width - 46
    if lines:
        highest = max((value for each in series for value in each.values if value is not None), default=0.0)
    else:
        highest = max(sum(each.values[at] or 0.0 for each in series) for at in range(len(labels)))
    scale = _axis(Place(canvas, left, base, inner), highest)
    step = inner / len(labels)
    if lines:
        for each in series:
            points = [
                None if value is None else (left + (at + 0.5) * step, base + value * scale)
                for at, value in enumerate(each.values)
            ]
            _line(canvas, each.colour, points)
    else:
        for at in range(len(labels)):
            y = base
            for each in series:
                tall = (each.values[at] or 0.0) * scale
                canvas.setFillColor(each.colour)
                canvas.rect(left + at * step + step * 0.08, y, step * 0.84, tall, stroke=0, fill=1)
                y += tall
    canvas.setFillColor(QUIET)
    every = max(1, math.ceil(len(labels) / (inner / 62)))
    for at in range(0, len(labels), every):
        drawn = set_text(labels[at], SMALL, 60)
        draw(canvas, drawn, left + (at + 0.5) * step - drawn.width / 2, base - 10, SMALL)


def _line(canvas: Canvas, colour: Color, points: list[tuple[float, float] | None]) -> None:
    """A dot for each value, joined where nothing is missing between them."""
    canvas.setStrokeColor(colour)
    canvas.setFillColor(colour)
    canvas.setLineWidth(1.4)
    for before, point in zip([None, *points], points, strict=False):
        if point is not None:
            canvas.circle(*point, 1.3, stroke=0, fill=1)
            if before is not None:
                canvas.line(*before, *point)


def _axis(place: Place, highest: float) -> float:
    """Lines at round values, the lowest at the place's top, with their labels; gives points a unit."""
    canvas, left, base, width, height = place.canvas, place.x, place.top, place.width, HEIGHT - 26
    step = round_step(highest)
    count = max(1, math.ceil(highest / step)) if highest > 0 else 1
    scale = height / (count * step)
    for number in range(count + 1):
        y = base + number * step * scale
        canvas.setStrokeColor(LINE)
        canvas.setLineWidth(0.5)
        canvas.line(left, y, left + width, y)
        canvas.setFillColor(QUIET)
        drawn = set_text(f"{number * step:,.10g}", SMALL)
        draw(canvas, drawn, left - 4 - drawn.width, y - 2.5, SMALL)
    return scale


def round_step(highest: float) -> float:
    """A step of 1, 2 or 5 times a power of ten, with which four to eight of them reach `highest`."""
    if highest <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(highest / 4))
    return next(power * times for times in (1, 2, 5, 10) if highest / (power * times) <= 6)


def _ranking(place: Place, labels: list[str], series: Series) -> float:
    canvas, top, width = place.canvas, place.top, place.width
    row, left = 13.0, place.x + 130
    highest = max((value or 0.0 for value in series.values), default=0.0) or 1.0
    for at, (label, value) in enumerate(zip(labels, series.values, strict=True)):
        y = top - (at + 1) * row
        drawn = set_text(label, 8, 122)
        canvas.setFillColor(INK)
        draw(canvas, drawn, left - 6 - drawn.width, y + 2.5, 8)
        long = (width - 130 - 70) * (value or 0.0) / highest
        canvas.setFillColor(series.colour)
        canvas.rect(left, y, max(0.0, long), row - 3, stroke=0, fill=1)
        canvas.setFillColor(QUIET)
        draw(canvas, set_text(f"{value or 0.0:,.1f}", SMALL), left + long + 4, y + 2.5, SMALL)
    return row * len(labels) + 4


def _legend(place: Place, series: list[Series], y: float) -> None:
    canvas, at = place.canvas, place.x
    each_width = place.width / len(series)
    for each in series:
        canvas.setFillColor(each.colour)
        canvas.rect(at, y, 7, 7, stroke=0, fill=1)
        canvas.setFillColor(INK)
        draw(canvas, set_text(each.name, SMALL, each_width - 16), at + 10, y + 1, SMALL)
        at += each_width
