"""Running Slurm's commands: argument lists, an environment of our own, a time limit, named errors."""

from __future__ import annotations

import os
import secrets
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from backend.cluster.protocol import CommandMissing, SchedulerAway, SchedulerError

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin:/opt/slurm/bin:/usr/local/sbin:/usr/sbin:/sbin"

# What Slurm's commands print when nobody answers; matched in any letter case.
AWAY = (
    "unable to contact slurm controller",
    "connection refused",
    "connect failure",
    "socket timed out",
    "unable to establish controller machine",
    "problem talking to the database",
    "slurm_persist_conn_open",
    "unable to establish configuration source",
    "no route to host",
    "zero bytes were transmitted",
    "slurm backup controller in standby",
)


PIECE_BYTES = 1 << 20


class _TooSlow(Exception):
    """The time for an answer is over."""


@dataclass(frozen=True)
class Commands:
    """How to run this site's Slurm commands. `conf` is its slurm.conf; None: where Slurm looks by itself.

    `zone`: in which times are read and written that are not Unix seconds.
    """

    bin_dir: Path | None
    conf: Path | None
    timeout_s: float
    zone: str = "UTC"

    def run(self, name: str, *arguments: str) -> str:
        """Standard output of one command. Raises SchedulerError: Away, CommandMissing, or with Slurm's words.

        What is no UTF-8 is replaced, so that one odd name costs no row.
        """
        return self.run_bytes(name, *arguments).decode("utf-8", "replace")

    def run_bytes(self, name: str, *arguments: str) -> bytes:
        """The same, undecoded: for columns of a fixed number of bytes."""
        return b"".join(self.stream(name, *arguments))

    def stream(self, name: str, *arguments: str) -> Iterator[bytes]:
        """Standard output as it comes, in pieces of any size. Raises as `run` does, if need be at the end."""
        with tempfile.TemporaryFile() as errors, self._started(name, arguments, errors) as process:
            deadline = time.monotonic() + self.timeout_s
            try:
                yield from self._pieces(process, deadline)
                process.wait(max(0.1, deadline - time.monotonic()))
            except (_TooSlow, subprocess.TimeoutExpired) as error:
                _kill(process)
                raise SchedulerAway(f"Slurm gave no answer to {name} within {self.timeout_s:g} s.") from error
            except BaseException:
                _kill(process)
                raise
            errors.seek(0)
            words = " ".join(errors.read(4000).decode("utf-8", "replace").split())[:500]
        if process.returncode != 0:
            if any(sign in words.lower() for sign in AWAY):
                raise SchedulerAway(f"Slurm does not answer: {words}")
            raise SchedulerError(f"{name} failed: {words or f'exit status {process.returncode}'}")

    def _started(self, name: str, arguments: tuple[str, ...], errors: IO[bytes]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [self._find(name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self.environment(),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise CommandMissing(f"{name} can't be run: {error.strerror or error}.") from error

    @staticmethod
    def _pieces(process: subprocess.Popen[bytes], deadline: float) -> Iterator[bytes]:
        if process.stdout is None:
            return
        fd = process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(fd, selectors.EVENT_READ)
            while True:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise _TooSlow
                piece = os.read(fd, PIECE_BYTES)
                if not piece:
                    return
                yield piece

    def environment(self) -> dict[str, str]:
        """Nothing is inherited, so that no SQUEUE_*, SACCT_*, SLURM_* of a shell changes an answer."""
        environment = {
            "PATH": f"{self.bin_dir}:{DEFAULT_PATH}" if self.bin_dir else os.environ.get("PATH", DEFAULT_PATH),
            "LC_ALL": "C.UTF-8",
            "TZ": self.zone,
            "SLURM_TIME_FORMAT": "%s",
            "SLURM_BITSTR_LEN": "0",  # array expressions in full
        }
        if self.conf is not None:
            environment["SLURM_CONF"] = str(self.conf)
        return environment

    def _find(self, name: str) -> str:
        if self.bin_dir is not None:
            return str(self.bin_dir / name)
        found = shutil.which(name)
        if found is None:
            raise CommandMissing(f"{name} is not installed on this machine (slurm.bin_dir says where it is).")
        return found


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@dataclass(frozen=True)
class Marks:
    """The field separator and row end of one answer, drawn at random so that no field can contain them."""

    field: str
    row: str

    @classmethod
    def draw(cls) -> Marks:
        return cls(field=f"<{secrets.token_urlsafe(6)}>", row=f"<{secrets.token_urlsafe(6)}>\n")
