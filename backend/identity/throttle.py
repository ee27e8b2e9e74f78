"""Slowing down guessing, without letting a stranger shut a person out.

Keys and what they count:
- `account:NAME`, `address:IP`: failures; from `throttle_after` on, each next try waits twice as long. One
  account's failures weigh on an address only until the account itself is slowed: a thousand tries at one name
  are that name's matter, a few tries at each of many names are the address's.
- `browser:DIGEST`: in a browser in which the person signed in before, this alone counts.
- `directory:DN`: wrong passwords passed on to the directory. All together never pass on more than
  `lockout_after`, so the directory locks nobody because of us; a third of it (at least one) is kept for known
  browsers, so strangers can't use up the person's own tries.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable

from sqlalchemy import insert
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.orm import Session as DbSession

from backend.identity.errors import Throttled
from backend.store import Database
from backend.store.models import Throttle

FORGET_S = 3600  # failures of an account or browser are forgotten after so long without another
LEAK_S = 60  # an address is forgiven one failure in so long
ADDRESS_FACTOR = 10  # many people can share an address


class Throttles:
    """Blocking, used from any thread and several processes; every decision is one transaction."""

    def __init__(
        self, db: Database, *, after: int, max_s: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._db = db
        self._after = after
        self._max_s = max_s
        self._clock = clock

    def take(self, own: str, address: str = "") -> None:
        """One try more for `own` (an account or a browser), from `address` (empty: does not count).

        It counts as a failure until `succeeded` takes it back: so tries at the same moment can't all slip
        through. Raises Throttled, and then counts nothing.
        """
        now = self._clock()
        with self._db.begin() as rows:
            mine = _row(rows, own)
            if now - mine.window_s > FORGET_S:
                mine.failures = 0
            theirs = _row(rows, address) if address else None
            wait_s = max(mine.next_s, theirs.next_s if theirs else 0.0) - now
            if wait_s > 0:
                raise Throttled(wait_s)
            if theirs is not None and mine.failures < self._after:
                leaked = int((now - theirs.window_s) // LEAK_S)
                theirs.failures = max(0, theirs.failures - leaked) + 1
                theirs.window_s = int(now)
                theirs.next_s = now + self._wait_s(theirs.failures, self._after * ADDRESS_FACTOR)
            mine.failures += 1
            mine.window_s = int(now)
            mine.next_s = now + self._wait_s(mine.failures, self._after)

    def succeeded(self, own: str, address: str = "") -> None:
        """The try was right: the account starts anew, the address gets back this one."""
        with self._db.begin() as rows:
            mine = _row(rows, own)
            mine.failures, mine.next_s = 0, 0.0
            if address:
                theirs = _row(rows, address)
                theirs.failures = max(0, theirs.failures - 1)
                if theirs.failures < self._after * ADDRESS_FACTOR:
                    theirs.next_s = 0.0

    def give_back(self, own: str, address: str = "") -> None:
        """The try was never judged (the directory is away): it counts for nobody."""
        with self._db.begin() as rows:
            for key, after in ((own, self._after), (address, self._after * ADDRESS_FACTOR)):
                if key:
                    row = _row(rows, key)
                    row.failures = max(0, row.failures - 1)
                    if row.failures < after:
                        row.next_s = 0.0

    def _wait_s(self, failures: int, after: int) -> float:
        return 0.0 if failures < after else float(min(2 ** min(failures - after, 30), self._max_s))


class PassedOn:
    """The budget of wrong passwords for the directory (see directories.base.Budget), for strangers or a known
    browser."""

    def __init__(
        self, db: Database, *, most: int, window_s: int, known: bool, clock: Callable[[], float] = time.time
    ) -> None:
        self._db = db
        kept = max(1, most // 3) if most > 1 else 0
        self._most = most if known else most - kept
        self._window_s = window_s
        self._clock = clock

    def take(self, key: str) -> None:
        now = self._clock()
        with self._db.begin() as rows:
            row = _row(rows, key)
            left_s = row.window_s + self._window_s - now
            if left_s <= 0:  # quiet for a whole window: the directory has forgotten, too
                row.passed_on = row.in_flight = 0
            if row.passed_on >= self._most:
                raise Throttled(left_s)
            row.passed_on += 1
            row.in_flight += 1
            row.window_s = int(now) + 1

    def settle(self, key: str, *, wrong: bool | None) -> None:
        with self._db.begin() as rows:
            row = _row(rows, key)
            row.in_flight = max(0, row.in_flight - 1)
            if wrong is None:
                row.passed_on = max(0, row.passed_on - 1)
            elif not wrong:  # the directory starts to count anew; what is on its way still counts
                row.passed_on = row.in_flight


def address_key(address: str) -> str:
    """One key for what one client can vary: an IPv6 network of 64 bits, an IPv4 address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return f"address:{address[:64]}" if address else ""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return f"address:{ip.ipv4_mapped}"
        return f"address:{ipaddress.ip_network((ip, 64), strict=False).network_address}/64"
    return f"address:{ip}"


def _row(rows: DbSession, key: str) -> Throttle:
    """The key's row, made if there is none, and ours alone until the transaction ends."""
    fresh = {"key": key, "failures": 0, "passed_on": 0, "in_flight": 0, "window_s": 0, "next_s": 0.0}
    backend = rows.get_bind().dialect.name
    if backend == "sqlite":
        rows.execute(insert(Throttle).prefix_with("OR IGNORE").values(fresh))
    elif backend == "postgresql":
        rows.execute(postgresql.insert(Throttle).values(fresh).on_conflict_do_nothing())
    else:  # not INSERT IGNORE: that takes a shared lock first, and two of those are a deadlock
        rows.execute(mysql.insert(Throttle).values(fresh).on_duplicate_key_update(key=key))
    return rows.get_one(Throttle, key, with_for_update=True)
