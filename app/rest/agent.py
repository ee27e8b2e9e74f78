"""A session's agent says on which port its gateway listens. Its message carries its own proof."""

from __future__ import annotations

from typing import ClassVar

from app.rest.base import Operation, Problem, RestHandler
from app.rest.schemas import Schema

LONGEST_MESSAGE_BYTES = 16 * 1024
MESSAGE: Schema = {
    "type": "object",
    "description": "signed with the session's secret; see backend/agent/registration.py",
}
SIGNED: Schema = {"type": "object", "description": "the session is over: the agent ends itself"}


class RegisterAgent(RestHandler):
    """`/agent/register`."""

    operations: ClassVar = {
        "POST": Operation(
            "An agent registers its gateway's port",
            {204: None, 410: SIGNED},
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
