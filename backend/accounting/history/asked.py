"""A question together with what its filters need beside the warehouse: tags, and what was measured of jobs."""

# ruff: noqa: S608 - the text is put together from the words in this package only; what was asked goes as parameters

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from backend.accounting.history.chunks import Chunk
from backend.accounting.history.conditions import both, matching
from backend.accounting.history.question import HistoryQuestion, JobKey, NotAsked, Range
from backend.accounting.usage.figures.atoms import Sql
from backend.accounting.usage.figures.filters import AccountTree
from backend.accounting.usage.terms.question import Scope
from backend.accounting.warehouse import Reading
from backend.telemetry import JobRef

MOST_NAMED = 500  # jobs that are looked up one by one, where what was measured can't be listed
_PERCENTS = ("gpu_percent_mean", "memory_peak_bytes", "memory_limit_bytes")
_FOOTPRINT_KEY = pa.schema([("cluster", pa.string()), ("job_id", pa.int64()), ("start_s", pa.int64())])


class Measured(Protocol):
    """The part of the telemetry that filters need."""

    @property
    def lists_jobs(self) -> bool: ...

    def footprints_of(
        self, clusters: Collection[str], since_s: int, until_s: int, columns: Sequence[str]
    ) -> pa.Table: ...

    def footprints(self, jobs: Sequence[JobRef]) -> pa.Table: ...


class Marked(Protocol):
    """The part of the tags that filters need."""

    def with_tags(self, tags: Collection[str]) -> Sequence[JobKey]:
        """Jobs that have one of these tags, whoever may see them."""


@dataclass(frozen=True)
class Asked:
    question: HistoryQuestion
    scope: Scope
    tree: AccountTree
    clusters: tuple[str, ...]  # of those that there are, those that it can be about
    now_s: int
    measured: Measured | None
    keys: Sequence[JobKey] | None  # jobs with the tags; None: any
    # Of each chunk, once: it is looked through for the page, and again to be counted.
    _footprints: dict[Chunk, pa.Table] = field(default_factory=dict, init=False)

    @property
    def by_footprint(self) -> bool:
        return self.question.gpu_percent is not None or self.question.memory_percent is not None

    def nothing(self) -> bool:
        """Whether it is known without looking that no job is found."""
        return (self.keys is not None and not self.keys) or (
            self.by_footprint and (self.measured is None or not self.clusters)
        )

    def rows(self, reading: Reading, chunk: Chunk) -> Sql:
        """SQL of the chunk's rows that are asked for."""
        found = matching(self.question, self.scope, self.tree)
        if self.keys is not None:
            reading.con.register("tagged", keys_table(self.keys))
            found = both(found, Sql(f"r.job_id IN (SELECT t.job_id FROM tagged t) AND {of_keys('tagged')}"))
        if self.by_footprint and self.measured is not None:
            if chunk not in self._footprints:
                self._footprints[chunk] = _within(self._measured(self.measured, reading, chunk, found), self.question)
            reading.con.register("footprints", self._footprints[chunk])
            found = both(found, Sql(
                "EXISTS (SELECT 1 FROM footprints f WHERE f.cluster = r.cluster AND f.job_id = r.job_id "
                "AND f.start_s = r.start_s)"
            ))  # fmt: skip
        return Sql(f"FROM ({chunk.source}) r WHERE {found.text}", found.values)

    def _measured(self, measured: Measured, reading: Reading, chunk: Chunk, others: Sql) -> pa.Table:
        """Footprints of the chunk's jobs: of all, or of those that the other filters leave. Raises NotAsked."""
        if measured.lists_jobs:
            since_s = max(chunk.since_s, self.question.since_s or 0)
            until_s = chunk.until_s if self.question.until_s is None else min(chunk.until_s, self.question.until_s)
            return measured.footprints_of(self.clusters, since_s, until_s, (*_FOOTPRINT_KEY.names, *_PERCENTS))
        rows = reading.con.execute(
            f"SELECT cluster, job_id, start_s, end_s FROM ({chunk.source}) r WHERE r.start_s IS NOT NULL "
            f"AND {others.text} LIMIT {MOST_NAMED + 1:d}",
            dict(others.values) or None,
        ).fetchall()
        if len(rows) > MOST_NAMED:
            raise NotAsked(
                "gpu_eff" if self.question.gpu_percent is not None else "mem_eff",
                f"What jobs used is asked of Prometheus here, job by job: choose a shorter window or more filters, "
                f"by which at most {MOST_NAMED} jobs are left.",
            )
        return measured.footprints([JobRef(*row) for row in rows])


def keys_table(keys: Sequence[JobKey]) -> pa.Table:
    """Keys as a relation to look up in, see `of_keys`."""
    return pa.table({
        "cluster": pa.array([key.cluster for key in keys], pa.string()),
        "job_id": pa.array([key.job_id for key in keys], pa.int64()),
        "origin_s": pa.array([key.origin_s for key in keys], pa.int64()),
    })  # fmt: skip


def of_keys(relation: str) -> str:
    """SQL: the row `r` is one of the relation's jobs. A key that was taken of a later attempt is the job's too."""
    return (
        f"EXISTS (SELECT 1 FROM {relation} t WHERE t.cluster = r.cluster AND t.job_id = r.job_id "
        "AND t.origin_s >= r.origin_s AND t.origin_s <= r.submit_s)"
    )


def _within(table: pa.Table, question: HistoryQuestion) -> pa.Table:
    """The keys of the footprints that are in the question's ranges."""
    if not table.num_rows:
        return _FOOTPRINT_KEY.empty_table()
    peak = pc.cast(table["memory_peak_bytes"], pa.float64())
    limit = pc.cast(table["memory_limit_bytes"], pa.float64())
    mask = pa.chunked_array([pa.array([True] * table.num_rows)])
    for values, wanted in (
        (table["gpu_percent_mean"], question.gpu_percent),
        (pc.multiply(pc.divide(peak, limit), 100.0), question.memory_percent),
    ):
        if wanted is not None:
            mask = pc.and_(mask, _inside(values, wanted))
    return table.filter(mask).select(_FOOTPRINT_KEY.names).cast(_FOOTPRINT_KEY)


def _inside(values: pa.ChunkedArray, wanted: Range) -> pa.ChunkedArray:
    found = pc.and_(pc.is_valid(values), pc.fill_null(pc.is_finite(values), False))
    if wanted.least is not None:
        found = pc.and_(found, pc.fill_null(pc.greater_equal(values, wanted.least), False))
    if wanted.most is not None:
        found = pc.and_(found, pc.fill_null(pc.less_equal(values, wanted.most), False))
    return found
