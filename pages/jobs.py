"""Jobs: the queue, one's own or all where policy allows; filtered, sorted, folded and paged on the server."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from backend.cluster import ENDED_STATES, JOB_STATES, Snapshot
from backend.cluster.views import JobFilter, filter_jobs, fold_arrays, page_of, visible_jobs
from backend.cluster.views import job as find_job
from backend.identity import Viewer, policy
from backend.launcher import LauncherError
from backend.services import Services
from backend.sessions import SessionError
from backend.store import audit
from pages.parts.desk import Action, Desk, Refused, number, text, whole
from pages.parts.jobrows import COLUMNS, job_row
from pages.parts.topics import Message

PAGE_ROWS = 100
MOST_TASKS = 500
MOST_CHOICES = 200
SORTABLE = (
    "job_id", "name", "user", "account", "partition", "qos", "state", "priority", "submit_s", "start_s",
    "end_s", "time_limit_s", "nodes", "cpus", "gpus",
)  # fmt: skip
TASK = re.compile(r"[0-9]+[_+][0-9]+")
ACTIVE = ("PENDING", "RUNNING", "SUSPENDED")
FOLD_COLUMNS = ("tasks", "tasks_running", "tasks_pending", "folded")


def build(services: Services, viewer: Viewer) -> Any:
    """The page at `/jobs`."""
    from pages.shell import page  # the shell knows every page, so it comes last

    return page(services, viewer, "jobs")


@dataclass(frozen=True)
class Query:
    """What of the queue is shown. `scope` is "own", or "all" that the viewer may see."""

    scope: str = "own"
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


def scope_of(snapshot: Snapshot, viewer: Viewer, scope: str) -> pa.Table:
    """The jobs the viewer may see; only their own unless `scope` is "all"."""
    table = snapshot.jobs.table
    if scope == "own":
        return visible_jobs(table, viewer.name, uid=viewer.uid)
    if policy.allowed(viewer, "jobs.all"):
        return table
    return visible_jobs(table, viewer.name, viewer.coordinates, uid=viewer.uid)


def list_jobs(services: Services, viewer: Viewer, query: Query) -> Message:
    """One page of the queue, how many rows there are in all, and what can be chosen from."""
    snapshot = services.snapshots.current
    seen = scope_of(snapshot, viewer, query.scope)
    found = filter_jobs(seen, query.wanted)
    matching = found.num_rows
    if query.fold:
        found = fold_arrays(found)
    shown = page_of(found, sort=query.sort, descending=query.descending, offset=query.offset, limit=PAGE_ROWS)
    extra = [name for name in FOLD_COLUMNS if name in shown.column_names]
    rows = shown.select([*COLUMNS, *_for_reasons(shown), *extra]).to_pylist()
    return {
        "rows": [job_row(row, snapshot) for row in rows],
        "total": found.num_rows,
        "jobs": matching,
        "offset": query.offset,
        "page": PAGE_ROWS,
        "states": _counts(seen, "state"),
        "partitions": _choices(seen, "partition"),
        "accounts": _choices(seen, "account"),
        "taken_s": snapshot.jobs.taken_s,
    }


def _for_reasons(table: pa.Table) -> list[str]:
    """The columns beside those shown that the words for a pending reason may need."""
    return [name for name in table.column_names if name not in COLUMNS and name not in FOLD_COLUMNS]


def _counts(table: pa.Table, column: str) -> dict[str, int]:
    return {row["values"]: row["counts"] for row in pc.value_counts(table[column]).to_pylist()}


def _choices(table: pa.Table, column: str) -> list[str]:
    names: set[str] = set()
    for value in pc.unique(table[column]).to_pylist():
        names.update(part for part in (value or "").split(",") if part)
    return sorted(names)[:MOST_CHOICES]


def list_tasks(services: Services, viewer: Viewer, query: Query, array_job_id: int) -> Message:
    """The rows behind a folded array, with the same filter."""
    snapshot = services.snapshots.current
    seen = scope_of(snapshot, viewer, query.scope)
    seen = filter_jobs(seen.filter(pc.equal(seen["array_job_id"], array_job_id)), query.wanted)
    rows = page_of(seen, sort="job_id", descending=False, offset=0, limit=MOST_TASKS).to_pylist()
    return {"rows": [job_row(row, snapshot) for row in rows], "more": max(0, seen.num_rows - MOST_TASKS)}


def job_detail(services: Services, viewer: Viewer, job_id: int) -> Message:
    """Everything about one job. Raises Refused when there is none, or none the viewer may see."""
    snapshot = services.snapshots.current
    row = find_job(snapshot.jobs.table, job_id)
    if row is None or not policy.allowed(viewer, "job.see", row):
        raise Refused(f"There is no job {job_id} in the queue, or it is not yours to see.")
    sessions = services.sessions.list(viewer)
    own = [session for session in sessions if session.job_id == job_id and session.confirmed]
    over = row["state"] in ENDED_STATES
    return {
        **row,
        **job_row(row, snapshot),
        "whole_array": row["array_job_id"] is not None and not TASK.fullmatch(row["label"]),
        "session": own[0].id if own else None,
        "may_cancel": not over and policy.allowed(viewer, "job.cancel", row),
        "own": row["uid"] == viewer.uid if viewer.uid is not None else row["user"] == viewer.name,
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
    services, viewer = desk.services, desk.viewer
    job_id = number(args, "job_id")
    detail = await desk.run(job_detail, services, viewer, job_id)
    if not detail["may_cancel"]:
        raise Refused("You may not cancel this job, or it is over.")
    # Of an array, the number of its last task is the array's own: the label names the one task.
    target = detail["label"] if TASK.fullmatch(detail["label"]) else str(job_id)
    try:
        user = await desk.run(services.sessions.unix_user, viewer)
        await services.launcher.call(user, "cancel", job_id=target)
    except SessionError as refusal:
        raise Refused(f"The job was not cancelled. {refusal}") from refusal
    except LauncherError as error:
        await desk.run(_note, services, viewer, job_id, "failed")
        raise Refused(f"The job was not cancelled: {error.message}") from error
    await desk.run(_note, services, viewer, job_id, "done")
    return {"job_id": job_id}


def _note(services: Services, viewer: Viewer, job_id: int, outcome: Any) -> None:
    with services.db.begin() as db:
        audit(db, viewer.name, "job.cancel", str(job_id), outcome)
    services.snapshots.kick()


ACTIONS: dict[str, Action] = {
    "jobs.list": list_action,
    "jobs.tasks": tasks_action,
    "jobs.job": job_action,
    "jobs.cancel": cancel_action,
}
