"""The queue: filtered, sorted, folded and counted with Arrow, so that 100,000 jobs take milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

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


def _has_flag(jobs: pa.Table, flag: str) -> pa.ChunkedArray | pa.Array:
    flags = jobs["flags"].combine_chunks()
    parents = pc.list_parent_indices(flags)
    rows = parents.filter(pc.equal(pc.list_flatten(flags), flag))
    return pc.is_in(pa.array(range(jobs.num_rows), pa.int64()), value_set=rows.cast(pa.int64()))


def visible_jobs(jobs: pa.Table, user: str, accounts: Iterable[str] = ()) -> pa.Table:
    """The jobs of this person and those in the accounts the person coordinates."""
    own = pc.equal(jobs["user"], user)
    led = list(accounts)
    return jobs.filter(
        pc.or_(own, pc.is_in(jobs["account"], value_set=pa.array(led, pa.string()))) if led else own
    )


def filter_jobs(jobs: pa.Table, wanted: JobFilter) -> pa.Table:
    """The rows that hold all of what is wanted, in their order."""
    for column, values in (
        ("state", wanted.states),
        ("user", wanted.users),
        ("account", wanted.accounts),
        ("qos", wanted.qos),
        ("reservation", wanted.reservations),
    ):
        if values:
            jobs = jobs.filter(pc.is_in(jobs[column], value_set=pa.array(values, pa.string())))
    if wanted.partitions:
        jobs = _where(jobs, "partition", _one_of(wanted.partitions))
    if wanted.gpu_types:
        jobs = _where(jobs, "gpu_type", _one_of(wanted.gpu_types))
    if wanted.reasons:
        reasons = set(wanted.reasons)
        jobs = _where(jobs, "reason", lambda text: reason_word(text) in reasons)
    if wanted.with_gpus is not None:
        has = pc.greater(pc.fill_null(jobs["gpus"], 0), 0)
        jobs = jobs.filter(has if wanted.with_gpus else pc.invert(has))
    return _search(jobs, wanted.text) if wanted.text else jobs


def reason_word(reason: str) -> str:
    """Slurm's word without its details: `ReqNodeNotAvail, UnavailableNodes:n1` is ReqNodeNotAvail."""
    return reason.partition(",")[0].strip()


def _one_of(wanted: tuple[str, ...]) -> Callable[[str], bool]:
    names = set(wanted)
    return lambda text: not names.isdisjoint(text.split(","))


def _where(jobs: pa.Table, column: str, keep: Callable[[str], bool]) -> pa.Table:
    """Filter on a column of few distinct values by asking about each value once."""
    values = [value for value in pc.unique(jobs[column]).to_pylist() if value is not None and keep(value)]
    return jobs.filter(pc.is_in(jobs[column], value_set=pa.array(values, pa.string())))


def _search(jobs: pa.Table, text: str) -> pa.Table:
    needle = text.strip()
    if needle.isascii() and needle.isdigit():
        number = int(needle)
        found = pc.or_(pc.match_substring(jobs["label"], needle), pc.match_substring(jobs["name"], needle))
        if number < 2**63:
            found = pc.or_(found, pc.equal(jobs["job_id"], number))
        return jobs.filter(found)
    lowered = needle.lower()
    people = [_matching(jobs, column, lowered) for column in ("user", "account")]
    found = pc.match_substring(jobs["name"], needle, ignore_case=True)
    found = pc.or_(found, pc.match_substring(jobs["label"], needle))
    for mask in people:
        found = pc.or_(found, mask)
    return jobs.filter(found)


def _matching(jobs: pa.Table, column: str, lowered: str) -> pa.ChunkedArray:
    values = [value for value in pc.unique(jobs[column]).to_pylist() if value and lowered in value.lower()]
    return pc.is_in(jobs[column], value_set=pa.array(values, pa.string()))


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
    counted = jobs.append_column("row", pa.array(range(jobs.num_rows), pa.int64()))
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
    return _where(
        holding,
        "node_list",
        lambda text: text == node or (("[" in text or "," in text) and node in hosts(text)),
    )


def queue_summary(snapshot: Snapshot) -> QueueSummary:
    """The queue in numbers."""
    jobs = snapshot.jobs.table
    live = jobs.select(["state", "reason", "array_pending", "gpus", "user"])
    gpus = pc.multiply(pc.fill_null(live["gpus"], 0), live["array_pending"])
    live = live.append_column("gpu_tasks", gpus)
    by_state = {
        entry["state"]: entry
        for entry in live.group_by("state")
        .aggregate([("array_pending", "sum"), ("gpu_tasks", "sum")])
        .to_pylist()
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
        users=pc.count_distinct(
            live.filter(pc.invert(pc.is_in(live["state"], value_set=_ENDED)))["user"]
        ).as_py(),
        reasons=tuple(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
    )
