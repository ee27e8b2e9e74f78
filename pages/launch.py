"""Launch: what to start, on what, for how long; how much room there is, else when it is expected to start."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any
from urllib.parse import urlencode

from backend.accounting.warehouse import WarehouseUnusable
from backend.identity import Viewer, policy
from backend.services import Services
from backend.sessions import LaunchOptions, LaunchRefused, LaunchRequest, RequestError, SessionError
from backend.sessions.apps import APPS
from backend.telemetry import TelemetryUnusable
from backend.telemetry.rightsize import Wanted, Whose, right_size
from pages.parts.cards import app_title, card
from pages.parts.desk import Action, Desk, Refused, text
from pages.parts.topics import Message, Topic


def build(services: Services, viewer: Viewer) -> Any:
    """The page at `/launch`."""
    from pages.shell import page  # the shell knows every page, so it comes last

    return page(services, viewer, "launch")


def read_request(args: dict[str, Any]) -> LaunchRequest:
    """Raises Refused when a field is unknown or of another type."""
    raw = args.get("request")
    if not isinstance(raw, dict):
        raise Refused("That request is not one the page makes.")
    try:
        return LaunchRequest.from_dict(raw)
    except RequestError as error:
        raise Refused(str(error)) from error


def quick(services: Services, viewer: Viewer | None) -> Message:
    """What Home offers for two clicks: the default app on each GPU model, and on CPUs."""
    assert viewer is not None  # noqa: S101 - a personal topic is made for a person
    options = services.sessions.options(viewer)
    base = options.defaults
    entries = [_entry(options, gpu.type) for gpu in options.gpus if gpu.partitions]
    # The model that the defaults name comes first: it is what the site recommends.
    entries.sort(key=lambda entry: entry["gpu_type"] != base.gpu_type)
    return {
        "refusal": options.refusal,
        "app_title": app_title(base.app),
        "entries": [*entries, _entry(options, "")],
    }


def _entry(options: LaunchOptions, gpu_type: str) -> Message:
    base = options.defaults
    request = base
    if gpu_type != (base.gpu_type if base.gpus else ""):
        # What hangs on the GPUs is worked out again by the console.
        gpus = 1 if gpu_type else 0
        request = replace(base, gpus=gpus, gpu_type=gpu_type, partition="", qos="", cpus=0, memory_mb=0)
    return {"gpu_type": gpu_type, "request": request.to_dict(), "href": "/launch?" + query_of(request)}


def query_of(request: LaunchRequest) -> str:
    """The form's address for this request; what is left to the console is left out."""
    plain = {
        name: value
        for name, value in request.to_dict().items()
        if value not in ("", 0) and name != "cluster" and not (name == "nodes" and value == 1)
    }
    return urlencode({**plain, "gpus": request.gpus})


def options_of(services: Services, viewer: Viewer) -> Message:
    options = services.sessions.options(viewer)
    return {
        **asdict(options),
        "app_titles": {app.name: app.title for app in options.apps},
        "projects": _projects(services, options),
    }


def _projects(services: Services, options: LaunchOptions) -> dict[str, str]:
    """The title of its project for each of the person's accounts that is in one."""
    projects = services.projects.current()
    rows = services.snapshots.current.accounts.table.select(["name", "parent"]).to_pylist()
    of = projects.of_accounts({options.cluster: {row["name"]: row["parent"] or "" for row in rows}})
    titles = {project.name: project.title for project in projects.listed}
    names = ((account.name, of.get((options.cluster, account.name))) for account in options.accounts)
    return {account: titles[name] for account, name in names if name is not None}


def look(services: Services, viewer: Viewer, request: LaunchRequest) -> Message:
    """What stands against the request and how much room there is now."""
    problems = services.sessions.check(viewer, request)
    try:
        fit = asdict(services.sessions.fit(viewer, request))
    except LaunchRefused:  # one who may launch nothing: the problems say why
        fit = None
    return {"problems": [asdict(problem) for problem in problems], "fit": fit}


def hint(services: Services, viewer: Viewer, request: LaunchRequest) -> Message:
    """What the person's own similar jobs say about this request: `changes` of the form's fields and the `reason`, or
    nothing. `away`: why it can't be known now."""
    try:
        full = services.sessions.complete(viewer, request)
        whose = Whose(full.cluster, services.sessions.unix_user(viewer), viewer.uid)
    except LaunchRefused:  # the form says why
        return {}
    wanted = Wanted(
        app=full.app, gpu_type=full.gpu_type, partition=full.partition, gpus=full.gpus, nodes=full.nodes,
        cpus=full.cpus, memory_mb=full.memory_mb, time_s=full.time_s,
    )  # fmt: skip
    titles = {name: app.title for name, app in APPS.items()}
    try:
        found = right_size(services.warehouse, services.telemetry, whose, wanted, titles=titles)
    except (TelemetryUnusable, WarehouseUnusable) as error:
        return {"away": str(error)}
    if found is None:
        return {}
    changes: dict[str, Any] = dict(found.changes)
    if changes.get("gpus") == 0:  # another kind of job: where it runs is worked out again
        changes |= {"gpu_type": "", "partition": ""}
    # What can't be had is not offered.
    if services.sessions.check(viewer, replace(request, **changes)):
        return {}
    return {"changes": changes, "reason": found.reason}


# -- actions -------------------------------------------------------------------------------------------------


async def options_action(desk: Desk, _args: dict[str, Any]) -> Message:
    return await desk.run(options_of, desk.services, desk.viewer)


async def look_action(desk: Desk, args: dict[str, Any]) -> Message:
    return await desk.run(look, desk.services, desk.viewer, read_request(args))


async def hint_action(desk: Desk, args: dict[str, Any]) -> Message:
    return await desk.ask(hint, desk.services, desk.viewer, read_request(args))


async def estimate_action(desk: Desk, args: dict[str, Any]) -> Message:
    """The scheduler's own forecast: asked for when the request doesn't fit now."""
    try:
        return asdict(await desk.services.sessions.estimate(desk.viewer, read_request(args)))
    except SessionError as error:
        raise Refused(str(error)) from error


async def start_action(desk: Desk, args: dict[str, Any]) -> Message:
    """Submit. `key` names the click, so that a repeated one starts nothing twice."""
    if not policy.allowed(desk.viewer, "session.launch"):
        raise Refused("You may not launch sessions here.")
    try:
        session = await desk.services.sessions.launch(desk.viewer, read_request(args), key=text(args, "key"))
    except LaunchRefused as refusal:
        problems = tuple((problem.field, problem.message) for problem in refusal.problems)
        raise Refused(str(refusal), problems) from refusal
    except SessionError as error:
        raise Refused(str(error)) from error
    return card(session)


TOPICS = (Topic("quick", quick, ("nodes", "partitions", "reservations", "qos", "associations"), personal=True),)
ACTIONS: dict[str, Action] = {
    "launch.options": options_action,
    "launch.look": look_action,
    "launch.hint": hint_action,
    "launch.estimate": estimate_action,
    "launch.start": start_action,
}
