"""Who belongs to an account, and which accounts lie below it: from the snapshot and from the accounts' own jobs."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from backend.accounting.usage import Question, Scope, Usage
from backend.cluster import SnapshotReader

LAST_S = 4_102_444_800  # 2100: of all jobs there are


class AccountPeople:
    """Blocking: asks the usage engine."""

    def __init__(self, snapshots: SnapshotReader, usage: Usage) -> None:
        self._snapshots = snapshots
        self._usage = usage

    def accounts(self) -> list[str]:
        """Every account that is known, by name."""
        named = {row["name"] for row in self._rows("accounts") if row["name"]}
        named |= {row["account"] for row in self._rows("associations") if row["account"]}
        named |= set(self._usage.values("account", Scope(everything=True), limit=10_000))
        return sorted(named)

    def members(self, account: str) -> frozenset[str]:
        """People with an association in the account or below it, and those whose jobs were charged to it."""
        below = self._below(account)
        found = {row["user"] for row in self._rows("associations") if row["account"] in below and row["user"]}
        question = Question(("attempts",), 0, LAST_S, by=("user",), where=(("account", tuple(sorted(below))),))
        jobs = self._usage.ask(question, Scope(everything=True)).table
        return frozenset(found | {name for name in jobs["user"].to_pylist() if name})

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

    def _below(self, account: str) -> set[str]:
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
        return found

    def _rows(self, part: str) -> list[dict[str, Any]]:
        columns = {"accounts": ["name", "parent", "coordinators"], "associations": ["user", "account"]}[part]
        table = getattr(self._snapshots.current, part).table
        rows: list[dict[str, Any]] = table.select(columns).to_pylist()
        return rows
