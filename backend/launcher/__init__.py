"""Acting as a person: the one process that can, its client, and the program it runs as them."""

from __future__ import annotations

from backend.launcher.client import Launcher, LauncherError
from backend.launcher.service import LauncherStartError, run_launcher
from backend.launcher.strategies import supervisor_socket

__all__ = ["Launcher", "LauncherError", "LauncherStartError", "run_launcher", "supervisor_socket"]
