"""The console's figures beside sreport's and sacct's, and every difference by its name.

For each account and user and each TRES: other tool = console + the named differences + what is unexplained. Nothing
may be unexplained.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from backend.accounting.truth import ours
from backend.accounting.truth.assocs import Associations, read_associations
from backend.accounting.truth.figures import TRES, Cell, Figures, total
from backend.accounting.truth.idle import idle
from backend.accounting.truth.privacy import kept_from
from backend.accounting.truth.sacct import Rows, read_sacct
from backend.accounting.truth.sreport import Report, read_sreport
from backend.accounting.truth.window import Window, closed_part, month_window
from backend.accounting.usage import BadQuestion
from backend.accounting.warehouse import Warehouse
from backend.cluster.slurm import Commands

MOST_USERS = 1000  # rows of users that are kept; accounts are kept all

# What each named difference means, for the reader.
REASONS = {
    "reservation": "Idle time of reservations: slurmdbd charges it to the associations that could have run there.",
    "imported": "Jobs that were imported, or of this machine: slurmdbd never had them.",
    "purged": "Rows purged from slurmdbd before the console read them: only its roll-ups know them.",
    "gone": "Rows purged from slurmdbd since: the console keeps them, sacct can't find them.",
    "suspended": "Suspended time: sacct leaves it out of the elapsed time, while slurmdbd and the console charge it "
    "for everything but CPUs.",
    "suspended_now": "Jobs suspended right now: sacct leaves a suspension out only once it is over.",
    "requeued": "Attempts that ended by requeue or resize: XDMoD leaves them out.",
    "running": "Jobs that had not ended: XDMoD leaves them out.",
    "nowhere": "Jobs that ended without a node: XDMoD leaves them out.",
    "suspended_counted": "Suspended time: XDMoD counts it as used.",
}


class NothingToCompare(Exception):
    """There is no hour that both know; the message says why."""


@dataclass(frozen=True)
class Beside:
    """Another tool's figure and how it comes from the console's: `parts` by reason, `rest` has none."""

    value: int
    parts: Mapping[str, int] = field(default_factory=dict)
    rest: int = 0


@dataclass(frozen=True)
class Line:
    """One account with all below it (`user` ""), or one user in an account; one TRES."""

    account: str
    user: str
    depth: int  # of the account in the tree
    tres: str
    console: int
    sreport: Beside
    sacct: Beside
    xdmod: Beside


@dataclass(frozen=True)
class Comparison:
    """Of one cluster and month. Amounts are seconds × TRES (memory: MB)."""

    cluster: str
    month: str
    zone: str
    since_s: int
    until_s: int  # of what was compared
    month_until_s: int
    lines: tuple[Line, ...]
    running: Mapping[str, int]  # of the console's total: jobs that had not ended
    later: Mapping[str, int]  # the console's total of the month behind `until_s`: not rolled up yet
    sacct_rows: int
    took_s: float
    left_out: int = 0  # users' lines that agree and were not kept
    problems: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        return not self.problems and not any(line.sreport.rest or line.sacct.rest for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "agrees": self.agrees}


@dataclass(frozen=True)
class Sides:
    """Everything that is compared, by account and user."""

    console: Figures
    parts: ours.Parts
    xdmod: Figures
    sreport: Report
    sacct: Rows
    idle: Figures
    associations: Associations


def compare(  # noqa: PLR0917 - who, where, when
    commands: Commands,
    warehouse: Warehouse,
    usage: ours.Asks,
    cluster: str,
    month: str,
    zone: str,
    stop: threading.Event | None = None,
) -> Comparison:
    """Compare a month, as far as slurmdbd has rolled it up. Takes seconds to minutes.

    Raises NothingToCompare, SchedulerError, Stopped.
    """
    begun = time.monotonic()
    warehouse.refresh()
    whole = month_window(month, zone)
    window = known_part(warehouse, cluster, whole)
    if words := kept_from(commands):
        raise NothingToCompare(words)
    sides = Sides(
        console=ours.figures(usage, cluster, window, zone),
        parts=ours.parts(warehouse, cluster, window),
        xdmod=_xdmod(usage, cluster, window, zone),
        sreport=read_sreport(commands, cluster, window),
        sacct=read_sacct(commands, cluster, window, stop),
        idle={},
        associations=read_associations(commands, cluster),
    )
    spans, jobs = ours.reservations(warehouse, cluster, window)
    idle_time = idle(spans, jobs, sides.associations.owners, window)
    sides = Sides(**{**sides.__dict__, "idle": idle_time})
    purged_s = warehouse.state.clusters[cluster].purged_before_s
    lines, left_out = _lines(sides, purged=purged_s is not None and window.since_s < purged_s)
    behind = Window(window.until_s, whole.until_s, whole.clock)
    return Comparison(
        cluster=cluster,
        month=month,
        zone=zone,
        since_s=window.since_s,
        until_s=window.until_s,
        month_until_s=whole.until_s,
        lines=tuple(lines),
        running=_sums(sides.parts.running),
        later={} if behind.empty else _sums(ours.figures(usage, cluster, behind, zone)),
        sacct_rows=sides.sacct.rows,
        took_s=round(time.monotonic() - begun, 2),
        left_out=left_out,
        problems=(*sides.sreport.problems, *sides.sacct.problems, *sides.associations.problems),
    )


def known_part(warehouse: Warehouse, cluster: str, whole: Window) -> Window:
    """The hours of the window that slurmdbd has rolled up and the console has read. Raises NothingToCompare."""
    state = warehouse.state.clusters.get(cluster)
    if state is None or state.source != "slurmdbd" or state.synced_s is None:
        raise NothingToCompare(f"The accounts of {cluster} do not come from slurmdbd.")
    rolled_up_s = _rolled_up_s(warehouse, cluster)
    if rolled_up_s is None:
        raise NothingToCompare("slurmdbd has not rolled up an hour yet.")
    window = closed_part(whole, min(rolled_up_s, state.synced_s))
    if window.empty:
        raise NothingToCompare("slurmdbd has not rolled up an hour of that month yet.")
    return window


def _rolled_up_s(warehouse: Warehouse, cluster: str) -> int | None:
    """The end of the last hour of slurmdbd's own roll-up."""
    with warehouse.cursor() as connection:
        found = connection.execute("select max(hour_s) from capacity where cluster = $1", [cluster]).fetchone()
    return None if found is None or found[0] is None else int(found[0]) + 3600


def _xdmod(usage: ours.Asks, cluster: str, window: Window, zone: str) -> Figures:
    try:
        return ours.figures(usage, cluster, window, zone, "xdmod")
    except BadQuestion:
        return {}


def _sums(figures: Mapping[Cell, int]) -> dict[str, int]:
    found = dict.fromkeys(TRES, 0)
    for cell, amount in figures.items():
        found[cell.tres] += amount
    return found


def _lines(sides: Sides, *, purged: bool) -> tuple[list[Line], int]:
    parents = sides.associations.parents
    parts = {name: total(getattr(sides.parts, name), parents) for name in vars(sides.parts)}
    console, xdmod = total(sides.console, parents), total(sides.xdmod, parents)
    idle_time = total(sides.idle, parents)
    sacct = total(sides.sacct.figures, parents)
    everywhere = (console, sides.sreport.figures, sacct, idle_time)
    cells = {cell for side in everywhere for cell, amount in side.items() if amount}
    cells |= {Cell(cell.account, "", cell.tres) for cell in cells}

    def of(name: str, cell: Cell) -> int:
        return parts[name].get(cell, 0)

    found: list[Line] = []
    for cell in cells:
        here = console.get(cell, 0)
        foreign, gone = of("foreign", cell), of("gone", cell)
        cpu = cell.tres == "cpu"
        suspended = of("suspended", cell) - of("suspended_now", cell)
        found.append(
            Line(
                account=cell.account,
                user=cell.user,
                depth=_depth(cell.account, parents),
                tres=cell.tres,
                console=here,
                sreport=_beside(
                    here,
                    sides.sreport.figures.get(cell, 0),
                    {"reservation": idle_time.get(cell, 0), "imported": -foreign},
                    rest_as="purged" if purged else "",
                ),
                sacct=_beside(
                    here,
                    sacct.get(cell, 0),
                    {
                        "imported": -foreign,
                        "gone": -gone,
                        "suspended": 0 if cpu else -suspended,
                        "suspended_now": of("suspended_now", cell) if cpu else 0,
                    },
                ),
                xdmod=_beside(
                    here,
                    xdmod.get(cell, 0),
                    {
                        "requeued": -of("requeued", cell),
                        "running": -of("running", cell),
                        "nowhere": -of("nowhere", cell),
                        "suspended_counted": of("suspended_ended", cell) if cpu else 0,
                    },
                ),
            )
        )
    order = _tree_order(parents, {line.account for line in found})
    found.sort(key=lambda line: (order[line.account], line.user, TRES.index(line.tres)))
    return _kept(found)


def _beside(console: int, other: int, parts: Mapping[str, int], rest_as: str = "") -> Beside:
    named = {name: amount for name, amount in parts.items() if amount}
    rest = other - console - sum(named.values())
    if rest_as and rest > 0:
        return Beside(other, {**named, rest_as: rest})
    return Beside(other, named, rest)


def _depth(account: str, parents: Mapping[str, str]) -> int:
    depth, seen = 0, {account}
    while (account := parents.get(account, "")) and account not in seen:
        seen.add(account)
        depth += 1
    return depth


def _tree_order(parents: Mapping[str, str], accounts: set[str]) -> dict[str, int]:
    """Each account's place when the tree is read from the top, by name."""
    below: dict[str, list[str]] = {}
    for account in accounts | set(parents):
        below.setdefault(parents.get(account, ""), []).append(account)
    order: dict[str, int] = {}
    waiting = sorted(below.get("", []), reverse=True)
    while waiting:
        account = waiting.pop()
        if account in order:
            continue
        order[account] = len(order)
        waiting += sorted(below.get(account, []), reverse=True)
    for account in sorted(accounts - set(order)):  # a tree that bites its own tail
        order[account] = len(order)
    return order


def _kept(lines: list[Line]) -> tuple[list[Line], int]:
    """All accounts; of the users those that differ, and the largest."""
    users: dict[tuple[str, str], tuple[bool, int]] = {}
    for line in lines:
        if line.user:
            differs, largest = users.get((line.account, line.user), (False, 0))
            differs = differs or bool(line.sreport.rest or line.sacct.rest)
            users[line.account, line.user] = differs, max(largest, line.console if line.tres == "cpu" else 0)
    if len(users) <= MOST_USERS:
        return lines, 0
    kept = set(sorted(users, key=lambda user: users[user], reverse=True)[:MOST_USERS])
    return [line for line in lines if not line.user or (line.account, line.user) in kept], len(users) - len(kept)
