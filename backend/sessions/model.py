"""A session in the console's words: what is asked for, what became of it, what one may choose from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

STATES = ("submitting", "pending", "starting", "ready", "stopping", "ended", "failed")
LIVE_STATES = ("submitting", "pending", "starting", "ready", "stopping")
OVER_STATES = ("ended", "failed")


class SessionError(Exception):
    """Something about a session can't be done; the message is for the person."""


class SessionNotFound(SessionError):
    """No such session, or none that this person may know of."""


class LaunchRefused(SessionError):
    """The request was not submitted, or the scheduler did not take it; `problems` say why, by field."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(" ".join(problem.message for problem in problems))
        self.problems = problems


class RequestError(ValueError):
    """A launch request of wrong shape: an unknown field or a value of the wrong type."""


@dataclass(frozen=True)
class Problem:
    """Why a request can't be launched. `field` is a LaunchRequest field, or "" for the whole."""

    field: str
    message: str


@dataclass(frozen=True)
class LaunchRequest:
    """What a person asks for. An empty text or 0 leaves the choice to the console or the scheduler.

    `gpus`, `cpus` and `memory_mb` are for each node.
    """

    app: str = ""
    account: str = ""
    cluster: str = ""
    partition: str = ""
    qos: str = ""
    gpus: int = 0
    gpu_type: str = ""
    nodes: int = 1
    cpus: int = 0
    memory_mb: int = 0
    time_s: int = 0
    image: str = ""  # the name of an image of the settings, or a path where the site allows one
    work_dir: str = ""  # absolute; "" is the person's home
    reservation: str = ""
    title: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The request as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> LaunchRequest:
        """Read what a client sent. Raises RequestError on unknown fields and wrong types."""
        kinds: dict[str, type] = {item.name: type(item.default) for item in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in raw.items():
            kind = kinds.get(name)
            if kind is None:
                raise RequestError(f"{name}: there is no such field")
            if type(value) is not kind:
                wanted = "a text" if kind is str else "a whole number"
                raise RequestError(f"{name}: {wanted} is wanted")
            values[name] = value
        return cls(**values)


@dataclass(frozen=True)
class Session:
    """One session as the console knows it now. Holds no secret."""

    id: str
    owner: str
    uid: int
    cluster: str
    title: str
    request: LaunchRequest
    state: str  # one of STATES
    job_id: int | None
    confirmed: bool
    node: str | None
    apps: Mapping[str, str]  # {"jupyterlab": "starting" | "ready" | "failed"}
    reason: str  # in words: why it waits, why it ended; "" when there is nothing to say
    exit_code: str
    created_s: int
    start_s: int | None  # began, or is expected to begin (see start_expected)
    start_expected: bool
    limit_end_s: int | None
    ready_s: int | None
    end_s: int | None
    stop_requested_s: int | None
    version: int
    account: str = ""  # as the scheduler says, else as asked
    idle_since_s: int | None = None  # nobody uses it and it computes nothing; None while it is in use
    idle_end_s: int | None = None  # when that ends it; None where it doesn't

    @property
    def live(self) -> bool:
        """Whether it is not over yet."""
        return self.state in LIVE_STATES

    @property
    def name(self) -> str:
        """What to call it: the person's title, else its app."""
        return self.title or self.request.app


@dataclass(frozen=True)
class AccountChoice:
    """A Slurm account the person may charge."""

    name: str
    description: str
    default: bool
    qos: tuple[str, ...]
    default_qos: str


@dataclass(frozen=True)
class PartitionChoice:
    """A partition the person may use. `accounts` are those of the person's accounts that may submit there."""

    name: str
    default: bool
    max_time_s: int | None
    default_time_s: int | None
    max_nodes: int | None
    nodes: int
    gpu_types: tuple[str, ...]
    accounts: tuple[str, ...]


@dataclass(frozen=True)
class GpuChoice:
    """A GPU model: how many there are, are free now, and are in one node at most."""

    type: str
    total: int
    free: int
    per_node: int
    partitions: tuple[str, ...]


@dataclass(frozen=True)
class ImageChoice:
    """A container image of the settings. `apps` are those it carries."""

    name: str
    path: str
    apps: tuple[str, ...]


@dataclass(frozen=True)
class AppChoice:
    """Something that can be started."""

    name: str
    title: str


@dataclass(frozen=True)
class LaunchOptions:
    """What one person may choose from, and defaults that can be launched as they are.

    `refusal` is "" when the person may launch at all, else why not, in words.
    """

    refusal: str
    cluster: str
    accounts: tuple[AccountChoice, ...]
    partitions: tuple[PartitionChoice, ...]
    qos: tuple[str, ...]
    gpus: tuple[GpuChoice, ...]
    images: tuple[ImageChoice, ...]
    apps: tuple[AppChoice, ...]
    reservations: tuple[str, ...]
    times_s: tuple[int, ...]  # usual limits up to the longest allowed
    max_time_s: int | None
    max_nodes: int
    max_cpus: int  # of the largest node
    max_memory_mb: int
    image_paths: bool  # a path may be given for the image
    defaults: LaunchRequest = field(default_factory=LaunchRequest)


@dataclass(frozen=True)
class Fit:
    """Whether a request would start now. `nodes_now` is how many nodes have room for it at this moment."""

    nodes_now: int
    fits: bool
    words: str


@dataclass(frozen=True)
class Estimate:
    """The scheduler's answer to "when would it start?"; `start_s` null when it gave none."""

    start_s: int | None
    words: str


@dataclass(frozen=True)
class RegistrationAnswer:
    """What an agent is answered: 204, 403, or 410 with a signed JSON body."""

    status: int
    body: Mapping[str, Any] | None = None
