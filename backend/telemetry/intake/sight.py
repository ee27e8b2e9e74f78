"""Where each job runs, as the shared snapshot shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock

import pyarrow as pa

from backend.cluster import ENDED_STATES, Snapshot, SnapshotReader, hosts

LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Sight:
    """A job as the scheduler shows it. `end_s`: only when it has ended."""

    cluster: str
    job_id: int
    state: str
    start_s: int | None
    end_s: int | None
    node_list: str

    @property
    def started(self) -> bool:
        """Whether it has, or had, nodes."""
        return self.state != "PENDING" and self.start_s is not None

    def on(self, node: str) -> bool:
        """Whether it has this node."""
        return node in _hosts(self.node_list)


@lru_cache(maxsize=20_000)
def _hosts(node_list: str) -> frozenset[str]:
    return frozenset(hosts(node_list))


class JobsNow:
    """The jobs of every cluster. Safe in several threads; a look costs a `stat`, a change some milliseconds."""

    def __init__(self, snapshots: SnapshotReader, clock: Callable[[], float] = time.monotonic) -> None:
        self._snapshots, self._clock = snapshots, clock
        self._lock = Lock()
        self._looked_s = float("-inf")
        self._jobs: dict[tuple[str, int], tuple[pa.Table, int]] = {}
        self._ended: dict[tuple[str, int], tuple[pa.Table, int]] = {}

    def find(self, cluster: str, job_id: int) -> Sight | None:
        """A job; one that left the queue as accounting told of it."""
        self._look()
        found = self._jobs.get((cluster, job_id)) or self._ended.get((cluster, job_id))
        if found is None:
            return None
        table, row = found
        state = table["state"][row].as_py()
        end_s = table["end_s"][row].as_py() if state in ENDED_STATES else None
        return Sight(
            cluster, job_id, state, table["start_s"][row].as_py(), end_s, table["node_list"][row].as_py() or ""
        )

    def on_node(self, node: str, job_ids: Iterable[int]) -> str | None:
        """The cluster in which this node has one of these jobs, else one that has such a node; None: nobody's."""
        wanted = list(job_ids)
        self._look()
        for cluster in self._snapshots.clusters:
            sights = (self.find(cluster, job_id) for job_id in wanted)
            if any(sight is not None and sight.on(node) for sight in sights):
                return cluster
        return next(
            (name for name, found in self._snapshots.clusters.items() if node in found.nodes.table["name"].to_pylist()),
            None,
        )

    def taken_s(self, cluster: str) -> float:
        """When the queue was last read; 0: never."""
        self._look()
        found = self._snapshots.clusters.get(cluster)
        return (found.jobs.taken_s if found else None) or 0.0

    def _look(self) -> None:
        with self._lock:
            now = self._clock()
            if now - self._looked_s < LOOK_EVERY_S:
                return
            self._looked_s = now
            if not self._snapshots.refresh() and self._jobs:
                return
            jobs: dict[tuple[str, int], tuple[pa.Table, int]] = {}
            ended: dict[tuple[str, int], tuple[pa.Table, int]] = {}
            for cluster, snapshot in self._snapshots.clusters.items():
                _add(jobs, cluster, snapshot.jobs.table)
                if _newer(snapshot):
                    _add(jobs, cluster, snapshot.waiting.table)
                _add(ended, cluster, snapshot.ended.table)
            self._jobs, self._ended = jobs, ended


def _newer(snapshot: Snapshot) -> bool:
    return (snapshot.waiting.taken_s or 0.0) > (snapshot.jobs.taken_s or 0.0)


def _add(into: dict[tuple[str, int], tuple[pa.Table, int]], cluster: str, table: pa.Table) -> None:
    for row, job_id in enumerate(table["job_id"].to_pylist()):
        if job_id is not None:
            into[cluster, job_id] = (table, row)
