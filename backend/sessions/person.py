"""Which Unix account a person of the console is."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass

from backend.identity import Viewer
from config import Settings


class NoAccount(Exception):
    """The console can't act for this person; the message tells them why."""


@dataclass(frozen=True)
class UnixPerson:
    """Who the scheduler knows the person as."""

    name: str
    uid: int
    groups: tuple[str, ...]


def unix_person(settings: Settings, viewer: Viewer) -> UnixPerson:
    """The viewer's Unix account. Raises NoAccount. Asks NSS: blocks for milliseconds."""
    if settings.launcher.strategy == "self":
        return _owner(settings, viewer)
    try:
        entry = pwd.getpwnam(viewer.name)
    except KeyError:
        if viewer.uid is None:
            raise NoAccount(f"There is no Unix user {viewer.name} on this cluster. Ask its admins.") from None
        return _checked(settings, UnixPerson(viewer.name, viewer.uid, ()))
    if viewer.uid is not None and viewer.uid != entry.pw_uid:
        raise NoAccount(
            f"The directory says that your uid is {viewer.uid}, this machine says {entry.pw_uid}. Ask the admins."
        )
    return _checked(settings, UnixPerson(entry.pw_name, entry.pw_uid, _groups(entry)))


def _checked(settings: Settings, person: UnixPerson) -> UnixPerson:
    if person.uid < max(1, settings.launcher.min_uid):
        raise NoAccount("The console doesn't launch for root and system accounts.")
    return person


def _owner(settings: Settings, viewer: Viewer) -> UnixPerson:
    """The instance's owner is who owns its data folder; root may run commands on it."""
    me = pwd.getpwuid(settings.instance.data_dir.stat().st_uid)
    if viewer.uid != me.pw_uid:
        raise NoAccount(
            f"This console launches for its owner only, the Unix user {me.pw_name}: it runs without the "
            "right to act for others. You can look at everything."
        )
    return UnixPerson(me.pw_name, me.pw_uid, _groups(me))


def _groups(entry: pwd.struct_passwd) -> tuple[str, ...]:
    names = []
    for gid in os.getgrouplist(entry.pw_name, entry.pw_gid):
        try:
            names.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue  # a gid without a name can't be in a partition's list
    return tuple(names)


def unix_name(settings: Settings, owner: str, uid: int) -> str:
    """The Unix account a session of this owner and uid runs under."""
    if settings.launcher.strategy == "self":
        return pwd.getpwuid(uid).pw_name
    return owner
