"""A load of known shape, for a job: `known_load.py LOG SECONDS [HALF]`. Five times a second LOG gets what it did.

Each line: Unix time, CPU seconds used so far, bytes of memory it holds, bytes written and synced so far. CPU: HALF
seconds (two) of spinning, as many of rest, and so on; memory: 32 MiB more each time; writing: 1 MiB at each line.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

STEP_S, HALF_S, MORE_BYTES, WRITE_BYTES = 0.2, 2.0, 32 << 20, 1 << 20


def filled(size: int) -> bytearray:
    """So much memory that is really there, and never more on the way."""
    piece = bytearray(size)
    for page in range(0, size, 4096):
        piece[page] = 1
    return piece


def run(path: Path, seconds: float, half_s: float = HALF_S) -> None:
    held: list[bytearray] = []
    written, block = 0, os.urandom(WRITE_BYTES)
    with path.open("w") as log, path.with_suffix(".data").open("wb") as data:
        began = now = time.monotonic()
        while now - began < seconds:
            phase = int((now - began) / half_s)
            if phase // 2 >= len(held):
                held.append(filled(MORE_BYTES))
            data.seek(written % (64 << 20))
            data.write(block)
            data.flush()
            os.fsync(data.fileno())
            written += WRITE_BYTES
            memory = sum(len(piece) for piece in held)
            print(time.time(), time.process_time(), memory, written, file=log, flush=True)
            until = now + STEP_S
            while (now := time.monotonic()) < until:
                if phase % 2:
                    time.sleep(max(0.0, until - now))


if __name__ == "__main__":
    run(Path(sys.argv[1]), *map(float, sys.argv[2:]))
