"""The proxy's process."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress

from tornado.httpserver import HTTPServer

from app.listening import allow_many_connections, listening
from app.proxy.activity import Activity
from app.proxy.doors import Doors, Gate
from app.proxy.exchange import Proxy
from app.proxy.open_ways import OpenWays
from app.proxy.origin import AppsOrigin
from app.proxy.upstream import Pool
from backend.agent.heap import keep_freed_memory
from config import Settings

log = logging.getLogger("carme.proxy")

HEAD_LIMIT_BYTES = 64 * 1024
READ_BYTES = 256 * 1024
IDLE_TIMEOUT_S = 300


class ProxyServer:
    """The proxy on its sockets; for tests it may run beside other things on a loop."""

    def __init__(self, origin: AppsOrigin, doors: Doors) -> None:
        self.gate = Gate(doors)
        self.pool = Pool()
        self.ways = OpenWays(self.gate)
        self._http = HTTPServer(
            Proxy(origin, self.gate, self.pool, Activity(self.gate), self.ways),
            max_header_size=HEAD_LIMIT_BYTES,
            chunk_size=READ_BYTES,
            idle_connection_timeout=IDLE_TIMEOUT_S,
        )
        self._watch: asyncio.Task[None] | None = None

    def listen(self, address: str, port: int) -> int:
        """Listen, and watch the grants of what is open; returns the port. Raises CantListen."""
        sockets = listening(address, port, key="apps.port", flag="--apps-port")
        self._http.add_sockets(sockets)
        self._watch = asyncio.ensure_future(self.ways.watch())
        return int(sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and cut what is open."""
        self._http.stop()
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        self.ways.cut_all()
        await self._http.close_all_connections()
        self.pool.close()
        self.gate.close()


def run_proxy(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    from app.proxy.console_doors import open_doors

    allow_many_connections()
    keep_freed_memory()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    doors = await loop.run_in_executor(None, open_doors, settings)
    server = ProxyServer(AppsOrigin.from_urls(settings.apps.url, settings.web.public_url), doors)
    server.listen(settings.apps.address, settings.apps.port)
    log.info("apps at %s", settings.apps.url)
    await stop.wait()
    await server.close()
