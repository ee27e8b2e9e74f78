"""A running cluster, as tests and the demo see it."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tests.harness import directory, gpus, kernel, packages
from tests.harness.daemons import log_tail
from tests.harness.directory_admin import DirectoryAdmin
from tests.harness.errors import CommandFailed, HarnessError, NeedsRoot, NotACluster, StartFailed
from tests.harness.people import PEOPLE
from tests.harness.plan import CHECKOUT, Plan, new_plan
from tests.harness.slurm import NODES

UP_WITHIN_S = 180.0
DOWN_WITHIN_S = 20.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class DatabaseAccess:
    """The read-only account of slurmdbd's database."""

    host: str
    port: int
    user: str
    password: str
    name: str
    socket: Path


@dataclass(frozen=True)
class _Account:
    uid: int
    gid: int
    home: str


class Cluster(DirectoryAdmin):
    """A cluster in its folder. `Cluster.up()` starts one, `Cluster.attach(folder)` finds a running one."""

    def __init__(self, plan: Plan, guard: subprocess.Popen[bytes] | None, took_s: Mapping[str, float]) -> None:
        self.plan = plan
        self.folder = plan.folder
        self.name = plan.name
        self.people = PEOPLE
        self.nodes: tuple[str, ...] = tuple(node.name for node in NODES)
        self.slurm_conf = plan.folder / "slurm/slurm.conf"
        self.ldap_uri = f"ldap://localhost:{plan.ports.ldap}"
        self.ldaps_uri = f"ldaps://localhost:{plan.ports.ldaps}"
        self.ldap_ca = plan.folder / "ldap/ca.pem"
        self.ldap_base = directory.BASE
        self.ldap_bind_dn = directory.SERVICE_DN
        self.ldap_bind_password = plan.ldap_service_password
        self.database = DatabaseAccess(
            host="127.0.0.1", port=plan.ports.mariadbd, user="carme_reader", password=plan.reader_password,
            name="slurm_acct_db", socket=plan.folder / "run/mariadb.sock",
        )  # fmt: skip
        self.checkout = CHECKOUT
        self.took_s = dict(took_s)
        self._guard = guard
        self._started: list[subprocess.Popen[Any]] = []
        self._init = int((plan.folder / "init.pid").read_text())
        self._accounts = self._read_accounts()

    # Up and down

    @classmethod
    def up(
        cls,
        folder: Path | None = None,
        name: str = "carme",
        *,
        expose: Sequence[Path] = (),
        extra_slurm_conf: str = "",
        detached: bool = False,
    ) -> Cluster:
        """Install what is missing and start a cluster; it answers and its nodes are idle when this returns.

        It ends with this process, however that ends, unless `detached`. `expose`: further folders that
        everyone inside must reach at the same path. `extra_slurm_conf`: lines for the end of slurm.conf.
        Raises NeedsRoot, PackagesMissing, StartFailed.
        """
        if os.geteuid() != 0:
            raise NeedsRoot()
        packages.install()
        begun = time.monotonic()
        where = _fresh_folder(folder)
        plan = new_plan(
            where, name=name, expose=tuple(expose), remove_folder=folder is None,
            extra_slurm_conf=extra_slurm_conf,
        )  # fmt: skip
        plan.save()
        (where / "log").mkdir()
        with (where / "log/holder.log").open("wb") as log:
            guard = subprocess.Popen(
                [sys.executable, "-m", "tests.harness.holder", str(where),
                 *(["--detached"] if detached else [])],
                stdin=subprocess.DEVNULL if detached else subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                cwd=CHECKOUT, start_new_session=True,
                env={"PATH": PATH, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(CHECKOUT),
                     "PYTHONDONTWRITEBYTECODE": "1"},
            )  # fmt: skip
        (where / "guard.pid").write_text(f"{guard.pid} {_start_time(guard.pid)}\n")
        told = _first_line(guard.stdout, UP_WITHIN_S)
        answer: dict[str, Any] = json.loads(told) if told else {"failed": "The holder said nothing."}
        if "ready" not in answer:
            words = answer["failed"]
            tail = (where / "log/holder.log").read_text(errors="replace")[-3000:]
            _end_guard(guard)
            raise StartFailed(f"The cluster in {where} didn't start. {words}\n{tail}")
        cluster = cls(plan, guard, answer["took_s"])
        cluster.took_s["up"] = round(time.monotonic() - begun, 2)
        return cluster

    @classmethod
    def attach(cls, folder: Path) -> Cluster:
        """The running cluster of a folder. Raises NotACluster."""
        if os.geteuid() != 0:
            raise NeedsRoot()
        plan = Plan.load(folder)
        if _guard_pid(folder) is None or not (folder / "control.sock").exists():
            raise NotACluster(f"The cluster in {folder} isn't running.")
        return cls(plan, None, {})

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def down(self) -> None:
        """End every process of the cluster; a folder the harness made is removed. May be repeated."""
        pid = _guard_pid(self.folder)
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + DOWN_WITHIN_S
        while _guard_pid(self.folder) is not None if self._guard is None else self._guard.poll() is None:
            # The kernel ends a PID namespace only when its processes' parents outside have reaped them.
            for process in self._started:
                process.poll()
            if time.monotonic() > until:
                raise HarnessError(f"The cluster in {self.folder} didn't end within {DOWN_WITHIN_S:.0f} s.")
            time.sleep(0.01)
        for process in self._started:
            process.wait()
        if self._guard is not None:
            for pipe in (self._guard.stdin, self._guard.stdout):
                if pipe is not None:
                    pipe.close()

    def wait_ended(self) -> None:
        """Wait until somebody else takes the cluster down."""
        while _guard_pid(self.folder) is not None:
            time.sleep(0.2)

    # Inside

    def popen(
        self,
        argv: Sequence[str | os.PathLike[str]],
        user: str = "root",
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        text: bool = False,
        new_session: bool = True,
    ) -> subprocess.Popen[Any]:
        """Start a program inside as `user`, in a session of its own, with a clean environment plus `env`.

        The Popen's pid is the program's own pid as seen from outside. The current folder is the user's home
        unless `cwd` says otherwise. What still runs at `down()` is killed.
        """
        account = self.account(user)
        entering = [
            "/usr/bin/nsenter",
            f"--mount=/proc/{self._init}/ns/mnt", f"--uts=/proc/{self._init}/ns/uts", "--",
            "/usr/bin/setpriv",
            f"--reuid={account.uid}", f"--regid={account.gid}", "--init-groups", "--",
            "/usr/bin/env", "-C", os.fspath(cwd) if cwd is not None else account.home,
        ]  # fmt: skip
        environment = {
            "PATH": PATH, "LANG": "C.UTF-8", "SHELL": "/bin/bash",
            "HOME": account.home, "USER": user, "LOGNAME": user,
            **(env or {}),
        }  # fmt: skip
        with kernel.children_in_pid_namespace_of(self._init):
            process = subprocess.Popen(
                [*entering, *(os.fspath(part) for part in argv)],
                env=environment, cwd="/", stdin=stdin, stdout=stdout, stderr=stderr, text=text,
                start_new_session=new_session,
            )  # fmt: skip
        self._started = [each for each in self._started if each.poll() is None]
        self._started.append(process)
        return process

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        user: str = "root",
        *,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        timeout: float = 60.0,
        cwd: str | os.PathLike[str] | None = None,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside as `user` and return what it printed, as text.

        Raises subprocess.TimeoutExpired (the program's session is killed), CommandFailed when `check`.
        """
        process = self.popen(
            argv, user, env=env, cwd=cwd, text=True,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            output, errors = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        done = subprocess.CompletedProcess(list(argv), process.returncode, output, errors)
        if check and done.returncode:
            raise CommandFailed(
                f"{user}: {shlex.join(os.fspath(part) for part in argv)}: {done.returncode}\n{output}{errors}"
            )
        return done

    def account(self, user: str) -> _Account:
        """uid, gid and home of anyone inside, the service accounts `carme` and `carme-launch` too."""
        if user not in self._accounts:
            raise HarnessError(f"Nobody inside is called {user!r}.")
        return self._accounts[user]

    def make_folder(self, name: str, user: str = "root", mode: int = 0o700) -> Path:
        """A new folder of `user`'s, at the same path inside and outside, gone with the cluster."""
        place = self.folder / "work" / name
        place.parent.mkdir(exist_ok=True, mode=0o755)
        place.parent.chmod(0o755)
        place.mkdir()
        account = self.account(user)
        os.chown(place, account.uid, account.gid)
        place.chmod(mode)
        return place

    def outside(self, path: str | os.PathLike[str]) -> Path:
        """Where a path in a person's /home or in /tmp inside is found from outside."""
        inside = Path(path)
        for top, part in (("/home", "home"), ("/var/tmp", "var-tmp"), ("/tmp", "tmp"), ("/etc", "etc")):
            if inside.is_relative_to(self.folder):
                return inside
            if inside.is_relative_to(top):
                return self.folder / part / inside.relative_to(top)
        raise HarnessError(f"{inside} is the same inside and outside, or can't be seen from outside.")

    # Daemons and nodes

    def stop(self, name: str, *, kill: bool = False) -> None:
        """Stop munged, mariadbd, slurmdbd, slurmctld, slapd or a node's slurmd; `kill` does it by SIGKILL.

        slurmctld saves its state every few seconds: after a SIGKILL it may bring back a job just cancelled.
        """
        self._ask(do="stop", name=name, signal=int(signal.SIGKILL if kill else signal.SIGTERM))

    def start(self, name: str) -> None:
        """Start a stopped daemon again and wait until it answers."""
        self._ask(do="start", name=name)

    def status(self) -> dict[str, bool]:
        """Daemon -> alive."""
        return dict(self._ask(do="status"))

    def install_as_user(self) -> bool:
        """Install the checkout's as-user program again, as it is now; false when there is none."""
        return bool(self._ask(do="install as-user"))

    def log(self, name: str, lines: int = 60) -> str:
        """The end of a daemon's log."""
        return log_tail(self.folder, name, lines)

    def drain(self, node: str, reason: str = "checked by the harness") -> None:
        self.run(["scontrol", "update", f"nodename={node}", "state=drain", f"reason={reason}"], check=True)

    def resume(self, node: str) -> None:
        self.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=True)

    def wait_idle(self, timeout: float = 30.0) -> None:
        """Wait until every node is idle and no job is left in the queue."""
        until = time.monotonic() + timeout
        while True:
            shown = self.run(["sinfo", "-h", "-N", "-o", "%t"]).stdout.split()
            jobs = self.run(["squeue", "-h", "-o", "%i %T"])
            if shown and set(shown) == {"idle"} and jobs.returncode == 0 and not jobs.stdout.strip():
                return
            if time.monotonic() > until:
                raise HarnessError(f"Not idle after {timeout:.0f} s: nodes {shown}, jobs {jobs.stdout!r}")
            time.sleep(0.1)

    def cancel_all_jobs(self) -> None:
        """End every job, as between two tests, and wait until the nodes are free."""
        users = self.run(["squeue", "-h", "-o", "%u"], check=True).stdout.split()
        for user in sorted(set(users)):
            self.run(["scancel", f"--user={user}"], check=True)
        self.wait_idle()

    def set_gpus(self, node: str, *lines: str) -> None:
        """What the pretend GPUs of a node do from now on: lines `DEVICE KEY VALUE`, see nvml_shim.c."""
        gpus.set_state(self.folder, node, *lines)

    def settle(self) -> None:
        """Undo what a test left: daemons run again, jobs are gone, nodes idle, nobody is locked out."""
        for name, alive in self.status().items():
            if not alive:
                self.start(name)
        # A node in two partitions is listed twice, and resuming it twice is an error
        for node in sorted(set(self.run(["sinfo", "-h", "-N", "-t", "drain,down", "-o", "%N"]).stdout.split())):
            self.resume(node)
        self.cancel_all_jobs()
        for name in self.people:
            if "pwdFailureTime" in self.ldap_attributes(self.person_dn(name)):
                self.unlock(name)

    # Within

    def _ask(self, **request: Any) -> Any:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(self.folder / "control.sock"))
            with connection.makefile("rwb") as stream:
                stream.write(json.dumps(request).encode() + b"\n")
                stream.flush()
                answer = json.loads(stream.readline())
        if "failed" in answer:
            raise CommandFailed(answer["failed"])
        return answer["ok"]

    def _read_accounts(self) -> dict[str, _Account]:
        found: dict[str, _Account] = {}
        for line in (self.folder / "etc/passwd").read_text().splitlines():
            name, _, uid, gid, _, home, _ = line.split(":")
            found[name] = _Account(int(uid), int(gid), home)
        return found


def _fresh_folder(folder: Path | None) -> Path:
    if folder is None:
        where = Path(tempfile.mkdtemp(prefix="carme-", dir=_top_folder()))
    else:
        where = folder.absolute()
        if (where / "cluster.json").exists():
            if _guard_pid(where) is not None:
                raise HarnessError(f"A cluster runs in {where} already.")
            shutil.rmtree(where)
        elif where.exists() and any(where.iterdir()):
            raise HarnessError(f"{where} isn't empty and holds no cluster: choose another folder.")
        where.mkdir(parents=True, exist_ok=True)
    # Everyone inside passes through; nobody lists it.
    where.chmod(0o711)
    return where


def _top_folder() -> str:
    """Short for the sockets' sake, and programs may start from there: slurmd does so from its spool."""
    for top in ("/tmp", "/var/tmp"):
        if not os.statvfs(top).f_flag & os.ST_NOEXEC:
            return top
    raise HarnessError("/tmp and /var/tmp are mounted noexec: choose a folder where programs may start.")


def _first_line(stream: IO[bytes] | None, timeout: float) -> bytes:
    """One line of the holder's, or nothing when it ended or took too long."""
    if stream is None:
        return b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return stream.readline() if selector.select(timeout) else b""


def _end_guard(guard: subprocess.Popen[bytes]) -> None:
    guard.terminate()
    try:
        guard.wait(DOWN_WITHIN_S)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.wait()


def _guard_pid(folder: Path) -> int | None:
    """Pid of the folder's guard while it lives; not one that another process got since."""
    try:
        pid, started = (folder / "guard.pid").read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if _start_time(int(pid)) == int(started) else None


def _start_time(pid: int) -> int:
    """Start of a process in clock ticks since boot; 0 when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] == "Z" else int(fields[19])
