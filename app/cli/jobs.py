"""`carme jobs`: the scheduler's queue as the collector last saw it."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

from app.cli.common import Failed, WrongUse, actor, add_common, opened, plain, print_json, print_table, when
from backend.cluster import ENDED_STATES, JOB_STATES, Snapshot
from backend.cluster.views import JobFilter, filter_jobs, job, page_of, reason_in_words
from backend.launcher import LauncherError
from backend.services import Services
from backend.store import audit


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("jobs", help="the queue", description="The scheduler's queue.")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="jobs, the newest first")
    for name in ("state", "user", "account", "partition", "qos"):
        listing.add_argument(f"--{name}", action="append", default=[], metavar=name.upper(), help="may repeat")
    listing.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (default 100)")
    add_common(listing, json_output=True)
    listing.set_defaults(run=run_list)
    for name, run, words in (
        ("show", run_show, "one job"),
        ("cancel", run_cancel, "cancel a job as its owner"),
    ):
        action = actions.add_parser(name, help=words)
        action.add_argument("job_id", type=int, metavar="JOB")
        add_common(action, json_output=name == "show")
        action.set_defaults(run=run)


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
