"""Budgets on the small accounts of `usage_rest_kit`, with a clock that tests turn and an inbox.

- `Desk(tmp_path)`: price list, budgets, a watch; cleo coordinates physics, olga is an operator, ada a member;
  `desk.projects.declare(P=["physics"])`.
- `daily(days)`: `physics` uses so many CPU hours a day, ending today.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import select

from backend.accounting.budgets import AccountPeople, BudgetDraft, Budgets, BudgetWatch, Console, PriceBook, PriceDraft
from backend.accounting.model import ACCOUNTS, JOBS
from backend.accounting.usage import Usage
from backend.accounting.warehouse import Warehouse
from backend.cluster import SCHEMAS, SnapshotReader, SnapshotWriter
from backend.identity import Viewer
from backend.store import Database
from backend.store.models import Audit
from tests.unit.identity_kit import Clock
from tests.unit.sessions_kit import association, table
from tests.unit.usage_kit import Declared, at, job

NOW_S = at("2026-11-20T12:00")
DAY_S = 86400
OLGA = Viewer("olga", "Olga", 5, frozenset({"user", "operator"}), "l", "olga@example.org")
CLEO = Viewer("cleo", "Cleo", 6, frozenset({"user", "coordinator"}), "l", "cleo@example.org",
              coordinates=frozenset({"physics", "lasers"}))  # fmt: skip
ADA = Viewer("ada", "Ada", 1001, frozenset({"user"}), "l", "ada@example.org")
BOB = Viewer("bob", "Bob", 1004, frozenset({"user"}), "l", "bob@example.org")
NEVER_SEEN = Viewer("eve", "Eve", 1009, frozenset({"user"}), "l")
BUDGET = BudgetDraft("physics", "cpu_hours", "100", "2026-11-01", "2026-11-30")
CPU = PriceDraft("cpu", "0.5", "2026-11-01")


class Inbox:
    """Takes mails; `wrong` is raised instead."""

    able = True

    def __init__(self) -> None:
        self.mails: list[tuple[tuple[str, ...], str, str]] = []
        self.wrong: Exception | None = None

    def send(self, to: Iterable[str], subject: str, text: str) -> None:
        if self.wrong is not None:
            raise self.wrong
        self.mails.append((tuple(to), subject, text))


class People:
    def standing(self, name: str) -> Viewer | None:
        return {each.name: each for each in (OLGA, CLEO, ADA, BOB)}.get(name)


def daily(hours: Sequence[float], account: str = "physics", user: str = "ada", last: str = "2026-11-20") -> list[Any]:
    """A job each day at one o'clock, on as many CPUs; the last on `last`."""
    first_s = at(last) - (len(hours) - 1) * DAY_S
    return [
        job(n + 1, first_s + n * DAY_S + 3600, first_s + n * DAY_S + 3600 + round(3600 * each), user=user,
            account=account, cluster="tiny", uid={"ada": 1001, "bob": 1004}.get(user, 1003))
        for n, each in enumerate(hours) if each
    ]  # fmt: skip


class Desk:
    def __init__(self, folder: Path, rows: list[Any] | None = None, zone: str = "UTC") -> None:
        self.clock = Clock()
        self.clock.now_s = NOW_S
        self.folder = folder
        self.db = Database(f"sqlite:///{folder}/carme.db")
        self.db.upgrade()
        self.fill(daily([10.0] * 20) if rows is None else rows, zone)
        writer = SnapshotWriter(folder / "snapshot", "tiny", dict.fromkeys(SCHEMAS, 5.0))
        tree = [("root", "", []), ("physics", "root", ["cleo"]), ("lasers", "physics", []), ("biology", "root", [])]
        accounts = [{"name": name, "parent": parent, "coordinators": who} for name, parent, who in tree]
        published: dict[str, Any] = {
            "accounts": accounts,
            "associations": [association("ada", "physics"), association("leo", "lasers")],
        }
        for name in SCHEMAS:
            writer.publish(name, table(name, published.get(name, ())), taken_s=NOW_S, duration_s=0.1)
        self.snapshots = SnapshotReader(folder / "snapshot", "tiny")
        self.snapshots.refresh()
        self.prices = PriceBook(self.db, zone, clock=self.clock)
        self.projects = Declared()
        warehouse = Warehouse(folder / "accounting", 256)
        self.usage = Usage(warehouse, zone, prices=self.prices, projects=self.projects)
        self.budgets = Budgets(self.db, self.usage, AccountPeople(self.snapshots, self.usage), clock=self.clock)
        self.inbox = Inbox()
        self.watch = self.watching()

    def fill(self, rows: list[Any], zone: str = "UTC") -> None:
        plain = pa.schema([(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in JOBS])
        tree = (("root", None), ("physics", "root"), ("lasers", "physics"), ("biology", "root"))
        accounts = [
            {"name": name, "parent": parent, "description": "", "organization": "", "deleted": False,
             "coordinators": []}
            for name, parent in tree
        ]  # fmt: skip
        with Warehouse.write(self.folder / "accounting", zone=zone) as writer:
            writer.upsert(pa.Table.from_pylist(rows, schema=plain).cast(JOBS), None, cluster="tiny")
            writer.put_table("tiny", "accounts", pa.Table.from_pylist(accounts, schema=ACCOUNTS))
            writer.set_state("tiny", source="sacct", synced_s=NOW_S)
            writer.commit()

    def watching(self) -> BudgetWatch:
        """What one more process on the same data has."""
        return BudgetWatch(
            self.budgets, People(), self.inbox, Console("Carme", "https://c.example.org"), clock=self.clock
        )

    def lines(self, action: str) -> list[tuple[str, str, str]]:
        with self.db.read() as rows:
            found = rows.scalars(select(Audit).where(Audit.action == action).order_by(Audit.id))
            return [(line.actor, line.target, line.outcome) for line in found]
