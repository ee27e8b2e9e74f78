"""Browsers that are signed in: begun, looked up, kept awake, ended. The server knows them; a cookie only
points.

The look-up is asked at every request: answers are kept for a second, and dropped at once when this process
ends a login. So a revocation reaches this process's requests immediately and all other processes' within a
second.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from sqlalchemy import or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session as DbSession

from backend.identity.viewer import EndedLogin, LoginInfo, LoginTimes, Viewer
from backend.store import CONSOLE, Database, audit, digest, new_token
from backend.store.models import Login, Person
from config import Login as LoginSettings

log = logging.getLogger("carme.identity")

PASSWORD_STAGE = "password"  # noqa: S105 - the name of a stage
FULL_STAGE = "full"
HALF_LIFE_S = 900  # after the password: time to set up an authenticator app
KEEP_S = 1.0  # how old an answer may be
WRITE_EVERY_S = 15.0  # the idle clock is written this often
MOST_KEPT = 10_000
MOST_LOGINS = 50  # of one person; the oldest ends
ENDED_KEPT_S = 7 * 86400
ENDED_OVERLAP_S = 20  # a transaction may commit so long after it took its time


@dataclass(frozen=True)
class _Kept:
    viewer: Viewer
    input_s: float
    expires_s: int
    proved_s: int
    read_at: float  # monotonic seconds


class Logins:
    """Blocking (but `touch`), used from any thread."""

    def __init__(self, db: Database, settings: LoginSettings, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}
        self._keys: dict[str, str] = {}  # login id → key in _kept
        self._generation = 0
        self._inputs: dict[str, float] = {}  # login id → last input known here
        self._written: dict[str, float] = {}
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="idle-clock")
        self.coordinates: Callable[[str], frozenset[str]] = lambda _name: frozenset()
        self.on_end: list[Callable[[str], None]] = []  # called with the id, at once, in this process

    # Beginning

    def begin(
        self,
        rows: DbSession,
        person: str,
        stage: str,
        *,
        roles: Iterable[str],
        address: str,
        user_agent: str,
        browser: str,
        may_enrol: bool = False,
    ) -> tuple[str, Login]:
        """A new login under a new id and cookie; gives the cookie."""
        now = int(self._clock())
        cookie = new_token()
        life_s = (
            self._settings.absolute_s if stage == FULL_STAGE else min(HALF_LIFE_S, self._settings.absolute_s)
        )
        login = Login(
            id=secrets.token_hex(16),
            digest=digest(cookie),
            person=person,
            stage=stage,
            roles=sorted(roles),
            address=address[:64],
            user_agent=user_agent[:255],
            created_s=now,
            proved_s=now,
            input_s=now,
            expires_s=now + life_s,
            attempts=0,
            browser=browser,
            may_enrol=may_enrol,
        )
        rows.add(login)
        if stage == FULL_STAGE:
            self._end_oldest(rows, person, now)
        return cookie, login

    def _end_oldest(self, rows: DbSession, person: str, now: int) -> None:
        mine = rows.scalars(
            select(Login)
            .where(Login.person == person, Login.stage == FULL_STAGE, Login.ended_s.is_(None))
            .order_by(Login.created_s.desc())
        ).all()
        for login in mine[MOST_LOGINS:]:
            login.ended_s, login.ended_why = now, "replaced"
            self.forget(login.id)

    # Looking up

    def viewer(self, cookie: str) -> Viewer | None:
        """Who this cookie's full login belongs to, if it still holds."""
        if not cookie:
            return None
        key = digest(cookie)
        kept = self._kept.get(key)
        # What looks asleep may have been woken by another process since.
        if kept is None or time.monotonic() - kept.read_at > KEEP_S or not self._holds(kept):
            kept = self._read(key)
        if kept is None or not self._holds(kept):
            return None
        return self._as_fresh(kept)

    def _as_fresh(self, kept: _Kept) -> Viewer:
        fresh = self._clock() - kept.proved_s <= self._settings.fresh_s
        return kept.viewer if fresh == kept.viewer.fresh else replace(kept.viewer, fresh=fresh)

    def _holds(self, kept: _Kept) -> bool:
        now = self._clock()
        newest = max(kept.input_s, self._inputs.get(kept.viewer.login_id, 0.0))
        return now < kept.expires_s and now - newest < self._settings.idle_s

    def _read(self, key: str) -> _Kept | None:
        generation = self._generation
        with self._db.read() as rows:
            found = rows.execute(
                select(Login, Person)
                .join(Person, Person.name == Login.person)
                .where(Login.digest == key, Login.stage == FULL_STAGE, Login.ended_s.is_(None))
            ).one_or_none()
        if found is None:
            with self._lock:
                self._kept.pop(key, None)
            return None
        login, person = found
        if person.locked:
            return None
        coordinates = self.coordinates(person.name)
        roles = {"user", *login.roles, *person.roles} | ({"coordinator"} if coordinates else set())
        fresh = self._clock() - login.proved_s <= self._settings.fresh_s
        viewer = Viewer(
            person.name, person.display_name, person.uid, frozenset(roles), login.id, person.mail,
            coordinates, fresh,
        )  # fmt: skip
        kept = _Kept(viewer, login.input_s, login.expires_s, login.proved_s, time.monotonic())
        with self._lock:
            if generation == self._generation:  # nothing was ended while we read
                if len(self._kept) >= MOST_KEPT:
                    self._kept.clear()
                    self._keys.clear()
                self._kept[key], self._keys[login.id] = kept, key
        return kept

    def viewer_of(self, login_id: str) -> Viewer | None:
        """The same by the login's public id, for a page that is already open."""
        kept = self._kept.get(self._keys.get(login_id, ""))
        if kept is not None and time.monotonic() - kept.read_at <= KEEP_S and self._holds(kept):
            return self._as_fresh(kept)
        with self._db.read() as rows:
            key = rows.scalar(select(Login.digest).where(Login.id == login_id, Login.ended_s.is_(None)))
        kept_now = self._read(key) if key else None
        return self._as_fresh(kept_now) if kept_now is not None and self._holds(kept_now) else None

    def standing(self, name: str) -> Viewer | None:
        """The person without a login, with today's rights: for what is done in their name while they are away.

        None when there is no such person, or a locked one. Roles that a directory's groups give are those of the
        last sign-in.
        """
        with self._db.read() as rows:
            person = rows.get(Person, name)
        if person is None or person.locked:
            return None
        coordinates = self.coordinates(name)
        roles = {"user", *person.directory_roles, *person.roles} | ({"coordinator"} if coordinates else set())
        return Viewer(name, person.display_name, person.uid, frozenset(roles), "", person.mail, coordinates)

    def half(self, rows: DbSession, cookie: str) -> Login | None:
        """The login of a cookie that has shown its password and nothing more."""
        if not cookie:
            return None
        login = rows.scalar(
            select(Login).where(
                Login.digest == digest(cookie), Login.stage == PASSWORD_STAGE, Login.ended_s.is_(None)
            )
        )
        return login if login is not None and self._clock() < login.expires_s else None

    def full(self, rows: DbSession, cookie: str) -> Login | None:
        """The row of a cookie's full login, if it still holds."""
        viewer = self.viewer(cookie)
        if viewer is None:
            return None
        login = rows.get(Login, viewer.login_id)
        return login if login is not None and login.ended_s is None else None

    def times(self, login_id: str) -> LoginTimes | None:
        with self._db.read() as rows:
            login = rows.get(Login, login_id)
        if login is None or login.ended_s is not None:
            return None
        idle_end_s = int(max(login.input_s, self._inputs.get(login_id, 0.0))) + self._settings.idle_s
        idle_end_s = min(idle_end_s, login.expires_s)
        return LoginTimes(idle_end_s, idle_end_s - self._settings.warn_s, login.expires_s)

    # Staying awake

    def touch(self, login_id: str) -> None:
        """The person did something: the idle clock starts anew. Never blocks; written every WRITE_EVERY_S."""
        now = self._clock()
        with self._lock:
            self._inputs[login_id] = now
            due = now - self._written.get(login_id, 0.0) >= WRITE_EVERY_S
            if due:
                self._written[login_id] = now
        if due:
            self._writer.submit(self._write_in_background, {login_id: now})

    def flush(self) -> None:
        """Write what `touch` has noted and not written yet."""
        with self._lock:
            waiting = {each: at for each, at in self._inputs.items() if at > self._written.get(each, 0.0)}
            self._written.update(waiting)
        if waiting:
            self._write_inputs(waiting)
        done: Future[None] = self._writer.submit(lambda: None)
        done.result()

    def _write_in_background(self, inputs: dict[str, float]) -> None:
        try:
            self._write_inputs(inputs)
        except SQLAlchemyError as error:  # the next touch or sweep writes a later time
            log.warning("the idle clock was not written: %s", error)

    def _write_inputs(self, inputs: dict[str, float]) -> None:
        idle_s = self._settings.idle_s
        with self._db.begin() as rows:
            for login_id, at in inputs.items():
                rows.execute(
                    update(Login)
                    .where(
                        Login.id == login_id,
                        Login.ended_s.is_(None),
                        Login.input_s < int(at),
                        Login.input_s > int(at) - idle_s,  # one that has gone to sleep stays so
                    )
                    .values(input_s=int(at))
                )

    # Ending

    def end(self, rows: DbSession, logins: Iterable[Login], why: str) -> list[str]:
        """End these logins in the caller's transaction; the caller calls `announce` after its commit."""
        now = int(self._clock())
        ended = []
        for login in logins:
            if login.ended_s is None:
                login.ended_s, login.ended_why, login.pending_secret = now, why, None
                ended.append(login.id)
        for login_id in ended:
            self.forget(login_id)
        return ended

    def announce(self, login_ids: Iterable[str]) -> None:
        """After the commit: no answer of before may be given any more, and open sockets are to be closed."""
        for login_id in login_ids:
            self.forget(login_id)
            for callback in list(self.on_end):
                callback(login_id)

    def forget(self, login_id: str) -> None:
        with self._lock:
            self._generation += 1
            self._kept.pop(self._keys.pop(login_id, ""), None)
            self._inputs.pop(login_id, None)
            self._written.pop(login_id, None)

    def forget_person(self, name: str) -> None:
        """What is known of the person has changed (roles, lock)."""
        with self._lock:
            self._generation += 1
            for key in [k for k, kept in self._kept.items() if kept.viewer.name == name]:
                del self._kept[key]

    def of(self, rows: DbSession, name: str) -> list[Login]:
        """The person's logins that hold, newest first, both stages."""
        now = int(self._clock())
        return list(
            rows.scalars(
                select(Login)
                .where(
                    Login.person == name,
                    Login.ended_s.is_(None),
                    Login.expires_s > now,
                    Login.input_s > now - self._settings.idle_s,
                )
                .order_by(Login.created_s.desc())
            )
        )

    def listed(self, name: str, current: str) -> list[LoginInfo]:
        with self._db.read() as rows:
            mine = [login for login in self.of(rows, name) if login.stage == FULL_STAGE]
        return [
            LoginInfo(
                each.id, each.address, each.user_agent, each.created_s,
                max(each.input_s, int(self._inputs.get(each.id, 0))), each.expires_s, each.id == current,
            )
            for each in mine
        ]  # fmt: skip

    def ended_since(self, since_s: float) -> list[EndedLogin]:
        """Logins that ended at or after `since_s`; some may be told twice, none is left out."""
        with self._db.read() as rows:
            found = rows.execute(
                select(Login.id, Login.ended_s, Login.ended_why).where(
                    Login.ended_s >= int(since_s) - ENDED_OVERLAP_S
                )
            ).all()
        return [EndedLogin(row[0], row[1] or 0, row[2] or "") for row in found]

    def ended_among(self, login_ids: Iterable[str]) -> set[str]:
        """Which of these logins don't hold any more, for whatever reason."""
        wanted = list(set(login_ids))
        now = int(self._clock())
        holding: set[str] = set()
        with self._db.read() as rows:
            for start in range(0, len(wanted), 500):
                for login in rows.scalars(
                    select(Login).where(
                        Login.id.in_(wanted[start : start + 500]),
                        Login.ended_s.is_(None),
                        Login.expires_s > now,
                    )
                ):
                    if now - max(login.input_s, self._inputs.get(login.id, 0.0)) < self._settings.idle_s:
                        holding.add(login.id)
        ended = set(wanted) - holding
        for login_id in ended:  # another process may have ended it: its kept answer is void too
            self.forget(login_id)
        return ended

    def sweep(self) -> list[str]:
        """Write waiting inputs, end what has run out, clear away what ended long ago; gives the ended ids."""
        self.flush()
        now = int(self._clock())
        idle_before = now - self._settings.idle_s
        run_out = or_(Login.expires_s <= now, Login.input_s <= idle_before)
        with self._db.read() as rows:
            due = rows.scalar(select(Login.id).where(Login.ended_s.is_(None), run_out).limit(1)) is not None
            old = rows.scalar(select(Login.id).where(Login.ended_s < now - ENDED_KEPT_S).limit(1)) is not None
        if not due and not old:
            return []
        ended: list[str] = []
        with self._db.begin() as rows:
            for login in rows.scalars(select(Login).where(Login.ended_s.is_(None), run_out)):
                why = "expired" if login.expires_s <= now else "idle"
                ended += self.end(rows, [login], why)
                if login.stage == FULL_STAGE:
                    audit(rows, CONSOLE, f"login.{why}", login.id, person=login.person)
            for login in rows.scalars(select(Login).where(Login.ended_s < now - ENDED_KEPT_S)):
                rows.delete(login)
        self.announce(ended)
        return ended

    def close(self) -> None:
        self.flush()
        self._writer.shutdown()
