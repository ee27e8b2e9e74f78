"""How long a session has been idle: nobody used an app, and its job computed nothing, on no node."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from .telemetry.of_session import BusyMarks

TOLD_S = 60
"""Idle for less is in use."""


class IdleClock:
    """The newest sign of use. `busy` may be called from any thread, the rest from one."""

    def __init__(self, session_folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._used_s = clock()
        self._busy_s = 0.0
        self._marks = BusyMarks(session_folder)

    def busy(self) -> None:
        """The job was just seen computing on this node."""
        self._busy_s = self._clock()

    def used(self, at_s: float) -> None:
        """Somebody used it then; what is older than is known changes nothing, what lies ahead is now."""
        self._used_s = max(self._used_s, min(at_s, self._clock()))

    def look(self) -> None:
        """Whether other nodes have computed. Blocking, a moment."""
        if self._marks.changed():
            self.used(self._clock())

    @property
    def idle_s(self) -> int:
        """For how long; 0 while it is in use."""
        idle_s = self._clock() - max(self._used_s, self._busy_s)
        return int(idle_s) if idle_s >= TOLD_S else 0

    def over(self, limit_s: float) -> bool:
        """Idle for longer than that."""
        return self._clock() - max(self._used_s, self._busy_s) > limit_s
