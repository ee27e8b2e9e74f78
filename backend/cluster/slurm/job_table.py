"""One chunk of squeue's rows as Arrow columns: what each field means."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import pyarrow as pa

from backend.cluster.model import ENDED_STATES, JOB_STATES, JOBS
from backend.cluster.slurm.text import (
    NOTHING,
    count_tasks,
    duration,
    gres_gpus,
    megabytes,
    moment,
    plain,
    tres,
    tres_gpus,
    type_name,
    whole,
)

REMEMBERED = 1 << 16  # converted texts; most of a queue is the same in the next look

FIELDS = (
    "JobID",
    "JobArrayID",
    "ArrayTaskID",
    "HetJobID",
    "HetJobOffset",
    "Name",
    "UserName",
    "UserID",
    "Account",
    "Partition",
    "QOS",
    "Reservation",
    "State",
    "Reason",
    "PriorityLong",
    "SubmitTime",
    "EligibleTime",
    "StartTime",
    "EndTime",
    "TimeLimit",
    "NumNodes",
    "NodeList",
    "NumCPUs",
    "MinMemory",
    "tres-alloc",
    "tres-per-job",
    "tres-per-node",
    "tres-per-task",
    "NumTasks",
    "Dependency",
    "Feature",
    "WorkDir",
    "Command",
    "Comment",
    "exit_code",
    "RestartCnt",
)

# squeue shows a flag instead of the base state; these are the bases such a flag stands on
FLAG_BASE = {
    "CONFIGURING": "RUNNING",
    "EXPEDITING": "PENDING",
    "LAUNCH_FAILED": "PENDING",
    "POWER_UP_NODE": "RUNNING",
    "RECONFIG_FAIL": "RUNNING",
    "REQUEUED": "PENDING",
    "REQUEUE_FED": "PENDING",
    "REQUEUE_HOLD": "PENDING",
    "RESIZING": "RUNNING",
    "RESV_DEL_HOLD": "PENDING",
    "REVOKED": "CANCELLED",
    "SIGNALING": "RUNNING",
    "SPECIAL_EXIT": "PENDING",
    "STAGE_OUT": "COMPLETED",
    "STOPPED": "RUNNING",
    "UPDATE_DB": "COMPLETED",
}
_REASON_STATE = {
    "TimeLimit": "TIMEOUT",
    "NonZeroExitCode": "FAILED",
    "RaisedSignal": "FAILED",
    "OutOfMemory": "OUT_OF_MEMORY",
}


def job_batch(rows: list[list[str]]) -> pa.RecordBatch:
    """Rows of FIELDS as a batch of the schema JOBS."""
    text = dict(zip(FIELDS, zip(*rows, strict=True), strict=True))
    count = len(text["JobID"])
    facts = zip(text["State"], text["Reason"], text["exit_code"], strict=True)
    states = [job_state(*fact) for fact in facts]
    base = [state for state, _ in states]
    sizes = [_sizes(fact) for fact in zip(*(text[name] for name in _SIZE_FIELDS), strict=True)]
    start = _each(_moment, text["StartTime"])
    labels = text["JobArrayID"]
    tasks = _each(_task, text["ArrayTaskID"])
    columns: dict[str, Any] = {
        "job_id": [int(value) for value in text["JobID"]],
        "label": [_shortened(label) for label in labels],
        "array_job_id": [
            whole(label.partition("_")[0]) if task is not None else None
            for label, task in zip(labels, tasks, strict=True)
        ],
        "array_task_id": tasks,
        "array_pending": [_count_tasks(task) if task is not None and not task.isdigit() else 1 for task in tasks],
        "het_job_id": _each(_het, text["HetJobID"]),
        "het_offset": [
            whole(offset) if _het(head) else None
            for head, offset in zip(text["HetJobID"], text["HetJobOffset"], strict=True)
        ],
        "name": text["Name"],
        "user": text["UserName"],
        "uid": _each(whole, text["UserID"]),
        "account": _each(plain, text["Account"]),
        "partition": _each(plain, text["Partition"]),
        "qos": _each(plain, text["QOS"]),
        "reservation": _each(plain, text["Reservation"]),
        "state": base,
        "flags": [flags for _, flags in states],
        "reason": _each(plain, text["Reason"]),
        "priority": _each(whole, text["PriorityLong"]),
        "submit_s": _each(_moment, text["SubmitTime"]),
        "eligible_s": _each(_moment, text["EligibleTime"]),
        "start_s": start,
        "start_expected": [state == "PENDING" and began is not None for state, began in zip(base, start, strict=True)],
        "end_s": [
            None if state == "PENDING" else _moment(end) for state, end in zip(base, text["EndTime"], strict=True)
        ],
        "time_limit_s": _each(_duration, text["TimeLimit"]),
        "nodes": _each(_small, text["NumNodes"]),
        "node_list": _each(plain, text["NodeList"]),
        "cpus": _each(_small, text["NumCPUs"]),
        "memory_mb": [found[0] for found in sizes],
        "gpus": [found[1] for found in sizes],
        "gpu_type": [found[2] for found in sizes],
        "tres": _each(plain, text["tres-alloc"]),
        "dependency": _each(plain, text["Dependency"]),
        "features": _each(_free, text["Feature"]),
        "work_dir": _each(_free, text["WorkDir"]),
        "command": _each(_free, text["Command"]),
        "comment": _each(_free, text["Comment"]),
        "exit_code": [
            exit_code(code) if state in ENDED_STATES else ""
            for state, code in zip(base, text["exit_code"], strict=True)
        ],
        "restarts": [_small(value) or 0 for value in text["RestartCnt"]],
    }
    arrays = [pa.array(columns[field.name], field.type, size=count) for field in JOBS]
    return pa.RecordBatch.from_arrays(arrays, schema=JOBS)


def _remembered(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    return lru_cache(maxsize=REMEMBERED)(convert)


_moment, _duration, _count_tasks = _remembered(moment), _remembered(duration), _remembered(count_tasks)


def _each(convert: Callable[[str], Any], values: Iterable[str]) -> list[Any]:
    return list(map(convert, values))


def _free(text: str) -> str:
    """A free text: only "(null)" means that there is none."""
    return "" if text == "(null)" else text


def _task(text: str) -> str | None:
    return None if text in NOTHING else text


def _het(text: str) -> int | None:
    return (whole(text) or None) if text not in NOTHING else None


def _small(text: str) -> int | None:
    """A count that fits the schema's 32 bits; of a range `2-4` the lower end."""
    value = whole(text.partition("-")[0])
    return value if value is not None and value < 2**31 else None


def _shortened(label: str) -> str:
    """A sparse array's expression can be many kB long: the label says where it begins."""
    return label if len(label) <= 80 else label[:76] + "…]"


@lru_cache(maxsize=1024)
def job_state(shown: str, reason: str, code: str) -> tuple[str, list[str]]:
    """Base state and flags of the one word squeue shows; an unknown word is a flag of a running job."""
    if shown in JOB_STATES:
        return shown, []
    if shown == "COMPLETING":
        return _REASON_STATE.get(reason) or _ended_as(code), ["COMPLETING"]
    for word in shown.replace("+", ",").split(","):
        if word in JOB_STATES:
            return word, [other for other in shown.replace("+", ",").split(",") if other != word]
    return FLAG_BASE.get(shown, "RUNNING"), [shown]


def _ended_as(code: str) -> str:
    """What a completing job's exit code tells of the state underneath, which squeue does not show."""
    status, _, signal = exit_code(code).partition(":")
    if status not in ("", "0"):
        return "FAILED"
    return "CANCELLED" if signal not in ("", "0") else "COMPLETED"


def exit_code(text: str) -> str:
    """`status:signal` of squeue's raw wait status (768) or of a text that is in that form already."""
    if ":" in text:
        return text if text.replace(":", "").isdigit() else ""
    raw = whole(text)
    if raw is None or raw >= 2**31:
        return ""
    return f"{raw >> 8 & 0xFF}:{raw & 0x7F}"


_SIZE_FIELDS = (
    "tres-alloc",
    "tres-per-job",
    "tres-per-node",
    "tres-per-task",
    "NumNodes",
    "NumTasks",
    "MinMemory",
)


@lru_cache(maxsize=REMEMBERED)
def _sizes(facts: tuple[str, ...]) -> tuple[int | None, int, str]:
    """Memory (MB), GPUs and their type of the whole job, of the fields _SIZE_FIELDS.

    TRES hold them where the site counts GPUs (AccountingStorageTRES); elsewhere the request tells.
    """
    allocated, per_job, per_node, per_task, nodes, tasks, min_memory = facts
    amounts = tres(allocated)
    node_count = _small(nodes) or 1
    asked = gres_gpus(per_job)
    times = 1
    if not asked:
        asked, times = gres_gpus(per_node), node_count
    if not asked:
        asked, times = gres_gpus(per_task), _small(tasks) or 1
    total, typed = tres_gpus(amounts)
    if total == 0:
        total = sum(asked.values()) * times
    memory = amounts.get("mem")
    if not memory:
        memory = (megabytes(min_memory) or 0) * node_count
    return memory or None, min(total, 2**31 - 1), type_name(typed) or type_name(asked)
