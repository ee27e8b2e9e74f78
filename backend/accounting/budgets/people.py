"""Who belongs to an account, and which accounts lie below it: from the snapshot and from the accounts' own jobs."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from backend.accounting.usage import Scope, Usage
from backend.cluster import SnapshotReader
from backend.identity import Viewer

MOST_ACCOUNTS = 10_000


class AccountPeople:
    """Blocking: asks the usage engine."""

    def __init__(self, snapshots: SnapshotReader, usage: Usage) -> None:
        self._snapshots = snapshots
        self._usage = usage

    def accounts(self) -> list[str]:
        """Every account that is known, by name."""
        named = {row["name"] for row in self._rows("accounts") if row["name"]}
        named |= {row["account"] for row in self._rows("associations") if row["account"]}
        named |= set(self._usage.values("account", Scope(everything=True), limit=MOST_ACCOUNTS))
        return sorted(named)

    def accounts_of(self, viewer: Viewer) -> frozenset[str]:
        """Those the person has an association in, or whose jobs of theirs were charged to."""
        found = {row["account"] for row in self._rows("associations") if row["user"] == viewer.name and row["account"]}
        own = Scope(user=viewer.name, uid=viewer.uid)  # by uid where it is known: a name may have been another's
        return frozenset(found | set(self._usage.values("account", own, limit=MOST_ACCOUNTS)))

    def coordinators(self, account: str) -> frozenset[str]:
        """Of the account itself and of those above it."""
        rows = {row["name"]: row for row in self._rows("accounts")}
        found: set[str] = set()
        seen: set[str] = set()
        name = account
        while name and name in rows and name not in seen:
            seen.add(name)
            found |= set(rows[name]["coordinators"] or ())
            name = rows[name]["parent"] or ""
        return frozenset(found)

    def below(self, account: str) -> frozenset[str]:
        """The account and all below it."""
        children: dict[str, set[str]] = defaultdict(set)
        for row in self._rows("accounts"):
            children[row["parent"] or ""].add(row["name"])
        found: set[str] = set()
        waiting = [account]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(children.get(name, ()))
        return frozenset(found)

    def _rows(self, part: str) -> list[dict[str, Any]]:
        columns = {"accounts": ["name", "parent", "coordinators"], "associations": ["user", "account"]}[part]
        table = getattr(self._snapshots.current, part).table
        rows: list[dict[str, Any]] = table.select(columns).to_pylist()
        return rows
