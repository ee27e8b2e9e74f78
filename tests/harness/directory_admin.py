"""What a directory's administrator does to people: look, lock, unlock, expire."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.harness import directory
from tests.harness.errors import CommandFailed
from tests.harness.people import Person
from tests.harness.plan import Plan


class DirectoryAdmin:
    """The administrator of a cluster's slapd, from outside the namespace by its Unix socket."""

    plan: Plan
    folder: Path
    people: dict[str, Person]

    def ldap_modify(self, ldif: str) -> None:
        """Change the directory as its manager; operational attributes too."""
        self._ldap("ldapmodify", ["-e", "!relax"], ldif)

    def ldap_attributes(self, dn: str) -> dict[str, list[str]]:
        """All attributes of an entry, the operational ones too (plain values only)."""
        shown = self._ldap("ldapsearch", ["-LLL", "-o", "ldif-wrap=no", "-s", "base", "-b", dn, "*", "+"], None)
        found: dict[str, list[str]] = {}
        for line in shown.splitlines():
            key, mark, value = line.partition(": ")
            if mark:
                found.setdefault(key, []).append(value)
        return found

    def person_dn(self, name: str) -> str:
        return directory.person_dn(name)

    def is_locked(self, name: str) -> bool:
        """Whether ppolicy locked the account after too many wrong passwords."""
        return "pwdAccountLockedTime" in self.ldap_attributes(directory.person_dn(name))

    def lock(self, name: str) -> None:
        """As an administrator does: until it is unlocked."""
        self._replace(name, "pwdAccountLockedTime", "000001010000Z")

    def unlock(self, name: str) -> None:
        """Unlock, forget failures, expiry and any new password: the person is as at the start."""
        person = self.people[name]
        self._replace(name, "userPassword", person.password)
        held = self.ldap_attributes(directory.person_dn(name))
        for attribute in (
            "pwdAccountLockedTime",
            "pwdFailureTime",
            "pwdPolicySubentry",
            "pwdReset",
            "pwdHistory",
        ):
            if attribute in held:
                self.ldap_modify(f"dn: {directory.person_dn(name)}\nchangetype: modify\ndelete: {attribute}\n")

    def expire_password(self, name: str) -> None:
        """The password is right but too old from now on."""
        self._replace(name, "pwdPolicySubentry", directory.EXPIRING_POLICY)
        self._replace(name, "pwdChangedTime", "20200101000000Z")

    def _replace(self, name: str, attribute: str, value: str) -> None:
        self.ldap_modify(
            f"dn: {directory.person_dn(name)}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n"
        )

    def _ldap(self, program: str, options: list[str], text: str | None) -> str:
        uri = f"ldapi://{str(self.folder).replace('/', '%2F')}%2Frun%2Fldapi/"
        done = subprocess.run(
            [program, "-x", "-H", uri, "-D", directory.ROOT_DN, "-w", self.plan.ldap_root_password, *options],
            input=text or "", capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise CommandFailed(f"{program}: {done.stderr.strip()}")
        return done.stdout
