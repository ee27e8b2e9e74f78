"""What a job printed and the script it ran: read as its owner, by the launcher, and by nobody else."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from backend.identity import Viewer, policy
from backend.jobs.record import Record
from backend.jobs.seeing import TASK, JobNotFound
from backend.launcher import LauncherError
from backend.services import Services

LOG_BYTES = 64 * 1024
Which = Literal["out", "err"]
Kind = Literal["script", "environment"]


@dataclass(frozen=True)
class Part:
    """`text` is the end of a log or the beginning of a script, `size_bytes` the whole; `note` what to know of it.
    Where there is nothing to show, `text` is "" and `note` says why."""

    text: str
    path: str = ""
    size_bytes: int = 0
    note: str = ""


async def read_log(services: Services, viewer: Viewer, record: Record, which: Which = "out") -> Part:
    """The end of what the job printed. Raises JobNotFound for a job of another, LauncherError, SessionError."""
    if not policy.allowed(viewer, "job.log", record.owner):
        raise JobNotFound
    given: dict[str, Any] = {"which": which, "max_bytes": LOG_BYTES}
    folder = record.live["work_dir"] if record.live is not None else (record.newest or {}).get("work_dir")
    if folder:
        given["folder"] = folder
    return await _read(services, viewer, record, "job_log", given)


async def read_script(services: Services, viewer: Viewer, record: Record, kind: Kind = "script") -> Part:
    """The batch script, or the environment it was submitted with. Raises as `read_log`."""
    if not policy.allowed(viewer, "job.script", record.owner):
        raise JobNotFound
    return await _read(services, viewer, record, "job_script", {"kind": kind})


async def _read(services: Services, viewer: Viewer, record: Record, action: str, given: dict[str, Any]) -> Part:
    user = await asyncio.to_thread(services.sessions.unix_user, viewer)
    newest = record.newest
    if record.live is None and newest is not None:
        # The queue may hold another job of this number by now.
        given |= {"gone": True, "since_s": newest["submit_s"], "until_s": (newest["end_s"] or newest["submit_s"]) + 1}
    try:
        answer = await services.launcher.call(user, action, job_id=_target(record), **given)
    except LauncherError as error:
        if error.kind == "not_found":  # an answer, not a failure: there is nothing to show, and why
            return Part("", note=error.message)
        raise
    return Part(
        text=str(answer.get("text", "")),
        path=str(answer.get("path", "")),
        size_bytes=int(answer.get("size_bytes", 0)),
        note=str(answer.get("note", "")),
    )


def _target(record: Record) -> str:
    """As scontrol and sacct name it: a task by its array, whose own number would mean all of it."""
    if record.live is not None:
        label: str = record.live["label"]
        return label if TASK.fullmatch(label) else str(record.job_id)
    newest = record.newest
    if newest is not None and newest["array_job_id"] and newest["array_task_id"] is not None:
        return f"{newest['array_job_id']}_{newest['array_task_id']}"
    return str(record.job_id)
