"""What every scheduler can be asked, and how asking can fail."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


class SchedulerError(Exception):
    """The scheduler could not be asked; the message says why, in words for a person."""


class SchedulerAway(SchedulerError):
    """Nobody answered: the controller is down, unreachable, or too slow."""


class CommandMissing(SchedulerError):
    """A command of the scheduler is not installed here, or may not be run."""


@dataclass(frozen=True)
class Reading:
    """One answer as a table, and the rows of it that made no sense: left out, and named in `problems`."""

    table: pa.Table
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class LimitsReading:
    """Accounts, associations and QOS, which are asked for together."""

    qos: Reading
    associations: Reading
    accounts: Reading


@dataclass(frozen=True)
class Intervals:
    """How often each thing is asked for, in seconds."""

    jobs_s: float
    nodes_s: float
    partitions_s: float
    reservations_s: float
    limits_s: float
    waiting_s: float


class Scheduler(Protocol):
    """One cluster's scheduler, read as the console itself. Every method may raise SchedulerError."""

    intervals: Intervals

    def cluster(self) -> str:
        """The cluster's name."""

    def read_jobs(self) -> Reading: ...

    def read_nodes(self) -> Reading: ...

    def read_partitions(self) -> Reading: ...

    def read_reservations(self) -> Reading: ...

    def read_limits(self) -> LimitsReading: ...

    def read_waiting(self, job_ids: Iterable[int]) -> Reading:
        """The rows of these jobs (schema JOBS); a job that left the queue has none."""

    def read_ended(self, job_ids: Iterable[int]) -> Reading:
        """What accounting says of these jobs (schema ENDED), every attempt."""
