"""What a person may do to a job: who and when, and then as that person, the scheduler having the last word."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

from backend.cluster import ENDED_STATES
from backend.identity import Viewer, policy
from backend.jobs.seeing import find, is_held, is_one_task
from backend.launcher import LauncherError
from backend.services import Services
from backend.store import Outcome, audit

Asked = Literal["cancel", "hold", "release", "requeue", "extend"]
ACTIONS: tuple[Asked, ...] = ("cancel", "hold", "release", "requeue", "extend")
DONE = {"cancel": "cancel", "hold": "hold", "release": "release", "requeue": "put back", "extend": "change the time of"}
LEAST_S = 60
MOST_S = 10**8
OVER = "The job is over."


class ActionRefused(Exception):
    """Nothing was done; the message is for the person. `why`: `rights`, `state` (not now), or `wrong` (the request)."""

    def __init__(self, why: Literal["rights", "state", "wrong"], message: str) -> None:
        super().__init__(message)
        self.why = why


def refusal(viewer: Viewer, row: Mapping[str, Any], asked: Asked = "cancel") -> ActionRefused | None:
    """Why the viewer can't do it to this job of the queue, or None."""
    if not policy.allowed(viewer, f"job.{asked}", row):
        return ActionRefused("rights", f"You may not {DONE[asked]} this job.")
    words = _not_now(row, asked)
    return ActionRefused("state", words) if words else None


def refusals(services: Services, viewer: Viewer, row: Mapping[str, Any] | None) -> dict[Asked, str]:
    """For each action why it can't be done, "" where it can. `row` is None for a job that left the queue."""
    if row is None:
        gone = "The job is over, and Slurm has forgotten it." if _slurm(services) else OVER
        return dict.fromkeys(ACTIONS, gone)
    found: dict[Asked, str] = {}
    for asked in ACTIONS:
        refused = refusal(viewer, row, asked)
        found[asked] = str(refused) if refused else ""
    if not _slurm(services) and not found["requeue"]:
        found["requeue"] = "Jobs on this machine are not put back: launch it again."
    return found


def _not_now(row: Mapping[str, Any], asked: Asked) -> str:
    waits, over = row["state"] == "PENDING", row["state"] in ENDED_STATES
    if asked == "requeue":
        if row["name"].startswith("carme-"):
            return "A session is not put back in the queue: launch it again."
        return "It waits in the queue already." if waits else ""
    if over:
        return OVER
    if asked == "hold":
        return "It is held already." if is_held(row) else "" if waits else "Only a job that waits can be held."
    if asked == "release":
        return "" if is_held(row) else "It is not held."
    return ""


async def act(
    services: Services, viewer: Viewer, asked: Asked, job_id: int, address: str = "", *, time_s: int | None = None
) -> None:
    """Do it as the person. Leaves an audit line, also where the scheduler refuses. `time_s`: the new limit of `extend`.

    Raises JobNotFound, ActionRefused, SessionError (the person can't act here), LauncherError (the scheduler's words).
    """
    row = await asyncio.to_thread(find, viewer, services.snapshots.current, job_id)
    if refused := refusal(viewer, row, asked):
        raise refused
    if asked == "requeue" and not _slurm(services):
        raise ActionRefused("state", "Jobs on this machine are not put back: launch it again.")
    user = await asyncio.to_thread(services.sessions.unix_user, viewer)
    given: dict[str, Any] = {}
    if asked == "extend":
        if time_s is None or not LEAST_S <= time_s <= MOST_S:
            raise ActionRefused("wrong", "A time limit is a minute or more.")
        given = {"time_s": time_s}

    def note(outcome: Outcome) -> None:
        with services.db.begin() as rows:
            audit(rows, viewer.name, f"job.{asked}", str(job_id), outcome, address, **given)
        services.snapshots.kick()

    # An array's last task has the array's own number: only the label names the task alone.
    target = row["label"] if is_one_task(row) else str(job_id)
    try:
        await services.launcher.call(user, "update" if asked == "extend" else asked, job_id=target, **given)
    except LauncherError as error:
        await asyncio.to_thread(note, "failed")
        raise _explained(error, asked, row, time_s) from error
    await asyncio.to_thread(note, "done")


async def cancel(services: Services, viewer: Viewer, job_id: int, address: str = "") -> None:
    """Cancel it: see `act`."""
    await act(services, viewer, "cancel", job_id, address)


async def hold(services: Services, viewer: Viewer, job_id: int, address: str = "") -> None:
    """Keep it from starting: see `act`. What an operator holds only operators release, as Slurm has it."""
    await act(services, viewer, "hold", job_id, address)


async def release(services: Services, viewer: Viewer, job_id: int, address: str = "") -> None:
    """Let it start again: see `act`."""
    await act(services, viewer, "release", job_id, address)


async def requeue(services: Services, viewer: Viewer, job_id: int, address: str = "") -> None:
    """End it and put it back in the queue: see `act`."""
    await act(services, viewer, "requeue", job_id, address)


async def extend(services: Services, viewer: Viewer, job_id: int, time_s: int, address: str = "") -> None:
    """Give it another time limit, counted from its start: see `act`."""
    await act(services, viewer, "extend", job_id, address, time_s=time_s)


def _explained(error: LauncherError, asked: Asked, row: Mapping[str, Any], time_s: int | None) -> LauncherError:
    """Slurm says "Access/permission denied" to whoever raises a limit without being its operator."""
    denied = error.kind == "refused" and "denied" in error.message.lower()
    longer = time_s is not None and (row["time_limit_s"] is None or time_s > row["time_limit_s"])
    if denied and asked == "extend" and longer:
        words = "Slurm lets only its operators raise a time limit; anyone may lower their own. Ask an operator."
        return LauncherError(error.kind, f"{words} (Slurm: {error.message})")
    if denied and asked == "release":
        words = "An operator holds it, and only operators release it."
        return LauncherError(error.kind, f"{words} (Slurm: {error.message})")
    return error


def _slurm(services: Services) -> bool:
    return services.settings.scheduler.kind == "slurm"
