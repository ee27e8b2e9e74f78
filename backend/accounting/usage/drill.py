"""The jobs behind a figure: each attempt with what it adds, so that the rows sum to the figure exactly."""

# ruff: noqa: S608 - the text is put together from the words in this package only; what was asked goes as parameters
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import pyarrow as pa

from backend.accounting.model import JOBS
from backend.accounting.usage.figures.atoms import KEY, Sql, atoms, attempts, of_each, pieces_sql, quoted
from backend.accounting.usage.figures.capacity import Shares
from backend.accounting.usage.figures.filters import cell_condition, of_atoms, of_jobs
from backend.accounting.usage.figures.formulas import FORMULAS, QUANTILES, SHARES, Formula, raws_of
from backend.accounting.usage.figures.groups import Rows, window_condition
from backend.accounting.usage.figures.plan import Piece
from backend.accounting.usage.money.costs import COST, NARROWED_BY, Rates
from backend.accounting.usage.source import first_row
from backend.accounting.usage.terms.catalogue import TIME
from backend.accounting.usage.terms.question import BadQuestion, Question
from backend.accounting.usage.terms.zones import stretches, zone_of
from backend.accounting.warehouse import Reading

Cell = Mapping[str, str | int | None]

ADDED = "added_"  # before the name of a raw sum: JOBS has columns of the same names
FEW = 1000  # rows that are looked up by their numbers

# What rows can be put in order by, besides the metrics that are asked for.
ORDERS = (
    "submit_s", "eligible_s", "start_s", "end_s", "job_id", "job_name", "cluster", "user", "account", "partition",
    "qos", "state", "nodes", "cpus", "gpus", "mem_mb", "time_limit_s", "array_job_id",
)  # fmt: skip


@dataclass(frozen=True)
class JobRows:
    """`table`: the columns of `model.JOBS`, then each asked metric's contribution (of a mean or a share: the row's
    own value), then the whole numbers behind them (`added_cpu_s`, …), whose sums divided once are the figures.

    `total_rows` and `sums` are of all rows, not only of those in the table.
    """

    table: pa.Table
    total_rows: int
    sums: dict[str, float | int | None]


def narrow(question: Question, cell: Cell) -> Question:
    """The question with its window cut to the cell's stretch of time. Raises BadQuestion for what is no cell."""
    since_s, until_s = question.since_s, question.until_s
    for name, value in cell.items():
        if name not in question.by:
            raise BadQuestion("cell", f"{name} is not among the dimensions that are asked for.")
        if name not in TIME:
            continue
        found = [
            each
            for each in stretches(name, zone_of(question.zone), question.since_s, question.until_s)
            if each.label == value
        ]
        if not found:
            raise BadQuestion("cell", f"There is no {name} {value!s:.40} in the window.")
        since_s, until_s = max(since_s, found[0].from_s), min(until_s, found[0].to_s)
    if until_s <= since_s:
        raise BadQuestion("cell", "These stretches of time have nothing in common.")
    return replace(question, since_s=since_s, until_s=until_s)


@dataclass(frozen=True)
class Drill:
    """One cell of a checked question, already narrowed to its time."""

    question: Question
    cell: Mapping[str, str | None]  # its dimensions but those of time
    rows: Rows
    rates: Rates | None = None  # where cost is asked for

    @property
    def priced(self) -> bool:
        return self.rates is not None and self.rates.known

    @property
    def raws(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(raw for metric in self.question.metrics for raw in raws_of(metric)))

    def contributions(self, extra: tuple[str, ...] = ()) -> Sql:
        """SQL of the key, `extra` columns and the raw sums of each attempt that adds anything."""
        question = self.question
        piece = Piece(0, question.since_s, question.since_s, question.until_s)
        until = window_condition((piece,), "drill", ended=False)
        window = Sql(
            f"{until.text} AND (end_s >= $drill_since_s OR end_s IS NULL)",
            {**until.values, "drill_since_s": question.since_s},
        )
        plain = {name: value for name, value in self.cell.items() if name != "gpu_type"}
        typed = {name: value for name, value in self.cell.items() if name == "gpu_type"}
        conditions = [window, self.rows.of_detail(), cell_condition(plain, self.rows.tree, of_jobs)]
        after = [self.rows.of_types(), cell_condition(typed, self.rows.tree, of_atoms)]
        cuts = [(piece.from_s, piece.to_s)]
        if self.rates is not None and self.priced:
            cuts = [(each.from_s, each.to_s) for each in self.rates.pieces]
        # Counted once in all pieces: the bucket of each begins with the window.
        pieces = pieces_sql("drill", [(at, piece.bucket_s, *cut) for at, cut in enumerate(cuts)])
        by_type = bool(typed) or self.rows.typed or self.priced
        columns = tuple(dict.fromkeys((*KEY, *extra, *(["gpu_type"] if by_type else []))))
        rows = " AND ".join(f"({each.text})" for each in conditions)
        values: dict[str, Any] = dict(pieces.values)
        for each in (*conditions, *after):
            values |= each.values
        if by_type:
            if self.priced:
                columns = tuple(dict.fromkeys((*columns, *NARROWED_BY)))
            text = atoms("jobs", columns, self.raws, rows=rows, pieces=pieces.text, definitions=question.definitions)
            keys = ", ".join(quoted(name) for name in dict.fromkeys((*KEY, *extra)))
            sums = "".join(f", sum({raw})::BIGINT AS {raw}" for raw in self.raws)
            condition = " AND ".join(each.text for each in after)
            if self.rates is not None and self.priced:
                with_cost = self.rates.joined(text, ", ".join(f"a.{quoted(name)}" for name in (*columns, *self.raws)))
                text, values = with_cost.text, values | dict(with_cost.values)
                sums += ", sum(cost) AS cost"
            summed = f"SELECT {keys}{sums} FROM ({text}) WHERE {condition} GROUP BY {keys}"
        else:
            summed = of_each(
                "jobs", columns, self.raws, rows=rows, pieces=pieces.text, definitions=question.definitions
            )
        if "jobs" in self.raws and question.definitions == "carme":
            summed = self._with_jobs_of_many_rows(summed, rows, pieces.text)
        something = " OR ".join(f"{raw} <> 0" for raw in self.raws) or "false"
        no_cost = ", NULL::DOUBLE AS cost" if self.rates is not None and not self.priced else ""
        return Sql(f"SELECT *{no_cost} FROM ({summed}) WHERE {something}", values)

    def _with_jobs_of_many_rows(self, summed: str, rows: str, pieces: str) -> str:
        """A job of several attempts or components is counted on the first of them that is there."""
        columns = (*KEY, "origin_s", "het_job_id", "attempt", "last_attempt")
        # Of GPUs of several types only hours are split: as a job it is one of the mix.
        typed = {name: value for name, value in self.cell.items() if name == "gpu_type"}
        some = (
            f"({rows}) AND {self.rows.of_types(of_jobs).text} "
            f"AND {cell_condition(typed, self.rows.tree, of_jobs).text} "
            "AND (attempt > 1 OR NOT last_attempt OR het_job_id IS NOT NULL)"
        )
        many = f"""
            SELECT b.cluster, b.job_id, b.submit_s, 1 AS extra
            FROM ({attempts("jobs", columns, some)}) b JOIN {pieces} p
              ON b.begin_s < p.to_s AND greatest(b.stop_s, b.begin_s + 1) > p.from_s
            QUALIFY row_number() OVER (PARTITION BY b.cluster, coalesce(b.het_job_id, b.job_id), b.origin_s
                                       ORDER BY b.submit_s, b.job_id) = 1"""
        return f"""
            SELECT g.* REPLACE (g.jobs + coalesce(m.extra, 0) AS jobs)
            FROM ({summed}) g LEFT JOIN ({many}) m USING (cluster, job_id, submit_s)"""

    @property
    def alone(self) -> Question:
        """The question without groups, of the cell's cluster: what the cluster had is not a matter of other filters."""
        cluster = self.cell.get("cluster")
        where = (("cluster", (cluster,)),) if cluster is not None else self.question.where
        return replace(self.question, by=(), where=where, order="", limit=None)

    def make(self, con: duckdb.DuckDBPyConnection, order: str = "") -> int:
        """Makes the temporary table `contributions`; returns how many rows it has."""
        wanted = order.removeprefix("-")
        found = self.contributions((wanted,) if wanted in ORDERS and wanted not in KEY else ())
        con.execute(f"CREATE OR REPLACE TEMP TABLE contributions AS {found.text}", found.values)
        return int(first_row(con, "SELECT count(*) FROM contributions")[0])

    def page(self, reading: Reading, order: str, limit: int | None, offset: int) -> pa.Table:
        """So many rows of `contributions` with all that is known of them."""
        con = reading.con
        end = f" LIMIT {limit:d}" if limit is not None else ""
        con.execute(
            "CREATE OR REPLACE TEMP TABLE page AS SELECT *, row_number() OVER () AS place FROM "
            f"(SELECT * FROM contributions ORDER BY {self._order(order)}{end} OFFSET {offset:d})"
        )
        found = first_row(con, "SELECT list(DISTINCT job_id), min(submit_s), max(submit_s) FROM page")
        job_ids, first_s, last_s = found if found[0] else ([], 0, 0)
        near = Sql("submit_s >= $first_s AND submit_s <= $last_s", {"first_s": first_s, "last_s": last_s})
        jobs = "jobs"
        # Few rows are found by the files' ranges and statistics; many by joining.
        if 0 < len(job_ids) <= FEW:
            near = Sql(f"{near.text} AND job_id IN ({', '.join(str(int(each)) for each in job_ids)})", near.values)
            jobs = _in_files(reading, job_ids, last_s)
        shown = self._shown("page", near, jobs)
        return con.sql(f"{shown.text} ORDER BY c.place", params=shown.values).to_arrow_table()

    def reader(self, con: duckdb.DuckDBPyConnection, order: str, rows: int) -> pa.RecordBatchReader:
        """All of `contributions` with all that is known of them; without an order as they lie in the files."""
        shown = self._shown("contributions", Sql("true"))
        by = f" ORDER BY {self._order(order, 'c.')}" if order else ""
        return con.sql(shown.text + by, params=shown.values).to_arrow_reader(rows)

    def _order(self, order: str, of: str = "") -> str:
        wanted = order.removeprefix("-")
        key = f"{of}{quoted(wanted)}" if wanted in ORDERS else f"({_own_value(wanted, of)})"
        way = "DESC" if order.startswith("-") else "ASC"
        return f"{key} {way} NULLS LAST, {of}cluster, {of}submit_s DESC, {of}job_id DESC"

    def _shown(self, relation: str, near: Sql, jobs: str = "jobs") -> Sql:
        columns = ", ".join(f"j.{quoted(name)}" for name in JOBS.names)
        metrics = "".join(f", {_own_value(name, 'c.')} AS {quoted(name)}" for name in self.question.metrics)
        raws = "".join(f", c.{raw} AS {ADDED}{raw}" for raw in self.raws)
        condition = self.rows.of_detail()
        return Sql(
            f"SELECT {columns}{metrics}{raws} FROM (SELECT * FROM {jobs} WHERE {near.text} AND {condition.text}) j "
            f"JOIN {relation} c USING (cluster, job_id, submit_s)",
            {**near.values, **condition.values},
        )

    def sums(self, con: duckdb.DuckDBPyConnection, had: Shares) -> dict[str, float | int | None]:
        """The figures that the rows of `contributions` make."""
        picked = ", ".join(f"sum({raw})" for raw in self.raws) or "NULL"
        found = first_row(con, f"SELECT {picked} FROM contributions")
        sums = {
            raw: value if value is not None or raw == "energy_j" else 0
            for raw, value in zip(self.raws, found, strict=False)
        }
        figures: dict[str, float | int | None] = {}
        for metric in self.question.metrics:
            if metric in FORMULAS:
                figures[metric] = FORMULAS[metric].value(sums)
            elif metric in SHARES:
                size = had.total(metric)
                figures[metric] = sums[SHARES[metric][0]] / size if size else None
            elif metric in QUANTILES:
                share = QUANTILES[metric]
                text = f"SELECT quantile_cont(wait_s, {share}) FROM contributions WHERE waits <> 0"
                figures[metric] = first_row(con, text)[0]
            elif metric == COST and self.priced:
                figures[metric] = float(first_row(con, "SELECT coalesce(sum(cost), 0) FROM contributions")[0])
            else:
                figures[metric] = None
        return figures


def _in_files(reading: Reading, job_ids: Sequence[int], last_s: int) -> str:
    """`jobs` over the files alone that could hold rows of these numbers, submitted at `last_s` or before."""
    files = [
        file
        for file in reading.files
        if file.min_submit_s <= last_s and any(file.min_job_id <= each <= file.max_job_id for each in job_ids)
    ]
    return f"({reading.ended(files)} UNION ALL SELECT * FROM open_jobs)"


def _own_value(metric: str, of: str) -> str:
    """Of one row: its contribution, or its own share or mean; of a share of the cluster, its TRES-hours."""
    if metric in FORMULAS:
        return FORMULAS[metric].sql(of)
    if metric in SHARES:
        return Formula({SHARES[metric][0]: 1}, per=3600).sql(of)
    if metric == COST:
        return f"{of}cost"
    return f"CASE WHEN {of}waits <> 0 THEN {of}wait_s::DOUBLE END" if raws_of(metric) else "NULL::DOUBLE"
