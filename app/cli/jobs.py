"""`carme jobs`: the scheduler's queue as the collector last saw it, and all jobs that ended."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import Any
from zoneinfo import ZoneInfo

from app.cli.common import Failed, WrongUse, actor, add_common, opened, plain, print_json, print_table, when
from backend import jobs as all_jobs
from backend.accounting.history import MOST_ROWS, WINDOWS, Cursor, NotAsked, read_words
from backend.accounting.usage import Scope
from backend.accounting.warehouse import WarehouseUnusable
from backend.cluster import ENDED_STATES, JOB_STATES, Snapshot
from backend.cluster.views import JobFilter, filter_jobs, job, page_of, reason_in_words
from backend.launcher import LauncherError
from backend.services import Services
from backend.store import audit
from backend.telemetry import TelemetryUnusable


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "jobs", help="the queue, and jobs that ended", description="The scheduler's queue, and all jobs that ended."
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="jobs, the newest first")
    for name in ("state", "user", "account", "partition", "qos"):
        listing.add_argument(f"--{name}", action="append", default=[], metavar=name.upper(), help="may repeat")
    listing.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (default 100)")
    add_common(listing, json_output=True)
    listing.set_defaults(run=run_list)
    _add_history(actions)
    for name, run, words in (
        ("show", run_show, "one job"),
        ("cancel", run_cancel, "cancel a job as its owner"),
    ):
        action = actions.add_parser(name, help=words)
        action.add_argument("job_id", type=int, metavar="JOB")
        add_common(action, json_output=name == "show")
        action.set_defaults(run=run)


FILTERS = {
    "state": "STATE", "user": "USER", "account": "ACCOUNT", "partition": "PARTITION", "qos": "QOS",
    "cluster": "CLUSTER", "app": "APP", "gpu": "MODEL", "tag": "TAG", "job": "NUMBER",
}  # fmt: skip
WORDS = {
    "since": ("TIME", "ended at or after this time"), "until": ("TIME", "and before this one"),
    "name": ("TEXT", "with this in the name"), "gpus": ("RANGE", "GPUs it had"), "nodes": ("RANGE", "nodes it had"),
    "cpus": ("RANGE", "CPUs it had"), "wall": ("RANGE", "how long it ran: 30m..8h"),
    "cpu-eff": ("RANGE", "CPU time used, percent"), "gpu-eff": ("RANGE", "mean use of its GPUs, percent"),
    "mem-eff": ("RANGE", "peak of its memory, percent"), "sort": ("COLUMN", "default end_s"),
    "order": ("WAY", "asc or desc (default)"),
}  # fmt: skip


def _add_history(actions: Any) -> None:
    parser = actions.add_parser(
        "history",
        help="jobs that ended, of all years",
        description="Jobs that ended, and those that run: each once, by its last attempt. A RANGE is 4, 4..8, 4.. or "
        "..8. What is given several times, or with commas, are alternatives.",
    )
    for name, what in FILTERS.items():
        parser.add_argument(f"--{name}", action="append", default=[], metavar=what, help="may repeat")
    parser.add_argument("--window", choices=tuple(WINDOWS), help="ended within this time up to now (default all)")
    for name, (what, words) in WORDS.items():
        parser.add_argument(f"--{name}", metavar=what, help=words)
    parser.add_argument("--limit", type=int, default=50, metavar="N", help=f"at most so many (default 50, {MOST_ROWS})")
    parser.add_argument("--after", metavar="PLACE", help="go on after this place, as --json tells it")
    add_common(parser, json_output=True)
    parser.set_defaults(run=run_history)


def run_history(options: argparse.Namespace) -> int:
    """Find jobs of all years."""
    words = {name: getattr(options, name) for name in FILTERS if getattr(options, name)}
    for name in ("window", *WORDS):
        key = name.replace("-", "_")
        if getattr(options, key):
            words[key] = [getattr(options, key)]
    with opened(options) as services:
        zone = services.settings.instance.time_zone
        try:
            wanted = read_words(words, zone=ZoneInfo(zone), now_s=time.time())
            cursor = Cursor.read(options.after, "after") if options.after else None
            page = services.history.search(
                wanted.question, Scope(everything=True), limit=options.limit, cursor=cursor, count_for_s=1.0
            )
        except NotAsked as error:
            raise WrongUse(str(error)) from error
        except (WarehouseUnusable, TelemetryUnusable) as error:
            raise Failed(str(error)) from error
        rows = page.rows
        marks = all_jobs.marks_of(services, rows)
    if options.json:
        found = [{**row, "tags": mark.tags, "note": mark.note} for row, mark in zip(rows, marks, strict=True)]
        after = page.after.text() if page.after else None
        print_json({"as_of_s": page.as_of_s, "total": page.total, "exact": page.exact, "after": after, "jobs": found})
        return 0
    print_table(
        ["job", "user", "account", "partition", "name", "state", "ended", "ran (s)", "cpus", "gpus", "cpu %", "tags"],
        [
            [
                row["job_id"], row["user"], row["account"], row["partition"], (row["job_name"] or "")[:40],
                row["state"], when(row["end_s"], zone), row["wall_s"], row["cpus"], row["gpus"],
                "" if row["cpu_percent"] is None else round(row["cpu_percent"]), ",".join(mark.tags),
            ]
            for row, mark in zip(rows, marks, strict=True)
        ],
    )  # fmt: skip
    if page.after is not None:
        least = "" if page.exact else "at least "
        print(f"{len(rows)} of {least}{page.total} jobs (--limit N for more)", file=sys.stderr)
    return 0


def run_list(options: argparse.Namespace) -> int:
    """Show the queue."""
    states = tuple(state.upper() for state in options.state)
    unknown = sorted(set(states) - set(JOB_STATES))
    if unknown:
        raise WrongUse(f"{unknown[0]} is no job state: {', '.join(JOB_STATES)}")
    with opened(options) as services:
        snapshot = _snapshot(services)
        zone = services.settings.instance.time_zone
    wanted = JobFilter(
        states=states,
        users=tuple(options.user),
        accounts=tuple(options.account),
        partitions=tuple(options.partition),
        qos=tuple(options.qos),
    )
    found = filter_jobs(snapshot.jobs.table, wanted)
    rows = page_of(found, sort="submit_s", descending=True, limit=max(1, options.limit)).to_pylist()
    if options.json:
        print_json({"taken_s": snapshot.jobs.taken_s, "total": found.num_rows, "jobs": rows})
        return 0
    print_table(
        ["job", "user", "account", "partition", "name", "state", "start", "reason"],
        [
            [
                row["label"],
                row["user"],
                row["account"],
                row["partition"],
                (row["name"] or "")[:40],
                row["state"],
                when(row["start_s"], zone),
                row["reason"] if row["state"] == "PENDING" else row["node_list"],
            ]
            for row in rows
        ],
    )
    if found.num_rows > len(rows):
        print(f"{len(rows)} of {found.num_rows} jobs (--limit N for more)", file=sys.stderr)
    return 0


def run_show(options: argparse.Namespace) -> int:
    """Show one job."""
    with opened(options) as services:
        snapshot = _snapshot(services)
        zone = services.settings.instance.time_zone
    row = _find(snapshot, options.job_id)
    words = reason_in_words(row, snapshot, own=False)
    if options.json:
        print_json({**row, "words": words})
        return 0
    shown = {
        name: when(value, zone) if name in ("submit_s", "eligible_s", "start_s", "end_s") else value
        for name, value in row.items()
    }
    for name, value in shown.items():
        print(f"{name:15} {plain(value)}")
    if words:
        print(words)
    return 0


def run_cancel(options: argparse.Namespace) -> int:
    """Cancel one job as its owner."""
    with opened(options) as services:
        row = _find(_snapshot(services), options.job_id)
        if row["state"] in ENDED_STATES:
            raise Failed(f"job {options.job_id} is over: {row['state']}")
        try:
            asyncio.run(services.launcher.call(row["user"], "cancel", job_id=options.job_id))
        except LauncherError as error:
            _note(services, options.job_id, "failed")
            raise Failed(error.message) from error
        _note(services, options.job_id, "done")
        services.snapshots.kick()
    print(f"Job {options.job_id} is being cancelled.")
    return 0


def _snapshot(services: Services) -> Snapshot:
    services.snapshots.refresh()
    snapshot = services.snapshots.current
    if snapshot.jobs.taken_s is None:
        raise Failed(f"the queue was never read: {snapshot.jobs.error or 'is the collector running?'}")
    if snapshot.jobs.error:
        print(f"carme: the queue could not be read lately: {plain(snapshot.jobs.error)}", file=sys.stderr)
    return snapshot


def _find(snapshot: Snapshot, job_id: int) -> dict[str, Any]:
    row = job(snapshot.jobs.table, job_id)
    if row is None:
        raise Failed(f"there is no job {job_id} in the queue")
    return row


def _note(services: Services, job_id: int, outcome: Any) -> None:
    with services.db.begin() as rows:
        audit(rows, actor(), "job.cancel", str(job_id), outcome)
