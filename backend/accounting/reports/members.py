"""Who belongs to which Slurm accounts, from the snapshot's associations."""

from __future__ import annotations

from collections import defaultdict

from backend.cluster import Part, SnapshotReader


class Members:
    """Worked out anew only when the associations have changed."""

    def __init__(self, snapshots: SnapshotReader) -> None:
        self._snapshots = snapshots
        self._of: Part | None = None
        self._accounts: dict[str, frozenset[str]] = {}

    def __call__(self, person: str) -> frozenset[str]:
        """The accounts the person may charge."""
        part = self._snapshots.current.associations
        if part is not self._of:
            found: dict[str, set[str]] = defaultdict(set)
            columns = part.table.select(["user", "account"]).to_pydict()
            for user, account in zip(columns["user"], columns["account"], strict=True):
                if user and account:
                    found[user].add(account)
            self._accounts = {user: frozenset(accounts) for user, accounts in found.items()}
            self._of = part
        return self._accounts.get(person, frozenset())
