"""What is known of a job's life: series of points, and one row that sums it up (its footprint)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import pyarrow as pa


@dataclass(frozen=True)
class JobRef:
    """One job, or one attempt of it. Ids come again, so a job is only its id within [start_s, end_s or now)."""

    cluster: str
    job_id: int
    start_s: int
    end_s: int | None = None


@dataclass(frozen=True)
class Device:
    """Something of a job that was measured. `model` is a GPU's name ("" where it has none)."""

    node: str
    device: str
    model: str
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Series:
    """One metric of one device: a point for each `step_s`, means with the least and greatest in it.

    `times_s` are the points' beginnings, rising; a stretch without samples has no point. Lists are of one length.
    """

    node: str
    device: str
    metric: str
    step_s: float
    times_s: tuple[float, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]


@dataclass(frozen=True)
class Spark:
    """A few points of a job's life, for a line as small as a word. None where nothing was measured."""

    since_s: int
    step_s: int
    gpu_percent: tuple[float | None, ...]  # mean over its GPUs; empty without GPUs
    cpu_percent: tuple[float | None, ...]  # of its CPUs, all nodes together
    memory_percent: tuple[float | None, ...]  # of its limit; empty where it has none
    last_s: float  # its newest sample: the line's last step may be far from over when a job falls silent
    every_s: float  # usual distance of two samples


@dataclass(frozen=True)
class Kept:
    """What lies on this machine's disk of one tier: samples, minutes, archives and footprints of ended jobs, and the
    log of what is in none of these yet. `rows`: values, or jobs; with the times of the first and the last of them
    None where that is not known without reading it all."""

    tier: Literal["raw", "minute", "archive", "jobs", "log"]
    size_bytes: int
    rows: int | None = None
    since_s: float | None = None
    until_s: float | None = None


@dataclass(frozen=True)
class TelemetryState:
    """How far it is known: the newest sample taken in from anyone, what failed and since when; and what is kept here,
    nothing where another server keeps it."""

    as_of_s: float | None
    error: str | None = None
    error_since_s: float | None = None
    oldest_s: float | None = None
    kept: tuple[Kept, ...] = ()

    @property
    def size_bytes(self) -> int:
        """All of it on disk."""
        return sum(each.size_bytes for each in self.kept)


class TelemetryUnusable(Exception):
    """What was measured can't be read now; the message says why, for a person."""


Resolution = Literal["auto", "raw", "minute"]

FOOTPRINTS = pa.schema(
    [
        ("cluster", pa.string()),
        ("job_id", pa.int64()),
        ("start_s", pa.int64()),  # of the attempt that was measured, as the scheduler says
        ("end_s", pa.int64()),  # null while it runs
        ("first_s", pa.float64()),  # first and last sample
        ("last_s", pa.float64()),
        ("samples", pa.int64()),  # looks at the job, on the node with the fewest
        ("every_s", pa.float64()),  # usual distance of two
        ("nodes", pa.int32()),  # nodes that were measured
        ("cpus", pa.int32()),  # CPUs of the job on these nodes; null when unknown
        ("cpu_cores_mean", pa.float64()),
        ("cpu_cores_p95", pa.float64()),
        ("cpu_node_low", pa.float64()),  # share of its CPUs that the least busy node used, mean over time, 0..1
        ("cpu_node_high", pa.float64()),
        ("threads_max", pa.int64()),  # on one node
        ("memory_peak_bytes", pa.int64()),  # on the node with the most
        ("memory_limit_bytes", pa.int64()),  # of that node's part of the job; null: none or unknown
        ("oom_kills", pa.int64()),
        ("gpus", pa.int32()),  # GPUs (or MIG instances) that were measured
        ("gpu_model", pa.string()),  # the only one, else "" for several, null without
        ("gpu_percent_mean", pa.float64()),  # busy where the GPU counts it, else the driver's utilisation; 0..100
        ("gpu_percent_by_device", pa.list_(pa.float64())),  # mean of each, in the order of node and device
        ("gpus_used", pa.int32()),  # those that were busy above IDLE_GPU_PERCENT in at least one sample in twenty
        ("gpu_idle_s", pa.float64()),  # GPU seconds below IDLE_GPU_PERCENT
        ("gpu_measured_s", pa.float64()),  # GPU seconds measured
        ("gpu_memory_peak_bytes", pa.int64()),  # of the GPU with the most
        ("gpu_memory_total_bytes", pa.int64()),  # of one GPU
        ("gpu_power_mean_w", pa.float64()),  # of one GPU
        ("gpu_throttled_share", pa.float64()),  # of GPU time, by power excluded: heat and hardware, 0..1
        ("gpu_waits_share", pa.float64()),  # of time in which GPUs were below 50 % while a CPU of the job was full
        ("read_bytes", pa.float64()),  # block devices, over all
        ("write_bytes", pa.float64()),
        ("last_active_s", pa.float64()),  # last time a GPU was not idle (without GPUs: above 2 % of its CPUs)
        ("spark_since_s", pa.int64()),
        ("spark_step_s", pa.int64()),
        ("spark_gpu", pa.list_(pa.float64())),  # at most 32 points, as in Spark
        ("spark_cpu", pa.list_(pa.float64())),
        ("spark_memory", pa.list_(pa.float64())),
    ]
)
"""One row a job and attempt; null where a thing was not measured."""


class Telemetry(Protocol):
    """What pages, REST and rules ask, whatever keeps the samples. Blocking, for threads; safe in several.

    Every method raises TelemetryUnusable. None of them decides who may see a job: the caller has.
    """

    @property
    def state(self) -> TelemetryState: ...

    def devices(self, job: JobRef) -> tuple[Device, ...]:
        """What of the job was measured, in the order of node and device; GPUs by number."""

    def series(
        self,
        job: JobRef,
        metrics: Sequence[str],
        *,
        since_s: float | None = None,
        until_s: float | None = None,
        points: int = 600,
        nodes: Sequence[str] | None = None,
        resolution: Resolution = "auto",
    ) -> tuple[Series, ...]:
        """The points of every device within [since, until) (None: the job's own), at most `points` a series.

        "auto" makes no bins that are narrower than the usual distance of two samples, "raw" does. Bins are aligned to
        multiples of their step, so that later calls append to earlier ones.
        """

    def samples(
        self, job: JobRef, devices: Sequence[Device], *, since_s: float | None = None, until_s: float | None = None
    ) -> Iterator[tuple[Device, pa.Table]]:
        """All that was measured within [since, until), as fine as it is kept: one device after another, each in one or
        more tables that follow each other: `time_s` and a column a metric, null where it was not measured then."""

    def sparks(self, jobs: Sequence[JobRef], points: int = 32) -> dict[JobRef, Spark]:
        """A small line for each job that was measured; others are left out."""

    def footprints(self, jobs: Sequence[JobRef]) -> pa.Table:
        """Rows of FOOTPRINTS for those of the jobs that were measured, running ones until now."""

    def running(self, cluster: str) -> pa.Table:
        """Rows of FOOTPRINTS for every job that sent samples within the last ten minutes."""

    def footprints_of(
        self, clusters: Collection[str], since_s: int, until_s: int, columns: Sequence[str] = FOOTPRINTS.names
    ) -> pa.Table:
        """Rows of FOOTPRINTS of all jobs of these clusters that ended in [since, until), and those that run."""

    @property
    def lists_jobs(self) -> bool:
        """Whether `footprints_of` knows when jobs began; else they are found by `footprints` alone, each by name."""
