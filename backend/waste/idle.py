"""Sessions and jobs that hold GPUs and have left them idle for a while, now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from backend.accounting.rounds import SESSION_PREFIX
from backend.telemetry import JobRef, Telemetry

LEAST_MINUTES = 5
MOST_MINUTES = 7 * 24 * 60
START_S = 90  # a footprint's start and the queue's may differ by as much as a requeue can't


@dataclass(frozen=True)
class IdleJob:
    """A running job whose GPUs have done nothing since `idle_since_s`. Sizes are of the whole job."""

    cluster: str
    job_id: int
    label: str
    name: str
    is_session: bool
    user: str
    uid: int | None
    account: str
    partition: str
    node_list: str
    gpus: int
    gpu_type: str
    gpu_model: str
    cpus: int
    memory_mb: int | None
    start_s: int
    limit_end_s: int | None
    idle_since_s: int
    last_s: int  # newest sample
    gpu_percent_mean: float | None  # over its life so far
    never: bool  # no GPU of it was ever busy


def idle_now(telemetry: Telemetry, cluster: str, seen: pa.Table, minutes: int, now_s: float) -> list[IdleJob]:
    """Those of the `seen` jobs (rows of `cluster.model.JOBS`) that run and have left all their GPUs idle for so long,
    the longest first. Blocks. Raises TelemetryUnusable."""
    whole = telemetry.lists_jobs
    prints = _with_gpus(telemetry.running(cluster))
    running = seen.filter(
        pc.and_(pc.equal(seen["state"], "RUNNING"), pc.is_in(seen["job_id"], value_set=pa.array(prints, pa.int64())))
    ).to_pylist()
    if not whole:
        prints |= _with_gpus(telemetry.footprints(_others(cluster, running, prints)))
    found = [_idle(cluster, row, prints[row["job_id"]]) for row in running if _same(row, prints[row["job_id"]], whole)]
    return sorted(_long_enough(found, minutes, now_s), key=lambda each: (each.idle_since_s, each.job_id))


def _with_gpus(prints: pa.Table) -> dict[int, dict[str, Any]]:
    return {row["job_id"]: row for row in prints.to_pylist() if row["gpus"] and row["gpu_measured_s"]}


def _others(cluster: str, running: Iterable[Mapping[str, Any]], prints: Mapping[int, Any]) -> list[JobRef]:
    """Those whose footprint has an earlier attempt in it, or another job of the number."""
    return [
        JobRef(cluster, row["job_id"], row["start_s"])
        for row in running
        if row["start_s"] is not None and prints[row["job_id"]]["start_s"] < row["start_s"] - START_S
    ]


def _same(row: Mapping[str, Any], print_: Mapping[str, Any], whole: bool) -> bool:
    """A number that came again, or another attempt, is another job. Not `whole`: the footprint may begin later than the
    job, and is the job's alone all the same."""
    if row["start_s"] is None:
        return False
    late_s = print_["start_s"] - row["start_s"]
    return bool(-START_S <= late_s <= START_S or (not whole and late_s > 0))


def _long_enough(jobs: Iterable[IdleJob], minutes: int, now_s: float) -> Iterable[IdleJob]:
    # Until the newest sample: what was not measured since is not known to be idle.
    return (each for each in jobs if min(now_s, each.last_s) - each.idle_since_s >= 60 * minutes)


def _idle(cluster: str, row: Mapping[str, Any], print_: Mapping[str, Any]) -> IdleJob:
    active_s = print_["last_active_s"]
    return IdleJob(
        cluster=cluster,
        job_id=row["job_id"],
        label=row["label"] or str(row["job_id"]),
        name=row["name"] or "",
        is_session=(row["name"] or "").startswith(SESSION_PREFIX),
        user=row["user"] or "",
        uid=row["uid"],
        account=row["account"] or "",
        partition=row["partition"] or "",
        node_list=row["node_list"] or "",
        gpus=row["gpus"] or print_["gpus"],
        gpu_type=row["gpu_type"] or "",
        gpu_model=print_["gpu_model"] or "",
        cpus=row["cpus"] or 0,
        memory_mb=row["memory_mb"],
        start_s=row["start_s"],
        limit_end_s=row["end_s"],
        idle_since_s=int(print_["first_s"] if active_s is None else active_s),
        last_s=int(print_["last_s"]),
        gpu_percent_mean=print_["gpu_percent_mean"],
        never=active_s is None and print_["start_s"] - row["start_s"] <= START_S,
    )
