"""What a job used of what it had, in three bars and a line: as it was measured, else as Slurm's accounts have it, else
why it is not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backend.accounting.history import JobKey
from backend.accounting.rights import scope_of
from backend.accounting.warehouse import WarehouseUnusable
from backend.identity import Viewer
from backend.services import Services
from backend.telemetry import IDLE_GPU_PERCENT, JobRef, Spark, TelemetryUnusable
from pages.parts.desk import Refused
from pages.parts.topics import Message

LOW, FAIR = 25.0, 60.0  # percent: below, a bar is "low" or "fair", else "good"
FULL = 95.0  # of memory: near its limit
GB = 2**30
MB = 2**20
Row = Mapping[str, Any]


def by_slurm(row: Row) -> list[Message]:
    """From a row of the accounts."""
    return [bar for bar in (_gpu(row, None), _cpu(row, None), _memory(row, None)) if bar is not None]


def measured(services: Services, viewer: Viewer, keys: Sequence[JobKey]) -> Message:
    """The bars and lines of those of the jobs that the viewer may see. Raises Refused."""
    try:
        rows = [row for row in services.history.rows(keys, scope_of(viewer)).to_pylist() if row["start_s"] is not None]
    except WarehouseUnusable as error:
        raise Refused(f"The accounts can’t be read: {error}") from error
    refs = {JobRef(row["cluster"], row["job_id"], row["start_s"], row["end_s"]): row for row in rows}
    try:
        footprints = services.telemetry.footprints(tuple(refs)).to_pylist()
        sparks = services.telemetry.sparks(tuple(refs))
    except TelemetryUnusable as error:
        return {"jobs": [], "problem": str(error)}
    by_job = {(each["cluster"], each["job_id"], each["start_s"]): each for each in footprints}
    found = []
    for ref, row in refs.items():
        footprint = by_job.get((ref.cluster, ref.job_id, ref.start_s))
        spark = sparks.get(ref)
        if footprint is None and spark is None:
            continue
        bars = (_gpu(row, footprint), _cpu(row, footprint), _memory(row, footprint))
        found.append(
            {
                "job": [row["cluster"], row["job_id"], row["origin_s"]],
                "bars": [bar for bar in bars if bar is not None],
                "spark": line(spark) if spark is not None else None,
            }
        )
    return {"jobs": found, "problem": ""}


def line(spark: Spark) -> Message | None:
    """The points of what matters of the job: its GPUs where it has any, else its CPUs."""
    for name, points in (("GPU", spark.gpu_percent), ("CPU", spark.cpu_percent)):
        known = [point for point in points if point is not None]
        if known:
            mean = sum(known) / len(known)
            shown = [None if point is None else round(max(0.0, min(100.0, point)), 1) for point in points]
            return {"name": name, "points": shown, "mean": round(mean)}
    return None


def _gpu(row: Row, footprint: Row | None) -> Message | None:
    if not row["gpus"]:
        return None
    percent = footprint["gpu_percent_mean"] if footprint is not None else None
    if percent is None:
        return _unknown("GPU", _never_ran(row) or "Its GPUs were not measured.")
    used, measured_gpus = footprint["gpus_used"], footprint["gpus"]  # type: ignore[index]
    words = f"{percent:.0f} % busy on average"
    if used is not None and measured_gpus and used < measured_gpus:
        words += f"; {used} of {measured_gpus} GPUs were used"
    return _bar("GPU", percent, words, idle=IDLE_GPU_PERCENT)


def _cpu(row: Row, footprint: Row | None) -> Message:
    cores, cpus = (footprint["cpu_cores_mean"], footprint["cpus"]) if footprint is not None else (None, None)
    if cores is not None and cpus:
        return _bar("CPU", 100 * cores / cpus, f"{cores:.1f} of {cpus} CPUs busy on average")
    percent = row["cpu_percent"]
    if percent is not None:
        return _bar("CPU", percent, f"{percent:.0f} % of its CPU time used, by Slurm’s accounts")
    why = (
        "Slurm tells it when the job has ended." if row["end_s"] is None else "Slurm’s accounts have no CPU time of it."
    )
    return _unknown("CPU", _never_ran(row) or why)


def _memory(row: Row, footprint: Row | None) -> Message:
    peak = footprint["memory_peak_bytes"] if footprint is not None else None
    limit = footprint["memory_limit_bytes"] if footprint is not None else None
    if peak is not None and limit:
        return _bar("Memory", 100 * peak / limit, f"{_size(peak)} of {_size(limit)} at its peak", full=True)
    percent = row["memory_percent"]
    if percent is not None:
        asked = row["mem_mb"] * MB // max(1, row["nodes"] or 1)
        words = f"{_size(row['mem_peak_mb'] * MB)} of {_size(asked)} by its largest task, by Slurm’s accounts"
        return _bar("Memory", percent, words, full=True)
    if row["end_s"] is None:
        return _unknown("Memory", "Slurm tells it when the job has ended.")
    return _unknown("Memory", _never_ran(row) or "Slurm’s accounts have no peak of its memory.")


def _never_ran(row: Row) -> str:
    return "It never ran." if row["start_s"] is None else ""


def _bar(name: str, percent: float, words: str, *, idle: float = 0.0, full: bool = False) -> Message:
    level, said = "good", "good"
    if full and percent >= FULL:
        level, said = "full", "near its limit"
    elif percent < idle:
        level, said = "low", "idle"
    elif percent < LOW:
        level, said = "low", "low"
    elif percent < FAIR:
        level, said = "fair", "fair"
    return {"name": name, "percent": round(max(0.0, percent), 1), "level": level, "said": said, "words": words}


def _unknown(name: str, why: str) -> Message:
    return {"name": name, "percent": None, "level": "none", "said": "not known", "words": why}


def _size(size_bytes: float) -> str:
    if size_bytes < GB:
        return f"{size_bytes / MB:.0f} MB"
    gigabytes = size_bytes / GB
    return f"{gigabytes:.0f} GB" if gigabytes >= 10 else f"{gigabytes:.1f} GB"
