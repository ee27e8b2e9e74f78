"""What became of jobs that left the queue: `sacct --duplicates` for these jobs only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from backend.cluster.model import ENDED, JOB_STATES
from backend.cluster.protocol import Reading
from backend.cluster.slurm.command import Commands, Marks
from backend.cluster.slurm.text import NOTHING, duration, megabytes, moment, tres, tres_gpus, type_name, whole

FIELDS = (
    "JobIDRaw",
    "JobName",
    "User",
    "UID",
    "Account",
    "Partition",
    "QOS",
    "State",
    "ExitCode",
    "Submit",
    "Start",
    "End",
    "TimelimitRaw",
    "NNodes",
    "NodeList",
    "NCPUS",
    "ReqTRES",
    "AllocTRES",
    "TotalCPU",
    "MaxRSS",
)


def read_ended(commands: Commands, job_ids: Iterable[int]) -> Reading:
    """Every attempt of these jobs that accounting knows, the newest last. Raises SchedulerError."""
    wanted = ",".join(str(job_id) for job_id in sorted(set(job_ids)))
    if not wanted:
        return Reading(ENDED.empty_table())
    marks = Marks.draw()
    output = commands.run(
        "sacct",
        "--noheader",
        "--allusers",
        "--local",
        "--duplicates",
        "--parsable",
        f"--delimiter={marks.field}",
        f"--jobs={wanted}",
        f"--format={','.join(FIELDS)}",
    )
    return parse_ended(output, marks)


def parse_ended(output: str, marks: Marks) -> Reading:
    """The table (schema ENDED): one row an attempt, its steps folded in.

    `--parsable` puts the mark behind every field, so rows are counted off by fields, not by line ends.
    """
    values = output.split(marks.field)
    tail = values.pop()
    problems: list[str] = []
    if tail.strip():
        problems.append(f"sacct's answer ends in the middle of a row: {tail.strip()[:80]!r}")
    attempts: list[dict[str, Any]] = []
    for start in range(0, len(values), len(FIELDS)):
        row = dict(zip(FIELDS, values[start : start + len(FIELDS)], strict=False))
        identity = row["JobIDRaw"].lstrip("\n")
        number, dot, _step = identity.partition(".")
        job_id = whole(number)
        if len(row) < len(FIELDS) or job_id is None:
            problems.append(f"a row of sacct makes no sense: {identity[:80]!r}")
        elif not dot:
            attempts.append(_attempt(job_id, row))
        elif attempts and attempts[-1]["job_id"] == job_id:
            peak = megabytes_or_none(row["MaxRSS"])
            if peak is not None:
                attempts[-1]["memory_peak_mb"] = max(peak, attempts[-1]["memory_peak_mb"] or 0)
    attempts.sort(key=lambda attempt: (attempt["job_id"], attempt["submit_s"] or 0, attempt["start_s"] or 2**62))
    return Reading(pa.Table.from_pylist(attempts, schema=ENDED), tuple(problems))


def _attempt(job_id: int, row: dict[str, str]) -> dict[str, Any]:
    allocated, requested = tres(row["AllocTRES"]), tres(row["ReqTRES"])
    amounts = allocated or requested
    total, typed = tres_gpus(amounts)
    state, cancelled_by = ended_state(row["State"])
    limit = whole(row["TimelimitRaw"])
    return {
        "job_id": job_id,
        "name": row["JobName"],
        "user": row["User"],
        "uid": whole(row["UID"]),
        "account": row["Account"],
        "partition": row["Partition"],
        "qos": row["QOS"],
        "state": state,
        "cancelled_by": cancelled_by,
        "exit_code": row["ExitCode"] if row["ExitCode"].replace(":", "").isdigit() else "",
        "submit_s": moment(row["Submit"]),
        "start_s": moment(row["Start"]),
        "end_s": moment(row["End"]),
        "time_limit_s": limit * 60 if limit is not None else None,
        "nodes": whole(row["NNodes"]),
        "node_list": "" if row["NodeList"] in NOTHING or row["NodeList"] == "None assigned" else row["NodeList"],
        "cpus": whole(row["NCPUS"]),
        "memory_mb": amounts.get("mem"),
        "gpus": total,
        "gpu_type": type_name(typed),
        "tres": row["AllocTRES"] or row["ReqTRES"],
        "cpu_used_s": cpu_seconds(row["TotalCPU"]),
        "memory_peak_mb": megabytes_or_none(row["MaxRSS"]),
    }


def ended_state(shown: str) -> tuple[str, str]:
    """State and who cancelled of `CANCELLED by 1000`, `COMPLETED`, `REQUEUED`; an unknown word stays."""
    word, _, by = shown.partition(" by ")
    word = word.strip()
    if word in JOB_STATES or word in ("REQUEUED", "RESIZING", "REVOKED"):
        return word, by.strip()
    return word.split(" ")[0].rstrip("+") or "FAILED", by.strip()


def cpu_seconds(text: str) -> float | None:
    """`1-02:03:04`, `02:03.456`: sacct writes fractions behind minutes and seconds."""
    whole_part, dot, fraction = text.partition(".")
    seconds = duration(whole_part)
    if seconds is None:
        return None
    return seconds + (float(f"0.{fraction}") if dot and fraction.isdigit() else 0.0)


def megabytes_or_none(text: str) -> int | None:
    """`1234K`, `1.5G`; a bare number is bytes here, as sacct prints 0."""
    if not text or text in NOTHING:
        return None
    if text.isdigit():
        return int(text) >> 20
    return megabytes(text)
