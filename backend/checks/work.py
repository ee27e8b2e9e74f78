"""What runs people's work: scheduler, collector, launcher, container runtime, apps."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from pathlib import Path

from backend.checks.finding import Outcome, bad, doubtful, good
from backend.cluster import CommandMissing, SchedulerAway, SchedulerError, SnapshotReader
from backend.cluster.collector import open_scheduler, snapshot_folder
from backend.launcher import Launcher, LauncherError
from backend.sessions.life.submission import CHECKOUT, find_runtime
from backend.sessions.runtimes import NoRuntime
from config import Settings

LATE_FACTOR = 4  # a part is late when its next looks should have come so often
VERSION_TIMEOUT_S = 10
INSTALL = "Install Slurm's client commands, or set slurm.bin_dir."
SLURM_COMMANDS = ("squeue", "scontrol", "sacctmgr", "sacct")


def check_scheduler(settings: Settings) -> Outcome:
    """Ask it for its name, as the collector does."""
    local = settings.scheduler.kind == "local"
    missing = [] if local else [name for name in SLURM_COMMANDS if not _slurm_command(settings, name)]
    if missing:
        return bad(f"{', '.join(missing)} not found", INSTALL)
    try:
        name = open_scheduler(settings).cluster()
    except CommandMissing as error:
        return bad(str(error), INSTALL)
    except SchedulerAway as error:
        away = "Is slurmctld up? Check slurm.conf (SLURM_CONF), munge, and the firewall."
        return doubtful(str(error), "It runs while `carme serve` does.") if local else bad(str(error), away)
    except SchedulerError as error:
        return bad(str(error), "The words are the scheduler's own.")
    return good(f"this machine, as cluster {name}" if local else f"{_slurm_version(settings)}, cluster {name}")


def check_collector(settings: Settings) -> Outcome:
    """Whether what pages show is fresh."""
    reader = SnapshotReader(snapshot_folder(settings))
    reader.refresh()
    jobs = reader.current.jobs
    if jobs.taken_s is None:
        why = jobs.error or "nothing was ever read"
        return doubtful(f"{why}", "Start the collector (`carme serve`) and look at its log.")
    age_s = time.time() - jobs.taken_s
    if jobs.error:
        return bad(f"the queue can't be read: {jobs.error} (shown: {age_s:.0f} s old)", "See scheduler above.")
    if age_s > LATE_FACTOR * max(jobs.every_s, 5.0):
        return doubtful(f"the queue shown is {age_s:.0f} s old", "Start the collector (`carme serve`).")
    return good(f"the queue is {age_s:.0f} s old, read in {jobs.duration_s or 0:.2f} s")


def check_launcher(settings: Settings) -> Outcome:
    """Whether it answers us: a request it must refuse shows that it is there and speaks with this account."""
    try:
        Launcher(settings).call_blocking("nobody", "are-you-there")
    except LauncherError as error:
        if error.kind == "bad_request":
            return good(f"{settings.launcher.socket}, acts by {settings.launcher.strategy}")
        if error.kind == "not_allowed":
            return bad(
                f"{settings.launcher.socket} does not speak with us",
                "launcher.allowed_peer must name the user the web process runs as.",
            )
        return doubtful(
            f"{settings.launcher.socket} does not answer: {error.message}",
            "Start the launcher: with strategy self `carme serve` does, with sudo its own service.",
        )
    return bad(f"{settings.launcher.socket} took a request that makes no sense", "Is it this release's launcher?")


def check_as_user(settings: Settings) -> Outcome:
    """The program that acts as a person must be root's."""
    if settings.launcher.strategy == "self":
        return good("not needed: the console acts for its owner only")
    program = settings.launcher.as_user
    for path in (program, *program.parents):
        try:
            found = path.stat()
        except OSError as error:
            return bad(f"{path}: {error.strerror}", "Install it: see the README, “At a site”.")
        if found.st_uid != 0 or stat.S_IMODE(found.st_mode) & 0o022:
            return bad(f"{path} can be changed by others than root", f"chown root:root {path}; chmod go-w {path}")
    if not os.access(program, os.X_OK):
        return bad(f"{program} can't be run", f"chmod 755 {program}")
    if shutil.which("sudo") is None:
        return bad("sudo is not installed", "apt install sudo, then see config/examples/sudoers.")
    return good(f"{program} is root's")


def check_runtime(settings: Settings) -> Outcome:
    """The container runtime and the images."""
    try:
        runtime = find_runtime(settings)
    except NoRuntime as error:
        return bad(str(error), "Install apptainer (or set sessions.runtime).")
    lost = [image.path for image in settings.sessions.images if not Path(image.path).exists()]
    if runtime.kind == "none":
        return good("none: apps run as the person, without a container")
    if lost:
        return doubtful(
            f"{runtime.kind}, but not here: {', '.join(lost)}", "Images must be at that path on every node."
        )
    return good(f"{runtime.kind} {runtime.command}, {len(settings.sessions.images)} images".strip())


def check_apps(settings: Settings) -> Outcome:
    """JupyterLab, where it runs without a container on this machine."""
    command = settings.sessions.jupyter_command or CHECKOUT / ".venv-apps" / "bin" / "jupyter-lab"
    if "jupyterlab" not in settings.sessions.apps or settings.scheduler.kind == "slurm":
        return good(", ".join(settings.sessions.apps))
    if not command.exists() and shutil.which("jupyter-lab") is None:
        return bad(f"there is no {command}", "make install, or set sessions.jupyter_command.")
    return good(", ".join(settings.sessions.apps))


def _slurm_command(settings: Settings, name: str) -> str | None:
    return shutil.which(name, path=str(settings.slurm.bin_dir) if settings.slurm.bin_dir else None)


def _slurm_version(settings: Settings) -> str:
    command = _slurm_command(settings, "scontrol")
    done = subprocess.run(
        [command or "scontrol", "--version"],
        capture_output=True,
        text=True,
        timeout=VERSION_TIMEOUT_S,
        check=False,
    )
    return done.stdout.strip() or "Slurm"
