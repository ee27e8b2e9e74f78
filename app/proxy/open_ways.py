"""What is under way now: requests and websockets, cut when the login or the session behind them ends."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from app.proxy.doors import DoorsUnusable, Gate, Standing

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5


class OpenWays:
    """Watches the grants behind open ways. A way has `cut()`."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._ways: dict[Any, tuple[str, str]] = {}  # with the grant (cookie, session id) it stands on

    def __len__(self) -> int:
        return len(self._ways)

    def add(self, way: Any, cookie: str, standing: Standing) -> None:
        """A request or websocket begins."""
        self._ways[way] = (cookie, standing.session_id)

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
            except DoorsUnusable as error:
                log.warning("the grants of open connections could not be looked at: %s", error)

    async def look(self) -> None:
        """Cut what stands on a grant that is worth nothing any more."""
        grants: dict[tuple[str, str], list[Any]] = {}
        for way, grant in self._ways.items():
            grants.setdefault(grant, []).append(way)
        if not grants:
            return
        still_open = await self._gate.open_among(list(grants))
        for grant, ways in grants.items():
            if grant not in still_open:
                for way in ways:
                    way.cut()
                    self._ways.pop(way, None)
