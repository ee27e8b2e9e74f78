"""A body that is too long is refused in words that arrive, and the connection goes on or is closed."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import pytest

from app.gate.bodies import DRAINED_BYTES, MAX_BODY_BYTES
from tests.unit.gatehouse import House, running

SAMPLES = "/api/v1/agent/samples"
HEADERS = {"Content-Type": "application/json", "Content-Encoding": "deflate"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("bodies")) as made:
        yield made


@pytest.fixture
def line(house: House) -> Iterator[http.client.HTTPConnection]:
    """One connection."""
    made = http.client.HTTPConnection("127.0.0.1", house.port, timeout=30)
    yield made
    made.close()


def answer(line: http.client.HTTPConnection) -> tuple[int, str]:
    found = line.getresponse()
    text = found.read().decode()
    return found.status, json.loads(text)["detail"] if found.status == 413 else text


def ping(line: http.client.HTTPConnection) -> int:
    """Ask for something else on the same connection."""
    assert line.sock is not None
    line.auto_open = 0
    line.request("GET", "/healthz")
    return answer(line)[0]


@pytest.mark.parametrize("path", [SAMPLES, "/login", "/api/nothing"])
@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, DRAINED_BYTES])
def test_a_body_that_is_too_long_is_told_so_and_the_connection_goes_on(
    line: http.client.HTTPConnection, path: str, size: int
) -> None:
    line.request("POST", path, bytes(size), HEADERS | {"Accept": "application/json"})
    found = line.getresponse()
    assert found.status == 413
    assert "1 MiB" in found.read().decode()
    assert ping(line) == 200


def test_so_is_one_that_comes_in_chunks(line: http.client.HTTPConnection) -> None:
    chunks = (bytes(64 * 1024) for _ in range(17))
    line.request("POST", SAMPLES, chunks, HEADERS, encode_chunked=True)
    status, words = answer(line)
    assert status == 413 and "1 MiB" in words
    assert ping(line) == 200


def test_one_of_the_greatest_length_is_looked_at(line: http.client.HTTPConnection) -> None:
    line.request("POST", SAMPLES, bytes(MAX_BODY_BYTES), HEADERS)
    assert answer(line)[0] == 503  # no telemetry process is there
    assert ping(line) == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_one_without_end_is_answered_while_it_comes_and_closed(
    line: http.client.HTTPConnection, chunked: bool
) -> None:
    line.putrequest("POST", SAMPLES)
    for name, value in HEADERS.items():
        line.putheader(name, value)
    if chunked:
        line.putheader("Transfer-Encoding", "chunked")
        line.endheaders()
        for _ in range(DRAINED_BYTES // 65_536):
            line.send(b"10000\r\n" + bytes(65_536) + b"\r\n")
        line.send(b"1\r\n0\r\n")
    else:
        line.putheader("Content-Length", str(DRAINED_BYTES + 1))
        line.endheaders()
    sock = line.sock
    with sock.makefile("rb") as source:
        text = source.read()  # until it is closed
    head, _, body = text.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in head.lower()
    assert json.loads(body)["status"] == 413
