"""A console started for a test, a demo or a figure: its processes, its settings file, its data folder.

`Console.embedded` is the default anyone gets: scheduler `local`, local accounts, no root. `Console.on` stands
on a real cluster of the harness, its launcher under an account of its own.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.harness.errors import StartFailed
from tests.harness.ports import free_port

if TYPE_CHECKING:
    from tests.harness import Cluster

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
START_S = 120.0  # a process that ends is told at once; this is for a machine with much else to do


def toml(tables: dict[str, dict[str, Any]]) -> str:
    """Settings as TOML: texts, numbers, booleans, lists of texts, and inline tables of those."""

    def value(item: Any) -> str:
        if isinstance(item, bool):
            return str(item).lower()
        if isinstance(item, int | float):
            return str(item)
        if isinstance(item, list | tuple):
            return "[" + ", ".join(value(part) for part in item) + "]"
        if isinstance(item, dict):
            return "{ " + ", ".join(f"{key} = {value(part)}" for key, part in item.items()) + " }"
        text = str(item).replace("\\", "\\\\").replace('"', '\\"')
        return f'"{text}"'

    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {value(item)}\n" for key, item in table.items())
        for name, table in tables.items()
    )


def merged(base: dict[str, dict[str, Any]], more: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """`base` with the keys of `more` laid over it, table by table."""
    return {name: {**base.get(name, {}), **more.get(name, {})} for name in [*base, *(set(more) - set(base))]}


@dataclass
class Console:
    folder: Path
    port: int
    apps_port: int
    cluster: Cluster | None = None
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def config(self) -> Path:
        return self.folder / "carme.toml"

    @property
    def launcher_socket(self) -> Path:
        return (self.data_dir if self.cluster is None else self.folder) / "run/launcher.sock"

    @property
    def log(self) -> str:
        """What the processes have said so far."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    # How it comes about

    @classmethod
    def embedded(cls, folder: Path, settings: dict[str, dict[str, Any]] | None = None) -> Console:
        """The embedded default on free ports, its data in `folder`. Raises StartFailed with the log's end."""
        console = cls(folder=folder, port=free_port(), apps_port=free_port())
        folder.mkdir(parents=True, exist_ok=True)
        console._write_settings(settings or {})
        console.start()
        return console

    @classmethod
    def on(
        cls, cluster: Cluster, settings: dict[str, dict[str, Any]] | None = None, name: str = "console"
    ) -> Console:
        """A console on a real cluster: people from its directory, jobs by sudo as the person."""
        folder = cluster.make_folder(name, mode=0o755)
        console = cls(folder=folder, port=free_port(), apps_port=free_port(), cluster=cluster)
        run = folder / "run"
        for path, owner, mode in ((console.data_dir, "carme", 0o700), (run, "carme-launch", 0o755)):
            path.mkdir(exist_ok=True)
            path.chmod(mode)
            os.chown(path, cluster.account(owner).uid, cluster.account(owner).gid)
        password, reader = folder / "ldap-password", folder / "slurmdbd-password"
        for path, word in ((password, cluster.ldap_bind_password), (reader, cluster.database.password)):
            path.touch(mode=0o600)
            path.write_text(word)
            os.chown(path, cluster.account("carme").uid, cluster.account("carme").gid)
        scheduler: dict[str, dict[str, Any]] = {
            "scheduler": {"kind": "slurm", "cluster": cluster.name},
            "slurm": {"conf": str(cluster.slurm_conf)},
            "launcher": {"strategy": "sudo", "socket": str(console.launcher_socket), "allowed_peer": "carme"},
        }
        # The launcher reads a file of its own: it has no business with the directory's password.
        (folder / "launcher.toml").write_text(toml({"instance": {"data_dir": str(run)}, **scheduler}))
        console._write_settings(
            merged(
                {
                    **scheduler,
                    "agent": {"console_url": console.url, "bind_host": "127.0.0.1"},
                    "slurmdbd": {
                        "host": cluster.database.host,
                        "port": cluster.database.port,
                        "user": cluster.database.user,
                        "password_file": str(reader),
                        "database": cluster.database.name,
                    },
                    "directory": {"kind": "ldap"},
                    "ldap": {
                        "servers": [cluster.ldap_uri],
                        "tls": "starttls",
                        "ca_file": str(cluster.ldap_ca),
                        "bind_dn": cluster.ldap_bind_dn,
                        "bind_password_file": str(password),
                        "base_dn": cluster.ldap_base,
                    },
                },
                settings or {},
            )
        )
        console.start()
        return console

    def _write_settings(self, more: dict[str, dict[str, Any]]) -> None:
        base: dict[str, dict[str, Any]] = {
            "instance": {"data_dir": str(self.data_dir)},
            "web": {"address": "localhost", "port": self.port},
            "apps": {
                "address": "localhost",
                "port": self.apps_port,
                "url": f"http://{{session}}.localhost:{self.apps_port}",
            },
        }
        self.config.write_text(toml(merged(base, more)))

    def start(self) -> None:
        """Start its processes and wait for the sign-in page. Raises StartFailed."""
        if self.cluster is None:
            self._spawn("serve", self.config)
        else:
            self._spawn("launcher", self.folder / "launcher.toml", "--only", "launcher", user="carme-launch")
            self._spawn("serve", self.config, user="carme")
        self.wait_up()

    def _spawn(self, name: str, config: Path, *arguments: str, user: str = "") -> None:
        command = [PYTHON, "-m", "app.cli", "serve", "--config", str(config), *arguments]
        log = (self.folder / f"{name}.log").open("ab")
        with log:
            if self.cluster is not None:
                process = self.cluster.popen(command, user=user, cwd=ROOT, stdout=log, stderr=log)
            else:
                process = subprocess.Popen(
                    command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_environment()
                )
        self.processes.append(process)

    def wait_up(self) -> None:
        """Wait until the console and its launcher answer. Raises StartFailed with the end of the log."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.web_answers() and self.launcher_answers():
                return
            if any(process.poll() is not None for process in self.processes):
                break
            time.sleep(0.1)
        log = self.log
        self.stop()
        raise StartFailed(f"the console did not come up; its log ends:\n{log[-4000:]}")

    def web_answers(self) -> bool:
        """Whether the web process serves now."""
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError),
            urllib.request.urlopen(f"{self.url}/healthz", timeout=2) as answer,
        ):
            return bool(answer.status == 200)
        return False

    def launcher_answers(self) -> bool:
        """Whether the launcher takes connections now: web comes up without it, and refuses to launch."""
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.settimeout(2)
            probe.connect(str(self.launcher_socket))
            return True
        return False

    def stop(self) -> None:
        """End its processes, properly."""
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(25)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def role_pids(self, role: str) -> list[int]:
        """The process ids of one of its processes (web, proxy, collector, launcher, supervisor)."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                argv = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            mine = b"--as-process" in argv and any(str(self.folder).encode() in part for part in argv)
            if mine and argv[argv.index(b"--as-process") + 1] == role.encode():
                found.append(int(entry.name))
        return found

    def kill(self, role: str) -> None:
        """kill -9 one of its processes."""
        for pid in self.role_pids(role):
            os.kill(pid, signal.SIGKILL)

    # What a test does with it

    def cli(self, *arguments: str, text: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `carme ARGUMENTS` on its data folder, as its owner."""
        command = [PYTHON, "-m", "app.cli", *arguments, "--config", str(self.config)]
        done = self._run(command, text)
        if check and done.returncode != 0:
            raise AssertionError(f"carme {' '.join(arguments)} exited {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def _run(self, command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
        if self.cluster is not None:
            return self.cluster.run(command, user="carme", cwd=ROOT, input=text, timeout=120)
        return subprocess.run(
            command, check=False, cwd=ROOT, input=text, capture_output=True, text=True, timeout=120,
            env=clean_environment(),
        )  # fmt: skip

    def add_person(self, name: str, roles: Sequence[str] = ()) -> str:
        """Add a local account; gives its password."""
        password = secrets.token_urlsafe(16)
        file = self.folder / f"password-{name}"
        file.touch(mode=0o600)
        file.write_text(password)
        self.cli("user", "add", name, "--password-file", str(file), *(f"--role={role}" for role in roles))
        file.unlink()
        return password

    def enrol(self, name: str) -> str:
        """Give a person a second factor, as if enrolled in the browser; gives its secret in base32."""
        script = (
            "import os, sys\n"
            "from pathlib import Path\n"
            "from config import load_settings\n"
            "from backend.services import open_services\n"
            "services = open_services(load_settings(Path(sys.argv[1]), os.environ))\n"
            "print(services.identity.enrol_directly(sys.argv[2]))\n"
        )
        command = [PYTHON, "-c", script, str(self.config), name]
        done = self._run(command)
        if done.returncode != 0:
            raise AssertionError(f"enrolling {name} failed:\n{done.stdout}{done.stderr}")
        return str(done.stdout).strip()


def clean_environment() -> dict[str, str]:
    """The environment of a person's shell, without settings of another instance."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("CARME_", "SLURM_"))}


@contextlib.contextmanager
def embedded_console(folder: Path, **tables: dict[str, Any]) -> Iterator[Console]:
    """An embedded console for the length of a `with`; its folder is removed afterwards."""
    console = Console.embedded(folder, tables)
    try:
        yield console
    finally:
        console.stop()
        shutil.rmtree(folder, ignore_errors=True)
