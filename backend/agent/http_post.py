"""POST to the console: just enough HTTP/1.1 for a request whose answer is short.

Not by Python's own client: with the reader of mails that it loads it would take two megabytes of every node.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from .http_head import CHUNK_SIZE

if TYPE_CHECKING:
    import ssl

ANSWER_LIMIT_BYTES = 65536
_LINE_LIMIT_BYTES = 8192
_MOST_LINES = 256
_URL = re.compile(r"(https?)://([^/:@?#\[\]\s]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(/[!-~]*)?")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: .*)?")
_TARGET = re.compile(r"/[!-~]*")
_VALUE = re.compile(r"[ -~]*")


class BadAnswer(OSError):
    """What came is no answer of a web server."""


class Address(NamedTuple):
    """Where a console is. `host` as it is sent: a name in ASCII, or an address, of IPv6 in brackets."""

    secure: bool
    host: str
    port: int
    path: str


def parsed(url: str) -> Address:
    """Of http(s)://host:port, perhaps with a path. Raises ValueError."""
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError(f"{url!r} is no http(s)://host:port")
    scheme, host, port, path = found.groups(default="")
    secure = scheme == "https"
    ascii_host = host if host.isascii() else host.encode("idna").decode()
    return Address(secure, ascii_host, int(port or (443 if secure else 80)), path)


class Answer(NamedTuple):
    """Its status, headers by lower-case name, and as much of the body as anybody here wants to know."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes


class Connection:
    """A connection of our own making: no HTTP proxy of the environment is used. One thread posts, any may `cut`."""

    def __init__(self, url: str, *, timeout_s: float, ca_pem: str = "") -> None:
        """Nothing is opened yet. `ca_pem`: certificates to trust instead of the machine's own."""
        self._url, self._timeout_s, self._ca_pem = url, timeout_s, ca_pem
        self._socket: socket.socket | None = None
        self._trust: ssl.SSLContext | None = None

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """One exchange. Raises OSError, ValueError. Only after a 204, which has no body, the connection stays open."""
        stays = False
        try:
            to = parsed(self._url)
            head = _head(to, path, {**headers, "Content-Length": str(len(body))})
            connection = self._socket or self._open(to)
            connection.sendall(head + body)
            with connection.makefile("rb") as reader:
                answer, stays = _read(reader)
        except OSError:
            self._trust = None  # what is trusted may have been replaced meanwhile
            raise
        finally:
            if not stays:
                self.close()
        return answer

    def close(self) -> None:
        """Hang up; the next post connects anew."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    def cut(self) -> None:
        """End an exchange from another thread: its post fails."""
        connection = self._socket
        if connection is not None:
            with contextlib.suppress(OSError):  # SSLSocket.shutdown would take TLS from an exchange that runs
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _open(self, to: Address) -> socket.socket:
        # a name as bytes: to look a text up, Python loads its tables of all scripts; typeshed knows of no bytes here
        host: Any = to.host.strip("[]").encode()
        self._socket = opened = socket.create_connection((host, to.port), self._timeout_s)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if to.secure:
            import ssl  # five megabytes, for those who need it

            # kept: to read a bundle of all authorities takes tens of milliseconds
            self._trust = trust = self._trust or ssl.create_default_context(cadata=self._ca_pem or None)
            self._socket = secured = trust.wrap_socket(opened, server_hostname=host, do_handshake_on_connect=False)
            secured.do_handshake()  # only now: here it can be cut
            return secured
        return opened


def _head(to: Address, path: str, headers: Mapping[str, str]) -> bytes:
    """Raises ValueError on what would be more than one line."""
    standard = to.port == (443 if to.secure else 80)
    target = to.path.rstrip("/") + path
    lines = {"Host": to.host if standard else f"{to.host}:{to.port}", **headers}
    if not _TARGET.fullmatch(target) or not all(_VALUE.fullmatch(value) for value in lines.values()):
        raise ValueError("a path or header that can't be sent")
    return "".join(
        [f"POST {target} HTTP/1.1\r\n", *(f"{key}: {value}\r\n" for key, value in lines.items()), "\r\n"]
    ).encode()


def _read(reader: BinaryIO) -> tuple[Answer, bool]:
    """The answer, and whether another may follow on this connection."""
    version, status, headers = _answer_head(reader)
    while status < 200:  # what may come before the answer proper
        version, status, headers = _answer_head(reader)
    stays = status == 204 and version == b"1" and b"close" not in headers.get(b"connection", b"").lower()
    return Answer(status, headers, b"" if status in (204, 304) else _body(reader, headers)), stays


def _answer_head(reader: BinaryIO) -> tuple[bytes, int, dict[bytes, bytes]]:
    first = _STATUS_LINE.fullmatch(_line(reader))
    if first is None:
        raise BadAnswer("what answers there is no web server")
    headers: dict[bytes, bytes] = {}
    for _ in range(_MOST_LINES):
        line = _line(reader)
        if not line:
            return first[1], int(first[2]), headers
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    raise BadAnswer("the answer's head has no end")


def _body(reader: BinaryIO, headers: Mapping[bytes, bytes]) -> bytes:
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return _chunks(reader)
    length = headers.get(b"content-length", b"")
    return reader.read(min(int(length), ANSWER_LIMIT_BYTES) if length.isdigit() else ANSWER_LIMIT_BYTES)


def _chunks(reader: BinaryIO) -> bytes:
    body = b""
    while True:
        size = CHUNK_SIZE.fullmatch(_line(reader))
        if size is None:
            raise BadAnswer("the answer breaks off")
        length = int(size[1], 16)
        body += reader.read(min(length, ANSWER_LIMIT_BYTES))
        if not length or len(body) >= ANSWER_LIMIT_BYTES:
            return body[:ANSWER_LIMIT_BYTES]
        _line(reader)


def _line(reader: BinaryIO) -> bytes:
    line = reader.readline(_LINE_LIMIT_BYTES)
    if not line.endswith(b"\n"):
        raise BadAnswer("the answer breaks off")
    return line.rstrip(b"\r\n")
