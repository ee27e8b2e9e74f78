"""The few Linux calls the harness needs and Python 3.11 lacks: unshare, setns, mount, prctl."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWPID = 0x2000_0000

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x4_0000

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags), f"unshare({flags:#x})")


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    result = _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _checked(result, f"mount {kind or 'bind'} {source} on {target}")


def bind(source: str, target: str) -> None:
    mount(source, target, "", MS_BIND | MS_REC)


def set_hostname(name: str) -> None:
    raw = name.encode()
    _checked(_libc.sethostname(raw, len(raw)), f"sethostname({name})")


def die_with_parent(parent: int) -> None:
    """SIGKILL to this process when its parent ends; ends at once when the parent is gone already."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(1)


@contextlib.contextmanager
def children_in_pid_namespace_of(pid: int) -> Iterator[None]:
    """Processes this thread forks in here are born in the PID namespace of `pid`.

    So a Popen's pid is the real process (no nsenter in between), and a SIGKILL to it arrives. The thread
    itself stays where it is; it must start no thread in here (the kernel refuses).
    """
    there = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    here = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.setns(there, CLONE_NEWPID), f"setns to the PID namespace of {pid}")
        try:
            yield
        finally:
            _checked(_libc.setns(here, CLONE_NEWPID), "setns back")
    finally:
        os.close(there)
        os.close(here)
