"""Sessions in the console's database. Every change names the version it was made from, so that of several
processes one wins and the others look again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as DbSession

from backend.sessions.model import LIVE_STATES, LaunchRequest, RequestError, Session
from backend.store import Database, models

Row = models.Session
TRIES = 8


class TooManySessions(Exception):
    """The person has as many live sessions as the site allows; `most` is how many."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


class Contended(RuntimeError):
    """A row changed under every try to change it."""


class Rows:
    """The table of sessions, by short transactions. Rows handed out are detached copies."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.changes = 0  # grows with what is changed through this object: a sign to look, no count

    def get(self, session_id: str) -> Row | None:
        """One row, also of a session taken off the list."""
        with self._db.read() as tx:
            return tx.get(Row, session_id)

    def live(self) -> Sequence[Row]:
        """Every session that is not over."""
        with self._db.read() as tx:
            return tx.scalars(select(Row).where(Row.state.in_(LIVE_STATES))).all()

    def among(self, session_ids: Sequence[str]) -> Sequence[Row]:
        """The rows of these ids, whatever their state."""
        found: list[Row] = []
        with self._db.read() as tx:
            for start in range(0, len(session_ids), 500):
                part = session_ids[start : start + 500]
                found.extend(tx.scalars(select(Row).where(Row.id.in_(part))).all())
        return found

    def list(self, owner: str | None, over: bool, limit: int) -> Sequence[Row]:
        """The newest first; `owner` None: everyone's."""
        query = select(Row).where(Row.removed.is_(False)).order_by(Row.created_s.desc(), Row.id).limit(limit)
        if owner is not None:
            query = query.where(Row.owner == owner)
        if not over:
            query = query.where(Row.state.in_(LIVE_STATES))
        with self._db.read() as tx:
            return tx.scalars(query).all()

    def version(self) -> int:
        """Grows with every change of any session."""
        with self._db.read() as tx:
            total, count = tx.execute(select(func.sum(Row.version), func.count())).one()
        return int(total or 0) + int(count)

    def by_key(self, owner: str, key: str) -> Row | None:
        """The session that a click of this key made."""
        with self._db.read() as tx:
            return tx.scalars(select(Row).where(Row.owner == owner, Row.launch_key == key)).first()

    def insert(self, row: Row, most: int, submit_within_s: int, note: Callable[[DbSession], None]) -> tuple[Row, bool]:
        """Add a row, unless its click has made one: then that one and False. Raises TooManySessions.

        It is of the moment at which the database could be written, and may be submitted for `submit_within_s` from
        there: waiting for another writer leaves the scheduler no less. `note` writes the audit line in the same
        transaction.
        """
        try:
            with self._db.begin() as tx:
                if row.launch_key:
                    query = select(Row).where(Row.owner == row.owner, Row.launch_key == row.launch_key)
                    earlier = tx.scalars(query).first()
                    if earlier is not None:
                        return earlier, False
                query_live = select(func.count()).where(Row.owner == row.owner, Row.state.in_(LIVE_STATES))
                if tx.execute(query_live).scalar_one() >= most:
                    raise TooManySessions(most)
                row.created_s = int(time.time())
                row.not_after_s = math.ceil(time.time() + submit_within_s)
                tx.add(row)
                note(tx)
            self.changes += 1
        except IntegrityError:
            earlier = self.by_key(row.owner, row.launch_key) if row.launch_key else None
            if earlier is None:
                raise
            return earlier, False
        return row, True

    def change(
        self,
        session_id: str,
        decide: Callable[[Row], dict[str, Any]],
        note: Callable[[DbSession], None] | None = None,
    ) -> Row | None:
        """Change a row to what `decide` says of its newest state ({} leaves it); None when there is none.

        `decide` may be called several times. Raises Contended.
        """
        for _ in range(TRIES):
            row = self.get(session_id)
            if row is None:
                return None
            values = {key: value for key, value in decide(row).items() if getattr(row, key) != value}
            if not values:
                return row
            if self.apply(row, values, note):
                for key, value in values.items():
                    setattr(row, key, value)
                row.version += 1
                return row
            time.sleep(0.01)
        raise Contended(f"session {session_id} changes too often")

    def apply(self, row: Row, values: dict[str, Any], note: Callable[[DbSession], None] | None = None) -> bool:
        """Change the row if it is still at the version that was read."""
        with self._db.begin() as tx:
            done = tx.execute(
                update(Row)
                .where(Row.id == row.id, Row.version == row.version)
                .values(**values, version=row.version + 1)
            )
            changed = bool(done.rowcount == 1)  # type: ignore[attr-defined]
            if changed and note is not None:
                note(tx)
        self.changes += changed
        return changed


def as_session(row: Row) -> Session:
    """The row without its secrets."""
    try:
        request = LaunchRequest.from_dict(row.request)
    except RequestError:  # written by another release: what it asked for can't be repeated
        request = LaunchRequest(app=str(row.request.get("app", "")))
    return Session(
        id=row.id,
        owner=row.owner,
        uid=row.uid,
        cluster=row.cluster,
        title=row.title,
        request=request,
        state=row.state,
        job_id=row.job_id,
        confirmed=row.confirmed,
        node=row.node,
        apps=dict(row.apps),
        reason=row.reason,
        exit_code=row.exit_code,
        created_s=row.created_s,
        start_s=row.start_s,
        start_expected=row.start_expected,
        limit_end_s=row.limit_end_s,
        ready_s=row.ready_s,
        end_s=row.end_s,
        stop_requested_s=row.stop_requested_s,
        version=row.version,
        account=row.account,
        idle_since_s=idle_since_s(row),
        idle_end_s=idle_end_s(row),
    )


def idle_since_s(row: Row) -> int | None:
    """Since when it is idle, the person's word counting as use; None while it is in use, or not running."""
    if row.idle_since_s is None or row.state != "ready":
        return None
    return max(row.idle_since_s, row.kept_s or 0)


def idle_end_s(row: Row) -> int | None:
    """When it ends itself if it stays idle; None where it doesn't."""
    since_s = idle_since_s(row)
    return since_s + row.idle_timeout_s if since_s is not None and row.idle_timeout_s else None
