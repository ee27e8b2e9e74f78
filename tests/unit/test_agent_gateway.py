"""The gateway lets in who shows the secret, changes nothing else, and holds no more than it must."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backend.agent import gateway as module
from backend.agent.gateway import Gateway, Route
from backend.sessions.certs import make_certificate

SECRET = "s" * 43
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class App:
    """A server on a unix socket that records every byte it is sent and answers as `behave` does."""

    path: str
    received: bytearray = field(default_factory=bytearray)
    connections: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)


async def answer_each_head(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """200 for each end of a head or body marker seen, keeping the connection."""
    while data := await reader.read(65536):
        app.received += data
        if data.endswith((b"\r\n\r\n", b"END")):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    app.ended.set()
    writer.close()


@asynccontextmanager
async def app_at(
    path: Path, behave: Callable[[App, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> AsyncIterator[App]:
    app = App(str(path))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        app.connections += 1
        await behave(app, reader, writer)

    server = await asyncio.start_unix_server(serve, app.path)
    try:
        yield app
    finally:
        server.close()


@dataclass
class Door:
    """A running gateway and how to connect to it."""

    gateway: Gateway
    port: int

    async def connect(self) -> Stream:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=context, limit=1 << 20)

    async def ask(self, *lines: str, body: bytes = b"") -> bytes:
        """One request; everything until the gateway closes, or the first answer."""
        reader, writer = await self.connect()
        writer.write(head(*lines) + body)
        answer = await asyncio.wait_for(reader.read(65536), 5)
        writer.close()
        return answer


def head(*lines: str, first: str = "GET / HTTP/1.1") -> bytes:
    return "\r\n".join([first, "Host: apps.example.org:8443", *lines, "", ""]).encode()


PROOF = (f"X-Carme-Secret: {SECRET}", "X-Carme-App: jupyterlab")


@asynccontextmanager
async def door(tmp_path: Path, **routes: Route) -> AsyncIterator[Door]:
    certificate, key, _ = make_certificate("s0000000000000000000000000")
    pem = tmp_path / "pem"
    pem.write_text(key + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    gateway = Gateway(SECRET, routes, failed=lambda name: name == "dead")
    port = await gateway.start("127.0.0.1", context)
    try:
        yield Door(gateway, port)
    finally:
        await gateway.close()


@asynccontextmanager
async def lab(tmp_path: Path) -> AsyncIterator[tuple[Door, App]]:
    """A gateway with one app, jupyterlab, that answers each head."""
    async with (
        app_at(tmp_path / "a", answer_each_head) as app,
        door(tmp_path, jupyterlab=Route(app.path), other=Route(app.path)) as way,
    ):
        yield way, app


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("X-Carme-App: jupyterlab",),
        ("X-Carme-Secret: wrong", "X-Carme-App: jupyterlab"),
        ("X-Carme-Secret:", "X-Carme-App: jupyterlab"),
        (f"X-Carme-Secret: {SECRET}x", "X-Carme-App: jupyterlab"),
        (f"X-Carme-Secret: {SECRET}", *PROOF),
        ("X-Carme-Secret: wrong", "X-Carme-App: nosuchapp"),
    ],
)
async def test_without_the_secret_it_is_403_and_the_app_sees_nothing(
    tmp_path: Path, lines: tuple[str, ...]
) -> None:
    async with lab(tmp_path) as (way, app):
        answer = await way.ask(*lines)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"Connection: close" in answer
        assert app.connections == 0


async def test_unknown_app_is_404(tmp_path: Path) -> None:
    async with lab(tmp_path) as (way, app):
        assert (await way.ask(PROOF[0], "X-Carme-App: nosuch")).startswith(b"HTTP/1.1 404 ")
        assert (await way.ask(PROOF[0])).startswith(b"HTTP/1.1 404 ")
        assert app.connections == 0


async def test_only_the_two_headers_are_removed(tmp_path: Path) -> None:
    async with lab(tmp_path) as (way, app):
        kept = (
            "oRiGin: https://x.apps.example.org",
            "Cookie:  a=b ;c",
            "X-Odd:\tü".encode().decode("latin-1"),
        )
        assert (await way.ask("A: 1", *PROOF, *kept)).endswith(b"ok")
        assert bytes(app.received) == head("A: 1", *kept)


async def test_the_headers_are_removed_from_later_requests_too(tmp_path: Path) -> None:
    async with lab(tmp_path) as (way, app):
        reader, writer = await way.connect()
        for number in range(3):
            writer.write(head(*PROOF, first=f"GET /{number} HTTP/1.1"))
            await reader.readuntil(b"ok")
        writer.close()
        assert app.connections == 1
        assert bytes(app.received) == b"".join(head(first=f"GET /{n} HTTP/1.1") for n in range(3))


@pytest.mark.parametrize("second", [(), (PROOF[0], "X-Carme-App: other")])
async def test_a_later_request_without_proof_or_for_another_app_is_cut(
    tmp_path: Path, second: tuple[str, ...]
) -> None:
    async with lab(tmp_path) as (way, app):
        reader, writer = await way.connect()
        writer.write(head(*PROOF))
        await reader.readuntil(b"ok")
        seen = len(app.received)
        writer.write(head(*second))
        with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 5)
        await asyncio.wait_for(app.ended.wait(), 5)
        assert len(app.received) == seen


async def test_bodies_are_followed_so_that_the_next_request_is_found(tmp_path: Path) -> None:
    async with lab(tmp_path) as (way, app):
        reader, writer = await way.connect()
        body = b"GET / HTTP/1.1\r\nX-Carme-Secret: not a header\r\n\r\n" * 5000 + b"END"
        chunks = (
            b"".join(b"%x;ext=1\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:]))
            + b"0\r\n\r\n"
        )
        writer.write(head(*PROOF, f"Content-Length: {len(body)}", first="PUT / HTTP/1.1") + body)
        await reader.readuntil(b"ok")
        writer.write(head(*PROOF, "Transfer-Encoding: chunked", first="PUT / HTTP/1.1") + chunks)
        await reader.readuntil(b"ok")
        writer.write(head(*PROOF, first="GET /last HTTP/1.1"))
        writer.write_eof() if writer.can_write_eof() else None
        for _ in range(100):
            if app.received.endswith(head(first="GET /last HTTP/1.1")):
                break
            await asyncio.sleep(0.02)
        writer.close()
        expected = head(f"Content-Length: {len(body)}", first="PUT / HTTP/1.1") + body
        expected += head("Transfer-Encoding: chunked", first="PUT / HTTP/1.1") + chunks
        assert bytes(app.received) == expected + head(first="GET /last HTTP/1.1")


@pytest.mark.parametrize(
    "raw",
    [
        head(*PROOF, "Content-Length: 3", "Transfer-Encoding: chunked"),
        head(*PROOF, "Content-Length: 3", "Content-Length: 4"),
        head(*PROOF, "Content-Length: +3"),
        head(*PROOF, "Transfer-Encoding: gzip, chunked"),
        head(*PROOF, "X : spaced name"),
        head(*PROOF, "A: b", " folded"),
        head(*PROOF, "A: b\nX-Carme-App: other"),
        head(*PROOF, first="GET / HTTP/2.0"),
        head(*PROOF, first="GET /a b HTTP/1.1"),
        b"\x16\x03\x01nonsense\r\n\r\n",
    ],
)
async def test_what_two_readers_could_read_differently_is_400(tmp_path: Path, raw: bytes) -> None:
    async with lab(tmp_path) as (way, app):
        reader, writer = await way.connect()
        writer.write(raw)
        assert (await asyncio.wait_for(reader.read(9999), 5)).startswith(b"HTTP/1.1 400 ")
        writer.close()
        assert not app.received


async def test_after_an_upgrade_bytes_pass_raw_both_ways(tmp_path: Path) -> None:
    async def echo(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        app.received += await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        while data := await reader.read(1 << 20):
            writer.write(data)
            await writer.drain()
        writer.close()

    async with app_at(tmp_path / "a", echo) as app, door(tmp_path, jupyterlab=Route(app.path)) as way:
        reader, writer = await way.connect()
        writer.write(head(*PROOF, "Connection: keep-alive, Upgrade", "Upgrade: websocket"))
        await reader.readuntil(b"\r\n\r\n")
        for sent in (b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 40000):
            writer.write(sent)
            assert await asyncio.wait_for(reader.readexactly(len(sent)), 10) == sent
        writer.close()
        assert b"X-Carme" not in app.received


async def test_a_big_answer_arrives_whole_though_the_app_closes_at_once(tmp_path: Path) -> None:
    blob = bytes(range(256)) * 4096 * 50

    async def download(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(blob)
        writer.close()

    async with app_at(tmp_path / "a", download) as app, door(tmp_path, jupyterlab=Route(app.path)) as way:
        reader, writer = await way.connect()
        writer.write(head(*PROOF))
        got = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        assert hashlib.sha256(got).digest() == hashlib.sha256(blob).digest()


async def test_a_slow_reader_stops_the_app_not_the_node(tmp_path: Path) -> None:
    sent = 0

    async def pour(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    async with app_at(tmp_path / "a", pour) as app, door(tmp_path, jupyterlab=Route(app.path)) as way:
        reader, writer = await way.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(head(*PROOF))
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.5)
        assert 0 < sent < 24 * 1024 * 1024  # socket buffers of the kernel, and one megabyte of ours
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        await asyncio.wait_for(reader.readexactly(sent + 65536 * 20), 10)  # and goes on when it is read
        writer.transport.abort()


async def test_a_slow_app_stops_the_upload(tmp_path: Path) -> None:
    async def never_read(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await app.ended.wait()

    async with app_at(tmp_path / "a", never_read) as app, door(tmp_path, jupyterlab=Route(app.path)) as way:
        _, writer = await way.connect()
        writer.write(head(*PROOF, f"Content-Length: {1 << 30}", first="PUT / HTTP/1.1"))
        sent = 0
        with pytest.raises(asyncio.TimeoutError):
            while True:
                writer.write(b"x" * 65536)
                await asyncio.wait_for(writer.drain(), 1)
                sent += 65536
        assert sent < 24 * 1024 * 1024
        writer.transport.abort()
        app.ended.set()


async def test_when_the_client_goes_the_app_sees_the_end(tmp_path: Path) -> None:
    async with lab(tmp_path) as (way, app):
        reader, writer = await way.connect()
        writer.write(head(*PROOF))
        await reader.readuntil(b"ok")
        writer.close()
        await asyncio.wait_for(app.ended.wait(), 5)
        assert not way.gateway.connections


async def test_an_app_that_wants_it_gets_its_path_without_the_prefix(tmp_path: Path) -> None:
    async with app_at(tmp_path / "a", answer_each_head) as app:
        route = Route(app.path, "/s/x/code/", strip_prefix=True)
        async with door(tmp_path, jupyterlab=route) as way:
            reader, writer = await way.connect()
            for target in ("/s/x/code/", "/s/x/code/a/%2e?b=/s/x/code/", "/s/x/code", "/elsewhere"):
                writer.write(head(*PROOF, first=f"GET {target} HTTP/1.1"))
                await reader.readuntil(b"ok")
            writer.close()
        targets = [line.split()[1] for line in app.received.split(b"\r\n") if line.startswith(b"GET")]
        assert targets == [b"/", b"/a/%2e?b=/s/x/code/", b"/", b"/elsewhere"]


async def test_an_app_that_does_not_answer_yet_is_503_and_a_failed_one_502(tmp_path: Path) -> None:
    gone = Route(str(tmp_path / "gone"))
    async with door(tmp_path, jupyterlab=gone, dead=gone) as way:
        answer = await way.ask(*PROOF)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1" in answer
        assert (await way.ask(PROOF[0], "X-Carme-App: dead")).startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize(
    "raw", [b"X: " + b"y" * 70_000, b"\r\n".join([b"GET / HTTP/1.1", b"A: b" * 20_000, b"", b""])]
)
async def test_a_head_above_64_kb_is_431(tmp_path: Path, raw: bytes) -> None:
    async with lab(tmp_path) as (way, _):
        reader, writer = await way.connect()
        writer.write(raw)
        assert (await asyncio.wait_for(reader.read(9999), 5)).startswith(b"HTTP/1.1 431 ")
        writer.close()


async def test_a_head_that_does_not_come_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_TIMEOUT_S", 0.3)
    async with lab(tmp_path) as (way, _):
        silent_tls, silent_tcp = await way.connect(), await asyncio.open_connection("127.0.0.1", way.port)
        silent_tls[1].write(b"GET / HTTP/1.1\r\n")
        for reader, writer in (silent_tls, silent_tcp):
            with suppress(ConnectionError, ssl.SSLError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()


async def test_strangers_who_hold_connections_open_do_not_keep_the_console_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNPROVEN_LIMIT", 20)
    async with lab(tmp_path) as (way, _):
        held_reader, held_writer = await way.connect()
        held_writer.write(head(*PROOF))
        await held_reader.readuntil(b"ok")
        strangers = [await way.connect() for _ in range(15)]
        strangers += [await asyncio.open_connection("127.0.0.1", way.port) for _ in range(30)]
        assert (await way.ask(*PROOF)).endswith(b"ok")
        assert len(way.gateway._unproven) <= 20
        held_writer.write(head(*PROOF))  # who proved itself is not dropped for strangers
        await asyncio.wait_for(held_reader.readuntil(b"ok"), 5)
        for _, writer in [*strangers, (held_reader, held_writer)]:
            writer.transport.abort()


async def test_too_many_connections_are_503_not_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECTION_LIMIT", 3)
    async with lab(tmp_path) as (way, _):
        held = [await way.connect() for _ in range(3)]
        assert (await way.ask(*PROOF)).startswith(b"HTTP/1.1 503 ")
        for _, writer in held:
            writer.transport.abort()
        await asyncio.sleep(0.1)
        assert (await way.ask(*PROOF)).endswith(b"ok")


async def test_the_port_is_no_privileged_one(tmp_path: Path) -> None:
    async with lab(tmp_path) as (way, _):
        assert 1024 <= way.port < 65536
