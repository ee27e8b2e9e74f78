"""Changes of one's own account, each a form that is posted."""

from __future__ import annotations

import re
from typing import Any

from app.account.overview import show_account
from app.gate.paths import own_path
from app.signin.enrol import show_recovery_codes
from app.signin.entry import EntryHandler
from backend.identity import IdentityError, NotFresh, PasswordRefused

AGAIN = "/account/again"


class EndLoginHandler(EntryHandler):
    async def post(self) -> None:
        """End another of one's own logins: its pages close."""
        login_id = self.get_body_argument("login", "")
        try:
            await self.run(self.services.identity.revoke, self.viewer, login_id, address=self.address)
        except IdentityError as error:
            await show_account(self, bad=self.words(error), status=403)
        else:
            self.go("/account?said=login")


class NewPasswordHandler(EntryHandler):
    async def post(self) -> None:
        new = self.get_body_argument("new", "", strip=False)
        try:
            if new != self.get_body_argument("repeat", "", strip=False):
                raise PasswordRefused("The two new passwords are not the same.")
            await self.sign_in(
                self.services.identity.change_password,
                self.visit.cookie,
                self.get_body_argument("old", "", strip=False),
                new,
                address=self.address,
            )
        except IdentityError as error:
            await show_account(self, bad=self.words(error), status=422)
        else:
            self.go("/account?said=password")


class NewRecoveryCodesHandler(EntryHandler):
    async def post(self) -> None:
        try:
            codes = await self.run(
                self.services.identity.new_recovery_codes, self.visit.cookie, address=self.address
            )
        except NotFresh:
            self.go(f"{AGAIN}?next=/account")
        except IdentityError as error:
            await show_account(self, bad=self.words(error), status=422)
        else:
            show_recovery_codes(self, codes, "/account")


class AgainHandler(EntryHandler):
    """Password and code once more: changes of the factor need a sign-in that is not long ago."""

    async def get(self) -> None:
        self._form()

    async def post(self) -> None:
        try:
            login = await self.sign_in(
                self.services.identity.prove_again,
                self.visit.cookie,
                self.get_body_argument("password", "", strip=False),
                re.sub(r"\s", "", self.get_body_argument("code", "")),
                address=self.address,
            )
        except IdentityError as error:
            self._form(error)
        else:
            self.signed_in(login)
            path = own_path(self.get_argument("next", "/account"))
            self.go(f"{path}?said=again" if path == "/account" else path)

    def _form(self, error: IdentityError | None = None) -> None:
        values: dict[str, Any] = {
            "next": own_path(self.get_argument("next", "/account")),
            "second_factor": self.services.settings.login.second_factor,
        }
        if error is None:
            self.page("again.html", **values)
        else:
            self.refused("again.html", error, **values)
