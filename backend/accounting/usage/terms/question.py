"""What can be asked of the usage engine, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

Definitions = Literal["carme", "xdmod"]


class BadQuestion(ValueError):
    """A question that makes no sense: an unknown metric, an empty window. `field` is the part to change."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True)
class Scope:
    """Whose jobs an answer may hold. Made by `backend.accounting.rights`, never by what a browser sends."""

    everything: bool = False
    user: str | None = None  # rows of this user name ...
    uid: int | None = None  # ... or, where known, of this uid instead
    accounts: frozenset[str] = frozenset()  # and rows of these accounts


@dataclass(frozen=True)
class Question:
    """Metrics by dimensions over the half-open window [since_s, until_s) of Unix seconds.

    `where`: dimension and the values that count, several are "or", several dimensions are "and". An account counts
    with all below it. `zone`: where days begin, a name of the tz database.
    """

    metrics: tuple[str, ...]
    since_s: int
    until_s: int
    by: tuple[str, ...] = ()
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()
    zone: str = "UTC"
    definitions: Definitions = "carme"
    order: str = ""  # a metric or dimension, "-" before it for descending; "": by the dimensions
    limit: int | None = None  # rows; the rest is left out, not summed

    def about(self, dimension: str) -> bool:
        """Whether it splits or filters by the dimension."""
        return dimension in self.by or any(name == dimension for name, _ in self.where)


@dataclass(frozen=True)
class Answer:
    """`table`: the dimensions' columns, then the metrics' (float64 or int64; null where undefined)."""

    question: Question
    table: pa.Table
    totals: dict[str, float | int | None]  # each metric over the whole window, not the sum of the rows
    methods: dict[str, str]  # each metric's method note
    notes: tuple[str, ...] = ()  # what the reader must know: running jobs, purged detail, ...
    as_of_s: int | None = None  # until when the warehouse knows; null when it is empty
    generation: int = 0  # of the warehouse
    took_s: float = field(default=0.0, compare=False)
