"""Step one: name and password."""

from __future__ import annotations

from typing import Any

from app.signin.entry import EntryHandler, step_two
from backend.identity import DirectoryDown, IdentityError, PasswordExpired


class PasswordHandler(EntryHandler):
    async def get(self) -> None:
        again = bool(self.get_argument("again", ""))
        if self.visit.viewer is not None and not again:
            self.go(self.next)
            return
        if self.visit.pending is not None and not again:
            self.go(step_two(self.visit.pending.needs, self.next))
            return
        self._form()

    async def head(self) -> None:
        self.set_header("Content-Type", "text/html; charset=utf-8")

    async def post(self) -> None:
        # The password is kept as it was typed: it may begin or end with a space.
        name = self.get_body_argument("name", "")
        password = self.get_body_argument("password", "", strip=False)
        try:
            pending = await self.sign_in(
                self.services.identity.sign_in_password,
                name,
                password,
                address=self.address,
                known_browser=self.visit.browser,
                user_agent=self.user_agent,
            )
        except PasswordExpired as error:
            if error.can_change:
                self.page("new_password.html", name=name, next=self.next, bad="")
            else:
                self._form(error, name)
            return
        except IdentityError as error:
            self._form(error, name)
            return
        self.begun(pending, self.next)

    def _form(self, error: IdentityError | None = None, name: str = "") -> None:
        settings = self.services.settings
        values: dict[str, Any] = {
            "next": self.next,
            "name": name,
            "directory": settings.directory.kind,
            "second_factor": settings.login.second_factor,
            "down": "",
        }
        if error is not None:
            self.refused("password.html", error, **values)
            return
        directory = self.services.identity.directory_status()
        if not directory.ok:
            values["down"] = self.words(DirectoryDown(directory.since_s, directory.why))
        self.page("password.html", **values)
