"""A local job: what was asked for, what it was given, how it stands. And what a request may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from backend.cluster.local.machine import Machine

OVER = frozenset(["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL"])
ACCOUNT = "local"
PARTITION = "local"
QOS = "normal"


class Refused(Exception):
    """A request that is not granted; `kind` is for programs, the message for people."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Wanted:
    """What a job asks of the machine."""

    cpus: int
    memory_mb: int
    gpus: int
    gpu_type: str
    time_s: int


@dataclass
class Job:
    """One job, as the supervisor keeps it; all of it survives the supervisor."""

    id: int
    name: str
    argv: list[str]
    cwd: str
    env: dict[str, str]
    output: str
    wanted: dict[str, Any]  # Wanted
    submit_s: float
    state: str = "PENDING"
    held: bool = False
    ending: str = ""  # the state it will have once its processes are gone
    why: str = ""  # why it ended, in words; "" when the exit code says all
    cpus: list[int] = field(default_factory=list)  # the CPUs it was given
    gpus: list[int] = field(default_factory=list)  # the GPUs it was given
    runner: list[int] | None = None  # process number and start ticks of its runner
    boot: str = ""  # of which start of the machine the runner is
    start_s: float | None = None
    end_s: float | None = None
    exit_code: str = ""
    cpu_used_s: float | None = None
    memory_peak_mb: int = 0
    asked_to_end_s: float | None = None

    @property
    def request(self) -> Wanted:
        return Wanted(**self.wanted)

    @property
    def over(self) -> bool:
        return self.state in OVER

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Job:
        known = {item.name for item in fields(cls)}
        return cls(**{key: value for key, value in raw.items() if key in known})


def check_wanted(options: Mapping[str, Any], machine: Machine, max_time_s: int) -> Wanted:
    """The options of a request as they will be kept, with defaults. Raises Refused."""
    if _count(options, "nodes", 1) != 1:
        raise Refused("refused", "There is one node here: this machine.")
    if options.get("partition") not in (None, "", PARTITION):
        raise Refused("refused", f"There is one partition here: {PARTITION}.")
    for key, only in (("account", ACCOUNT), ("qos", QOS)):
        if options.get(key) not in (None, "", only):
            raise Refused("refused", f"There is one {key} here: {only}.")
    if options.get("reservation"):
        raise Refused("refused", "There are no reservations here.")
    cpus = _count(options, "cpus", 1)
    if cpus > len(machine.cpus):
        raise Refused("refused", f"{cpus} CPUs are asked for; this machine has {len(machine.cpus)}.")
    memory_mb = _count(options, "memory_mb", 0) or machine.memory_mb * cpus // len(machine.cpus)
    if memory_mb > machine.memory_mb:
        raise Refused("refused", f"{memory_mb} MB of memory are asked for; there are {machine.memory_mb} MB.")
    kind = options.get("gpu_type") or ""
    gpus = _count(options, "gpus", 0)
    if not isinstance(kind, str) or gpus > machine.gpus_of(kind):
        what = f"{kind} GPUs" if kind else "GPUs"
        raise Refused("refused", f"{gpus} {what} are asked for; this machine has {machine.gpus_of(str(kind))}.")
    time_s = _count(options, "time_s", 0) or max_time_s
    if time_s > max_time_s:
        raise Refused("refused", f"The longest time limit here is {max_time_s} s.")
    return Wanted(cpus=cpus, memory_mb=memory_mb, gpus=gpus, gpu_type=kind, time_s=time_s)


def _count(options: Mapping[str, Any], key: str, default: int) -> int:
    value = options.get(key, default)
    if type(value) is not int or not 0 <= value < 2**40:
        raise Refused("bad_request", f"{key}: a whole number is wanted")
    return value or default
