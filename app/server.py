"""The web process, put together: pages, gate, own routes, and what runs beside them."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from bokeh.server.server import BaseServer
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from app.accesslog import log_request
from app.asking import Asking
from app.embeds import EmbedDesk
from app.files import WEB_FILES
from app.gate import Gate
from app.gate.cookies import Cookies
from app.gate.guards import Route
from app.gate.headers import Compression, SecurityHeaders
from app.gate.messages import LONGEST
from app.gate.origins import Origins
from app.kicker import Kicker
from app.listening import allow_many_connections, listening
from app.private import ConsoleTornado, GateAuth, application
from app.routes import build_table, own_routes, patterns
from backend.identity import Viewer
from backend.services import Services, open_services
from config import Settings
from pages import PAGES, Page

log = logging.getLogger("carme.web")

BODY_TIMEOUT_S = 30.0  # else a stranger holds a connection for ever
UNUSED_DOCUMENT_MS = 90_000  # long enough for a laptop to find its Wi-Fi again, at 1.4 MB a page
THREADS = 8
SIGN_IN_THREADS = 32  # refusals are held back there, half a second each
TOKEN_LIFE_S = 30 * 86400  # a page outlives its first login when the person signs in again in place
STOP_GRACE_S = 3.0


class ConsoleServer:
    """The web process's server on an event loop. `start()` and `stop()` are called on that loop."""

    def __init__(self, services: Services, pages: Sequence[Page] = PAGES) -> None:
        settings = services.settings
        self.services = services
        self.executor = ThreadPoolExecutor(THREADS, thread_name_prefix="blocking")
        self.sign_in_executor = ThreadPoolExecutor(SIGN_IN_THREADS, thread_name_prefix="sign-in")
        self.asking = Asking("asking")
        self.asking_telemetry = Asking("asking-telemetry")
        self.routes: list[Route] = build_table(pages)
        self.documents: Counter[str] = Counter()
        origins = Origins(settings)
        self.gate = Gate(
            identity=services.identity,
            box=services.box,
            origins=origins,
            cookies=Cookies(secure=origins.secure),
            token_secret=services.box.derive("page token"),
            metrics_token=settings.web.metrics_token,
            executor=self.executor,
            documents=self.documents,
        )
        self.tornado = ConsoleTornado(
            {page.path: self._application(page) for page in pages},
            self.gate,
            self.routes,
            extra_patterns=patterns(own_routes()),
            auth_provider=GateAuth(),
            extra_websocket_origins=["*"],  # the gate has compared the origin before Bokeh looks at it
            secret_key=services.box.derive("page token"),
            sign_sessions=True,
            generate_session_ids=True,
            session_token_expiration=TOKEN_LIFE_S,
            unused_session_lifetime_milliseconds=UNUSED_DOCUMENT_MS,
            include_headers=["User-Agent", "Host", "Accept-Language"],
            include_cookies=[],
            websocket_max_message_size_bytes=LONGEST,
            use_index=False,
            ico_path=str(WEB_FILES / "favicon.ico"),
            log_function=log_request,
            services=services,
            asking=self.asking,
            asking_telemetry=self.asking_telemetry,
            embed_desk=EmbedDesk(services, self.executor, self.asking.executor),
            executor=self.executor,
            sign_in_executor=self.sign_in_executor,
        )
        self.kicker = Kicker(self.tornado, services.identity)
        self.tornado.add_transform(SecurityHeaders)
        self.tornado.add_transform(Compression)
        self.http = HTTPServer(self.tornado, body_timeout=BODY_TIMEOUT_S, idle_connection_timeout=120)
        self.bokeh = BaseServer(IOLoop.current(), self.tornado, self.http)

    def _application(self, page: Page) -> object:
        def build(viewer: Viewer) -> object:
            return page.build(self.services, viewer)

        return application(f"{page.title} · {self.services.settings.instance.name}", build, self.documents)

    def listen(self, address: str, port: int) -> int:
        """Listen; the port, where 0 asked for any. Raises CantListen when it is taken."""
        sockets = listening(address, port, key="web.port", flag="--port")
        self.http.add_sockets(sockets)
        return int(sockets[0].getsockname()[1])

    def start(self) -> None:
        self.bokeh.start()
        self.kicker.start()

    async def stop(self) -> None:
        self.kicker.stop()
        self.bokeh.stop(wait=False)  # nothing of it can be waited for on its own loop
        await asyncio.wait([asyncio.ensure_future(self.http.close_all_connections())], timeout=STOP_GRACE_S)
        asked = (self.asking.executor, self.asking_telemetry.executor)
        for executor in (self.executor, self.sign_in_executor, *asked):
            executor.shutdown(wait=False, cancel_futures=True)


def build_server(services: Services, pages: Sequence[Page] = PAGES) -> ConsoleServer:
    """The server for these services, on the current event loop; nothing listens yet."""
    return ConsoleServer(services, pages)


def run_web(settings: Settings) -> None:
    """Serve the console until SIGTERM or SIGINT. Raises what the data folder and the port raise."""
    for chatty in ("bokeh", "panel", "tornado.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    allow_many_connections()
    server = build_server(open_services(settings))
    port = server.listen(settings.web.address, settings.web.port)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    server.start()
    server.services.sessions.start()
    if link := await loop.run_in_executor(None, server.services.identity.setup_link):
        log.warning(
            "there is no account yet\n\n    Make the first one, an admin. This link works once:\n\n    %s\n", link
        )
    # What is loaded by now (Panel's and Bokeh's models above all) stays: without it a full collection takes a tenth of
    # the time, during which nobody is answered.
    gc.collect()
    gc.freeze()
    log.info("the console answers at %s (port %d)", settings.web.public_url, port)
    await ended.wait()
    await server.stop()
    await loop.run_in_executor(None, server.services.sessions.close)
    await loop.run_in_executor(None, server.services.identity.close)
