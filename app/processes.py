"""Start and watch the console's processes: `carme serve` runs them all, a service manager may run each alone.

A process that dies is started again, slower each time it dies young. One that says from the first that it can't
start as things stand (a port is taken, the settings don't fit) ends all. SIGTERM, SIGINT and a closed terminal
end them all, the one that owns this machine's jobs last. If this process is killed, the
kernel ends the others; jobs go on and are found again.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from config import Settings

log = logging.getLogger("carme.serve")

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_NO_NEW_PRIVS = 38
LONGEST_WAIT_S = 30.0  # the longest wait before a dying process is started again
STOP_GRACE_S = 10.0
CANT_START = 78  # the exit status of a process that can't start until somebody changes something; sysexits.h
# Before the second and last try: a console that was killed here a moment ago may still be letting go of its port.
REFUSED_WAIT_S = 4.0


@dataclass(frozen=True)
class Role:
    """One process: the function it runs, and what it owns or needs that the others don't."""

    name: str
    target: str  # "module:function", called with the settings
    gains_privileges: bool = False  # only sudo needs that
    owns_jobs: bool = False  # a proper stop ends this machine's jobs

    @property
    def orphan_signal(self) -> int:
        """What the kernel sends it when its parent dies: an accident must not end jobs, so no proper stop."""
        return signal.SIGKILL if self.owns_jobs else signal.SIGTERM


# In the order they are started.
ROLES = (
    Role("supervisor", "backend.cluster.local.supervisor:run_supervisor", owns_jobs=True),
    Role("launcher", "backend.launcher:run_launcher", gains_privileges=True),
    Role("collector", "backend.cluster.collector:run_collector"),
    Role("telemetry", "backend.telemetry.intake.service:run_telemetry"),
    Role("proxy", "app.proxy.server:run_proxy"),
    Role("web", "app.server:run_web"),
)
ROLE_NAMES = tuple(role.name for role in ROLES)


def default_roles(settings: Settings) -> tuple[str, ...]:
    """The processes this configuration needs from one `serve`.

    With strategy `sudo` the launcher runs under an account of its own, so it is started apart.
    """
    wanted = ["collector", "proxy", "web"]
    if settings.telemetry.source == "embedded":
        wanted.append("telemetry")
    if settings.scheduler.kind == "local":
        wanted.append("supervisor")
    if settings.launcher.strategy == "self":
        wanted.append("launcher")
    return tuple(name for name in ROLE_NAMES if name in wanted)


def run_role(name: str, settings: Settings) -> None:
    """Be the process `name` until told to stop. Raises KeyError for a name that is no role."""
    role = {role.name: role for role in ROLES}[name]
    module, function = role.target.split(":")
    target: Callable[[Settings], None] = getattr(importlib.import_module(module), function)
    target(settings)


@dataclass
class _Child:
    role: Role
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    deaths: int = 0
    next_start_s: float = field(default=0.0)
    starts: int = 0
    refusals: int = 0  # how many of the starts ended with CANT_START

    @property
    def hopeless(self) -> bool:
        """It was never up. A process that was up once is started again whatever has become of its port."""
        return self.refusals >= 2 and self.refusals == self.starts


def _as_child_of(parent: int, role: Role) -> Callable[[], None]:
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, role.orphan_signal, 0, 0, 0)
        if not role.gains_privileges:
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if os.getppid() != parent:  # it died before the kernel was asked to watch it
            os._exit(1)

    return before_exec


def _start(child: _Child, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "app.cli", "serve", "--as-process", child.role.name, *arguments]
    # Its own process group: a Ctrl-C in the terminal reaches this process alone, which then stops all in order.
    child.process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=_as_child_of(os.getpid(), child.role),  # noqa: PLW1509 - this process has one thread
        cwd=Path(__file__).resolve().parent.parent,
    )
    child.started_s = time.monotonic()
    child.starts += 1


def _watch(child: _Child, arguments: list[str]) -> None:
    """Start the child if it isn't running and its turn has come."""
    now = time.monotonic()
    if child.process is not None:
        status = child.process.poll()
        if status is None:
            return
        lived_s = now - child.started_s
        child.deaths = child.deaths + 1 if lived_s < LONGEST_WAIT_S else 1
        wait_s = min(LONGEST_WAIT_S, 0.5 * 2 ** (child.deaths - 1))
        child.process = None
        name = child.role.name
        if status == CANT_START:
            child.refusals += 1
            wait_s = max(wait_s, REFUSED_WAIT_S)
            if child.hopeless:
                return
            log.error("%s can't start; trying again in %.1f s", name, wait_s)
        else:
            log.error(
                "%s ended with status %s after %.1f s; starting it again in %.1f s", name, status, lived_s, wait_s
            )
        child.next_start_s = now + wait_s
    if child.process is None and now >= child.next_start_s:
        _start(child, arguments)


def _stop(children: list[_Child], number: int = signal.SIGTERM) -> None:
    """Ask these to end, all at once, and wait until they have."""
    asked = [(child, child.process) for child in children if child.process is not None]
    for _, process in asked:
        process.send_signal(number)
    deadline = time.monotonic() + STOP_GRACE_S
    for child, process in asked:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("%s did not stop within %.0f s and is killed", child.role.name, STOP_GRACE_S)
            process.kill()
            process.wait()


def serve(settings: Settings, roles: tuple[str, ...], arguments: list[str]) -> int:
    """Run `roles` until SIGTERM or SIGINT; `arguments` are handed to each (`--config FILE`, ports).

    Returns the exit status: 1 when a process can't start as things stand, which it has said in the log.
    """
    children = [_Child(role) for role in ROLES if role.name in roles]
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not under nohup
        signal.signal(signal.SIGHUP, stop)
    hopeless: _Child | None = None
    try:
        while not stopping and hopeless is None:
            for child in children:
                _watch(child, arguments)
            hopeless = next((child for child in children if child.hopeless), None)
            time.sleep(0.2)
    finally:
        _stop([child for child in children if not child.role.owns_jobs])
        # A start that failed is no proper stop: jobs that an earlier console left running go on.
        _stop([child for child in children if child.role.owns_jobs], signal.SIGKILL if hopeless else signal.SIGTERM)
    if hopeless:
        log.error("%s can't start; what it said above must be changed first", hopeless.role.name)
        return 1
    return 0
