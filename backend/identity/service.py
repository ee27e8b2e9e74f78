"""Identity: everything the rest of the console asks about people and logins, in one object a process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from sqlalchemy import delete

from backend.identity.admin import Admin
from backend.identity.core import KNOWN_FOR_S
from backend.identity.directories import LdapDirectory
from backend.identity.errors import DirectoryDown
from backend.identity.throttle import FORGET_S
from backend.identity.viewer import DirectoryStatus, EndedLogin, LoginTimes, Viewer
from backend.store import same
from backend.store.models import KnownBrowser, OneTimeLink, Throttle

PROBE_EVERY_S = 10.0
PRUNE_EVERY_S = 3600.0
DAY_S = 86400


class Identity(Admin):
    """Thread-safe and blocking (`viewer` when warm and `touch` take microseconds)."""

    _probed_at = 0.0
    _pruned_at = float("-inf")

    # Logins, asked at every request

    def viewer(self, cookie: str) -> Viewer | None:
        """Who this cookie is signed in as, with every factor shown; None when it is not, or not any more."""
        return self.logins_kept.viewer(cookie)

    def viewer_of(self, login_id: str) -> Viewer | None:
        """The same by the login's id, for a page that is open."""
        return self.logins_kept.viewer_of(login_id)

    def standing(self, name: str) -> Viewer | None:
        """The person by name, without a login, with today's rights: for scheduled reports and embeds. None when
        there is none, or a locked one."""
        return self.logins_kept.standing(name)

    def touch(self, login_id: str) -> None:
        """The person did something in this login. Never blocks."""
        self.logins_kept.touch(login_id)

    def times(self, login_id: str) -> LoginTimes | None:
        """When the login ends, and when to warn of it."""
        return self.logins_kept.times(login_id)

    def ended_logins(self, since_s: float) -> list[EndedLogin]:
        """Logins ended at or after `since_s`, by any process; some are told twice. (Run out: see sweep.)"""
        return self.logins_kept.ended_since(since_s)

    def ended_among(self, login_ids: Iterable[str]) -> set[str]:
        """Which of these don't hold any more, for whatever reason."""
        return self.logins_kept.ended_among(login_ids)

    def on_end(self, callback: Callable[[str], None]) -> None:
        """Call `callback(login_id)` at once, in the ending thread, when this process ends a login."""
        self.logins_kept.on_end.append(callback)

    def sweep(self) -> list[str]:
        """To be called every second or so by each web process: end what has run out, write idle clocks, and
        look whether a directory that was away is back. Gives the ids it ended."""
        now = time.monotonic()
        if not self.directory_status().ok and now - self._probed_at > PROBE_EVERY_S:
            self._probed_at = now
            self.probe_directory()
        if now - self._pruned_at > PRUNE_EVERY_S:
            self._pruned_at = now
            self._prune()
        return self.logins_kept.sweep()

    def _prune(self) -> None:
        """Clear away what no longer decides anything: strangers can make rows here by guessing names."""
        now = int(self.clock())
        forgotten_s = max(FORGET_S, self.settings.ldap.lockout_window_s) + DAY_S
        with self.db.begin() as rows:
            rows.execute(
                delete(Throttle).where(Throttle.window_s < now - forgotten_s, Throttle.next_s < float(now))
            )
            rows.execute(delete(OneTimeLink).where(OneTimeLink.expires_s < now - DAY_S))
            rows.execute(delete(KnownBrowser).where(KnownBrowser.created_s < now - KNOWN_FOR_S))

    def coordinates_by(self, ask: Callable[[str], frozenset[str]]) -> None:
        """Who coordinates which Slurm accounts: asked of the snapshot, which this package doesn't know."""
        self.logins_kept.coordinates = ask

    # CSRF

    def csrf_token(self, login_id: str) -> str:
        return self.box.hmac("csrf", login_id)

    def check_csrf(self, login_id: str, token: str) -> bool:
        return same(self.csrf_token(login_id), token)

    # The directory

    def directory_status(self) -> DirectoryStatus:
        """As it was when last asked."""
        if isinstance(self.directory, LdapDirectory):
            return self.directory.status()
        return DirectoryStatus(ok=True, since_s=0.0)

    def probe_directory(self) -> DirectoryStatus:
        """Ask it now."""
        if isinstance(self.directory, LdapDirectory):
            try:
                self.directory.probe()
            except DirectoryDown as error:
                return DirectoryStatus(ok=False, since_s=error.since_s, why=error.why)
        return self.directory_status()

    def close(self) -> None:
        self.logins_kept.close()
