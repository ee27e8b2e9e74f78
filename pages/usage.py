"""Usage: who used what, when and how well; any metric by any dimension, down to the jobs behind each figure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow.compute as pc

from backend.accounting.usage import CATALOGUE, TIME, BadQuestion
from backend.accounting.warehouse import ClusterState, WarehouseState, WarehouseUnusable
from backend.identity import Viewer
from backend.services import Services
from pages.parts.charts.look import Look
from pages.parts.desk import Action, Desk, Refused, number, text
from pages.parts.threads import Threads
from pages.parts.topics import Message, Topic
from pages.parts.usage import drill, picture, view, windows
from pages.parts.usage.picture import Asker
from pages.parts.usage.view import Defaults, View

NARROWEST, WIDEST = 240, 2400
MOST_CHOICES = 30
_THREADS = Threads("usage")


def build(services: Services, viewer: Viewer) -> Any:
    """The page at `/usage`."""
    from pages.shell import page  # the shell knows every page, so it comes last

    return page(services, viewer, "usage")


def defaults_of(services: Services, viewer: Viewer) -> Defaults:
    """What an address leaves out, for this person on this cluster."""
    return Defaults(
        metric=main_metric(services),
        zone=services.settings.instance.time_zone,
        who=view.whose(viewer)[-1],
    )


def main_metric(services: Services) -> str:
    """GPU hours where there are GPUs."""
    return "gpu_hours" if pc.any(pc.greater(services.snapshots.current.nodes.table["gpus"], 0)).as_py() else "cpu_hours"


def asker_of(services: Services, viewer: Viewer, asked: View) -> Asker:
    """Blocks for the disk. Raises BadQuestion."""
    services.warehouse.refresh()
    state = services.warehouse.state
    oldest = min((each.oldest_s for each in state.clusters.values() if each.oldest_s is not None), default=None)
    seen = seen_s(state)
    return Asker(
        usage=services.usage,
        scope=view.scope(viewer, asked.who),
        view=asked,
        window=asked.stretch(time.time(), oldest, seen),
        seen_s=seen,
        oldest_s=oldest,
        narrowed=asked.who == "mine" and len(view.whose(viewer)) > 1,
    )


def seen_s(state: WarehouseState) -> int | None:
    """Until when the accounts of every cluster are known."""
    return min((each.synced_s for each in state.clusters.values() if each.synced_s is not None), default=None)


# -- what is pushed ------------------------------------------------------------------------------------------


def accounts(services: Services, _viewer: Viewer | None) -> Message:
    """How far the accounts are known, and what can be asked; the same for everybody."""
    words = ""
    try:
        services.warehouse.refresh()
    except WarehouseUnusable as error:
        words = str(error)
    state = services.warehouse.state
    known = dict(state.clusters)
    if words:  # also where nothing was read before: there are accounts, and nobody knows what is in them
        now_s = int(time.time())
        told = known or {services.snapshots.current.cluster: ClusterState()}
        known = {name: replace(each, error=words, error_since_s=now_s) for name, each in told.items()}
    return {
        "generation": services.warehouse.generation,
        "projects": services.projects.current().version,
        "as_of_s": seen_s(state),
        "rows": sum(each.rows + each.open_rows for each in state.clusters.values()),
        "clusters": [
            {
                "name": name,
                "source": each.source,
                "synced_s": each.synced_s,
                "error": each.error,
                "error_since_s": each.error_since_s,
                "progress": each.progress,
                "rows": each.rows + each.open_rows,
                "purged_before_s": each.purged_before_s,
            }
            for name, each in sorted(known.items())
        ],
        "source": services.settings.accounting.source,
        "scheduler": services.settings.scheduler.kind,
        "metric": main_metric(services),
        "metrics": [[each.name, each.title, each.unit] for each in CATALOGUE.metrics],
        "dimensions": [
            [each.name, each.title] for each in services.usage.catalogue().dimensions if each.kind != "time"
        ],
        "windows": list(windows.NAMES.items()),
        "grains": list(TIME),
    }


# -- actions -------------------------------------------------------------------------------------------------


def read(desk: Desk, args: dict[str, Any]) -> View:
    return view.read(text(args, "query", view.LONGEST_QUERY), defaults_of(desk.services, desk.viewer))


async def asked(desk: Desk, args: dict[str, Any], answer: Callable[[Asker], Message]) -> Message:
    """What the address asks, answered in a thread."""

    def work() -> Message:
        try:
            return answer(asker_of(desk.services, desk.viewer, read(desk, args)))
        except BadQuestion as error:
            raise Refused(str(error), ((error.part, str(error)),)) from error
        except WarehouseUnusable as error:
            raise Refused(f"The accounts can’t be read: {error}") from error

    return await _THREADS.run(desk.viewer.name, work)


async def show_action(desk: Desk, args: dict[str, Any]) -> Message:
    """The picture of the view, in the look of the browser that asks."""
    look = Look(dark=args.get("dark") is True, width=min(WIDEST, max(NARROWEST, number(args, "width", 900))))

    def answer(asker: Asker) -> Message:
        return {**picture.picture(asker, look), **described(desk, asker)}

    return await asked(desk, args, answer)


def described(desk: Desk, asker: Asker) -> Message:
    """The view as it was understood: what the page's controls show."""
    asked, window = asker.view, asker.window
    return {
        "view": {
            "metric": asked.metric,
            "by": asked.by,
            "chart": asked.chart,
            "window": asked.window,
            "since": window.since.isoformat(),
            "until": window.until.isoformat(),
            "words": window.words(),
            "grain": asked.grain,
            "who": asked.who if asked.who in view.whose(desk.viewer) else view.whose(desk.viewer)[0],
            "compare": asked.compare,
            "definitions": asked.definitions,
            "zone": asked.zone,
            "where": [[name, list(values)] for name, values in asked.where],
        }
    }


async def figures_action(desk: Desk, args: dict[str, Any]) -> Message:
    return await asked(desk, args, picture.figures)


async def jobs_action(desk: Desk, args: dict[str, Any]) -> Message:
    cell_text, offset = text(args, "cell", 2000), max(0, number(args, "offset"))
    return await asked(desk, args, lambda asker: drill.drill(asker, drill.read_cell(cell_text), offset))


async def values_action(desk: Desk, args: dict[str, Any]) -> Message:
    """What a filter can be set to, as far as the viewer may see it."""
    dimension, prefix = text(args, "dimension", 40), text(args, "prefix", 200)

    def answer(asker: Asker) -> Message:
        if dimension not in view.FILTERS:
            raise BadQuestion("dimension", "That can't be filtered by.")
        return {"values": asker.usage.values(dimension, asker.scope, prefix, MOST_CHOICES)}

    return await asked(desk, args, answer)


TOPICS = (Topic("usage", accounts, ("accounts",), keep_s=float("inf")),)
ACTIONS: dict[str, Action] = {
    "usage.show": show_action,
    "usage.figures": figures_action,
    "usage.jobs": jobs_action,
    "usage.values": values_action,
}
