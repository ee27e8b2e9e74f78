"""Job: one job, running or long over: its facts, what was measured of it, what it printed, what may be done to it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import asdict
from typing import Any

from backend import jobs
from backend.accounting.exports.sheet import when
from backend.identity import Viewer
from backend.jobs.record import Record
from backend.launcher import LauncherError
from backend.services import Services
from backend.sessions import SessionError
from backend.telemetry import JobRef, TelemetryUnusable
from pages.parts.desk import Action, Desk, Refused, number, text
from pages.parts.job import absent, facts, groups
from pages.parts.job.curves import curves, device_rows, points_for
from pages.parts.topics import Message, to_json

MOST_NODES = 64
POINTS = 360


def build(services: Services, viewer: Viewer) -> Any:
    """The page at `/job`."""
    from pages.shell import page  # the shell knows every page, so it comes last

    return page(services, viewer, "job")


def no_job(job_id: int) -> str:
    return f"There is no job {job_id}, or it is not yours to see."


def find(services: Services, viewer: Viewer, args: dict[str, Any]) -> Record:
    """The job a request names. Blocks. Raises Refused, the same for none and for one not theirs to see."""
    job_id = number(args, "id")
    cluster, submit_s = text(args, "cluster"), number(args, "submit")
    try:
        return jobs.look(services, viewer, job_id, cluster or None, submit_s or None)
    except jobs.JobNotFound as none:
        raise Refused(no_job(job_id)) from none


def run_of(record: Record, start_s: int) -> JobRef | None:
    """The attempt that began then; the last one where none did, or 0 is asked for."""
    runs = record.runs()
    return next((run for run in runs if run.start_s == start_s), runs[0] if runs else None)


def show(services: Services, viewer: Viewer, args: dict[str, Any]) -> Message:
    """Everything but the curves."""
    return facts.described(services, viewer, find(services, viewer, args))


def measured(services: Services, viewer: Viewer, args: dict[str, Any]) -> str:
    """The curves of some groups as a JSON text: {run, since_s, until_s, groups, devices, absent, state}."""
    record = find(services, viewer, args)
    run = run_of(record, number(args, "run"))
    asked = _groups(args)
    state = services.telemetry.state
    answer: Message = {"run": None, "groups": [], "devices": [], "absent": "", "state": _state(services)}
    if run is not None:
        since_s, until_s = _time(args, "since"), _time(args, "until")
        answer["run"] = [run.start_s, run.end_s]
        try:
            devices = services.telemetry.devices(run)
            nodes = _nodes(args)
            shown = [each for each in devices if nodes is None or each.node in nodes]
            charts = sum(len(group.metrics) for group in asked)
            points = points_for(max(1, number(args, "points", POINTS)), len(shown), max(1, charts))
            answer["devices"] = device_rows(devices)
            answer["groups"] = curves(
                services.telemetry, run, asked, since_s=since_s, until_s=until_s, points=points, nodes=nodes
            )
        except TelemetryUnusable as error:
            answer["absent"] = f"What was measured can’t be read: {error}"
    if not answer["devices"] and not answer["absent"]:
        zone = services.settings.instance.time_zone
        row = record.facts()
        answer["absent"] = absent.why_absent(
            run,
            state,
            node_list=row["node_list"] or "",
            waits=row["state"] == "PENDING",
            clock=lambda at_s: when(int(at_s), zone),
            kept_days=_kept_days(services),
        )
    return to_json(answer)


def _kept_days(services: Services) -> float:
    """How long the embedded store keeps an ended job; what a Prometheus keeps is not the console's to say."""
    telemetry = services.settings.telemetry
    return telemetry.archive_days if telemetry.source == "embedded" else 0


def _state(services: Services) -> Message:
    state = services.telemetry.state
    return {"as_of_s": state.as_of_s, "error": state.error, "since_s": state.error_since_s}


def _groups(args: dict[str, Any]) -> Sequence[groups.Group]:
    names = args.get("groups")
    if not isinstance(names, list) or not all(isinstance(name, str) and name in groups.BY_NAME for name in names):
        raise Refused("That request is not one the page makes.")
    return [group for group in groups.GROUPS if group.name in names]


def _nodes(args: dict[str, Any]) -> list[str] | None:
    names = args.get("nodes")
    if names is None:
        return None
    if not isinstance(names, list) or len(names) > MOST_NODES or not all(isinstance(name, str) for name in names):
        raise Refused("That request is not one the page makes.")
    return names


def _time(args: dict[str, Any], name: str) -> float | None:
    value = args.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**40:
        raise Refused("That request is not one the page makes.")
    return float(value)


def judged(services: Services, viewer: Viewer, args: dict[str, Any]) -> Message:
    """What is to be said of it, and the row that sums it up: None where nothing was measured. The charts say why."""
    record = find(services, viewer, args)
    found = jobs.judge(services, record, run_of(record, number(args, "run")))
    shown = None
    if found.footprint is not None:
        shown = {name: value for name, value in found.footprint.items() if not name.startswith("spark_")}
    return {"verdicts": [asdict(each) for each in found.verdicts], "footprint": shown}


# -- actions -------------------------------------------------------------------------------------------------


async def show_action(desk: Desk, args: dict[str, Any]) -> Message:
    return await desk.run(show, desk.services, desk.viewer, args)


async def curves_action(desk: Desk, args: dict[str, Any]) -> Message:
    """The answer is a text within the answer: the event loop has one string to write, not 100,000 numbers."""
    return {"json": await desk.ask(measured, desk.services, desk.viewer, args)}


async def verdict_action(desk: Desk, args: dict[str, Any]) -> Message:
    return await desk.ask(judged, desk.services, desk.viewer, args)


async def act_action(desk: Desk, args: dict[str, Any]) -> Message:
    """Cancel, hold, release, requeue, or another time limit; the scheduler has the last word."""
    job_id, asked = number(args, "id"), text(args, "do", 20)
    if asked not in jobs.ACTIONS:
        raise Refused("That request is not one the page makes.")
    time_s = number(args, "time_s") or None
    try:
        await jobs.act(desk.services, desk.viewer, asked, job_id, time_s=time_s)
    except jobs.JobNotFound as none:
        raise Refused(f"Job {job_id} is not in the queue any more.") from none
    except (jobs.ActionRefused, SessionError) as refusal:
        raise Refused(f"Nothing was done. {refusal}") from refusal
    except LauncherError as error:
        raise Refused(f"Nothing was done: {error.message}") from error
    return {"id": job_id}


async def log_action(desk: Desk, args: dict[str, Any]) -> Message:
    """What it printed, to its owner."""
    which = text(args, "which", 3)
    record = await desk.run(find, desk.services, desk.viewer, args)
    return await _read(jobs.read_log(desk.services, desk.viewer, record, "err" if which == "err" else "out"))


async def script_action(desk: Desk, args: dict[str, Any]) -> Message:
    """Its batch script or its environment, to its owner."""
    kind = text(args, "kind", 20)
    record = await desk.run(find, desk.services, desk.viewer, args)
    wanted: Any = "environment" if kind == "environment" else "script"
    return await _read(jobs.read_script(desk.services, desk.viewer, record, wanted))


async def _read(reading: Awaitable[jobs.Part]) -> Message:
    try:
        return asdict(await reading)
    except jobs.JobNotFound as none:
        raise Refused("What a job prints and runs is shown to its owner alone.") from none
    except SessionError as refusal:
        raise Refused(str(refusal)) from refusal
    except LauncherError as error:
        raise Refused(error.message) from error


ACTIONS: dict[str, Action] = {
    "job.show": show_action,
    "job.curves": curves_action,
    "job.verdict": verdict_action,
    "job.act": act_action,
    "job.log": log_action,
    "job.script": script_action,
}
