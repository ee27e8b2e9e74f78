"""What one round of a sync works with: the warehouse, what the scheduler knows, and a word on how far it got."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from backend.accounting.model import JOBS
from backend.accounting.warehouse import ClusterState, Warehouse, Writer

SESSION_PREFIX = "carme-"  # of the job names of this console's sessions; what follows is the session's id


@dataclass(frozen=True)
class Queue:
    """The jobs the scheduler itself knows of, and when it was asked."""

    job_ids: frozenset[int]
    taken_s: int


class Stopped(Exception):
    """The sync was told to stop; what was committed stays."""


Apps = Callable[[Sequence[str], str], Mapping[str, tuple[int, str]]]  # session ids, cluster → uid and app
Progress = Callable[[str, float, int], None]  # cluster, 0..1, rows so far


def _silent(_cluster: str, _done: float, _rows: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Round:
    """One round over all clusters of a source."""

    warehouse: Warehouse
    zone: str  # the site's
    queue: Callable[[str], Queue | None]  # by cluster; None when it is not known now
    apps: Apps
    stop: threading.Event
    progress: Progress = _silent
    rebuild: bool = False

    def writer(self) -> Writer:
        """The warehouse's writer, for a `with`. Raises Stopped, WarehouseBusy."""
        self.go_on()
        return Warehouse.write(self.warehouse.folder, self.zone)

    def go_on(self) -> None:
        """Raises Stopped when it is time to."""
        if self.stop.is_set():
            raise Stopped

    def state(self, cluster: str) -> ClusterState:
        """What the warehouse knows of a cluster, as of the newest generation."""
        self.warehouse.refresh()
        return self.warehouse.state.clusters.get(cluster, ClusterState())

    def with_apps(self, jobs: pa.Table, cluster: str) -> pa.Table:
        """The rows with `app` filled for sessions of this console: name, cluster and uid must agree."""
        named = pc.fill_null(pc.starts_with(jobs["job_name"], SESSION_PREFIX), False)
        if not pc.any(named).as_py():
            return jobs
        rows = jobs.select(["job_name", "uid"]).to_pylist()
        ids = [str(row["job_name"] or "").removeprefix(SESSION_PREFIX) for row in rows]
        wanted = [identity for identity, is_named in zip(ids, named.to_pylist(), strict=True) if is_named]
        known = self.apps(wanted, cluster)
        apps = [
            known[identity][1] if is_named and identity in known and known[identity][0] == row["uid"] else None
            for identity, is_named, row in zip(ids, named.to_pylist(), rows, strict=True)
        ]
        at = JOBS.get_field_index("app")
        return jobs.set_column(at, JOBS.field(at), pa.array(apps, pa.string()).dictionary_encode())


class Source(Protocol):
    """Where accounts come from."""

    name: str  # as in ClusterState.source

    def clusters(self) -> Sequence[str]:
        """The clusters it tells of. Raises SourceError."""
        ...

    def bring(self, cluster: str, turn: Round) -> None:
        """Bring the warehouse up to date for one cluster. Raises SourceError, Stopped, WarehouseBusy."""
        ...

    def close(self) -> None:
        """Give connections back."""
        ...


def gathered(tables: Iterable[pa.Table], rows: int) -> Iterable[pa.Table]:
    """Tables put together to some `rows` each."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += table.num_rows
        if count >= rows:
            yield pa.concat_tables(waiting)
            waiting, count = [], 0
    if count:
        yield pa.concat_tables(waiting)
