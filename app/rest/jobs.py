"""The queue: list with filters, order and pages; one job; cancel."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import pyarrow as pa

from app.rest import schemas
from app.rest.base import Operation, Parameter, Problem, RestHandler
from app.rest.schemas import FLAG, NUMBER, TEXT, WHOLE, many, maybe, plain, thing
from backend import jobs
from backend.cluster import JOB_STATES, JOBS, Snapshot
from backend.cluster.views import JobFilter, filter_jobs, page_of, reason_in_words
from backend.identity import Viewer

JOB = schemas.of_rows(JOBS, {"words": TEXT})
SORTABLE = tuple(name for name in JOBS.names if not pa.types.is_nested(JOBS.field(name).type))
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


def with_words(row: dict[str, Any], snapshot: Snapshot, viewer: Viewer) -> dict[str, Any]:
    """A job's row with the reason it waits or ended in words."""
    words = reason_in_words(row, snapshot, own=jobs.is_own(viewer, row))
    found: dict[str, Any] = plain({**row, "words": words})
    return found


def job_number(text: str) -> int:
    """The number an address names. Raises JobNotFound for what can't be one."""
    if not re.fullmatch(r"[1-9][0-9]{0,17}", text):
        raise jobs.JobNotFound
    return int(text)


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
        scope = self.text("scope", "own", ("own", "all"))
        seen = jobs.seen_by(self.viewer, snapshot, "all" if scope == "all" else "own")
        found = filter_jobs(seen, self._filter())
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
