"""What agents send: on which port a session's gateway listens, and what jobs do on their nodes. Each message carries
its own proof."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import ClassVar

from app.rest.base import Operation, Problem, RestHandler
from app.rest.schemas import Schema
from backend.telemetry.intake import ProcessAway, ask, socket_path

LONGEST_MESSAGE_BYTES = 16 * 1024
MESSAGE: Schema = {
    "type": "object",
    "description": "signed with the session's secret; see backend/agent/registration.py",
}
KEPT: Schema = {"type": "object", "description": "the person chose to keep the session so long ago"}
SIGNED: Schema = {"type": "object", "description": "the session is over: the agent ends itself"}


class RegisterAgent(RestHandler):
    """`/agent/register`."""

    operations: ClassVar = {
        "POST": Operation(
            "An agent registers its gateway's port",
            {200: KEPT, 204: None, 410: SIGNED},
            body=MESSAGE,
            errors=(400, 403, 413, 415),
        )
    }

    async def post(self) -> None:
        if len(self.request.body) > LONGEST_MESSAGE_BYTES:
            raise Problem(413, "Content Too Large")
        answer = await self.run(self.services.sessions.registered, self.content())
        if answer.status == 204:
            self.set_status(204)
            await self.finish()
        elif answer.body is not None:
            self.json(dict(answer.body), status=answer.status)
        else:
            raise Problem(answer.status, "Forbidden")


SAMPLES: Schema = {
    "type": "object",
    "description": "deflated by zlib (Content-Encoding: deflate); signed by X-Carme-Sender and X-Carme-Mac; "
    "see docs/telemetry.md",
}
AWAY_RETRY_S = 10
KEPT_ELSEWHERE_RETRY_S = 300


class Samples(RestHandler):
    """`/agent/samples`: handed on to the telemetry process as it came; that decides."""

    operations: ClassVar = {
        "POST": Operation(
            "An agent, or a node's service, sends samples",
            {204: None, 410: SIGNED},
            body=SAMPLES,
            errors=(400, 403, 413, 415, 429, 503),
        )
    }

    async def post(self) -> None:
        headers = self.request.headers
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json" or headers.get("Content-Encoding", "").strip().lower() != "deflate":
            raise Problem(415, "Unsupported Media Type", "Send application/json, deflated (zlib).")
        settings = self.services.settings
        if settings.telemetry.source != "embedded":
            self._refuse(503, "Telemetry is kept by Prometheus, which scrapes the nodes.", KEPT_ELSEWHERE_RETRY_S)
            return
        asked = {"do": "take", "sender": headers.get("X-Carme-Sender", ""), "mac": headers.get("X-Carme-Mac", "")}
        try:
            answer, body = await ask(socket_path(settings.instance.data_dir), asked, self.request.body)
        except ProcessAway as away:
            self._refuse(503, str(away), AWAY_RETRY_S)
            return
        status = answer["status"]
        if status == 204:
            self.set_status(204)
            await self.finish()
        elif status == 410:
            self.json(json.loads(body), status=410)
        else:
            self._refuse(status, json.loads(body)["detail"] if body else "", answer["retry_after_s"])

    def _refuse(self, status: int, why: str, retry_after_s: int | None) -> None:
        if retry_after_s is not None:  # not by raising: an error's answer begins with no headers
            self.set_header("Retry-After", retry_after_s)
        self.problem(status, HTTPStatus(status).phrase, why)
