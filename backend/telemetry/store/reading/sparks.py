"""The small line of a job, from its row of FOOTPRINTS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backend.telemetry.model import Spark


def spark_of(row: Mapping[str, Any], points: int) -> Spark:
    """At most `points` of the row's points; where it has more, means of neighbours."""
    lines = [row[name] or [] for name in ("spark_gpu", "spark_cpu", "spark_memory")]
    longest = max(len(line) for line in lines)
    each = max(1, -(-longest // max(points, 1)))
    gpu, cpu, memory = (tuple(_means(line, each)) for line in lines)
    return Spark(row["spark_since_s"], row["spark_step_s"] * each, gpu, cpu, memory, row["last_s"], row["every_s"])


def _means(line: Sequence[float | None], each: int) -> list[float | None]:
    groups = [[value for value in line[at : at + each] if value is not None] for at in range(0, len(line), each)]
    return [sum(group) / len(group) if group else None for group in groups]
