"""One running app: started, its output passed on, ended with all it started."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from .log import log
from .runtimes import Command

LAST_LINES = 40
LINE_LIMIT_BYTES = 4096
LOG_LIMIT_BYTES = 8 * 1024 * 1024
"""What one app may add to the job's output file, which lies in the person's quota."""
STOP_GRACE_S = 5.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class AppProcess:
    """A started app. `returncode` is None while it runs."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, output: asyncio.StreamReader) -> None:
        self.name = name
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._process = process
        self._output = asyncio.ensure_future(self._pass_on(output))

    @classmethod
    async def start(cls, name: str, command: Command) -> AppProcess:
        """Start it in a session (process group) of its own. Raises OSError when it can't be executed."""
        # a pipe of our own: asyncio's would hold `wait` up until the last process that inherited it ends
        read_end, write_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *command.argv,
                env=dict(command.env),
                cwd=command.cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                start_new_session=True,
                preexec_fn=_ends_with_agent(),
            )
        except OSError:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        output = asyncio.StreamReader(limit=LINE_LIMIT_BYTES)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output),
            os.fdopen(read_end, "rb", buffering=0),
        )
        return cls(name, process, output)

    @property
    def pid(self) -> int:
        """Of the started command (the runtime's, when in a container)."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status, negative for a signal."""
        return self._process.returncode

    async def wait(self) -> int:
        """Its exit status, after its output was passed on as far as nothing else holds it open."""
        status = await self._process.wait()
        await asyncio.wait([self._output], timeout=0.5)
        return status

    async def stop(self) -> None:
        """SIGTERM to its group, after a grace SIGKILL."""
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), STOP_GRACE_S)
        except asyncio.TimeoutError:  # noqa: UP041 - Python 3.9
            self._signal(signal.SIGKILL)
            await self._process.wait()
        self._signal(signal.SIGKILL)
        await asyncio.wait([self._output], timeout=0.5)
        self._output.cancel()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def _pass_on(self, stream: asyncio.StreamReader) -> None:
        written = 0
        while True:
            try:
                raw = await stream.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                raw = error.partial
                if not raw:
                    return
            except asyncio.LimitOverrunError:
                raw = await stream.read(LINE_LIMIT_BYTES)
            line = raw.decode(errors="replace").rstrip("\r\n")
            self.last_lines.append(line)
            if written < LOG_LIMIT_BYTES:
                written += len(raw)
                with contextlib.suppress(OSError, ValueError):
                    sys.stdout.write(f"[{self.name}] {line}\n")
                    sys.stdout.flush()
                if written >= LOG_LIMIT_BYTES:
                    log(f"{self.name} has written {LOG_LIMIT_BYTES} bytes: the rest is left out")


def _ends_with_agent() -> Callable[[], object] | None:
    """What a child does before it becomes an app: it asks the kernel to be killed when the agent is, for then nobody is
    left to end it. (A session of its own keeps it from what a Slurm without cgroups kills by process group.)"""
    try:
        return partial(ctypes.CDLL(None).prctl, _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    except (OSError, AttributeError):
        return None


def adopt_orphans() -> None:
    """Let processes whose parent ended become children of the agent, so that `end_descendants` finds them."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(root: int) -> Iterator[int]:
    """Process ids below `root`, parents first, from /proc (nothing where there is no /proc)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    waiting = list(children.get(root, ()))
    while waiting:
        pid = waiting.pop(0)
        yield pid
        waiting += children.get(pid, ())


async def end_descendants(grace_s: float = 2.0) -> None:
    """End whatever is still below this process (kernels, servers that apps left running)."""
    for number, turns in ((signal.SIGTERM, int(grace_s * 20)), (signal.SIGKILL, 40)):
        for turn in range(turns):
            _reap()
            left = list(descendants(os.getpid()))
            if not left:
                return
            if turn == 0 or number == signal.SIGKILL:
                for pid in left:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, number)
            await asyncio.sleep(0.05)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
