"""The directory, the clock that one-time codes need, the time zone."""

from __future__ import annotations

import ctypes
import os
import time
from datetime import datetime
from zoneinfo import ZoneInfo

from backend.checks.finding import Outcome, bad, doubtful, good
from backend.identity import Identity
from backend.store import Database, SecretBox
from config import Settings

STEP_S = 30  # of a one-time code; one step of difference is still taken
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronized
_UNSYNCHRONIZED = 0x40  # STA_UNSYNC


def check_directory(settings: Settings) -> Outcome:
    """Ask it now."""
    db = Database(settings.store.url)
    db.upgrade()
    box = SecretBox(settings.instance.data_dir, settings.store.key, settings.store.key_file)
    identity = Identity(settings, db, box)
    try:
        if settings.directory.kind == "local":
            people = identity.people("doctor")
            if not people:
                return doubtful(
                    "local accounts, none yet",
                    "Open the link that `carme serve` prints, or `carme user add NAME`.",
                )
            admins = [person.name for person in people if "admin" in person.roles and not person.locked]
            if not admins:
                return doubtful(f"{len(people)} local accounts, no admin", "carme user add NAME --role admin")
            return good(f"{len(people)} local account{'' if len(people) == 1 else 's'}")
        status = identity.probe_directory()
        servers = ", ".join(settings.ldap.servers)
        if not status.ok:
            return bad(
                f"{servers}: {status.why}",
                "Check ldap.servers, ldap.ca_file, ldap.bind_dn and that this machine may connect.",
            )
        return good(f"{servers} ({settings.ldap.tls}, {settings.ldap.bind} bind)")
    finally:
        identity.close()
        db.close()


def check_zone(settings: Settings) -> Outcome:
    """The zone in which times are shown."""
    name = settings.instance.time_zone
    now = datetime.now(ZoneInfo(name))
    if name == "UTC" and "TZ" not in os.environ and time.strftime("%Z") not in ("UTC", ""):
        return doubtful("UTC, though this machine has another", "Set instance.time_zone.")
    return good(f"{name}, now {now:%Y-%m-%d %H:%M %Z}")


def check_clock(settings: Settings) -> Outcome:
    """One-time codes are refused where the clock is off by more than a step."""
    state, status = _kernel_clock()
    if settings.login.second_factor == "off":
        return good("no second factor is asked for")
    if state == _TIME_ERROR or status & _UNSYNCHRONIZED:
        return doubtful(
            f"the kernel says it is not synchronized; it shows {datetime.now(ZoneInfo('UTC')):%H:%M:%S} UTC",
            f"Run a time service (chrony): one-time codes fail when it is off by more than {STEP_S} s.",
        )
    return good("synchronized")


class _Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def _kernel_clock() -> tuple[int, int]:
    """State and status of adjtimex(2), asked without changing anything."""
    timex = _Timex()
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    return state, timex.status
