"""Signing out: here, and everywhere. The kicker hears of it from the identity and closes the pages."""

from __future__ import annotations

from app.gate import cookies as names
from app.signin.entry import EntryHandler


class SignOutHandler(EntryHandler):
    async def get(self) -> None:
        self.page("sign_out.html")

    async def post(self) -> None:
        await self.run(self.services.identity.sign_out, self.visit.cookie, address=self.address)
        self.over()

    def over(self) -> None:
        for name in (names.LOGIN, names.HALF):
            self.gate.cookies.clear(self, name)
        self.set_header("Clear-Site-Data", '"cache"')
        self.visit.viewer = None
        self.page("signed_out.html")


class SignOutEverywhereHandler(SignOutHandler):
    async def post(self) -> None:
        await self.run(self.services.identity.sign_out_everywhere, self.viewer.name, address=self.address)
        self.over()
