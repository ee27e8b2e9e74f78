"""`carme import-sacct`: jobs from a listing of `sacct --parsable2`, for sites whose database can't be reached."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.cli.common import Failed, WrongUse, actor, add_common, opened, plain, print_json
from backend.accounting.sacct import Bad, Columns, Imported, NoCluster, UnknownColumns, columns_of, import_sacct
from backend.accounting.warehouse import WarehouseBusy, WarehouseUnusable
from backend.services import Services
from backend.store import Outcome, audit

MOST_SHOWN = 1000  # bad lines, one by one; the others only as numbers at the end

DESCRIPTION = """Put the jobs of a listing of sacct into the accounts. Make it with

  sacct --allusers --duplicates --parsable2 --starttime=... --endtime=... --format=jobid,jobidraw,cluster,user,uid,\\
group,account,partition,qos,state,exitcode,submit,eligible,start,end,elapsed,suspended,nnodes,ncpus,reqcpus,reqmem,\\
reqtres,alloctres,timelimit,totalcpu,maxrss,reservation,wckey,nodelist,jobname

JobName last, where it may hold a `|`. Never with --truncate, which cuts jobs. The first line may name the columns; else
--columns does. Once more is the same as once, and what the database has told already counts as it is there.
Lines that make no sense are named and left out, and the exit status is then 1; all others are taken."""


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "import-sacct",
        help="jobs from a listing of sacct",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="the listing; - is standard input")
    parser.add_argument("--tz", metavar="ZONE", help="zone of its times (default: instance.time_zone)")
    parser.add_argument(
        "--columns", metavar="A,B,...", help="its columns, by sacct's names, where no first line says so"
    )
    parser.add_argument("--cluster", metavar="NAME", help="of which cluster it is, where it has no column Cluster")
    add_common(parser, json_output=True)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Import one listing."""
    columns = _columns(options.columns)
    if options.tz is not None:
        _check_zone(options.tz)
    told = _Told(quiet=options.json)
    with ExitStack() as stack:
        stream = _stream(options.file, stack)  # before anything is done as the data folder's owner
        services = stack.enter_context(opened(options))
        try:
            done = import_sacct(
                stream,
                services.settings.instance.data_dir / "accounting",
                zone=options.tz or services.settings.instance.time_zone,
                site_zone=services.settings.instance.time_zone,
                columns=columns,
                cluster=options.cluster,
                on_bad=told.bad,
                on_block=told.block,
            )
        except (UnknownColumns, NoCluster) as error:
            _note(services, options.file, "failed", told.done, str(error))
            raise WrongUse(str(error)) from error
        except (WarehouseBusy, WarehouseUnusable, OSError) as error:
            _note(services, options.file, "failed", told.done, str(error))
            raise Failed(f"{error}. What was taken so far stays; run this again for the rest") from error
        _note(services, options.file, "done", done, "")
    _report(done, told, as_json=options.json)
    return 1 if done.bad else 0


class _Told:
    """What the import says while it goes on."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bad: dict[str, list[int]] = {}
        self._shown = 0
        self.done = Imported()

    def bad(self, bad: Bad) -> None:
        self._bad.setdefault(bad.why, []).append(bad.line)
        self._shown += 1
        if self._shown <= MOST_SHOWN:
            print(f"line {bad.line}: {plain(bad.why)}", file=sys.stderr)
            if self._shown == MOST_SHOWN:
                print("more such lines: at the end", file=sys.stderr)

    def block(self, done: Imported) -> None:
        self.done = done
        if sys.stderr.isatty() and not self._quiet:
            print(f"{done.lines} jobs", end="\r", file=sys.stderr)

    def reasons(self) -> list[tuple[str, str, int]]:
        """Why lines were left out: the reason, the lines as ranges, how many."""
        return [(why, ranges(lines), len(lines)) for why, lines in sorted(self._bad.items())]


def ranges(numbers: Iterable[int]) -> str:
    """`3, 7-12, 40`."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def _columns(given: str | None) -> Columns | None:
    if given is None:
        return None
    try:
        return columns_of(given.replace("|", ",").split(","))
    except UnknownColumns as error:
        raise WrongUse(f"--columns: {error}") from error


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise WrongUse(f"--tz: {name!r} is no zone of the tz database, such as Europe/Berlin or UTC") from error


def _stream(file: str, stack: ExitStack) -> BinaryIO:
    if file == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(Path(file).open("rb"))
    except OSError as error:
        raise Failed(f"{file} can't be read: {error.strerror}") from error


def _note(services: Services, file: str, outcome: Outcome, done: Imported, error: str) -> None:
    with services.db.begin() as db_session:
        audit(
            db_session,
            actor(),
            "accounting.import",
            plain(Path(file).name),
            outcome,
            clusters=sorted(done.clusters),
            new=done.rows.new,
            changed=done.rows.changed,
            unchanged=done.rows.unchanged,
            outranked=done.rows.outranked,
            bad=done.bad,
            **({"error": error} if error else {}),
        )


def _report(done: Imported, told: _Told, *, as_json: bool) -> None:
    rows = done.rows
    facts = {
        "clusters": sorted(done.clusters),
        "jobs": done.lines,
        "new": rows.new,
        "changed": rows.changed,
        "unchanged": rows.unchanged,
        "known_better": rows.outranked,
        "open": done.open_rows,
        "open_left": done.left,
        "steps": done.steps,
        "bad": done.bad,
    }
    if as_json:
        bad_lines = [{"why": why, "lines": lines, "count": count} for why, lines, count in told.reasons()]
        print_json({**facts, "bad_lines": bad_lines})
        return
    clusters = ", ".join(plain(name) for name in sorted(done.clusters)) or "no cluster"
    print(
        f"{done.lines} jobs of {clusters}: {rows.new} new, "
        f"{rows.changed} changed, {rows.unchanged} as before, {rows.outranked} known better from another source"
    )
    if done.open_rows:
        left = f", {done.left} of them left to the source that follows their cluster" if done.left else ""
        print(f"{done.open_rows} had not ended{left}")
    if done.steps:
        print(f"{done.steps} lines of steps skipped")
    if done.bad:
        print(f"{done.bad} lines left out:")
        for why, lines, _ in told.reasons():
            print(f"  {plain(why)}: {lines if len(lines) < 2000 else lines[:2000] + ' ... (--json has all)'}")
