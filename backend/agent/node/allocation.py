"""Which GPUs of this node Slurm has given to a job: asked of the controller, once for each job.

`scontrol -d show job ID` is one small question (no list of jobs), asked when a job is first seen on a node that has
GPUs, and again after ten minutes: an allocation can be changed. Where it can't be asked, the folder of the job's device
cgroup (v1) tells; the job's own environment is the last, and never against anybody else's claim.
"""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from ..sampler.places import Place
from ..sampler.processes import Processes
from ..sampler.reading import natural, text
from ..telemetry.own import NUMBERS, numbers, words

ASKED_S = 600.0
REFUSED_S = 60.0
"""How long an answer holds, and how long after none it is asked again."""
SCONTROL_S = 10.0
NVIDIA_MAJOR = 195
"""The device number of /dev/nvidia0 and up (Documentation/admin-guide/devices.txt of Linux)."""
_LINE = re.compile(r"^ {2,}Nodes=(\S+) CPU_IDs=\S* Mem=\S* GRES=(\S*)[ \t]*$", re.MULTILINE)
_GPUS = re.compile(r"(?:^|,)gpu(?::[^:(,]+)*(?::\d+)?\(IDX:([0-9,-]+)\)")


class Claim(NamedTuple):
    """What a job has: places in Slurm's list of this node's GPUs (`places`), numbers of device files, or uuids.

    `certain`: by Slurm or the kernel, not by the job itself. `count`: how many Slurm gave it, where that is known.
    """

    places: frozenset[int] = frozenset()
    numbers: frozenset[int] = frozenset()
    uuids: frozenset[str] = frozenset()
    certain: bool = True


UNCERTAIN = Claim(certain=False)
Ask = Callable[[int], "str | None"]


class _Known(NamedTuple):
    """What was answered about a job, and when."""

    at_s: float = float("-inf")
    claim: Claim | None = None
    answered: bool = False

    def is_old(self, now_s: float) -> bool:
        return now_s - self.at_s > (ASKED_S if self.answered else REFUSED_S)


_NEVER = _Known()


class Allocations:
    """Claims of the jobs of one node, kept while they run. The controller is asked in a thread: it may be slow."""

    def __init__(
        self,
        node: str,
        processes: Processes,
        ask: Ask | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node, self._processes, self._clock = node, processes, clock
        self._ask = ask or scontrol
        self._lock = threading.Condition()
        self._due: dict[int, None] = {}
        self._known: dict[int, _Known] = {}

    def start(self) -> None:
        """Begin to ask; once."""
        threading.Thread(target=self._run, name="allocations", daemon=True).start()

    def claims(self, places: Collection[Place]) -> Mapping[int, Claim]:
        """By job. Waits for nobody: a job that was not asked about yet has no claim."""
        now_s = self._clock()
        by_job = {place.job_id: place for place in places if place.job_id is not None}
        with self._lock:
            self._known = {job: known for job, known in self._known.items() if job in by_job}
            self._due = {job: None for job in by_job if self._known.get(job, _NEVER).is_old(now_s)}
            if self._due:
                self._lock.notify()
            known = dict(self._known)
        return {job: self._claim(job, place, known.get(job)) for job, place in by_job.items()}

    def look_up(self) -> bool:
        """Ask about one job that is due; False when there is none."""
        with self._lock:
            job = next(iter(self._due), None)
            if job is None:
                return False
            del self._due[job]
        shown = self._ask(job)
        told = None if shown is None else allocated(shown, self._node)
        with self._lock:
            before = self._known.get(job, _NEVER).claim
            self._known[job] = _Known(self._clock(), before if told is None else told, told is not None)
        return True

    def _run(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: bool(self._due))
            self.look_up()

    def _claim(self, job: int, place: Place, known: _Known | None) -> Claim:
        try:
            return self._claimed(job, place, known)
        except Exception:  # noqa: BLE001 - what one job shows leaves its own claim open, nobody else's
            return UNCERTAIN

    def _claimed(self, job: int, place: Place, known: _Known | None) -> Claim:
        if known is None:
            return UNCERTAIN
        if known.claim is None:
            return by_cgroup(place) or self._by_environment(job, place)
        if not known.claim.places:
            return known.claim
        # which MIG instance a place in Slurm's list is, only the job's environment says
        return Claim(known.claim.places, uuids=self._by_environment(job, place).uuids)

    def _by_environment(self, job: int, place: Place) -> Claim:
        """What Slurm told the job's first process; the job may have written over it."""
        for pid in sorted(place.pids):
            told = self._processes.environment(pid)
            if told.get("SLURM_JOB_ID") != str(job) or told.get("SLURMD_NODENAME", self._node) != self._node:
                continue
            uuids = frozenset(word for word in words(told.get("CUDA_VISIBLE_DEVICES", "")) if word.startswith("MIG-"))
            for name in NUMBERS:
                if name == "SLURM_JOB_GPUS" and told.get("SLURM_NODEID", "0") != "0":
                    continue  # those of the batch script's node
                named = numbers(told.get(name, ""))
                if named:
                    return Claim(numbers=named, uuids=uuids, certain=False)
            return Claim(uuids=uuids, certain=False)
        return UNCERTAIN


def scontrol(job: int) -> str | None:
    """What the controller says of a job; None when it says nothing."""
    try:
        done = subprocess.run(
            ["scontrol", "-d", "show", "job", str(job)],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=SCONTROL_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def allocated(shown: str, node: str) -> Claim | None:
    """The job's GPUs on this node, of scontrol's answer; None where it doesn't say, or says it twice.

    A job's name or comment may hold a line that looks like an allocation, but the true one is there too.
    """
    lines = [gres for nodes, gres in _LINE.findall(shown) if listed(nodes, node)]
    if len(lines) != 1:
        return None
    return Claim(frozenset(number for found in _GPUS.findall(lines[0]) for number in numbers(found)))


def listed(expression: str, node: str) -> bool:
    """Whether a host list like `gpu[01-03,07],cpu-[1-2]-x` names a node."""
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", expression):
        pattern = ""
        ranges: list[str] = []
        for text_of, group in re.findall(r"([^\[]*)(?:\[([^\]]*)\])?", part):
            pattern += re.escape(text_of) + (r"(\d+)" if group else "")
            ranges += [group] if group else []
        found = re.fullmatch(pattern, node)
        if found and all(_within(number, group) for number, group in zip(found.groups(), ranges)):  # noqa: B905
            return True
    return False


def _within(number: str, group: str) -> bool:
    for part in group.split(","):
        first, _, last = part.partition("-")
        last = last or first
        wide = len(number) == len(first) or not (first.startswith("0") or number.startswith("0"))
        low, high = natural(first), natural(last)
        if low is not None and high is not None and wide and low <= int(number) <= high:
            return True
    return False


def by_cgroup(place: Place) -> Claim | None:
    """The device files a job may open, of cgroup v1's own list (v2 has no list); None where it may open all."""
    folder = place.folders.get("devices")
    if folder is None:
        return None
    try:
        lines = text(f"{folder}devices.list").split("\n")
    except OSError:
        return None
    found = set()
    for line in lines:
        kind, _, rest = line.partition(" ")
        major, _, minor = rest.partition(" ")[0].partition(":")
        if kind == "a" or (kind in "cb" and (major == "*" or (major == str(NVIDIA_MAJOR) and minor == "*"))):
            return None
        if kind == "c" and major == str(NVIDIA_MAJOR) and minor.isdigit() and int(minor) < 255:  # 255 is nvidiactl
            found.add(int(minor))
    return Claim(numbers=frozenset(found))
