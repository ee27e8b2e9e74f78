"""Waste: GPU-hours that were held and stood idle, by whom; jobs whose GPUs do nothing now; notices to their people."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from backend import jobs
from backend.accounting.rights import scope_of
from backend.accounting.warehouse import WarehouseUnusable
from backend.identity import Viewer, policy
from backend.services import Services
from backend.store.models import IdleNotice
from backend.telemetry import IDLE_GPU_PERCENT, TelemetryUnusable
from backend.waste import (
    FIRST,
    LEAST_MINUTES,
    MOST_MINUTES,
    WINDOWS,
    Figures,
    IdleJob,
    NoticeRefused,
    Waste,
    idle_now,
    window,
)
from pages.parts.desk import Action, Desk, Refused, number, text
from pages.parts.topics import Message, Topic

MINUTES = 30  # what the page begins with
TITLES = {
    "user": "Person",
    "account": "Account",
    "project": "Project",
    "partition": "Partition",
    "gpu_type": "GPU model",
}


def build(services: Services, viewer: Viewer) -> Any:
    """The page at `/waste`."""
    from pages.shell import page  # the shell knows every page, so it comes last

    return page(services, viewer, "waste")


def told(services: Services, viewer: Viewer | None) -> Message:
    """For its person, on every page: jobs of theirs that somebody has asked about."""
    assert viewer is not None  # noqa: S101 - a personal topic is made for a person
    return {
        "notices": [
            {"id": row.id, "job_id": row.job_id, "subject": row.subject, "text": row.text, "sent_s": row.sent_s}
            for row in services.idle_notices.waiting_for(viewer)
        ]
    }


# -- what is shown -------------------------------------------------------------------------------------------


def look(services: Services, viewer: Viewer, name: str) -> Message:
    """The figures of one window. Raises Refused."""
    since_s, until_s = _window(services, name)
    waste = _waste(services)
    try:
        found = waste.figures(scope_of(viewer), since_s, until_s, int(time.time()))
    except WarehouseUnusable as error:
        raise Refused(f"The accounts can't be read: {error}") from error
    state = services.telemetry.state
    return {
        "window": name,
        "windows": list(WINDOWS.items()),
        "since_s": since_s,
        "until_s": until_s,
        "everybody": policy.allowed(viewer, "jobs.all"),
        "accounts": sorted(viewer.coordinates),
        "idle_percent": IDLE_GPU_PERCENT,
        **_figures(found, waste.dimensions),
        "clusters": [
            {"name": cluster, "synced_s": each.synced_s}
            for cluster, each in sorted(services.warehouse.state.clusters.items())
        ],
        "telemetry": {
            "as_of_s": state.as_of_s, "error": state.error or "", "error_since_s": state.error_since_s,
            "size_bytes": state.size_bytes, "oldest_s": state.oldest_s,
        },
    }  # fmt: skip


def _window(services: Services, name: str) -> tuple[int, int]:
    try:
        return window(name, services.settings.instance.time_zone, time.time())
    except KeyError:
        raise Refused("There is no such window.") from None


def _waste(services: Services) -> Waste:
    return Waste(services.warehouse, services.telemetry, services.projects)


def _figures(found: Figures, dimensions: tuple[str, ...]) -> Message:
    return {
        "total": asdict(found.total),
        "away": found.away,
        "tables": [
            {
                "by": name,
                "title": TITLES[name],
                "more": found.more[name],
                "rows": [{"name": group.name or "", **asdict(group.hours)} for group in found.groups[name]],
            }
            for name in dimensions
        ],
    }


def jobs_of(services: Services, viewer: Viewer, name: str, by: str, value: str) -> Message:
    """The jobs behind one row. Raises Refused."""
    waste = _waste(services)
    if by not in waste.dimensions:
        raise Refused("That request is not one the page makes.")
    since_s, until_s = _window(services, name)
    try:
        found = waste.jobs(scope_of(viewer), since_s, until_s, int(time.time()), by=by, name=value)
    except WarehouseUnusable as error:
        raise Refused(f"The accounts can't be read: {error}") from error
    return {"by": by, "name": value, "jobs": found.to_pylist()}


def idle(services: Services, viewer: Viewer, minutes: int) -> Message:
    """Jobs that hold GPUs and do nothing with them now, and what was sent about any. Raises Refused."""
    rows, away = _idle(services, viewer, minutes)
    last = services.idle_notices.last_of(rows)
    return {
        "minutes": minutes,
        "away": away,
        "jobs": [_idle_row(viewer, row, last.get((row.cluster, row.job_id, row.start_s))) for row in rows],
        "sent": [_sent(row) for row in services.idle_notices.listed(viewer)],
    }


def _idle(services: Services, viewer: Viewer, minutes: int) -> tuple[list[IdleJob], str]:
    if not LEAST_MINUTES <= minutes <= MOST_MINUTES:
        raise Refused(f"Idle for {LEAST_MINUTES} minutes to 7 days can be asked for.")
    snapshot = services.snapshots.current
    seen = jobs.seen_by(viewer, snapshot, "all")
    try:
        return idle_now(services.telemetry, snapshot.cluster, seen, minutes, time.time()), ""
    except TelemetryUnusable as error:
        return [], str(error)


def _idle_row(viewer: Viewer, row: IdleJob, last: IdleNotice | None) -> Message:
    return {
        **asdict(row),
        "may_tell": policy.allowed(viewer, "waste.notice", row),
        "told": None if last is None else {"by": last.sent_by, "sent_s": last.sent_s},
    }


def _sent(row: IdleNotice) -> Message:
    return {
        "id": row.id, "job_id": row.job_id, "person": row.person, "account": row.account, "subject": row.subject,
        "text": row.text, "sent_by": row.sent_by, "sent_s": row.sent_s, "mail": row.mail, "mail_why": row.mail_why,
        "seen_s": row.seen_s,
    }  # fmt: skip


def _one(services: Services, viewer: Viewer, job_id: int) -> IdleJob:
    """A job that is idle at this moment. Raises Refused."""
    rows, away = _idle(services, viewer, LEAST_MINUTES)
    if away:
        raise Refused(f"Whether it is idle can't be known now: {away}")
    found = next((row for row in rows if row.job_id == job_id), None)
    if found is None:
        raise Refused("This job is not idle any more, or it is over.")
    return found


def draft(services: Services, viewer: Viewer, job_id: int, note: str) -> Message:
    """What the job's person would be told, and how. Raises Refused."""
    try:
        return asdict(services.idle_notices.draft(viewer, _one(services, viewer, job_id), note))
    except NoticeRefused as refusal:
        raise Refused(str(refusal)) from refusal


def send(services: Services, viewer: Viewer, job_id: int, note: str) -> Message:
    """Tell the job's person. Raises Refused."""
    try:
        return _sent(services.idle_notices.send(viewer, _one(services, viewer, job_id), note))
    except NoticeRefused as refusal:
        raise Refused(str(refusal)) from refusal


# -- actions -------------------------------------------------------------------------------------------------


async def look_action(desk: Desk, args: dict[str, Any]) -> Message:
    return await desk.ask(look, desk.services, desk.viewer, text(args, "window") or FIRST)


async def jobs_action(desk: Desk, args: dict[str, Any]) -> Message:
    name = text(args, "window") or FIRST
    return await desk.ask(jobs_of, desk.services, desk.viewer, name, text(args, "by"), text(args, "name"))


async def idle_action(desk: Desk, args: dict[str, Any]) -> Message:
    return await desk.ask(idle, desk.services, desk.viewer, number(args, "minutes", MINUTES))


async def draft_action(desk: Desk, args: dict[str, Any]) -> Message:
    return await desk.ask(draft, desk.services, desk.viewer, number(args, "job"), text(args, "note", 4000))


async def send_action(desk: Desk, args: dict[str, Any]) -> Message:
    sent = await desk.ask(send, desk.services, desk.viewer, number(args, "job"), text(args, "note", 4000))
    desk.live.look.hurry()
    return sent


async def seen_action(desk: Desk, args: dict[str, Any]) -> Message:
    """The person puts a notice away: theirs alone, whatever the id."""
    await desk.run(desk.services.idle_notices.put_away, desk.viewer, text(args, "id"))
    desk.live.look.hurry()
    return {}


TOPICS = (Topic("told", told, ("told",), personal=True),)
ACTIONS: dict[str, Action] = {
    "waste.look": look_action,
    "waste.jobs": jobs_action,
    "waste.idle": idle_action,
    "waste.draft": draft_action,
    "waste.send": send_action,
    "home.seen": seen_action,  # of every person, wherever they are
}
