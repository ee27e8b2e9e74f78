"""Rows of slurmdbd as rows of the warehouse: whole columns at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backend.accounting import model
from backend.accounting.dbd.rows import reasons
from backend.accounting.dbd.rows.bulk import text_of
from backend.accounting.dbd.rows.jobs import Raw
from backend.accounting.dbd.rows.names import Asked, Names

SOURCE = "slurmdbd"
BASE_STATES = (
    "PENDING", "RUNNING", "SUSPENDED", "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED",
    "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY",
)  # fmt: skip
# Flags above the base state that say how an attempt ended: JOB_REQUEUE, JOB_RESIZING, JOB_REVOKED of slurm.h.
FLAGS = {0x400: "REQUEUED", 0x2000: "RESIZING", 0x80000: "REVOKED"}
NO_VALUE = 0xFFFF_FFFE
INFINITE = 0xFFFF_FFFF
PER_CPU = 1 << 63
NOT_ASSIGNED = "None assigned"

_Numbers = npt.NDArray[np.int64]
_reasons = Asked(reasons.word)


def state_name(number: int) -> str:
    """The state, or how the attempt ended; "STATE 77" for one that is newer than this."""
    for flag, name in FLAGS.items():
        if number & flag:
            return name
    base = number & 0xFF
    return BASE_STATES[base] if base < len(BASE_STATES) else f"STATE {base}"


_states = Asked(state_name)


def decode(raw: Raw, names: Names, cluster: str, seen_s: int) -> tuple[pa.Table, pa.Table]:
    """The rows as JOBS and SUSPENDS. `seen_s`: when open rows were seen to be open.

    `origin_s`, `attempt` and `last_attempt` are the warehouse's to fill: a row alone doesn't tell.
    """
    jobs = raw.jobs
    count = jobs.num_rows
    number = {
        name: _array(jobs[name]) for name in jobs.column_names if jobs.schema.field(name).type == pa.int64()
    }
    text = {name: text_of(jobs[name]) for name in jobs.column_names if jobs.schema.field(name).type == pa.binary()}
    alloc, asked = names.tres.columns(text["tres_alloc"]), names.tres.columns(text["tres_req"])

    nodes = pc.fill_null(text["nodelist"], "")
    nodes = pc.if_else(pc.equal(nodes, NOT_ASSIGNED), "", nodes)
    bare = alloc.empty & np.asarray(pc.equal(nodes, ""))
    ended = number["time_end"] > 0
    # A job cancelled in the queue gets its end as its start; it never began.
    began = (number["time_start"] > 0) & ~(bare & (ended | (number["state"] == 0)))
    end = np.where(ended, number["time_end"], seen_s)
    stops = _stops(raw, number, end)
    exit_code = number["exit_code"]
    used, peak = _steps(raw)
    req_mem = _requested_memory(raw, number, asked.mem_mb)
    columns: dict[str, Any] = {
        "cluster": _constant(cluster, count),
        "job_id": number["id_job"],
        "submit_s": number["time_submit"],
        "origin_s": number["time_submit"],
        "attempt": np.ones(count, np.int32),
        "last_attempt": np.ones(count, bool),
        "eligible_s": _where(number["time_eligible"], _proper_time(number["time_eligible"])),
        "start_s": _where(number["time_start"], began),
        "end_s": _where(number["time_end"], ended),
        "seen_s": _where(np.full(count, seen_s), ~ended),
        "suspended_s": _suspended(number, stops, ended),
        "state": _states.column(number["state"]),
        "user": _either(names.users.column(number["id_assoc"]), names.uids, number["id_user"]),
        "uid": number["id_user"],
        "group": names.groups.column(number["id_group"]),
        "account": _account(names, number, text),
        "assoc_id": number["id_assoc"],
        "partition": text["partition"].dictionary_encode(),
        "qos": _either(names.qos.column(number["id_qos"]), _number_as_name, number["id_qos"]),
        "reservation": _either(names.reservations.column(number["id_resv"]), _number_as_name, number["id_resv"]),
        "wckey": _wckey(names, number, text),
        "job_name": text["job_name"],
        "nodes": np.where(began, np.where(alloc.nodes > 0, alloc.nodes, _real(number["nodes_alloc"])), 0),
        "cpus": alloc.cpus,
        "mem_mb": pc.fill_null(alloc.mem_mb, 0),
        "gpus": alloc.gpus,
        "gpu_type": alloc.gpu_type,
        "billing": alloc.billing,
        "energy_j": alloc.energy_j,
        "tres": alloc.text,
        "req_tres": asked.text,
        "req_cpus": _real(number["cpus_req"]),
        "req_mem_mb": req_mem,
        "req_gpus": asked.gpus,
        "time_limit_s": _where(number["timelimit"] * 60, (number["timelimit"] > 0) & (number["timelimit"] < NO_VALUE)),
        "exit_status": (exit_code >> 8) & 0xFF,
        "exit_signal": exit_code & 0x7F,
        "node_list": nodes,
        "array_job_id": _where(number["id_array_job"], number["id_array_job"] > 0),
        "array_task_id": _where(number["id_array_task"], number["id_array_task"] < NO_VALUE),
        "array_pending": np.where(ended | (number["time_start"] > 0), 0, number["array_task_pending"]),
        "het_job_id": _where(number["het_job_id"], number["het_job_id"] > 0),
        "het_offset": _where(
            number["het_job_offset"], (number["het_job_id"] > 0) & (number["het_job_offset"] < NO_VALUE)
        ),
        "cpu_used_s": used,
        "mem_peak_mb": peak,
        "work_dir": text["work_dir"],
        "reason": _reasons.column(number["state_reason_prev"]),
        "app": pa.nulls(count, pa.dictionary(pa.int32(), pa.string())),
        "db_inx": jobs["job_db_inx"].combine_chunks(),
        "source": _constant(SOURCE, count),
        "gone": np.zeros(count, bool),
    }
    arrays = [_as(columns[field.name], field.type) for field in model.JOBS]
    return pa.Table.from_arrays(arrays, schema=model.JOBS), _suspends(stops, number, cluster)


def _array(column: pa.ChunkedArray) -> _Numbers:
    filled: _Numbers = pc.fill_null(column, 0).to_numpy()
    return filled


def _as(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, np.ndarray):
        return pa.array(values).cast(kind)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return values if values.type == kind else values.cast(kind)


def _where(values: _Numbers, known: npt.NDArray[np.bool_]) -> pa.Array:
    return pa.array(values, pa.int64(), mask=~known)


def _constant(word: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([word]))


def _real(values: _Numbers) -> _Numbers:
    """Counts without the marks of no value."""
    return np.where(values < NO_VALUE, values, 0)


def _proper_time(values: _Numbers) -> npt.NDArray[np.bool_]:
    return (values > 0) & (values < NO_VALUE)


_number_as_name = Asked(lambda number: str(number) if number else None)


def _either(names: pa.DictionaryArray, otherwise: Asked, numbers: _Numbers) -> pa.DictionaryArray:
    """A name, or what else is known by the number."""
    if not names.null_count:
        return names
    known = pc.coalesce(names.cast(pa.string()), otherwise.column(numbers).cast(pa.string()))
    return known.dictionary_encode()


def _account(names: Names, number: dict[str, _Numbers], text: dict[str, pa.Array]) -> pa.DictionaryArray:
    """The association's account, by which slurmdbd sums up; a job without an association names one at most."""
    found = names.accounts.column(number["id_assoc"])
    if not found.null_count:
        return found
    return pc.coalesce(found.cast(pa.string()), _filled(text["account"])).dictionary_encode()


def _wckey(names: Names, number: dict[str, _Numbers], text: dict[str, pa.Array]) -> pa.DictionaryArray:
    own = _filled(text["wckey"])
    if own.null_count and np.any(number["id_wckey"]):
        own = pc.coalesce(own, names.wckeys.column(number["id_wckey"]).cast(pa.string()))
    return own.dictionary_encode()


def _filled(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(texts, ""), None, texts)


def _requested_memory(raw: Raw, number: dict[str, _Numbers], asked_mb: pa.Array) -> pa.Array:
    """MB of the whole job: of tres_req, or from mem_req, which is by node or, with bit 63 set, by CPU."""
    if not asked_mb.null_count:
        return asked_mb
    wanted = pc.fill_null(raw.jobs["mem_req"], 0).to_numpy()
    per_cpu = (wanted & np.uint64(PER_CPU)) != 0
    amount = (wanted & np.uint64(PER_CPU - 1)).astype(np.int64)
    many = np.where(per_cpu, _real(number["cpus_req"]), _real(number["nodes_alloc"]))
    sane = (amount > 0) & (amount < 2**40) & (many > 0)
    return pc.coalesce(asked_mb, pa.array(np.where(sane, amount * many, 0), pa.int64(), mask=~sane))


def _steps(raw: Raw) -> tuple[pa.Array, pa.Array]:
    """CPU seconds used and peak memory in MB, for each job in its place; null where no step told."""
    place = pc.index_in(raw.jobs["job_db_inx"], value_set=raw.steps["job_db_inx"].combine_chunks())
    place = place.combine_chunks()
    peak = raw.steps["peak_bytes"].combine_chunks()
    megabytes = pc.divide(pc.add(peak, (1 << 20) - 1), 1 << 20)
    return raw.steps["cpu_used_s"].combine_chunks().take(place), megabytes.take(place)


@dataclass(frozen=True)
class _Stops:
    """When jobs were stopped, within each job's own span. `at`: the place of the job's row."""

    at: _Numbers
    from_s: _Numbers
    to_s: _Numbers  # until when it is known to last, where it does
    lasts: npt.NDArray[np.bool_]


def _stops(raw: Raw, number: dict[str, _Numbers], end: _Numbers) -> _Stops:
    """`end`: of each job, or when it was last seen."""
    inx = raw.jobs["job_db_inx"].combine_chunks()
    at = pc.fill_null(pc.index_in(raw.suspends["job_db_inx"], value_set=inx), -1).to_numpy().astype(np.int64)
    begun, until = _array(raw.suspends["from_s"]), _array(raw.suspends["to_s"])
    known = at >= 0
    at, begun, until = at[known], begun[known], until[known]
    start = np.maximum(begun, number["time_start"][at])
    stop = np.minimum(np.where(until == 0, end[at], until), end[at])
    lasts = (until == 0) & (number["time_end"][at] == 0)
    kept = stop > start
    return _Stops(at[kept], start[kept], stop[kept], lasts[kept])


def _suspends(stops: _Stops, number: dict[str, _Numbers], cluster: str) -> pa.Table:
    return pa.table(
        {
            "cluster": _constant(cluster, len(stops.at)).cast(model.SUSPENDS.field("cluster").type),
            "job_id": number["id_job"][stops.at],
            "submit_s": number["time_submit"][stops.at],
            "from_s": stops.from_s,
            "to_s": pa.array(stops.to_s, pa.int64(), mask=stops.lasts),
        }
    )


def _suspended(number: dict[str, _Numbers], stops: _Stops, ended: npt.NDArray[np.bool_]) -> _Numbers:
    """Seconds suspended; without intervals (purged apart) what the ended job's row itself says."""
    total = np.zeros(len(ended), np.int64)
    np.add.at(total, stops.at, stops.to_s - stops.from_s)
    told = np.zeros(len(ended), bool)
    told[stops.at] = True
    span = number["time_end"] - number["time_start"]
    alone = ended & ~told & (number["time_suspended"] > 0) & (number["time_suspended"] <= span)
    return np.where(alone, number["time_suspended"], total)
