"""A websocket: bytes both ways, untouched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tornado.iostream import IOStream, StreamClosedError

from app.proxy.activity import FrameWatch
from app.proxy.upstream import Upstream, UpstreamError

CHUNK_BYTES = 256 * 1024
LAST_WORDS_S = 5.0
"""How long the other side may take to send its part of the closing handshake."""


class Splice:
    """Runs until either side ends. `on_input` is called when the browser sent a data frame."""

    def __init__(self, browser: IOStream, upstream: Upstream, app: str, on_input: Callable[[], None]) -> None:
        self._browser = browser
        self._upstream = upstream
        self._watch = FrameWatch(app)
        self._on_input = on_input

    async def run(self) -> None:
        """Pass bytes on until an end."""
        up = asyncio.ensure_future(self._up())
        down = asyncio.ensure_future(self._down())
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            if up.done() and not down.done():
                # The browser has gone; what it said last (a close frame) must still arrive.
                self._upstream.finish()
                await asyncio.wait({down}, timeout=LAST_WORDS_S)
        finally:
            self.cut()
            await asyncio.gather(up, down, return_exceptions=True)

    def cut(self) -> None:
        """Cut both sides."""
        self._browser.close()
        self._upstream.close()

    async def _up(self) -> None:
        try:
            while True:
                data = await self._browser.read_bytes(CHUNK_BYTES, partial=True)
                if self._watch.feed(data):
                    self._on_input()
                await self._upstream.write(data)
        except (StreamClosedError, UpstreamError):
            return

    async def _down(self) -> None:
        try:
            while len(view := await self._upstream.read()):
                await self._browser.write(view)
                self._upstream.consume(len(view))
        except (StreamClosedError, UpstreamError):
            return
