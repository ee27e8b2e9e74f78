"""The step an agent is: what ends it, and what its node is called."""

from __future__ import annotations

import signal
import socket
from collections.abc import Mapping

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals that end an agent."""


def node_name(env: Mapping[str, str]) -> str:
    """The node's name as Slurm knows it."""
    return env.get("SLURMD_NODENAME") or socket.gethostname().split(".")[0]
