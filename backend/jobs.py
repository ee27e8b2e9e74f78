"""The queue as one person may see it, and cancelling a job: the same for pages and REST."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Literal

import pyarrow as pa

from backend.cluster import ENDED_STATES, Snapshot
from backend.cluster.views import job, visible_jobs
from backend.identity import Viewer, policy
from backend.launcher import LauncherError
from backend.services import Services
from backend.store import Outcome, audit

TASK = re.compile(r"[0-9]+[_+][0-9]+")  # one task of an array, one component of a het job


class JobNotFound(Exception):
    """No such job in the queue, or none that this person may know of."""


class CancelRefused(Exception):
    """The job is not cancelled; the message is for the person. `why` is `rights` or `over`."""

    def __init__(self, why: Literal["rights", "over"]) -> None:
        super().__init__({"rights": "You may not cancel this job.", "over": "The job is over."}[why])
        self.why = why


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
    return bool(row["uid"] == viewer.uid if viewer.uid is not None else row["user"] == viewer.name)


def is_one_task(row: Mapping[str, Any]) -> bool:
    """Whether the row is one task of an array, not the array's folded rest."""
    return bool(TASK.fullmatch(row["label"]))


def refusal(viewer: Viewer, row: Mapping[str, Any]) -> CancelRefused | None:
    """Why the viewer can't cancel it, or None."""
    if not policy.allowed(viewer, "job.cancel", row):
        return CancelRefused("rights")
    return CancelRefused("over") if row["state"] in ENDED_STATES else None


async def cancel(services: Services, viewer: Viewer, job_id: int, address: str = "") -> None:
    """Cancel a job as the person: the scheduler has the last word. Leaves an audit line.

    Raises JobNotFound, CancelRefused, SessionError (the person can't act here), LauncherError.
    """
    row = await asyncio.to_thread(find, viewer, services.snapshots.current, job_id)
    if refused := refusal(viewer, row):
        raise refused
    user = await asyncio.to_thread(services.sessions.unix_user, viewer)
    # An array's last task has the array's own number: only the label names the task alone.
    target = row["label"] if is_one_task(row) else str(job_id)
    try:
        await services.launcher.call(user, "cancel", job_id=target)
    except LauncherError:
        await asyncio.to_thread(_note, services, viewer, job_id, "failed", address)
        raise
    await asyncio.to_thread(_note, services, viewer, job_id, "done", address)


def _note(services: Services, viewer: Viewer, job_id: int, outcome: Outcome, address: str) -> None:
    with services.db.begin() as rows:
        audit(rows, viewer.name, "job.cancel", str(job_id), outcome, address)
    services.snapshots.kick()
