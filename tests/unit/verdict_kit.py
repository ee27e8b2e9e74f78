"""Jobs for rules and for whatever shows verdicts, in few words: `footprint(**columns)` and `asked(**facts)`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from backend.telemetry import FOOTPRINTS, Device, JobRef, Series, Spark, TelemetryState, TelemetryUnusable

GB = 2**30
HOUR = 3600
T0 = 1_767_225_600  # 2026-01-01 UTC


def footprint(**columns: Any) -> dict[str, Any]:
    """A job of 4 hours on 8 CPUs of one node, half busy, with 20 of its 32 GB: nothing stands out. No GPU."""
    row: dict[str, Any] = dict.fromkeys(FOOTPRINTS.names)
    row |= {
        "cluster": "c", "job_id": 7, "start_s": T0, "end_s": T0 + 4 * HOUR, "first_s": float(T0 + 10),
        "last_s": float(T0 + 4 * HOUR - 5), "samples": 1430, "every_s": 10.0, "nodes": 1, "cpus": 8,
        "cpu_cores_mean": 4.0, "cpu_cores_p95": 7.0, "cpu_node_low": 0.5, "cpu_node_high": 0.5, "threads_max": 10,
        "memory_peak_bytes": 20 * GB, "memory_limit_bytes": 32 * GB, "oom_kills": 0, "gpus": 0,
        "last_active_s": float(T0 + 4 * HOUR - 5),
    }  # fmt: skip
    return row | columns


def gpu_footprint(**columns: Any) -> dict[str, Any]:
    """The same job on two GPUs, both half busy and a third full."""
    return footprint(
        **{
            "gpus": 2, "gpu_model": "NVIDIA A100-SXM4-80GB", "gpu_percent_mean": 45.0,
            "gpu_percent_by_device": [45.0, 45.0], "gpus_used": 2, "gpu_idle_s": 0.1 * 8 * HOUR,
            "gpu_measured_s": 8.0 * HOUR, "gpu_memory_peak_bytes": 27 * GB, "gpu_memory_total_bytes": 80 * GB,
            "gpu_throttled_share": 0.0, "gpu_waits_share": 0.0,
        } | columns
    )  # fmt: skip


def asked(**facts: Any) -> dict[str, Any]:
    """What that job asked for and was given."""
    return {
        "req_mem_mb": 32 * 1024, "mem_mb": 32 * 1024, "cpus": 8, "req_cpus": 8, "gpus": 0, "gpu_type": None,
        "time_limit_s": 8 * HOUR, "elapsed_s": 4 * HOUR, "state": "COMPLETED", "nodes": 1, "partition": "batch",
        "exit_status": 0, "similar_failures": 0,
    } | facts  # fmt: skip


def asked_gpus(**facts: Any) -> dict[str, Any]:
    return asked(**({"gpus": 2, "gpu_type": "a100"} | facts))


class Measured:
    """Telemetry of which a test says what it knows; `broken` makes every question fail. Counts what it is asked."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.lists_jobs = True
        self.rows = list(rows)
        self.lines: dict[JobRef, Spark] = {}
        self.state = TelemetryState(as_of_s=None)
        self.broken = ""
        self.asked: list[tuple[str, Any]] = []

    def _ask(self, what: str, of: Any) -> None:
        self.asked.append((what, of))
        if self.broken:
            raise TelemetryUnusable(self.broken)

    def devices(self, job: JobRef) -> tuple[Device, ...]:
        self._ask("devices", job)
        return ()

    def series(self, job: JobRef, metrics: Sequence[str], **_how: Any) -> tuple[Series, ...]:
        self._ask("series", job)
        return ()

    def samples(self, job: JobRef, devices: Sequence[Device], **_how: Any) -> Iterator[tuple[Device, pa.Table]]:
        self._ask("samples", job)
        return iter(())

    def sparks(self, jobs: Sequence[JobRef], points: int = 32) -> dict[JobRef, Spark]:
        self._ask("sparks", tuple(jobs))
        return {job: self.lines[job] for job in jobs if job in self.lines}

    def footprints(self, jobs: Sequence[JobRef]) -> pa.Table:
        self._ask("footprints", tuple(jobs))
        wanted = {(job.cluster, job.job_id, job.start_s) for job in jobs}
        return self._table(row for row in self.rows if (row["cluster"], row["job_id"], row["start_s"]) in wanted)

    def running(self, cluster: str) -> pa.Table:
        self._ask("running", cluster)
        return self._table(row for row in self.rows if row["cluster"] == cluster and row["end_s"] is None)

    def footprints_of(
        self, clusters: Collection[str], since_s: int, until_s: int, columns: Sequence[str] = FOOTPRINTS.names
    ) -> pa.Table:
        self._ask("footprints_of", (tuple(clusters), since_s, until_s))
        return self._table(
            row for row in self.rows
            if row["cluster"] in clusters and (row["end_s"] is None or since_s <= row["end_s"] < until_s)
        ).select(list(columns))  # fmt: skip

    @staticmethod
    def _table(rows: Iterable[dict[str, Any]]) -> pa.Table:
        return pa.Table.from_pylist(list(rows), schema=FOOTPRINTS)
