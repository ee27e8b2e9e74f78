"""What can be asked of all jobs there ever were, and what is answered."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

# What a job's rows can be put in order by. A value of each is a number, see `conditions.ORDERS`.
SORTS = (
    "end_s", "start_s", "submit_s", "job_id", "wall_s", "wait_s", "cpus", "gpus", "nodes", "mem_mb", "cpu_percent",
)  # fmt: skip
MOST_ROWS = 1000  # of one page
_CURSOR = re.compile(r"(?a)(-?\d{1,19}|-?\d{1,19}\.\d{1,19}(?:e[+-]?\d{1,3})?|-?\d(?:\.\d{1,19})?e[+-]?\d{1,3})"
                     r"~(\d{1,19})~(\d{1,19})~(.{1,256})", re.DOTALL)  # fmt: skip


@dataclass(frozen=True)
class Range:
    """From `least` to `most`, both included; None: open on that side."""

    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class JobKey:
    """A job by the submit time of its first attempt, since numbers come again."""

    cluster: str
    job_id: int
    origin_s: int


@dataclass(frozen=True)
class HistoryQuestion:
    """Jobs, each once, by their last attempt. Values of one filter are alternatives, filters hold together.

    The window is that in which a job ended; one that still runs is in it when the window has no end yet
    (`until_s` None). Jobs that wait are only there when `states` asks for PENDING. An account counts with all below it.
    """

    since_s: int | None = None
    until_s: int | None = None
    states: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    qos: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    gpu_types: tuple[str, ...] = ()  # a job with several types is found by each
    tags: tuple[str, ...] = ()
    jobs: tuple[int, ...] = ()  # numbers of jobs, or of arrays
    name: str = ""  # somewhere in the name, in any case
    gpus: Range | None = None
    nodes: Range | None = None
    cpus: Range | None = None
    wall_s: Range | None = None
    cpu_percent: Range | None = None  # CPU time used of that allocated, as slurmdbd has it
    gpu_percent: Range | None = None  # mean utilisation, of jobs whose GPUs were measured
    memory_percent: Range | None = None  # peak of that which it had on the node, of jobs that were measured
    sort: str = "end_s"
    descending: bool = True


class NotAsked(ValueError):
    """A question or a page that makes no sense. `part` is the word to change."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True)
class Cursor:
    """A place between two rows: the row it follows or precedes, by what rows are put in order by."""

    at: float
    job_id: int
    submit_s: int
    cluster: str
    way: Literal["after", "before"] = "after"

    def text(self) -> str:
        """As it stands in an address."""
        return f"{self.at!r}~{self.job_id}~{self.submit_s}~{self.cluster}"

    @classmethod
    def read(cls, text: str, way: Literal["after", "before"]) -> Cursor:
        """Raises NotAsked."""
        found = _CURSOR.fullmatch(text)
        if found is None or max(int(found[2]), int(found[3])) >= 2**63:
            raise NotAsked(way, "That page of the history is not known: begin at its first.")
        at = int(found[1]) if re.fullmatch(r"-?\d+", found[1]) else float(found[1])
        if abs(at) >= 2**63:
            raise NotAsked(way, "That page of the history is not known: begin at its first.")
        return cls(at, int(found[2]), int(found[3]), found[4], way)


@dataclass(frozen=True)
class HistoryPage:
    """`table`: the columns of `model.JOBS` and those of `conditions.WORKED_OUT`, one row a job.

    `total` is of all pages: exact when `exact`, else there are at least so many, and nobody has counted on.
    """

    table: pa.Table
    total: int
    exact: bool
    before: Cursor | None  # of the page before this one; None: there is none
    after: Cursor | None  # of the next one
    as_of_s: int | None = None  # until when the accounts are known; None: they are empty
    took_s: float = field(default=0.0, compare=False)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as dictionaries."""
        found: list[dict[str, Any]] = self.table.to_pylist()
        return found
