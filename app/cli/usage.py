"""`carme usage`: who used what, when and how well, from the accounts in the data folder."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from app.cli.common import Failed, WrongUse, add_common, opened, print_table
from app.cli.output import FILE_FORMATS, destination, write_sheet
from backend.accounting.asking import TIMES, Words, read_question
from backend.accounting.exports import Made, sheet_of
from backend.accounting.usage import CATALOGUE, Answer, BadQuestion, Scope
from backend.accounting.warehouse import WarehouseUnusable

EVERYTHING = Scope(everything=True)  # the data folder's owner can read all of it anyway


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "usage",
        help="who used what",
        description="Usage of the cluster in the half-open window from SINCE to UNTIL, from the accounts in the data "
        "folder. Columns are named as the dimensions and metrics are; csv and json hold every digit.",
        epilog=f"Times: {TIMES}. Metrics: {_names(CATALOGUE.metrics)}. Dimensions: {_names(CATALOGUE.dimensions)}.",
    )
    parser.add_argument("--since", required=True, metavar="TIME", help="the window's beginning")
    parser.add_argument("--until", required=True, metavar="TIME", help="its end, which is not in it")
    parser.add_argument("--by", action="append", default=[], metavar="NAMES", help="one row for each: day,user,...")
    parser.add_argument(
        "--metric", action="append", default=[], required=True, metavar="NAMES", help="what is counted: cpu_hours,..."
    )
    parser.add_argument(
        "--where", action="extend", nargs="+", default=[], metavar="KEY=VALUE",
        help="only such jobs; values of one key are alternatives, no value: jobs that have none",
    )  # fmt: skip
    parser.add_argument("--tz", metavar="ZONE", help="where days begin (default: the site's zone)")
    parser.add_argument(
        "--definitions", choices=("carme", "xdmod"), default="carme", help="whose way of counting (default carme)"
    )
    parser.add_argument("--order", default="", metavar="NAME", help="a metric or dimension; =-NAME: largest first")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many rows")
    add_output(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Where the figures go, and as what."""
    parser.add_argument("--format", choices=("table", *FILE_FORMATS), default="table", help="(default table)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write into this file instead of standard output")


def run(options: argparse.Namespace) -> int:
    """Ask, and write the answer."""
    with destination(options) as stream, opened(options) as services:
        zone = options.tz or services.settings.instance.time_zone
        words = Words(
            since=options.since,
            until=options.until,
            metrics=options.metric,
            by=options.by,
            where=options.where,
            zone=zone,
            definitions=options.definitions,
            order=options.order,
            limit=options.limit,
        )
        try:
            answer = services.usage.ask(read_question(words, time.time()), EVERYTHING)
        except BadQuestion as error:
            raise WrongUse(str(error)) from error
        except WarehouseUnusable as error:
            raise Failed(str(error)) from error
        if stream is None:
            show(answer)
        else:
            write_sheet(sheet_of(answer, Made("Usage", EVERYTHING, int(time.time()))), options.format, stream)
    return 0


def show(answer: Answer) -> None:
    """The figures as a table for people; what they must know goes to standard error."""
    names = answer.table.column_names
    print_table(names, [[_shown(value) for value in row.values()] for row in answer.table.to_pylist()])
    for note in answer.notes:
        print(f"note: {note}", file=sys.stderr)


def _shown(value: object) -> object:
    return f"{value:,.4f}" if isinstance(value, float) else value


def _names(things: Any) -> str:
    return ", ".join(thing.name for thing in things)
