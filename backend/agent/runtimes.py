"""Command lines of the container runtimes. No shell anywhere: every value is an argument or a variable.

Isolation: the image's own root, the person's home and working folder and the site's binds at the same paths,
nothing else of the node; a private /tmp and /var/tmp on node-local disk; a process namespace of its own
(apptainer, singularity); a clean environment to which only what the job needs is passed back.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .spec import RuntimeSpec

PASSED = re.compile(
    r"SLURM[A-Z]*_\w+|CUDA_VISIBLE_DEVICES|NVIDIA_VISIBLE_DEVICES|GPU_DEVICE_ORDINAL|ROCR_VISIBLE_DEVICES"
    r"|HIP_VISIBLE_DEVICES|ZE_AFFINITY_MASK|(?:OMP|MKL|OPENBLAS|NUMEXPR)_NUM_THREADS|TZ"
)
"""Variables of the job that reach the inside of a container."""
INSIDE = {"LANG": "C.UTF-8", "SHELL": "/bin/bash", "TERM": "xterm-256color"}
"""Set in every container: the node's own may name what the image doesn't have."""
_PLAIN_VALUE = re.compile(r"[\w@%+=:,./()\[\]^*~ -]*")


class RuntimeRefused(Exception):
    """The runtime can't run this as asked; the message says why."""


@dataclass(frozen=True)
class Surroundings:
    """What every app of a session shares on this node: absolute paths, all the person's."""

    home: str
    work_dir: str
    scratch: str
    """The session's 0700 folder on node-local disk: sockets in `sockets`, `container` for /tmp."""

    @property
    def sockets(self) -> str:
        """The folder of the apps' sockets, on the node."""
        return str(PurePosixPath(self.scratch, "sockets"))

    @property
    def container_tmp(self) -> str:
        """What a container gets as its temporary space."""
        return str(PurePosixPath(self.scratch, "container"))

    def bound(self, binds: Sequence[str]) -> list[str]:
        """Host folders shown inside besides the home, parents first, each once."""
        wanted = dict.fromkeys([*binds, self.work_dir])
        return [path for path in wanted if not _is_within(path, self.home)]


@dataclass(frozen=True)
class Command:
    """What is executed: an argument list, its whole environment and its working folder."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str


def socket_folder_inside(kind: str, around: Surroundings) -> str:
    """Where the folder of sockets is seen by the app. ch-run can only bind to folders the image has."""
    return {
        "none": around.sockets,
        "apptainer": "/run/carme",
        "singularity": "/run/carme",
        "charliecloud": "/mnt",
    }[kind]


def wrap(
    runtime: RuntimeSpec,
    argv: Sequence[str],
    app_env: Mapping[str, str],
    job_env: Mapping[str, str],
    around: Surroundings,
) -> Command:
    """The command that runs `argv` in the runtime. `app_env` is added to what is passed of `job_env`.

    Raises RuntimeRefused when a path can't be expressed to the runtime.
    """
    if runtime.kind == "none":
        return Command(tuple(argv), {**job_env, **app_env}, around.work_dir)
    if runtime.kind == "charliecloud":
        return _charliecloud(runtime, argv, app_env, job_env, around)
    return _apptainer(runtime, argv, app_env, job_env, around)


def passed(job_env: Mapping[str, str]) -> dict[str, str]:
    """The part of the job's environment that a container gets."""
    return {name: value for name, value in job_env.items() if PASSED.fullmatch(name)}


def _apptainer(
    runtime: RuntimeSpec,
    argv: Sequence[str],
    app_env: Mapping[str, str],
    job_env: Mapping[str, str],
    around: Surroundings,
) -> Command:
    prefix = "APPTAINERENV_" if runtime.kind == "apptainer" else "SINGULARITYENV_"
    inside = {**passed(job_env), **INSIDE, **app_env}
    if runtime.kind == "singularity":
        # it hands values to a shell that evaluates them; what a shell could take up stays outside
        inside = {name: value for name, value in inside.items() if _PLAIN_VALUE.fullmatch(value)}
    own = {name: value for name, value in job_env.items() if not name.startswith(prefix)}
    out = [
        runtime.command,
        "--quiet",
        "exec",
        "--containall",
        "--cleanenv",
        "--workdir",
        around.container_tmp,
    ]
    if runtime.kind == "apptainer":
        out.append("--no-eval")
    out += ["--home", _plain(around.home), "--pwd", around.work_dir]
    out += _bind(runtime.kind, around.sockets, socket_folder_inside(runtime.kind, around))
    for path in around.bound(runtime.binds):
        out += _bind(runtime.kind, path, path)
    if runtime.nv:
        out.append("--nv")
    return Command(
        (*out, runtime.image, *argv),
        {**own, **{prefix + name: value for name, value in inside.items()}},
        "/",
    )


def _bind(kind: str, source: str, destination: str) -> list[str]:
    if kind == "apptainer":
        text = io.StringIO()
        fields = ["type=bind", f"source={source}", f"destination={destination}"]
        csv.writer(text, lineterminator="").writerow(fields)
        return ["--mount", text.getvalue()]
    return ["--bind", f"{_plain(source)}:{_plain(destination)}"]


def _plain(path: str) -> str:
    """A path for an option that splits at `:` and `,` and knows no quoting."""
    if ":" in path or "," in path:
        raise RuntimeRefused(f"the runtime can't bind a folder with ':' or ',' in its name: {path!r}")
    return path


def _charliecloud(
    runtime: RuntimeSpec,
    argv: Sequence[str],
    app_env: Mapping[str, str],
    job_env: Mapping[str, str],
    around: Surroundings,
) -> Command:
    image = Path(runtime.image)
    user = PurePosixPath(around.home).name
    inside = {"PATH": "/usr/local/bin:/usr/bin:/bin", **passed(job_env), **INSIDE, **app_env}
    inside |= {"HOME": around.home, "USER": user}
    if any("\n" in value for value in inside.values()):
        raise RuntimeRefused("ch-run can't pass on a variable with a line feed in it")
    tmp = Path(around.container_tmp, "tmp")
    tmp.mkdir(parents=True, exist_ok=True)
    env_file = Path(around.container_tmp, "environment")
    env_file.write_text("".join(f"{name}={value}\n" for name, value in sorted(inside.items())))
    out = [runtime.command]
    binds = [(around.sockets, "/mnt"), (str(tmp), "/tmp")]  # noqa: S108 - the container's own
    if around.home == f"/home/{user}":
        out.append("--home")  # ch-run lays an empty /home over the image's for this one
    else:
        binds.append((around.home, around.home))
    for source, destination in [*binds, *((path, path) for path in around.bound(runtime.binds))]:
        _plain(source)
        if image.is_dir() and not (image / destination.lstrip("/")).is_dir():
            raise RuntimeRefused(f"the image has no folder {destination} for ch-run to bind to")
        out += ["--bind", f"{source}:{destination}"]
    out += ["--env-no-expand", "--unset-env=*", f"--set-env={env_file}", "--cd", around.work_dir]
    own = {**job_env, "HOME": around.home, "USER": user}
    return Command((*out, runtime.image, "--", *argv), own, "/")


def _is_within(path: str, folder: str) -> bool:
    return os.path.commonpath([os.path.normpath(path), os.path.normpath(folder)]) == os.path.normpath(folder)
