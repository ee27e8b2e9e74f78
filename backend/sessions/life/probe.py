"""Asking a session's gateway whether its app answers: over TLS, its certificate pinned, with its secret."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import socket
import ssl
from dataclasses import dataclass
from typing import Literal

TIMEOUT_S = 4.0
HEAD_LIMIT_BYTES = 65536

Answer = Literal["ready", "starting", "failed", "unreachable", "stranger"]


@dataclass(frozen=True)
class Gateway:
    """Where a session's gateway is and how it is known."""

    address: str
    port: int
    fingerprint: str  # SHA-256 of its certificate (DER), hex
    secret: str

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Gateway({self.address}:{self.port})"


def probe(gateway: Gateway, app: str, path: str) -> Answer:
    """Ask for one page of the app. `stranger`: something else answers at that port. Blocks for seconds."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nobody signed it: it is compared with the one the console made
    try:
        with (
            socket.create_connection((gateway.address, gateway.port), timeout=TIMEOUT_S) as plain,
            context.wrap_socket(plain) as connection,
        ):
            certificate = connection.getpeercert(binary_form=True) or b""
            if not hmac.compare_digest(hashlib.sha256(certificate).hexdigest(), gateway.fingerprint):
                return "stranger"
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                f"X-Carme-Secret: {gateway.secret}\r\nX-Carme-App: {app}\r\n\r\n".encode("ascii")
            )
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return _judge(answer.status, answer.getheader("X-Carme-Gateway"))
    except (OSError, http.client.HTTPException):
        return "unreachable"


def _judge(status: int, own: str | None) -> Answer:
    if own is None:
        return "ready" if status < 500 else "starting"
    if status == 503:
        return "starting"
    return "failed" if status == 502 else "stranger"
