"""The telemetry process: what agents send is checked and kept; what is kept in memory is told."""

from backend.agent.telemetry.batch import node_key
from backend.telemetry.intake.keys import KeyUnusable, master_key
from backend.telemetry.intake.link import ProcessAway, ask, ask_blocking, socket_path
from backend.telemetry.intake.wire import NODE

__all__ = ["NODE", "KeyUnusable", "ProcessAway", "ask", "ask_blocking", "master_key", "node_key", "socket_path"]
