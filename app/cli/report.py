"""`carme report`: saved reports, listed and run on the data folder."""

from __future__ import annotations

import argparse
import time
from typing import Any

from app.cli.common import Failed, WrongUse, add_common, opened, print_json, print_table, when
from app.cli.output import destination, write_sheet
from app.cli.usage import EVERYTHING, add_output, show
from backend.accounting.exports import Made, sheet_of
from backend.accounting.reports import Report, resolve, scope_for, window_words
from backend.accounting.usage import BadQuestion, Scope
from backend.accounting.warehouse import WarehouseUnusable
from backend.services import Services


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("report", help="saved reports", description="Saved reports of everybody.")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="all reports, by name")
    add_common(listing, json_output=True)
    listing.set_defaults(run=run_list)
    running = actions.add_parser(
        "run",
        help="a report's figures as of now",
        description="A report's figures as of now, over everybody's jobs (its owner's, where it is about one's own).",
    )
    running.add_argument("name", metavar="NAME", help="its name or id")
    running.add_argument("--owner", metavar="USER", help="whose, where several reports have the name")
    running.add_argument("--as", dest="reader", metavar="USER", help="only what this person may see")
    add_output(running)
    add_common(running)
    running.set_defaults(run=run_report)


def run_list(options: argparse.Namespace) -> int:
    """Show all reports."""
    with opened(options) as services:
        found = services.reports.all()
        zone = services.settings.instance.time_zone
    if options.json:
        print_json([as_json(report) for report in found])
        return 0
    print_table(
        ["name", "owner", "shown to", "window", "metrics", "by", "changed", "id"],
        [
            [
                report.name,
                report.owner,
                report.account if report.visibility == "account" else report.visibility,
                window_words(report.question),
                ",".join(report.question["metrics"]),
                ",".join(report.question["by"]),
                when(report.changed_s, zone),
                report.id,
            ]
            for report in found
        ],
    )
    return 0


def as_json(report: Report) -> dict[str, Any]:
    """What a report is, without its schedules."""
    return {
        "id": report.id,
        "name": report.name,
        "owner": report.owner,
        "visibility": report.visibility,
        "account": report.account,
        "question": dict(report.question),
        "chart": report.chart,
        "created_s": report.created_s,
        "changed_s": report.changed_s,
    }


def run_report(options: argparse.Namespace) -> int:
    """Ask a report's question again, and write the answer."""
    with destination(options) as stream, opened(options) as services:
        report = _find(services, options.name, options.owner)
        scope = _scope(services, report, options.reader)
        now_s = time.time()
        try:
            answer = services.usage.ask(resolve(report.question, now_s), scope)
        except BadQuestion as error:
            raise Failed(f"the report asks what can't be answered: {error}") from error
        except WarehouseUnusable as error:
            raise Failed(str(error)) from error
        if stream is None:
            show(answer)
        else:
            write_sheet(sheet_of(answer, Made(report.name, scope, int(now_s))), options.format, stream)
    return 0


def _find(services: Services, name: str, owner: str | None) -> Report:
    reports = [report for report in services.reports.all() if owner in (None, report.owner)]
    found = [report for report in reports if name in (report.id, report.name)]
    if not found:
        raise Failed(f"there is no report {name!r}: carme report list names them")
    if len(found) > 1:
        owners = ", ".join(sorted(report.owner for report in found))
        raise WrongUse(f"several reports are called {name!r}: say --owner (of {owners}) or the report's id")
    return found[0]


def _scope(services: Services, report: Report, reader: str | None) -> Scope:
    """Everything, or what `reader` may see. Raises Failed."""
    if reader is None and report.question.get("who") != "mine":
        return EVERYTHING
    viewer = services.identity.standing(reader or report.owner)
    if viewer is None:
        raise Failed(f"there is no account {reader or report.owner!r}, or it is locked")
    return scope_for(report.question, viewer)
