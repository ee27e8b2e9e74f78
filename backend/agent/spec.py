"""What the console tells a job: one JSON file, 0600, in a 0700 folder of the person's."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

SESSION_ID = re.compile(r"[a-z][a-z0-9]{7,62}")
"""One DNS label, since the session's id is part of its host name."""
APP_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
BASE_PATH = re.compile(r"/(?:[A-Za-z0-9._~-]+/)*")
RUNTIME_KINDS = ("none", "apptainer", "singularity", "charliecloud")
BIND_HOSTS = ("0.0.0.0", "127.0.0.1", "::", "::1")  # noqa: S104 - the gateway asks for the secret


class SpecError(ValueError):
    """The session file says something the agent can't run; the message names the field."""


@dataclass(frozen=True)
class AppSpec:
    """One app of a session. `options`: command, logdir (see `apps`)."""

    name: str
    base_path: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RuntimeSpec:
    """Where the apps run. `command` and `image` are absolute paths on the node; both unused for `none`.

    `binds` are further host folders, shown at the same path; `nv` brings the node's NVIDIA driver in.
    """

    kind: str = "none"
    command: str = ""
    image: str = ""
    binds: tuple[str, ...] = ()
    nv: bool = False


@dataclass(frozen=True)
class AgentSpec:
    """Everything the agent needs. `secret`, `tls_key_pem` never leave the file and the agent's memory.

    `end_s`: Unix second after which the session ends itself (the file is read again then, so that the
    console may move it); `work_dir` "" is the person's home; `console_ca_pem` "" trusts the node's own
    certificates when `console_url` is https; `sample_every_s` 0 sends no telemetry.
    """

    session_id: str
    secret: str = field(repr=False)
    tls_cert_pem: str
    tls_key_pem: str = field(repr=False)
    console_url: str
    apps: tuple[AppSpec, ...]
    runtime: RuntimeSpec = RuntimeSpec()
    register_path: str = "/api/v1/agent/register"
    work_dir: str = ""
    idle_timeout_s: int | None = None
    end_s: int | None = None
    bind_host: str = "0.0.0.0"  # noqa: S104 - the gateway asks for the secret
    title: str = ""
    console_ca_pem: str = ""
    sample_every_s: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what can't run, before anything is started."""
        _check(bool(SESSION_ID.fullmatch(self.session_id)), "session_id", "one lower-case label")
        _check(len(self.secret) >= 32, "secret", "at least 32 characters")
        _check("PRIVATE KEY" in self.tls_key_pem, "tls_key_pem", "a PEM private key")
        _check("BEGIN CERTIFICATE" in self.tls_cert_pem, "tls_cert_pem", "a PEM certificate")
        _check(self.console_url.startswith(("http://", "https://")), "console_url", "http(s)://host:port")
        _check(self.register_path.startswith("/"), "register_path", "a path")
        _check(self.bind_host in BIND_HOSTS, "bind_host", " or ".join(BIND_HOSTS))
        _check(self.work_dir == "" or self.work_dir.startswith("/"), "work_dir", "an absolute path")
        _check("\0" not in self.work_dir, "work_dir", "a path")
        every_s = self.sample_every_s
        _check(every_s == 0 or 0.1 <= every_s <= 3600, "sample_every_s", "0, or seconds up to an hour")
        _check(len(self.apps) > 0, "apps", "at least one app")
        _check(len({app.name for app in self.apps}) == len(self.apps), "apps", "each name once")
        for app in self.apps:
            _check(bool(APP_NAME.fullmatch(app.name)), "apps.name", "a lower-case name")
            _check(bool(BASE_PATH.fullmatch(app.base_path)), "apps.base_path", "a path like /s/ID/APP/")
        runtime = self.runtime
        _check(runtime.kind in RUNTIME_KINDS, "runtime.kind", " or ".join(RUNTIME_KINDS))
        if runtime.kind != "none":
            _check(runtime.image.startswith("/"), "runtime.image", "an absolute path")
            _check(runtime.command.startswith("/"), "runtime.command", "an absolute path")
        _check(all(bind.startswith("/") for bind in runtime.binds), "runtime.binds", "absolute paths")

    def to_json(self) -> str:
        """The session file's text."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> AgentSpec:
        """Read the session file. Raises SpecError; unknown keys are refused (a newer console's file)."""
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise SpecError(f"the session file is no JSON: {error}") from error
        values = _known(cls, raw, "session file")
        apps = values.get("apps")
        if not isinstance(apps, list):
            raise SpecError("apps: a list is wanted")
        runtime = _known(RuntimeSpec, values.get("runtime", {}), "runtime")
        runtime["binds"] = tuple(runtime.get("binds", ()))
        values["apps"] = tuple(AppSpec(**_known(AppSpec, app, "apps")) for app in apps)
        values["runtime"] = RuntimeSpec(**runtime)
        try:
            return cls(**values)
        except (TypeError, AttributeError) as error:
            raise SpecError(f"the session file is incomplete or of wrong types: {error}") from error


def read_spec(path: Path) -> AgentSpec:
    """Read the session file. Raises SpecError, also when others could read it or it is another's."""
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.getuid() or status.st_mode & 0o077:
                raise SpecError(f"{path} must be this account's and closed to others (0600)")
            return AgentSpec.from_json(file.read())
    except OSError as error:
        raise SpecError(f"{path} can't be read: {error}") from error


def _check(holds: bool, name: str, wanted: str) -> None:
    if not holds:
        raise SpecError(f"{name}: {wanted} is wanted")


def _known(cls: Any, raw: Any, where: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise SpecError(f"{where}: an object is wanted")
    unknown = set(raw) - {item.name for item in fields(cls)}
    if unknown:
        raise SpecError(f"{where}: unknown keys {sorted(unknown)}")
    return dict(raw)
