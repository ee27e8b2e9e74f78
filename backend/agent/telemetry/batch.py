"""What goes to the console: a batch's bytes, its signature, and the one answer that ends the sending.

POST {console}/api/v1/agent/samples, `Content-Type: application/json`, `Content-Encoding: deflate` (zlib):
    {"v": 1, "boot": 16 hex, "seq": from 1, "sent_s", "mono_s", "node",
     "blocks": [{"job", "device", "model", "t": [Unix s, ...], "m": {metric: [number or null, ...]}}, ...]}
signed by X-Carme-Sender and X-Carme-Mac. Batch 1 has no blocks: it tells the sender's clock (`sent_s`) at the moment
of sending, however long the console was away before, and is made anew until it was taken. All others keep their bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import zlib
from collections.abc import Sequence
from typing import Any

from .. import registration
from .series import Row

PATH = "/api/v1/agent/samples"
SENDER_HEADER = "X-Carme-Sender"
MAC_HEADER = "X-Carme-Mac"
MOST_POINTS = 1000
"""Of one block."""
SPLIT_BYTES = 1 << 20
"""About how large a batch may grow before it is compressed; the console takes four times this."""
SPLIT_BLOCKS = 2000
"""How many blocks; the console takes twice as many."""
_LEVEL = 6


def mac_of(key: str, sender: str, body: bytes) -> str:
    """Hex HMAC-SHA256 of who sends and the body as it is sent."""
    return hmac.new(key.encode(), sender.encode() + b"\n" + body, hashlib.sha256).hexdigest()


def is_signed(key: str, sender: str, body: bytes, mac: str) -> bool:
    """Whether this mac is the key's. Constant time."""
    return mac.isascii() and hmac.compare_digest(mac, mac_of(key, sender, body))


def over_answer(key: str, sender: str, mac: str) -> dict[str, Any]:
    """The body of a 410: nothing more is wanted from this sender, in answer to the batch with this mac."""
    return registration.over_answer(key, {"session": sender, "mac": mac})


def is_over(key: str, sender: str, mac: str, body: bytes) -> bool:
    """Whether a 410's body is the console's own word."""
    return registration.is_over(key, {"session": sender, "mac": mac}, body)


def node_key(master: str, node: str) -> str:
    """The key of a node's service, made from the site's master key."""
    return hmac.new(master.encode(), f"carme node {node}".encode(), hashlib.sha256).hexdigest()


def blocks(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as blocks: one for each device of each job, in the order of time. Times must rise."""
    by: dict[tuple[int, str, str], list[Row]] = {}
    for row in rows:
        by.setdefault((row.job, row.device, row.model), []).append(row)
    found = []
    for (job, device, model), all_of_it in by.items():
        for start in range(0, len(all_of_it), MOST_POINTS):
            part = all_of_it[start : start + MOST_POINTS]
            names = dict.fromkeys(name for row in part for name in row.values)
            found.append(
                {
                    "job": job,
                    "device": device,
                    "model": model,
                    "t": [round(row.at_s, 3) for row in part],
                    "m": {name: [_short(row.values.get(name)) for row in part] for name in names},
                }
            )
    return found


def split(rows: Sequence[Row]) -> list[list[dict[str, Any]]]:
    """The blocks of these rows, in as many batches as their size asks for."""
    parts: list[list[dict[str, Any]]] = []
    size = SPLIT_BYTES
    for block in blocks(rows):
        bytes_of_it = len(json.dumps(block, separators=(",", ":")))
        if size + bytes_of_it > SPLIT_BYTES or len(parts[-1]) >= SPLIT_BLOCKS:
            parts.append([])
            size = 0
        parts[-1].append(block)
        size += bytes_of_it
    return parts


def encode(parts: list[dict[str, Any]], *, boot: str, seq: int, node: str, sent_s: float, mono_s: float) -> bytes:
    """A batch's body as it is sent."""
    message = {
        "v": 1,
        "boot": boot,
        "seq": seq,
        "sent_s": round(sent_s, 3),
        "mono_s": round(mono_s, 3),
        "node": node,
        "blocks": parts,
    }
    return zlib.compress(json.dumps(message, separators=(",", ":"), allow_nan=False).encode(), _LEVEL)


def _short(value: float | None) -> float | int | None:
    """A whole number without `.0`."""
    return int(value) if value is not None and value == int(value) else value
