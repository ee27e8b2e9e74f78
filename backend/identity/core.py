"""What the parts of identity share: the directory, logins, factors, people, throttles, and the ways they
meet."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session as DbSession

from backend.identity import policy
from backend.identity.directories import (
    Directory,
    DirectoryPerson,
    LdapDirectory,
    LocalDirectory,
    WrongPassword,
)
from backend.identity.errors import (
    DirectoryDown,
    NotAllowed,
    NotAllowedHere,
    PasswordExpired,
    PasswordRefused,
    SignInRefused,
)
from backend.identity.factors import Factors
from backend.identity.logins import FULL_STAGE, Logins
from backend.identity.people import People
from backend.identity.throttle import PassedOn, Throttles, address_key
from backend.identity.viewer import Needs, SignedIn, Viewer
from backend.store import Database, SecretBox, audit, digest, new_token
from backend.store.models import KnownBrowser
from config import Settings

LONGEST_NAME = 128
LONGEST_PASSWORD = 4096
KNOWN_FOR_S = 180 * 86400
MOST_BROWSERS = 20  # remembered of one person
REFUSAL_FLOOR_S = 0.5  # a refusal comes no sooner ...
REFUSAL_STEP_S = 0.25  # ... and after that only at these steps: what took how long doesn't show


@dataclass(frozen=True)
class Attempt:
    """Who tries, from where, and what that counts against."""

    name: str  # as typed, normalized
    own: str  # throttle key of the account or browser
    address: str  # throttle key, empty in a known browser
    browser: str  # digest of the known browser, or empty
    shown_address: str

    @property
    def known(self) -> bool:
        return bool(self.browser)


class Core:
    """Blocking, used from any thread; callers on an event loop use an executor (for sign-in one of its own:
    refusals are held back for half a second)."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        box: SecretBox,
        *,
        directory: Directory | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = settings
        self.db = db
        self.box = box
        self.clock = clock
        self.sleep = sleep
        login = settings.login
        self.directory = directory or _directory(settings, db, clock)
        self.throttles = Throttles(db, after=login.throttle_after, max_s=login.throttle_max_s, clock=clock)
        self.logins_kept = Logins(db, login, clock)
        self.factors = Factors(box, settings.instance.name, clock)
        self.people_kept = People(db, box, self.factors, clock)

    def attempt(self, name: str, address: str, known_browser: str) -> Attempt:
        """Raises SignInRefused for what can be no name."""
        typed = normal_name(name)
        browser = self._known(typed, known_browser)
        own = f"browser:{browser}" if browser else f"account:{typed.casefold()[:LONGEST_NAME]}"
        return Attempt(typed, own, "" if browser else address_key(address), browser, address)

    def check_password(self, attempt: Attempt, password: str, action: str) -> DirectoryPerson:
        """The one way to the directory with a password: throttled, counted, audited, refused in one time.

        Raises SignInRefused, NotAllowedHere, Throttled, PasswordExpired, DirectoryDown.
        """
        started = time.monotonic()
        self.throttles.take(attempt.own, attempt.address)
        try:
            if len(password) > LONGEST_PASSWORD:
                raise WrongPassword("wrong")
            found = self.directory.authenticate(attempt.name, password, self.budget(attempt))
        except WrongPassword as refusal:
            self.refuse(attempt, action, refusal.why)
            self.hold(started)
            raise SignInRefused from None
        except (NotAllowedHere, PasswordExpired) as error:
            self.throttles.give_back(attempt.own, attempt.address)
            self.refuse(attempt, action, type(error).__name__)
            raise
        except DirectoryDown:
            self.throttles.give_back(attempt.own, attempt.address)
            raise
        with self.db.begin() as rows:
            person = self.people_kept.remember(rows, found, self.directory.source)
            locked = person.locked
        if locked:
            self.refuse(attempt, action, "locked")
            self.hold(started)
            raise SignInRefused
        self.throttles.succeeded(attempt.own, attempt.address)
        return found

    def replace_password(self, attempt: Attempt, old: str, new: str, *, expired_only: bool = False) -> None:
        """The new password in place of the old one, in the directory; the old one counts as a try.

        `expired_only` for one who has shown no second factor: a password that still holds stays as it is.

        Raises SignInRefused, Throttled, PasswordExpired, PasswordRefused, DirectoryDown.
        """
        started = time.monotonic()
        self.throttles.take(attempt.own, attempt.address)
        action = "password.change"
        try:
            if max(len(old), len(new)) > LONGEST_PASSWORD:
                raise WrongPassword("wrong")
            self.directory.change_password(attempt.name, old, new, self.budget(attempt), expired_only=expired_only)
        except WrongPassword as refusal:
            self.refuse(attempt, action, refusal.why)
            self.hold(started)
            raise SignInRefused from None
        except (PasswordRefused, PasswordExpired, DirectoryDown) as error:
            self.throttles.give_back(attempt.own, attempt.address)
            self.refuse(attempt, action, type(error).__name__)
            raise
        self.throttles.succeeded(attempt.own, attempt.address)
        with self.db.begin() as rows:
            audit(rows, attempt.name, action, attempt.name, "done", attempt.shown_address)

    def budget(self, attempt: Attempt) -> PassedOn:
        ldap = self.settings.ldap
        return PassedOn(
            self.db,
            most=ldap.lockout_after,
            window_s=ldap.lockout_window_s,
            known=attempt.known,
            clock=self.clock,
        )

    def refuse(self, attempt: Attempt, action: str, why: str) -> None:
        with self.db.begin() as rows:
            audit(rows, attempt.name, action, attempt.name, "refused", attempt.shown_address, why=why)

    def hold(self, started: float) -> None:
        """Sleep until a refusal may be answered."""
        spent = time.monotonic() - started
        steps = max(0, -(-(spent - REFUSAL_FLOOR_S) // REFUSAL_STEP_S))
        self.sleep(max(0.0, REFUSAL_FLOOR_S + steps * REFUSAL_STEP_S - spent))

    def needs(self, rows: DbSession, name: str, *, may_enrol: bool) -> Needs:
        """What a login that has shown its password needs next."""
        rule = self.settings.login.second_factor
        if rule == "off":
            return "none"
        if self.factors.has(rows, name):
            return "code"
        if rule == "optional":
            return "none"
        return "enrol" if may_enrol or not self.settings.login.enrolment_code else "enrol+code"

    def begin_full(
        self, rows: DbSession, name: str, *, roles: list[str], address: str, user_agent: str, browser: str
    ) -> SignedIn:
        """A full login, in the caller's transaction, and the mark of the browser if it has none yet."""
        mark = ""
        if not browser:
            mark = self._remember_browser(rows, name)
            browser = digest(mark)
        cookie, login = self.logins_kept.begin(
            rows, name, FULL_STAGE, roles=roles, address=address, user_agent=user_agent, browser=browser
        )
        audit(rows, name, "login.begin", login.id, "done", address)
        return SignedIn(cookie, login.id, name, mark)

    def end_logins(self, rows: DbSession, name: str, why: str, *, but: str = "") -> list[str]:
        """End the person's logins, in the caller's transaction; `announce` them after."""
        mine = [each for each in self.logins_kept.of(rows, name) if each.id != but]
        return self.logins_kept.end(rows, mine, why)

    def announce(self, ended: list[str]) -> None:
        self.logins_kept.announce(ended)

    def forget_browsers(self, rows: DbSession, name: str, *, but: str = "") -> None:
        rows.execute(delete(KnownBrowser).where(KnownBrowser.person == name, KnownBrowser.digest != but))

    def _known(self, typed: str, known_browser: str) -> str:
        if not known_browser:
            return ""
        with self.db.read() as rows:
            row = rows.get(KnownBrowser, digest(known_browser))
        if row is None or row.person.casefold() != typed.casefold():
            return ""
        return row.digest if self.clock() - row.created_s < KNOWN_FOR_S else ""

    def _remember_browser(self, rows: DbSession, name: str) -> str:
        mark = new_token()
        rows.add(KnownBrowser(digest=digest(mark), person=name, created_s=int(self.clock())))
        rows.flush()
        mine = rows.scalars(
            select(KnownBrowser).where(KnownBrowser.person == name).order_by(KnownBrowser.created_s.desc())
        ).all()
        for old in mine[MOST_BROWSERS:]:
            rows.delete(old)
        return mark


def acting(actor: Viewer | str, action: str = "person.admin") -> str:
    """The name to write in the audit. A viewer must be allowed; a plain name is the data folder's owner
    (CLI)."""
    if isinstance(actor, Viewer):
        if not policy.allowed(actor, action):
            raise NotAllowed
        return actor.name
    return actor


def normal_name(name: str) -> str:
    """The name as typed, in one spelling. Raises SignInRefused for what no one is called."""
    typed = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", name)).strip()
    if not typed or len(typed) > LONGEST_NAME or any(unicodedata.category(c).startswith("C") for c in typed):
        raise SignInRefused
    return typed


def _directory(settings: Settings, db: Database, clock: Callable[[], float]) -> Directory:
    if settings.directory.kind == "ldap":
        return LdapDirectory(settings.ldap, clock)
    return LocalDirectory(db, settings.login.argon2_at_once)
