"""Signing out: here, and everywhere."""

from __future__ import annotations

from app import cookies as names
from app.signin.entry import EntryHandler


class SignOutHandler(EntryHandler):
    async def get(self) -> None:
        if self.visit.viewer is None:
            self.go("/login")
        else:
            self.page("sign_out.html")

    async def post(self) -> None:
        """Ends this login; says so too to one whose login had ended by itself."""
        viewer = self.visit.viewer
        if viewer is not None:
            await self.run(self.services.identity.sign_out, self.visit.cookie, address=self.address)
        self.gate.cookies.clear(self, names.LOGIN)
        self.gate.cookies.clear(self, names.HALF)
        self.set_header("Clear-Site-Data", '"cache"')
        self.visit.viewer = None
        self.page("signed_out.html")


class SignOutEverywhereHandler(EntryHandler):
    async def post(self) -> None:
        await self.run(self.services.identity.sign_out_everywhere, self.viewer.name, address=self.address)
        self.gate.cookies.clear(self, names.LOGIN)
        self.visit.viewer = None
        self.page("signed_out.html")
