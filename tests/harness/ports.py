"""TCP ports of the loopback for programs a test starts, taken by nobody else for as long as the test process lives."""

from __future__ import annotations

import contextlib
import socket
from random import SystemRandom

# Below the kernel's ephemeral range (32768 upwards), so that no client socket sits on one; clusters have 20000 upwards.
RANGE = range(12_000, 20_000)
_held: list[socket.socket] = []


def free_port() -> int:
    """A port nobody listens on, held against other test processes until this one ends."""
    ports = list(RANGE)
    SystemRandom().shuffle(ports)
    for port in ports:
        mark = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError), socket.socket() as probe:
            mark.bind(f"\0carme-harness-port-{port}")
            probe.bind(("127.0.0.1", port))
            _held.append(mark)
            return port
        mark.close()
    raise RuntimeError(f"No free TCP port between {RANGE.start} and {RANGE.stop}.")
