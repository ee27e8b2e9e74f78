"""Lines of sacct as rows of the warehouse, whole columns at a time. A line without sense is left out and named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backend.accounting.model import JOBS
from backend.accounting.sacct import times
from backend.accounting.sacct.columns import SAME
from backend.accounting.sacct.fields import NOTHING, Bools, Column, Ints, Lines, as_times, flags, joules, whole
from backend.accounting.sacct.ids import job_ids
from backend.accounting.sacct.lines import Block
from backend.accounting.sacct.sizes import Tres, allocated, memory_mb, requested_memory

SOURCE = "sacct"
STATES = (
    "PENDING", "RUNNING", "SUSPENDED", "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED",
    "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY", "REQUEUED", "RESIZING", "REVOKED",
)  # fmt: skip
OPEN_STATES = ("PENDING", "RUNNING", "SUSPENDED")
NOT_ASSIGNED = "None assigned"
NAMES = ("group", "account", "partition", "qos", "reservation", "wckey", "reason")


@dataclass(frozen=True)
class Bad:
    """A line that was left out: its number from 1, and why."""

    line: int
    why: str


@dataclass(frozen=True)
class Rows:
    """`ended` and `open` in schema JOBS; `open` without `seen_s` where no column tells it."""

    ended: pa.Table
    open: pa.Table
    bad: tuple[Bad, ...]
    steps: int
    latest_s: int  # the last time in the lines, 0 when there is none


def rows_of(block: Block, zone: str, cluster: str | None) -> Rows:
    """`cluster`: of lines that don't name it. `zone`: of the times."""
    bad = [Bad(*wrong) for wrong in block.misshapen]
    ids_in = block.table["jobidraw" if "jobidraw" in block.table.column_names else "jobid"]
    step = flags(pc.match_substring(ids_in, "."))
    lines = Lines(block.table.filter(pa.array(~step)), block.numbers[~step])
    columns, course = _rows(lines, zone, cluster)
    columns["mem_peak_mb"] = _peaks(block.table, step)
    good = lines.good
    table = _table(columns, good)
    bad += [Bad(int(lines.numbers[n]), str(lines.why[n])) for n in np.flatnonzero(~good)]
    is_open = pa.array(course.is_open[good])
    return Rows(
        ended=table.filter(pc.invert(is_open)),
        open=table.filter(is_open),
        bad=tuple(sorted(bad, key=lambda one: one.line)),
        steps=int(step.sum()) + block.steps,
        latest_s=max(0, course.latest_s),
    )


@dataclass(frozen=True)
class _Course:
    """When a job was where; times.NO_TIME where there is none."""

    submit: Ints
    eligible: Ints
    start: Ints  # of what began
    end: Ints  # of what ended
    seen: Ints  # of what had not ended
    began: Bools
    is_open: Bools
    suspended_s: Ints
    states: Column
    latest_s: int


def _rows(lines: Lines, zone: str, cluster: str | None) -> tuple[dict[str, Any], _Course]:
    found = job_ids(lines.texts("jobid"), lines.texts("jobidraw"))
    for which, why in found.wrong:
        lines.refuse(which, why)
    alloc = allocated(lines.texts("alloctres"), len(lines))
    node_list, bare = _nodes(lines, alloc)
    course = _course(lines, zone, bare)
    columns = {
        **found.columns,
        **_whose(lines, cluster),
        **_amounts(lines, alloc, course.began),
        "submit_s": course.submit,
        "origin_s": course.submit,  # the warehouse knows the attempts
        "attempt": np.ones(len(lines), np.int32),
        "last_attempt": np.ones(len(lines), bool),
        "eligible_s": as_times(course.eligible),
        "start_s": as_times(course.start),
        "end_s": as_times(course.end),
        "seen_s": as_times(course.seen),
        "suspended_s": course.suspended_s,
        "state": course.states,
        "node_list": node_list,
        "array_pending": np.where(course.is_open & ~course.began, found.pending, 0),
        "app": pa.nulls(len(lines), pa.string()),
        "db_inx": pa.nulls(len(lines), pa.uint64()),
        "source": pa.array([SOURCE] * len(lines), pa.string()),
        "gone": np.zeros(len(lines), bool),
    }
    return columns, course


def _nodes(lines: Lines, alloc: Tres) -> tuple[Column, Bools]:
    """The nodes, and which lines never had any."""
    column = lines.texts("nodelist")
    if column is None:
        told = lines.texts("alloctres") is not None
        return pa.array([""] * len(lines), pa.string()), alloc.empty if told else np.zeros(len(lines), bool)
    bare = flags(pc.is_in(column, pa.array([NOT_ASSIGNED, *NOTHING])))
    return pc.if_else(pa.array(bare), "", column), bare


def _course(lines: Lines, zone: str, bare: Bools) -> _Course:
    elapsed = lines.read("elapsed", times.durations, pa.int64())
    if lines.texts("elapsedraw") is not None:
        elapsed = lines.whole("elapsedraw")
    elapsed_s = pc.fill_null(elapsed, times.NO_TIME).to_numpy()
    at = times.times_of(lines.table, zone, elapsed_s).by_name
    for name, seconds in at.items():
        lines.refuse(seconds == times.BAD, f"{name.capitalize()}: no time")
        lines.refuse(seconds == times.NOT_IN_ZONE, f"{name.capitalize()}: a time that {zone} skips. Is --tz right?")
    submit, start, end = at["submit"], at["start"].copy(), at["end"]
    lines.refuse(submit < 0, "Submit: none")

    states = pc.list_element(pc.split_pattern(pc.utf8_upper(lines.texts("state")), " ", max_splits=1), 0)
    lines.refuse(~flags(pc.is_in(states, pa.array(STATES))), "State: not one of Slurm's")
    goes_on = flags(pc.is_in(states, pa.array(OPEN_STATES)))
    lines.refuse(~goes_on & (end < 0), "End: none, although the state says that it ended")
    lines.refuse((start >= 0) & (end >= 0) & (end < start), "End: before Start")
    lines.refuse((end >= 0) & (end < submit), "End: before Submit")

    # A job cancelled in the queue gets its end as its start; it never began.
    began = (start >= 0) & ~(bare & ((start == end) | goes_on))
    start[~began] = times.NO_TIME
    suspended = _suspended(lines, began & (end >= 0) & (elapsed_s >= 0), end - start - elapsed_s)
    seen = np.where(began & (elapsed_s >= 0), start + elapsed_s + suspended, times.NO_TIME)
    seen = np.where(end >= 0, end, seen)  # a listing made with --truncate gives what goes on an end
    good = lines.good
    return _Course(
        submit=submit,
        eligible=at.get("eligible", np.full(len(lines), times.NO_TIME)),
        start=start,
        end=np.where(goes_on, times.NO_TIME, end),
        seen=np.where(goes_on, seen, times.NO_TIME),
        began=began,
        is_open=goes_on,
        suspended_s=suspended,
        states=states,
        latest_s=max((int(seconds[good].max()) for seconds in at.values() if good.any()), default=0),
    )


def _suspended(lines: Lines, known: Bools, missing_s: Ints) -> Ints:
    """As the column says; else what the time that a job ran lacks to that between its start and its end."""
    if (column := lines.texts("suspended")) is not None:
        said: Ints = pc.fill_null(times.durations(column), 0).to_numpy()
        return said
    return np.where(known, np.maximum(0, missing_s), 0)


def _whose(lines: Lines, cluster: str | None) -> dict[str, Any]:
    clusters = lines.texts("cluster")
    if clusters is not None:
        lines.refuse(flags(pc.equal(clusters, "")), "Cluster: none")
    uid = lines.whole("uid")
    user = pc.coalesce(lines.names("user"), uid.cast(pa.string()))
    lines.refuse(flags(pc.is_null(user)), "User: none")
    return {
        "cluster": pa.array([cluster] * len(lines), pa.string()) if clusters is None else clusters,
        "user": user,
        "uid": uid,
        "assoc_id": lines.whole("associd"),
        **{name: lines.names(name) for name in NAMES},
        "job_name": lines.words("jobname"),
        "work_dir": lines.words("workdir"),
    }


def _amounts(lines: Lines, alloc: Tres, began: Bools) -> dict[str, Any]:
    """What a job asked for, had and used."""
    asked = allocated(lines.texts("reqtres"), len(lines))
    req_cpus = lines.numbers_of("reqcpus")
    req_nodes = lines.numbers_of(*SAME["req_nodes"])
    req_mem = requested_memory(lines.texts("reqmem"), req_cpus, req_nodes, len(lines))
    req_mem = pc.coalesce(asked.mem_mb, req_mem)
    cpus = np.where(alloc.cpus > 0, alloc.cpus, lines.numbers_of(*SAME["cpus"]))
    nodes = np.where(alloc.nodes > 0, alloc.nodes, lines.numbers_of(*SAME["nodes"]))
    mem = pc.fill_null(pc.coalesce(alloc.mem_mb, req_mem), 0).to_numpy()
    time_limit = lines.read("timelimit", times.durations, pa.int64())
    if lines.texts("timelimitraw") is not None:
        time_limit = pc.multiply(lines.whole("timelimitraw"), 60)
    energy = lines.read(*_ENERGY)
    return {
        "nodes": np.where(began, nodes, 0),
        "cpus": np.where(began, cpus, 0),
        "mem_mb": np.where(began, mem, 0),
        "gpus": np.where(began, alloc.gpus, 0),
        "gpu_type": pc.if_else(pa.array(began), alloc.gpu_type, None),
        "billing": np.where(began, alloc.billing, 0),
        "energy_j": pc.coalesce(energy, alloc.energy_j),
        "tres": pc.if_else(pa.array(began), alloc.text, ""),
        "req_tres": asked.text,
        "req_cpus": req_cpus,
        "req_mem_mb": req_mem,
        "req_gpus": asked.gpus,
        "time_limit_s": time_limit,
        "exit_status": _exit(lines, 0),
        "exit_signal": _exit(lines, 1),
        "cpu_used_s": lines.read("totalcpu", times.cpu_seconds, pa.float64()),
    }


_ENERGY = ("consumedenergyraw", lambda column: times.each(column, joules, pa.int64()), pa.int64())


def _table(columns: dict[str, Any], good: Bools) -> pa.Table:
    arrays = []
    for field in JOBS:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        values = columns[field.name]
        values = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        values = values.filter(pa.array(good)).cast(kind)
        arrays.append(values.dictionary_encode() if kind != field.type else values)
    return pa.table(arrays, schema=JOBS)


def _peaks(table: pa.Table, step: Bools) -> pa.Array:
    """Of each job the largest MaxRSS of the steps that follow it; null where there is none."""
    jobs = int((~step).sum())
    if "maxrss" not in table.column_names or not step.any() or not jobs:
        return pa.nulls(jobs, pa.int64())
    owner = np.cumsum(~step) - 1
    sizes = pc.fill_null(times.each(table["maxrss"], memory_mb, pa.int64()), -1).to_numpy()
    name = "jobidraw" if "jobidraw" in table.column_names else "jobid"
    ids = table[name].to_pylist()
    of_jobs = np.flatnonzero(~step)
    peaks = np.full(jobs, -1, np.int64)
    for at in np.flatnonzero(step & (sizes >= 0) & (owner >= 0)).tolist():
        mine = int(owner[at])
        if ids[at].partition(".")[0] == ids[of_jobs[mine]]:
            peaks[mine] = max(peaks[mine], sizes[at])
    return pa.array(peaks, mask=peaks < 0)


def _exit(lines: Lines, at: int) -> pa.Array:
    """`1:0`: status and signal."""

    def part(text: str) -> int | None:
        return whole(text.split(":")[at]) if text.count(":") == 1 else None

    return lines.read("exitcode", lambda column: times.each(column, part, pa.int32()), pa.int32())


def reasons(bad: Iterable[Bad]) -> dict[str, list[int]]:
    """The numbers of the lines by what is wrong with them."""
    found: dict[str, list[int]] = {}
    for one in bad:
        found.setdefault(one.why, []).append(one.line)
    return found
