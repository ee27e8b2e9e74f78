"""This machine as a cluster: a supervisor process that owns the jobs, and what reads from it."""

from __future__ import annotations

from backend.cluster.local.scheduler import LocalScheduler, ask_supervisor
from backend.cluster.local.supervisor import SupervisorRunning, run_supervisor, socket_path

__all__ = ["LocalScheduler", "SupervisorRunning", "ask_supervisor", "run_supervisor", "socket_path"]
