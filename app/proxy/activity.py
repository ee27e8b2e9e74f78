"""A person's input in an app keeps their login alive; an app that talks by itself does not."""

from __future__ import annotations

import asyncio
import logging
import time

from app.proxy.doors import DoorsUnusable, Gate

log = logging.getLogger(__name__)

EVERY_S = 15.0
_DATA_OPCODES = frozenset({0x0, 0x1, 0x2})
# code-server's client sends a message of 13 bytes (a header without content) every few seconds by itself.
KEEP_ALIVE_BYTES = {"code-server": 13}


class Activity:
    """Tells the console of a login's input, at most every EVERY_S."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._told: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, login_id: str) -> None:
        """The person gave input just now."""
        now = time.monotonic()
        if now - self._told.get(login_id, -EVERY_S) < EVERY_S:
            return
        if len(self._told) > 10_000:
            self._told = {key: at for key, at in self._told.items() if now - at < EVERY_S}
        self._told[login_id] = now
        task = asyncio.create_task(self._tell(login_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, login_id: str) -> None:
        try:
            await self._gate.touch(login_id)
        except DoorsUnusable as error:  # the app goes on, and the next input tries again
            self._told.pop(login_id, None)
            log.warning("the idle clock of a login could not be renewed: %s", error)


class FrameWatch:
    """Follows the frames of one direction of a websocket without touching them."""

    def __init__(self, app: str = "") -> None:
        self._head = bytearray()
        self._skip = 0
        self._least_bytes = KEEP_ALIVE_BYTES.get(app, -1) + 1

    def feed(self, data: bytes) -> bool:
        """Count what was read; whether a data frame (no ping, pong or close) began in it."""
        seen = False
        at, end = 0, len(data)
        while at < end:
            if self._skip:
                step = min(self._skip, end - at)
                self._skip -= step
                at += step
                continue
            self._head.append(data[at])
            at += 1
            if len(self._head) >= 2:
                length, masked = self._head[1] & 0x7F, self._head[1] & 0x80
                wide = {126: 2, 127: 8}.get(length, 0)
                if len(self._head) < 2 + wide:
                    continue
                if wide:
                    length = int.from_bytes(self._head[2 : 2 + wide], "big")
                seen = seen or (self._head[0] & 0x0F in _DATA_OPCODES and length >= self._least_bytes)
                self._skip = length + (4 if masked else 0)
                self._head.clear()
        return seen
