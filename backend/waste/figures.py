"""GPU-hours that jobs held, how much of them was measured, and how much of that was idle.

Whole jobs count: those that ended in the window, and those that run, until now. Nothing is extrapolated: idle hours
are those that were measured as idle, and the share that was measured at all stands beside them.
"""

# ruff: noqa: S608 - the text is put together from the words in this module only; what was asked goes as parameters
from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from backend.accounting.projects import Declared, ProjectBook
from backend.accounting.usage import PROJECT, AccountTree, Scope, jobs_in_scope, put_projects
from backend.accounting.usage.figures.filters import of_jobs
from backend.accounting.warehouse import Warehouse
from backend.telemetry import FOOTPRINTS, JobRef, Telemetry, TelemetryUnusable

DIMENSIONS: dict[str, str] = {
    "user": '"user"',
    "account": "account",
    PROJECT: "project",
    "partition": "partition",
    "gpu_type": "gpu_type",
}
MOST_ROWS = 100  # of one table; the rest is counted
MOST_JOBS = 200
MOST_NAMED = 500  # jobs that are looked up one by one, where what was measured can't be listed
TOO_MANY = (
    f"What GPUs did is asked of Prometheus here, job by job, and more than {MOST_NAMED} jobs held GPUs then: choose a "
    "shorter window."
)
PRINT_COLUMNS = ("cluster", "job_id", "start_s", "last_s", "gpu_idle_s", "gpu_measured_s", "gpu_percent_mean")


class BadWaste(ValueError):
    """What was asked makes no sense."""


@dataclass(frozen=True)
class Hours:
    """Of some jobs with GPUs. `measured` and `idle` are GPU-hours of those that were measured."""

    jobs: int
    measured_jobs: int
    allocated: float
    measured: float
    idle: float


@dataclass(frozen=True)
class Group:
    """`name`: None for jobs that have none."""

    name: str | None
    hours: Hours


@dataclass(frozen=True)
class Figures:
    """`groups` by dimension, the most idle first; `more`: how many groups were left out of it. Without projects there
    are none by project."""

    since_s: int
    until_s: int
    total: Hours
    groups: Mapping[str, tuple[Group, ...]]
    more: Mapping[str, int]
    away: str  # why nothing of what was measured is known; "" when it is


_HOLDERS = """
    SELECT * FROM ended_jobs
    WHERE gpus > 0 AND start_s IS NOT NULL AND end_s >= $since_s AND end_s < $until_s AND {scope}
    UNION ALL
    SELECT * FROM open_jobs WHERE gpus > 0 AND start_s IS NOT NULL AND $running AND {scope}"""
_JOBS = """
    SELECT j.cluster, j.job_id, j.start_s, j."user", j.account, j.partition, j.gpu_type, j.job_name, j.state, j.gpus,
           j.end_s, p.gpu_percent_mean, p.job_id IS NOT NULL AS is_measured,
           coalesce(p.gpu_measured_s, 0) AS measured_s, coalesce(p.gpu_idle_s, 0) AS idle_s,
           j.gpus * greatest(0, coalesce(j.end_s, greatest(j.seen_s, p.last_s), j.start_s) - j.start_s) AS held_s
    FROM ({holders}) j
    LEFT JOIN prints p ON p.cluster = j.cluster AND p.job_id = j.job_id AND p.start_s = j.start_s"""
_SUMS = "count(*), count(*) FILTER (is_measured), sum(held_s) / 3600.0, sum(measured_s) / 3600.0, sum(idle_s) / 3600.0"


@dataclass(frozen=True)
class Waste:
    """Blocking. Raises WarehouseUnusable; what was measured being away is told in the answer."""

    warehouse: Warehouse
    telemetry: Telemetry
    projects: Declared = field(default_factory=ProjectBook)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """By what there are figures: by project only where projects are set up."""
        return tuple(name for name in DIMENSIONS if name != PROJECT or self.projects.current().listed)

    def figures(self, scope: Scope, since_s: int, until_s: int, now_s: int) -> Figures:
        """Of the jobs in the scope that ended in [since, until), and of running ones where it reaches until now."""
        with self._joined(scope, since_s, until_s, now_s) as (con, away):
            total = _hours(con.execute(f"SELECT {_SUMS} FROM held").fetchone())
            groups: dict[str, tuple[Group, ...]] = dict.fromkeys(DIMENSIONS, ())
            more = dict.fromkeys(DIMENSIONS, 0)
            for name in self.dimensions:
                rows = con.execute(
                    f"SELECT {DIMENSIONS[name]} AS name, {_SUMS} FROM held GROUP BY 1 "
                    "ORDER BY sum(idle_s) DESC, sum(held_s) DESC, 1"
                ).fetchall()
                groups[name] = tuple(Group(row[0] or None, _hours(row[1:])) for row in rows[:MOST_ROWS])
                more[name] = max(0, len(rows) - MOST_ROWS)
            return Figures(since_s, until_s, total, groups, more, away)

    def jobs(self, scope: Scope, since_s: int, until_s: int, now_s: int, *, by: str, name: str | None) -> pa.Table:
        """The jobs behind one row, the most idle first, at most MOST_JOBS of them. Raises BadWaste."""
        if by not in self.dimensions:
            raise BadWaste(f"by: one of {', '.join(self.dimensions)} is wanted.")
        with self._joined(scope, since_s, until_s, now_s) as (con, _away):
            return con.sql(
                'SELECT cluster, job_id, start_s, end_s, "user", account, partition, gpu_type, job_name, state, gpus, '
                "is_measured, gpu_percent_mean, held_s / 3600.0 AS allocated, measured_s / 3600.0 AS measured, "
                f"idle_s / 3600.0 AS idle FROM held WHERE coalesce({DIMENSIONS[by]}, '') = $name "
                f"ORDER BY idle_s DESC, held_s DESC, job_id DESC LIMIT {MOST_JOBS:d}",
                params={"name": name or ""},
            ).to_arrow_table()

    @contextmanager
    def _joined(
        self, scope: Scope, since_s: int, until_s: int, now_s: int
    ) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
        if until_s <= since_s:
            raise BadWaste("The window is empty: until must be later than since.")
        self.warehouse.refresh()
        with self.warehouse.cursor() as con:
            tree = AccountTree.read(con, self.projects.current(), self.warehouse.state.clusters)
            put_projects(con, tree)
            scoped = jobs_in_scope(scope, tree)
            holders = _HOLDERS.format(scope=scoped.text)
            values = {"since_s": since_s, "until_s": until_s, "running": until_s >= now_s, **scoped.values}
            prints, away = self._prints(con, holders, values)
            con.register("prints", prints)
            con.execute(
                f"CREATE OR REPLACE TEMP TABLE held AS SELECT *, {of_jobs(PROJECT)} AS project "
                f"FROM ({_JOBS.format(holders=holders)}) WHERE held_s > 0",
                values,
            )
            yield con, away

    def _prints(self, con: duckdb.DuckDBPyConnection, holders: str, values: dict[str, Any]) -> tuple[pa.Table, str]:
        """What was measured, of every cluster or of the holders; and why nothing is known of it."""
        telemetry = self.telemetry
        try:
            if telemetry.lists_jobs:
                window = values["since_s"], values["until_s"]
                return telemetry.footprints_of(self.warehouse.state.clusters, *window, PRINT_COLUMNS), ""
            rows = con.execute(
                f"SELECT cluster, job_id, start_s, end_s FROM ({holders}) LIMIT {MOST_NAMED + 1:d}", values
            ).fetchall()
            if len(rows) > MOST_NAMED:
                return _no_prints(), TOO_MANY
            return telemetry.footprints([JobRef(*row) for row in rows]).select(list(PRINT_COLUMNS)), ""
        except TelemetryUnusable as error:
            return _no_prints(), str(error)


def _no_prints() -> pa.Table:
    return pa.schema([FOOTPRINTS.field(name) for name in PRINT_COLUMNS]).empty_table()


def _hours(row: Any) -> Hours:
    jobs, measured_jobs, allocated, measured, idle = row
    return Hours(jobs, measured_jobs, float(allocated or 0), float(measured or 0), float(idle or 0))
