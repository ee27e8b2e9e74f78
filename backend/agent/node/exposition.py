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
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..http_head import HEAD_LIMIT_BYTES, BadRequest, parse_head
from ..telemetry.series import Row

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATHS = (b"/metrics", b"/")
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
        wanted = f"Bearer {token}".encode() if token else b""
        handler = type("Handler", (_Handler,), {"shown": staticmethod(shown), "wanted": wanted})
        if listen.startswith("unix:"):
            path = listen[len("unix:") :]
            _remove_socket(path)
            before = os.umask(0o117)
            try:
                self._server: _Threaded = _Unix(path, handler, deadline_s)
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


def _remove_socket(path: str) -> None:
    """What an earlier run left; anything that is no socket stays, and binding fails."""
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116
            os.unlink(path)  # noqa: PTH108 - as in `command`: without pathlib


class _Handler(socketserver.StreamRequestHandler):
    """One request on a connection, and its answer. (Not by `http.server`: that takes a megabyte.)"""

    shown: Callable[[], str]
    wanted: bytes

    def handle(self) -> None:
        raw = b""
        while not raw.endswith(b"\r\n\r\n"):
            line = self.rfile.readline(HEAD_LIMIT_BYTES)
            raw += line
            if not line or len(raw) > HEAD_LIMIT_BYTES:
                return
        try:
            head = parse_head(raw)
        except BadRequest:
            self._answer(400, "Bad Request")
            return
        told = b"".join(head.values(b"authorization")[:1])
        if head.method != b"GET":
            self._answer(405, "Method Not Allowed", Allow="GET")
        elif self.wanted and not hmac.compare_digest(told, self.wanted):
            self._answer(401, "Unauthorized", **{"WWW-Authenticate": "Bearer"})
        elif head.target.partition(b"?")[0] not in PATHS:
            self._answer(404, "Not Found")
        else:
            self._answer(200, "OK", self.shown())

    def _answer(self, status: int, reason: str, shown: str | None = None, **headers: str) -> None:
        body = (f"{reason}\n" if shown is None else shown).encode()
        headers |= {"Content-Type": CONTENT_TYPE, "Content-Length": str(len(body)), "Connection": "close"}
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode() + body)


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
