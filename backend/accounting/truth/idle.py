"""Idle time of reservations, which slurmdbd charges to the associations that could have run there.

As slurmdbd's hourly roll-up does it (as_mysql_hourly_rollup in as_mysql_rollup.c, the same in Slurm 20.11 to 26.05):
for each hour, reservation and TRES of the reservation, idle = amount × (seconds of the reservation in the hour −
seconds of its jobs in it), where a job counts for the reservation's whole amount of each TRES that the job has, be
its share ever so small. What is above zero is divided by the number of associations, each gets the whole part. At the
first TRES with nothing idle the rest of the reservation's TRES is passed over. Nodes are not rolled up for
reservations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backend.accounting.truth.figures import TRES, Cell, Figures, Owner
from backend.accounting.truth.window import HOUR_S, Window

_IDS = {"1": "cpu", "2": "mem", "3": "energy", "4": "node", "5": "billing", "6": "fs/disk", "7": "vmem", "8": "pages"}


@dataclass(frozen=True)
class Reservation:
    """One stretch of a reservation that had the same TRES and associations. `assocs`: as slurmdbd keeps them."""

    name: str
    start_s: int
    end_s: int | None  # None: no end
    tres: Sequence[tuple[str, int]]  # in the order of slurmdbd
    assocs: Sequence[str]


@dataclass(frozen=True)
class ReservedJob:
    """An attempt that ran in a reservation. `tres`: names of what it had for more than no time."""

    reservation: str
    start_s: int
    end_s: int
    tres: frozenset[str]


def amounts(text: str) -> list[tuple[str, int]]:
    """`1=64,1001=4` or `cpu=64,gres/gpu=4` by name, in order; an id above 8 that no name is known of stays one."""
    found: list[tuple[str, int]] = []
    for part in text.split(","):
        name, equals, amount = part.partition("=")
        if equals and amount.isdigit():
            found.append((_IDS.get(name, name), int(amount)))
    return found


def idle(
    reservations: Iterable[Reservation],
    jobs: Iterable[ReservedJob],
    owners: Mapping[int, Owner],
    window: Window,
) -> Figures:
    """What slurmdbd charges for idle reservations in the window's hours, by account and user."""
    by_name: dict[str, list[ReservedJob]] = defaultdict(list)
    for job in jobs:
        by_name[job.reservation].append(job)
    figures: Figures = {}
    for reservation in reservations:
        since_s = max(reservation.start_s, window.since_s)
        until_s = window.until_s if reservation.end_s is None else min(reservation.end_s, window.until_s)
        if until_s <= since_s:
            continue
        used = _used(by_name.get(reservation.name, ()), since_s, until_s, window.since_s)
        for hour in range((since_s - window.since_s) // HOUR_S, (until_s - 1 - window.since_s) // HOUR_S + 1):
            begin_s = max(since_s, window.since_s + hour * HOUR_S)
            end_s = min(until_s, window.since_s + (hour + 1) * HOUR_S)
            _charge(figures, reservation, end_s - begin_s, used.get(hour, {}), owners)
    return figures


def _used(jobs: Iterable[ReservedJob], since_s: int, until_s: int, first_s: int) -> dict[int, dict[str, int]]:
    """Seconds of jobs by hour (counted from `first_s`) and TRES."""
    used: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for job in jobs:
        begin_s, end_s = max(job.start_s, since_s), min(job.end_s, until_s)
        while begin_s < end_s:
            hour = (begin_s - first_s) // HOUR_S
            here_s = min(end_s, first_s + (hour + 1) * HOUR_S)
            for name in job.tres:
                used[hour][name] += here_s - begin_s
            begin_s = here_s
    return used


def _charge(
    figures: Figures,
    reservation: Reservation,
    seconds: int,
    used: Mapping[str, int],
    owners: Mapping[int, Owner],
) -> None:
    for name, amount in reservation.tres:
        if name == "node":
            continue
        left = amount * (seconds - used.get(name, 0))
        if left <= 0:
            return
        share = left // len(reservation.assocs) if reservation.assocs else 0
        if name not in TRES or not share:
            continue
        for number in reservation.assocs:
            owner = owners.get(int(number)) if number.isdigit() else None
            if owner is not None:
                cell = Cell(owner.account, owner.user, name)
                figures[cell] = figures.get(cell, 0) + share
