"""An Identity on an empty database, with a clock that tests turn.

- `Clock`: seconds that stand still until a test moves them.
- `LockingDirectory`: a directory that counts wrong passwords and locks, as OpenLDAP's ppolicy does.
- `kit(tmp_path, ...)`: identity with cheap argon2, no sleeping, and the clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyotp
from argon2 import PasswordHasher

from backend.identity import Identity, SignedIn
from backend.identity.directories import Budget, Directory, DirectoryPerson, LocalDirectory, WrongPassword
from backend.store import Database, SecretBox
from backend.store.models import Audit
from config import Settings, load_settings

START_S = 1_800_000_000
PASSWORD = "correct horse battery"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Clock:
    def __init__(self, now_s: float = START_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def forward(self, seconds: float) -> None:
        self.now_s += seconds


class LockingDirectory:
    """Everybody's password is PASSWORD; `lock_after` wrong ones in a row lock the person, for ever."""

    source = "ldap"

    def __init__(self, *names: str, lock_after: int = 5) -> None:
        self.names = names
        self.lock_after = lock_after
        self.wrong: Counter[str] = Counter()
        self.roles: frozenset[str] = frozenset()

    def authenticate(self, name: str, password: str, budget: Budget) -> DirectoryPerson:
        known = name.casefold() in self.names
        key = f"directory:{name.casefold()}"
        budget.take(key)
        if self.wrong[name] >= self.lock_after:
            budget.settle(key, wrong=None)
            raise WrongPassword("locked")
        right = known and password == PASSWORD
        budget.settle(key, wrong=not right)
        if not right:
            self.wrong[name] += 1
            raise WrongPassword("wrong" if known else "unknown")
        self.wrong[name] = 0
        return DirectoryPerson(name.casefold(), name.title(), f"{name}@example.org", 42001, self.roles)

    def change_password(self, name: str, old: str, new: str, budget: Budget, *, expired_only: bool = False) -> None:
        raise AssertionError("not asked for in these tests")


@dataclass
class Kit:
    identity: Identity
    clock: Clock
    settings: Settings
    db: Database
    slept: list[float] = field(default_factory=list)

    def add(self, name: str = "ada", *, roles: tuple[str, ...] = (), password: str = PASSWORD) -> None:
        self.identity.add_person("console", name, password, roles=roles)

    def enrol(self, name: str = "ada") -> pyotp.TOTP:
        return pyotp.TOTP(self.identity.enrol_directly(name))

    def code(self, totp: pyotp.TOTP) -> str:
        return totp.at(int(self.clock()))

    def sign_in(self, totp: pyotp.TOTP, name: str = "ada", known_browser: str = "") -> SignedIn:
        """Both steps, in a time step of its own."""
        self.clock.forward(30)
        pending = self.identity.sign_in_password(name, PASSWORD, "192.0.2.1", known_browser)
        return self.identity.sign_in_code(pending.cookie, self.code(totp))

    def audited(self) -> list[tuple[str, str, str]]:
        with self.db.read() as rows:
            return [(line.actor, line.action, line.outcome) for line in rows.query(Audit).order_by(Audit.id)]


def kit(tmp_path: Path, directory: Directory | None = None, **environ: str) -> Kit:
    """`environ`: settings by environment name without the prefix, e.g. LOGIN__IDLE_S="60"."""
    named = {f"CARME_{key}": value for key, value in environ.items()}
    settings = load_settings(None, {"CARME_DATA": str(tmp_path), **named})
    db = Database(settings.store.url)
    db.upgrade()
    clock = Clock()
    slept: list[float] = []
    identity = Identity(
        settings,
        db,
        SecretBox(tmp_path),
        directory=directory or LocalDirectory(db, settings.login.argon2_at_once, CHEAP),
        clock=clock,
        sleep=slept.append,
    )
    return Kit(identity, clock, settings, db, slept)
