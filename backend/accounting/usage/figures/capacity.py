"""What the cluster had: its size over time, and how it split up, by slurmdbd's hourly roll-up."""

# ruff: noqa: S608 - the text is put together from the words in this package only; what was asked goes as parameters
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backend.accounting.usage.figures.atoms import Sql, pieces_sql
from backend.accounting.usage.figures.formulas import SHARES
from backend.accounting.usage.figures.plan import Plan
from backend.accounting.warehouse import WarehouseState

HOUR_S = 3600
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shares:
    """For each metric that is a share of the cluster: seconds × TRES there were, by cluster and bucket."""

    had: Mapping[str, Mapping[tuple[str, int], int]] = field(default_factory=dict)
    unknown: Mapping[str, frozenset[tuple[str, int]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def total(self, metric: str) -> int | None:
        """Of the whole window; None when it isn't known throughout."""
        return None if self.unknown[metric] else sum(self.had[metric].values())

    def join(self, metric: str, by_cluster: bool) -> Sql:
        """Joins what there was to the groups `g`, as `{metric}_had.had_s`; null where it isn't known."""
        had = dict(self.had[metric])
        if not by_cluster:
            broken = {bucket for _, bucket in self.unknown[metric]}
            summed: dict[tuple[str, int], int] = {}
            for (_, bucket), seconds in had.items():
                if bucket not in broken:
                    summed["", bucket] = summed.get(("", bucket), 0) + seconds
            had = summed
        key = f"{metric}_had"
        on = f"{key}.bucket = g.bucket" + (f" AND {key}.cluster = g.cluster" if by_cluster else "")
        return Sql(
            f"LEFT JOIN (SELECT unnest(${key}_cluster::VARCHAR[]) AS cluster, "
            f"unnest(${key}_bucket::BIGINT[]) AS bucket, unnest(${key}_s::BIGINT[]) AS had_s) {key} ON {on}",
            {
                f"{key}_cluster": [cluster for cluster, _ in had],
                f"{key}_bucket": [bucket for _, bucket in had],
                f"{key}_s": list(had.values()),
            },
        )


def shares(con: duckdb.DuckDBPyConnection, plan: Plan, state: WarehouseState) -> Shares:
    """What there was of the TRES that the asked metrics are shares of."""
    asked = [metric for metric in plan.question.metrics if metric in SHARES]
    if not asked:
        return Shares()
    wanted = {name for key, names in plan.question.where if key == "cluster" for name in names}
    clusters = sorted(wanted or state.clusters)
    edges = np.array([bucket.from_s for bucket in plan.buckets] + [plan.buckets[-1].to_s], np.int64)
    had: dict[str, dict[tuple[str, int], int]] = {}
    unknown: dict[str, frozenset[tuple[str, int]]] = {}
    lacking: set[str] = set()
    for metric in asked:
        had[metric], missing = {}, set()
        for cluster in clusters:
            known = state.clusters.get(cluster)
            sizes = sizes_of(con, cluster, SHARES[metric][1])
            for number, seconds in enumerate(_had(edges, sizes, known.synced_s if known else None)):
                if seconds is None:
                    missing.add((cluster, number))
                else:
                    had[metric][cluster, number] = seconds
        unknown[metric] = frozenset(missing)
        lacking |= {cluster for cluster, _ in missing}
    notes = tuple(f"How large {cluster} was is not known for all of this time." for cluster in sorted(lacking))
    return Shares(had, unknown, notes)


@dataclass(frozen=True)
class Sizes:
    """A cluster's count of a TRES: `count[i]` from `at_s[i]` on, the last one until now."""

    at_s: Ints
    count: Ints


def sizes_of(con: duckdb.DuckDBPyConnection, cluster: str, tres: str) -> Sizes:
    """By its hours of the roll-up; of GPUs, where only typed ones are recorded, the sum of these."""
    found = con.execute(
        "SELECT hour_s, coalesce(sum(count) FILTER (tres = $tres), sum(count)) FROM capacity "
        "WHERE cluster = $cluster AND (tres = $tres OR starts_with(tres, $tres || ':')) "
        "GROUP BY hour_s ORDER BY hour_s",
        {"cluster": cluster, "tres": tres},
    ).fetchnumpy()
    at_s, count = (np.asarray(column, np.int64) for column in found.values())
    return Sizes(at_s, count)


def _had(edges: Ints, sizes: Sizes, until_s: int | None) -> list[int | None]:
    """Seconds × TRES of each stretch between two edges; None where the size isn't known from its beginning.

    An hour that isn't recorded has the size of the one before. Nothing is counted after `until_s`.
    """
    if not len(sizes.at_s):
        return [None] * (len(edges) - 1)
    end_s = sizes.at_s[-1] + HOUR_S if until_s is None else max(until_s, int(sizes.at_s[-1]))
    clipped = np.clip(edges, sizes.at_s[0], end_s)
    until = np.append(sizes.at_s[1:], max(end_s, int(sizes.at_s[-1]) + HOUR_S))
    before = np.concatenate([[0], np.cumsum(sizes.count * (until - sizes.at_s))])
    place = np.searchsorted(sizes.at_s, clipped, side="right") - 1
    grown = before[place] + sizes.count[place] * (clipped - sizes.at_s[place])
    return [
        None if from_s < sizes.at_s[0] else int(seconds)
        for from_s, seconds in zip(edges[:-1], np.diff(grown), strict=True)
    ]


_SPLIT = ("alloc", "down", "planned_down", "idle", "planned", "over")


def series(con: duckdb.DuckDBPyConnection, plan: Plan, tres: str, clusters: tuple[str, ...]) -> pa.Table:
    """Of the hours that begin in each bucket; columns as `Usage.capacity` says."""
    typed = tres + ":"
    plain = con.execute("SELECT DISTINCT cluster FROM capacity WHERE tres = ?", [tres]).fetchall()
    pieces = pieces_sql("at", [(each.bucket, each.bucket_s, each.from_s, each.to_s) for each in plan.whole])
    split = "".join(f", sum({name}_s) / 3600 AS {'allocated' if name == 'alloc' else name}" for name in _SPLIT)
    text = (
        "SELECT p.bucket, any_value(p.from_s) AS from_s, count(DISTINCT hour_s) AS hours_known, "
        f"sum(count)::DOUBLE AS had{split} FROM capacity JOIN {pieces.text} p "
        "ON hour_s >= p.from_s AND hour_s < p.to_s "
        # Of GPUs the untyped count is the whole; only where there is none the types are added up.
        "WHERE (tres = $tres OR (starts_with(tres, $typed) AND NOT list_contains($plain, cluster))) "
        "AND (len($clusters) = 0 OR list_contains($clusters, cluster)) GROUP BY p.bucket ORDER BY p.bucket"
    )
    values = {"tres": tres, "typed": typed, "plain": [name for (name,) in plain], "clusters": list(clusters)}
    found = con.sql(text, params={**values, **pieces.values}).to_arrow_table()
    labels = pa.array([bucket.labels[0] for bucket in plan.buckets], pa.string())
    column = labels.take(found["bucket"].combine_chunks())
    return found.drop_columns("bucket").add_column(0, plan.times[0], column)
