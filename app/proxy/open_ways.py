"""What is under way now: requests and websockets, cut when the login or the session behind them ends."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from app.proxy.doors import Gate, Standing

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class _Way:
    cookie: str
    session_id: str


class OpenWays:
    """Watches the grants behind open ways. A way has `cut()`."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._ways: dict[Any, _Way] = {}

    def __len__(self) -> int:
        return len(self._ways)

    def add(self, way: Any, cookie: str, standing: Standing) -> None:
        """A request or websocket begins."""
        self._ways[way] = _Way(cookie, standing.session_id)

    def remove(self, way: Any) -> None:
        """It ended by itself."""
        self._ways.pop(way, None)

    def cut_all(self) -> None:
        """The proxy stops."""
        for way in list(self._ways):
            way.cut()

    async def watch(self) -> None:
        """Look at every grant with something open, for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except Exception:  # a database away for a moment must not end the watch
                log.exception("the grants of open connections could not be looked at")

    async def look(self) -> None:
        """Cut what stands on a grant that is worth nothing any more."""
        grants: dict[_Way, list[Any]] = {}
        for way, of in self._ways.items():
            grants.setdefault(of, []).append(way)
        for of, ways in grants.items():
            found = await self._gate.standing([of.cookie], of.session_id)
            if found is None or found[1].state != "open":
                for way in ways:
                    way.cut()
                    self._ways.pop(way, None)
