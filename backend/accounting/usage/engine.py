"""The engine's door: ask, drill, look up."""

# ruff: noqa: S608 - the text is put together from the words in this package only; what was asked goes as parameters
from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import duckdb
import pyarrow as pa

from backend.accounting.projects import Declared, ProjectBook, Projects
from backend.accounting.usage.cache import Cache
from backend.accounting.usage.drill import ORDERS, Cell, Drill, JobRows, narrow
from backend.accounting.usage.figures import capacity, lookup, notes
from backend.accounting.usage.figures.atoms import quoted
from backend.accounting.usage.figures.capacity import Shares
from backend.accounting.usage.figures.filters import AccountTree, put_projects
from backend.accounting.usage.figures.formulas import FORMULAS, OVERLAPPING, QUANTILES, SHARES
from backend.accounting.usage.figures.groups import Rows, make_groups
from backend.accounting.usage.figures.plan import Plan, check, plan
from backend.accounting.usage.money import costs
from backend.accounting.usage.money.prices import NoPrices, Prices
from backend.accounting.usage.source import Source, first_row
from backend.accounting.usage.terms.catalogue import (
    CATALOGUE,
    JOB_SIZES,
    NO_PROJECTS,
    PROJECT,
    TIME,
    Catalogue,
    methods,
)
from backend.accounting.usage.terms.question import Answer, BadQuestion, Question, Scope
from backend.accounting.warehouse import Reading, WarehouseState

Number = float | int | None
NO_CELL: Cell = {}


class Usage:
    """Every figure of the accounts. Thread-safe and blocking: call it from a thread.

    Methods raise BadQuestion for what makes no sense, whoever asks.
    """

    def __init__(
        self,
        warehouse: Source,
        zone: str,
        cache_bytes: int = 64 * 2**20,
        prices: Prices | None = None,
        projects: Declared | None = None,
    ) -> None:
        """`zone`: the site's, for those who ask without one of their own. `prices`: none, nothing has a cost.
        `projects`: none, nothing can be asked by project."""
        self.warehouse = warehouse
        self.zone = zone
        self.prices: Prices = prices or NoPrices()
        self.projects: Declared = projects or ProjectBook()
        self._answers: Cache[tuple[Question, Scope, int, int], Answer] = Cache(cache_bytes)
        self._trees: Cache[int, AccountTree] = Cache(2**20)

    def catalogue(self) -> Catalogue:
        """What can be asked here."""
        return CATALOGUE if self.projects.current().listed else CATALOGUE.without(PROJECT)

    def check(self, question: Question) -> Question:
        """The question as it is asked here, each metric and dimension once."""
        return _possible(check(question), self.projects.current())

    def ask(self, question: Question, scope: Scope) -> Answer:
        """The answer, from memory when the same was asked of the same accounts."""
        return self._ask(question, scope, self.projects.current())

    def _ask(self, question: Question, scope: Scope, projects: Projects) -> Answer:
        question = _possible(check(question), projects)
        self.warehouse.refresh()
        generation = self.warehouse.generation
        of_projects = projects.version if question.about(PROJECT) else 0
        if costs.COST in question.metrics:
            prices = self.prices.current()
            ask = partial(self._ask, projects=projects)
            return self._answers.get(
                generation,
                (question, scope, prices.version, of_projects),
                lambda: costs.answer(ask, question, scope, prices, self.warehouse.cursor),
                lambda answer: answer.table.nbytes,
            )
        return self._answers.get(
            generation,
            (question, scope, 0, of_projects),
            lambda: self._answer(question, scope, projects, generation),
            lambda answer: answer.table.nbytes,
        )

    def jobs(
        self,
        question: Question,
        scope: Scope,
        cell: Cell = NO_CELL,
        *,
        order: str = "-submit_s",
        limit: int | None = 100,
        offset: int = 0,
    ) -> JobRows:
        """The attempts behind one cell of an answer (values of the dimensions that were asked for), or all of it.

        `order`: one of `ORDERS` or a metric that is asked for, with "-" before it for descending.
        """
        if (limit is not None and limit < 0) or offset < 0:
            raise BadQuestion("limit", "Limit and offset can't be negative.")
        with self._behind(question, scope, cell, order) as (reading, drill):
            con = reading.con
            total_rows = drill.make(con, order)
            table = drill.page(reading, order or "-submit_s", limit, offset)
            had = capacity.shares(con, plan(drill.alone, scope, None), self.warehouse.state)
            return JobRows(table, total_rows, drill.sums(con, had))

    @contextmanager
    def job_reader(
        self, question: Question, scope: Scope, cell: Cell = NO_CELL, *, order: str = "", rows: int = 65_536
    ) -> Iterator[pa.RecordBatchReader]:
        """All of what `jobs` gives in batches of so many rows, for a file: no more of them is in memory.

        Without an order as they lie in the warehouse; with one they are sorted first, on disk if need be.
        """
        with self._behind(question, scope, cell, order) as (reading, drill):
            drill.make(reading.con, order)
            yield drill.reader(reading.con, order, rows)

    @contextmanager
    def _behind(
        self, question: Question, scope: Scope, cell: Cell, order: str
    ) -> Iterator[tuple[Reading, Drill]]:
        projects = self.projects.current()
        question = _possible(check(question), projects)
        if order and order.removeprefix("-") not in {*ORDERS, *question.metrics}:
            raise BadQuestion("order", f"Order jobs by one of the metrics, or by one of {', '.join(ORDERS)}.")
        narrowed = narrow(question, cell)
        names = {name: None if value is None else str(value) for name, value in cell.items() if name not in TIME}
        rates = None
        if costs.COST in question.metrics:
            ask = partial(self._ask, projects=projects)
            rates = costs.rates_of(ask, narrowed, scope, self.prices.current())
        self.warehouse.refresh()
        generation = self.warehouse.generation
        with self.warehouse.reading() as reading:
            tree = self._tree(reading.con, generation, projects)
            yield reading, Drill(narrowed, names, Rows(scope, question.where, tree), rates)

    def values(self, dimension: str, scope: Scope, prefix: str = "", limit: int = 50) -> list[str]:
        """What a dimension's filter can be, of jobs in the scope: those that begin so (in any case), by name."""
        if CATALOGUE.dimension(dimension, "dimension").kind == "time":
            raise BadQuestion("dimension", f"{dimension} has no list of values: choose a window.")
        projects = self.projects.current()
        if dimension == PROJECT and not projects.listed:
            raise BadQuestion("dimension", NO_PROJECTS)
        self.warehouse.refresh()
        generation = self.warehouse.generation
        with self.warehouse.cursor() as con:
            rows = Rows(scope, (), self._tree(con, generation, projects))
            if dimension == PROJECT:
                put_projects(con, rows.tree)
            return lookup.values(con, rows, dimension, prefix, limit, rolled_up=self.warehouse.rollup_zone is not None)

    def capacity(
        self,
        since_s: int,
        until_s: int,
        bucket: str,
        *,
        tres: str = "cpu",
        zone: str = "UTC",
        clusters: tuple[str, ...] = (),
    ) -> pa.Table:
        """What the clusters (all, where none is named) had of a TRES and how it split up, by hour, day, week, ….

        Columns: the bucket's name (as in an answer), `from_s`, `hours_known` (of the bucket's), and in TRES-hours
        `had`, `allocated`, `down`, `planned_down`, `idle`, `planned`, `over`. Facts of the cluster, of no person: a
        scope is not asked for. Only whole hours that slurmdbd has rolled up are in it.
        """
        stretch = plan(
            check(Question(("cpu_hours",), since_s, until_s, by=(bucket,), zone=zone)), Scope(everything=True), None
        )
        if not stretch.times:
            raise BadQuestion("bucket", f"{bucket} is no stretch of time. Choose one of {', '.join(TIME)}.")
        self.warehouse.refresh()
        with self.warehouse.cursor() as con:
            return capacity.series(con, stretch, tres, clusters)

    def _answer(self, question: Question, scope: Scope, projects: Projects, generation: int) -> Answer:
        began = time.perf_counter()
        with self._as_one() as (con, state, rollup_zone):
            made = plan(question, scope, rollup_zone, notes.oldest_s(state))
            rows = Rows(scope, question.where, self._tree(con, generation, projects))
            if PROJECT in question.by:
                put_projects(con, rows.tree)
            shares = capacity.shares(con, made, state)
            raws = make_groups(con, made, rows)
            table = _table(con, made, shares)
            totals = self._totals(con, made, partial(self._ask, scope=scope, projects=projects), raws, shares)
            said = notes.of(con, made, rows, state, totals=totals, shares=shares)
        return Answer(
            question=question,
            table=table if question.by else _one_row(totals, question.metrics, table.schema),
            totals=totals,
            methods=methods(question),
            notes=said,
            as_of_s=notes.as_of_s(state),
            generation=generation,
            took_s=time.perf_counter() - began,
        )

    @contextmanager
    def _as_one(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, WarehouseState, str | None]]:
        """A cursor with the state and the roll-up's zone of its generation: another thread may go on to the next one
        at any moment, and a roll-up that the plan counts on could be empty there."""
        while True:
            generation = self.warehouse.generation
            state, rollup_zone = self.warehouse.state, self.warehouse.rollup_zone
            with self.warehouse.cursor() as con:
                if self.warehouse.generation == generation:
                    yield con, state, rollup_zone
                    return

    def _totals(
        self,
        con: duckdb.DuckDBPyConnection,
        made: Plan,
        ask: Callable[[Question], Answer],
        raws: tuple[str, ...],
        shares: Shares,
    ) -> dict[str, Number]:
        sums = dict(zip(raws, _sums(con, raws), strict=True))
        totals: dict[str, Number] = {}
        # What is not the sum over groups is asked again without any.
        apart = (
            [name for name in made.question.metrics if name in OVERLAPPING or name in QUANTILES]
            if made.question.by
            else []
        )
        if apart:
            alone = replace(made.question, metrics=tuple(apart), by=(), order="", limit=None)
            totals |= ask(alone).totals
        for name in made.question.metrics:
            if name in totals:
                continue
            if name in FORMULAS:
                totals[name] = FORMULAS[name].value(sums)
            elif name in SHARES:
                had = shares.total(name)
                totals[name] = (sums[SHARES[name][0]] or 0) / had if had else None
            elif name in QUANTILES:
                totals[name] = next(iter(first_row(con, f"SELECT {name} FROM waits")), None)
            else:
                totals[name] = None
        return totals

    def _tree(self, con: duckdb.DuckDBPyConnection, generation: int, projects: Projects) -> AccountTree:
        def read() -> AccountTree:
            return AccountTree.read(con, projects, self.warehouse.state.clusters)

        return self._trees.get(generation, projects.version, read, lambda _tree: 0)


def _possible(question: Question, projects: Projects) -> Question:
    """The question; raises BadQuestion where it is about projects and there are none."""
    if not projects.listed and question.about(PROJECT):
        raise BadQuestion("by" if PROJECT in question.by else "where", NO_PROJECTS)
    return question


def _sums(con: duckdb.DuckDBPyConnection, raws: Iterable[str]) -> list[int | None]:
    """Over all groups. No groups: 0, but energy, which is unknown then."""
    found = first_row(con, f"SELECT {', '.join(f'sum({raw})' for raw in raws)} FROM groups")
    return [value if value is not None or raw == "energy_j" else 0 for raw, value in zip(raws, found, strict=True)]


def _table(con: duckdb.DuckDBPyConnection, made: Plan, shares: Shares) -> pa.Table:
    """The groups with their metrics, in order."""
    question = made.question
    sources = ["groups g"]
    values: dict[str, Any] = {}
    if set(question.metrics) & set(QUANTILES):
        on = " AND ".join(f"w.{name} IS NOT DISTINCT FROM g.{name}" for name in _quoted(("bucket", *made.names)))
        sources.append(f"LEFT JOIN waits w ON {on}")
    picked = []
    for name in question.metrics:
        if name in FORMULAS:
            picked.append(f"{FORMULAS[name].sql()} AS {name}")
        elif name in QUANTILES:
            picked.append(f"w.{name} AS {name}")
        elif name in SHARES:
            join = shares.join(name, "cluster" in made.names)
            sources.append(join.text)
            values |= join.values
            picked.append(f"{SHARES[name][0]}::DOUBLE / nullif({name}_had.had_s, 0) AS {name}")
        else:
            picked.append(f"NULL::DOUBLE AS {name}")
    names = "".join(f", g.{name} AS {name}" for name in _quoted(made.names))
    text = f"SELECT g.bucket AS bucket{names}, {', '.join(picked)} FROM {' '.join(sources)} ORDER BY {_order(made)}"
    if question.limit is not None:
        text += f" LIMIT {question.limit:d}"
    if "job_size" in made.names:
        values["sizes"] = list(JOB_SIZES)
    found = con.sql(text, params=values).to_arrow_table()
    columns: dict[str, pa.ChunkedArray | pa.Array] = {}
    for name in question.by:
        if name in made.times:
            labels = pa.array([bucket.labels[made.times.index(name)] for bucket in made.buckets], pa.string())
            columns[name] = labels.take(found["bucket"].combine_chunks())
        else:
            columns[name] = found[name]
    return pa.table(columns | {name: found[name] for name in question.metrics})


def _quoted(names: Iterable[str]) -> list[str]:
    return [quoted(name) for name in names]


def _order(made: Plan) -> str:
    """Of our own words: `check` has seen that the order is among what is asked."""
    question = made.question
    order: list[str] = []
    wanted = question.order.removeprefix("-")
    if wanted:
        order.append(f"{_sort_key(made, wanted)} {'DESC' if question.order.startswith('-') else 'ASC'} NULLS LAST")
    order.extend(f"{_sort_key(made, name)} ASC NULLS LAST" for name in question.by if name != wanted)
    return ", ".join(order) or "1"


def _sort_key(made: Plan, name: str) -> str:
    if name in made.times:
        return "g.bucket"
    if name == "job_size":
        return "list_position($sizes, g.job_size)"
    return f"g.{quoted(name)}" if name in made.names else name


def _one_row(totals: Mapping[str, Number], metrics: Iterable[str], schema: pa.Schema) -> pa.Table:
    """An answer without dimensions has one row, whatever was found."""
    return pa.table({name: pa.array([totals[name]], schema.field(name).type) for name in metrics})
