"""The way into a session's apps: tickets that hand a browser over to the apps origin, and what they buy.

A ticket lives for seconds, works once, and is bound to one login, session and app. It buys a grant: the apps
origin's own cookie, worth something as long as the login holds and the session is the person's and not over.
Both are known to the database by their digest only. Nothing is remembered here, so a revocation counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from sqlalchemy import delete, select, update

from backend.identity import Viewer, policy
from backend.sessions.life.registration import secret_of
from backend.sessions.life.rows import Row
from backend.sessions.model import LIVE_STATES, SessionNotFound
from backend.store import Database, NotDecrypted, SecretBox, audit, digest, models, new_token

TICKET_LIFE_S = 30
KEPT_S = 86400
AT_ONCE = 500  # digests in one query
TOKEN_LIMIT = 128


class Logins(Protocol):
    """What is asked of `Identity`."""

    def ended_among(self, login_ids: list[str]) -> set[str]:
        """Which of these logins don't hold any more."""


@dataclass(frozen=True)
class Route:
    """Where a session's gateway is, how it is known, and the secret it wants to see."""

    session_id: str
    address: str
    port: int
    fingerprint: str  # SHA-256 of its certificate (DER), hex
    secret: str = field(repr=False)
    apps: tuple[str, ...]


@dataclass(frozen=True)
class Entered:
    """A redeemed ticket: the grant, for the apps origin's cookie, and the app it was for."""

    cookie: str
    app: str


@dataclass(frozen=True)
class Standing:
    """What a grant is worth now. `route` is None while the session's gateway is not known yet."""

    person: str
    login_id: str
    session_id: str
    state: Literal["open", "signed-out", "over"]
    route: Route | None = None


def issue_ticket(db: Database, viewer: Viewer, session_id: str, app: str, address: str = "") -> str:
    """A ticket for one app of one's own live session. Raises SessionNotFound, the same in every case."""
    with db.begin() as tx:
        row = tx.get(Row, session_id)
        if row is None or not policy.allowed(viewer, "session.open", row) or app not in row.apps:
            raise SessionNotFound("There is no such session.")
        if row.state not in LIVE_STATES:
            raise SessionNotFound("There is no such session.")
        now_s = int(time.time())
        ticket = new_token()
        tx.add(
            models.Ticket(
                digest=digest(ticket),
                login_id=viewer.login_id,
                session_id=session_id,
                app=app,
                expires_s=now_s + TICKET_LIFE_S,
            )
        )
        audit(tx, viewer.name, "session.open", session_id, address=address, app=app)
    return ticket


def forget_old(db: Database) -> None:
    """Drop old tickets, and grants of sessions that ended a day ago: nothing opens with them any more."""
    before_s = int(time.time()) - KEPT_S
    ended = select(Row.id).where(Row.end_s < before_s)
    with db.begin() as tx:
        tx.execute(delete(models.Ticket).where(models.Ticket.expires_s < before_s))
        tx.execute(delete(models.AppGrant).where(models.AppGrant.session_id.in_(ended)))


class Routes:
    """Blocking (a millisecond or so), for any thread and process."""

    def __init__(self, db: Database, box: SecretBox, logins: Logins) -> None:
        self._db = db
        self._box = box
        self._logins = logins

    def redeem(self, ticket: str, session_id: str) -> Entered | None:
        """Use up a ticket; None when it is wrong, used, old, another session's, or its login has ended."""
        if not ticket or len(ticket) > TOKEN_LIMIT:
            return None
        now_s = int(time.time())
        with self._db.begin() as tx:
            used = tx.execute(
                update(models.Ticket)
                .where(
                    models.Ticket.digest == digest(ticket),
                    models.Ticket.session_id == session_id,
                    models.Ticket.used_s.is_(None),
                    models.Ticket.expires_s > now_s,
                )
                .values(used_s=now_s)
            )
            if used.rowcount != 1:  # type: ignore[attr-defined]
                return None
            known = tx.get(models.Ticket, digest(ticket))
            row = tx.get(Row, session_id)
            if known is None or row is None or row.state not in LIVE_STATES:
                return None
            app, login_id, owner = known.app, known.login_id, row.owner
        if self._logins.ended_among([login_id]):
            return None
        cookie = new_token()
        with self._db.begin() as tx:
            tx.add(
                models.AppGrant(
                    digest=digest(cookie),
                    login_id=login_id,
                    session_id=session_id,
                    person=owner,
                    created_s=now_s,
                )
            )
        return Entered(cookie, app)

    def standing(self, cookie: str, session_id: str) -> Standing | None:
        """What a grant is worth for this session; None: no such grant of this session."""
        if not cookie or len(cookie) > TOKEN_LIMIT:
            return None
        with self._db.read() as tx:
            found = tx.execute(
                select(models.AppGrant, Row)
                .join(Row, Row.id == models.AppGrant.session_id)
                .where(models.AppGrant.digest == digest(cookie), models.AppGrant.session_id == session_id)
            ).one_or_none()
        if found is None:
            return None
        grant, row = found
        if self._logins.ended_among([grant.login_id]):
            return Standing(grant.person, grant.login_id, session_id, "signed-out")
        if row.state not in LIVE_STATES or row.owner != grant.person:
            return Standing(grant.person, grant.login_id, session_id, "over")
        return Standing(grant.person, grant.login_id, session_id, "open", self._route(row))

    def open_among(self, grants: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Which of these (cookie, session id) still open their session: two queries, however many they are."""
        wanted = {(digest(cookie), session_id): (cookie, session_id) for cookie, session_id in grants}
        digests = sorted({known for known, _ in wanted})
        logins: dict[tuple[str, str], str] = {}
        with self._db.read() as tx:
            for start in range(0, len(digests), AT_ONCE):
                found = tx.execute(
                    select(models.AppGrant.digest, models.AppGrant.session_id, models.AppGrant.login_id)
                    .join(Row, Row.id == models.AppGrant.session_id)
                    .where(
                        models.AppGrant.digest.in_(digests[start : start + AT_ONCE]),
                        Row.state.in_(LIVE_STATES),
                        Row.owner == models.AppGrant.person,
                    )
                )
                logins.update({(row[0], row[1]): row[2] for row in found})
        ended = self._logins.ended_among(sorted(set(logins.values())))
        return {wanted[key] for key, login in logins.items() if key in wanted and login not in ended}

    def grant(self, cookie: str, session_id: str) -> str | None:
        """The person whose grant this is, while it opens the session."""
        standing = self.standing(cookie, session_id)
        return standing.person if standing is not None and standing.state == "open" else None

    def route(self, session_id: str) -> Route | None:
        """Where a live session's gateway is; None while that is not known, or when it is over."""
        with self._db.read() as tx:
            row = tx.get(Row, session_id)
        return self._route(row) if row is not None and row.state in LIVE_STATES else None

    def _route(self, row: Row) -> Route | None:
        if not (row.confirmed and row.address and row.port):
            return None
        try:
            secret = secret_of(self._box, row)
        except NotDecrypted:
            return None
        return Route(row.id, row.address, row.port, row.tls_fingerprint, secret, tuple(row.apps))
