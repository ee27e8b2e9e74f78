"""Closes the open sockets of logins that have ended: at once in this process, within a second in others."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from tornado.ioloop import PeriodicCallback

from app.private import ConsoleTornado, open_sockets
from backend.identity import Identity

log = logging.getLogger("carme.kicker")

LOOK_MS = 500
SWEEP_MS = 1000
CLOSE_CODE = 4401  # the script of the page takes the person to sign-in


class Kicker:
    """Made and started on the event loop."""

    def __init__(self, console: ConsoleTornado, identity: Identity) -> None:
        self._console = console
        self._identity = identity
        self._loop = asyncio.get_running_loop()
        # Two threads: a sweep may wait for a directory that is away, a look must not.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="kicker")
        self._busy: set[str] = set()
        self._timers = [PeriodicCallback(self._look, LOOK_MS), PeriodicCallback(self._sweep, SWEEP_MS)]
        identity.on_end(self._ended_here)

    def start(self) -> None:
        for timer in self._timers:
            timer.start()

    def stop(self) -> None:
        for timer in self._timers:
            timer.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def close(self, login_ids: set[str]) -> int:
        """Close every socket of these logins; the number closed."""
        closed = 0
        for _, login_id, socket in open_sockets(self._console):
            if login_id in login_ids:
                socket.close(CLOSE_CODE, "signed out")
                closed += 1
        if closed:
            log.info("closed %d sockets of ended logins", closed)
        return closed

    def _ended_here(self, login_id: str) -> None:
        """Called in the thread that ended it."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.close, {login_id})

    async def _look(self) -> None:
        """Logins of open pages that don't hold any more: ended by another process, or run out."""
        watched = {login_id for _, login_id, _ in open_sockets(self._console)}
        if not watched or "look" in self._busy:
            return
        self._busy.add("look")
        try:
            ended = await self._loop.run_in_executor(self._threads, self._identity.ended_among, watched)
            if ended:
                self.close(ended)
        finally:
            self._busy.discard("look")

    async def _sweep(self) -> None:
        if "sweep" in self._busy:
            return
        self._busy.add("sweep")
        try:
            await self._loop.run_in_executor(self._threads, self._identity.sweep)
        finally:
            self._busy.discard("sweep")
