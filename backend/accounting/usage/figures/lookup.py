"""What a filter can be set to."""

# ruff: noqa: S608 - the text is put together from the words in this package only; what was asked goes as parameters
from __future__ import annotations

import duckdb

from backend.accounting.usage.figures.filters import of_atoms, of_jobs
from backend.accounting.usage.figures.groups import Rows
from backend.accounting.usage.figures.rollup import level_of


def values(
    con: duckdb.DuckDBPyConnection, rows: Rows, dimension: str, prefix: str, limit: int, *, rolled_up: bool
) -> list[str]:
    """The values of a dimension that begin with `prefix` in any case, of jobs in the scope."""
    needed = {dimension} if rows.scope.everything else {dimension, "user", "uid", "account"}
    level = level_of(needed)
    rolled, detail = rows.of(of_atoms), rows.of(of_jobs)
    relation = "open_jobs" if rolled_up else "jobs"
    parts = [f"SELECT {of_jobs(dimension)} AS value FROM {relation} WHERE {detail.text}"]
    given = {**detail.values, "prefix": prefix, "limit": limit}
    if rolled_up:
        parts.append(f"SELECT {of_atoms(dimension)} AS value FROM usage_day WHERE level = $level AND {rolled.text}")
        given |= {**rolled.values, "level": level}
    found = con.execute(
        f"SELECT DISTINCT value FROM ({' UNION ALL '.join(parts)}) WHERE value <> '' "
        "AND starts_with(lower(value), lower($prefix)) ORDER BY value LIMIT $limit",
        given,
    )
    return [value for (value,) in found.fetchall()]
