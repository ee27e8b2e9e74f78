"""What the reader of an answer must know about it."""

# ruff: noqa: S608 - the text is put together from the words in this package only; what was asked goes as parameters
from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

import duckdb

from backend.accounting.usage.figures.capacity import Shares
from backend.accounting.usage.figures.filters import of_jobs
from backend.accounting.usage.figures.formulas import SHARES, UNAVAILABLE
from backend.accounting.usage.figures.groups import SLACK_S, Rows
from backend.accounting.usage.figures.plan import Plan
from backend.accounting.usage.source import first_row
from backend.accounting.usage.terms.zones import zone_of
from backend.accounting.warehouse import WarehouseState

_UNKNOWN = {
    "energy_kwh": "No energy was measured for any of these jobs.",
    "cpu_efficiency": "CPU time used is known of no attempt that ended in the window.",
    "cpu_hours_unused": "CPU time used is known of no attempt that ended in the window.",
    "mem_efficiency": "Memory used is known of no attempt that ended in the window.",
    "time_efficiency": "No attempt that ended in the window had a time limit that is known.",
    "wait_mean_s": "No job that is counted here started in the window.",
    "wait_median_s": "No job that is counted here started in the window.",
    "wait_p90_s": "No job that is counted here started in the window.",
}


def as_of_s(state: WarehouseState) -> int | None:
    """Until when all clusters are known; None where nothing is."""
    return min((each.synced_s for each in state.clusters.values() if each.synced_s is not None), default=None)


def oldest_s(state: WarehouseState) -> int | None:
    """Before when nothing happened; a day early for clocks that were set. None where that isn't known."""
    known = [each.oldest_s for each in state.clusters.values() if each.rows or each.open_rows]
    found = [each for each in known if each is not None]
    return min(found) - SLACK_S if found and len(found) == len(known) else None


def of(
    con: duckdb.DuckDBPyConnection,
    plan: Plan,
    rows: Rows,
    state: WarehouseState,
    *,
    totals: Mapping[str, float | int | None],
    shares: Shares,
) -> tuple[str, ...]:
    """Each a sentence or two."""
    return tuple(dict.fromkeys(_notes(con, plan, rows, state, totals=totals, shares=shares)))


def _notes(
    con: duckdb.DuckDBPyConnection,
    plan: Plan,
    rows: Rows,
    state: WarehouseState,
    *,
    totals: Mapping[str, float | int | None],
    shares: Shares,
) -> Iterator[str]:
    question = plan.question
    zone = zone_of(question.zone)

    def at(time_s: int) -> str:
        return f"{datetime.fromtimestamp(time_s, zone):%Y-%m-%d %H:%M}"

    clusters = {name for key, names in question.where if key == "cluster" for name in names} or set(state.clusters)
    for name in sorted(clusters & set(state.clusters)):
        cluster = state.clusters[name]
        if cluster.purged_before_s is not None and question.since_s < cluster.purged_before_s:
            yield (
                f"Slurm has purged jobs of {name} that ended before {at(cluster.purged_before_s)}: of those only what "
                "the console had read before is counted."
            )
        if cluster.error:
            since = f" since {at(cluster.error_since_s)}" if cluster.error_since_s is not None else ""
            yield f"The accounts of {name} could not be read{since}."
        if cluster.progress is not None:
            yield f"The accounts of {name} are being read for the first time: {cluster.progress:.0%} so far."
    if question.definitions == "carme":
        running = _running(con, plan, rows)
        if running:
            many = f"{running:,} jobs still run" if running > 1 else "1 job still runs"
            yield f"{many}: counted so far, until last seen."
    yield from shares.notes
    for metric in question.metrics:
        if metric in UNAVAILABLE:
            yield UNAVAILABLE[metric]
        elif totals[metric] is None and metric in _UNKNOWN:
            yield _UNKNOWN[metric]
        elif totals[metric] is None and metric in SHARES and not shares.notes:
            yield "The size of the cluster in this time is not known."


def _running(con: duckdb.DuckDBPyConnection, plan: Plan, rows: Rows) -> int:
    """Attempts that were running when last seen, inside the window."""
    condition = rows.of(of_jobs)
    found = first_row(
        con,
        "SELECT count(*) FROM open_jobs WHERE state IS DISTINCT FROM 'REVOKED' AND start_s < $until_s "
        f"AND greatest(seen_s, start_s + 1) > $since_s AND {condition.text}",
        {"since_s": plan.question.since_s, "until_s": plan.question.until_s, **condition.values},
    )
    return int(found[0])
