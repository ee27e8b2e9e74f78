"""The proxy's doors on the console's database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from app.proxy.doors import DoorsUnusable, Entered, Standing
from backend.identity import Identity
from backend.sessions import Routes
from backend.store import Database, SecretBox
from config import Settings


class ConsoleDoors:
    """What the console knows of tickets, grants and logins. Blocking; for any thread."""

    def __init__(self, routes: Routes, identity: Identity) -> None:
        self._routes = routes
        self._identity = identity

    def standing(self, cookie: str, session_id: str) -> Standing | None:
        """See Doors."""
        with _asking():
            found = self._routes.standing(cookie, session_id)
        if found is None:
            return None
        worth = Standing(found.person, found.login_id, found.session_id, found.state)
        route = found.route
        if route is None:
            return worth
        return Standing(
            found.person,
            found.login_id,
            found.session_id,
            found.state,
            address=route.address,
            port=route.port,
            fingerprint=route.fingerprint,
            secret=route.secret,
            apps=route.apps,
        )

    def open_among(self, grants: list[tuple[str, str]]) -> set[tuple[str, str]]:
        """See Doors."""
        with _asking():
            return self._routes.open_among(grants)

    def redeem(self, ticket: str, session_id: str) -> Entered | None:
        """See Doors."""
        with _asking():
            found = self._routes.redeem(ticket, session_id)
        return None if found is None else Entered(found.cookie, found.app)

    def touch(self, login_id: str) -> None:
        """See Doors."""
        with _asking():
            self._identity.touch(login_id)


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise DoorsUnusable(str(error)) from error


def open_doors(settings: Settings) -> ConsoleDoors:
    """Open the data folder. Raises what the database and the key raise when they can't be used."""
    db = Database(settings.store.url)
    db.upgrade()
    box = SecretBox(settings.instance.data_dir, settings.store.key, settings.store.key_file)
    identity = Identity(settings, db, box)
    return ConsoleDoors(Routes(db, box, identity), identity)
