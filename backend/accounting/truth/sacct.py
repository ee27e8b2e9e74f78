"""What sacct tells of every attempt: `sacct --duplicates --truncate`, day by day, so that no answer grows large."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from backend.accounting.truth.figures import TRES, Cell, Figures, add
from backend.accounting.truth.window import Window
from backend.cluster.slurm import Commands, Marks, moment, tres, whole

FIELDS = ("JobIDRaw", "Submit", "Start", "End", "ElapsedRaw", "Account", "User", "AllocTRES")


@dataclass(frozen=True)
class Rows:
    """`figures`: sacct's elapsed seconds × TRES, by account and user. `suspended`: the seconds × TRES that are not in
    its elapsed time because the job was suspended. `problems`: rows that make no sense."""

    figures: Figures
    suspended: Figures
    rows: int = 0
    problems: tuple[str, ...] = ()


def arguments(cluster: str, window: Window, marks: Marks) -> list[str]:
    """What sacct is asked: all users' rows that overlap the window, every attempt, cut to the window, no steps."""

    def text(at_s: int) -> str:
        return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")

    return [
        "--noheader", "--allusers", f"--clusters={cluster}", "--duplicates", "--allocations", "--truncate",
        "--noconvert", "--parsable", f"--delimiter={marks.field}", f"--starttime={text(window.since_s)}",
        f"--endtime={text(window.until_s)}", f"--format={','.join(FIELDS)}",
    ]  # fmt: skip


class Stopped(Exception):
    """The process is to end."""


def read_sacct(commands: Commands, cluster: str, window: Window, stop: threading.Event | None = None) -> Rows:
    """Figures of the window. Raises SchedulerError, and Stopped between two days once `stop` is set."""
    figures: Figures = {}
    suspended: Figures = {}
    rows = 0
    problems: list[str] = []
    for day in window.days():
        if stop is not None and stop.is_set():
            raise Stopped
        marks = Marks.draw()
        read = parse(commands.stream("sacct", *arguments(cluster, day, marks)), marks, day)
        add(figures, read.figures)
        add(suspended, read.suspended)
        rows += read.rows
        problems += read.problems
    return Rows(figures, suspended, rows, tuple(problems[:20]))


def parse(pieces: Iterable[bytes], marks: Marks, window: Window) -> Rows:
    """Fold sacct's answer, which comes in pieces of any size."""
    figures: Figures = {}
    suspended: Figures = {}
    rows = 0
    problems: list[str] = []
    for values in _rows(pieces, marks, problems):
        row = dict(zip(FIELDS, values, strict=True))
        start_s, end_s, elapsed_s = moment(row["Start"]), moment(row["End"]), whole(row["ElapsedRaw"])
        if whole(row["JobIDRaw"]) is None or elapsed_s is None:
            problems.append(f"a row of sacct makes no sense: {row['JobIDRaw'][:80]!r}")
            continue
        rows += 1
        if start_s is None:
            continue  # never started
        until_s = min(window.until_s if end_s is None else end_s, window.until_s)
        # A job that started behind the window is shown with a start behind its end: it has no part in the window
        span_s = max(0, until_s - max(start_s, window.since_s))
        elapsed_s = min(elapsed_s, span_s)
        amounts = tres(row["AllocTRES"])
        if "gres/gpu" not in amounts:
            amounts["gres/gpu"] = sum(count for name, count in amounts.items() if name.startswith("gres/gpu:"))
        for name in TRES:
            amount = amounts.get(name, 0)
            if amount and span_s:
                cell = Cell(row["Account"], row["User"], name)
                figures[cell] = figures.get(cell, 0) + amount * elapsed_s
                if span_s > elapsed_s:
                    suspended[cell] = suspended.get(cell, 0) + amount * (span_s - elapsed_s)
    return Rows(figures, suspended, rows, tuple(problems))


def _rows(pieces: Iterable[bytes], marks: Marks, problems: list[str]) -> Iterator[list[str]]:
    """Rows by counting fields: `--parsable` puts the mark behind every field, a line end behind the last."""
    mark = marks.field.encode()
    rest = b""
    row: list[str] = []
    for piece in pieces:
        *fields, rest = (rest + piece).split(mark)
        for field in fields:
            row.append(field.decode("utf-8", "replace").lstrip("\n") if not row else field.decode("utf-8", "replace"))
            if len(row) == len(FIELDS):
                yield row
                row = []
    if row or rest.strip():
        problems.append(f"sacct's answer ends in the middle of a row: {rest.decode('utf-8', 'replace').strip()[:80]!r}")
