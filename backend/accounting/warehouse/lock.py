"""One writer at a time: the kernel's lock on an open file, which goes with the process, however that ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import IO

LOCK = "writer.lock"


class WarehouseBusy(Exception):
    """Another writer is at work: try again later."""


def locked(path: Path, wait_s: float) -> IO[bytes]:
    """The locked file. Raises WarehouseBusy when another has it for longer than `wait_s`, OSError."""
    lock = path.open("ab")
    until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                lock.close()
                raise WarehouseBusy(f"another process is writing {path.parent}: try again later") from None
            time.sleep(0.1)
        else:
            os.ftruncate(lock.fileno(), 0)
            return lock
