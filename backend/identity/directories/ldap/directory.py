"""Signing people in against the directory: find, bind, look up groups."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from ldap3 import Connection

from backend.identity.directories.base import NOT_EXPIRED, Budget, DirectoryPerson, WrongPassword
from backend.identity.directories.ldap import people
from backend.identity.directories.ldap.answers import BindAnswer
from backend.identity.directories.ldap.connect import ServerFailed, Servers, bind, close
from backend.identity.directories.ldap.names import CLUSTER_NAME, BadName, bind_name, plain_dn
from backend.identity.directories.ldap.password import change_by_extension, change_in_active_directory
from backend.identity.errors import DirectoryDown, NotAllowedHere, PasswordExpired, PasswordRefused
from backend.identity.viewer import DirectoryStatus
from config import Ldap

SOON_S = 14 * 86400  # an expiry further away is not worth a notice


@dataclass(frozen=True)
class _Target:
    """Whom to bind as. `entry` is None for someone the directory does not know: the bind is made all the
    same."""

    dn: str
    budget_key: str
    entry: people.Entry | None


class LdapDirectory:
    """Blocking, used from any thread; each call opens its own connections."""

    source = "ldap"

    def __init__(self, settings: Ldap, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._servers = Servers(settings, clock)
        self._clock = clock

    def status(self) -> DirectoryStatus:
        since = self._servers.down_since
        return DirectoryStatus(ok=since is None, since_s=since or 0.0, why=self._servers.why)

    def probe(self) -> None:
        """Ask the directory for nothing in particular. Raises DirectoryDown."""
        if self._settings.bind == "service":
            with self._servers.service():
                return
        close(self._servers.any_open("cn=probe", b"never sent"))

    def authenticate(self, name: str, password: str, budget: Budget) -> DirectoryPerson:
        """See base.Directory. The password goes to the directory in one bind, never in a retry."""
        _refuse_unusable(password)
        try:
            if self._settings.bind == "direct":
                return self._direct(name, password, budget)
            with self._servers.service() as (uri, service):
                target = self._find(service, name)
                connection = self._servers.open(uri, target.dn, password.encode())
                try:
                    answer = self._bind(connection, target.budget_key, budget)
                    entry = _checked(answer, target.entry, _may_change_expired(self._settings))
                finally:
                    close(connection)
                return self._person(service, entry, answer)
        except ServerFailed as failure:
            raise DirectoryDown(self._clock(), str(failure)) from failure

    def change_password(self, name: str, old: str, new: str, budget: Budget, *, expired_only: bool = False) -> None:
        """See base.Directory."""
        _refuse_unusable(old)
        if not new or "\x00" in new:
            raise PasswordRefused("Choose a new password.")
        try:
            if self._settings.bind == "direct":
                dn = self._direct_name(name)
                connection = self._servers.any_open(dn, old.encode())
                target = _Target(dn, _key(dn), None)
                self._change(connection, target, budget, old=old, new=new, expired_only=expired_only)
                return
            with self._servers.service() as (uri, service):
                target = self._find(service, name)
                connection = self._servers.open(uri, target.dn, old.encode())
                self._change(
                    connection, target, budget, old=old, new=new, service=service, expired_only=expired_only
                )
        except ServerFailed as failure:
            raise DirectoryDown(self._clock(), str(failure)) from failure

    def _change(
        self,
        connection: Connection,
        target: _Target,
        budget: Budget,
        *,
        old: str,
        new: str,
        expired_only: bool,
        service: Connection | None = None,
    ) -> None:
        try:
            answer = self._bind(connection, target.budget_key, budget)
            if answer.verdict in ("wrong", "locked"):
                raise WrongPassword("locked" if answer.verdict == "locked" else "wrong")
            if expired_only and answer.verdict == "right":
                raise PasswordRefused(NOT_EXPIRED)
            if self._settings.active_directory:
                # An expired password does not bind there, but the service account may pass on the change.
                bound = connection if answer.verdict == "right" else service
                if bound is None:
                    raise PasswordExpired(can_change=False)
                change_in_active_directory(bound, target.dn, old, new)
            elif answer.verdict == "expired":
                raise PasswordExpired(can_change=False)
            else:
                change_by_extension(connection, old, new)
        finally:
            close(connection)

    def _direct(self, name: str, password: str, budget: Budget) -> DirectoryPerson:
        dn = self._direct_name(name)
        connection = self._servers.any_open(dn, password.encode())
        try:
            answer = self._bind(connection, _key(dn), budget)
            _refuse(answer, can_change=False)
            entry = people.find(connection, self._settings, name)
            if entry is None or not self._is_bound(entry, dn, name):
                raise NotAllowedHere
            return self._person(connection, entry, answer)
        finally:
            close(connection)

    def _is_bound(self, entry: people.Entry, dn: str, name: str) -> bool:
        """Whether the entry found by filter is the one whose password was shown."""
        if "=" in self._settings.user_dn_template:
            return plain_dn(entry.dn) == plain_dn(dn)
        return entry.name.casefold() == name.casefold()

    def _direct_name(self, name: str) -> str:
        try:
            return bind_name(self._settings.user_dn_template, name)
        except BadName as error:
            raise WrongPassword("unknown") from error

    def _find(self, service: Connection, name: str) -> _Target:
        entry = people.find(service, self._settings, name)
        if entry is None:
            # As long and as costly as for somebody who is there, and as limited.
            nobody = f"uid=nobody-{secrets.token_hex(8)},{self._settings.base_dn}"
            return _Target(nobody, "directory:?" + name.casefold()[:150], None)
        return _Target(entry.dn, _key(entry.dn), entry)

    def _bind(self, connection: Connection, key: str, budget: Budget) -> BindAnswer:
        budget.take(key)
        wrong: bool | None = True  # whatever goes wrong after sending, the directory may have counted it
        try:
            answer = bind(connection)
            wrong = answer.verdict in ("wrong", "failed")
            if answer.verdict == "locked":
                wrong = None  # not judged: counts for nobody
        finally:
            budget.settle(key, wrong=wrong)
        if answer.verdict == "failed":
            raise ServerFailed(answer.message)
        return answer

    def _person(self, connection: Connection, entry: people.Entry, answer: BindAnswer) -> DirectoryPerson:
        if not CLUSTER_NAME.fullmatch(entry.name):
            raise NotAllowedHere  # no Unix name: it goes to sudo and Slurm later
        member_of = people.groups(connection, self._settings, entry)
        if not people.may_use(self._settings, member_of):
            raise NotAllowedHere
        return DirectoryPerson(
            name=entry.name,
            display_name=entry.display_name,
            mail=entry.mail,
            uid=entry.uid,
            roles=people.roles(self._settings, member_of),
            notice=_notice(answer),
        )


def _key(dn: str) -> str:
    return "directory:" + plain_dn(dn)[-180:]


def _refuse_unusable(password: str) -> None:
    # An empty password makes an "unauthenticated bind" that succeeds (RFC 4513, 5.1.2): it never leaves the
    # console.
    if not password or "\x00" in password:
        raise WrongPassword("wrong")


def _may_change_expired(settings: Ldap) -> bool:
    return settings.active_directory and settings.bind == "service"


def _refuse(answer: BindAnswer, *, can_change: bool) -> None:
    if answer.verdict in ("wrong", "locked"):
        raise WrongPassword("locked" if answer.verdict == "locked" else "wrong")
    if answer.verdict == "expired":
        raise PasswordExpired(can_change=can_change)
    if answer.verdict == "must change":
        raise PasswordExpired(can_change=True)


def _checked(answer: BindAnswer, entry: people.Entry | None, can_change: bool) -> people.Entry:
    if entry is None:
        raise WrongPassword("unknown")
    _refuse(answer, can_change=can_change)
    return entry


def _notice(answer: BindAnswer) -> str:
    if answer.policy.grace_left is not None:
        left = answer.policy.grace_left
        return f"Your password has expired. You can sign in {left} more times; change it now."
    if answer.policy.expires_in_s is not None and answer.policy.expires_in_s < SOON_S:
        hours = max(1, answer.policy.expires_in_s // 3600)
        words = f"{hours} hours" if hours < 48 else f"{hours // 24} days"
        return f"Your password expires in {words}."
    return ""
