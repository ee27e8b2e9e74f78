"""Sessions: list, launch, look, stop."""

from __future__ import annotations

from typing import ClassVar

from app.rest import schemas
from app.rest.base import Operation, Parameter, Problem, RestHandler
from app.rest.schemas import FLAG, TEXT, WHOLE, many, maybe, plain, thing
from backend.identity import policy
from backend.sessions import Estimate, Fit, LaunchOptions, LaunchRequest, Session
from backend.sessions import Problem as LaunchProblem

SESSION = schemas.of(Session)
REQUEST = schemas.of(LaunchRequest, all_optional=True)
LONGEST_LOG_BYTES = 256 * 1024


class Sessions(RestHandler):
    """`/sessions`."""

    operations: ClassVar = {
        "GET": Operation(
            "Your sessions, newest first",
            {200: thing({"sessions": many(SESSION)})},
            parameters=(
                Parameter("owner", TEXT, "another's sessions, or * for everybody's, where your role allows it"),
                Parameter("ended", FLAG, "with those that are over (default true)"),
                Parameter("limit", WHOLE, "at most so many (default 200, at most 1000)"),
            ),
            errors=(400, 403),
        ),
        "POST": Operation(
            "Launch a session",
            {201: SESSION},
            body=REQUEST,
            headers={"Idempotency-Key": "the same for a repeated request, which then gives the same session"},
            errors=(400, 409, 415, 422, 503),
        ),
    }

    async def get(self) -> None:
        owner = self.get_query_argument("owner", None)
        if owner not in (None, self.viewer.name) and not policy.allowed(self.viewer, "session.see", {"owner": owner}):
            raise Problem(403, "Forbidden", "Your role does not show you others' sessions.")
        found = await self.run(
            self.services.sessions.list,
            self.viewer,
            owner=owner,
            ended=self.flag("ended", True),
            limit=self.number("limit", 200, 1, 1000),
        )
        self.json({"sessions": plain(found)})

    async def post(self) -> None:
        key = self.request.headers.get("Idempotency-Key", "")
        if len(key) > 128 or not key.isprintable():
            raise Problem(400, "Bad Request", "Idempotency-Key: at most 128 printable characters.")
        request = LaunchRequest.from_dict(self.content())
        await self.run(self.services.snapshots.refresh)
        session = await self.services.sessions.launch(self.viewer, request, key=key, address=self.address)
        self.set_header("Location", f"/api/v1/sessions/{session.id}")
        self.json(plain(session), status=201)


class Options(RestHandler):
    """`/sessions/options`."""

    operations: ClassVar = {
        "GET": Operation(
            "What you may launch: accounts, partitions, QOS, GPU models, images, apps, limits and defaults",
            {200: schemas.of(LaunchOptions)},
        )
    }

    async def get(self) -> None:
        await self.run(self.services.snapshots.refresh)
        self.json(plain(await self.run(self.services.sessions.options, self.viewer)))


class EstimateStart(RestHandler):
    """`/sessions/estimate`."""

    operations: ClassVar = {
        "POST": Operation(
            "Whether a request may be launched, fits now, and else when it is expected to start",
            {
                200: thing(
                    {
                        "problems": many(schemas.of(LaunchProblem)),
                        "fit": maybe(schemas.of(Fit)),
                        "estimate": maybe(schemas.of(Estimate)),
                    }
                )
            },
            body=REQUEST,
            errors=(400, 409, 415, 503),
        )
    }

    async def post(self) -> None:
        request, sessions, viewer = (
            LaunchRequest.from_dict(self.content()),
            self.services.sessions,
            self.viewer,
        )
        await self.run(self.services.snapshots.refresh)
        problems = await self.run(sessions.check, viewer, request)
        fit = estimate = None
        if not problems:
            fit = await self.run(sessions.fit, viewer, request)
            if not fit.fits:
                estimate = await sessions.estimate(viewer, request)
        self.json({"problems": plain(problems), "fit": plain(fit), "estimate": plain(estimate)})


class OneSession(RestHandler):
    """`/sessions/{session}`."""

    operations: ClassVar = {
        "GET": Operation("One session", {200: SESSION}, errors=(404,)),
        "DELETE": Operation("Take a session that is over off your list", {204: None}, errors=(404, 409)),
    }

    async def get(self, session: str) -> None:
        self.json(plain(await self.run(self.services.sessions.get, self.viewer, session)))

    async def delete(self, session: str) -> None:
        await self.run(self.services.sessions.remove, self.viewer, session)
        self.set_status(204)
        await self.finish()


class StopSession(RestHandler):
    """`/sessions/{session}/stop`."""

    operations: ClassVar = {"POST": Operation("Ask for a session's end", {202: SESSION}, errors=(404, 409, 503))}

    async def post(self, session: str) -> None:
        found = await self.services.sessions.stop(self.viewer, session, address=self.address)
        self.json(plain(found), status=202)


class SessionLog(RestHandler):
    """`/sessions/{session}/log`."""

    operations: ClassVar = {
        "GET": Operation(
            "The end of your session's log",
            {200: thing({"text": TEXT})},
            parameters=(Parameter("max_bytes", WHOLE, f"default 16384, at most {LONGEST_LOG_BYTES}"),),
            errors=(400, 404, 409, 503),
        )
    }

    async def get(self, session: str) -> None:
        most = self.number("max_bytes", 16384, 1, LONGEST_LOG_BYTES)
        text = await self.services.sessions.log_tail(self.viewer, session, max_bytes=most)
        self.json({"text": text})
