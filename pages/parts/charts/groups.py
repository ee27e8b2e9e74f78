"""The largest few of a dimension, and the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pages.parts.charts.amounts import stacks
from pages.parts.charts.look import SERIES

Value = str | int | None
UNKNOWN = {
    "gpu_type": "no GPU type",
    "reservation": "no reservation",
    "app": "no app",
    "wckey": "no wckey",
    "qos": "no QOS",
}


def called(dimension: str, value: Value) -> str:
    """A value as a person reads it; where a job has none, words for that."""
    if value is None or value == "":
        return UNKNOWN.get(dimension, f"no {dimension.replace('_', ' ')}")
    return str(value)


@dataclass(frozen=True)
class Groups:
    """`top` in order of size; `others`: how many more there are."""

    top: tuple[Value, ...]
    others: int

    def places(self) -> dict[Value, int]:
        """Each one's place in the order; the rest has none."""
        return {value: index for index, value in enumerate(self.top)}


def grouped(sums: Mapping[Value, float], most: int = SERIES) -> Groups:
    """The largest `most`, by size and then by name."""
    order = sorted(sums, key=lambda value: (-sums[value], str(value)))
    return Groups(tuple(order[:most]), max(0, len(order) - most))


def weights(rows: Sequence[Mapping[str, Any]], dimension: str, metric: str) -> dict[Value, float]:
    """How much each value of the dimension weighs: the sum of the metric, or of the jobs where sums mean nothing."""
    by = metric if stacks(metric) or not rows or "jobs" not in rows[0] else "jobs"
    found: dict[Value, float] = {}
    for row in rows:
        amount = row.get(by)
        usable = amount is not None and math.isfinite(amount)
        found[row[dimension]] = found.get(row[dimension], 0.0) + (float(amount or 0) if usable else 0.0)
    return found
