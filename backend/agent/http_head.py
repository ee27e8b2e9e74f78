"""Request heads and body framing: just enough HTTP/1.1 to know where a request ends."""

from __future__ import annotations

import re
from typing import NamedTuple

HEAD_LIMIT_BYTES = 64 * 1024
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([\x21-\x7e]{1,60000}) HTTP/1\.[01]")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
_CHUNK_LINE_LIMIT_BYTES = 4096


class BadRequest(ValueError):
    """The bytes are no request that can be passed on safely."""


class Head(NamedTuple):
    """A parsed request head. Header lines keep their bytes; names are compared in lower case."""

    method: bytes
    target: bytes
    version: bytes
    lines: tuple[tuple[bytes, bytes, bytes], ...]
    """(lower-case name, value, the line as it came without its end)"""

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header, in order."""
        return [value for key, value, _ in self.lines if key == name]

    @property
    def upgrades(self) -> bool:
        """Whether the client asks to leave HTTP (a websocket): everything after the head is raw then."""
        tokens = b",".join(self.values(b"connection")).lower().split(b",")
        return b"upgrade" in [token.strip() for token in tokens] and bool(self.values(b"upgrade"))

    def body(self) -> LengthBody | ChunkedBody:
        """How the body is framed. Raises BadRequest where two readers could disagree."""
        lengths = self.values(b"content-length")
        codings = self.values(b"transfer-encoding")
        if codings:
            if lengths or len(codings) > 1 or codings[0].lower() != b"chunked":
                raise BadRequest("ambiguous body framing")
            return ChunkedBody()
        if not lengths:
            return LengthBody(0)
        if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 18:
            raise BadRequest("bad Content-Length")
        return LengthBody(int(lengths[0]))

    def render(self, drop: frozenset[bytes], target: bytes) -> bytes:
        """The head's bytes without the headers in `drop`, with another target."""
        kept = [line for name, _, line in self.lines if name not in drop]
        return b"\r\n".join([b" ".join((self.method, target, self.version)), *kept, b"", b""])


class LengthBody:
    """A body of known length. `take` says how many of the bytes belong to it; `done` once it has ended."""

    def __init__(self, length_bytes: int) -> None:
        self._left = length_bytes
        self.done = length_bytes == 0

    def take(self, data: bytes) -> int:
        """Count the leading bytes of `data` that belong to the body."""
        taken = min(self._left, len(data))
        self._left -= taken
        self.done = self._left == 0
        return taken


class ChunkedBody:
    """A chunked body; chunk data is skipped by its length, only size lines and trailers are looked at."""

    def __init__(self) -> None:
        self._line = b""
        self._left = 0
        self._in_trailer = False
        self.done = False

    def take(self, data: bytes) -> int:
        """As LengthBody.take. Raises BadRequest on a malformed size line."""
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            end = data.find(b"\n", at)
            stop = len(data) if end < 0 else end + 1
            self._line += data[at:stop]
            at = stop
            if len(self._line) > _CHUNK_LINE_LIMIT_BYTES:
                raise BadRequest("chunk line too long")
            if end >= 0:
                self._end_of_line()
        return at

    def _end_of_line(self) -> None:
        line, self._line = self._line, b""
        if not line.endswith(b"\r\n"):
            raise BadRequest("bare line feed in a chunked body")
        line = line[:-2]
        if self._in_trailer:
            self.done = line == b""
            return
        size = CHUNK_SIZE.fullmatch(line)
        if size is None:
            raise BadRequest("bad chunk size")
        length = int(size.group(1), 16)
        if length == 0:
            self._in_trailer = True
        else:
            self._left = length + 2


def parse_head(raw: bytes) -> Head:
    """Parse a head that ends with an empty line. Raises BadRequest on folding, bare CR or LF, bad names."""
    first, *rest = raw[:-4].split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(first)
    if match is None:
        raise BadRequest("bad request line")
    lines = []
    for line in rest:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name) or any(byte in value for byte in (b"\r", b"\n", b"\0")):
            raise BadRequest("bad header line")
        lines.append((name.lower(), value.strip(b" \t"), line))
    return Head(match.group(1), match.group(2), first[-8:], tuple(lines))
