"""What every directory of people offers, and how its refusals are told apart inside the console."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Why = Literal["unknown", "wrong", "locked"]
NOT_EXPIRED = "This password has not expired. Sign in, and change it on your account page."


@dataclass(frozen=True)
class DirectoryPerson:
    """A person who has just shown the right password."""

    name: str  # as on the cluster
    display_name: str
    mail: str
    uid: int | None
    roles: frozenset[str]  # of operator, admin
    notice: str = ""  # what the directory wants the person to know


class WrongPassword(Exception):
    """No entry. `why` stays inside the console (audit): outside, all of these look alike."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why = why


class Budget(Protocol):
    """How many wrong passwords may still be passed on (see backend.identity.throttle.PassedOn)."""

    def take(self, key: str) -> None:
        """One more password is about to be passed on. Raises Throttled."""

    def settle(self, key: str, *, wrong: bool | None) -> None:
        """It was wrong, right, or (None) never judged."""


class Directory(Protocol):
    """Blocking, used from any thread."""

    source: str

    def authenticate(self, name: str, password: str, budget: Budget) -> DirectoryPerson:
        """Raises WrongPassword, Throttled, PasswordExpired, NotAllowedHere, DirectoryDown."""

    def change_password(self, name: str, old: str, new: str, budget: Budget, *, expired_only: bool = False) -> None:
        """`expired_only`: refuse while the old one still opens the account.

        Raises WrongPassword, Throttled, PasswordRefused, DirectoryDown.
        """
