"""The sums behind an answer: one row a group, from the roll-up where it reaches, from the detail elsewhere."""

# ruff: noqa: S608 - the text is put together from the words in this package only; what was asked goes as parameters
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import duckdb

from backend.accounting.usage.figures.atoms import Sql, atoms, attempts, nothing, pieces_sql, quoted
from backend.accounting.usage.figures.filters import (
    AccountTree,
    Column,
    filter_condition,
    of_atoms,
    of_jobs,
    scope_condition,
)
from backend.accounting.usage.figures.formulas import QUANTILES, raws_of
from backend.accounting.usage.figures.plan import Piece, Plan, runs
from backend.accounting.usage.terms.question import Scope

# A row of the detail matters to [since, until) only if it ended later and was submitted earlier; a day of slack for
# clocks that were set back between a job's submission and its start.
SLACK_S = 86400


@dataclass(frozen=True)
class Rows:
    """Which rows count: the scope and the filters, for any relation."""

    scope: Scope
    where: tuple[tuple[str, tuple[str, ...]], ...]
    tree: AccountTree

    def of(self, column: Column) -> Sql:
        scope = scope_condition(self.scope, self.tree, column)
        asked = filter_condition(self.where, self.tree, column)
        return Sql(f"{scope.text} AND {asked.text}", {**scope.values, **asked.values})

    def of_detail(self) -> Sql:
        """Before attempts are split: one with GPUs of several types may match by any of them."""
        scope = scope_condition(self.scope, self.tree, of_jobs)
        plain = tuple(each for each in self.where if each[0] != "gpu_type")
        asked = filter_condition(plain, self.tree, of_jobs)
        return Sql(f"{scope.text} AND {asked.text}", {**scope.values, **asked.values})

    def of_types(self, column: Column = of_atoms) -> Sql:
        """After attempts are split by type of GPU."""
        typed = tuple(each for each in self.where if each[0] == "gpu_type")
        return filter_condition(typed, self.tree, column, prefix="typed")

    @property
    def typed(self) -> bool:
        return any(name == "gpu_type" for name, _ in self.where)


def raws_needed(metrics: Iterable[str]) -> tuple[str, ...]:
    """Each raw sum once; attempts always, since a group is shown where there was any."""
    return tuple(dict.fromkeys(["attempts", *(raw for metric in metrics for raw in raws_of(metric))]))


def make_groups(con: duckdb.DuckDBPyConnection, plan: Plan, rows: Rows) -> tuple[str, ...]:
    """Makes the temporary table `groups`: bucket, the named dimensions, the raw sums. Returns the raw sums' names."""
    question = plan.question
    raws = raws_needed(question.metrics)
    parts: list[str] = []
    values: dict[str, Any] = {}
    if plan.level is not None:
        _add(parts, values, _from_rollup(plan, rows, raws))
    for number, run in enumerate(runs(plan.pieces)):
        _add(parts, values, _from_detail(plan, rows, raws, run, prefix=f"ended_{number}", ended=True))
    if question.definitions == "carme":
        _add(parts, values, _from_detail(plan, rows, raws, plan.whole, prefix="open", ended=False))
        if "jobs" in raws:
            _add(parts, values, _jobs_of_many_rows(plan, rows, raws))
    names = "".join(f", {quoted(name)}" for name in plan.names)
    sums = ", ".join(f"sum({raw})::BIGINT AS {raw}" for raw in raws)
    something = " OR ".join(f"{raw} <> 0" for raw in raws)
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE groups AS SELECT bucket{names}, {sums} FROM ({' UNION ALL '.join(parts)}) "
        f"GROUP BY bucket{names} HAVING {something}",
        values,
    )
    if set(question.metrics) & set(QUANTILES):
        _make_waits(con, plan, rows)
    return raws


def _add(parts: list[str], values: dict[str, Any], part: Sql) -> None:
    parts.append(part.text)
    values |= part.values


def _from_rollup(plan: Plan, rows: Rows, raws: tuple[str, ...]) -> Sql:
    condition = rows.of(of_atoms)
    names = "".join(f", {of_atoms(name)} AS {quoted(name)}" for name in plan.names)
    values: dict[str, Any] = {"level": plan.level, "first_day_s": plan.days[0].day_s, "last_day_s": plan.days[-1].day_s}
    if len(plan.buckets) == 1:
        source, bucket = "usage_day", "0"
        first = f"day_s = {plan.buckets[0].from_s:d}"
    else:
        source = (
            "usage_day JOIN (SELECT unnest($day_s) AS day_s, unnest($day_bucket) AS bucket, "
            "unnest($day_first) AS is_first) USING (day_s)"
        )
        bucket, first = "bucket", "is_first"
        values |= {
            "day_s": [day.day_s for day in plan.days],
            "day_bucket": [day.bucket for day in plan.days],
            "day_first": [day.first for day in plan.days],
        }
    picked = "".join(
        f", CASE WHEN {first} THEN {raw}_on ELSE {raw}_new END AS {raw}" if raw in ("attempts", "jobs") else f", {raw}"
        for raw in raws
    )
    return Sql(
        f"SELECT {bucket} AS bucket{names}{picked} FROM {source} "
        f"WHERE level = $level AND day_s >= $first_day_s AND day_s <= $last_day_s AND {condition.text}",
        {**values, **condition.values},
    )


def window_condition(run: tuple[Piece, ...], prefix: str, ended: bool) -> Sql:
    """A first, coarse condition, which the files' statistics understand."""
    since_s, until_s = min(piece.from_s for piece in run), max(piece.to_s for piece in run)
    text = f"submit_s < ${prefix}_until_s" + (f" AND end_s >= ${prefix}_since_s" if ended else "")
    values = {f"{prefix}_until_s": until_s + SLACK_S}
    return Sql(text, values | ({f"{prefix}_since_s": since_s} if ended else {}))


def _from_detail(
    plan: Plan, rows: Rows, raws: tuple[str, ...], run: tuple[Piece, ...], *, prefix: str, ended: bool
) -> Sql:
    condition, typed = rows.of_detail(), rows.of_types()
    window = window_condition(run, prefix, ended=ended)
    pieces = pieces_sql(prefix, [(each.bucket, each.bucket_s, each.from_s, each.to_s) for each in run])
    columns = plan.names if not rows.typed or "gpu_type" in plan.names else (*plan.names, "gpu_type")
    text = atoms(
        "ended_jobs" if ended else "open_jobs",
        columns,
        raws,
        rows=f"{window.text} AND {condition.text}",
        pieces=pieces.text,
        definitions=plan.question.definitions,
    )
    picked = "".join(f", {quoted(name)}" for name in (*plan.names, *raws))
    return Sql(
        f"SELECT bucket{picked} FROM ({text}) WHERE {typed.text}",
        {**window.values, **condition.values, **typed.values, **pieces.values},
    )


def _jobs_of_many_rows(plan: Plan, rows: Rows, raws: tuple[str, ...]) -> Sql:
    """Jobs of several attempts or components: each once in a group, so they are counted by their names."""
    condition = rows.of(of_jobs)
    window = window_condition(plan.whole, "many", ended=False)
    since = {"many_since_s": plan.buckets[0].from_s}
    pieces = pieces_sql("many", [(each.bucket, each.bucket_s, each.from_s, each.to_s) for each in plan.whole])
    columns = tuple(dict.fromkeys((*plan.names, "cluster", "job_id", "origin_s", "het_job_id")))
    some = (
        "(attempt > 1 OR NOT last_attempt OR het_job_id IS NOT NULL) "
        f"AND coalesce(end_s >= $many_since_s, true) AND {window.text} AND {condition.text}"
    )
    names = "".join(f", b.{quoted(name)}" for name in plan.names)
    distinct = "count(DISTINCT {c: b.cluster, j: coalesce(b.het_job_id, b.job_id), o: b.origin_s})"
    picked = "".join(f", {distinct if raw == 'jobs' else nothing(raw)} AS {raw}" for raw in raws)
    return Sql(
        f"SELECT p.bucket{names}{picked} FROM ({attempts('jobs', columns, some)}) b JOIN {pieces.text} p "
        f"ON b.begin_s < p.to_s AND greatest(b.stop_s, b.begin_s + 1) > p.from_s GROUP BY p.bucket{names}",
        {**window.values, **since, **condition.values, **pieces.values},
    )


def _make_waits(con: duckdb.DuckDBPyConnection, plan: Plan, rows: Rows) -> None:
    """Makes the temporary table `waits`: bucket, the named dimensions, and each quantile."""
    condition = rows.of(of_jobs)
    pieces = pieces_sql("waits", [(each.bucket, each.bucket_s, each.from_s, each.to_s) for each in plan.whole])
    window = window_condition(plan.whole, "waits", ended=False)
    values = {"waits_since_s": plan.buckets[0].from_s, **window.values}
    some = f"start_s >= $waits_since_s AND {window.text} AND {condition.text}"
    names = "".join(f", b.{quoted(name)}" for name in plan.names)
    quantiles = ", ".join(f"quantile_cont(b.wait_s, {share}) AS {metric}" for metric, share in QUANTILES.items())
    source = attempts("jobs", plan.names, some, plan.question.definitions)
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE waits AS SELECT p.bucket{names}, {quantiles} FROM ({source}) b "
        f"JOIN {pieces.text} p ON b.begin_s >= p.from_s AND b.begin_s < p.to_s "
        f"WHERE b.counts_start AND b.wait_s IS NOT NULL GROUP BY p.bucket{names}",
        {**values, **condition.values, **pieces.values},
    )
