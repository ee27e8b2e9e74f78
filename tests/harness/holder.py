"""The process that holds a cluster: `python -m tests.harness.holder FOLDER`.

Three processes: the guard stays outside, takes the cluster down when it is told to or when its standard input
closes (its supervisor died, even by SIGKILL); the init is process 1 of a PID namespace of its own, so its end
ends every process of the cluster, whoever started it; the worker starts the daemons and answers requests on
`control.sock`. One JSON line on standard output tells how the start went.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.harness import as_user, daemons, directory, gpus, kernel, people, slurm, world
from tests.harness.errors import CommandFailed, HarnessError, StartFailed
from tests.harness.plan import Plan, reserve

SINFO_WITHIN_S = 3.0
IDLE_WITHIN_S = 30.0


def main() -> int:
    folder = Path(sys.argv[1])
    watched = "--detached" not in sys.argv[2:]
    plan = Plan.load(folder)
    try:
        held = reserve(plan.base_port)
    except OSError:
        print(json.dumps({"failed": f"Ports from {plan.base_port} were taken meanwhile."}), flush=True)
        return 1
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    guard = os.getpid()
    kernel.unshare(kernel.CLONE_NEWPID)
    init = os.fork()
    if init == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
        os._exit(_init(plan, guard))
    with contextlib.suppress(OSError):
        (folder / "init.pid").write_text(f"{init}\n")
    _wait_for_the_end(init, watched=watched)
    with contextlib.suppress(ProcessLookupError):
        os.kill(init, signal.SIGKILL)
    os.waitpid(init, 0)
    held.close()
    if plan.remove_folder:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _wait_for_the_end(init: int, *, watched: bool) -> None:
    signals_end, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    sources = [os.pidfd_open(init), signals_end, *([0] if watched else [])]
    select.select(sources, [], [])


def _init(plan: Plan, guard: int) -> int:
    """Process 1: makes the namespace, starts the worker, reaps whatever is orphaned, ends with the worker."""
    del guard  # its pid can't be seen from here: the parent of process 1 reads as 0
    kernel.die_with_parent(0)
    try:
        accounts = world.enter(plan.folder, hostname=plan.hostname, expose=list(plan.expose))
    except OSError as error:
        print(json.dumps({"failed": f"No namespace of its own: {error}"}), flush=True)
        return 1
    worker = os.fork()
    if worker == 0:
        os._exit(_worker(plan, accounts))
    # The guard's pipes: only guard and worker may hold them.
    for number in (0, 1):
        os.close(number)
    while True:
        try:
            ended, _ = os.waitpid(-1, 0)
        except InterruptedError:
            continue
        if ended == worker:
            return 0


def _worker(plan: Plan, accounts: dict[str, world.Account]) -> int:
    begun = time.monotonic()
    try:
        held, took = _bring_up(plan, accounts)
    except (HarnessError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        words = str(error) if isinstance(error, HarnessError) else traceback.format_exc()
        print(json.dumps({"failed": words}), flush=True)
        return 1
    took["all"] = time.monotonic() - begun
    control = socket.socket(socket.AF_UNIX)
    path = plan.folder / "control.sock"
    control.bind(str(path))
    path.chmod(0o600)
    control.listen()
    print(json.dumps({"ready": True, "took_s": {k: round(v, 2) for k, v in took.items()}}), flush=True)
    nowhere = os.open("/dev/null", os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    while True:
        connection, _ = control.accept()
        threading.Thread(target=_answer, args=(connection, held), daemon=True).start()


def _bring_up(plan: Plan, accounts: dict[str, world.Account]) -> tuple[daemons.Daemons, dict[str, float]]:
    begun = time.monotonic()
    took: dict[str, float] = {}

    def passed(what: str) -> None:
        took[what] = time.monotonic() - begun

    daemons.prepare(plan, accounts)
    _write_slurm(plan, accounts)
    as_user.install(plan)
    held = daemons.Daemons(plan, accounts)

    def ldap() -> None:
        owner = accounts["openldap"]
        directory.make_certificates(plan.folder / "ldap", plan.hostname)
        directory.write(plan.folder, root_password=plan.ldap_root_password, owner=(owner.uid, owner.gid))
        held.start("slapd")
        daemons.load_directory(plan)
        passed("directory")

    def database() -> None:
        daemons.install_database(plan)
        passed("database tables")
        held.start("mariadbd")
        passed("mariadbd")

    with ThreadPoolExecutor(12) as pool:
        people_loaded = pool.submit(ldap)
        munge = pool.submit(held.start, "munged")
        readable = pool.submit(_readable, plan, accounts)
        devices = pool.submit(gpus.install, plan.folder)
        database()
        munge.result()
        readable.result()
        held.start("slurmdbd")
        passed("slurmdbd")
        controller = pool.submit(held.start, "slurmctld")
        _wait_registered(held, controller)
        passed("registered")
        controller.result()
        passed("slurmctld")
        nodes = [pool.submit(held.start, node.name) for node in slurm.NODES]
        _load_accounts(plan, pool)
        passed("accounts")
        for started in nodes:
            started.result()
        _wait_idle(held)
        passed("nodes idle")
        people_loaded.result()
        devices.result()
    return held, took


def _write_slurm(plan: Plan, accounts: dict[str, world.Account]) -> None:
    owner = accounts["slurm"]
    slurm.write(
        plan.folder, name=plan.name, host=plan.hostname, ports=plan.ports,
        database_password=plan.database_password, slurm_ids=(owner.uid, owner.gid),
        extra=plan.extra_slurm_conf,
    )  # fmt: skip
    # So that a plain `squeue` inside is this cluster's.
    for name in ("slurm.conf", "gres.conf", "cgroup.conf", "slurmdbd.conf"):
        Path("/etc/slurm", name).symlink_to(plan.folder / "slurm" / name)
    Path("/run/munge/munge.socket.2").symlink_to(plan.folder / "run/munge.socket")


def _readable(plan: Plan, accounts: dict[str, world.Account]) -> None:
    """The console's account must be able to read the checkout and start its Python."""
    console = accounts[people.CONSOLE]
    checkout = Path(__file__).resolve().parents[2]
    python = checkout / ".venv/bin/python"
    script = f"test -r {checkout}/tests/harness/holder.py"
    if python.exists():
        script += f" && {python} -I -c pass"
    done = subprocess.run(
        ["sh", "-c", script], user=console.uid, group=console.gid, extra_groups=[], env=daemons.CLEAN,
        cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise StartFailed(
            f"The account {people.CONSOLE} can't read {checkout} or start its Python; "
            f"`chmod -R o+rX {checkout}` helps. {done.stderr.strip()}"
        )


def _wait_registered(held: daemons.Daemons, controller: Future[None]) -> None:
    """slurmdbd learns the cluster and its GPU TRES from slurmctld; limits on them are refused before."""
    until = time.monotonic() + IDLE_WITHIN_S
    while True:
        shown = subprocess.run(
            ["sacctmgr", "-nP", "show", "tres", "format=type,name"],
            capture_output=True, text=True, check=False, env=daemons.CLEAN,
        ).stdout  # fmt: skip
        if f"gres|gpu:{slurm.GPU_TYPES[-1]}" in shown.split():
            return
        if controller.done():
            controller.result()
        if time.monotonic() > until:
            raise StartFailed(f"slurmctld didn't register with slurmdbd.\n{held.log('slurmctld')}")
        time.sleep(0.05)


def _load_accounts(plan: Plan, pool: ThreadPoolExecutor) -> None:
    list(pool.map(lambda command: _sacctmgr(*command.split()), people.QOS_COMMANDS))
    accounts = plan.folder / "slurm/accounts.cfg"
    accounts.write_text(people.sacctmgr_file(plan.name))
    _sacctmgr("load", f"file={accounts}")


def _sacctmgr(*words: str) -> None:
    done = subprocess.run(
        ["sacctmgr", "-i", *words], capture_output=True, text=True, check=False, env=daemons.CLEAN, timeout=60
    )
    said = done.stdout + done.stderr
    if done.returncode or "error" in said.lower() or "unknown" in said.lower():
        raise StartFailed(f"sacctmgr {' '.join(words)} failed:\n{said[-3000:]}")


def _wait_idle(held: daemons.Daemons) -> None:
    until = time.monotonic() + IDLE_WITHIN_S
    while True:
        shown = ""
        # sinfo itself waits long for a slurmctld that listened for a moment and died.
        with contextlib.suppress(subprocess.TimeoutExpired):
            shown = subprocess.run(
                ["sinfo", "-h", "-N", "-o", "%N %t"],
                capture_output=True, text=True, check=False, env=daemons.CLEAN, timeout=SINFO_WITHIN_S,
            ).stdout  # fmt: skip
        states = dict(line.split() for line in shown.splitlines())
        if len(states) == len(slurm.NODES) and set(states.values()) == {"idle"}:
            return
        for name, daemon in held.all.items():
            if daemon.process is not None and not daemon.alive:
                raise StartFailed(f"{name} ended at start-up.\n{held.log(name)}")
        if time.monotonic() > until:
            raise StartFailed(f"Nodes aren't idle: {states}\n{held.log('slurmctld')}")
        time.sleep(0.05)


def _answer(connection: socket.socket, held: daemons.Daemons) -> None:
    with connection, connection.makefile("rwb") as stream:
        line = stream.readline()
        if not line:
            return
        try:
            answer = {"ok": _do(json.loads(line), held)}
        except (HarnessError, OSError, ValueError, KeyError) as error:
            answer = {"failed": str(error)}
        with contextlib.suppress(BrokenPipeError):
            stream.write(json.dumps(answer).encode() + b"\n")
            stream.flush()


def _do(request: dict[str, Any], held: daemons.Daemons) -> Any:
    action = request["do"]
    if action == "start":
        return held.start(request["name"])
    if action == "stop":
        return held.stop(request["name"], request.get("signal", signal.SIGTERM))
    if action == "status":
        return {name: daemon.alive for name, daemon in held.all.items()}
    if action == "install as-user":
        return as_user.install(held.plan)
    raise CommandFailed(f"No such request: {action!r}")


if __name__ == "__main__":
    sys.exit(main())
