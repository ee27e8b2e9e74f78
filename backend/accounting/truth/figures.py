"""Amounts of TRES over time, by account and user: what the console, sreport and sacct are compared in.

Every figure is a whole number: seconds × amount (memory: seconds × MB), as Slurm's own roll-up keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

# Slurm's names of what is compared. Energy is left out: slurmdbd adds a job's whole energy in every hour that the
# job touches, so its sums mean nothing.
TRES = ("cpu", "gres/gpu", "node", "mem", "billing")


class Owner(NamedTuple):
    """Whose usage: a user in an account. `user` "": the account itself with all below it."""

    account: str
    user: str = ""


class Cell(NamedTuple):
    """One figure's place."""

    account: str
    user: str
    tres: str


Figures = dict[Cell, int]


def total(figures: Mapping[Cell, int], parents: Mapping[str, str]) -> Figures:
    """The users' figures, and those of every account with all below it.

    `figures` by account and user, where "" stands for the account's own, without a user. `parents`: the account
    above, by account; the tree's top has none.
    """
    found: Figures = {}
    for cell, amount in figures.items():
        if cell.user:
            found[cell] = found.get(cell, 0) + amount
        for account in above(cell.account, parents):
            whole = Cell(account, "", cell.tres)
            found[whole] = found.get(whole, 0) + amount
    return found


def above(account: str, parents: Mapping[str, str]) -> Iterable[str]:
    """The account and every one above it, once each, whatever the tree looks like."""
    seen: set[str] = set()
    while account and account not in seen:
        seen.add(account)
        yield account
        account = parents.get(account, "")


def add(into: Figures, more: Mapping[Cell, int], sign: int = 1) -> None:
    for cell, amount in more.items():
        into[cell] = into.get(cell, 0) + sign * amount
