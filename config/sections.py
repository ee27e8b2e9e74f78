"""What can be set: one frozen dataclass a section. Defaults and explanations stand in `default.toml`.

A field's annotation is its check: `Annotated[int, Between(1, 65535)]`, `Literal["sudo", "self"]`, `Path |
None` (an empty text is None). A field marked `SECRET` is never written in the settings file: it comes from
the file named by `<field>_file`, or from the environment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from config.checks import Between, Matches, Origin, Uri, Zone

SECRET = "secret"  # noqa: S105 - the mark of a field that holds one

Seconds = Annotated[int, Between(1, 10**9)]
Port = Annotated[int, Between(1, 65535)]
Attribute = Annotated[str, Matches(r"[A-Za-z][A-Za-z0-9-]*", "the name of an LDAP attribute")]
OptionalAttribute = Annotated[
    str, Matches(r"([A-Za-z][A-Za-z0-9-]*)?", "the name of an LDAP attribute, or empty")
]
Account = Annotated[str, Matches(r"([a-z_][a-z0-9_.-]{0,31})?", "the name of a Unix user, or empty")]


def secret() -> Any:
    """A field whose value must not show in a repr, a log or the settings file."""
    return field(repr=False, metadata={SECRET: True})


@dataclass(frozen=True)
class Instance:
    name: Annotated[str, Matches(r".{1,80}", "1 to 80 characters")]
    data_dir: Path
    time_zone: Annotated[str, Zone()]  # a name of the tz database
    news_file: Path


@dataclass(frozen=True)
class Web:
    address: str
    port: Port
    public_url: Annotated[str, Origin()]
    trusted_proxies: tuple[str, ...]  # addresses or networks
    metrics_token_file: Path | None
    metrics_token: str = secret()


@dataclass(frozen=True)
class Apps:
    address: str
    port: Port
    url: Annotated[str, Origin(placeholder="{session}")]


@dataclass(frozen=True)
class Agent:
    console_url: Annotated[str, Origin()]
    bind_host: str
    sample_every_s: Annotated[int, Between(1, 10)]


@dataclass(frozen=True)
class Login:
    idle_s: Seconds
    warn_s: Seconds
    absolute_s: Seconds
    second_factor: Literal["required", "optional", "off"]
    enrolment_code: bool
    fresh_s: Seconds
    throttle_after: Annotated[int, Between(1, 1000)]
    throttle_max_s: Seconds
    argon2_at_once: Annotated[int, Between(1, 64)]


@dataclass(frozen=True)
class Directory:
    kind: Literal["local", "ldap"]


@dataclass(frozen=True)
class Ldap:
    servers: tuple[Annotated[str, Uri("ldap", "ldaps")], ...]
    tls: Literal["starttls", "ldaps"]
    ca_file: Path | None
    bind: Literal["service", "direct"]
    bind_dn: str
    bind_password_file: Path | None
    base_dn: str
    user_filter: Annotated[str, Matches(r"(?s)\(.*\{name\}.*\)", "a filter in parentheses with {name} in it")]
    user_dn_template: str
    name_attribute: Attribute
    uid_attribute: OptionalAttribute
    mail_attribute: OptionalAttribute
    display_attribute: OptionalAttribute
    group_base_dn: str
    group_filter: Annotated[str, Matches(r"(?s)\(.*\)", "a filter in parentheses")]
    group_name_attribute: Attribute
    nested_groups: bool
    active_directory: bool
    roles: dict[str, tuple[str, ...]]  # role → names or DNs of groups
    allowed_groups: tuple[str, ...]
    lockout_after: Annotated[int, Between(1, 1000)]
    lockout_window_s: Seconds
    timeout_s: Annotated[float, Between(0.1, 120)]
    bind_password: str = secret()


@dataclass(frozen=True)
class Scheduler:
    kind: Literal["local", "slurm"]
    cluster: Annotated[str, Matches(r"[A-Za-z0-9_.-]{0,40}", "letters, digits, _ . - (at most 40)")]


@dataclass(frozen=True)
class Slurm:
    bin_dir: Path | None
    conf: Path | None
    jobs_every_s: Annotated[float, Between(1, 3600)]
    nodes_every_s: Annotated[float, Between(1, 3600)]
    waiting_every_s: Annotated[float, Between(1, 3600)]
    accounts_every_s: Annotated[float, Between(5, 86400)]
    timeout_s: Annotated[float, Between(1, 600)]


@dataclass(frozen=True)
class Local:
    cpus: Annotated[int, Between(0, 65536)]  # 0: all of this machine
    memory_mb: Annotated[int, Between(0, 2**40)]  # 0: all of this machine
    max_time_s: Seconds


@dataclass(frozen=True)
class Launcher:
    strategy: Literal["self", "sudo"]
    socket: Path
    as_user: Path
    allowed_peer: Account
    min_uid: Annotated[int, Between(1, 2**31)]


@dataclass(frozen=True)
class Store:
    password_file: Path | None
    key_file: Path | None
    url: Annotated[str, Uri("sqlite", "mysql+pymysql", "postgresql+psycopg")] = field(
        repr=False
    )  # has the password
    password: str = secret()
    key: str = secret()  # base64 of 32 bytes; empty: made at first start in the data folder


@dataclass(frozen=True)
class Image:
    """A container image people may choose."""

    name: Annotated[str, Matches(r"[A-Za-z0-9][A-Za-z0-9._+ -]{0,63}", "letters, digits, . _ + - and spaces")]
    path: Annotated[str, Matches(r"[^\x00-\x1f]+", "a path without control characters")]
    apps: tuple[Annotated[str, Matches(r"[a-z][a-z0-9-]{0,31}", "the name of an app")], ...]


@dataclass(frozen=True)
class Sessions:
    runtime: Literal["auto", "none", "apptainer", "singularity", "charliecloud"]
    runtime_command: Path | None
    images: tuple[Image, ...]
    image_folders: tuple[Annotated[str, Matches(r"/[^\x00-\x1f]*", "an absolute path")], ...]
    default_app: Annotated[str, Matches(r"[a-z][a-z0-9-]{0,31}", "the name of an app")]
    apps: tuple[Annotated[str, Matches(r"[a-z][a-z0-9-]{0,31}", "the name of an app")], ...]
    default_time_s: Annotated[int, Between(60, 10**8)]
    default_gpus: Annotated[int, Between(0, 1024)]
    max_active_per_person: Annotated[int, Between(1, 10000)]
    binds: tuple[Annotated[str, Matches(r"/[^\x00-\x1f]*", "an absolute path, or SOURCE:TARGET[:ro]")], ...]
    jupyter_command: Path | None
    submit_timeout_s: Seconds
    idle_timeout_s: Annotated[int, Between(0, 10**7)]
    idle_warn_s: Annotated[int, Between(0, 10**7)]
    estimates_at_once: Annotated[int, Between(1, 1000)]
    estimate_keep_s: Seconds


@dataclass(frozen=True)
class Accounting:
    source: Literal["auto", "slurmdbd", "local", "import"]  # never "auto" once the settings are complete
    sync_every_s: Annotated[int, Between(5, 86400)]
    trailing_s: Annotated[int, Between(0, 10**9)]
    trailing_every_s: Seconds
    memory_mb: Annotated[int, Between(128, 2**24)]
    self_check_hour: Annotated[int, Between(-1, 23)]
    projects_file: Path | None


@dataclass(frozen=True)
class Slurmdbd:
    host: str
    port: Port
    socket: Path | None
    user: str
    password_file: Path | None
    database: Annotated[str, Matches(r"[A-Za-z0-9_$-]{1,64}", "the name of a database")]
    tls_ca_file: Path | None
    clusters: tuple[Annotated[str, Matches(r"[A-Za-z0-9_.-]{1,40}", "the name of a cluster")], ...]
    password: str = secret()


@dataclass(frozen=True)
class Mail:
    host: str
    port: Port
    tls: Literal["none", "starttls", "tls"]
    user: str
    password_file: Path | None
    sender: Annotated[str, Matches(r"([^\s@<>]+@[^\s@<>]+)?", "a mail address, or empty")]
    password: str = secret()


@dataclass(frozen=True)
class Reports:
    folder: Path
    max_rows: Annotated[int, Between(1, 10**9)]


@dataclass(frozen=True)
class Embeds:
    enabled: bool
    max_days: Annotated[int, Between(1, 36500)]


@dataclass(frozen=True)
class Telemetry:
    source: Literal["embedded", "prometheus"]
    raw_days: Annotated[float, Between(0.1, 3650)]
    minute_days: Annotated[float, Between(1, 3650)]
    archive_days: Annotated[float, Between(0, 36500)]  # 0: for ever
    archive_points: Annotated[int, Between(500, 10**6)]
    node_key_file: Path
    prometheus_url: Annotated[str, Uri("http", "https")]
    prometheus_every_s: Annotated[float, Between(1, 600)]
    prometheus_token_file: Path | None
    rules_file: Path | None
    prometheus_token: str = secret()


@dataclass(frozen=True)
class Settings:
    """Everything an instance is told. `source` is the site's file, or None."""

    instance: Instance
    web: Web
    apps: Apps
    agent: Agent
    login: Login
    directory: Directory
    ldap: Ldap
    scheduler: Scheduler
    slurm: Slurm
    local: Local
    launcher: Launcher
    store: Store
    sessions: Sessions
    accounting: Accounting
    slurmdbd: Slurmdbd
    mail: Mail
    reports: Reports
    embeds: Embeds
    telemetry: Telemetry
    source: Path | None = None


SECTIONS: dict[str, type] = {
    "instance": Instance,
    "web": Web,
    "apps": Apps,
    "agent": Agent,
    "login": Login,
    "directory": Directory,
    "ldap": Ldap,
    "scheduler": Scheduler,
    "slurm": Slurm,
    "local": Local,
    "launcher": Launcher,
    "store": Store,
    "sessions": Sessions,
    "accounting": Accounting,
    "slurmdbd": Slurmdbd,
    "mail": Mail,
    "reports": Reports,
    "embeds": Embeds,
    "telemetry": Telemetry,
}
