"""The newest sample in Prometheus' text format, and the small server that shows it.

`carme_job_<metric>{cluster, jobid, node, device, model}` for each job, as the catalogue calls metrics;
`carme_<metric>{cluster, node, device, model}` for the whole node (`carme_node_cpu_cores`), every GPU
(`carme_gpu_power_w`) and file system; `carme_gpu_unattributed{…, reason}` for those that are nobody's.

It tells of everybody's jobs, and everybody on the node reaches its address: a bearer token is wanted, as Prometheus has
one (`authorization: credentials_file`). A unix socket is for its owner and group.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from ..telemetry.series import Row

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATHS = ("/metrics", "/")
AT_ONCE = 16
DEADLINE_S = 10.0
"""For a whole request: one that comes in drops leaves its place to others."""

Reasons = Mapping[tuple[str, str], str]


def text(cluster: str, node: str, rows: Sequence[Row], whole: Sequence[Row], reasons: Reasons) -> str:
    """`rows` are the jobs', `whole` the node's (their job counts for nothing), `reasons` by device and model."""
    lines: dict[str, list[str]] = {}
    for prefix, found in (("carme_job_", rows), ("carme_", whole)):
        for row in found:
            names = {"cluster": cluster, "node": node, "device": row.device, "model": row.model}
            if prefix == "carme_job_":
                names["jobid"] = str(row.job)
            labels = _labels(names)
            for metric, value in row.values.items():
                lines.setdefault(prefix + metric, []).append(f"{prefix}{metric}{{{labels}}} {value:.15g}")
    for (device, model), reason in reasons.items():
        labels = _labels({"cluster": cluster, "node": node, "device": device, "model": model, "reason": reason})
        lines.setdefault("carme_gpu_unattributed", []).append(f"carme_gpu_unattributed{{{labels}}} 1")
    return "".join(f"# TYPE {name} gauge\n" + "\n".join(found) + "\n" for name, found in sorted(lines.items()))


def _labels(names: dict[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(names.items()))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Exposed:
    """The server. `listen` is ADDRESS:PORT (an IPv6 address in brackets), or `unix:PATH`; `token` "" asks for none."""

    def __init__(
        self, listen: str, shown: Callable[[], str], *, token: str = "", deadline_s: float = DEADLINE_S
    ) -> None:
        """Bind. Raises ValueError on a text that is no address, OSError."""
        wanted = f"Bearer {token}" if token else ""
        handler = type("Handler", (_Handler,), {"shown": staticmethod(shown), "wanted": wanted})
        if listen.startswith("unix:"):
            path = Path(listen[len("unix:") :])
            _remove_socket(path)
            before = os.umask(0o117)
            try:
                self._server: _Threaded = _Unix(str(path), handler, deadline_s)
            finally:
                os.umask(before)
        else:
            host, port = address(listen)
            server = _Tcp6 if ":" in host else _Tcp
            self._server = server((host, port), handler, deadline_s)

    @property
    def port(self) -> int:
        """The port it listens on; 0 for a unix socket."""
        bound: Any = self._server.server_address
        return int(bound[1]) if isinstance(bound, tuple) else 0

    def start(self) -> None:
        """Serve in threads of its own."""
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()


def address(listen: str) -> tuple[str, int]:
    """Host and port. Raises ValueError."""
    host, colon, port = listen.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"{listen!r} is no ADDRESS:PORT and no unix:PATH")
    return host, int(port)


def _remove_socket(path: Path) -> None:
    """What an earlier run left; anything that is no socket stays, and binding fails."""
    if path.is_socket():
        path.unlink()


class _Handler(BaseHTTPRequestHandler):
    shown: Callable[[], str]
    wanted: str

    def do_GET(self) -> None:
        told = self.headers.get("Authorization", "")
        if self.wanted and not hmac.compare_digest(told.encode(), self.wanted.encode()):
            self._answer(401, b"Unauthorized\n")
        elif self.path.partition("?")[0] not in PATHS:
            self._answer(404, b"Not Found\n")
        else:
            self._answer(200, self.shown().encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "carme"

    def log_message(self, *_: object) -> None:
        """Scrapes are no news."""


class _Threaded(socketserver.ThreadingMixIn, socketserver.BaseServer):
    """A thread for each scrape, no more than a few at once: whoever holds one open can't hold up the others."""

    daemon_threads = True

    def __init__(self, address: Any, handler: Any, deadline_s: float) -> None:
        self._room = threading.BoundedSemaphore(AT_ONCE)
        self._deadline_s = deadline_s
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        timer = threading.Timer(self._deadline_s, _end, [request])
        timer.daemon = True
        try:
            timer.start()
            super().process_request_thread(request, client_address)
        finally:
            timer.cancel()
            self._room.release()

    def handle_error(self, *_: object) -> None:
        """A scraper that went away is no news."""


def _end(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Tcp(_Threaded, socketserver.TCPServer):
    allow_reuse_address = True


class _Tcp6(_Tcp):
    address_family = socket.AF_INET6


class _Unix(_Threaded, socketserver.UnixStreamServer):
    def get_request(self) -> tuple[Any, Any]:
        request, _ = super().get_request()
        return request, ("", 0)
