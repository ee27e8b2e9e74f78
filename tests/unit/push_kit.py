"""A console's door for samples: checks what agents send, answers as told, and keeps what it took."""

from __future__ import annotations

import json
import ssl
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

from backend.agent.telemetry import batch
from backend.telemetry import BY_NAME

Points = dict[float, float | None]


@dataclass
class Receiver:
    """`answers` are given in turn, then 204. `keys` by sender; another sender is refused."""

    keys: dict[str, str] = field(default_factory=dict)
    answers: list[int] = field(default_factory=list)
    retry_after: str = ""
    bodies: list[bytes] = field(default_factory=list)
    batches: list[dict[str, Any]] = field(default_factory=list)
    senders: list[str] = field(default_factory=list)
    tries: int = 0
    url: str = ""
    port: int = 0

    def take(self, sender: str, mac: str, body: bytes) -> tuple[int, bytes]:
        """What a console does with one batch."""
        self.tries += 1
        self.bodies.append(body)
        key = self.keys.get(sender)
        if key is None or not batch.is_signed(key, sender, body, mac):
            return 403, b""
        status = self.answers.pop(0) if self.answers else 204
        if status == 410:
            return 410, json.dumps(batch.over_answer(key, sender, mac)).encode()
        if status == 4100:
            return 410, b'{"over": true}'
        if status == 204:
            message = json.loads(zlib.decompress(body))
            check(message)
            if not any(one["boot"] == message["boot"] and one["seq"] == message["seq"] for one in self.batches):
                self.batches.append(message)
                self.senders.append(sender)
        return status, b""

    def series(self, job: int, device: str, metric: str, node: str | None = None) -> Points:
        """Every point taken of one series."""
        found: Points = {}
        for message in list(self.batches):
            if node is not None and message["node"] != node:
                continue
            for block in message["blocks"]:
                if (block["job"], block["device"]) == (job, device) and metric in block["m"]:
                    found.update(zip(block["t"], block["m"][metric], strict=True))
        return dict(sorted(found.items()))

    def devices(self, job: int) -> dict[str, set[str]]:
        """The devices seen of a job on each node."""
        found: dict[str, set[str]] = defaultdict(set)
        for message in list(self.batches):
            found[message["node"]].update(block["device"] for block in message["blocks"] if block["job"] == job)
        return {node: devices for node, devices in found.items() if devices}

    def jobs(self) -> set[int]:
        """Every job that was told of."""
        return {block["job"] for message in list(self.batches) for block in message["blocks"]}


def check(message: dict[str, Any]) -> None:
    """What the wire asks of every batch."""
    assert message["v"] == 1 and len(message["boot"]) == 16 and message["seq"] >= 1
    for block in message["blocks"]:
        times = block["t"]
        assert 1 <= len(times) <= 1000 and all(a < b for a, b in pairwise(times)), block
        kind = block["device"].partition(":")[0] or "job"
        for name, values in block["m"].items():
            assert BY_NAME[name].kind == kind, name
            assert len(values) == len(times)
            assert all(value is None or 0 <= value <= 1e18 for value in values)


@contextmanager
def receiver(
    port: int = 0, known: Receiver | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Receiver]:
    """The door on a port of the loopback; `known` goes on with what an earlier one took, `tls` makes it https."""
    record = known or Receiver()

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != batch.PATH:
                status, content = 404, b""
            else:
                status, content = record.take(
                    self.headers[batch.SENDER_HEADER], self.headers[batch.MAC_HEADER], body
                )
            self.send_response(status)
            if record.retry_after and status in (429, 503):
                self.send_header("Retry-After", record.retry_after)
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server(("127.0.0.1", port), Door)
    record.port = server.server_port
    record.url = f"http://127.0.0.1:{server.server_port}"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        record.url = f"https://localhost:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield record
    finally:
        server.shutdown()
        server.server_close()


def until(claim: Callable[[], Any], within_s: float = 20) -> Any:
    """Wait until it holds, and what it says then."""
    deadline = time.monotonic() + within_s
    while not (found := claim()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
    return found
