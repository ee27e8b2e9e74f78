"""Rows of the history as the browser draws them, and the facts the page's filters offer."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from backend import jobs
from backend.accounting.history import WORDS, Cursor, JobKey, Marks, NotAsked, Wanted, of_query, read_words
from backend.accounting.rights import scope_of
from backend.accounting.usage import Scope
from backend.accounting.warehouse import WarehouseUnusable
from backend.identity import Viewer
from backend.services import Services
from backend.telemetry import TelemetryUnusable
from pages.parts.desk import Refused
from pages.parts.history.bars import by_slurm
from pages.parts.topics import Message

PAGE_ROWS = 50
WINDOW = "30d"  # where the address says none
FACTS = (
    "cluster", "job_id", "origin_s", "submit_s", "attempt", "user", "account", "partition", "qos", "state", "start_s",
    "end_s", "wall_s", "wait_s", "time_limit_s", "nodes", "cpus", "mem_mb", "gpus", "gpu_type", "app", "exit_status",
    "exit_signal",
)  # fmt: skip


def read(services: Services, query: str) -> tuple[Wanted, Cursor | None]:
    """What an address asks, and the place in it. Raises Refused."""
    try:
        words = of_query(parse_qsl(query, max_num_fields=100))
        places = {way: words.pop(way, [""])[0] for way in ("after", "before")}
        asked = {name: values for name, values in words.items() if name in WORDS}
        zone = ZoneInfo(services.settings.instance.time_zone)
        wanted = read_words(asked, zone=zone, now_s=time.time(), window=WINDOW)
        if places["after"]:
            return wanted, Cursor.read(places["after"], "after")
        return wanted, Cursor.read(places["before"], "before") if places["before"] else None
    except NotAsked as error:
        raise Refused(str(error), ((error.part, str(error)),)) from error
    except ValueError as error:  # more words than any address of ours has
        raise Refused("That address is not one the page makes.") from error


def scope_for(viewer: Viewer, *, mine: bool) -> Scope:
    """The viewer's own jobs, or all that they may see."""
    return Scope(user=viewer.name, uid=viewer.uid) if mine else scope_of(viewer)


def listed(services: Services, viewer: Viewer, query: str) -> Message:
    """One page. Raises Refused."""
    wanted, cursor = read(services, query)
    try:
        page = services.history.search(
            wanted.question, scope_for(viewer, mine=wanted.mine), limit=PAGE_ROWS, cursor=cursor
        )
    except NotAsked as error:
        raise Refused(str(error), ((error.part, str(error)),)) from error
    except WarehouseUnusable as error:
        raise Refused(f"The accounts can’t be read: {error}") from error
    except TelemetryUnusable as error:
        raise Refused(f"What jobs used can’t be read now, so it can’t be filtered by that: {error}") from error
    rows = page.rows
    marks = jobs.marks_of(services, rows)
    return {
        "rows": [row(each, mark, viewer) for each, mark in zip(rows, marks, strict=True)],
        "total": page.total,
        "exact": page.exact,
        "after": page.after.text() if page.after else None,
        "before": page.before.text() if page.before else None,
        "as_of_s": page.as_of_s,
    }


def row(found: Mapping[str, Any], marks: Marks, viewer: Viewer) -> Message:
    """One job. `bars`: by what Slurm knows; what was measured comes after."""
    array, task = found["array_job_id"], found["array_task_id"]
    return {
        **{name: found[name] for name in FACTS},
        "label": f"{array}_{task}" if array and task is not None else str(found["job_id"]),
        "name": found["job_name"] or "",
        "gpu_type": found["gpu_type"] or "",
        "bars": by_slurm(found),
        "tags": list(marks.tags),
        "note": marks.note,
        "note_by": marks.note_by,
        "own": jobs.is_own(viewer, found),
        "may_mark": jobs.may_mark(viewer, found),
    }


def keys_of(args: Mapping[str, Any], most: int) -> Sequence[JobKey]:
    """The jobs a browser names: [[cluster, job_id, submit_s], …]. Raises Refused."""
    given = args.get("jobs")
    if not isinstance(given, list) or not 1 <= len(given) <= most:
        raise Refused(f"Choose 1 to {most} jobs.")
    found = []
    for each in given:
        if not isinstance(each, list) or len(each) != 3:
            raise Refused("That request is not one the page makes.")
        cluster, job_id, submit_s = each
        numbers = all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**53 for n in (job_id, submit_s))
        if not isinstance(cluster, str) or len(cluster) > 128 or not numbers:
            raise Refused("That request is not one the page makes.")
        found.append(JobKey(cluster, job_id, submit_s))
    return found
