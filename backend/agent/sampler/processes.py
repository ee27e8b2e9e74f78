"""Processes as /proc tells of them: whose they are, what job they belong to, what they have used."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .reading import MOST_BYTES, natural, text

STEP_TITLE = re.compile(r"slurmstepd: \[([0-9]{1,18})(?:\+\d+)?\.")
"""How slurmstepd names itself: `slurmstepd: [1234.batch]`, `[1234+0.0]` in a heterogeneous job."""
_SOCKET = re.compile(r"[0-9A-Fa-f]+:(?: [0-9A-F]{8}){3} [0-9A-F]{4} [0-9A-F]{2} +([0-9]+)(?: (.*))?")
"""A line of /proc/net/unix: its fifth number is the inode, and a path follows where the socket has one."""
_TOLD_BYTES = 256 << 10
"""The most that is read of what a process decides about itself: its command line, its environment."""
_NAMES = frozenset(["SLURM_JOB_ID", "SLURMD_NODENAME"])
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Process(NamedTuple):
    """One line of /proc/PID/stat, as far as it matters. `start` tells a reused pid."""

    pid: int
    parent: int
    command: str
    start: int
    threads: int
    cpu_s: float
    """User and system time of its own."""
    reaped_cpu_s: float
    """The same of its children that ended and were waited for."""

    @property
    def key(self) -> tuple[int, int]:
        """What stays the same as long as it is the same process."""
        return self.pid, self.start


class Processes:
    """The process table under a root folder. Everything about a process that has just ended is None or empty."""

    def __init__(self, root: str) -> None:
        self._proc = f"{root.rstrip('/')}/proc"
        self._step_nodes: dict[tuple[int, int], str | None] = {}
        self._told: dict[tuple[int, int, str], dict[str, str]] = {}

    def all(self) -> dict[int, Process]:
        """Every process that can be seen."""
        found = (self.one(int(name)) for name in os.listdir(self._proc) if name.isdigit())  # noqa: PTH208 - hot
        table = {process.pid: process for process in found if process is not None}
        alive = {process.key for process in table.values()}
        self._step_nodes = {key: node for key, node in self._step_nodes.items() if key in alive}
        return table

    def named_jobs(self, table: Mapping[int, Process]) -> dict[int, int]:
        """The job each of this user's processes has in its environment, if any."""
        told = ((pid, job_number(names)) for pid, names in self.told(table).items())
        return {pid: number for pid, number in told if number is not None}

    def marked(self, table: Mapping[int, Process], wanted: Mapping[str, str | None]) -> set[int]:
        """This user's processes whose environment has all of these (None: has it, whatever it is)."""
        return {
            pid
            for pid, names in self.told(table).items()
            if all(name in names if value is None else names.get(name) == value for name, value in wanted.items())
        }

    def told(self, table: Mapping[int, Process]) -> dict[int, dict[str, str]]:
        """What this user's processes have of Slurm's names in their environment. Looked up once for each program."""
        known = {}
        for process in table.values():
            key = (*process.key, process.command)
            if key in self._told:
                known[key] = self._told[key]
            elif self.uid(process.pid) == os.geteuid():
                known[key] = {name: value for name, value in self.environment(process.pid).items() if name in _NAMES}
            else:
                known[key] = {}
        self._told = known
        return {pid: names for (pid, _, _), names in known.items() if names}

    def named_job(self, pid: int) -> int | None:
        """SLURM_JOB_ID of its environment."""
        return job_number(self.environment(pid))

    def step_node(self, process: Process, job: int) -> str | None:
        """The node a step daemon is of, by the socket it listens on: `…/NODE_JOB.STEP`; None where that isn't told."""
        if process.key not in self._step_nodes:
            known = self._sockets()
            named = re.compile(rf"/([^/]+)_{job}(?:\+\d+)?\.\d+$")
            found = (named.search(known.get(inode, "")) for inode in self._open_sockets(process.pid))
            nodes = {match[1] for match in found if match}
            self._step_nodes[process.key] = nodes.pop() if len(nodes) == 1 else None
        return self._step_nodes[process.key]

    def _sockets(self) -> dict[str, str]:
        """Paths of the machine's unix sockets, by inode. A name may hold a line feed and what looks like a line of
        another socket: an inode that comes with two is left out."""
        paths: dict[str, set[str]] = {}
        for line in self._text("net", "unix").split("\n"):
            if told := _SOCKET.fullmatch(line):
                paths.setdefault(told[1], set()).add(told[2] or "")
        return {inode: found.pop() for inode, found in paths.items() if len(found) == 1}

    def _open_sockets(self, pid: int) -> list[str]:
        folder = f"{self._proc}/{pid}/fd"
        found = []
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):  # noqa: PTH208 - hot
                with contextlib.suppress(OSError):
                    found.append(os.readlink(f"{folder}/{name}"))  # noqa: PTH115
        return [link[8:-1] for link in found if link.startswith("socket:[")]

    def one(self, pid: int) -> Process | None:
        """One process."""
        try:
            before, _, after = text(f"{self._proc}/{pid}/stat").rpartition(")")
        except OSError:
            return None
        fields = after.split()
        if len(fields) < 20:
            return None
        utime, stime, cutime, cstime = (int(field) for field in fields[11:15])
        return Process(
            pid=pid,
            parent=int(fields[1]),
            command=before.partition("(")[2],
            start=int(fields[19]),
            threads=int(fields[17]),
            cpu_s=(utime + stime) / _TICKS_PER_S,
            reaped_cpu_s=(cutime + cstime) / _TICKS_PER_S,
        )

    def uid(self, pid: int) -> int | None:
        """Whose it is; None where it is of two users at once: what a setuid program shows is of whoever started it.
        From `status`: the folder of a process that may not be dumped belongs to root."""
        for line in self._text(pid, "status", _TOLD_BYTES).split("\n"):
            if line.startswith("Uid:\t"):
                users = set(line.split("\t")[1:])
                return natural(users.pop()) if len(users) == 1 else None
        return None

    def title(self, pid: int) -> str:
        """Its command line, the arguments divided by spaces."""
        return self._text(pid, "cmdline", _TOLD_BYTES).replace("\0", " ").strip()

    def environment(self, pid: int) -> dict[str, str]:
        """What it was started with; empty where this process may not look."""
        pairs = (entry.partition("=") for entry in self._text(pid, "environ", _TOLD_BYTES).split("\0"))
        return {name: value for name, _, value in pairs if name}

    def anonymous_bytes(self, pid: int) -> int:
        """Resident memory without file pages and shared memory, which several processes would count."""
        fields = self._text(pid, "statm").split()
        return max(0, int(fields[1]) - int(fields[2])) * _PAGE_BYTES if len(fields) > 2 else 0

    def block_bytes(self, pid: int) -> tuple[int, int] | None:
        """Read from and written to block devices; None where this process may not look."""
        values = dict(line.split(": ", 1) for line in self._text(pid, "io").split("\n") if ": " in line)
        if "read_bytes" not in values:
            return None
        written = int(values.get("write_bytes", 0)) - int(values.get("cancelled_write_bytes", 0))
        return int(values["read_bytes"]), max(0, written)

    def network_space(self, pid: int | str) -> str | None:
        """The network namespace; None where this process may not look."""
        try:
            return os.readlink(f"{self._proc}/{pid}/ns/net")  # noqa: PTH115 - no file is opened
        except OSError:
            return None

    def network_text(self, pid: int) -> str:
        """Its network devices' counters."""
        return self._text(pid, "net/dev")

    def _text(self, pid: int | str, name: str, most_bytes: int = MOST_BYTES) -> str:
        try:
            return text(f"{self._proc}/{pid}/{name}", most_bytes)
        except OSError:
            return ""


def job_number(environment: Mapping[str, str]) -> int | None:
    """SLURM_JOB_ID of an environment."""
    return natural(environment.get("SLURM_JOB_ID", ""))


def tree(roots: Iterable[int], table: Mapping[int, Process]) -> set[int]:
    """The processes below these, without them."""
    children: dict[int, list[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    waiting = list(roots)
    found: set[int] = set()
    while waiting:
        for pid in children.get(waiting.pop(), ()):
            if pid not in found:
                found.add(pid)
                waiting.append(pid)
    return found


class Tally:
    """CPU time of a changing set of processes, never falling when one ends."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, int], Process] = {}
        self._ended_s = 0.0

    def cpu_s(self, now: Mapping[int, Process]) -> float:
        """All they have used. A child that ended is in the time its parent waited for, if that one is still ours;
        of others what was last seen is kept."""
        alive = {process.key: process for process in now.values()}
        last_pids = {process.pid: process.key for process in self._last.values()}
        for key, process in self._last.items():
            if key not in alive and last_pids.get(process.parent) not in alive:
                self._ended_s += process.cpu_s + process.reaped_cpu_s
        self._last = alive
        return self._ended_s + sum(process.cpu_s + process.reaped_cpu_s for process in alive.values())
