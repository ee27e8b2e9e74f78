"""One's own account: logins, password, second factor, showing both once more."""

from __future__ import annotations

from sqlalchemy.orm import Session as DbSession

from backend.identity.core import Attempt, acting
from backend.identity.errors import CodeRefused, IdentityError, NoEnrolment, NotSignedIn
from backend.identity.signin import SignIn
from backend.identity.viewer import FactorInfo, LoginInfo, SignedIn, Viewer
from backend.store import Outcome, audit, digest, new_token
from backend.store.models import Login


class Account(SignIn):
    # Logins

    def logins(self, viewer: Viewer) -> list[LoginInfo]:
        """One's own logins that hold, newest first."""
        return self.logins_kept.listed(viewer.name, viewer.login_id)

    def revoke(self, viewer: Viewer, login_id: str, address: str = "") -> bool:
        """End one login: one's own, or as an admin anyone's. Raises NotAllowed."""
        with self.db.begin() as rows:
            login = rows.get(Login, login_id)
            if login is None or login.ended_s is not None:
                return False
            if login.person != viewer.name:
                acting(viewer)
            ended = self.logins_kept.end(rows, [login], "revoked")
            audit(rows, viewer.name, "login.revoke", login_id, "done", address, person=login.person)
        self.announce(ended)
        return bool(ended)

    def sign_out(self, cookie: str, address: str = "") -> None:
        """End this cookie's login, at whichever stage; nothing happens when there is none."""
        with self.db.begin() as rows:
            login = self.logins_kept.half(rows, cookie) or self.logins_kept.full(rows, cookie)
            ended = self.logins_kept.end(rows, [login] if login else [], "sign-out")
            if login is not None:
                audit(rows, login.person, "login.sign-out", login.id, "done", address)
        self.announce(ended)

    def sign_out_everywhere(self, name: str, address: str = "") -> tuple[str, ...]:
        """End all logins of the person who asks, this one too, and forget the browsers; gives the ended
        ids."""
        with self.db.begin() as rows:
            ended = self.end_logins(rows, name, "sign-out")
            self.forget_browsers(rows, name)
            audit(rows, name, "login.sign-out-everywhere", name, "done", address, logins=len(ended))
        self.announce(ended)
        return tuple(ended)

    # Showing password and code once more, without losing what is open

    def prove_again(self, cookie: str, password: str, code: str, address: str = "") -> SignedIn:
        """As good as a new sign-in: the same login (open pages stay) under a new cookie, with its full time.

        Raises NotSignedIn, SignInRefused, Throttled, CodeRefused, PasswordExpired, DirectoryDown.
        """
        viewer, attempt = self._again(cookie, address)
        found = self.check_password(attempt, password, "login.prove")
        own = f"code-{attempt.own}"
        with self.db.read() as rows:
            has_factor = self.factors.has(rows, viewer.name)
        if has_factor:
            self.throttles.take(own)
        fresh_cookie = new_token()
        with self.db.begin() as rows:
            refusal = self._prove(rows, viewer, code if has_factor else None, fresh_cookie)
            if refusal is None:
                rows.get_one(Login, viewer.login_id).roles = sorted(found.roles)  # as they are by now
            outcome: Outcome = "refused" if refusal else "done"
            audit(rows, viewer.name, "login.prove", viewer.login_id, outcome, address)
        if refusal is not None:
            raise refusal
        self.logins_kept.forget(viewer.login_id)
        if has_factor:
            self.throttles.succeeded(own)
        return SignedIn(fresh_cookie, viewer.login_id, viewer.name, "")

    def _prove(
        self, rows: DbSession, viewer: Viewer, code: str | None, fresh_cookie: str
    ) -> IdentityError | None:
        login = rows.get(Login, viewer.login_id)
        if login is None or login.ended_s is not None:
            return NotSignedIn()
        if code is not None and not self.use_any_code(rows, viewer.name, code):
            return CodeRefused()
        now = int(self.clock())
        login.digest, login.proved_s, login.input_s = digest(fresh_cookie), now, now
        login.expires_s = now + self.settings.login.absolute_s
        return None

    def _again(self, cookie: str, address: str) -> tuple[Viewer, Attempt]:
        """A try of one who is signed in: it counts in this browser, strangers' failures don't."""
        viewer = self.logins_kept.viewer(cookie)
        if viewer is None:
            raise NotSignedIn
        with self.db.read() as rows:
            login = rows.get(Login, viewer.login_id)
        browser = (login.browser if login is not None else "") or viewer.login_id
        return viewer, Attempt(viewer.name, f"browser:{browser}", "", browser, address)

    # Password

    def change_password(self, cookie: str, old: str, new: str, address: str = "") -> None:
        """Needs the old one; ends all other logins. Raises NotSignedIn, SignInRefused, Throttled,
        PasswordRefused, PasswordExpired, DirectoryDown."""
        viewer, attempt = self._again(cookie, address)
        self.replace_password(attempt, old, new)
        with self.db.begin() as rows:
            ended = self.end_logins(rows, viewer.name, "revoked", but=viewer.login_id)
            self.forget_browsers(rows, viewer.name, but=attempt.browser)
        self.announce(ended)

    # Second factor (setting one up: begin_enrolment, confirm_enrolment)

    def factor(self, viewer: Viewer) -> FactorInfo | None:
        with self.db.read() as rows:
            return self.factors.info(rows, viewer.name)

    def new_recovery_codes(self, cookie: str, address: str = "") -> tuple[str, ...]:
        """Ten new ones, shown this once; the old ones are void. Raises NotSignedIn, NotFresh, NoEnrolment."""
        with self.db.begin() as rows:
            login = self.logins_kept.full(rows, cookie)
            if login is None:
                raise NotSignedIn
            self.must_be_fresh(login)
            if not self.factors.has(rows, login.person):
                raise NoEnrolment("Set up a second factor first.")
            audit(rows, login.person, "factor.recovery-codes", login.person, "done", address)
            return self.factors.new_recovery_codes(rows, login.person)

    def remove_factor(self, cookie: str, address: str = "") -> None:
        """Do without, where the site lets one. Raises NotSignedIn, NotFresh, NoEnrolment."""
        if self.settings.login.second_factor == "required":
            raise NoEnrolment(
                "This console requires a second factor; you can replace it, but not do without."
            )
        with self.db.begin() as rows:
            login = self.logins_kept.full(rows, cookie)
            if login is None:
                raise NotSignedIn
            self.must_be_fresh(login)
            self.factors.remove(rows, login.person)
            audit(rows, login.person, "factor.remove", login.person, "done", address)
