"""What a person wants to know of a snapshot: pure functions, quick on 100,000 jobs.

Cut by subject: `capacity` (GPUs, totals, node tiles, partitions), `queue` (filter, sort, fold, one job),
`fit` (what would start now), `reasons` (why a job waits, in plain words).
"""

from __future__ import annotations

from backend.cluster.views.capacity import (
    GpuModel,
    GpuTile,
    NodeTile,
    PartitionLoad,
    Totals,
    gpus_by_model,
    node_kind,
    node_tiles,
    partition_loads,
    totals,
)
from backend.cluster.views.fit import Fit, FitRequest, fits_now
from backend.cluster.views.queue import (
    JobFilter,
    QueuePage,
    QueueSummary,
    active_jobs,
    filter_jobs,
    fold_arrays,
    job,
    jobs_on_node,
    page_of,
    queue_page,
    queue_summary,
    visible_jobs,
)
from backend.cluster.views.reasons import reason_in_words

__all__ = [
    "Fit",
    "FitRequest",
    "GpuModel",
    "GpuTile",
    "JobFilter",
    "NodeTile",
    "PartitionLoad",
    "QueuePage",
    "QueueSummary",
    "Totals",
    "active_jobs",
    "filter_jobs",
    "fits_now",
    "fold_arrays",
    "gpus_by_model",
    "job",
    "jobs_on_node",
    "node_kind",
    "node_tiles",
    "page_of",
    "partition_loads",
    "queue_page",
    "queue_summary",
    "reason_in_words",
    "totals",
    "visible_jobs",
]
