"""Running Slurm's commands: argument lists, an environment of our own, a time limit, named errors."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Commands:
    """How to run this site's Slurm commands. `conf` is its slurm.conf; None: where Slurm looks by itself."""

    bin_dir: Path | None
    conf: Path | None
    timeout_s: float

    def run(self, name: str, *arguments: str) -> str:
        """Standard output of one command. Raises SchedulerError: Away, CommandMissing, or with Slurm's words.

        What is no UTF-8 is replaced, so that one odd name costs no row.
        """
        return self.run_bytes(name, *arguments).decode("utf-8", "replace")

    def run_bytes(self, name: str, *arguments: str) -> bytes:
        """The same, undecoded: for columns of a fixed number of bytes."""
        argv = [self._find(name), *arguments]
        environment = self.environment()
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise CommandMissing(f"{name} can't be run: {error.strerror or error}.") from error
        with process:
            try:
                output, errors = process.communicate(timeout=self.timeout_s)
            except subprocess.TimeoutExpired as error:
                _kill(process)
                raise SchedulerAway(f"Slurm gave no answer to {name} within {self.timeout_s:g} s.") from error
            except BaseException:
                _kill(process)
                raise
        words = " ".join(errors.decode("utf-8", "replace").split())[:500]
        if process.returncode != 0:
            if any(sign in words.lower() for sign in AWAY):
                raise SchedulerAway(f"Slurm does not answer: {words}")
            raise SchedulerError(f"{name} failed: {words or f'exit status {process.returncode}'}")
        return output

    def environment(self) -> dict[str, str]:
        """Nothing is inherited, so that no SQUEUE_*, SACCT_*, SLURM_* of a shell changes an answer."""
        environment = {
            "PATH": f"{self.bin_dir}:{DEFAULT_PATH}"
            if self.bin_dir
            else os.environ.get("PATH", DEFAULT_PATH),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
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
