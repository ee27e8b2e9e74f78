"""One job: everything about it, what it printed, and what may be done to it."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from app.rest import schemas
from app.rest.base import Operation, Parameter, Problem, RestHandler, not_found
from app.rest.jobs import JOB, job_number
from app.rest.schemas import FLAG, TEXT, WHOLE, Schema, many, maybe, of, plain, thing
from backend import jobs
from backend.accounting.model import JOBS as ATTEMPT
from backend.telemetry.verdicts import Verdict

ONE = thing(
    {
        **JOB["properties"],
        "cluster": TEXT,
        "origin_s": WHOLE,
        "in_queue": FLAG,
        "attempts": many(schemas.of_rows(ATTEMPT)),
        "others": many(of(jobs.Namesake)),
        "problem": TEXT,
    }
)
WHICH = (
    Parameter("cluster", TEXT, "the cluster (default: any)"),
    Parameter("submit", WHOLE, "its submit time, where several jobs had the number (default: the newest)"),
)


class OneJobHandler(RestHandler):
    """Finds the job an address names."""

    def record(self, text: str) -> jobs.Record:
        """The job, in the queue or long over. Raises Problem, the same for none and for not theirs."""
        submit = self.get_query_argument("submit", "")
        if submit and not re.fullmatch(r"[0-9]{1,12}", submit):
            raise Problem(400, "Bad Request", "submit: Unix seconds are wanted.")
        try:
            return jobs.look(
                self.services,
                self.viewer,
                job_number(text),
                self.get_query_argument("cluster", None),
                int(submit) if submit else None,
            )
        except jobs.JobNotFound:
            not_found()


class OneJob(OneJobHandler):
    """`/jobs/{job}`."""

    operations: ClassVar = {
        "GET": Operation("One job, in the queue or long over", {200: ONE}, parameters=WHICH, errors=(400, 404))
    }

    async def get(self, number: str) -> None:
        self.json(await self.run(self._found, number))

    def _found(self, number: str) -> dict[str, Any]:
        record = self.record(number)
        snapshot = self.services.snapshots.current
        found: dict[str, Any] = plain(
            {
                **record.facts(),
                "words": record.words(snapshot, self.viewer),
                "cluster": record.cluster,
                "origin_s": record.origin_s,
                "in_queue": record.live is not None,
                "attempts": record.attempts,
                "others": record.others,
                "problem": record.problem,
            }
        )
        return found


class ChangeJob(OneJobHandler):
    """Base of what is done to a job as the person: the scheduler has the last word."""

    asked: ClassVar[jobs.Asked]

    async def post(self, number: str) -> None:
        try:
            await self.run(self.services.snapshots.refresh)
            await jobs.act(
                self.services, self.viewer, self.asked, job_number(number), self.address, time_s=self.time_s()
            )
        except jobs.JobNotFound:
            not_found()
        except jobs.ActionRefused as refused:
            status, title = _REFUSED[refused.why]
            raise Problem(status, title, str(refused)) from refused
        self.json({"job_id": int(number)}, status=202)

    def time_s(self) -> int | None:
        """The new limit, where one is asked for."""
        return None


_REFUSED = {"rights": (403, "Forbidden"), "state": (409, "Conflict"), "wrong": (400, "Bad Request")}
_DONE: dict[int, Schema | None] = {202: thing({"job_id": WHOLE})}
_ERRORS = (403, 404, 409, 422, 503)


class CancelJob(ChangeJob):
    """`/jobs/{job}/cancel`."""

    asked = "cancel"
    operations: ClassVar = {
        "POST": Operation("Cancel a job, as yourself: the scheduler has the last word", _DONE, errors=_ERRORS)
    }


class HoldJob(ChangeJob):
    """`/jobs/{job}/hold`."""

    asked = "hold"
    operations: ClassVar = {"POST": Operation("Keep a waiting job from starting", _DONE, errors=_ERRORS)}


class ReleaseJob(ChangeJob):
    """`/jobs/{job}/release`."""

    asked = "release"
    operations: ClassVar = {"POST": Operation("Let a held job start again", _DONE, errors=_ERRORS)}


class RequeueJob(ChangeJob):
    """`/jobs/{job}/requeue`."""

    asked = "requeue"
    operations: ClassVar = {"POST": Operation("End a job and put it back in the queue", _DONE, errors=_ERRORS)}


class ExtendJob(ChangeJob):
    """`/jobs/{job}/extend`."""

    asked = "extend"
    operations: ClassVar = {
        "POST": Operation(
            "Give a job another time limit, counted from its start; Slurm lets only operators raise one",
            _DONE,
            body=thing({"time_s": WHOLE}),
            errors=(400, 415, *_ERRORS),
        )
    }

    def time_s(self) -> int | None:
        value = self.content().get("time_s")
        if not isinstance(value, int) or isinstance(value, bool):
            raise Problem(400, "Bad Request", "time_s: a whole number of seconds is wanted.")
        return value


class JobLog(OneJobHandler):
    """`/jobs/{job}/log`."""

    operations: ClassVar = {
        "GET": Operation(
            "The end of what one of your jobs printed",
            {200: of(jobs.Part)},
            parameters=(*WHICH, Parameter("which", {"enum": ["out", "err"]}, "out (default) or err")),
            errors=(400, 403, 404, 409, 502, 503),
        )
    }

    async def get(self, number: str) -> None:
        which = self.text("which", "out", ("out", "err"))
        record = await self.run(self.record, number)
        try:
            found = await jobs.read_log(self.services, self.viewer, record, "err" if which == "err" else "out")
        except jobs.JobNotFound:
            not_found()
        self.json(plain(found))


class JobScript(OneJobHandler):
    """`/jobs/{job}/script`."""

    operations: ClassVar = {
        "GET": Operation(
            "The batch script of one of your jobs, where Slurm keeps it",
            {200: of(jobs.Part)},
            parameters=(
                *WHICH,
                Parameter("kind", {"enum": ["script", "environment"]}, "script (default), or its environment"),
            ),
            errors=(400, 403, 404, 409, 502, 503),
        )
    }

    async def get(self, number: str) -> None:
        kind = self.text("kind", "script", ("script", "environment"))
        record = await self.run(self.record, number)
        try:
            found = await jobs.read_script(
                self.services, self.viewer, record, "environment" if kind == "environment" else "script"
            )
        except jobs.JobNotFound:
            not_found()
        self.json(plain(found))


class JobVerdicts(OneJobHandler):
    """`/jobs/{job}/verdicts`."""

    asks = "asking_telemetry"
    operations: ClassVar = {
        "GET": Operation(
            "Whether a job used what it asked for, and what to change: of its newest run, the worst first",
            {
                200: thing(
                    {
                        "job_id": WHOLE,
                        "start_s": maybe(WHOLE),
                        "measured": FLAG,
                        "problem": TEXT,
                        "verdicts": many(of(Verdict)),
                    }
                )
            },
            parameters=WHICH,
            errors=(400, 404, 429),
        )
    }

    async def get(self, number: str) -> None:
        self.json(await self.ask(self._judged, number))

    def _judged(self, number: str) -> dict[str, Any]:
        record = self.record(number)
        found = jobs.judge(self.services, record)
        answer: dict[str, Any] = plain(
            {
                "job_id": record.job_id,
                "start_s": found.start_s,
                "measured": found.footprint is not None,
                "problem": found.problem,
                "verdicts": found.verdicts,
            }
        )
        return answer
