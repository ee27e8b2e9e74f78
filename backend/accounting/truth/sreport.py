"""What slurmdbd has rolled up, as `sreport cluster AccountUtilizationByUser` tells it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from backend.accounting.truth.figures import TRES, Cell, Figures
from backend.accounting.truth.window import Window
from backend.cluster.slurm import Commands

FIELDS = ("Cluster", "Account", "Login", "TresName", "Used")


@dataclass(frozen=True)
class Report:
    """`figures`: users in accounts, and accounts with all below them. `problems`: lines that make no sense."""

    figures: Figures
    problems: tuple[str, ...] = ()


def arguments(cluster: str, window: Window, zone: str) -> list[str]:
    """What sreport is asked. Its window is whole hours, written in `zone`."""

    def text(at_s: int) -> str:
        return datetime.fromtimestamp(at_s, ZoneInfo(zone)).strftime("%Y-%m-%dT%H:%M:%S")

    return [
        "--noheader", "--parsable2", "-t", "Seconds", "--tres=ALL", "cluster", "AccountUtilizationByUser",
        f"cluster={cluster}", f"start={text(window.since_s)}", f"end={text(window.until_s)}",
        f"format={','.join(FIELDS)}",
    ]  # fmt: skip


def read_sreport(commands: Commands, cluster: str, window: Window) -> Report:
    """Figures of the window, which must begin and end where slurmdbd's hours do. Raises SchedulerError."""
    asking = replace(commands, zone=window.clock)
    return parse(asking.run("sreport", *arguments(cluster, window, window.clock)), cluster)


def parse(output: str, cluster: str) -> Report:
    """sreport's lines as figures. One user has several lines in an account where associations are by partition."""
    figures: Figures = {}
    typed: Figures = {}
    problems: list[str] = []
    for line in output.splitlines():
        if not line.strip():
            continue
        fields = line.split("|")
        # No TRES, no number holds a bar; a name might
        if len(fields) != len(FIELDS) or not fields[4].lstrip("-").isdigit():
            problems.append(f"a line of sreport makes no sense: {line[:80]!r}")
            continue
        of, account, user, tres, used = fields
        if of != cluster:
            continue
        cell = Cell(account, user, tres)
        if tres in TRES:
            figures[cell] = figures.get(cell, 0) + int(used)
        elif tres.startswith("gres/gpu:"):
            summed = Cell(account, user, "gres/gpu")
            typed[summed] = typed.get(summed, 0) + int(used)
    if not any(cell.tres == "gres/gpu" for cell in figures):
        figures.update(typed)  # a site that tracks its GPUs by type only
    return Report(figures, tuple(problems))
