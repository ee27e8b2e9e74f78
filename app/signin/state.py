"""The life of a login, for the script on every page: how long it has, renewing it, proving it again."""

from __future__ import annotations

import re
import time

from app.reading import NoJson, read_json
from app.signin.entry import EntryHandler
from backend.identity import IdentityError, Throttled


class StateHandler(EntryHandler):
    async def get(self) -> None:
        """Seconds left until the login ends without input, and in any case; and the token for changes."""
        viewer = self.viewer
        times = await self.run(self.services.identity.times, viewer.login_id)
        if times is None:
            self.problem(401, "Unauthorized", "Sign in first.")
            return
        now = time.time()
        self.json(
            {
                "name": viewer.name,
                "idle_s": max(0, round(times.idle_end_s - now)),
                "absolute_s": max(0, round(times.end_s - now)),
                "warn_s": self.services.settings.login.warn_s,
                "second_factor": self.services.settings.login.second_factor,
                "csrf": self.gate.entry_token(self.visit),
            }
        )


class TouchHandler(EntryHandler):
    async def post(self) -> None:
        """The person has typed or clicked: the idle clock starts anew."""
        self.services.identity.touch(self.viewer.login_id)
        self.set_status(204)


class AgainHandler(EntryHandler):
    async def post(self) -> None:
        """Password and code once more: the same login under a new cookie, with its full time again."""
        try:
            given = read_json(self.request.body)
            password, code = str(given["password"]), re.sub(r"\s", "", str(given.get("code", "")))
        except (NoJson, KeyError, TypeError):
            self.problem(400, "Bad Request", "Send password and code.")
            return
        try:
            login = await self.sign_in(
                self.services.identity.prove_again, self.visit.cookie, password, code, address=self.address
            )
        except Throttled as error:
            self.set_header("Retry-After", str(round(error.retry_s)))
            self.problem(429, "Too Many Requests", str(error))
        except IdentityError as error:
            self.problem(422, "Unprocessable Content", self.words(error))
        else:
            self.signed_in(login)
            self.set_status(204)
