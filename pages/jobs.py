"""Jobs: the queue, one's own or all where policy allows, filtered, sorted, folded and paged on the server; and the
history (`pages.parts.history`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from backend import jobs
from backend.cluster import ENDED_STATES, JOB_STATES
from backend.cluster.views import JobFilter, filter_jobs, page_of, queue_page
from backend.identity import Viewer
from backend.launcher import LauncherError
from backend.services import Services
from backend.sessions import SessionError
from pages.parts.desk import Action, Desk, Refused, number, text, whole
from pages.parts.history import ACTIONS as HISTORY_ACTIONS
from pages.parts.jobrows import COLUMNS, job_row
from pages.parts.topics import Message

PAGE_ROWS = 100
MOST_TASKS = 500
MOST_CHOICES = 200
SORTABLE = (
    "job_id", "name", "user", "account", "partition", "qos", "state", "priority", "submit_s", "start_s",
    "end_s", "time_limit_s", "nodes", "cpus", "gpus",
)  # fmt: skip
ACTIVE = ("PENDING", "RUNNING", "SUSPENDED")
FOLD_COLUMNS = ("tasks", "tasks_running", "tasks_pending", "folded")


def build(services: Services, viewer: Viewer) -> Any:
    """The page at `/jobs`."""
    from pages.shell import page  # the shell knows every page, so it comes last

    return page(services, viewer, "jobs")


@dataclass(frozen=True)
class Query:
    """What of the queue is shown. `scope` is "own", or "all" that the viewer may see."""

    scope: Literal["own", "all"] = "own"
    wanted: JobFilter = field(default_factory=JobFilter)
    sort: str = "job_id"
    descending: bool = True
    offset: int = 0
    fold: bool = True


def read_query(args: dict[str, Any]) -> Query:
    """A browser's question. Raises Refused when it is not one the page asks."""
    sort = text(args, "sort") or "job_id"
    if sort not in SORTABLE:
        raise Refused("The queue can't be sorted by that.")
    states = _names(args, "state")
    if not set(states) <= {*JOB_STATES, "ended", "active"}:
        raise Refused("There is no such state.")
    expanded: list[str] = []
    for state in states or ("active",):
        expanded += {"ended": sorted(ENDED_STATES), "active": list(ACTIVE)}.get(state, [state])
    return Query(
        scope="all" if text(args, "who") == "all" else "own",
        wanted=JobFilter(
            states=tuple(expanded),
            users=_names(args, "user"),
            accounts=_names(args, "account"),
            partitions=_names(args, "partition"),
            with_gpus=True if args.get("gpu") is True else None,
            text=text(args, "text").strip(),
        ),
        sort=sort,
        descending=args.get("desc") is not False,
        offset=max(0, number(args, "offset")),
        fold=args.get("fold") is not False,
    )


def _names(args: dict[str, Any], key: str) -> tuple[str, ...]:
    values = args.get(key, [])
    if (
        not isinstance(values, list)
        or len(values) > 100
        or not all(isinstance(item, str) and whole(item) for item in values)
    ):
        raise Refused("That request is not one the page makes.")
    return tuple(values)


def list_jobs(services: Services, viewer: Viewer, query: Query) -> Message:
    """One page of the queue, how many rows there are in all, and what can be chosen from."""
    snapshot = services.snapshots.current
    seen = jobs.seen_by(viewer, snapshot, query.scope)
    found = queue_page(
        seen,
        query.wanted,
        sort=query.sort,
        descending=query.descending,
        offset=query.offset,
        limit=PAGE_ROWS,
        fold=query.fold,
    )
    shown = found.rows
    extra = [name for name in FOLD_COLUMNS if name in shown.column_names]
    rows = shown.select([*COLUMNS, *_for_reasons(shown), *extra]).to_pylist()
    return {
        "rows": [job_row(row, snapshot) for row in rows],
        "total": found.total,
        "jobs": found.tasks,
        "offset": query.offset,
        "page": PAGE_ROWS,
        "states": _counts(seen, "state"),
        "partitions": _choices(seen, "partition"),
        "accounts": _choices(seen, "account"),
        "taken_s": snapshot.jobs.taken_s,
        "cluster": snapshot.cluster,
    }


def _for_reasons(table: pa.Table) -> list[str]:
    """The columns beside those shown that the words for a pending reason may need."""
    return [name for name in table.column_names if name not in COLUMNS and name not in FOLD_COLUMNS]


def _counts(table: pa.Table, column: str) -> dict[str, int]:
    """How many jobs have each value; an array counts as its tasks."""
    found = table.select([column, "array_pending"]).group_by(column).aggregate([("array_pending", "sum")])
    return {row[column]: row["array_pending_sum"] or 0 for row in found.to_pylist()}


def _choices(table: pa.Table, column: str) -> list[str]:
    names: set[str] = set()
    for value in pc.unique(table[column]).to_pylist():
        names.update(part for part in (value or "").split(",") if part)
    return sorted(names)[:MOST_CHOICES]


def list_tasks(services: Services, viewer: Viewer, query: Query, array_job_id: int) -> Message:
    """The rows behind a folded array, with the same filter."""
    snapshot = services.snapshots.current
    seen = jobs.seen_by(viewer, snapshot, query.scope)
    seen = filter_jobs(seen.filter(pc.equal(seen["array_job_id"], array_job_id)), query.wanted)
    rows = page_of(seen, sort="job_id", descending=False, offset=0, limit=MOST_TASKS).to_pylist()
    return {"rows": [job_row(row, snapshot) for row in rows], "more": max(0, seen.num_rows - MOST_TASKS)}


def job_detail(services: Services, viewer: Viewer, job_id: int) -> Message:
    """Everything about one job. Raises Refused when there is none, or none the viewer may see."""
    snapshot = services.snapshots.current
    try:
        row = jobs.find(viewer, snapshot, job_id)
    except jobs.JobNotFound as none:
        raise Refused(no_job(job_id)) from none
    sessions = services.sessions.list(viewer)
    own = [session for session in sessions if session.job_id == job_id and session.confirmed]
    return {
        **row,
        **job_row(row, snapshot),
        "whole_array": row["array_job_id"] is not None and not jobs.is_one_task(row),
        "session": own[0].id if own else None,
        "may_cancel": jobs.refusal(viewer, row) is None,
        "own": jobs.is_own(viewer, row),
    }


# -- actions -------------------------------------------------------------------------------------------------


async def list_action(desk: Desk, args: dict[str, Any]) -> Message:
    return await desk.run(list_jobs, desk.services, desk.viewer, read_query(args))


async def tasks_action(desk: Desk, args: dict[str, Any]) -> Message:
    array = number(args, "array_job_id")
    return await desk.run(list_tasks, desk.services, desk.viewer, read_query(args), array)


async def job_action(desk: Desk, args: dict[str, Any]) -> Message:
    return await desk.run(job_detail, desk.services, desk.viewer, number(args, "job_id"))


async def cancel_action(desk: Desk, args: dict[str, Any]) -> Message:
    """Cancel a job as the person; the scheduler has the last word."""
    job_id = number(args, "job_id")
    try:
        await jobs.cancel(desk.services, desk.viewer, job_id)
    except jobs.JobNotFound as none:
        raise Refused(no_job(job_id)) from none
    except (jobs.ActionRefused, SessionError) as refusal:
        raise Refused(f"The job was not cancelled. {refusal}") from refusal
    except LauncherError as error:
        raise Refused(f"The job was not cancelled: {error.message}") from error
    return {"job_id": job_id}


def no_job(job_id: int) -> str:
    return f"There is no job {job_id} in the queue, or it is not yours to see."


ACTIONS: dict[str, Action] = {
    **HISTORY_ACTIONS,
    "jobs.list": list_action,
    "jobs.tasks": tasks_action,
    "jobs.job": job_action,
    "jobs.cancel": cancel_action,
}
