"""Other people's accounts. The actor is a viewer who must be an admin, or a name: the data folder's owner
(CLI)."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select

from backend.identity.account import Account
from backend.identity.core import acting
from backend.identity.directories import LocalDirectory
from backend.identity.errors import PersonRefused
from backend.identity.people import check_name, owner_uid, unix_uid
from backend.identity.viewer import PersonInfo, Viewer
from backend.store import CONSOLE, audit
from backend.store.models import Person

Actor = Viewer | str


class Admin(Account):
    def people(self, actor: Actor) -> list[PersonInfo]:
        """Everyone the console knows. Raises NotAllowed."""
        acting(actor)
        return self.people_kept.listed()

    def add_person(
        self,
        actor: Actor,
        name: str,
        password: str,
        *,
        display_name: str = "",
        mail: str = "",
        roles: Iterable[str] = (),
        uid: int | None = None,
    ) -> PersonInfo:
        """A local account. Raises NotAllowed, PersonRefused, PasswordRefused.

        Its Unix uid is the one given, else that of the Unix user of this name. Where the console can act as
        its own Unix user only, the first account without one is that user's: the instance's owner.
        """
        who = acting(actor)
        directory = self._local()
        check_name(name)
        hashed = directory.hashed(name, password)
        with self.db.begin() as rows:
            number = uid if uid is not None else unix_uid(name)
            if number is None and self.settings.launcher.strategy == "self":
                taken = rows.scalar(select(Person.name).where(Person.uid == owner_uid()).limit(1))
                number = None if taken else owner_uid()
            self.people_kept.add(
                rows, actor=who, name=name, password_hash=hashed, display_name=display_name, mail=mail,
                roles=roles, uid=number,
            )  # fmt: skip
        return next(each for each in self.people_kept.listed() if each.name == name)

    def set_password(self, actor: Actor, name: str, password: str) -> None:
        """Raises NotAllowed, NoSuchPerson, PersonRefused, PasswordRefused."""
        who = acting(actor)
        directory = self._local()
        with self.db.read() as rows:
            person = self.people_kept.get(rows, name)
        if person.source != directory.source:
            raise PersonRefused(f"{name} comes from the directory: change the password there.")
        directory.set_password(name, password)
        with self.db.begin() as rows:
            ended = self.end_logins(rows, name, "revoked")
            self.forget_browsers(rows, name)
            audit(rows, who, "person.password", name)
        self.announce(ended)

    def set_roles(self, actor: Actor, name: str, roles: Iterable[str]) -> None:
        """Roles given by the console, beside the directory's. Raises NotAllowed, NoSuchPerson,
        PersonRefused."""
        who = acting(actor)
        with self.db.begin() as rows:
            self.people_kept.set_roles(rows, who, name, roles)
        self.logins_kept.forget_person(name)

    def lock_person(self, actor: Actor, name: str) -> None:
        """No sign-in from now on, and none that lasts. Raises NotAllowed, NoSuchPerson."""
        who = acting(actor)
        with self.db.begin() as rows:
            self.people_kept.get(rows, name).locked = True
            ended = self.end_logins(rows, name, "locked")
            self.forget_browsers(rows, name)
            audit(rows, who, "person.lock", name, logins=len(ended))
        self.logins_kept.forget_person(name)
        self.announce(ended)

    def unlock_person(self, actor: Actor, name: str) -> None:
        """Raises NotAllowed, NoSuchPerson."""
        who = acting(actor)
        with self.db.begin() as rows:
            self.people_kept.get(rows, name).locked = False
            audit(rows, who, "person.unlock", name)

    def reset_factor(self, actor: Actor, name: str) -> bool:
        """Take away a lost second factor: the person sets up another at the next sign-in. Gives whether there
        was one. Raises NotAllowed, NoSuchPerson."""
        who = acting(actor)
        with self.db.begin() as rows:
            self.people_kept.get(rows, name)
            removed = self.factors.remove(rows, name)
            ended = self.end_logins(rows, name, "revoked")
            audit(rows, who, "person.reset-factor", name, removed=removed)
        self.announce(ended)
        return removed

    def enrolment_code(self, actor: Actor, name: str) -> str:
        """A code for the person's first enrolment, where the site asks for one; shown this once. A person of
        a directory need not have been here before. Raises NotAllowed."""
        who = acting(actor)
        with self.db.begin() as rows:
            return self.people_kept.enrolment_code(rows, who, name)

    def enrol_directly(self, name: str, actor: Actor = CONSOLE) -> str:
        """Set up a second factor without a browser; gives its secret (base32). For the data folder's owner:
        demonstrations and tests. Raises NotAllowed."""
        who = acting(actor)
        secret = self.factors.new_secret()
        with self.db.begin() as rows:
            self.factors.store(rows, name, secret, last_step=0)
            audit(rows, who, "factor.enrol-directly", name)
        return secret

    def sign_out_person(self, actor: Actor, name: str) -> int:
        """End all logins of a person. Raises NotAllowed."""
        who = acting(actor)
        with self.db.begin() as rows:
            ended = self.end_logins(rows, name, "revoked")
            self.forget_browsers(rows, name)
            audit(rows, who, "person.sign-out", name, logins=len(ended))
        self.announce(ended)
        return len(ended)

    def _local(self) -> LocalDirectory:
        if not isinstance(self.directory, LocalDirectory):
            raise PersonRefused("People come from the directory: add and change them there.")
        return self.directory
