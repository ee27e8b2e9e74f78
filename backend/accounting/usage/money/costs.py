"""What usage costs: the engine's own hours, cut where prices change, times the prices that apply there.

Cost is not among the roll-up's sums, for prices are of the console, not of Slurm: a question for it becomes one
question for hours by partition, QOS and type of GPU for each stretch of time in which no price changes. So the cost
of a window is the sum of the costs of its parts, in any zone.
"""

# ruff: noqa: S608 - the text is put together from the words in this package only; what was asked goes as parameters
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from backend.accounting.usage.figures.atoms import Sql, quoted
from backend.accounting.usage.money.prices import PRICED, PriceList, Segment, rates
from backend.accounting.usage.terms.catalogue import methods
from backend.accounting.usage.terms.question import Answer, Question, Scope
from backend.accounting.usage.terms.zones import zone_of

COST = "cost"
NARROWED_BY = ("partition", "qos", "gpu_type")
TRIES = 3  # for all parts of an answer to be of one generation
_COLUMNS = {tres: f"rate_{tres.replace('/', '_')}" for tres in PRICED}
# Of the raw sums, for a row of the drill.
_UNITS = {"cpu": ("cpu_s", 1), "mem": ("mem_mb_s", 1024), "node": ("node_s", 1), "billing": ("billing_s", 1),
          "gres/gpu": ("gpu_s", 1)}  # fmt: skip

Ask = Callable[[Question, Scope], Answer]
Cursor = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]


def answer(ask: Ask, question: Question, scope: Scope, prices: PriceList, cursor: Cursor) -> Answer:
    """The answer to a checked question with `cost` among its metrics; `ask` answers those without.

    `cursor`: where the hours are multiplied, the warehouse's for the limit of its memory.
    """
    others = tuple(metric for metric in question.metrics if metric != COST)
    by_cost = question.order.removeprefix("-") == COST
    # A type of GPU that jobs had only beside others has a row by its GPU hours alone.
    shown = (*others, "gpu_hours") if "gpu_type" in question.by else others
    plain = replace(
        question,
        metrics=tuple(dict.fromkeys(shown)) or ("attempts",),
        order="" if by_cost else question.order,
        limit=None if by_cost else question.limit,
    )
    segments = prices.segments(question.since_s, question.until_s)
    for _ in range(TRIES):
        base = ask(plain, scope)
        used = [ask(_hours(question, segment), scope) for segment in segments]
        if all(each.generation == base.generation for each in used):
            break
    with cursor() as con:
        tables = [each.table for each in used]
        rows, costs, total = _joined(con, question, base.table, segments=segments, used=tables, prices=prices)
    table = base.table.take(rows).append_column(COST, costs)
    total_cost = total if segments else None
    if not question.by:
        table = base.table.append_column(COST, pa.array([total_cost], pa.float64()))
    return Answer(
        question=question,
        table=table.select([*question.by, *question.metrics]),
        totals={name: total_cost if name == COST else base.totals[name] for name in question.metrics},
        methods=methods(question),
        notes=(*base.notes, *_notes(question, prices)),
        as_of_s=base.as_of_s,
        generation=base.generation,
        took_s=base.took_s + sum(each.took_s for each in used),
    )


def _hours(question: Question, segment: Segment) -> Question:
    """What has a price, of one stretch of time."""
    by = tuple(dict.fromkeys((*question.by, *NARROWED_BY)))
    return replace(
        question, metrics=tuple(PRICED.values()), by=by, since_s=segment.from_s, until_s=segment.to_s,
        order="", limit=None,
    )  # fmt: skip


def _joined(
    con: duckdb.DuckDBPyConnection,
    question: Question,
    base: pa.Table,
    *,
    segments: tuple[Segment, ...],
    used: list[pa.Table],
    prices: PriceList,
) -> tuple[pa.Array, pa.Array, float]:
    """The rows of the base in their order, the cost of each (null where it has none), and the whole cost."""
    count = base.num_rows
    if not segments:
        return pa.array(range(count), pa.int64()), pa.nulls(count, pa.float64()), 0.0
    parts = [
        table.append_column("segment", pa.array([number] * table.num_rows, pa.int64()))
        for number, table in enumerate(used)
    ]
    con.register("used", pa.concat_tables(parts))
    narrowed = ", ".join(quoted(name) for name in NARROWED_BY)
    combinations = con.execute(f"SELECT DISTINCT segment, {narrowed} FROM used").fetchall()
    applied = rates_sql(_applied(combinations, segments, prices))
    hours = " + ".join(f"u.{metric} * r.{_COLUMNS[tres]}" for tres, metric in PRICED.items())
    same = " AND ".join(f"r.{quoted(name)} IS NOT DISTINCT FROM u.{quoted(name)}" for name in NARROWED_BY)
    names = "".join(f", u.{quoted(name)} AS {quoted(name)}" for name in question.by)
    con.execute(
        f"CREATE TEMP TABLE costs AS SELECT sum({hours}) AS cost{names} FROM used u "
        f"JOIN {applied.text} r ON r.piece = u.segment AND {same} "
        f"GROUP BY ALL",
        applied.values,
    )
    ((total,),) = con.execute("SELECT coalesce(sum(cost), 0) FROM costs").fetchall()
    numbered = base.select(question.by) if question.by else pa.table({"none": pa.nulls(count)})
    con.register("base", numbered.append_column("place", pa.array(range(count), pa.int64())))
    on = " AND ".join(f"c.{quoted(name)} IS NOT DISTINCT FROM b.{quoted(name)}" for name in question.by) or "true"
    order = "b.place"
    if question.order.removeprefix("-") == COST:
        order = f"c.cost {'DESC' if question.order.startswith('-') else 'ASC'} NULLS LAST, b.place"
    limit = f" LIMIT {question.limit:d}" if question.limit is not None else ""
    found = con.sql(
        f"SELECT b.place, c.cost FROM base b LEFT JOIN costs c ON {on} ORDER BY {order}{limit}"
    ).to_arrow_table()
    return found["place"].combine_chunks(), found["cost"].combine_chunks().cast(pa.float64()), float(total)


@dataclass(frozen=True)
class Applied:
    """The prices for such jobs in one of the pieces."""

    piece: int
    kind: tuple[str | None, ...]  # of NARROWED_BY
    rates: dict[str, float]


@dataclass(frozen=True)
class Rates:
    """Prices for the rows of a drill. `pieces` make up its window; those before the first price have none."""

    pieces: tuple[Segment, ...]
    applied: tuple[Applied, ...]
    known: bool  # whether any price was in force in the window

    def joined(self, atoms: str, columns: str) -> Sql:
        """Of contributions by piece (as `bucket`) and NARROWED_BY: `columns` and `cost`, what each of them costs."""
        applied = rates_sql(self.applied)
        amount = " + ".join(f"a.{raw}::DOUBLE / {3600 * by} * r.{_COLUMNS[tres]}" for tres, (raw, by) in _UNITS.items())
        same = " AND ".join(f"r.{quoted(name)} IS NOT DISTINCT FROM a.{quoted(name)}" for name in NARROWED_BY)
        return Sql(
            f"SELECT {columns}, {amount} AS cost FROM ({atoms}) a "
            f"LEFT JOIN {applied.text} r ON r.piece = a.bucket AND {same}",
            applied.values,
        )


def rates_of(ask: Ask, question: Question, scope: Scope, prices: PriceList) -> Rates:
    """For the jobs behind a checked question, already narrowed to its time."""
    segments = prices.segments(question.since_s, question.until_s)
    first_s = segments[0].from_s if segments else question.until_s
    before = (Segment(question.since_s, first_s),) if question.since_s < first_s else ()
    found: list[tuple[Any, ...]] = []
    for number, segment in enumerate(segments):
        table = ask(replace(_hours(question, segment), by=NARROWED_BY), scope).table
        found.extend((number, *row.values()) for row in table.select(NARROWED_BY).to_pylist())
    shifted = [replace(each, piece=each.piece + len(before)) for each in _applied(found, segments, prices)]
    return Rates((*before, *segments), tuple(shifted), known=bool(segments))


def _applied(
    combinations: list[tuple[Any, ...]], segments: tuple[Segment, ...], prices: PriceList
) -> tuple[Applied, ...]:
    """`combinations`: the number of a segment, and the values of NARROWED_BY that are found in it."""
    in_force = [prices.in_force(segment.from_s) for segment in segments]
    return tuple(Applied(number, tuple(kind), rates(in_force[number], *kind)) for number, *kind in combinations)


def rates_sql(applied: tuple[Applied, ...]) -> Sql:
    """A relation of piece, NARROWED_BY and the rate of each of PRICED."""
    columns: dict[str, tuple[str, list[Any]]] = {"piece": ("BIGINT", [each.piece for each in applied])}
    for at, name in enumerate(NARROWED_BY):
        columns[name] = ("VARCHAR", [each.kind[at] for each in applied])
    for tres, name in _COLUMNS.items():
        columns[name] = ("DOUBLE", [each.rates[tres] for each in applied])
    picked = ", ".join(f"unnest($rates_{name}::{kind}[]) AS {quoted(name)}" for name, (kind, _) in columns.items())
    return Sql(f"(SELECT {picked})", {f"rates_{name}": values for name, (_, values) in columns.items()})


def _notes(question: Question, prices: PriceList) -> Iterator[str]:
    first_s = prices.first_s
    if first_s is None:
        yield "No prices are set, so nothing has a cost."
        return
    if question.since_s < first_s:
        day = f"{datetime.fromtimestamp(first_s, zone_of(question.zone)):%Y-%m-%d %H:%M}"
        yield f"The first price is in force since {day}: usage before is left out of the cost."
    if prices.currency:
        yield f"Costs are in {prices.currency}."
