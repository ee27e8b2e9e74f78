"""The history: every job there ever was, found by what it was; and what people wrote on one."""

from __future__ import annotations

import time
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pyarrow as pa

from app.rest import schemas
from app.rest.base import Operation, Parameter, Problem, not_found
from app.rest.onejob import WHICH, OneJobHandler
from app.rest.schemas import FLAG, NUMBER, TEXT, WHOLE, many, maybe, plain, thing
from app.rest.usage import UsageHandler
from backend import jobs
from backend.accounting.history import MOST_ROWS, SORTS, WINDOWS, Cursor, JobKey, Marks, read_words
from backend.accounting.model import JOBS
from backend.accounting.rights import scope_of
from backend.accounting.usage import Scope

_LISTS = {
    "state": "in this state", "user": "of this person", "account": "of this account or one below it",
    "partition": "of this partition", "qos": "of this QOS", "cluster": "of this cluster", "app": "with this app",
    "gpu": "with GPUs of this model", "tag": "with this tag", "job": "of this number, or of the array of this number",
}  # fmt: skip
_RANGES = {
    "gpus": "GPUs it had", "nodes": "nodes it had", "cpus": "CPUs it had", "wall": "how long it ran: 30m..8h",
    "cpu_eff": "CPU time used, in percent", "gpu_eff": "mean use of its GPUs, in percent, of measured jobs",
    "mem_eff": "peak of its memory, in percent, of measured jobs",
}  # fmt: skip
WORDS = (
    Parameter("who", {"enum": ["own", "all"]}, "own (default), or all that you may see"),
    Parameter("window", {"enum": list(WINDOWS)}, "jobs that ended within this time up to now (default all)"),
    Parameter("since", TEXT, "in place of it: ended at or after this time: 2026-11-01, today, now-30days"),
    Parameter("until", TEXT, "and before this one"),
    *(Parameter(name, TEXT, f"only jobs {words}", many=True) for name, words in _LISTS.items()),
    *(Parameter(name, TEXT, f"{words}: 4, 4..8, 4.. or ..8") for name, words in _RANGES.items()),
    Parameter("name", TEXT, "only jobs with this text in the name"),
    Parameter("sort", {"enum": list(SORTS)}, "what they are put in order by (default end_s)"),
    Parameter("order", {"enum": ["asc", "desc"]}, "(default desc)"),
)
_NUMBERS = {"wall_s": WHOLE, "wait_s": WHOLE, "cpu_percent": NUMBER, "memory_percent": NUMBER}
JOB = schemas.of_rows(
    JOBS, {**{name: maybe(kind) for name, kind in _NUMBERS.items()}, "db_inx": maybe(TEXT), "tags": many(TEXT),
           "note": TEXT}
)  # fmt: skip
MARKS = thing({"tags": many(TEXT), "note": TEXT, "note_by": TEXT, "note_s": maybe(WHOLE)})


class JobHistory(UsageHandler):
    """`/jobs/history`."""

    operations: ClassVar = {
        "GET": Operation(
            "Jobs that ended, of all years, and those that run: each once, by its last attempt",
            {
                200: thing(
                    {
                        "jobs": many(JOB),
                        "total": WHOLE,
                        "exact": FLAG,
                        "after": maybe(TEXT),
                        "before": maybe(TEXT),
                        "as_of_s": maybe(WHOLE),
                    }
                )
            },
            parameters=(
                *WORDS,
                Parameter("after", TEXT, "the page after this place, as an answer's `after` gives it"),
                Parameter("before", TEXT, "or the one before, as its `before` does"),
                Parameter("limit", WHOLE, f"jobs to give (default 50, at most {MOST_ROWS})"),
            ),
            errors=(400, 429, 503),
        )
    }

    async def get(self) -> None:
        self.json(await self.ask(self._find))

    def _find(self) -> dict[str, Any]:
        words = {name: self.get_query_arguments(name) for name in self.request.query_arguments}
        for name in ("limit", "after", "before"):
            words.pop(name, None)
        zone = ZoneInfo(self.services.settings.instance.time_zone)
        wanted = read_words(words, zone=zone, now_s=time.time())
        scope = Scope(user=self.viewer.name, uid=self.viewer.uid) if wanted.mine else scope_of(self.viewer)
        limit = self.number("limit", 50, 1, MOST_ROWS)
        page = self.services.history.search(wanted.question, scope, limit=limit, cursor=self._cursor())
        rows = page.rows
        for row, marks in zip(rows, jobs.marks_of(self.services, rows), strict=True):
            row |= {"tags": marks.tags, "note": marks.note}
        ids = [each.name for each in page.table.schema if pa.types.is_uint64(each.type)]
        for row in rows:
            for name in ids:  # more digits than a number in JavaScript holds
                row[name] = None if row[name] is None else str(row[name])
        return {
            "jobs": plain(rows),
            "total": page.total,
            "exact": page.exact,
            "after": page.after.text() if page.after else None,
            "before": page.before.text() if page.before else None,
            "as_of_s": page.as_of_s,
        }

    def _cursor(self) -> Cursor | None:
        after, before = self.get_query_argument("after", ""), self.get_query_argument("before", "")
        if after:
            return Cursor.read(after, "after")
        return Cursor.read(before, "before") if before else None


class JobMarks(OneJobHandler):
    """`/jobs/{job}/marks`."""

    operations: ClassVar = {
        "GET": Operation("The tags and the note of a job", {200: MARKS}, parameters=WHICH, errors=(400, 404)),
        "POST": Operation(
            "Put tags on a job, take others off, write its note (an empty one takes it off)",
            {200: MARKS},
            parameters=WHICH,
            body=thing(
                {"add": many(TEXT), "remove": many(TEXT), "note": TEXT},
                optional=("add", "remove", "note"),
            ),
            errors=(400, 403, 404, 415, 503),
        ),
    }

    async def get(self, number: str) -> None:
        self.json(plain(await self.run(self._read, number)))

    async def post(self, number: str) -> None:
        self.json(plain(await self.run(self._write, number, self.content())))

    def _key(self, number: str) -> JobKey:
        found = self.record(number)
        return JobKey(found.cluster, found.job_id, found.origin_s)

    def _read(self, number: str) -> Marks:
        try:
            return jobs.read_marks(self.services, self.viewer, self._key(number))
        except jobs.JobNotFound:
            not_found()

    def _write(self, number: str, content: dict[str, Any]) -> Marks:
        add, remove, note = content.get("add", []), content.get("remove", []), content.get("note")
        if not set(content) <= {"add", "remove", "note"} or not (
            _texts(add) and _texts(remove) and (note is None or isinstance(note, str))
        ):
            raise Problem(400, "Bad Request", "add and remove are lists of texts, note is a text.")
        found = self.record(number)
        if not jobs.may_mark(self.viewer, found.owner):
            raise Problem(403, "Forbidden", "Only its owner and operators write on a job.")
        key = JobKey(found.cluster, found.job_id, found.origin_s)
        try:
            if add or remove:
                [done] = jobs.tag_jobs(self.services, self.viewer, [key], add=add, remove=remove, address=self.address)
                if done.problem:
                    raise Problem(400, "Bad Request", done.problem)
            if note is not None:
                return jobs.write_note(self.services, self.viewer, key, note, self.address)
            return jobs.read_marks(self.services, self.viewer, key)
        except jobs.JobNotFound:
            not_found()


def _texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 50 and all(isinstance(each, str) for each in value)
