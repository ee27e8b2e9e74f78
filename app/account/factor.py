"""A new second factor in place of the one in use."""

from __future__ import annotations

import re
from typing import Any

from app.account.changes import AGAIN
from app.signin.enrol import show_recovery_codes
from app.signin.entry import EntryHandler
from backend.identity import CodeRefused, IdentityError, NotFresh

ACTION = "/account/factor"


class NewFactorHandler(EntryHandler):
    async def get(self) -> None:
        await self._show()

    async def post(self) -> None:
        code = re.sub(r"\s", "", self.get_body_argument("code", ""))
        try:
            confirmed = await self.sign_in(
                self.services.identity.confirm_enrolment, self.visit.cookie, code, address=self.address
            )
        except CodeRefused as error:
            await self._show(error)
        except NotFresh:
            self.go(f"{AGAIN}?next={ACTION}")
        except IdentityError as error:
            self.refuse(422, str(error))
        else:
            self.signed_in(confirmed.login)
            show_recovery_codes(self, confirmed.recovery_codes, "/account")

    async def _show(self, error: IdentityError | None = None) -> None:
        try:
            enrolment = await self.run(self.services.identity.begin_enrolment, self.visit.cookie)
        except NotFresh:
            self.go(f"{AGAIN}?next={ACTION}")
            return
        values: dict[str, Any] = {
            "next": "/account",
            "action": ACTION,
            "enrolment": enrolment,
            "replacing": True,
        }
        if error is None:
            self.page("enrol.html", **values)
        else:
            self.refused("enrol.html", error, **values)
