"""Which container runtimes there are. The command lines are built in the job, by `backend.agent.runtimes`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.agent.spec import RuntimeSpec

COMMANDS: Mapping[str, str] = {
    "apptainer": "apptainer",
    "singularity": "singularity",
    "charliecloud": "ch-run",
}
VERSION_TIMEOUT_S = 10


class NoRuntime(LookupError):
    """The runtime that was asked for isn't there; the message says where it was looked for."""


@dataclass(frozen=True)
class Runtime:
    """A runtime that can be used. `command` and `version` are empty for `none`."""

    kind: str
    command: str = ""
    version: str = ""

    def spec(self, image: str = "", binds: Sequence[str] = (), nv: bool = False) -> RuntimeSpec:
        """What the agent is told: `image` a SIF file or a folder (absolute, on the nodes)."""
        if self.kind == "none":
            return RuntimeSpec()
        return RuntimeSpec(self.kind, self.command, image, tuple(binds), nv)


def detect(commands: Mapping[str, str] | None = None, path: str | None = None) -> list[Runtime]:
    """The runtimes of this machine, best first, `none` always last.

    `commands` gives absolute paths by kind where a site keeps them elsewhere; `path` replaces PATH.
    A `singularity` that is apptainer under its old name is listed once, as apptainer.
    """
    found: list[Runtime] = []
    seen: set[str] = set()
    for kind, name in COMMANDS.items():
        command = shutil.which((commands or {}).get(kind) or name, path=path)
        if command is None or os.path.realpath(command) in seen:
            continue
        version = _version(command)
        if version is None:
            continue
        seen.add(os.path.realpath(command))
        found.append(Runtime(kind, str(Path(command).absolute()), version))
    return [*found, Runtime("none")]


def named(kind: str, commands: Mapping[str, str] | None = None, path: str | None = None) -> Runtime:
    """The runtime of this kind, `auto` for the best. Raises NoRuntime."""
    there = detect(commands, path)
    if kind == "auto":
        return there[0]
    for runtime in there:
        if runtime.kind == kind:
            return runtime
    wanted = (commands or {}).get(kind) or COMMANDS.get(kind, kind)
    raise NoRuntime(f"the container runtime {kind!r} isn't there: {wanted!r} was looked for")


def _version(command: str) -> str | None:
    """First line of `--version`, or None for a command that doesn't run."""
    try:
        done = subprocess.run(
            [command, "--version"], capture_output=True, timeout=VERSION_TIMEOUT_S, check=True, text=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return (done.stdout or done.stderr).strip().partition("\n")[0]
