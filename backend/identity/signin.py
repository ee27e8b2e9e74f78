"""The steps of signing in: password, then code or enrolment; and the first set-up of all."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import update
from sqlalchemy.orm import Session as DbSession

from backend.identity.core import Core
from backend.identity.directories import LocalDirectory
from backend.identity.errors import (
    CodeRefused,
    EnrolmentCodeRefused,
    IdentityError,
    NoEnrolment,
    NotFresh,
    NotSignedIn,
    SetupRefused,
    TooManyTries,
)
from backend.identity.factors import _count, is_recovery_code
from backend.identity.logins import PASSWORD_STAGE
from backend.identity.people import owner_uid
from backend.identity.viewer import Confirmed, Enrolment, Pending, PendingLogin, SignedIn
from backend.store import audit, digest
from backend.store.models import Login

TRIES = 5  # of the second step; then from the start


@dataclass(frozen=True)
class _Outcome:
    """What a transaction has decided: raised or returned after its commit, since raising in it would undo
    it."""

    signed_in: SignedIn | None = None
    refusal: IdentityError | None = None
    ended: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()


class SignIn(Core):
    # Step one

    def sign_in_password(
        self,
        name: str,
        password: str,
        address: str = "",
        known_browser: str = "",
        user_agent: str = "",
    ) -> Pending:
        """Raises SignInRefused, Throttled, PasswordExpired, DirectoryDown."""
        attempt = self.attempt(name, address, known_browser)
        found = self.check_password(attempt, password, "login.password")
        with self.db.begin() as rows:
            needs = self.needs(rows, found.name, may_enrol=False)
            if needs == "none":
                signed_in = self.begin_full(
                    rows, found.name, roles=sorted(found.roles), address=address, user_agent=user_agent,
                    browser=attempt.browser,
                )  # fmt: skip
                return Pending(
                    signed_in.cookie,
                    needs,
                    found.name,
                    signed_in.login_id,
                    signed_in.known_browser,
                    found.notice,
                )
            cookie, login = self.logins_kept.begin(
                rows, found.name, PASSWORD_STAGE, roles=found.roles, address=address, user_agent=user_agent,
                browser=attempt.browser,
            )  # fmt: skip
            audit(rows, found.name, "login.password", login.id, "done", address)
            return Pending(cookie, needs, found.name, login.id, notice=found.notice)

    def change_expired_password(
        self, name: str, old: str, new: str, address: str = "", known_browser: str = ""
    ) -> None:
        """A new password in place of an expired one; then sign in with it.

        Raises SignInRefused, Throttled, PasswordExpired, PasswordRefused, DirectoryDown.
        """
        self.replace_password(self.attempt(name, address, known_browser), old, new, expired_only=True)

    def pending(self, cookie: str) -> PendingLogin | None:
        """The login of a cookie that has shown its password and nothing more."""
        if not cookie:
            return None
        with self.db.read() as rows:
            login = self.logins_kept.half(rows, cookie)
            if login is None:
                return None
            needs = self.needs(rows, login.person, may_enrol=login.may_enrol)
            return PendingLogin(login.person, login.id, needs, max(0, TRIES - login.attempts))

    # Step two

    def sign_in_code(self, cookie: str, code: str, *, recovery: bool = False, address: str = "") -> SignedIn:
        """A code of the authenticator app, or a recovery code (also known by its length). Raises CodeRefused,
        TooManyTries, Throttled, NotSignedIn."""
        with self.db.read() as rows:
            login = self.logins_kept.half(rows, cookie)
        if login is None:
            raise NotSignedIn
        own = f"code-browser:{login.browser}" if login.browser else f"code:{login.person}"
        self.throttles.take(own)
        with self.db.begin() as rows:
            outcome = self._second_step(rows, cookie, code, recovery or is_recovery_code(code), address)
        if outcome.signed_in is not None:
            self.throttles.succeeded(own)
        return self._finish(outcome)

    def _second_step(self, rows: DbSession, cookie: str, code: str, recovery: bool, address: str) -> _Outcome:
        login = self._take_try(rows, cookie)
        if isinstance(login, _Outcome):
            return login
        good = self.use_any_code(rows, login.person, code, recovery=recovery)
        if not good:
            return self._wrong_code(rows, login, address, "login.code", CodeRefused())
        if recovery:
            audit(rows, login.person, "factor.recovery-code", login.person, "done", address)
        return self._promote(rows, login, address)

    def use_any_code(self, rows: DbSession, name: str, code: str, *, recovery: bool = False) -> bool:
        if recovery or is_recovery_code(code):
            return self.factors.use_recovery_code(rows, name, code)
        return self.factors.use_code(rows, name, code)

    def _take_try(self, rows: DbSession, cookie: str) -> Login | _Outcome:
        """Count one try before looking at it: so tries at the same moment can't share one."""
        counted = rows.execute(
            update(Login)
            .where(
                Login.digest == digest(cookie),
                Login.stage == PASSWORD_STAGE,
                Login.ended_s.is_(None),
                Login.attempts < TRIES,
            )
            .values(attempts=Login.attempts + 1)
        )
        login = self.logins_kept.half(rows, cookie)
        if login is None or _count(counted) != 1:
            return _Outcome(refusal=NotSignedIn())
        rows.refresh(login)
        return login

    def _wrong_code(
        self, rows: DbSession, login: Login, address: str, action: str, refusal: IdentityError
    ) -> _Outcome:
        audit(rows, login.person, action, login.id, "refused", address)
        if login.attempts < TRIES:
            return _Outcome(refusal=refusal)
        return _Outcome(refusal=TooManyTries(), ended=tuple(self.logins_kept.end(rows, [login], "tries")))

    def _promote(self, rows: DbSession, login: Login, address: str, codes: tuple[str, ...] = ()) -> _Outcome:
        """From a password's login to a full one: another id, another cookie."""
        ended = self.logins_kept.end(rows, [login], "replaced")
        signed_in = self.begin_full(
            rows, login.person, roles=login.roles, address=address or login.address,
            user_agent=login.user_agent, browser=login.browser,
        )  # fmt: skip
        return _Outcome(signed_in=signed_in, ended=tuple(ended), codes=codes)

    def _finish(self, outcome: _Outcome) -> SignedIn:
        self.announce(list(outcome.ended))
        if outcome.refusal is not None:
            raise outcome.refusal
        if outcome.signed_in is None:
            raise NotSignedIn
        return outcome.signed_in

    # Setting up a second factor: in step two for the first, in a full and fresh login for another

    def begin_enrolment(self, cookie: str, admin_code: str = "", address: str = "") -> Enrolment:
        """What to scan. Asked again in the same login it gives the same.

        Raises NotSignedIn, NoEnrolment (there is a factor: show its code), NotFresh, EnrolmentCodeRefused,
        TooManyTries.
        """
        with self.db.read() as rows:
            half = self.logins_kept.half(rows, cookie)
            needs = self.needs(rows, half.person, may_enrol=half.may_enrol) if half is not None else "none"
        if half is None:
            return self._enrolment_of_full(cookie)
        if needs == "enrol+code":
            self._admit(cookie, admin_code, address)
        elif needs != "enrol":
            raise NoEnrolment("Your account has a second factor. Show its code.")
        with self.db.begin() as rows:
            login = self.logins_kept.half(rows, cookie)
            if login is None:
                raise NotSignedIn
            return self._pending_enrolment(login)

    def _admit(self, cookie: str, admin_code: str, address: str) -> None:
        with self.db.begin() as rows:
            outcome = _Outcome()
            login = self._take_try(rows, cookie)
            if isinstance(login, _Outcome):
                outcome = login
            elif self.people_kept.use_enrolment_code(rows, login.person, admin_code):
                login.may_enrol, login.attempts = True, 0
            else:
                refusal = EnrolmentCodeRefused()
                outcome = self._wrong_code(rows, login, address, "login.enrolment-code", refusal)
        self.announce(list(outcome.ended))
        if outcome.refusal is not None:
            raise outcome.refusal

    def _enrolment_of_full(self, cookie: str) -> Enrolment:
        with self.db.begin() as rows:
            login = self.logins_kept.full(rows, cookie)
            if login is None:
                raise NotSignedIn
            self.must_be_fresh(login)
            return self._pending_enrolment(login)

    def _pending_enrolment(self, login: Login) -> Enrolment:
        if login.pending_secret is None:
            login.pending_secret = self.factors.seal(login.person, self.factors.new_secret())
        return self.factors.enrolment(login.person, self.factors.unseal(login.person, login.pending_secret))

    def confirm_enrolment(self, cookie: str, code: str, address: str = "") -> Confirmed:
        """The app's first code makes it the factor; gives a new cookie and ten recovery codes, shown this
        once.

        Raises NotSignedIn, NoEnrolment, NotFresh, CodeRefused, TooManyTries.
        """
        with self.db.begin() as rows:
            half = self.logins_kept.half(rows, cookie)
            outcome = (
                self._confirm_half(rows, cookie, code, address)
                if half is not None
                else self._confirm_full(rows, cookie, code, address)
            )
        return Confirmed(self._finish(outcome), outcome.codes)

    def _confirm_half(self, rows: DbSession, cookie: str, code: str, address: str) -> _Outcome:
        login = self._take_try(rows, cookie)
        if isinstance(login, _Outcome):
            return login
        if (
            login.pending_secret is None
            or self.needs(rows, login.person, may_enrol=login.may_enrol) != "enrol"
        ):
            return _Outcome(refusal=NoEnrolment("There is no second factor being set up here."))
        if not self._store_pending(rows, login, code):
            return self._wrong_code(rows, login, address, "factor.enrol", CodeRefused())
        codes = self.factors.new_recovery_codes(rows, login.person)
        audit(rows, login.person, "factor.enrol", login.person, "done", address)
        return self._promote(rows, login, address, codes)

    def _confirm_full(self, rows: DbSession, cookie: str, code: str, address: str) -> _Outcome:
        login = self.logins_kept.full(rows, cookie)
        if login is None:
            return _Outcome(refusal=NotSignedIn())
        if not self.is_fresh(login):
            return _Outcome(refusal=NotFresh())
        if login.pending_secret is None:
            return _Outcome(refusal=NoEnrolment("There is no second factor being set up here."))
        if not self._store_pending(rows, login, code):
            return _Outcome(refusal=CodeRefused())
        codes = self.factors.new_recovery_codes(rows, login.person)
        audit(rows, login.person, "factor.change", login.person, "done", address)
        ended = self.end_logins(rows, login.person, "replaced")  # others were begun with the old factor
        signed_in = self.begin_full(
            rows, login.person, roles=login.roles, address=address or login.address,
            user_agent=login.user_agent, browser=login.browser,
        )  # fmt: skip
        return _Outcome(signed_in=signed_in, ended=tuple(ended), codes=codes)

    def _store_pending(self, rows: DbSession, login: Login, code: str) -> bool:
        secret = self.factors.unseal(login.person, login.pending_secret or b"")
        step = self.factors.matching_step(secret, code, 0)
        if step is None:
            return False
        self.factors.store(rows, login.person, secret, step)
        login.pending_secret = None
        return True

    # First start

    def needs_setup(self) -> bool:
        """Whether there is no account at all yet; with a directory of people there is nothing to set up."""
        return isinstance(self.directory, LocalDirectory) and not self.people_kept.anyone()

    def setup_link(self) -> str | None:
        """The one-time link that makes the first admin, to be printed at start; None when there is an
        account."""
        token = self.people_kept.setup_token() if self.needs_setup() else None
        return f"{self.settings.web.public_url}/setup?token={token}" if token else None

    def setup_link_good(self, token: str) -> bool:
        return self.needs_setup() and self.people_kept.setup_holds(token)

    def set_up(  # noqa: PLR0917 - the form's fields, then where it came from
        self,
        token: str,
        name: str,
        password: str,
        display_name: str = "",
        address: str = "",
        user_agent: str = "",
    ) -> Pending:
        """Make the first account, an admin and the instance's owner, and go on to its second factor.

        Raises SetupRefused, PersonRefused, PasswordRefused.
        """
        if not isinstance(self.directory, LocalDirectory) or not self.setup_link_good(token):
            raise SetupRefused
        hashed = self.directory.hashed(name, password)
        with self.db.begin() as rows:
            self.people_kept.use_setup(rows, token)
            self.people_kept.add(
                rows, actor=name, name=name, password_hash=hashed, display_name=display_name, mail="",
                roles=["admin"], uid=owner_uid(),
            )  # fmt: skip
            audit(rows, name, "setup.done", name, "done", address)
            if self.needs(rows, name, may_enrol=True) == "none":
                done = self.begin_full(
                    rows, name, roles=[], address=address, user_agent=user_agent, browser=""
                )
                return Pending(done.cookie, "none", name, done.login_id, done.known_browser)
            cookie, login = self.logins_kept.begin(
                rows, name, PASSWORD_STAGE, roles=[], address=address, user_agent=user_agent, browser="",
                may_enrol=True,
            )  # fmt: skip
            return Pending(cookie, "enrol", name, login.id)

    # Shared with the account page

    def is_fresh(self, login: Login) -> bool:
        return self.clock() - login.proved_s <= self.settings.login.fresh_s

    def must_be_fresh(self, login: Login) -> None:
        if not self.is_fresh(login):
            raise NotFresh
