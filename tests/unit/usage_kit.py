"""Small accounts for the usage engine: rows with few words, and a warehouse of them in memory.

- `job(**columns)`: one attempt with everything filled in that is not said
- `Accounts(jobs, ...)`: what the engine needs of a warehouse, with the real roll-up
- `Declared(P=["physics"])`: projects, which a test may `declare` anew
- `at("2026-03-01T12:00")`: Unix seconds, in UTC where no offset is given
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from backend.accounting.model import ACCOUNTS, CAPACITY, JOBS, SUSPENDS
from backend.accounting.projects import Project, Projects
from backend.accounting.usage.figures.rollup import SCHEMA, day_starts, roll_up
from backend.accounting.warehouse import ClusterState, JobsFile, Reading, WarehouseState

Row = Mapping[str, Any]
ALL_DAY_S = 86400


def at(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp())


def job(job_id: int = 1, start_s: int | None = 0, end_s: int | None = 3600, **columns: Any) -> dict[str, Any]:
    """An attempt of ada's on one CPU of one node. Times that are not said follow from those that are."""
    first = next(
        time_s for time_s in (columns.get("submit_s"), start_s, end_s, columns.get("seen_s"), 0) if time_s is not None
    )
    state = "COMPLETED" if end_s is not None else "PENDING" if start_s is None else "RUNNING"
    row: dict[str, Any] = dict.fromkeys(JOBS.names)
    row |= {
        "cluster": "c", "job_id": job_id, "submit_s": first, "origin_s": columns.get("submit_s", first),
        "attempt": 1, "last_attempt": True, "eligible_s": columns.get("submit_s", first), "start_s": start_s,
        "end_s": end_s, "suspended_s": 0, "state": state, "user": "ada", "uid": 1001, "group": "staff",
        "account": "physics", "partition": "cpu", "qos": "normal", "job_name": "run", "nodes": 1, "cpus": 1,
        "mem_mb": 1024, "gpus": 0, "billing": 1, "exit_status": 0, "exit_signal": 0, "node_list": "n1",
        "array_pending": 0, "source": "slurmdbd", "gone": False,
    }  # fmt: skip
    if start_s is None:
        row |= {"nodes": 0, "cpus": 0, "mem_mb": 0, "billing": 0, "node_list": ""}
    return row | columns


def suspended(row: Row, *stretches: tuple[int, int | None]) -> list[dict[str, Any]]:
    """Rows of SUSPENDS of one attempt; say `suspended_s` in the job too."""
    key = {name: row[name] for name in ("cluster", "job_id", "submit_s")}
    return [{**key, "from_s": from_s, "to_s": to_s} for from_s, to_s in stretches]


class Declared:
    """Projects by name with their accounts."""

    def __init__(self, **projects: Sequence[str]) -> None:
        self._known = Projects()
        self.declare(**projects)

    def declare(self, **projects: Sequence[str]) -> None:
        listed = tuple(Project(name, name, tuple(accounts)) for name, accounts in projects.items())
        self._known = Projects(listed, self._known.version + 1)

    def current(self) -> Projects:
        return self._known


def _plain(schema: pa.Schema) -> pa.Schema:
    """Without dictionaries, as the warehouse's files have it."""
    return pa.schema([(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in schema])


class Accounts:
    """A warehouse in memory. `rollup_zone=None`: without a roll-up, so that all is computed from the detail."""

    def __init__(
        self,
        jobs: Iterable[Row] | pa.Table,
        suspends: Iterable[Row] = (),
        *,
        accounts: Iterable[Row] = (),
        capacity: Iterable[Row] = (),
        rollup_zone: str | None = "UTC",
        clusters: Mapping[str, ClusterState] | None = None,
    ) -> None:
        self.generation = 1
        self.rollup_zone = rollup_zone
        self.state = WarehouseState({"c": ClusterState(source="slurmdbd")} if clusters is None else clusters)
        self._db = duckdb.connect()
        cluster = pa.field("cluster", pa.string())
        table = jobs if isinstance(jobs, pa.Table) else pa.Table.from_pylist(list(jobs), schema=_plain(JOBS))
        self._keep("jobs", table)
        self._db.execute("CREATE VIEW ended_jobs AS SELECT * FROM jobs WHERE end_s IS NOT NULL")
        self._db.execute("CREATE VIEW open_jobs AS SELECT * FROM jobs WHERE end_s IS NULL")
        self._db.execute("CREATE VIEW ended AS SELECT * FROM ended_jobs")
        self._keep("suspends", pa.Table.from_pylist(list(suspends), schema=_plain(SUSPENDS)))
        self._keep("accounts", pa.Table.from_pylist(list(accounts), schema=pa.schema([cluster, *ACCOUNTS])))
        self._keep("capacity", pa.Table.from_pylist(list(capacity), schema=pa.schema([cluster, *CAPACITY])))
        self._keep("usage_day", self._rolled_up() if rollup_zone else SCHEMA.empty_table())

    def _keep(self, name: str, table: pa.Table) -> None:
        self._db.register("given", table)
        self._db.execute(f"CREATE TABLE {name} AS SELECT * FROM given")
        self._db.unregister("given")

    def _rolled_up(self) -> pa.Table:
        ((first, last),) = self._db.execute("SELECT min(least(submit_s, end_s)), max(end_s) FROM ended").fetchall()
        if first is None or self.rollup_zone is None:
            return SCHEMA.empty_table()
        starts = day_starts(self.rollup_zone, first, last + 3 * ALL_DAY_S)
        return roll_up(self._db, self.rollup_zone, starts[0], starts[-1])

    def refresh(self) -> bool:
        return False

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        connection = self._db.cursor()
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        with self.cursor() as connection:
            yield InMemory(connection, (), self.generation, Path(), ())


class InMemory(Reading):
    """Of rows that lie in no file."""

    def ended(self, files: Iterable[JobsFile], more: str = "") -> str:
        return "SELECT * FROM ended_jobs"
