"""Step two: the code of the authenticator app, or a recovery code."""

from __future__ import annotations

import re
from typing import Any

from app.gate import cookies as names
from app.signin.entry import EntryHandler, step_two
from backend.identity import CodeRefused, IdentityError, NotSignedIn, TooManyTries


class CodeHandler(EntryHandler):
    async def get(self) -> None:
        pending = self.visit.pending
        if pending is None:
            self.go(self.next)  # already signed in
        elif pending.needs != "code":
            self.go(step_two(pending.needs, self.next))
        else:
            self._form()

    async def post(self) -> None:
        if self.visit.pending is None:
            self.go(self.next)
            return
        code = re.sub(r"\s", "", self.get_body_argument("code", ""))
        try:
            login = await self.sign_in(
                self.services.identity.sign_in_code,
                self.visit.cookie,
                code,
                recovery=self.get_body_argument("kind", "") == "recovery",
                address=self.address,
            )
        except CodeRefused as error:
            self._form(error)
        except (TooManyTries, NotSignedIn) as error:
            self.gate.cookies.clear(self, names.HALF)
            self.refuse(403, str(error))
        else:
            self.signed_in(login)
            self.go(self.next)

    def _form(self, error: IdentityError | None = None) -> None:
        assert self.visit.pending is not None  # noqa: S101 - both callers have looked
        values: dict[str, Any] = {
            "next": self.next,
            "name": self.visit.pending.name,
            "recovery": self.get_argument("kind", "") == "recovery",
        }
        if error is None:
            self.page("code.html", **values)
        else:
            self.refused("code.html", error, **values)
