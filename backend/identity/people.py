"""Accounts as the console keeps them: added, locked, given roles; the first of all; one-time codes and
links."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import time
from collections.abc import Callable, Iterable

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session as DbSession

from backend.identity.directories.base import DirectoryPerson
from backend.identity.errors import NoSuchPerson, PersonRefused, SetupRefused
from backend.identity.factors import Factors, _count, normalized
from backend.identity.viewer import PersonInfo
from backend.store import CONSOLE, Database, SecretBox, audit, new_token
from backend.store.models import Factor, OneTimeLink, Person

NAME = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")  # as Unix names are
GRANTED_ROLES = frozenset({"operator", "admin"})
SETUP = "setup"
ENROL = "enrol"
SETUP_LIFE_S = 24 * 3600
ENROL_LIFE_S = 72 * 3600


class People:
    """Rows of people and one-time links. Methods that take `rows` work within the caller's transaction."""

    def __init__(
        self, db: Database, box: SecretBox, factors: Factors, clock: Callable[[], float] = time.time
    ) -> None:
        self._db = db
        self._box = box
        self._factors = factors
        self._clock = clock

    def get(self, rows: DbSession, name: str) -> Person:
        person = rows.get(Person, name)
        if person is None:
            raise NoSuchPerson(f"There is no account {name!r}.")
        return person

    def anyone(self) -> bool:
        with self._db.read() as rows:
            return rows.scalar(select(Person.name).limit(1)) is not None

    def add(
        self,
        rows: DbSession,
        *,
        actor: str,
        name: str,
        password_hash: str,
        display_name: str,
        mail: str,
        roles: Iterable[str],
        uid: int | None,
    ) -> Person:
        """A local account. Raises PersonRefused."""
        check_name(name)
        wanted = _checked_roles(roles)
        if rows.get(Person, name) is not None:
            raise PersonRefused(f"There is an account {name!r} already.")
        person = Person(
            name=name,
            source="local",
            display_name=(display_name or name)[:255],
            mail=mail[:255],
            uid=uid if uid is not None else unix_uid(name),
            password_hash=password_hash,
            roles=wanted,
            locked=False,
            created_s=int(self._clock()),
        )
        rows.add(person)
        rows.flush()
        audit(rows, actor, "person.add", name, roles=wanted)
        return person

    def remember(self, rows: DbSession, found: DirectoryPerson, source: str) -> Person:
        """The row of a person who has just shown the right password, brought up to date.

        A name that comes from another source than before is another person: roles and second factor don't
        pass on.
        """
        person = rows.get(Person, found.name)
        now = int(self._clock())
        if person is None:
            person = Person(
                name=found.name,
                source=source,
                created_s=now,
                roles=[],
                locked=False,
                display_name="",
                mail="",
            )
            rows.add(person)
            audit(rows, CONSOLE, "person.first-seen", found.name, source=source)
        elif person.source != source:
            audit(rows, CONSOLE, "person.source", found.name, before=person.source, after=source)
            person.source, person.roles, person.password_hash = source, [], None
            self._factors.remove(rows, found.name)
        person.display_name = found.display_name or found.name
        person.mail, person.uid, person.seen_s = found.mail, found.uid, now
        person.directory_roles = sorted(found.roles)
        rows.flush()
        return person

    def listed(self) -> list[PersonInfo]:
        with self._db.read() as rows:
            with_factor = set(rows.scalars(select(Factor.person)))
            return [
                PersonInfo(
                    each.name, each.source, each.display_name, each.mail, each.uid, tuple(each.roles),
                    each.locked, each.name in with_factor, each.created_s, each.seen_s,
                )
                for each in rows.scalars(select(Person).order_by(Person.name))
            ]  # fmt: skip

    def set_roles(self, rows: DbSession, actor: str, name: str, roles: Iterable[str]) -> None:
        wanted = _checked_roles(roles)
        self.get(rows, name).roles = wanted
        audit(rows, actor, "person.roles", name, roles=wanted)

    # One-time links and codes

    def setup_token(self) -> str | None:
        """The secret of a fresh set-up link; None once there is an account. Earlier links are void."""
        with self._db.begin() as rows:
            if rows.scalar(select(func.count()).select_from(Person)):
                return None
            rows.execute(delete(OneTimeLink).where(OneTimeLink.purpose == SETUP))
            token = new_token()
            self._issue(rows, SETUP, None, token, SETUP_LIFE_S)
            audit(rows, CONSOLE, "setup.link")
            return token

    def setup_holds(self, token: str) -> bool:
        """Whether this set-up link can still be used, without using it."""
        with self._db.read() as rows:
            link = rows.get(OneTimeLink, self._link_digest(SETUP, None, token))
            unused = link is not None and link.used_s is None and link.expires_s > self._clock()
            return unused and rows.scalar(select(Person.name).limit(1)) is None

    def use_setup(self, rows: DbSession, token: str) -> None:
        """Raises SetupRefused. Within one transaction with the account it opens the way for."""
        if rows.scalar(select(Person.name).limit(1)) is not None or not self._use(rows, SETUP, None, token):
            raise SetupRefused

    def enrolment_code(self, rows: DbSession, actor: str, name: str) -> str:
        """A code that lets `name` set up a first second factor; given by an admin, good for three days,
        once."""
        code = "-".join(secrets.token_hex(2) for _ in range(4))
        rows.execute(delete(OneTimeLink).where(OneTimeLink.purpose == ENROL, OneTimeLink.person == name))
        self._issue(rows, ENROL, name, normalized(code), ENROL_LIFE_S)
        audit(rows, actor, "person.enrolment-code", name)
        return code

    def use_enrolment_code(self, rows: DbSession, name: str, code: str) -> bool:
        return self._use(rows, ENROL, name, normalized(code))

    def _issue(self, rows: DbSession, purpose: str, person: str | None, token: str, life_s: int) -> None:
        rows.add(
            OneTimeLink(
                digest=self._link_digest(purpose, person, token),
                purpose=purpose,
                person=person,
                expires_s=int(self._clock()) + life_s,
            )
        )

    def _use(self, rows: DbSession, purpose: str, person: str | None, token: str) -> bool:
        now = int(self._clock())
        used = rows.execute(
            update(OneTimeLink)
            .where(
                OneTimeLink.digest == self._link_digest(purpose, person, token),
                OneTimeLink.purpose == purpose,
                OneTimeLink.used_s.is_(None),
                OneTimeLink.expires_s > now,
            )
            .values(used_s=now)
        )
        return _count(used) == 1

    def _link_digest(self, purpose: str, person: str | None, token: str) -> str:
        return self._box.hmac("one-time link", f"{purpose}\0{person or ''}\0{token}")


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise PersonRefused(
            "A name has 1 to 32 characters: small letters, digits, _ . -, a letter or _ first."
        )


def _checked_roles(roles: Iterable[str]) -> list[str]:
    wanted = sorted(set(roles) - {"user"})
    unknown = set(wanted) - GRANTED_ROLES
    if unknown:
        raise PersonRefused(f"Unknown role {sorted(unknown)[0]!r}; there are operator and admin.")
    return wanted


def unix_uid(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def owner_uid() -> int:
    """The Unix user this instance runs as."""
    return os.geteuid()
