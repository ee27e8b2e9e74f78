"""How figures are written: in a chart, its table twin, its axes and its words, the same everywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from backend.accounting.usage import CATALOGUE
from backend.accounting.usage.terms.catalogue import Unit

Number = float | int
Shape = Literal["amount", "count", "seconds", "share"]

_SHAPES: dict[Unit, Shape] = {
    "h": "amount", "GB·h": "amount", "kWh": "amount", "money": "amount", "s": "seconds", "%": "share", "count": "count",
}  # fmt: skip
# A job that runs for three days is one job of each of them, and one of all three.
_ONCE = frozenset({"jobs", "attempts"})
_STEPS_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800, 2592000)
NONE = "–"


def shape(metric: str) -> Shape:
    """How the values of a metric are to be written. Raises BadQuestion for an unknown one."""
    return _SHAPES[CATALOGUE.metric(metric).unit]


def adds_up(metric: str) -> bool:
    """Whether the values of different hours may be added."""
    return stacks(metric) and metric not in _ONCE


def stacks(metric: str) -> bool:
    """Whether the parts of one moment make up its whole."""
    return shape(metric) not in ("seconds", "share")


def amount(value: Number | None, metric: str) -> str:
    """The value for a person: as many digits as say something, never more than is known."""
    if value is None or not math.isfinite(value):
        return NONE
    match shape(metric):
        case "seconds":
            return span(value)
        case "share":
            return f"{100 * value:.1f} %"
        case "count":
            return f"{round(value):,}"
        case _:
            return plain(value)


def plain(value: Number) -> str:
    """1,234 · 123.4 · 12.34 · 0.0123"""
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 999.95:
        return f"{value:,.0f}"
    if size >= 99.995:
        return f"{value:.1f}"
    if size >= 0.1:
        return f"{value:.2f}"
    return f"{value:.2g}" if size >= 1e-4 else f"{value:.1e}"


def span(seconds: Number) -> str:
    """45 s, 2 min 10 s, 12 min, 3 h 20 min, 2 d 4 h."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 600 and whole % 60:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    if hours < 48:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    days = hours // 24
    return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"


def short(value: Number) -> str:
    """For an axis: 0, 500, 1.5k, 20k, 3M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def change(now: Number | None, before: Number | None) -> float | None:
    """How much more than before, as a share of what was; None where there is nothing to compare with."""
    if now is None or before is None or before == 0 or not math.isfinite(now) or not math.isfinite(before):
        return None
    return (now - before) / before


def ticks(top: Number, metric: str, wanted: int = 5) -> tuple[list[float], dict[float, str], float]:
    """Round marks from 0 up to at least `top`: places, their labels, and where the axis ends."""
    kind = shape(metric)
    top = float(top) if math.isfinite(top) and top > 0 else 1.0
    if kind == "seconds":
        step = next((float(step) for step in _STEPS_S if top / step <= wanted), float(round_step(top, wanted)))
    elif kind == "share":
        step = round_step(top, wanted)
    else:
        step = round_step(top, wanted)
        if kind == "count":
            step = max(1.0, step)
    count = math.ceil(top / step - 1e-9)
    places = [round(step * index, 12) for index in range(count + 1)]
    return places, {place: _tick(place, kind) for place in places}, places[-1]


def _tick(place: float, kind: Shape) -> str:
    if kind == "seconds":
        return span(place)
    return f"{100 * place:g} %" if kind == "share" else short(place)


def round_step(top: float, wanted: int) -> float:
    """1, 2 or 5 times a power of ten, so that at most `wanted` steps reach the top."""
    raw = top / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= raw * (1 - 1e-9)), 10 * power)


def log_marks(values: Sequence[float]) -> tuple[list[float], dict[float, str], float, float]:
    """Marks of a logarithmic axis of seconds: places, labels, its ends. Nothing is below one second."""
    marks = (1.0, 10.0, 60.0, 600.0, 3600.0, 21600.0, 86400.0, 604800.0, 2592000.0)
    top, least = max([60.0, *values]), max(1.0, min([60.0, *values]))
    low = max(mark for mark in marks if mark <= least)
    shown = [mark for mark in marks if low <= mark <= top]
    return shown, {mark: span(mark) for mark in shown}, 0.8 * low, top * 1.6
