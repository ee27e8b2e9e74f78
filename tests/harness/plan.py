"""What one cluster is: folder, name, ports and secrets, kept in its `cluster.json` (root only)."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import secrets
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

from tests.harness.errors import HarnessError, NotACluster
from tests.harness.slurm import Ports

CHECKOUT = Path(__file__).resolve().parents[2]
LONGEST_FOLDER = 60  # a Unix socket path must stay below 108 bytes


@dataclass(frozen=True)
class Plan:
    """Everything decided before the start. `expose` are folders everyone inside must reach."""

    folder: Path
    name: str
    hostname: str
    base_port: int
    database_password: str
    reader_password: str
    ldap_root_password: str
    ldap_service_password: str
    expose: tuple[Path, ...]
    remove_folder: bool
    extra_slurm_conf: str

    @property
    def ports(self) -> Ports:
        return Ports(self.base_port)

    def save(self) -> None:
        path = self.folder / "cluster.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(dataclasses.asdict(self), default=str, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """Raises NotACluster."""
        try:
            raw = json.loads((folder / "cluster.json").read_text())
        except FileNotFoundError:
            raise NotACluster(f"{folder} holds no cluster (no cluster.json in it).") from None
        raw["folder"] = Path(raw["folder"])
        raw["expose"] = tuple(Path(path) for path in raw["expose"])
        return cls(**raw)


def new_plan(folder: Path, *, name: str, expose: tuple[Path, ...], remove_folder: bool, extra_slurm_conf: str) -> Plan:
    """A plan with fresh secrets and a free block of ports."""
    if len(str(folder)) > LONGEST_FOLDER:
        raise HarnessError(f"{folder} is too long for Unix sockets: at most {LONGEST_FOLDER} characters.")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise HarnessError(f"Cluster name {name!r}: small letters, digits, and hyphens between them.")
    return Plan(
        folder=folder, name=name, hostname=f"{name}-host", base_port=_free_base(),
        database_password=secrets.token_hex(12), reader_password=secrets.token_hex(12),
        ldap_root_password=secrets.token_hex(12), ldap_service_password=secrets.token_hex(12),
        expose=_needed_folders(expose), remove_folder=remove_folder,
        extra_slurm_conf=extra_slurm_conf,
    )  # fmt: skip


def reserve(base_port: int) -> socket.socket:
    """Hold a block of ports against other harnesses for as long as the socket is open. Raises OSError."""
    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind(f"\0carme-harness-ports-{base_port}")
    except OSError:
        held.close()
        raise
    return held


def _free_base() -> int:
    # Below the kernel's ephemeral range (32768 upwards), so that no client socket sits on them.
    bases = list(range(20_000, 32_000, Ports.COUNT))
    SystemRandom().shuffle(bases)
    for base in bases:
        try:
            reserve(base).close()
            for port in range(base, base + Ports.COUNT):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise HarnessError("No free block of TCP ports between 20000 and 32000.")


def _needed_folders(extra: tuple[Path, ...]) -> tuple[Path, ...]:
    """The checkout, `extra`, the cache, and where the Python interpreters live when that isn't /usr."""
    wanted = {CHECKOUT, *(path.absolute() for path in extra), Path(sys.prefix), Path(sys.base_prefix)}
    if os.environ.get("CARME_CACHE"):
        # Where Apptainer and the container image are kept.
        wanted.add(Path(os.environ["CARME_CACHE"]).absolute())
    for settings in CHECKOUT.glob(".venv*/pyvenv.cfg"):
        for line in settings.read_text().splitlines():
            key, _, value = line.partition("=")
            if key.strip() == "home":
                wanted.add(Path(value.strip()).parent)
    wanted |= {path.resolve() for path in wanted}
    return tuple(sorted(path for path in wanted if path.is_dir() and not _below_usr(path)))


def _below_usr(path: Path) -> bool:
    return path == Path("/") or path.is_relative_to("/usr") or os.fspath(path) == ""
