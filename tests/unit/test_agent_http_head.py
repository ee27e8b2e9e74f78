"""Requests are found in a stream however it is cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.agent.http_head import BadRequest, ChunkedBody, LengthBody, parse_head


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces."""
    at = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(at)]


@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=6),
    st.binary(max_size=50),
    st.lists(st.integers(0, 2500)),
)
def test_a_chunked_body_ends_where_it_ends(parts: list[bytes], after: bytes, places: list[int]) -> None:
    body = b"".join(b"%X\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\nTrailer: x\r\n\r\n"
    reader, taken = ChunkedBody(), 0
    for piece in cut(body + after, places):
        if not reader.done:
            taken += reader.take(piece)
    assert reader.done
    assert taken == len(body)


@given(st.integers(0, 1000), st.integers(0, 100), st.lists(st.integers(0, 1100)))
def test_a_body_of_known_length_ends_where_it_ends(length: int, more: int, places: list[int]) -> None:
    reader, taken = LengthBody(length), 0
    for piece in cut(b"x" * (length + more), places):
        taken += reader.take(piece) if not reader.done else 0
    assert reader.done
    assert taken == length


@pytest.mark.parametrize(
    "line", [b"\r\n", b"-1\r\n", b"1g\r\n", b"5\n", b"0x5\r\n", b"f" * 16 + b"\r\n", b"1" * 5000]
)
def test_a_bad_chunk_size_is_refused(line: bytes) -> None:
    with pytest.raises(BadRequest):
        ChunkedBody().take(line)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_head_parser(raw: bytes) -> None:
    try:
        head = parse_head(raw + b"\r\n\r\n")
    except BadRequest:
        return
    assert head.render(frozenset(), head.target) == raw + b"\r\n\r\n"


def test_an_upgrade_needs_both_headers() -> None:
    def upgrades(*lines: bytes) -> bool:
        return parse_head(b"\r\n".join([b"GET / HTTP/1.1", *lines, b"", b""])).upgrades

    assert upgrades(b"Connection: Upgrade", b"Upgrade: websocket")
    assert upgrades(b"connection: keep-alive,  uPgrade", b"upgrade: websocket")
    assert not upgrades(b"Connection: close", b"Upgrade: websocket")
    assert not upgrades(b"Connection: Upgrade")
