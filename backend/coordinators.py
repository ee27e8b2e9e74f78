"""Who coordinates which Slurm accounts, from the snapshot: of an account and of all below it."""

from __future__ import annotations

from collections import defaultdict

from backend.cluster import Part, SnapshotReader


class Coordinators:
    """Asked at each look-up of a login; worked out anew only when the accounts have changed."""

    def __init__(self, snapshots: SnapshotReader) -> None:
        self._snapshots = snapshots
        self._of: Part | None = None
        self._accounts: dict[str, frozenset[str]] = {}

    def __call__(self, person: str) -> frozenset[str]:
        """The accounts the person coordinates."""
        part = self._snapshots.current.accounts
        if part is not self._of:
            self._accounts = coordinated(part)
            self._of = part
        return self._accounts.get(person, frozenset())


def coordinated(accounts: Part) -> dict[str, frozenset[str]]:
    """Person to accounts."""
    children: dict[str, list[str]] = defaultdict(list)
    given: dict[str, set[str]] = defaultdict(set)
    for row in accounts.table.select(["name", "parent", "coordinators"]).to_pylist():
        children[row["parent"] or ""].append(row["name"])
        for person in row["coordinators"] or ():
            given[person].add(row["name"])
    return {person: frozenset(_below(names, children)) for person, names in given.items()}


def _below(names: set[str], children: dict[str, list[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += children.get(name, ())
    return found
