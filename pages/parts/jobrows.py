"""A job as the browser draws it: in a row of the queue, in a node's list, in the drawer."""

from __future__ import annotations

from typing import Any

from backend.cluster import Snapshot
from backend.cluster.views import reason_in_words

COLUMNS = (
    "job_id", "label", "array_job_id", "name", "user", "account", "partition", "qos", "state", "flags",
    "reason", "priority", "submit_s", "start_s", "start_expected", "end_s", "time_limit_s", "nodes",
    "node_list", "cpus", "memory_mb", "gpus", "gpu_type",
)  # fmt: skip


def job_row(job: dict[str, Any], snapshot: Snapshot) -> dict[str, Any]:
    """The row's facts, and in `why` the reason it waits in words."""
    row = {name: job[name] for name in COLUMNS}
    row["why"] = reason_in_words(job, snapshot) if job["state"] == "PENDING" else ""
    for name in ("tasks", "tasks_running", "tasks_pending", "folded"):
        if name in job:
            row[name] = job[name]
    return row
