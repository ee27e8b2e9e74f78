"""When to look: each task has its own interval and is never running twice; a kick brings one forward."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

TICK_S = 0.1  # how soon a kick or a due task is seen
KICKS_AT_ONCE = 3.0  # early looks in a row, …
KICK_EVERY_S = 5.0  # … and one more each so many seconds
AT_ONCE = 3  # tasks running at the same time


@dataclass
class Task:
    """Something that is done every so often. Times are of the monotonic clock."""

    name: str
    every_s: float
    act: Callable[[], None]
    due: float = 0.0
    running: Future[None] | None = None
    failure: str = ""  # what was logged last, so that a lasting failure is logged once

    def busy(self) -> bool:
        return self.running is not None and not self.running.done()

    def run(self) -> None:
        try:
            self.act()
        except Exception as error:
            if self.failure != repr(error):
                self.failure = repr(error)
                log.exception("looking at %s failed", self.name)
        else:
            self.failure = ""


@dataclass
class Kicks:
    """Requests for an early look, by touching a file; a bucket spaces out many in a row."""

    path: Path
    seen_ns: int = 0
    left: float = KICKS_AT_ONCE
    filled: float = field(default_factory=time.monotonic)
    open: bool = False  # asked for and not granted yet

    def __post_init__(self) -> None:
        self._look()

    def granted(self, *, ready: bool) -> bool:
        """Whether an early look should begin now; asked for while not `ready`, it is granted afterwards."""
        self.open = self._look() or self.open
        now = time.monotonic()
        self.left = min(KICKS_AT_ONCE, self.left + (now - self.filled) / KICK_EVERY_S)
        self.filled = now
        if not (self.open and ready and self.left >= 1):
            return False
        self.left -= 1
        self.open = False
        return True

    def _look(self) -> bool:
        try:
            changed_ns = self.path.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        new = changed_ns != self.seen_ns
        self.seen_ns = changed_ns
        return new


class Clock:
    """Runs tasks when they are due; `kicked` names the one that a kick brings forward."""

    def __init__(self, tasks: list[Task], kicks: Kicks, kicked: str) -> None:
        self.tasks = tasks
        self.kicks = kicks
        self._kicked = next(task for task in tasks if task.name == kicked)

    def run(self, stop: threading.Event) -> None:
        """Until told to stop; waits for what is running then."""
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="look") as pool:
            while not stop.is_set():
                if self.kicks.granted(ready=not self._kicked.busy()):
                    self._kicked.due = 0.0
                now = time.monotonic()
                for task in self.tasks:
                    if now >= task.due and not task.busy():
                        task.due = now + task.every_s
                        task.running = pool.submit(task.run)
                stop.wait(TICK_S)
