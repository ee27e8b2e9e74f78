"""Why a job waits (or how it ended), in plain words, with the limit that bites and what counts against it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from backend.cluster.model import ENDED_STATES, Snapshot
from backend.cluster.views.amounts import amount, as_duration
from backend.cluster.views.limits import Case, is_limit, limit_in_words
from backend.cluster.views.words import ENDED, STATE, TEXTS, WAITING

Job = Mapping[str, Any]


def reason_in_words(job: Job, snapshot: Snapshot, *, own: bool = True) -> str:
    """One or two sentences, "" for a job that runs. `job` is a row of the jobs; `own`: the reader's own.

    A reason nobody described yet is shown in Slurm's own word.
    """
    reason = job["reason"] or ""
    if job["state"] in ENDED_STATES:
        return _ended(job, reason)
    return _waits(job, reason, snapshot, own=own) if job["state"] == "PENDING" else ""


def _waits(job: Job, reason: str, snapshot: Snapshot, *, own: bool) -> str:
    word, _, detail = reason.partition(",")
    word, detail = word.strip(), detail.strip()
    if is_limit(word):
        return limit_in_words(word, Case(job, snapshot, own))
    if word in _SPECIAL:
        return _SPECIAL[word](job, detail, snapshot)
    if reason.startswith("Nodes required for job are DOWN, DRAINED"):
        words = "The nodes that it needs are down, drained or kept for jobs of a higher partition."
        return words + _maintenance(job, snapshot)
    if word in WAITING:
        return WAITING[word] + (f" ({detail})" if detail else "")
    return TEXTS.get(reason) or f"Slurm says: {reason}"


# -- reasons with facts of their own ---------------------------------------------------------------


def _ended(job: Job, reason: str) -> str:
    words = ENDED.get(reason) or STATE.get(job["state"], f"Slurm says: {job['state']}")
    status, _, signal = (job["exit_code"] or "").partition(":")
    if words.endswith("."):
        return words
    if signal not in ("", "0"):
        return f"{words} (signal {signal})."
    return f"{words} (exit code {status})." if status not in ("", "0") else f"{words}."


def _resources(job: Job, _detail: str, snapshot: Snapshot) -> str:
    wanted = [amount("node", job["nodes"])] if (job["nodes"] or 1) > 1 else []
    if job["gpus"]:
        wanted.append(amount(f"gres/gpu:{job['gpu_type']}" if job["gpu_type"] else "gres/gpu", job["gpus"]))
    else:
        wanted.append(amount("cpu", job["cpus"] or 1))
    return f"Next in line: it waits for {' with '.join(wanted)} to become free." + _maintenance(job, snapshot)


def _priority(job: Job, _detail: str, snapshot: Snapshot) -> str:
    jobs = snapshot.jobs.table
    names = set(job["partition"].split(","))
    same = [text for text in pc.unique(jobs["partition"]).to_pylist() if names & set(text.split(","))]
    ahead = pc.and_(
        pc.and_(
            pc.equal(jobs["state"], "PENDING"),
            pc.is_in(jobs["partition"], value_set=pa.array(same, pa.string())),
        ),
        pc.greater(jobs["priority"], job["priority"] or 0),
    )
    count = pc.sum(jobs.filter(ahead)["array_pending"]).as_py() or 0
    where = job["partition"].replace(",", " or ")
    if count == 0:
        return f"Other jobs go first in {where}."
    some = "1 job with a higher priority goes" if count == 1 else f"{count} jobs with a higher priority go"
    return f"{some} first in {where}."


def _unavailable(job: Job, detail: str, snapshot: Snapshot) -> str:
    nodes = detail.partition("UnavailableNodes:")[2].strip()
    more = _maintenance(job, snapshot)
    if nodes:
        return f"Nodes that it could use are not available now (down, drained or reserved): {nodes}.{more}"
    if detail.startswith("May be reserved"):
        return "Nodes that it could use are kept for a job that goes first, or for a reservation." + more
    return WAITING["ReqNodeNotAvail"] + more


def _dependency(job: Job, _detail: str, _snapshot: Snapshot) -> str:
    ids = re.findall(r"(?<=:)\d+(?:_\d+|_\*)?", job["dependency"] or "")
    shown = ", ".join(dict.fromkeys(ids[:5])) + (", …" if len(ids) > 5 else "")
    if not ids:
        return WAITING["Dependency"]
    return f"It waits for {'job' if len(ids) == 1 else 'jobs'} {shown} to finish first."


def _array(job: Job, _detail: str, _snapshot: Snapshot) -> str:
    at_once = (job["array_task_id"] or "").partition("%")[2]
    if not at_once.isdigit():
        return WAITING["JobArrayTaskLimit"]
    tasks = "1 task" if at_once == "1" else f"{at_once} tasks"
    return f"The array was asked to run {tasks} at once; the rest wait."


def _partition_time(job: Job, _detail: str, snapshot: Snapshot) -> str:
    names = job["partition"].split(",")
    longest = [row["max_time_s"] for row in snapshot.partitions.rows() if row["name"] in names]
    if len(longest) != 1 or longest[0] is None or job["time_limit_s"] is None:
        return WAITING["PartitionTimeLimit"]
    return (
        f"It asks for {as_duration(job['time_limit_s'])}; partition {names[0]} allows"
        f" {as_duration(longest[0])}. It will not start as it is."
    )


def _reservation(job: Job, _detail: str, snapshot: Snapshot) -> str:
    for row in snapshot.reservations.rows():
        if row["name"] == job["reservation"] and row["state"] != "ACTIVE" and row["start_s"] and _now(snapshot):
            return f"Its reservation {row['name']} begins in {as_duration(row['start_s'] - _now(snapshot))}."
    return WAITING["Reservation"]


def _now(snapshot: Snapshot) -> int:
    return int(snapshot.jobs.taken_s or 0)


def _maintenance(job: Job, snapshot: Snapshot) -> str:
    """What to do when a maintenance begins before the job could end."""
    now = _now(snapshot)
    members: set[str] = set()
    for row in snapshot.partitions.rows():
        if row["name"] in job["partition"].split(","):
            members.update(row["node_names"] or [])
    for row in snapshot.reservations.rows():
        begins = row["start_s"] or 0
        reaches = job["time_limit_s"] is None or now + job["time_limit_s"] > begins
        if "MAINT" in row["flags"] and now and begins > now and reaches and members & set(row["node_names"] or []):
            return (
                f" Maintenance ({row['name']}) begins in {as_duration(begins - now)}:"
                " a shorter time limit may start sooner."
            )
    return ""


_SPECIAL = {
    "Resources": _resources,
    "Priority": _priority,
    "ReqNodeNotAvail": _unavailable,
    "Dependency": _dependency,
    "JobArrayTaskLimit": _array,
    "PartitionTimeLimit": _partition_time,
    "Reservation": _reservation,
}
