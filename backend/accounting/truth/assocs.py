"""Slurm's associations: which account and user a number stands for, and which account is above which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backend.accounting.truth.figures import Owner
from backend.cluster.slurm import Commands, whole

FIELDS = ("ID", "Account", "User", "ParentName")


@dataclass(frozen=True)
class Associations:
    owners: Mapping[int, Owner]  # by association id; user "" of an account's own
    parents: Mapping[str, str]  # account -> the one above; "" above the tree's top
    problems: tuple[str, ...] = ()


def read_associations(commands: Commands, cluster: str) -> Associations:
    """The cluster's associations, deleted ones too: their usage stays. Raises SchedulerError."""
    output = commands.run(
        "sacctmgr", "--noheader", "--parsable2", "--readonly", "show", "association", f"cluster={cluster}",
        "withdeleted", f"format={','.join(FIELDS)}",
    )  # fmt: skip
    return parse(output)


def parse(output: str) -> Associations:
    owners: dict[int, Owner] = {}
    parents: dict[str, str] = {}
    problems: list[str] = []
    for line in output.splitlines():
        if not line.strip():
            continue
        fields = line.split("|")
        number = whole(fields[0])
        if len(fields) != len(FIELDS) or number is None:
            problems.append(f"a line of sacctmgr makes no sense: {line[:80]!r}")
            continue
        _, account, user, parent = fields
        owners[number] = Owner(account, user)
        if not user and (parent or account not in parents):
            parents[account] = parent
    return Associations(owners, parents, tuple(problems))
