"""The queue: filtered, sorted, folded and counted with Arrow, so that 100,000 jobs take milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backend.cluster.model import ENDED_STATES, Snapshot
from backend.cluster.slurm.text import hosts

_ENDED = pa.array(sorted(ENDED_STATES))
_ON_NODES = pa.array(["RUNNING", "SUSPENDED"])


@dataclass(frozen=True)
class JobFilter:
    """What to keep; an empty field keeps all. Values of one field are alternatives, the fields all hold.

    `text` is looked for in name, label, user and account without regard to case.
    """

    states: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    qos: tuple[str, ...] = ()
    reservations: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    gpu_types: tuple[str, ...] = ()
    with_gpus: bool | None = None
    text: str = ""


@dataclass(frozen=True)
class QueueSummary:
    """The queue in numbers; an array counts as its tasks. `reasons`: why tasks wait, most frequent first."""

    running: int
    pending: int
    suspended: int
    gpus_running: int
    gpus_pending: int
    users: int
    reasons: tuple[tuple[str, int], ...]


def active_jobs(jobs: pa.Table) -> pa.Table:
    """Without the jobs that ended, which Slurm remembers for some minutes; completing ones still count."""
    ended = pc.is_in(jobs["state"], value_set=_ENDED)
    completing = _has_flag(jobs, "COMPLETING")
    return jobs.filter(pc.or_(pc.invert(ended), completing))


def _has_flag(jobs: pa.Table, flag: str) -> pa.Array:
    flags = jobs["flags"].combine_chunks()
    parents = pc.list_parent_indices(flags)
    has = np.zeros(jobs.num_rows, dtype=bool)
    has[parents.filter(pc.equal(pc.list_flatten(flags), flag)).to_numpy()] = True
    return pa.array(has)


def visible_jobs(jobs: pa.Table, user: str, accounts: Iterable[str] = (), *, uid: int | None = None) -> pa.Table:
    """The jobs of this person (by uid where it is known) and those in the accounts the person coordinates."""
    own = pc.equal(jobs["user"], user) if uid is None else pc.equal(jobs["uid"], uid)
    led = list(accounts)
    return jobs.filter(pc.or_(own, pc.is_in(jobs["account"], value_set=pa.array(led, pa.string()))) if led else own)


def filter_jobs(jobs: pa.Table, wanted: JobFilter) -> pa.Table:
    """The rows that hold all of what is wanted, in their order."""
    return jobs.filter(_mask(jobs, wanted))


def _mask(jobs: pa.Table, wanted: JobFilter) -> pa.ChunkedArray:
    """Which rows hold all of what is wanted."""
    masks = [
        pc.is_in(jobs[column], value_set=pa.array(values, pa.string()))
        for column, values in (
            ("state", wanted.states),
            ("user", wanted.users),
            ("account", wanted.accounts),
            ("qos", wanted.qos),
            ("reservation", wanted.reservations),
        )
        if values
    ]
    if wanted.partitions:
        masks.append(_where(jobs, "partition", _one_of(wanted.partitions)))
    if wanted.gpu_types:
        masks.append(_where(jobs, "gpu_type", _one_of(wanted.gpu_types)))
    if wanted.reasons:
        reasons = set(wanted.reasons)
        masks.append(_where(jobs, "reason", lambda text: reason_word(text) in reasons))
    if wanted.with_gpus is not None:
        has = pc.greater(pc.fill_null(jobs["gpus"], 0), 0)
        masks.append(has if wanted.with_gpus else pc.invert(has))
    if wanted.text.strip():
        masks.append(_search(jobs, wanted.text.strip()))
    if not masks:
        return pc.is_valid(jobs["job_id"])
    return reduce(pc.and_, masks)


def reason_word(reason: str) -> str:
    """Slurm's word without its details: `ReqNodeNotAvail, UnavailableNodes:n1` is ReqNodeNotAvail."""
    return reason.partition(",")[0].strip()


def _one_of(wanted: tuple[str, ...]) -> Callable[[str], bool]:
    names = set(wanted)
    return lambda text: not names.isdisjoint(text.split(","))


def _where(jobs: pa.Table, column: str, keep: Callable[[str], bool]) -> pa.ChunkedArray:
    """A mask by a column of few distinct values: each value is asked about once."""
    values = [value for value in pc.unique(jobs[column]).to_pylist() if value is not None and keep(value)]
    return pc.is_in(jobs[column], value_set=pa.array(values, pa.string()))


def _search(jobs: pa.Table, needle: str) -> pa.ChunkedArray:
    found = pc.match_substring(jobs["label"], needle)
    if needle.isascii() and needle.isdigit():
        if len(needle) < 19:
            found = pc.or_(found, pc.equal(jobs["job_id"], int(needle)))
        return pc.or_(found, pc.match_substring(jobs["name"], needle))
    found = pc.or_(found, pc.match_substring(jobs["name"], needle, ignore_case=True))
    for column in ("user", "account"):
        found = pc.or_(found, _where(jobs, column, lambda text: needle.lower() in text.lower()))
    return found


@dataclass(frozen=True)
class QueuePage:
    """One page of a filtered queue: its rows, and how many rows and tasks there are in all."""

    rows: pa.Table
    total: int
    tasks: int


def queue_page(
    jobs: pa.Table,
    wanted: JobFilter,
    *,
    sort: str = "priority",
    descending: bool = True,
    offset: int = 0,
    limit: int = 100,
    fold: bool = False,
) -> QueuePage:
    """Filter, fold and sort 100,000 jobs for one page: only its own rows are ever made whole.

    Rows have the columns of `fold_arrays` in addition when `fold` is set.
    """
    needed = ["job_id", "array_job_id", "array_pending", "state", "label"]
    narrow = jobs.select(list(dict.fromkeys([*needed, sort])))
    numbers = pc.indices_nonzero(_mask(jobs, wanted))
    narrow = narrow.take(numbers).append_column("number", numbers)
    if fold:
        narrow = fold_arrays(narrow)
    page = page_of(narrow, sort=sort, descending=descending, offset=offset, limit=limit)
    rows = jobs.take(page["number"])
    if fold:
        rows = rows.set_column(rows.schema.get_field_index("label"), "label", page["label"])
        for name in ("tasks", "tasks_running", "tasks_pending", "folded"):
            rows = rows.append_column(name, page[name])
    tasks = pc.sum(narrow["tasks" if fold else "array_pending"]).as_py() or 0
    return QueuePage(rows=rows, total=narrow.num_rows, tasks=tasks)


def page_of(
    jobs: pa.Table, *, sort: str = "priority", descending: bool = True, offset: int = 0, limit: int = 100
) -> pa.Table:
    """One page of the table in an order; equal rows stand by job id, empty values last."""
    end = min(jobs.num_rows, offset + limit)
    if end <= offset:
        return jobs.slice(0, 0)
    column = jobs[sort]
    if column.null_count:
        filled = jobs.filter(pc.is_valid(column))
        if filled.num_rows >= end:
            return page_of(filled, sort=sort, descending=descending, offset=offset, limit=limit)
        order = pc.sort_indices(
            jobs,
            sort_keys=[(sort, "descending" if descending else "ascending"), ("job_id", "ascending")],
            null_placement="at_end",
        )
        return jobs.take(order.slice(offset, limit))
    keys = [(sort, "descending" if descending else "ascending"), ("job_id", "ascending")]
    if sort == "job_id":
        keys = keys[:1]
    order = pc.select_k_unstable(jobs, k=end, sort_keys=keys)
    return jobs.take(order.slice(offset, limit))


def fold_arrays(jobs: pa.Table) -> pa.Table:
    """One row an array: its first, with columns `tasks`, `tasks_running`, `tasks_pending`, `folded` added.

    A job that is no array, or the only row of one, has `folded` false and counts as its own tasks.
    """
    counted = jobs.append_column("row", pa.array(np.arange(jobs.num_rows)))
    pending = pc.if_else(pc.equal(jobs["state"], "PENDING"), jobs["array_pending"], pa.scalar(0, pa.int32()))
    running = pc.if_else(pc.equal(jobs["state"], "RUNNING"), jobs["array_pending"], pa.scalar(0, pa.int32()))
    counted = counted.append_column("pending", pending).append_column("running", running)
    keyed = counted.append_column("key", pc.coalesce(jobs["array_job_id"], pc.negate(jobs["job_id"])))
    groups = (
        keyed.select(["key", "row", "array_pending", "pending", "running"])
        .group_by("key", use_threads=False)
        .aggregate(
            [
                ("row", "min"),
                ("row", "count"),
                ("array_pending", "sum"),
                ("pending", "sum"),
                ("running", "sum"),
            ]
        )
    )
    groups = groups.take(pc.sort_indices(groups["row_min"]))
    folded = jobs.take(groups["row_min"])
    several = pc.greater(groups["row_count"], 1)
    label = pc.if_else(
        several,
        pc.binary_join_element_wise(folded["array_job_id"].cast(pa.string()), pa.scalar("_[…]"), ""),
        folded["label"],
    )
    folded = folded.set_column(folded.schema.get_field_index("label"), "label", label)
    return (
        folded.append_column("tasks", groups["array_pending_sum"])
        .append_column("tasks_running", groups["running_sum"])
        .append_column("tasks_pending", groups["pending_sum"])
        .append_column("folded", several)
    )


def job(jobs: pa.Table, job_id: int) -> dict[str, Any] | None:
    """One job's row; of an array that waits folded, also by the array's own number."""
    rows = jobs.filter(pc.equal(jobs["job_id"], job_id)).slice(0, 1).to_pylist()
    return rows[0] if rows else None


def jobs_on_node(snapshot: Snapshot, node: str) -> pa.Table:
    """The jobs that hold this node now."""
    jobs = snapshot.jobs.table
    holding = jobs.filter(
        pc.and_(
            pc.or_(pc.is_in(jobs["state"], value_set=_ON_NODES), _has_flag(jobs, "COMPLETING")),
            pc.not_equal(jobs["node_list"], ""),
        )
    )
    here = _where(
        holding,
        "node_list",
        lambda text: text == node or (("[" in text or "," in text) and node in hosts(text)),
    )
    return holding.filter(here)


def queue_summary(snapshot: Snapshot) -> QueueSummary:
    """The queue in numbers."""
    jobs = snapshot.jobs.table
    live = jobs.select(["state", "reason", "array_pending", "gpus", "user"])
    gpus = pc.multiply(pc.fill_null(live["gpus"], 0), live["array_pending"])
    live = live.append_column("gpu_tasks", gpus)
    by_state = {
        entry["state"]: entry
        for entry in live.group_by("state").aggregate([("array_pending", "sum"), ("gpu_tasks", "sum")]).to_pylist()
    }
    waiting = live.filter(pc.equal(live["state"], "PENDING"))
    reasons: dict[str, int] = {}
    for entry in waiting.group_by("reason").aggregate([("array_pending", "sum")]).to_pylist():
        word = reason_word(entry["reason"])
        reasons[word] = reasons.get(word, 0) + entry["array_pending_sum"]

    def tasks(state: str, column: str = "array_pending_sum") -> int:
        return int(by_state[state][column]) if state in by_state else 0

    return QueueSummary(
        running=tasks("RUNNING"),
        pending=tasks("PENDING"),
        suspended=tasks("SUSPENDED"),
        gpus_running=tasks("RUNNING", "gpu_tasks_sum"),
        gpus_pending=tasks("PENDING", "gpu_tasks_sum"),
        users=pc.count_distinct(live.filter(pc.invert(pc.is_in(live["state"], value_set=_ENDED)))["user"]).as_py(),
        reasons=tuple(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
    )
