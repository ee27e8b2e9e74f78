"""What the scheduler says of a session: its job, found by id, cluster and uid; where it runs; its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from backend.agent.spec import SESSION_ID
from backend.cluster import hosts
from backend.cluster.model import ENDED_STATES, Part, Snapshot

JOB_PREFIX = "carme-"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """One job that carries a session's name. Names are anyone's to set: nothing follows from it alone."""

    session_id: str
    job: Row

    @property
    def over(self) -> bool:
        """Whether the job has ended (a completing one still holds its node)."""
        return self.job["state"] in ENDED_STATES


@dataclass(frozen=True)
class Sight:
    """One cluster's newest look, arranged for sessions."""

    cluster: str
    jobs_s: float | None  # when all jobs were last seen
    ended_s: float | None
    ended_error: str | None
    claims: Mapping[str, tuple[Claim, ...]]  # by session id, `waiting` and `jobs` merged, the fresher row of a job
    ended: Mapping[int, Row]  # by job id, the newest attempt
    addresses: Mapping[str, str]  # by node

    def claim(self, session_id: str, uid: int, job_id: int | None) -> Claim | None:
        """The session's own job: of this uid; of this number if one is known, else the first of the name."""
        mine = [each for each in self.claims.get(session_id, ()) if each.job["uid"] == uid]
        if job_id is not None:
            mine = [each for each in mine if each.job["job_id"] == job_id]
        return min(mine, key=lambda each: each.job["job_id"], default=None)

    def end(self, session_id: str, uid: int, job_id: int) -> Row | None:
        """What accounting says of the session's job, once it has an end."""
        row = self.ended.get(job_id)
        if row is None or row["uid"] != uid or row["name"] != JOB_PREFIX + session_id:
            return None
        return row if row["end_s"] is not None and row["state"] in ENDED_STATES else None


def sight_of(snapshot: Snapshot) -> Sight:
    """Arrange a snapshot: some milliseconds for 100,000 jobs."""
    rows = {row["job_id"]: row for row in _carried(snapshot.jobs)}
    if (snapshot.waiting.taken_s or 0.0) > (snapshot.jobs.taken_s or 0.0):  # an older one would bring back the dead
        rows.update({row["job_id"]: row for row in _carried(snapshot.waiting)})
    claims: dict[str, list[Claim]] = {}
    for row in rows.values():
        session_id = row["name"][len(JOB_PREFIX) :]
        if SESSION_ID.fullmatch(session_id):
            claims.setdefault(session_id, []).append(Claim(session_id, row))
    nodes = snapshot.nodes.table.select(["name", "address"]).to_pydict()
    return Sight(
        cluster=snapshot.cluster,
        jobs_s=snapshot.jobs.taken_s,
        ended_s=snapshot.ended.taken_s,
        ended_error=snapshot.ended.error,
        claims={name: tuple(found) for name, found in claims.items()},
        ended={row["job_id"]: row for row in snapshot.ended.table.to_pylist()},
        addresses=dict(zip(nodes["name"], nodes["address"], strict=True)),
    )


def _carried(part: Part) -> list[Row]:
    table = part.table
    if table.num_rows == 0:
        return []
    return list(table.filter(pc.starts_with(_filled(table["name"]), JOB_PREFIX)).to_pylist())


def _filled(names: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(names, "")


def first_node(node_list: str) -> str | None:
    """The node a job's batch script runs on."""
    names = hosts(node_list) if node_list else []
    return names[0] if names else None


def now_s() -> int:
    """Unix seconds, whole."""
    return int(time.time())
