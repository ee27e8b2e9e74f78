"""Local accounts: names and argon2 hashes in the console's own database."""

from __future__ import annotations

import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from backend.identity.directories.base import NOT_EXPIRED, Budget, DirectoryPerson, WrongPassword
from backend.identity.errors import PasswordRefused
from backend.store import Database
from backend.store.models import Person

SHORTEST = 10
LONGEST = 1000


class LocalDirectory:
    """Blocking, used from any thread; at most `at_once` verifications run at a time."""

    source = "local"

    def __init__(self, db: Database, at_once: int, hasher: PasswordHasher | None = None) -> None:
        self._db = db
        self._hasher = hasher or PasswordHasher()
        self._turn = threading.BoundedSemaphore(at_once)
        self._dummy = self._hash("no password of anyone's")

    def authenticate(self, name: str, password: str, budget: Budget) -> DirectoryPerson:
        """See base.Directory. An unknown person costs one verification, as a known one does."""
        person = self._person(name)
        right = self._verify(person.password_hash if person else None, password)
        if person is None or not right:
            raise WrongPassword("wrong" if person else "unknown")
        if person.password_hash and self._hasher.check_needs_rehash(person.password_hash):
            self._store(name, password)
        return DirectoryPerson(person.name, person.display_name, person.mail, person.uid, frozenset())

    def change_password(self, name: str, old: str, new: str, budget: Budget, *, expired_only: bool = False) -> None:
        """See base.Directory. Local passwords don't expire."""
        self.authenticate(name, old, budget)
        if expired_only:
            raise PasswordRefused(NOT_EXPIRED)
        if old == new:
            raise PasswordRefused("The new password is the old one.")
        self.set_password(name, new)

    def set_password(self, name: str, new: str) -> None:
        """Raises PasswordRefused."""
        check_new_password(name, new)
        self._store(name, new)

    def hashed(self, name: str, password: str) -> str:
        """The hash of a password fit for `name`. Raises PasswordRefused."""
        check_new_password(name, password)
        return self._hash(password)

    def _person(self, name: str) -> Person | None:
        with self._db.read() as rows:
            person = rows.get(Person, name)
        return person if person is not None and person.source == self.source else None

    def _verify(self, stored: str | None, password: str) -> bool:
        with self._turn:
            try:
                self._hasher.verify(stored or self._dummy, password[: LONGEST + 1])
            except VerifyMismatchError:
                return False
            except (VerificationError, InvalidHashError):
                return False
        return stored is not None and len(password) <= LONGEST

    def _hash(self, password: str) -> str:
        with self._turn:
            return self._hasher.hash(password)

    def _store(self, name: str, password: str) -> None:
        fresh = self._hash(password)
        with self._db.begin() as rows:
            person = rows.get(Person, name)
            if person is not None:
                person.password_hash = fresh


def check_new_password(name: str, new: str) -> None:
    """Length counts, and no more rules than that. Raises PasswordRefused."""
    if len(new) < SHORTEST:
        raise PasswordRefused(f"A password needs at least {SHORTEST} characters.")
    if len(new) > LONGEST:
        raise PasswordRefused(f"A password has at most {LONGEST} characters.")
    if "\x00" in new:
        raise PasswordRefused("A password can't contain NUL.")
    if name.casefold() in new.casefold() and len(new) < len(name) + SHORTEST:
        raise PasswordRefused("A password must be more than your name.")
    if len(set(new)) < 4:
        raise PasswordRefused("A password needs more different characters.")
