"""The scheduler: what it knows as a snapshot (`SnapshotReader`), and what keeps it."""

from __future__ import annotations

from backend.cluster.model import (
    ACCOUNTS,
    ASSOCIATIONS,
    ENDED,
    ENDED_STATES,
    JOB_STATES,
    JOBS,
    NODES,
    PARTITIONS,
    QOS,
    RESERVATIONS,
    SCHEMAS,
    Part,
    Snapshot,
)
from backend.cluster.protocol import CommandMissing, Scheduler, SchedulerAway, SchedulerError
from backend.cluster.slurm.text import hosts
from backend.cluster.snapshot import SnapshotReader, SnapshotWriter, empty_snapshot

__all__ = [
    "ACCOUNTS",
    "ASSOCIATIONS",
    "ENDED",
    "ENDED_STATES",
    "JOBS",
    "JOB_STATES",
    "NODES",
    "PARTITIONS",
    "QOS",
    "RESERVATIONS",
    "SCHEMAS",
    "CommandMissing",
    "Part",
    "Scheduler",
    "SchedulerAway",
    "SchedulerError",
    "Snapshot",
    "SnapshotReader",
    "SnapshotWriter",
    "empty_snapshot",
    "hosts",
]
