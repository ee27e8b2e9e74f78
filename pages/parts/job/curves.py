"""A job's curves as the browser draws them: whole numbers of a share of each curve's largest, few and quickly made.

24 hours of 8 GPUs and 6 metrics are some 50,000 numbers; as decimals they would take longer to write than to read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backend.telemetry import BY_NAME as METRICS
from backend.telemetry import Device, JobRef, Series, Telemetry
from pages.parts.job.groups import Chart, Group

PARTS = 10_000  # of a curve's largest value: what is drawn is as exact as a screen, the CSV as what was measured
MOST_POINTS, FEWEST_POINTS = 1200, 60
MOST_NUMBERS = 400_000  # of one answer
HEAT_FROM = 17  # so many devices are drawn as a map
MOST_LIMITS = 4


def points_for(wanted: int, devices: int, charts: int) -> int:
    """How many points a curve gets where there are many curves."""
    fair = MOST_NUMBERS // max(1, devices * charts)
    return min(wanted, MOST_POINTS, max(FEWEST_POINTS, fair))


def curves(
    telemetry: Telemetry,
    job: JobRef,
    groups: Sequence[Group],
    *,
    since_s: float | None,
    until_s: float | None,
    points: int,
    nodes: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """The groups' charts that something was measured for, as JSON values. Blocks. Raises TelemetryUnusable."""
    metrics = tuple(dict.fromkeys(name for group in groups for name in group.metrics))
    found = telemetry.series(job, metrics, since_s=since_s, until_s=until_s, points=points, nodes=nodes)
    by_metric: dict[str, list[Series]] = {}
    for each in found:
        if each.times_s:
            by_metric.setdefault(each.metric, []).append(each)
    return [
        {
            "name": group.name,
            "charts": [_chart(chart, by_metric) for chart in group.charts if by_metric.get(chart.metric)],
        }
        for group in groups
    ]


def _chart(chart: Chart, by_metric: dict[str, list[Series]]) -> dict[str, Any]:
    metric, lines = METRICS[chart.metric], by_metric[chart.metric]
    many = len(lines) >= HEAT_FROM
    return {
        "metric": metric.name,
        "title": metric.title,
        "unit": metric.unit,
        "highest": metric.highest,
        "limit_title": METRICS[chart.limit].title if chart.limit else "",
        "limits": limits(by_metric.get(chart.limit, [])),
        "lines": [packed(each, band=not many) for each in lines],
    }


def limits(lines: Sequence[Series]) -> list[float]:
    """What was there, last: each different amount once, the largest first."""
    return sorted({each.highs[-1] for each in lines if each.highs and each.highs[-1] > 0}, reverse=True)[:MOST_LIMITS]


def packed(series: Series, *, band: bool) -> list[Any]:
    """[node, device, first time, step, scale, means, lows, highs]: value = number × scale, null where none was
    measured; lows and highs are 0 where they say nothing more."""
    times = np.asarray(series.times_s)
    step = series.step_s or 1.0
    at = np.rint((times - times[0]) / step).astype(int)
    means, lows, highs = (np.asarray(part, dtype=float) for part in (series.means, series.lows, series.highs))
    largest = float(np.max(highs)) if highs.size else 0.0
    scale = largest / PARTS if largest > 0 and math.isfinite(largest) else 1.0
    same = bool(np.array_equal(lows, means) and np.array_equal(highs, means))
    whole = at[-1] + 1 == at.size

    def numbers(values: np.ndarray) -> list[int | None]:
        scaled = np.rint(values / scale).astype(int).tolist()
        if whole:
            return list(scaled)
        spread: list[int | None] = [None] * int(at[-1] + 1)
        for place, value in zip(at.tolist(), scaled, strict=True):
            spread[place] = value
        return spread

    more = [0, 0] if same or not band else [numbers(lows), numbers(highs)]
    return [series.node, series.device, float(times[0]), step, float(f"{scale:.8g}"), numbers(means), *more]


def device_rows(devices: Sequence[Device]) -> list[list[str]]:
    """[node, device, model]."""
    return [[each.node, each.device, each.model] for each in devices]
