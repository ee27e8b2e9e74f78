"""The daily roll-up: the sums of `atoms` over ended attempts by day, kept beside the detail.

Three levels in one table: "full" with every dimension, "user" and "account" with few, so that the commonest
questions read few rows. Rows are in the order of level, then day: written in small row groups, a reader skips the
levels it doesn't need.
"""

# ruff: noqa: S608 - the text is put together from the words in this package only; what was asked goes as parameters
from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import duckdb
import pyarrow as pa

from backend.accounting.usage.figures.atoms import DIMENSIONS, WORKED_OUT, atoms, pieces_sql, quoted
from backend.accounting.usage.terms.zones import stretches, zone_of

# Rises with every change of what the roll-up holds: the warehouse then makes it anew.
ROLLUP_VERSION = 1

HELD = tuple(name for name in DIMENSIONS if name not in WORKED_OUT)
LEVELS: dict[str, tuple[str, ...]] = {
    "account": ("cluster", "account"),
    "user": ("cluster", "account", "user", "uid"),
    "full": HELD,
}
# attempts_on, jobs_on: there on that day; attempts_new, jobs_new: there first on that day. Jobs: only those of one
# attempt and one component, the others are counted from the detail.
SUMS = (
    "cpu_s", "gpu_s", "node_s", "wall_s", "mem_mb_s", "billing_s", "energy_j", "attempts_on", "attempts_new",
    "jobs_on", "jobs_new", "submitted", "started", "ended", "wait_s", "waits", "cpu_used_ms", "cpu_ran_s",
    "mem_used_mb_s", "mem_ran_mb_s", "time_used_s", "time_limit_s",
)  # fmt: skip

SCHEMA = pa.schema(
    [("level", pa.string()), ("day_s", pa.int64())]  # day_s: the first second of the day in the warehouse's zone
    + [(name, pa.int64() if name == "uid" else pa.string()) for name in HELD]
    + [(name, pa.int64()) for name in SUMS]
)


def level_of(dimensions: Iterable[str]) -> str:
    """The smallest level that knows them all."""
    needed = set(dimensions)
    if "project" in needed:
        needed = (needed - WORKED_OUT) | {"cluster", "account"}
    return next(level for level, known in LEVELS.items() if needed <= set(known))


def roll_up(con: duckdb.DuckDBPyConnection, zone: str, since_s: int, until_s: int, part: str = "") -> pa.Table:
    """The days of [since_s, until_s), which begins and ends with days of `zone`, as SCHEMA.

    Reads the relations `ended` (JOBS rows that have ended, all that were submitted before `until_s` and ended at or
    after `since_s`) and `suspends`. `part`: a text column of `ended`; each of its values has sums of its own, in
    its order, with the column first: to plan the statement takes longer than some ten thousand rows of it.
    """
    days = [day for day in stretches("day", zone_of(zone), since_s, until_s) if day.from_s >= since_s]
    schema = pa.schema([(part, pa.string()), *SCHEMA]) if part else SCHEMA
    if not days:
        return schema.empty_table()
    pieces = pieces_sql("days", [(day.from_s, day.from_s, day.from_s, day.to_s) for day in days])
    full = (*([part] if part else ()), *LEVELS["full"])
    names = ", ".join(quoted(name) for name in full)
    sums = ", ".join(f"sum({raw})::BIGINT AS {raw}" for raw in SUMS)
    something = " OR ".join(f"{raw} <> 0" for raw in SUMS)
    parts = atoms("ended", full, SUMS, rows="true", pieces=pieces.text)
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE rolling AS
            SELECT bucket AS day_s, {names}, {sums} FROM ({parts}) GROUP BY bucket, {names} HAVING {something}""",
        pieces.values,
    )
    selects = []
    first = f"{quoted(part)}, " if part else ""
    for level, dimensions in LEVELS.items():
        picked = ", ".join(
            quoted(name) if name in dimensions else f"NULL AS {quoted(name)}" for name in LEVELS["full"]
        )
        by = f"{first}day_s, {', '.join(quoted(name) for name in dimensions)}"
        selects.append(f"SELECT {first}'{level}' AS level, day_s, {picked}, {sums} FROM rolling GROUP BY {by}")
    try:
        table = con.sql(
            f'SELECT * FROM ({" UNION ALL ".join(selects)}) ORDER BY {first}level, day_s, cluster, account, "user"'
        ).to_arrow_table()
    finally:
        con.execute("DROP TABLE rolling")
    return table.cast(schema)


def day_starts(zone: str, since_s: int, until_s: int) -> list[int]:
    """The first seconds of the days of `zone` that [since_s, until_s) touches, for the caller of `roll_up`."""
    return [day.from_s for day in stretches("day", zone_of(zone), since_s, until_s)]


def month_of(at_s: int, zone: str) -> str:
    """The month (2026-01) of a moment in the zone."""
    return f"{datetime.fromtimestamp(at_s, zone_of(zone)):%Y-%m}"
