"""The watch of a session's job, on any of its nodes; and how further nodes tell the first that they are busy."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ..sampler.processes import job_number
from ..spec import AgentSpec
from ..step import node_name
from .push import Door
from .watch import JobWatch

TOUCH_EVERY_S = 60.0


def session_watch(
    spec: AgentSpec, env: Mapping[str, str], say: Callable[[str], None], busy: Callable[[], None]
) -> JobWatch | None:
    """None where there is no job to watch, or the site wants none."""
    number = job_number(env)
    if not spec.sample_every_s or number is None:
        return None
    return JobWatch(
        Door(spec.console_url, f"session:{spec.session_id}", spec.secret, spec.console_ca_pem),
        job=number,
        node=node_name(env),
        env=env,
        every_s=spec.sample_every_s,
        say=say,
        busy=busy,
    )


def touch(mark: Path) -> None:
    """Mark a node as busy in the session's folder, which its nodes share; at most once a minute."""
    with contextlib.suppress(OSError):
        if not mark.exists() or time.time() - mark.stat().st_mtime > TOUCH_EVERY_S:
            mark.touch(mode=0o600)


class BusyMarks:
    """Whether another node has marked itself since the last look. Clocks of nodes and servers may differ: only a change
    counts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, float] = {}

    def changed(self) -> bool:
        """Blocking, a moment on a shared file system. What is there at the first look counts as new."""
        now = {}
        with contextlib.suppress(OSError):
            now = {path.name: path.stat().st_mtime for path in self._folder.glob("busy-*")}
        changed = any(self._seen.get(name) != at_s for name, at_s in now.items())
        self._seen = now
        return changed
