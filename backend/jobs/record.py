"""One job, whole: what the queue says of it now, and every attempt that the accounts know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.accounting.history import attempts as attempts_of
from backend.accounting.warehouse import WarehouseUnusable
from backend.cluster import ENDED_STATES, JOBS, Snapshot
from backend.cluster.views import job as live_row
from backend.cluster.views import reason_in_words
from backend.identity import Viewer, policy
from backend.jobs.seeing import JobNotFound, is_own
from backend.services import Services
from backend.telemetry import JobRef

Row = Mapping[str, Any]

# Ends of an attempt that are none of the job.
BETWEEN = {
    "REQUEUED": "It was put back in the queue and tried again.",
    "RESIZING": "It went on with other resources.",
    "REVOKED": "Another cluster of the federation ran it.",
}


@dataclass(frozen=True)
class Namesake:
    """Another job that had the same number."""

    cluster: str
    origin_s: int
    user: str
    name: str
    state: str
    start_s: int | None
    end_s: int | None


@dataclass(frozen=True)
class Record:
    """`live` is a row of `cluster.JOBS`, None when it left the queue; `attempts` rows of `accounting.model.JOBS`, the
    newest first, empty where the accounts don't know it (`problem` says why they can't be read)."""

    cluster: str
    job_id: int
    origin_s: int
    live: Row | None
    attempts: tuple[Row, ...]
    others: tuple[Namesake, ...] = ()
    problem: str = ""

    @property
    def newest(self) -> Row | None:
        """The attempt of the accounts that is the present or the last one."""
        return self.attempts[0] if self.attempts else None

    @property
    def running(self) -> bool:
        """Whether it holds nodes now."""
        return self.live is not None and self.live["state"] in ("RUNNING", "SUSPENDED")

    @property
    def over(self) -> bool:
        """Whether nothing will come any more."""
        if self.live is not None:
            return self.live["state"] in ENDED_STATES
        return self.newest is not None and self.newest["end_s"] is not None

    @property
    def owner(self) -> Row:
        """A row with its user, uid and account."""
        row = self.live if self.live is not None else self.newest
        if row is None:  # a record is of something
            raise JobNotFound
        return row

    def runs(self) -> tuple[JobRef, ...]:
        """The stretches in which it held nodes, the newest first: what can have been measured."""
        found = [
            JobRef(self.cluster, self.job_id, row["start_s"], row["end_s"] if row["end_s"] is not None else None)
            for row in self.attempts
            if row["start_s"] is not None
        ]
        live = self.live
        if live is None or live["start_s"] is None or live["state"] == "PENDING" or live["start_expected"]:
            return tuple(found)
        end_s = live["end_s"] if live["state"] in ENDED_STATES else None
        now = JobRef(self.cluster, self.job_id, live["start_s"], end_s)
        return (now, *(run for run in found if run.start_s != now.start_s))

    def facts(self) -> dict[str, Any]:
        """A row of `cluster.JOBS`, also of a job that left the queue; null is what the accounts don't keep."""
        if self.live is not None:
            return dict(self.live)
        row = self.newest or {}
        array, task = row["array_job_id"], row["array_task_id"]
        known = {name: row.get(name) for name in JOBS.names}
        return known | {
            "label": f"{array}_{task}" if array and task is not None else str(self.job_id),
            "array_task_id": None if task is None else str(task),
            "name": row["job_name"] or "",
            "flags": [],
            "reason": row["reason"] or "",
            "start_expected": False,
            "memory_mb": row["mem_mb"],
            "gpu_type": row["gpu_type"] or "",
            "node_list": row["node_list"] or "",
            "tres": row["tres"] or row["req_tres"] or "",
            "exit_code": "" if row["end_s"] is None else f"{row['exit_status'] or 0}:{row['exit_signal'] or 0}",
            "restarts": max(0, (row["attempt"] or 1) - 1),
        }

    def words(self, snapshot: Snapshot, viewer: Viewer) -> str:
        """Why it waits or how it ended, in plain words; "" while it runs."""
        if self.live is not None:
            return reason_in_words(self.live, snapshot, own=is_own(viewer, self.live))
        return ended_in_words(self.newest, snapshot) if self.newest is not None else ""


def ended_in_words(attempt: Row, snapshot: Snapshot) -> str:
    """How an attempt of the accounts ended; "" for one that did not."""
    state = attempt["state"] or ""
    if state in BETWEEN:
        return BETWEEN[state]
    if attempt["end_s"] is None or state not in ENDED_STATES:
        return ""
    code = f"{attempt['exit_status'] or 0}:{attempt['exit_signal'] or 0}"
    return reason_in_words({**attempt, "reason": "", "exit_code": code}, snapshot)


def look(
    services: Services, viewer: Viewer, job_id: int, cluster: str | None = None, submit_s: int | None = None
) -> Record:
    """The job of this number: of this cluster, submitted then, or the newest. Blocks.

    Raises JobNotFound, the same for none and for one that is not theirs to see.
    """
    services.snapshots.refresh()
    snapshot = services.snapshots.current
    live = live_row(snapshot.jobs.table, job_id) if cluster in (None, snapshot.cluster) else None
    problem = ""
    try:
        rows = attempts_of(services.warehouse, job_id, cluster)
    except WarehouseUnusable as error:
        rows, problem = [], f"Past attempts can’t be shown: {error}"
    found = [record for record in _records(job_id, snapshot.cluster, live, rows) if _may_see(viewer, record)]
    wanted = found if submit_s is None else [record for record in found if _submitted(record, submit_s)]
    if not wanted:
        raise JobNotFound
    chosen = wanted[0]
    others = tuple(_namesake(record) for record in found if record is not chosen)
    return Record(
        chosen.cluster, chosen.job_id, chosen.origin_s, chosen.live, chosen.attempts, others=others, problem=problem
    )


def _records(job_id: int, here: str, live: Row | None, rows: Sequence[Row]) -> list[Record]:
    """The jobs that the rows are of, the newest first."""
    by_job: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        origin_s = row["origin_s"] if row["origin_s"] is not None else row["submit_s"]
        by_job.setdefault((row["cluster"], origin_s), []).append(row)
    key = _key_of(live, here, by_job) if live is not None else None
    if key is not None:
        by_job.setdefault(key, [])
    found = [
        Record(cluster, job_id, origin_s, live if (cluster, origin_s) == key else None, tuple(each))
        for (cluster, origin_s), each in by_job.items()
    ]
    return sorted(found, key=lambda each: (each.live is not None, each.origin_s), reverse=True)


def _key_of(live: Row, here: str, by_job: Mapping[tuple[str, int], list[Row]]) -> tuple[str, int]:
    """Which of the jobs the queue's row is: the accounts may be a minute behind a requeue."""
    for key, rows in by_job.items():
        if key[0] == here and any(row["submit_s"] == live["submit_s"] for row in rows):
            return key
    if live["restarts"]:
        before = [key for key, rows in by_job.items() if key[0] == here and rows[0]["uid"] == live["uid"]]
        if before:
            return max(before)
    return here, live["submit_s"] or 0


def _may_see(viewer: Viewer, record: Record) -> bool:
    return policy.allowed(viewer, "job.see", record.owner)


def _submitted(record: Record, submit_s: int) -> bool:
    if record.origin_s == submit_s or (record.live is not None and record.live["submit_s"] == submit_s):
        return True
    return any(row["submit_s"] == submit_s for row in record.attempts)


def _namesake(record: Record) -> Namesake:
    row = record.owner
    state = row["state"] or ""
    waits = state == "PENDING"
    return Namesake(
        cluster=record.cluster,
        origin_s=record.origin_s,
        user=row["user"] or "",
        name=(row.get("name") or row.get("job_name") or ""),
        state=state,
        start_s=None if waits else row["start_s"],
        end_s=row["end_s"] if state in ENDED_STATES or record.live is None else None,
    )
