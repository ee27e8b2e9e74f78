"""The queue as one person may see it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import pyarrow as pa

from backend.cluster import Snapshot
from backend.cluster.views import job, visible_jobs
from backend.identity import Viewer, policy

TASK = re.compile(r"[0-9]+[_+][0-9]+")  # one task of an array, one component of a het job
HELD = ("JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue")


class JobNotFound(Exception):
    """No such job, or none that this person may know of."""


def seen_by(viewer: Viewer, snapshot: Snapshot, scope: Literal["own", "all"]) -> pa.Table:
    """The jobs of the viewer alone (`own`), or all the viewer may see (`all`); rows as in `JOBS`."""
    table = snapshot.jobs.table
    if scope == "own":
        return visible_jobs(table, viewer.name, uid=viewer.uid)
    if policy.allowed(viewer, "jobs.all"):
        return table
    return visible_jobs(table, viewer.name, viewer.coordinates, uid=viewer.uid)


def find(viewer: Viewer, snapshot: Snapshot, job_id: int) -> dict[str, Any]:
    """One job's row. Raises JobNotFound."""
    row = job(snapshot.jobs.table, job_id)
    if row is None or not policy.allowed(viewer, "job.see", row):
        raise JobNotFound
    return row


def is_own(viewer: Viewer, row: Mapping[str, Any]) -> bool:
    """Whether it is the viewer's: by uid where the console knows it."""
    if viewer.uid is not None and row["uid"] is not None:
        return bool(row["uid"] == viewer.uid)
    return bool(row["user"] == viewer.name)


def is_one_task(row: Mapping[str, Any]) -> bool:
    """Whether the row is one task of an array, not the array's folded rest."""
    return bool(TASK.fullmatch(row["label"]))


def is_held(row: Mapping[str, Any]) -> bool:
    """Whether it waits because someone holds it; Slurm's texts of a requeue into held say so in words."""
    reason = row["reason"] or ""
    return row["state"] == "PENDING" and (reason.partition(",")[0] in HELD or "held" in reason)
