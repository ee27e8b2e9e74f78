"""A password that has expired is changed here, by one who knows it."""

from __future__ import annotations

from app.signin.entry import EntryHandler
from backend.identity import IdentityError, PasswordRefused


class ExpiredPasswordHandler(EntryHandler):
    async def get(self) -> None:
        self.page("new_password.html", name="", next=self.next)

    async def post(self) -> None:
        name = self.get_body_argument("name", "")
        old = self.get_body_argument("old", "", strip=False)
        new = self.get_body_argument("new", "", strip=False)
        try:
            if new != self.get_body_argument("repeat", "", strip=False):
                raise PasswordRefused("The two new passwords are not the same.")
            await self.sign_in(
                self.services.identity.change_expired_password,
                name,
                old,
                new,
                address=self.address,
                known_browser=self.visit.browser,
            )
        except IdentityError as error:
            self.refused("new_password.html", error, name=name, next=self.next)
        else:
            settings = self.services.settings
            self.page(
                "password.html",
                next=self.next,
                name=name,
                directory=settings.directory.kind,
                second_factor=settings.login.second_factor,
                down="",
                good="Your password is changed. Sign in with the new one.",
            )
