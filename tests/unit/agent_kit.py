"""What the agent's tests share: a session file, a console that records registrations, a started agent.

| name | what it is |
|---|---|
| `spec_for` | an AgentSpec with a fresh certificate |
| `Console` | a real HTTP server that checks and records registrations, on a port of its own |
| `StartedAgent` | the zipapp run as its own process, with its lines |
| `tls_connection` | a TLS connection to a gateway, certificate pinned |
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from backend.agent import registration
from backend.agent.telemetry import batch
from backend.sessions.apps import base_path
from backend.sessions.certs import make_certificate
from backend.sessions.job import AgentSpec, AppSpec, agent_zipapp
from tests.unit.push_kit import Receiver

SESSION = "s" + "0123456789abcdef012345678"
ROOT = Path(__file__).resolve().parents[2]
JUPYTER = ROOT / ".venv-apps" / "bin" / "jupyter-lab"
PYTHON = os.environ.get("CARME_AGENT_PYTHON", sys.executable)
"""What the agent runs on: set it to try the same tests on a node's older Python."""

ECHO_APP = f"""#!{sys.executable}
import socket, sys, threading
path = [a.split("=", 1)[1] for a in sys.argv if a.startswith("--socket=")][0]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(64)
def serve(connection):
    with connection:
        head = b""
        while b"\\r\\n\\r\\n" not in head:
            more = connection.recv(65536)
            if not more:
                return
            head += more
        body = b'{{"lastHeartbeat": 0}}' if head.startswith(b"GET /healthz") else head
        answer = b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n"
        connection.sendall(answer % len(body) + body)
print("echo app is up", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
"""A real little server with code-server's command line: answers a request with the request it got."""


def echo_command(folder: Path) -> str:
    """A command that stands in for code-server where the test is about the agent, not the app."""
    path = folder / "echo-app"
    path.write_text(ECHO_APP)
    path.chmod(0o700)
    return str(path)


def spec_for(console_url: str, *apps: AppSpec, **changes: Any) -> AgentSpec:
    """A session with these apps that registers at `console_url`."""
    certificate, key, _ = make_certificate(SESSION)
    spec = AgentSpec(
        session_id=SESSION,
        secret=secrets.token_urlsafe(32),
        tls_cert_pem=certificate,
        tls_key_pem=key,
        console_url=console_url,
        apps=apps,
        bind_host="127.0.0.1",
    )
    return replace(spec, **changes)


def echo_app(folder: Path, name: str = "code-server") -> AppSpec:
    """The spec of the echo app."""
    return AppSpec(name, base_path(SESSION, name), {"command": echo_command(folder)})


def fingerprint(spec: AgentSpec) -> str:
    """SHA-256 of the session's certificate."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(spec.tls_cert_pem)).hexdigest()


@dataclass
class Console:
    """Records what agents register. `answer` is 204, 200 (kept just now), 410, or 4100 for a 410 without signature."""

    secret: str = ""
    answer: int = 204
    messages: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""
    samples: Receiver = field(default_factory=Receiver)

    def wait_for(self, wanted: Any, timeout_s: float = 20) -> dict[str, Any]:
        """The first message for which `wanted(message)`; raises TimeoutError."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            for message in list(self.messages):
                if wanted(message):
                    return message
            time.sleep(0.02)
        raise TimeoutError(f"no such registration among {self.messages}")


@contextmanager
def console(port: int = 0) -> Iterator[Console]:
    """A console's registration door on loopback."""
    record = Console()

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == batch.PATH:
                self._take_samples(content)
                return
            message = json.loads(content)
            record.messages.append(message)
            body = b""
            if record.answer == 200:
                body = json.dumps(registration.kept_answer(record.secret, message, 0)).encode()
            if record.answer == 410:
                body = json.dumps(registration.over_answer(record.secret, message)).encode()
            self.send_response(410 if record.answer == 4100 else record.answer)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _take_samples(self, content: bytes) -> None:
            sender = self.headers[batch.SENDER_HEADER]
            record.samples.keys[f"session:{SESSION}"] = record.secret
            status, body = record.samples.take(sender, self.headers[batch.MAC_HEADER], content)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Door)
    record.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield record
    finally:
        server.shutdown()
        server.server_close()


class StartedAgent:
    """The zipapp in a process of its own, as in a job."""

    def __init__(self, folder: Path, spec: AgentSpec, **env: str) -> None:
        folder.chmod(0o700)
        (folder / "agent.pyz").write_bytes(agent_zipapp())
        self.spec_file = folder / "session.json"
        self.spec_file.write_text(spec.to_json())
        self.spec_file.chmod(0o600)
        self.log = folder / "output"
        self.tmp = Path("/tmp") / f"t{secrets.token_hex(3)}"
        self.tmp.mkdir(mode=0o700)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [PYTHON, "-I", str(folder / "agent.pyz"), "run", str(self.spec_file)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "SLURM_TMPDIR": str(self.tmp), "CUDA_VISIBLE_DEVICES": "0,1", **env},
            )

    def lines(self) -> list[str]:
        """The job's output so far."""
        return self.log.read_text(errors="replace").splitlines()

    def socket_of(self, app: str) -> Path:
        """The app's socket."""
        return next(self.tmp.glob(f"carme-*/sockets/{app}"))

    def descendants(self) -> list[int]:
        """Processes below the agent."""
        from backend.agent.process import descendants

        return list(descendants(self.process.pid))

    def terminate(self, timeout_s: float = 15) -> int:
        """SIGTERM and the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def __enter__(self) -> StartedAgent:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.terminate()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.tmp, ignore_errors=True)


def tls_connection(port: int, fingerprint_hex: str, timeout_s: float = 10) -> ssl.SSLSocket:
    """Connect to a gateway and check its certificate by fingerprint."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    raw = socket.create_connection(("127.0.0.1", port), timeout_s)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = context.wrap_socket(raw, server_hostname=SESSION)
    certificate = connection.getpeercert(binary_form=True)
    assert certificate is not None
    assert hashlib.sha256(certificate).hexdigest() == fingerprint_hex
    return connection


def request(
    connection: socket.socket, target: str, secret: str, app: str, *headers: str, method: str = "GET"
) -> None:
    """Send a request head as the proxy does."""
    lines = [f"{method} {target} HTTP/1.1", "Host: test.localhost:5007"]
    lines += [f"X-Carme-Secret: {secret}", f"X-Carme-App: {app}", *headers]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())


def read_all(connection: socket.socket) -> bytes:
    """Read until the other side closes (a cut counts as closing)."""
    out = b""
    try:
        while data := connection.recv(1 << 20):
            out += data
    except (ssl.SSLError, ConnectionError):
        pass
    return out


def ask(port: int, spec: AgentSpec, target: str, app: str = "jupyterlab", secret: str = "") -> bytes:
    """One request through the gateway; the whole answer."""
    with tls_connection(port, fingerprint(spec)) as connection:
        request(connection, target, secret or spec.secret, app, "Connection: close")
        return read_all(connection)
