"""The queue, from one `squeue --Format`: every field followed by a mark drawn at random for this answer.

`--Format` knows `tres-alloc`, which tells the GPUs of a job however they were asked for, and takes a mark
after each field since 20.11; fields are named, never counted on to be in a release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import pyarrow as pa

from backend.cluster.model import ENDED_STATES, JOB_STATES, JOBS
from backend.cluster.protocol import Reading, SchedulerError
from backend.cluster.slurm.command import Commands, Marks
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


UNKNOWN_JOB = "Invalid job id"


def read_jobs(commands: Commands) -> Reading:
    """The whole queue, ended jobs that the controller still remembers included. Raises SchedulerError."""
    return _read(commands)


def read_some_jobs(commands: Commands, job_ids: Iterable[int]) -> Reading:
    """The rows of these jobs only; ids that the controller has forgotten are simply absent."""
    wanted = ",".join(str(job_id) for job_id in sorted(set(job_ids)))
    if not wanted:
        return Reading(JOBS.empty_table())
    try:
        return _read(commands, f"--jobs={wanted}")
    except SchedulerError as error:
        if UNKNOWN_JOB in str(error):  # said only when one job is asked for and it is gone
            return Reading(JOBS.empty_table())
        raise


def _read(commands: Commands, *selection: str) -> Reading:
    marks = Marks.draw()
    output = commands.run(
        "squeue",
        "--noheader",
        "--all",
        "--local",
        "--states=all",
        *selection,
        f"--Format={job_format(marks)}",
    )
    return parse_jobs(output, marks)


def job_format(marks: Marks) -> str:
    """The value of `--Format`; a size left empty means that nothing is cut."""
    return ",".join(f"{name}::{marks.field}" for name in FIELDS[:-1]) + f",{FIELDS[-1]}::{marks.row.rstrip()}"


def parse_jobs(output: str, marks: Marks) -> Reading:
    """The table (schema JOBS) of squeue's answer. A row that makes no sense is left out and named."""
    separator = f":{marks.field}"
    rows: list[list[str]] = []
    problems: list[str] = []
    pieces = output.split(f":{marks.row}")
    last = pieces.pop()
    if last.strip():
        problems.append(f"squeue's answer ends in the middle of a row: {last[:80]!r}")
    for number, piece in enumerate(pieces, start=1):
        values = piece.split(separator)
        if len(values) != len(FIELDS):
            problems.append(
                f"row {number} of squeue has {len(values)} of {len(FIELDS)} fields: {piece[:80]!r}"
            )
        elif not (values[0].isascii() and values[0].isdigit() and len(values[0]) < 19):
            problems.append(f"row {number} of squeue has no job id: {values[0][:80]!r}")
        else:
            rows.append(values)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(FIELDS)
    return Reading(_table(dict(zip(FIELDS, columns, strict=True))), tuple(problems))


def _table(text: dict[str, tuple[str, ...]]) -> pa.Table:
    count = len(text["JobID"])
    states = [
        job_state(*facts) for facts in zip(text["State"], text["Reason"], text["exit_code"], strict=True)
    ]
    base = [state for state, _ in states]
    size = cache(_sizes)
    sizes = [size(facts) for facts in zip(*(text[name] for name in _SIZE_FIELDS), strict=True)]
    start = _each(moment, text["StartTime"])
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
        "array_pending": [
            count_tasks(task) if task is not None and not task.isdigit() else 1 for task in tasks
        ],
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
        "submit_s": _each(moment, text["SubmitTime"]),
        "eligible_s": _each(moment, text["EligibleTime"]),
        "start_s": start,
        "start_expected": [
            state == "PENDING" and began is not None for state, began in zip(base, start, strict=True)
        ],
        "end_s": [
            None if state == "PENDING" else moment(end)
            for state, end in zip(base, text["EndTime"], strict=True)
        ],
        "time_limit_s": _each(duration, text["TimeLimit"]),
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
    return pa.Table.from_arrays(arrays, schema=JOBS)


def _each(convert: Callable[[str], Any], values: Iterable[str]) -> list[Any]:
    """Convert a column; equal texts are converted once, for a queue has few distinct ones."""
    return list(map(cache(convert), values))


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
