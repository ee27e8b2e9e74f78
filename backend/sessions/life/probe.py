"""Asking a session's gateway whether its app answers: over TLS, its certificate pinned, with its secret."""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Literal

TIMEOUT_S = 4.0
HEAD_LIMIT_BYTES = 65536

_STATUS = re.compile(rb"HTTP/1\.[01] ([2-5][0-9]{2})[ \r\n]")  # no 1xx: neither gateways nor apps begin with one
_OWN = re.compile(rb"\r\nX-Carme-Gateway:", re.IGNORECASE)

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
            return _judge(_head(connection))
    except OSError:
        return "unreachable"


def _head(connection: ssl.SSLSocket) -> bytes:
    """The answer's head, in TIMEOUT_S all together: the other end is a person's program, and may drip."""
    head, deadline = b"", time.monotonic() + TIMEOUT_S
    while b"\r\n\r\n" not in head and len(head) < HEAD_LIMIT_BYTES:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(left_s)
        piece = connection.recv(HEAD_LIMIT_BYTES)
        if not piece:
            break
        head += piece
    return head.partition(b"\r\n\r\n")[0]


def _judge(head: bytes) -> Answer:
    first = _STATUS.match(head)
    if first is None:
        return "unreachable"
    status = int(first[1])
    if not _OWN.search(head):
        return "ready" if status < 500 else "starting"
    if status == 503:
        return "starting"
    return "failed" if status == 502 else "stranger"
