"""Where this node's jobs are: their cgroup folders in every layout Slurm has had, or their processes.

cgroup v2   `…/system.slice/[NODE_]slurmstepd.scope/job_<id>/`, since Slurm 26.05 named by SLUID (`s5K1KKYAYG5D00`)
cgroup v1   `<controller>/slurm[_NODE]/uid_<uid>/job_<id>/`
neither     what descends from the job's slurmstepd, and own processes with SLURM_JOB_ID in their environment
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from .processes import STEP_TITLE, Process, Processes, tree
from .reading import natural, text

_SLUID = re.compile(r"s[0-9A-HJKMNP-TV-Z]{13}")
"""Base 32 by Crockford, which has no I, L, O, U."""
_CGROUPS = "/sys/fs/cgroup/"
_CONTROLLERS = frozenset(["cpu", "cpuacct", "cpuset", "memory", "blkio", "pids", "freezer", "devices"])


class Place(NamedTuple):
    """A job on this node. `folders` are by v1 controller, or `unified`; empty where processes are all there is."""

    job_id: int | None
    sluid: str | None
    source: str
    folders: Mapping[str, str] = {}
    pids: frozenset[int] = frozenset()


def find(root: str, processes: Processes, node: str | None = None) -> tuple[list[Place], dict[int, Process] | None]:
    """All jobs, and the process table when it had to be read.

    With `node` only those of that slurmd (`slurmd -N`), where several run on one machine.
    """
    unified, controllers = _mounts(root)
    places = _unified(unified, processes, node) or _by_controller(controllers, processes, node)
    if places:
        return places, None
    table = processes.all()
    return _by_process(table, processes, node), table


def own(root: str, processes: Processes, job_id: int, node: str) -> tuple[list[Place], dict[int, Process] | None]:
    """The job this very process is part of: by the cgroup it is in, else by what its processes say of themselves.

    Nobody else's processes count. Those with SLURM_JOB_ID and, where several nodes are pretended on one machine,
    this node's name in their environment, and what they started.
    """
    place = _own_folder(root, processes, job_id)
    if place is not None:
        return [place], None
    table = processes.all()
    marked = processes.marked(table, {"SLURM_JOB_ID": str(job_id), "SLURMD_NODENAME": node})
    below = {pid for pid in tree(marked, table) if processes.uid(pid) == os.geteuid()}
    # what has another node's or job's name was started there, through a step's command here
    other = processes.marked(table, {"SLURM_JOB_ID": None}) - marked
    pids = (marked | below) - other
    return ([Place(job_id, None, "processes", {}, frozenset(pids))] if pids else []), table


def _own_folder(root: str, processes: Processes, job_id: int) -> Place | None:
    """The job's folders among those this process is in (/proc/self/cgroup: `4:memory:/slurm/uid_7/job_1/step_0`)."""
    unified, controllers = _mounts(root)
    try:
        lines = text(f"{root.rstrip('/')}/proc/self/cgroup").split("\n")
    except OSError:
        return None
    folders: dict[str, str] = {}
    sluid = None
    for line in lines:
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        parts = path.split("/")
        depth = next((at for at, part in enumerate(parts) if part == f"job_{job_id}" or _SLUID.fullmatch(part)), None)
        if depth is None:
            continue
        folder = "/".join(parts[: depth + 1]) + "/"
        if number == "0" and not names and unified is not None:
            found = {"unified": unified + folder}
            if _is_slurms(found["unified"]):
                sluid = None if parts[depth].startswith("job_") else parts[depth]
                return Place(job_id, sluid, "cgroup v2", found, members(found["unified"]))
        for controller in _CONTROLLERS.intersection(names.split(",")):
            if controller in controllers and _is_slurms(controllers[controller] + folder):
                folders[controller] = controllers[controller] + folder
    if not folders:
        return None
    return Place(job_id, None, "cgroup v1", folders, _without_daemons(folders, processes))


def _mounts(root: str) -> tuple[str | None, dict[str, str]]:
    """Where cgroup v2 is mounted, and each controller of v1. Anybody may mount (FUSE) under a name of their choice, in
    which the kernel escapes space, tab and line feed and no other white space; but not at Slurm's cgroups."""
    prefix = root.rstrip("/")
    unified: str | None = None
    controllers: dict[str, str] = {}
    try:
        lines = text(f"{prefix}/proc/self/mounts").split("\n")
    except OSError:
        return None, {}
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 4 or not f"{fields[1]}/".startswith(_CGROUPS):
            continue
        if fields[2] == "cgroup2":
            unified = unified or prefix + fields[1]
        elif fields[2] == "cgroup":
            for controller in _CONTROLLERS.intersection(fields[3].split(",")):
                controllers.setdefault(controller, prefix + fields[1])
    return unified, controllers


def _unified(mount: str | None, processes: Processes, node: str | None) -> list[Place]:
    if mount is None:
        return []
    found = []
    scope = f"{glob.escape(mount)}/system.slice/*slurmstepd.scope/*/"
    for folder in sorted(_folders(scope, f"/{node}_slurmstepd.scope/", node)):
        name = folder.rstrip("/").rpartition("/")[2]
        pids = members(folder)
        if name.startswith("job_") and (number := natural(name[4:])) is not None:
            found.append(Place(number, None, "cgroup v2", {"unified": folder}, pids))
        elif _SLUID.fullmatch(name):
            found.append(Place(_job_of(folder, pids, processes), name, "cgroup v2", {"unified": folder}, pids))
    return found


def _folders(pattern: str, part: str, node: str | None) -> list[str]:
    """Folders that Slurm made; those of one slurmd where its folder bears its name."""
    folders = [folder for folder in glob.glob(pattern) if _is_slurms(folder)]  # noqa: PTH207 - hot
    named = [folder for folder in folders if part in folder] if node is not None else []
    return named or folders


def _is_slurms(folder: str) -> bool:
    """Whether it is there, and root's or our own: nobody else makes a job's."""
    try:
        return os.stat(folder).st_uid in (0, os.geteuid())  # noqa: PTH116 - hot
    except OSError:
        return False


def _by_controller(controllers: Mapping[str, str], processes: Processes, node: str | None) -> list[Place]:
    folders: dict[int, dict[str, str]] = {}
    for controller, mount in controllers.items():
        jobs = f"{glob.escape(mount)}/slurm*/uid_*/job_*/"
        for folder in _folders(jobs, f"/slurm_{node}/", node):
            number = natural(folder.rstrip("/").rpartition("_")[2])
            if number is not None:
                folders.setdefault(number, {})[controller] = folder
    found = []
    for number, by in sorted(folders.items()):
        found.append(Place(number, None, "cgroup v1", by, _without_daemons(by, processes)))
    return found


def _without_daemons(folders: Mapping[str, str], processes: Processes) -> frozenset[int]:
    """The job's processes: v1 keeps the step's daemon among them."""
    pids = {pid for folder in set(folders.values()) for pid in members(folder)}
    # a title is asked of root's processes only: another's may be made to hang whoever reads it
    return frozenset(pid for pid in pids if not (processes.uid(pid) == 0 and STEP_TITLE.match(processes.title(pid))))


def members(folder: str) -> frozenset[int]:
    """Every process in a folder and below. Slurm's own step daemon (v2: in folders `slurm`) is none of the job's."""
    found: set[int] = set()
    for here, below, _ in os.walk(folder):
        below[:] = [name for name in below if name != "slurm"]
        try:
            found.update(int(line) for line in text(f"{here}/cgroup.procs").split())
        except OSError:  # the step has just ended
            continue
    return frozenset(found)


def _job_of(folder: str, pids: frozenset[int], processes: Processes) -> int | None:
    """The job's number of a folder named by SLUID: from root's slurmstepd in it, else from an own process's
    environment. Nobody else's process is believed: it could name another's job."""
    daemons = glob.glob(f"{glob.escape(folder)}step_*/slurm/cgroup.procs")  # noqa: PTH207 - hot
    for path in daemons:
        try:
            found = [int(line) for line in text(path).split()]
        except OSError:
            continue
        for pid in found:
            titled = STEP_TITLE.match(processes.title(pid)) if processes.uid(pid) == 0 else None
            if titled:
                return int(titled[1])
    for pid in sorted(pids):
        number = processes.named_job(pid) if processes.uid(pid) == os.geteuid() else None
        if number is not None:
            return number
    return None


def _by_process(table: Mapping[int, Process], processes: Processes, node: str | None) -> list[Place]:
    """Root's step daemons tell the jobs (or ours, where Slurm runs as one person), their trees the processes: those
    of the job's own user. An own process that left the tree is known by its environment."""
    daemons: dict[int, dict[int, int]] = {}
    for process in table.values():
        if not process.command.startswith("slurmstepd"):
            continue
        uid = processes.uid(process.pid)
        titled = STEP_TITLE.match(processes.title(process.pid)) if uid in (0, os.geteuid()) else None
        if titled and node is not None and processes.step_node(process, int(titled[1])) not in (None, node):
            continue
        if titled:
            daemons.setdefault(int(titled[1]), {})[process.pid] = uid or 0
    stepped = {pid for steps in daemons.values() for pid in steps}
    jobs: dict[int, set[int]] = {}
    for number, steps in daemons.items():
        trusted = [pid for pid, uid in steps.items() if uid == 0] or list(steps)
        below = tree(trusted, table) - stepped
        jobs[number] = _of_one_user(below, table, processes, trusted)
    taken = {pid for pids in jobs.values() for pid in pids} | stepped
    for pid, number in processes.named_jobs(table).items():
        if pid not in taken:
            jobs.setdefault(number, set()).add(pid)
    return [Place(number, None, "processes", {}, frozenset(pids)) for number, pids in sorted(jobs.items())]


def _of_one_user(pids: set[int], table: Mapping[int, Process], processes: Processes, daemons: list[int]) -> set[int]:
    """Those of the user whom the step daemon's own children belong to."""
    uids = {pid: processes.uid(pid) for pid in pids}
    firsts = [uids[pid] for pid in sorted(pids) if table[pid].parent in daemons and uids[pid] is not None]
    owner = next((uid for uid in firsts if uid != 0), firsts[0] if firsts else None)
    return {pid for pid in pids if uids[pid] is not None and uids[pid] == owner}
