"""The daemons of one cluster: started in the foreground, watched, stopped. Runs inside the namespace."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness import directory
from tests.harness.errors import CommandFailed, StartFailed
from tests.harness.plan import Plan
from tests.harness.slurm import NODES
from tests.harness.world import Account

# Daemons hand their environment to jobs and hooks: nothing of the caller's may be in it.
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
READY_WITHIN_S = 20.0
ENDS_WITHIN_S = 5.0
LOG_LINES = 40


@dataclass
class Daemon:
    """One daemon: how it is started, as whom, and how one sees that it answers."""

    name: str
    argv: list[str]
    answers: Callable[[], bool]
    account: Account | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Daemons:
    """All daemons of a plan by name; each node's slurmd has the node's name."""

    def __init__(self, plan: Plan, accounts: dict[str, Account]) -> None:
        self.plan = plan
        self.accounts = accounts
        self.lock = threading.RLock()
        self.all = {daemon.name: daemon for daemon in self._declared()}

    def _declared(self) -> list[Daemon]:
        folder, ports = self.plan.folder, self.plan.ports
        conf = str(folder / "slurm/slurm.conf")
        slapd = folder / "bin/slapd"
        declared = [
            Daemon(
                "munged",
                ["munged", "-F", "--force", f"--socket={folder}/run/munge.socket",
                 f"--key-file={folder}/munge/key", f"--log-file={folder}/log/munged.log",
                 f"--pid-file={folder}/munge/pid", f"--seed-file={folder}/munge/seed"],
                lambda: _unix_answers(folder / "run/munge.socket"),
                self.accounts["munge"],
            ),
            Daemon(
                "mariadbd",
                ["mariadbd", "--no-defaults", "--basedir=/usr", "--user=mysql",
                 f"--datadir={folder}/mariadb", f"--socket={folder}/run/mariadb.sock",
                 f"--port={ports.mariadbd}", "--bind-address=127.0.0.1",
                 f"--pid-file={folder}/mariadb/pid", f"--init-file={folder}/mariadb-init.sql",
                 "--character-set-server=utf8mb4", "--skip-log-bin", "--performance-schema=OFF",
                 "--innodb-buffer-pool-size=256M", "--innodb-lock-wait-timeout=900",
                 # The data are thrown away with the cluster.
                 "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0",
                 "--innodb-flush-method=fsync", "--skip-name-resolve"],
                lambda: _listens(ports.mariadbd),
            ),
            Daemon(
                "slurmdbd", ["slurmdbd", "-D"], lambda: _listens(ports.slurmdbd), self.accounts["slurm"]
            ),
            Daemon(
                "slurmctld", ["slurmctld", "-D", "-f", conf],
                lambda: _listens(ports.slurmctld), self.accounts["slurm"],
            ),
            Daemon(
                "slapd",
                [str(slapd), "-d", "0", "-f", f"{folder}/ldap/slapd.conf", "-u", "openldap", "-g", "openldap",
                 "-h", f"ldap://127.0.0.1:{ports.ldap}/ ldaps://127.0.0.1:{ports.ldaps}/"
                 f" ldapi://{str(folder).replace('/', '%2F')}%2Frun%2Fldapi/"],
                lambda: _listens(ports.ldap),
            ),
        ]  # fmt: skip
        declared += [
            Daemon(
                node.name,
                ["slurmd", "-D", "-N", node.name, "-f", conf],
                functools.partial(_listens, ports.slurmd(count)),
            )
            for count, node in enumerate(NODES)
        ]
        return declared

    def start(self, name: str) -> None:
        """Start one daemon and wait until it answers. Raises StartFailed with the end of its log."""
        daemon = self._named(name)
        with self.lock:
            if daemon.alive:
                return
            self._spawn(daemon)
        self.wait(name)

    def _spawn(self, daemon: Daemon) -> None:
        account = daemon.account
        log = (self.plan.folder / "log" / f"{daemon.name}.out").open("ab")
        environment = dict(CLEAN)
        if daemon.name == "slurmdbd":
            environment["SLURM_CONF"] = str(self.plan.folder / "slurm/slurm.conf")
        with log:
            daemon.process = subprocess.Popen(
                daemon.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd="/",
                start_new_session=True,
                user=account.uid if account else None, group=account.gid if account else None,
                extra_groups=[] if account else None,
            )  # fmt: skip

    def wait(self, name: str) -> None:
        daemon = self._named(name)
        until = time.monotonic() + READY_WITHIN_S
        while True:
            if not daemon.alive:
                raise StartFailed(f"{name} ended at start-up.\n{self.log(name)}")
            if daemon.answers():
                return
            if time.monotonic() > until:
                raise StartFailed(f"{name} doesn't answer after {READY_WITHIN_S:.0f} s.\n{self.log(name)}")
            time.sleep(0.02)

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        """Stop one daemon; SIGKILL when it hasn't ended in time."""
        daemon = self._named(name)
        with self.lock:
            process = daemon.process
            if process is None or process.poll() is not None:
                return
            process.send_signal(number)
            try:
                process.wait(ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log(self, name: str, lines: int = LOG_LINES) -> str:
        return log_tail(self.plan.folder, name, lines)

    def _named(self, name: str) -> Daemon:
        if name not in self.all:
            raise CommandFailed(f"No daemon {name!r}; there are {', '.join(self.all)}.")
        return self.all[name]


def log_tail(folder: Path, name: str, lines: int) -> str:
    """The last lines a daemon wrote, its log and its output together."""
    node = {node.name for node in NODES}
    files = [
        folder / "log" / f"{'slurmd-' if name in node else ''}{name}.log",
        folder / "log" / f"{name}.out",
    ]
    tail: list[str] = []
    for path in files:
        if path.exists():
            tail += path.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(tail)


def prepare(plan: Plan, accounts: dict[str, Account]) -> None:
    """Folders, keys and files the daemons start from (all but slapd's certificates and MariaDB's tables)."""
    folder = plan.folder
    for part in ("log", "run"):
        (folder / part).mkdir(exist_ok=True)
        # Several daemons' accounts write here; nobody but them is inside before the people are.
        (folder / part).chmod(0o1777)
    munge = folder / "munge"
    munge.mkdir(mode=0o700)
    (munge / "key").touch(mode=0o600)
    (munge / "key").write_bytes(os.urandom(128))
    for path in (munge, munge / "key"):
        os.chown(path, accounts["munge"].uid, accounts["munge"].gid)
    init = folder / "mariadb-init.sql"
    init.touch(mode=0o600)
    init.write_text(
        "CREATE DATABASE IF NOT EXISTS slurm_acct_db;\n"
        f"CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY '{plan.database_password}';\n"
        "GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';\n"
        f"CREATE USER IF NOT EXISTS 'carme_reader'@'127.0.0.1' IDENTIFIED BY '{plan.reader_password}';\n"
        "GRANT SELECT ON slurm_acct_db.* TO 'carme_reader'@'127.0.0.1';\n"
    )
    os.chown(init, accounts["mysql"].uid, accounts["mysql"].gid)
    # An AppArmor profile goes by the program's path and would keep slapd out of our folder.
    slapd = folder / "bin/slapd"
    slapd.parent.mkdir()
    shutil.copy2("/usr/sbin/slapd", slapd)


def install_database(plan: Plan) -> None:
    """MariaDB's own tables. Raises StartFailed."""
    done = subprocess.run(
        ["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={plan.folder}/mariadb",
         "--skip-test-db", "--auth-root-authentication-method=normal", "--skip-name-resolve",
         "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--innodb-flush-method=fsync"],
        capture_output=True, text=True, check=False, env=CLEAN, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise StartFailed(f"mariadb-install-db failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def load_directory(plan: Plan) -> None:
    """Put the people into slapd. Raises StartFailed."""
    uri = f"ldapi://{str(plan.folder).replace('/', '%2F')}%2Frun%2Fldapi/"
    done = subprocess.run(
        ["ldapadd", "-x", "-H", uri, "-D", directory.ROOT_DN, "-w", plan.ldap_root_password],
        input=directory.ldif(plan.ldap_service_password),
        capture_output=True, text=True, check=False, env=CLEAN,
    )  # fmt: skip
    if done.returncode:
        raise StartFailed(f"ldapadd failed: {done.stderr.strip()}")


def _listens(port: int) -> bool:
    """Asked of the kernel, since Slurm logs a connection that says nothing as an error."""
    wanted = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(wanted) and fields[3] == "0A":
                return True
    return False


def _unix_answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
