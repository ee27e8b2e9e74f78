"""Whether the console's account is shown everybody's usage: `PrivateData` may keep it from sacct and sreport."""

from __future__ import annotations

import os
import pwd
import re

from backend.cluster.slurm import Commands

HIDING = ("accounts", "jobs", "usage", "users")
_PRIVATE = re.compile(r"^PrivateData\s*=\s*(.*?)\s*$", re.MULTILINE)
SEES_ALL = ("Operator", "Administrator")


def own_name() -> str:
    """The Unix account that this process runs as, which Slurm's commands act as."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def kept_from(commands: Commands) -> str:
    """Why sacct and sreport would not show everything, "" when they do. Raises SchedulerError."""
    # slurm.conf's comes first, which is slurmctld's concern, and slurmdbd's own last
    found = _PRIVATE.findall(commands.run("sacctmgr", "--noheader", "--readonly", "show", "configuration"))
    private = [word for word in (found[-1] if found else "").lower().split(",") if word in HIDING]
    name = own_name()
    if not private or name == "root":
        return ""
    shown = commands.run(
        "sacctmgr", "--noheader", "--parsable2", "--readonly", "show", "user", "where", f"user={name}",
        "format=User,AdminLevel",
    )  # fmt: skip
    if any(line.partition("|")[2] in SEES_ALL for line in shown.splitlines() if line.partition("|")[0] == name):
        return ""
    return (
        f"slurmdbd keeps {', '.join(private)} private (PrivateData in slurmdbd.conf), so sacct and sreport do not show "
        f"the console's account {name} everybody's. Slurm's way to let it read is: sacctmgr add user {name} "
        "account=root adminlevel=Operator."
    )
