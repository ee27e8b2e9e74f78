"""Runs one local job and notes how it ended. Standard library only; outlives the supervisor that started it.

    python -I -S runner.py FOLDER        FOLDER/spec.json says what to run

It adopts every process the job leaves behind (as their subreaper), so that the job's end is the end of all of
them. SIGTERM asks the whole job to end; what is left after the grace period is killed. FOLDER/started exists
once a runner took the job on: a second one leaves at once, so that no job ever runs twice.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.05


class Runner:
    """The job of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec: dict[str, Any] = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
        self.asked_to_end_s: float | None = None
        self.killed = False

    def run(self) -> None:
        """From taking the job on to the note of its end."""
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            fd = os.open(self.folder / "started", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return
        with os.fdopen(fd, "w") as note:
            note.write(f"{os.getpid()} {start_ticks(os.getpid())}\n")
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        begun_s = time.time()
        if self.asked_to_end_s is not None:
            self._note(0, signal.SIGTERM, begun_s, "")
            return
        try:
            process = self._start()
        except OSError as error:
            self._note(127, 0, begun_s, f"{error.filename or self.spec['argv'][0]}: {error.strerror}")
            return
        if self.asked_to_end_s is not None:  # while it was being started
            send(signal.SIGTERM)
        status = self._wait_for(process.pid)
        self._end_the_rest()
        code = os.waitstatus_to_exitcode(status)
        self._note(max(0, code), max(0, -code), begun_s, "")

    def _start(self) -> subprocess.Popen[bytes]:
        """The job's first process, in a process group of its own, with its CPUs and its output file."""
        os.sched_setaffinity(0, self.spec["cpus"])
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.umask(self.spec.get("umask", 0o077))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        output = os.open(self.spec["output"], flags, 0o600)
        try:
            return subprocess.Popen(
                self.spec["argv"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.spec["cwd"],
                env=self.spec["env"],
                process_group=0,
            )
        finally:
            os.close(output)

    def _ask(self, *_: object) -> None:
        if self.asked_to_end_s is None:
            self.asked_to_end_s = time.monotonic()
            send(signal.SIGTERM)

    def _wait_for(self, first: int) -> int:
        """Reap whatever ends until the first process has; its wait status."""
        while True:
            self._kill_when_overdue()
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 0
            if pid == first:
                return status
            if pid == 0:
                time.sleep(POLL_S)

    def _end_the_rest(self) -> None:
        """The job is over when its first process is: what it left behind is asked to end, then killed."""
        if self.asked_to_end_s is None:
            self.asked_to_end_s = time.monotonic()
        send(signal.SIGTERM)
        while True:
            self._kill_when_overdue()
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                time.sleep(POLL_S)

    def _kill_when_overdue(self) -> None:
        asked_s = self.asked_to_end_s
        if asked_s is not None and time.monotonic() - asked_s > self.spec["grace_s"]:
            send(signal.SIGKILL)

    def _note(self, code: int, number: int, begun_s: float, error: str) -> None:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        note = {
            "exit": code,
            "signal": number,
            "begun_s": begun_s,
            "end_s": time.time(),
            "cpu_used_s": used.ru_utime + used.ru_stime,
            "memory_peak_mb": used.ru_maxrss >> 10,
            "error": error,
        }
        temporary = self.folder / ".exit.json"
        temporary.write_text(json.dumps(note), encoding="utf-8")
        temporary.replace(self.folder / "exit.json")


def send(number: int) -> None:
    """Signal every process below this one, however deep and in whatever session."""
    for pid in below(os.getpid()):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        except PermissionError:  # a setuid program of the job's
            continue


def below(root: int) -> list[int]:
    """All processes whose line of parents leads to `root`, itself left out."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            parent = parent_of(int(entry.name))
            if parent is not None:
                children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    queue = [root]
    while queue:
        for child in children.get(queue.pop(), ()):
            found.append(child)
            queue.append(child)
    return found


def parent_of(pid: int) -> int | None:
    """The parent of a process; None when it is gone."""
    fields = stat_fields(pid)
    return int(fields[1]) if fields else None


def start_ticks(pid: int) -> int | None:
    """When a process began, in ticks since boot (with its number, its identity); None when it is gone."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields and fields[0] not in ("Z", "X") else None


def stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on (the name before them may hold anything)."""
    try:
        content = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return content[content.rindex(b")") + 2 :].decode("ascii").split()


if __name__ == "__main__":
    Runner(Path(sys.argv[1])).run()
