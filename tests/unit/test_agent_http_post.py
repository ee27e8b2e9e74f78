"""The agent's POST: every way an answer may be framed, and that TLS is checked."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.agent.http_post import ANSWER_LIMIT_BYTES, Address, BadAnswer, Connection, parsed
from backend.sessions.certs import make_certificate

EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass
class Door:
    """What arrived: a request and its connection's number each."""

    url: str
    requests: list[tuple[int, bytes]] = field(default_factory=list)


@contextmanager
def answering(*answers: bytes, context: ssl.SSLContext | None = None) -> Iterator[Door]:
    """A server that gives these answers, as they are, to one request after another, then closes."""
    listener = socket.create_server(("127.0.0.1", 0))
    door = Door(f"http{'s' if context else ''}://localhost:{listener.getsockname()[1]}")
    left = list(answers)

    def serve() -> None:
        number = 0
        while left:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            number += 1
            with suppress(OSError), connection:
                stream = context.wrap_socket(connection, server_side=True) if context else connection
                while left and (request := asked(stream)):
                    door.requests.append((number, request))
                    stream.sendall(left.pop(0))

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield door
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def asked(stream: socket.socket) -> bytes:
    """One request; empty at the connection's end."""
    content = b""
    while b"\r\n\r\n" not in content:
        if not (more := stream.recv(65536)):
            return b""
        content += more
    head, _, body = content.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += stream.recv(65536)
    return head + b"\r\n\r\n" + body


def connection(door: Door, **told: str) -> Connection:
    return Connection(door.url, timeout_s=5, **told)  # type: ignore[arg-type]


def test_the_request_is_one_post_with_its_length() -> None:
    with answering(EMPTY) as door:
        answer = connection(door).post("/a", b"\0body", {"X-Carme-Sender": "session:s"})
    assert (answer.status, answer.body) == (204, b"")
    host = door.url.removeprefix("http://")
    assert door.requests[0][1] == (
        f"POST /a HTTP/1.1\r\nHost: {host}\r\nX-Carme-Sender: session:s\r\nContent-Length: 5\r\n\r\n\0body".encode()
    )


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntext and more", 200, b"text"),
        (b"HTTP/1.1 410 Gone\r\n\r\nup to the end", 410, b"up to the end"),
        (b"HTTP/1.0 502\r\nContent-Length: 100\r\n\r\nshort", 502, b"short"),
        (b"HTTP/1.1 404 X\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", 404, b"abcde"),
        (b"HTTP/1.1 404 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 404, b""),
        (b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx", 200, b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx", 200, b"x"),
        (b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx", 200, b"x"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b""),
    ],
)
def test_an_answer_is_read_however_it_is_framed(answer: bytes, status: int, body: bytes) -> None:
    with answering(answer) as door:
        told = connection(door).post("/a", b"", {})
    assert (told.status, told.body) == (status, body)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: 1",
        b"HTTP/1.1 200 " + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 10_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
    ],
)
def test_what_is_no_answer_is_an_error(answer: bytes) -> None:
    with answering(answer) as door, pytest.raises(OSError):
        connection(door).post("/a", b"", {})


@pytest.mark.parametrize("framing", [b"", b"Content-Length: 9999999\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_an_answer_without_end_is_read_so_far_and_no_further(framing: bytes) -> None:
    size = b"fffff\r\n" if b"chunked" in framing else b""
    with answering(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n" + size + b"x" * 0xFFFFF + b"\r\n") as door:
        assert len(connection(door).post("/a", b"", {}).body) <= ANSWER_LIMIT_BYTES


@given(st.binary(max_size=300))
def test_whatever_comes_is_an_answer_or_an_error(answer: bytes) -> None:
    with answering(b"HTTP/1.1 200 OK\r\n" + answer) as door, suppress(OSError):
        connection(door).post("/a", b"", {})


def test_a_connection_is_used_again_only_after_an_empty_answer() -> None:
    closing = b"HTTP/1.1 204 No Content\r\nConnection: Close\r\n\r\n"
    older = b"HTTP/1.0 204 No Content\r\n\r\n"
    full = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
    with answering(EMPTY, EMPTY, full, EMPTY, closing, older, EMPTY) as door:
        post = connection(door)
        for _ in range(7):
            post.post("/a", b"", {})
        post.close()
    assert [number for number, _ in door.requests] == [1, 1, 1, 2, 2, 3, 4]


@pytest.mark.parametrize("path", ["a", "/a b", "/a\r\nX: 1", "/ä", "/a\0"])
def test_a_path_that_is_none_is_not_sent(path: str) -> None:
    with answering(EMPTY) as door, pytest.raises(ValueError, match="can't be sent"):
        connection(door).post(path, b"", {})
    assert not door.requests


@pytest.mark.parametrize("value", ["a\r\nX: 1", "a\nb", "ä", "\0"])
def test_a_header_of_several_lines_is_not_sent(value: str) -> None:
    with answering(EMPTY) as door, pytest.raises(ValueError, match="can't be sent"):
        connection(door).post("/a", b"", {"X-Carme-Sender": value})
    assert not door.requests


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://h", (False, "h", 80, "")),
        ("https://h.example.org/", (True, "h.example.org", 443, "/")),
        ("https://10.0.0.1:8443/carme", (True, "10.0.0.1", 8443, "/carme")),
        ("http://[::1]:5006", (False, "[::1]", 5006, "")),
        ("https://bücher.example", (True, "xn--bcher-kva.example", 443, "")),
    ],
)
def test_an_address_is_taken_apart(url: str, address: Address) -> None:
    assert parsed(url) == address


@pytest.mark.parametrize(
    "url", ["", "h:80", "ftp://h", "http://", "https://:443", "http://h:x", "http://a@h", "http://h h", "http://h\n"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        parsed(url)


def secured(folder: Path, name: str) -> tuple[ssl.SSLContext, str]:
    """A server's TLS with a certificate for this name, and the certificate."""
    certificate, key, _ = make_certificate(name)
    (folder / "pem").write_text(key + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pem")
    return context, certificate


def test_a_console_with_the_certificate_it_was_told_of_is_spoken_to(tmp_path: Path) -> None:
    context, certificate = secured(tmp_path, "localhost")
    with answering(EMPTY, EMPTY, context=context) as door:
        post = connection(door, ca_pem=certificate)
        assert [post.post("/a", b"x", {}).status for _ in range(2)] == [204, 204]
        post.close()
    assert [number for number, _ in door.requests] == [1, 1]


@pytest.mark.parametrize(("name", "known"), [("localhost", False), ("other", True)])
def test_another_certificate_or_name_is_told_nothing(tmp_path: Path, name: str, known: bool) -> None:
    context, certificate = secured(tmp_path, name)
    _, other = secured(tmp_path, "localhost")
    with answering(EMPTY, context=context) as door:
        for ca_pem in (certificate, other) if known else ("", other):
            with pytest.raises(ssl.SSLCertVerificationError):
                connection(door, ca_pem=ca_pem).post("/a", b"x", {})
    assert not door.requests


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_exchange_that_hangs_can_be_cut_its_handshake_too(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        post = Connection(f"{scheme}://127.0.0.1:{deaf.getsockname()[1]}", timeout_s=60)
        failed = threading.Event()

        def use() -> None:
            with suppress(OSError):
                post.post("/a", b"x", {})
            failed.set()

        threading.Thread(target=use, daemon=True).start()
        deadline = time.monotonic() + 20
        while not failed.wait(0.1):
            post.cut()
            assert time.monotonic() < deadline


def test_after_an_error_the_next_exchange_begins_anew() -> None:
    with answering(EMPTY, b"no answer\r\n", EMPTY) as door:
        post = connection(door)
        post.post("/a", b"", {})
        with pytest.raises(BadAnswer):
            post.post("/a", b"", {})
        assert post.post("/a", b"", {}).status == 204
    assert [number for number, _ in door.requests] == [1, 1, 2]
