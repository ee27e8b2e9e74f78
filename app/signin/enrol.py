"""The first set-up of the second step, between the password and the console."""

from __future__ import annotations

import re
from typing import Any

from app.gate import cookies as names
from app.signin.entry import EntryHandler, step_two
from backend.identity import (
    CodeRefused,
    EnrolmentCodeRefused,
    IdentityError,
    NoEnrolment,
    NotSignedIn,
    TooManyTries,
)

ACTION = "/login/enrol"


class EnrolHandler(EntryHandler):
    async def get(self) -> None:
        pending = self.visit.pending
        if pending is None:
            self.go(self.next)
        elif pending.needs == "code":
            self.go(step_two(pending.needs, self.next))
        elif pending.needs == "enrol+code":
            self._ask()
        else:
            await self._show()

    async def post(self) -> None:
        if self.visit.pending is None:
            self.go(self.next)
            return
        try:
            if "enrolment_code" in self.request.body_arguments:
                await self._show(self.get_body_argument("enrolment_code", ""))
                return
            code = re.sub(r"\s", "", self.get_body_argument("code", ""))
            confirmed = await self.sign_in(
                self.services.identity.confirm_enrolment, self.visit.cookie, code, address=self.address
            )
        except EnrolmentCodeRefused as error:
            self._ask(error)
        except CodeRefused as error:
            await self._show(error=error)
        except (TooManyTries, NotSignedIn, NoEnrolment) as error:
            self.gate.cookies.clear(self, names.HALF)
            self.refuse(403, str(error))
        else:
            self.signed_in(confirmed.login)
            show_recovery_codes(self, confirmed.recovery_codes, self.next)

    def _ask(self, error: IdentityError | None = None) -> None:
        values: dict[str, Any] = {"next": self.next, "action": ACTION, "enrolment": None, "replacing": False}
        if error is None:
            self.page("enrol.html", **values)
        else:
            self.refused("enrol.html", error, **values)

    async def _show(self, enrolment_code: str = "", error: IdentityError | None = None) -> None:
        enrolment = await self.run(
            self.services.identity.begin_enrolment, self.visit.cookie, enrolment_code, address=self.address
        )
        values: dict[str, Any] = {
            "next": self.next,
            "action": ACTION,
            "enrolment": enrolment,
            "replacing": False,
        }
        if error is None:
            self.page("enrol.html", **values)
        else:
            self.refused("enrol.html", error, **values)


def show_recovery_codes(handler: EntryHandler, codes: tuple[str, ...], path: str) -> None:
    """The page that shows them, this once."""
    name = handler.services.settings.instance.name
    handler.page(
        "recovery.html",
        codes=codes,
        text="\n".join([f"{name}: recovery codes, each works once", *codes, ""]),
        file_name="recovery-codes.txt",
        next=path,
    )
