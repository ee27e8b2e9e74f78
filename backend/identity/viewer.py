"""What the rest of the console knows of people and logins: plain frozen facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Needs = Literal["none", "code", "enrol", "enrol+code"]


@dataclass(frozen=True)
class Viewer:
    """A person who is fully signed in, in one login."""

    name: str  # as on the cluster
    display_name: str
    uid: int | None  # Unix uid
    roles: frozenset[str]  # user, and perhaps coordinator, operator, admin
    login_id: str
    mail: str = ""
    coordinates: frozenset[str] = frozenset()  # Slurm accounts the person coordinates
    fresh: bool = False  # password and code were shown a short time ago


@dataclass(frozen=True)
class Pending:
    """After the password. With needs "none" the person is signed in and the cookie is a full login's."""

    cookie: str
    needs: Needs  # code: of the app; enrol: set one up; enrol+code: the same, with an admin's code
    name: str
    login_id: str
    known_browser: str = ""  # with needs "none": the long-lived cookie of this browser
    notice: str = ""  # what the directory wants to be told, e.g. that the password expires soon


@dataclass(frozen=True)
class SignedIn:
    """A full login has begun, under a new cookie."""

    cookie: str
    login_id: str
    name: str
    known_browser: str  # the long-lived cookie of this browser


@dataclass(frozen=True)
class PendingLogin:
    """A cookie's login that has shown its password and nothing more."""

    name: str
    login_id: str
    needs: Needs
    tries_left: int


@dataclass(frozen=True)
class Enrolment:
    """A second factor being set up: for an authenticator app, as QR code and as text."""

    uri: str  # otpauth://
    secret_text: str  # base32, in groups of four
    qr_svg: str  # an <svg> element


@dataclass(frozen=True)
class Confirmed:
    """A second factor that is set up."""

    login: SignedIn
    recovery_codes: tuple[str, ...]  # shown this once


@dataclass(frozen=True)
class FactorInfo:
    """A person's second factor, as they may see it."""

    confirmed_s: int
    recovery_codes_left: int


@dataclass(frozen=True)
class LoginInfo:
    """One of a person's logins, as they may see it."""

    id: str
    address: str
    user_agent: str
    created_s: int
    input_s: int
    expires_s: int
    current: bool


@dataclass(frozen=True)
class LoginTimes:
    """When a login ends: without further input, and in any case. Unix seconds."""

    idle_end_s: int
    warn_s: int  # when to warn of it
    end_s: int


@dataclass(frozen=True)
class EndedLogin:
    id: str
    ended_s: int
    why: str  # sign-out, revoked, idle, expired, locked, replaced, tries


@dataclass(frozen=True)
class PersonInfo:
    """One account, as an admin sees it."""

    name: str
    source: str
    display_name: str
    mail: str
    uid: int | None
    roles: tuple[str, ...]
    locked: bool
    has_factor: bool
    created_s: int
    seen_s: int | None


@dataclass(frozen=True)
class DirectoryStatus:
    """Whether the directory answered when it was last asked."""

    ok: bool
    since_s: float  # of this state
    why: str = ""
