"""A job's facts as the browser shows them: what it asked for, was given and used; each attempt; what may be done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from backend import jobs
from backend.cluster import Snapshot
from backend.identity import Viewer, policy
from backend.jobs.record import Record, ended_in_words
from backend.launcher.as_user import sbatch_options
from backend.services import Services
from backend.sessions import LaunchRequest
from backend.sessions.life.submission import job_options
from pages.parts.job.groups import GROUPS
from pages.parts.topics import Message

Row = Mapping[str, Any]

# What the browser needs of a row of the queue.
FACTS = (
    "job_id", "label", "array_job_id", "array_task_id", "het_job_id", "het_offset", "name", "user", "account",
    "partition", "qos", "reservation", "state", "flags", "reason", "priority", "submit_s", "eligible_s", "start_s",
    "start_expected", "end_s", "time_limit_s", "nodes", "node_list", "cpus", "memory_mb", "gpus", "gpu_type", "tres",
    "dependency", "features", "work_dir", "command", "comment", "exit_code", "restarts",
)  # fmt: skip
ATTEMPT = (
    "attempt", "submit_s", "eligible_s", "start_s", "end_s", "suspended_s", "state", "nodes", "node_list", "cpus",
    "mem_mb", "gpus", "gpu_type", "exit_status", "exit_signal", "cpu_used_s", "mem_peak_mb", "energy_j", "reason",
)  # fmt: skip


def described(services: Services, viewer: Viewer, record: Record) -> Message:
    """All but what was measured. Blocks for the database."""
    snapshot = services.snapshots.current
    facts = record.facts()
    session = session_of(services, viewer, record)
    return {
        **{name: facts[name] for name in FACTS},
        "cluster": record.cluster,
        "origin_s": record.origin_s,
        "in_queue": record.live is not None,
        "running": record.running,
        "over": record.over,
        "words": record.words(snapshot, viewer),
        "problem": record.problem,
        "asked": asked(record, session),
        "used": used(record),
        "attempts": [attempt(row, snapshot) for row in record.attempts],
        "runs": [[run.start_s, run.end_s] for run in record.runs()],
        "others": [
            {"cluster": each.cluster, "origin_s": each.origin_s, "user": each.user, "name": each.name,
             "state": each.state, "start_s": each.start_s, "end_s": each.end_s}
            for each in record.others
        ],
        "whole_array": facts["array_job_id"] is not None and record.live is not None and not jobs.is_one_task(facts),
        "own": jobs.is_own(viewer, facts),
        "operator": bool(viewer.roles & {"operator", "admin"}),
        "can": jobs.refusals(services, viewer, record.live),
        "may_read": policy.allowed(viewer, "job.log", record.owner),
        "scheduler": services.settings.scheduler.kind,
        "session": session,
        "groups": [{"name": each.name, "title": each.title, "shut": each.shut} for each in GROUPS],
    }  # fmt: skip


def asked(record: Record, session: Message | None) -> Message:
    """What it asked for, as the accounts keep it; until they do, as the queue says of a job that waits, and as the
    person's own session was launched. `why` where none of these tell: the queue knows of one that runs what it got."""
    row, live = record.newest, record.live
    found: Message = {"cpus": None, "mem_mb": None, "gpus": None, "nodes": None, "tres": None, "why": ""}
    if row is not None:
        tres = row["req_tres"]
        return found | {
            "cpus": row["req_cpus"], "mem_mb": row["req_mem_mb"], "gpus": row["req_gpus"], "tres": tres,
            "nodes": nodes_of(tres or ""),
        }  # fmt: skip
    if session is not None:
        each, nodes = session["request"], max(1, session["request"]["nodes"])
        totals = {"cpus": each["cpus"], "mem_mb": each["memory_mb"], "gpus": each["gpus"]}  # 0: the scheduler chose
        return found | {name: amount * nodes or None for name, amount in totals.items()} | {"nodes": nodes}
    if live is not None and live["state"] == "PENDING":
        return found | {
            "cpus": live["cpus"], "mem_mb": live["memory_mb"], "gpus": live["gpus"], "tres": live["tres"],
            "nodes": live["nodes"],
        }  # fmt: skip
    return found | {"why": "" if record.problem else "What it asked for is in the accounts, which are a minute behind."}


def nodes_of(tres: str) -> int | None:
    """The nodes of a list such as cpu=8,mem=32G,node=2."""
    found = re.search(r"(?:^|,)node=(\d{1,9})(?:,|$)", tres)
    return int(found[1]) if found else None


def used(record: Record) -> Message:
    """What the accounts say that the last attempt used, and why where they say nothing."""
    row = record.newest
    found: Message = {"cpu_s": None, "mem_peak_mb": None, "energy_j": None, "why": ""}
    if record.live is not None and record.live["state"] == "PENDING":
        return found
    if record.live is not None and not record.over:
        found["why"] = "What was used is counted when the job’s steps end."
    elif row is None:
        found["why"] = record.problem or "It is not in the accounts yet: that takes a minute."
    else:
        found |= {"cpu_s": row["cpu_used_s"], "mem_peak_mb": row["mem_peak_mb"], "energy_j": row["energy_j"]}
        if row["cpu_used_s"] is None:
            never = row["start_s"] is None
            found["why"] = "It never started." if never else "The accounts know of no step of it that told."
    return found


def attempt(row: Row, snapshot: Snapshot) -> Message:
    """One attempt, with how it ended in words."""
    return {**{name: row[name] for name in ATTEMPT}, "words": ended_in_words(row, snapshot)}


def session_of(services: Services, viewer: Viewer, record: Record) -> Message | None:
    """The session that the job is of, where it is the viewer's own."""
    name = record.facts()["name"]
    if not name.startswith("carme-") or not jobs.is_own(viewer, record.owner):
        return None
    wanted = name.removeprefix("carme-")
    for each in services.sessions.list(viewer):
        if each.id == wanted and each.job_id == record.job_id:
            return {"id": each.id, "request": each.request.to_dict(), "sbatch": sbatch_text(each.request)}
    return None


def sbatch_text(request: LaunchRequest) -> str:
    """What the session asked for, as the head of a batch script."""
    lines = [f"#SBATCH {option}" for option in sbatch_options(job_options(request))]
    return "\n".join(["#!/bin/bash", *lines, "", "# what to run:", ""])
