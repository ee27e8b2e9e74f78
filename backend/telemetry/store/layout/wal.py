"""The write-ahead log: what was acknowledged and is not in files yet. Numbered files of framed records.

A frame is `length, crc32` (two little-endian 32-bit numbers) and `length` bytes: a 32-bit size and that many bytes,
compressed by zstd: a kind, a 32-bit length of a JSON head, the head, and arrays. A frame that is cut off or whose sum
is wrong ends a file: it was never acknowledged.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from backend.telemetry.catalogue import BY_NAME
from backend.telemetry.store.layout.chunks import Matrix, Times
from backend.telemetry.store.layout.manifest import naming, sync_folder

BATCH, JOBS = b"B", b"J"
_FRAME = struct.Struct("<II")
_SIZE = struct.Struct("<I")
_LONGEST = 64 << 20
_ZSTD = pa.Codec("zstd", 1)
BLOCK_WEIGHT = 100
"""What a block takes of memory beside its values, in values: some six hundred bytes of objects."""


@dataclass(frozen=True)
class Block:
    """Samples of one device of a job, by the sender's clock."""

    job_id: int
    device: str
    model: str
    times_s: Times
    metrics: tuple[str, ...]
    values: Matrix  # metrics × times; NaN: not measured

    @property
    def weight(self) -> int:
        """What it takes of memory, in values."""
        return BLOCK_WEIGHT + int(self.values.size)


@dataclass(frozen=True)
class Batch:
    """What a sender sent at once, checked. `received_s` is by our clock, the other times by its own."""

    cluster: str
    sender: str
    node: str
    boot: str
    seq: int
    sent_s: float
    mono_s: float
    received_s: float
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class JobFacts:
    """What the scheduler says of an attempt."""

    cluster: str
    job_id: int
    start_s: int
    end_s: int | None


Record = Batch | JobFacts


class WalWriter:
    """Appends to a new file. One thread at a time. Raises TelemetryUnusable."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self._path = wal_path(folder, number)
        with naming(self._path):
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            sync_folder(self._path.parent)
        self.size = 0

    def append(self, records: Sequence[Record]) -> None:
        """Have the records on disk. When that fails, none of them is in the file."""
        data = memoryview(b"".join(framed(record) for record in records))
        with naming(self._path):
            try:
                written = 0
                while written < len(data):
                    written += os.pwrite(self._fd, data[written:], self.size + written)
                os.fdatasync(self._fd)
            except OSError:
                os.ftruncate(self._fd, self.size)
                raise
        self.size += len(data)

    def close(self) -> None:
        """No more records."""
        os.close(self._fd)


def wal_path(folder: Path, number: int) -> Path:
    """The file of this number."""
    return folder / "wal" / f"{number:010d}.wal"


def wal_numbers(folder: Path) -> list[int]:
    """The files there are, oldest first."""
    return sorted(int(path.stem) for path in (folder / "wal").glob("*.wal") if path.stem.isdigit())


def replay(folder: Path, number: int, offset: int = 0) -> Iterator[tuple[Record, int]]:
    """The whole records of a file from `offset` on, each with where it ends. Raises TelemetryUnusable."""
    path = wal_path(folder, number)
    with naming(path), path.open("rb") as source:
        source.seek(offset)
        while len(head := source.read(_FRAME.size)) == _FRAME.size:
            length, crc = _FRAME.unpack(head)
            payload = source.read(length) if length <= _LONGEST else b""
            if len(payload) < length or not payload or zlib.crc32(payload) != crc:
                return
            offset += _FRAME.size + length
            yield _decoded(payload), offset


def framed(record: Record) -> bytes:
    """A record as its bytes in the file."""
    plain = _encoded(record)
    payload = _SIZE.pack(len(plain)) + _ZSTD.compress(plain, asbytes=True)
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _encoded(record: Record) -> bytes:
    if isinstance(record, JobFacts):
        return _with_head(JOBS, [record.cluster, record.job_id, record.start_s, record.end_s])
    sets = list(dict.fromkeys(block.metrics for block in record.blocks))
    blocks = [
        [block.job_id, block.device, block.model, len(block.times_s), sets.index(block.metrics)]
        for block in record.blocks
    ]
    head = [
        record.cluster, record.sender, record.node, record.boot, record.seq, record.sent_s, record.mono_s,
        record.received_s, sets, blocks,
    ]  # fmt: skip
    arrays = [np.ascontiguousarray(block.times_s, np.float64).tobytes() for block in record.blocks]
    arrays += [np.ascontiguousarray(block.values, np.float32).tobytes() for block in record.blocks]
    return _with_head(BATCH, head) + b"".join(arrays)


def _with_head(kind: bytes, head: Any) -> bytes:
    text = json.dumps(head, separators=(",", ":")).encode()
    return kind + _SIZE.pack(len(text)) + text


def _decoded(payload: bytes) -> Record:
    plain = _ZSTD.decompress(payload[_SIZE.size :], _SIZE.unpack_from(payload)[0], asbytes=True)
    length = _SIZE.unpack_from(plain, 1)[0]
    at = 1 + _SIZE.size + length
    head = json.loads(plain[1 + _SIZE.size : at])
    if plain[:1] == JOBS:
        return JobFacts(*head)
    return _batch(head, plain, at)


def _batch(head: Sequence[Any], plain: bytes, at: int) -> Batch:
    sets = [tuple(names) for names in head[8]]
    known = [[row for row, name in enumerate(names) if name in BY_NAME] for names in sets]  # an older catalogue's
    facts = head[9]
    times: list[Times] = []
    for _, _, _, length, _ in facts:
        times.append(np.frombuffer(plain, np.float64, length, at))
        at += 8 * length
    blocks: list[Block] = []
    for (job_id, device, model, length, which), its in zip(facts, times, strict=True):
        names, rows = sets[which], known[which]
        values = np.frombuffer(plain, np.float32, length * len(names), at).reshape(len(names), length)
        at += 4 * length * len(names)
        if len(rows) < len(names):
            names, values = tuple(names[row] for row in rows), values[rows]
        blocks.append(Block(job_id, device, model, its, names, values))
    cluster, sender, node, boot, seq, sent_s, mono_s, received_s = head[:8]
    return Batch(cluster, sender, node, boot, seq, sent_s, mono_s, received_s, tuple(blocks))


def state_of(facts: Mapping[str, Any]) -> bytes:
    """A JSON object as the bytes of a state file."""
    plain = json.dumps(facts, separators=(",", ":")).encode()
    return _SIZE.pack(len(plain)) + _ZSTD.compress(plain, asbytes=True)


def facts_of(state: bytes) -> dict[str, Any]:
    """A state file's object. Raises ValueError, pa.ArrowException."""
    plain = _ZSTD.decompress(state[_SIZE.size :], _SIZE.unpack_from(state)[0], asbytes=True)
    found: dict[str, Any] = json.loads(plain)
    return found
