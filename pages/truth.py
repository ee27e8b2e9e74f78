"""Truth: a month's figures of the console beside sreport's and sacct's, each difference by its name. For operators."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from backend.accounting import truth
from backend.identity import Viewer, policy
from backend.services import Services
from pages.parts.desk import Action, Desk, Refused, text
from pages.parts.topics import Message, Topic

MOST_MONTHS = 240
MOST_LINES = 4000  # of one TRES; all accounts come first


def build(services: Services, viewer: Viewer) -> Any:
    """The page at `/truth`."""
    from pages.shell import page  # the shell knows every page, so it comes last

    return page(services, viewer, "truth")


def notice(services: Services, viewer: Viewer | None) -> Message:
    """For operators, on every page: where the console and Slurm's own tools part, and projects that can't be read."""
    if not policy.allowed(viewer, "page:truth"):
        return {"parted": [], "projects": ""}
    return {
        "parted": [{"cluster": check.cluster, "month": check.month} for check in truth.parted(services.db)],
        "projects": services.projects.trouble,
    }


def look(services: Services, cluster: str, month: str, tres: str) -> Message:
    """What is known of one cluster's month. Raises Refused for a month or TRES that there is not."""
    settings = services.settings
    zone = settings.instance.time_zone
    clusters = sorted(name for name, state in services.warehouse.state.clusters.items() if state.source == "slurmdbd")
    this_month = truth.month_of(time.time(), zone)
    wanted_cluster = cluster or (clusters[0] if clusters else "")
    wanted_month = month or this_month
    if not truth.is_month(wanted_month) or (tres and tres not in truth.TRES):
        raise Refused("That request is not one the page makes.")
    if wanted_cluster and wanted_cluster not in clusters:
        raise Refused(f"The accounts of {wanted_cluster} are not read from slurmdbd.")
    made, newest = truth.check_of(services.db, wanted_cluster, wanted_month) if wanted_cluster else (None, None)
    return {
        "clusters": clusters,
        "cluster": wanted_cluster,
        "month": wanted_month,
        "months": _months(services, wanted_cluster, this_month, zone),
        "tres": list(truth.TRES),
        "source": settings.accounting.source,
        "self_check_hour": settings.accounting.self_check_hour,
        "zone": zone,
        "made": None if made is None else _shown(made, tres or truth.TRES[0]),
        "newest": None if newest is None else _row(newest),
        "last": [_row(check) for check in truth.last_checks(services.db)],
        "reasons": truth.REASONS,
    }


def _months(services: Services, cluster: str, this_month: str, zone: str) -> list[str]:
    """The months that the warehouse has rows of, the newest first."""
    state = services.warehouse.state.clusters.get(cluster)
    oldest = truth.month_of(state.oldest_s, zone) if state is not None and state.oldest_s else this_month
    months = [this_month]
    while months[-1] > oldest and len(months) < MOST_MONTHS:
        months.append(truth.month_before(months[-1]))
    return months


def _row(check: truth.Check) -> Message:
    return {
        "id": check.id,
        "cluster": check.cluster,
        "month": check.month,
        "asked_by": check.asked_by,
        "asked_s": check.asked_s,
        "started_s": check.started_s,
        "ended_s": check.ended_s,
        "agrees": check.agrees,
        "error": check.error,
    }


def _shown(check: truth.Check, tres: str) -> Message:
    """A comparison with the lines of one TRES, and for the others how many lines part."""
    figures = check.figures or {}
    lines = figures.get("lines", [])
    parted = dict.fromkeys(truth.TRES, 0)
    for line in lines:
        if line["sreport"]["rest"] or line["sacct"]["rest"]:
            parted[line["tres"]] += 1
    chosen = [{key: value for key, value in line.items() if key != "tres"} for line in lines if line["tres"] == tres]
    kept = {key: value for key, value in figures.items() if key != "lines"}
    return {**_row(check), **kept, "shown": tres, "parted": parted, "lines": chosen[:MOST_LINES]}


# -- actions -------------------------------------------------------------------------------------------------


async def look_action(desk: Desk, args: dict[str, Any]) -> Message:
    return await desk.run(look, desk.services, text(args, "cluster"), text(args, "month"), text(args, "tres"))


async def ask_action(desk: Desk, args: dict[str, Any]) -> Message:
    """Ask the collector for a comparison; it makes one at a time."""
    return await desk.run(ask, desk.services, desk.viewer, text(args, "cluster"), text(args, "month"))


def ask(services: Services, viewer: Viewer, cluster: str, month: str) -> Message:
    """Raises Refused."""
    state = services.warehouse.state.clusters.get(cluster)
    if state is None or state.source != "slurmdbd":
        raise Refused(f"The accounts of {cluster} are not read from slurmdbd.")
    this_month = truth.month_of(datetime.now(UTC).timestamp(), services.settings.instance.time_zone)
    if month > this_month:
        raise Refused("That month has not begun.")
    try:
        asked = truth.ask(services.db, cluster, month, viewer.name)
    except truth.BadMonth as error:
        raise Refused(str(error)) from error
    return _row(asked)


TOPICS = (Topic("truth", notice, ("accounts",), personal=True),)
ACTIONS: dict[str, Action] = {"truth.look": look_action, "truth.ask": ask_action}
