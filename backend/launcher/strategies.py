"""How the launcher becomes a person: through sudo, or by being that person already."""

from __future__ import annotations

import json
import os
import pwd
import re
import sys
import tempfile
from pathlib import Path
from typing import Protocol

from config import Settings

AS_USER_FILE = Path(__file__).with_name("as_user.py")
USER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,127}")


class NotAllowed(Exception):
    """The launcher doesn't act for this person; the message says why, to them."""


class Strategy(Protocol):
    """Gives the command line that runs the as-user program as one person."""

    def command(self, user: str) -> list[str]:
        """Argument list, the request goes to its stdin. Raises NotAllowed. May block on NSS."""
        ...


class Sudo:
    """`sudo -n -u USER -- PROGRAM`: for the people the site's sudoers file lists."""

    def __init__(self, settings: Settings) -> None:
        self._program = str(settings.launcher.as_user)
        self._min_uid = settings.launcher.min_uid

    def command(self, user: str) -> list[str]:
        """See Strategy."""
        entry = unix_user(user)
        if entry.pw_uid < self._min_uid:
            raise NotAllowed("The console doesn't act for root and system accounts.")
        return ["sudo", "-n", "-u", user, "--", self._program]


class Self:
    """The launcher's own account, for that person only; everybody else may look, not launch."""

    def __init__(self, settings: Settings) -> None:
        self._me = pwd.getpwuid(os.getuid())
        folder = settings.instance.data_dir / "run"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._config = write_config(folder / "as-user.json", settings)

    def command(self, user: str) -> list[str]:
        """See Strategy."""
        if user != self._me.pw_name:
            raise NotAllowed(
                f"This console acts for its owner only, the Unix user {self._me.pw_name}. "
                'A site where everyone launches sets launcher.strategy = "sudo".'
            )
        return [sys.executable, "-I", str(AS_USER_FILE), "--own", str(self._config)]


def strategy_of(settings: Settings) -> Strategy:
    """The site's choice."""
    return Sudo(settings) if settings.launcher.strategy == "sudo" else Self(settings)


def unix_user(user: str) -> pwd.struct_passwd:
    """The account of this very name; never root. Raises NotAllowed."""
    if not USER_NAME.fullmatch(user):
        raise NotAllowed("This is no name of a Unix user.")
    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise NotAllowed(f"There is no Unix user {user} where the launcher runs.") from error
    if entry.pw_name != user or entry.pw_uid == 0:
        raise NotAllowed("The console doesn't act for root and system accounts.")
    return entry


def supervisor_socket(settings: Settings) -> Path:
    """Where the supervisor of jobs on this machine listens."""
    return settings.instance.data_dir / "run" / "supervisor.sock"


def write_config(path: Path, settings: Settings) -> Path:
    """The as-user program's configuration for the launcher's own account."""
    commands = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    if settings.slurm.bin_dir is not None:
        commands = f"{settings.slurm.bin_dir}:{commands}"
    config = {"scheduler": settings.scheduler.kind, "path": commands}
    if settings.scheduler.kind == "local":
        config["socket"] = str(supervisor_socket(settings))
    conf = settings.slurm.conf or os.environ.get("SLURM_CONF")
    if conf:
        config["slurm_conf"] = str(conf)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".as-user-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(config, file)
    Path(name).replace(path)
    return path
