"""What a sender may send: checked to the last number before anything is done with it. Nothing here does any I/O."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from backend.telemetry.catalogue import BY_NAME
from backend.telemetry.store import Block

MOST_SENT_BYTES = 1 << 20
MOST_BYTES = 4 << 20
MOST_POINTS = 1000
MOST_BLOCKS = 4096
MOST_OBJECTS = 2 * MOST_BLOCKS + 1  # the batch, and a block with its metrics
MOST_LISTS = 32 * MOST_BLOCKS
MOST_MODEL = 80
HIGHEST = 1e18
DEVICE = re.compile(r"|gpu:[0-9]{1,4}(:[0-9]{1,4})?|fs:[A-Za-z0-9_.-]{1,64}|node")
NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
BOOT = re.compile(r"[0-9a-f]{16}")
_NUMBERS = {int, float, type(None)}
_KEYS = {"v", "boot", "seq", "sent_s", "mono_s", "node", "blocks"}
_BLOCK_KEYS = {"job", "device", "model", "t", "m"}


class BadBatch(Exception):
    """It makes no sense; the message says what of it doesn't."""


class TooLarge(BadBatch):
    """It is larger than any batch may be."""


@dataclass(frozen=True)
class Sent:
    """A batch that makes sense. Times are by the sender's clock."""

    boot: str
    seq: int
    sent_s: float
    mono_s: float
    node: str
    blocks: tuple[Block, ...]

    @property
    def values(self) -> int:
        """How many numbers it has."""
        return sum(block.values.size for block in self.blocks)

    @property
    def weight(self) -> int:
        """What it takes of memory, in values."""
        return sum(block.weight for block in self.blocks)


def read(body: bytes) -> Sent:
    """A batch as it was sent. Raises BadBatch, TooLarge."""
    return understood(inflated(body))


def understood(plain: bytes) -> Sent:
    """A batch's JSON. Raises BadBatch."""
    found = _object(_parsed(plain), _KEYS, "the batch")
    if found["v"] != 1 or type(found["v"]) is not int:
        _bad("v: 1 is wanted")
    if not isinstance(found["boot"], str) or not BOOT.fullmatch(found["boot"]):
        _bad("boot: 16 hexadecimal digits are wanted")
    if not isinstance(found["node"], str) or not NODE.fullmatch(found["node"]):
        _bad("node: the name of a node is wanted")
    if not isinstance(found["blocks"], list) or len(found["blocks"]) > MOST_BLOCKS:
        _bad(f"blocks: a list of at most {MOST_BLOCKS} is wanted")
    return Sent(
        found["boot"],
        _whole(found["seq"], 1, 2**53, "seq"),
        _time(found["sent_s"], "sent_s"),
        _time(found["mono_s"], "mono_s"),
        found["node"],
        _blocks(found["blocks"]),
    )


def _bad(why: str) -> NoReturn:
    raise BadBatch(why)


def inflated(body: bytes) -> bytes:
    """A body's JSON. Raises BadBatch, TooLarge."""
    if len(body) > MOST_SENT_BYTES:
        raise TooLarge(f"at most {MOST_SENT_BYTES} bytes are taken")
    inflate = zlib.decompressobj()
    try:
        plain = inflate.decompress(body, MOST_BYTES + 1)
    except zlib.error as error:
        raise BadBatch(f"the body is no deflate stream (zlib): {error}") from error
    if len(plain) > MOST_BYTES:
        raise TooLarge(f"at most {MOST_BYTES} bytes are taken, inflated")
    if not inflate.eof or inflate.unused_data:
        _bad("the body is cut off, or goes on after its end")
    return plain


def _parsed(plain: bytes) -> Any:
    def constant(name: str) -> NoReturn:
        _bad(f"{name} is no number in JSON")

    # Each is an object of Python's, and a text of some kilobytes could hold a million of them.
    if plain.count(b"{") > MOST_OBJECTS or plain.count(b"[") > MOST_LISTS:
        _bad("the body has more objects or lists than a batch can have")
    try:
        return json.loads(plain, parse_constant=constant)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError too
        raise BadBatch(f"the body is no JSON: {str(error)[:200]}") from error


def _object(found: Any, keys: set[str], what: str) -> dict[str, Any]:
    if not isinstance(found, dict) or found.keys() != keys:
        _bad(f"{what}: an object with {', '.join(sorted(keys))} is wanted")
    return found


def _whole(found: Any, least: int, most: int, what: str) -> int:
    if type(found) is not int or not least <= found <= most:
        _bad(f"{what}: a whole number from {least} is wanted")
    return int(found)


def _time(found: Any, what: str) -> float:
    # (not: outside of that; NaN is neither inside nor outside)
    if type(found) not in (int, float) or not 0 <= found <= 1e12:
        _bad(f"{what}: seconds are wanted")
    return float(found)


def _blocks(found: list[Any]) -> tuple[Block, ...]:
    """All numbers of a batch are looked at together: a batch has many short lists."""
    times: list[Any] = []
    numbers: list[Any] = []
    shapes: list[tuple[int, str, str, int, tuple[str, ...]]] = []
    for block in found:
        _object(block, _BLOCK_KEYS, "a block")
        device, model, t, m = block["device"], block["model"], block["t"], block["m"]
        job_id = _whole(block["job"], 1, 2**40, "job")
        if not isinstance(device, str) or not DEVICE.fullmatch(device):
            _bad("device: '', 'gpu:0', 'gpu:0:1', 'fs:NAME' or 'node' is wanted")
        if not isinstance(model, str) or len(model) > MOST_MODEL or not model.isprintable():
            _bad(f"model: at most {MOST_MODEL} printable characters are wanted")
        if not isinstance(t, list) or not 1 <= len(t) <= MOST_POINTS:
            _bad(f"t: a list of 1 to {MOST_POINTS} times is wanted")
        if not isinstance(m, dict) or not m:
            _bad("m: an object with at least one metric is wanted")
        kind = device.partition(":")[0] or "job"
        for name, values in m.items():
            metric = BY_NAME.get(name)
            if metric is None or metric.kind != kind:
                _bad(f"m: {name[:60]!r} is no metric of {kind}")
            if not isinstance(values, list) or len(values) != len(t):
                _bad(f"m: {name} must have as many values as there are times")
            numbers += values
        times += t
        shapes.append((job_id, device, model, len(t), tuple(m)))
    return _shaped(shapes, _array(times, "t"), _array(numbers, "m"))


def _array(found: list[Any], what: str) -> Any:
    if not set(map(type, found)) <= _NUMBERS:  # JSON's true is Python's 1, and numpy reads texts as numbers
        _bad(f"{what}: numbers are wanted")
    try:
        array = np.array(found, np.float64)
    except (OverflowError, ValueError, TypeError) as error:
        raise BadBatch(f"{what}: numbers are wanted") from error
    with np.errstate(invalid="ignore"):
        if (array < 0).any() or (array > HIGHEST).any():  # infinity too; null has become NaN
            _bad(f"{what}: numbers from 0 to {HIGHEST:g} are wanted")
    return array


def _shaped(shapes: list[tuple[int, str, str, int, tuple[str, ...]]], times: Any, numbers: Any) -> tuple[Block, ...]:
    if np.isnan(times).any() or (times > 1e12).any():
        _bad("t: times are wanted")
    values = numbers.astype(np.float32)
    blocks: list[Block] = []
    at = value_at = 0
    for job_id, device, model, length, names in shapes:
        its = times[at : at + length]
        if length > 1 and not (its[1:] > its[:-1]).all():
            _bad("t: times must rise")
        size = length * len(names)
        matrix = values[value_at : value_at + size].reshape(len(names), length)
        blocks.append(Block(job_id, device, model, its, names, matrix))
        at, value_at = at + length, value_at + size
    return tuple(blocks)
