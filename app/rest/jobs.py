"""The queue: list with filters, order and pages; one job; cancel."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import pyarrow as pa

from app.rest import schemas
from app.rest.base import Operation, Parameter, Problem, RestHandler, not_found
from app.rest.schemas import FLAG, NUMBER, TEXT, WHOLE, many, maybe, plain, thing
from backend.cluster import ENDED_STATES, JOB_STATES, JOBS, Snapshot
from backend.cluster.views import JobFilter, filter_jobs, job, page_of, reason_in_words, visible_jobs
from backend.identity import Viewer, policy
from backend.launcher import LauncherError
from backend.store import audit

JOB = schemas.of_rows(JOBS, {"words": TEXT})
SORTABLE = tuple(name for name in JOBS.names if not pa.types.is_nested(JOBS.field(name).type))
_TASK = re.compile(r"[0-9]+[_+][0-9]+")
_LISTS = {
    "state": "states",
    "user": "users",
    "account": "accounts",
    "partition": "partitions",
    "qos": "qos",
    "reservation": "reservations",
    "reason": "reasons",
    "gpu_type": "gpu_types",
}


def seen_by(viewer: Viewer, snapshot: Snapshot, scope: str) -> pa.Table:
    """The jobs of the viewer alone (`own`), or all the viewer may see (`all`)."""
    table = snapshot.jobs.table
    if scope == "own":
        return visible_jobs(table, viewer.name, uid=viewer.uid)
    if policy.allowed(viewer, "jobs.all"):
        return table
    return visible_jobs(table, viewer.name, viewer.coordinates, uid=viewer.uid)


def with_words(row: dict[str, Any], snapshot: Snapshot, viewer: Viewer) -> dict[str, Any]:
    """A job's row with the reason it waits or ended in words."""
    own = row["uid"] == viewer.uid if viewer.uid is not None else row["user"] == viewer.name
    words = reason_in_words(row, snapshot, own=own)
    found: dict[str, Any] = plain({**row, "words": words})
    return found


def one_task(row: dict[str, Any]) -> str:
    """What to name so that this row alone is meant: an array's last task has the array's own number."""
    return row["label"] if _TASK.fullmatch(row["label"]) else str(row["job_id"])


class Jobs(RestHandler):
    """`/jobs`."""

    operations: ClassVar = {
        "GET": Operation(
            "The queue, yours or all that you may see",
            {
                200: thing(
                    {
                        "jobs": many(JOB),
                        "total": WHOLE,
                        "offset": WHOLE,
                        "taken_s": maybe(NUMBER),
                        "error": maybe(TEXT),
                    }
                )
            },
            parameters=(
                Parameter("scope", {"enum": ["own", "all"]}, "own (default), or all that you may see"),
                *(Parameter(name, TEXT, f"keep this {name}", many=True) for name in _LISTS),
                Parameter("gpus", FLAG, "true: only jobs with GPUs; false: only those without"),
                Parameter("text", TEXT, "in name, label, user or account"),
                Parameter("sort", {"enum": list(SORTABLE)}, "the column to order by (default submit_s)"),
                Parameter("descending", FLAG, "largest first (default true)"),
                Parameter("offset", WHOLE, "rows to pass over (default 0)"),
                Parameter("limit", WHOLE, "rows to give (default 100, at most 1000)"),
            ),
            errors=(400,),
        )
    }

    async def get(self) -> None:
        self.json(await self.run(self._find))

    def _find(self) -> dict[str, Any]:
        self.services.snapshots.refresh()
        snapshot = self.services.snapshots.current
        found = filter_jobs(seen_by(self.viewer, snapshot, self.text("scope", "own", ("own", "all"))), self._filter())
        offset = self.number("offset", 0, 0, 10**9)
        rows = page_of(
            found,
            sort=self.text("sort", "submit_s", SORTABLE),
            descending=self.flag("descending", True),
            offset=offset,
            limit=self.number("limit", 100, 1, 1000),
        ).to_pylist()
        return {
            "jobs": [with_words(row, snapshot, self.viewer) for row in rows],
            "total": found.num_rows,
            "offset": offset,
            "taken_s": snapshot.jobs.taken_s,
            "error": snapshot.jobs.error,
        }

    def _filter(self) -> JobFilter:
        lists = {field: self.texts(name) for name, field in _LISTS.items()}
        if not set(lists["states"]) <= set(JOB_STATES):
            raise Problem(400, "Bad Request", f"state: some of {', '.join(JOB_STATES)} are wanted.")
        gpus = self.text("gpus", "", ("", "true", "false"))
        return JobFilter(**lists, with_gpus=None if gpus == "" else gpus == "true", text=self.text("text", "")[:200])


class OneJobHandler(RestHandler):
    """Finds the job an address names."""

    def find(self, text: str) -> dict[str, Any]:
        """The job's row with its words. Raises Problem, the same for none and for not theirs."""
        self.services.snapshots.refresh()
        snapshot = self.services.snapshots.current
        row = job(snapshot.jobs.table, int(text)) if re.fullmatch(r"[1-9][0-9]{0,17}", text) else None
        if row is None or not policy.allowed(self.viewer, "job.see", row):
            not_found()
        return with_words(row, snapshot, self.viewer)


class OneJob(OneJobHandler):
    """`/jobs/{job}`."""

    operations: ClassVar = {"GET": Operation("One job of the queue", {200: JOB}, errors=(404,))}

    async def get(self, number: str) -> None:
        self.json(await self.run(self.find, number))


class CancelJob(OneJobHandler):
    """`/jobs/{job}/cancel`."""

    operations: ClassVar = {
        "POST": Operation(
            "Cancel a job, as yourself: the scheduler has the last word",
            {202: thing({"job_id": WHOLE})},
            errors=(403, 404, 409, 422, 503),
        )
    }

    async def post(self, number: str) -> None:
        row = await self.run(self.find, number)
        if not policy.allowed(self.viewer, "job.cancel", row):
            raise Problem(403, "Forbidden", "You may not cancel this job.")
        if row["state"] in ENDED_STATES:
            raise Problem(409, "Conflict", "The job is over.")
        try:
            user = await self.run(self.services.sessions.unix_user, self.viewer)
            await self.services.launcher.call(user, "cancel", job_id=one_task(row))
        except LauncherError as error:
            await self.run(self._note, row["job_id"], "failed")
            raise error
        await self.run(self._note, row["job_id"], "done")
        self.json({"job_id": row["job_id"]}, status=202)

    def _note(self, job_id: int, outcome: Any) -> None:
        with self.services.db.begin() as rows:
            audit(rows, self.viewer.name, "job.cancel", str(job_id), outcome, self.address)
        self.services.snapshots.kick()
