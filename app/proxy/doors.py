"""Who may pass: what the console knows of a grant, asked off the event loop and remembered for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from app.proxy.upstream import Target

T = TypeVar("T")

FRESH_S = 0.25
"""How old an answer about a grant may be: a page asks for a hundred files at once."""
KEPT_GRANTS = 4096
VALUES_LIMIT = 4
"""So many cookies of one name are looked at: more were tossed."""


@dataclass(frozen=True)
class Standing:
    """What a grant is worth now. `target` is None while the session's gateway is not known yet."""

    person: str
    login_id: str
    session_id: str
    state: Literal["open", "signed-out", "over"]
    address: str = ""
    port: int = 0
    fingerprint: str = ""
    secret: str = field(default="", repr=False)
    apps: tuple[str, ...] = ()

    def target(self, app: str) -> Target | None:
        """Where the app is reached; None while the gateway is not known."""
        if not self.port:
            return None
        return Target(self.session_id, app, self.address, self.port, self.fingerprint)


@dataclass(frozen=True)
class Entered:
    """A redeemed ticket: the grant cookie's value, and the app it was for."""

    cookie: str
    app: str


class DoorsUnusable(Exception):
    """The console's database can't be asked at the moment: nobody passes."""


class Doors(Protocol):
    """What the backend tells; each call may block for some milliseconds, and may raise DoorsUnusable."""

    def standing(self, cookie: str, session_id: str) -> Standing | None:
        """What the grant is worth for the session; None: no such grant of this session."""

    def open_among(self, grants: list[tuple[str, str]]) -> set[tuple[str, str]]:
        """Which of these (cookie, session id) still open their session."""

    def redeem(self, ticket: str, session_id: str) -> Entered | None:
        """Use up a ticket; None when it is wrong, used, old or another session's."""

    def touch(self, login_id: str) -> None:
        """The person behind the login gave input just now."""


class Gate:
    """Asks the doors. Single-flight for each grant; answers are kept for FRESH_S."""

    def __init__(self, doors: Doors, *, threads: int = 4) -> None:
        self._doors = doors
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="doors")
        self._known: dict[tuple[str, str], tuple[float, asyncio.Future[Standing | None]]] = {}

    async def standing(self, cookies: list[str], session_id: str) -> tuple[str, Standing] | None:
        """The best of the grants shown for a session, with its cookie."""
        second_best = None
        for cookie in cookies[:VALUES_LIMIT]:
            standing = await self._one(cookie, session_id)
            if standing is not None and standing.state == "open":
                return cookie, standing
            if standing is not None and second_best is None:
                second_best = cookie, standing
        return second_best

    async def open_among(self, grants: list[tuple[str, str]]) -> set[tuple[str, str]]:
        """See Doors; never from memory."""
        return await self._off_loop(self._doors.open_among, grants)

    async def redeem(self, ticket: str, session_id: str) -> Entered | None:
        """See Doors."""
        return await self._off_loop(self._doors.redeem, ticket, session_id)

    async def touch(self, login_id: str) -> None:
        """See Doors."""
        await self._off_loop(self._doors.touch, login_id)

    def close(self) -> None:
        """Let the threads go."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _one(self, cookie: str, session_id: str) -> Standing | None:
        key = (cookie, session_id)
        now = time.monotonic()
        asked_s, answer = self._known.get(key, (0.0, None))
        if answer is None or now - asked_s > FRESH_S or (answer.done() and answer.exception() is not None):
            if len(self._known) >= KEPT_GRANTS:
                self._known = {k: v for k, v in self._known.items() if now - v[0] <= FRESH_S}
            answer = asyncio.ensure_future(self._off_loop(self._doors.standing, cookie, session_id))
            self._known[key] = (now, answer)
        return await asyncio.shield(answer)

    async def _off_loop(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)
