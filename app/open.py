"""Opening a session's app: the console hands a ticket to the apps' origin by a form that posts itself."""

from __future__ import annotations

from app.gate.guards import Guard, Route
from app.handler import ConsoleHandler
from backend.sessions import SessionNotFound

PATH = r"/sessions/([A-Za-z0-9]{1,32})/open/([a-z][a-z0-9-]{0,31})"


class OpenHandler(ConsoleHandler):
    async def get(self, session_id: str, app: str) -> None:
        """A link of the console opens too; one from elsewhere waits for the person to press the button."""
        own = self.request.headers.get("Sec-Fetch-Site", "") == "same-origin"
        self.page(
            "open.html",
            title=app,
            action=f"/sessions/{session_id}/open/{app}",
            fields=[("csrf", self.gate.entry_token(self.visit))],
            itself=own,
        )

    async def post(self, session_id: str, app: str) -> None:
        """A ticket for thirty seconds, once, bound to this login, session and app."""
        services = self.services
        try:
            ticket = await self.run(services.sessions.issue_ticket, self.viewer, session_id, app, address=self.address)
        except SessionNotFound:
            self.refuse(404, "There is no such session of yours.")
            return
        origin = services.settings.apps.url.replace("{session}", session_id)
        self.visit.form_action = origin
        # The apps' origin is to see that the form is the console's.
        self.set_header("Referrer-Policy", "strict-origin")
        self.page(
            "open.html",
            title=app,
            action=f"{origin}/_carme/enter",
            fields=[("ticket", ticket), ("session", session_id)],
            itself=True,
        )


ROUTES = [Route(PATH, Guard.USER, OpenHandler, methods=frozenset({"GET", "HEAD", "POST"}))]
