"""Jobs on this machine: real child processes of a real supervisor process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from backend.cluster import JOBS, SchedulerAway, SchedulerError
from backend.cluster.local import (
    LocalScheduler,
    SupervisorRunning,
    ask_supervisor,
    run_supervisor,
    socket_path,
)
from backend.cluster.local.runner import below, start_ticks
from backend.cluster.local.supervisor import peer_uid
from config import Settings, load_settings

START = """
import os
from backend.cluster.local import run_supervisor
from config import load_settings
run_supervisor(load_settings(None, os.environ))
"""


class Local:
    """A supervisor of its own, in its own data folder."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = {**os.environ, "CARME_DATA": str(folder / "data"), **environment}
        self.settings: Settings = load_settings(None, self.environment)
        self.scheduler = LocalScheduler(self.settings)
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", START], env=self.environment)
        self.until(lambda: socket_path(self.settings).exists() and self.answers())

    def answers(self) -> bool:
        try:
            self.ask(action="list")
        except SchedulerAway:
            return False
        return True

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(20)

    def ask(self, **request: Any) -> dict[str, Any]:
        return ask_supervisor(socket_path(self.settings), request)

    def submit(self, script: str, name: str = "carme-1", **options: Any) -> int:
        answer = self.ask(
            **{
                "action": "submit",
                "name": name,
                "argv": ["/bin/sh", "-c", script],
                "cwd": str(self.folder),
                "env": {"PATH": "/usr/bin:/bin"},
                "output": str(self.folder / f"{name}.log"),
                "cpus": 1,
                "memory_mb": 500,
                **options,
            }
        )
        return int(answer["job_id"])

    def job(self, job_id: int) -> dict[str, Any]:
        rows = self.scheduler.read_waiting([job_id]).table.to_pylist()
        assert len(rows) == 1
        return rows[0]

    def until(self, holds: Callable[[], Any], timeout_s: float = 15.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = holds()
            if found:
                return found
            time.sleep(0.03)
        raise AssertionError("it never came")

    def until_state(self, job_id: int, state: str, timeout_s: float = 15.0) -> dict[str, Any]:
        self.until(lambda: self.job(job_id)["state"] == state, timeout_s)
        return self.job(job_id)

    def log(self, name: str = "carme-1") -> str:
        path = self.folder / f"{name}.log"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    running = Local(tmp_path, CARME_LOCAL__MAX_TIME_S="3600")
    yield running
    if running.process is not None and running.process.poll() is None:
        running.kill(signal.SIGTERM)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """One supervisor for the tests that leave no job behind."""
    running = Local(tmp_path_factory.mktemp("shared"), CARME_LOCAL__MAX_TIME_S="3600")
    yield running
    running.kill(signal.SIGTERM)


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Local]:
    """One CPU for all jobs."""
    running = Local(tmp_path, CARME_LOCAL__CPUS="1")
    yield running
    if running.process is not None and running.process.poll() is None:
        running.kill(signal.SIGTERM)


def alive(marker: str) -> list[int]:
    """Processes whose command line holds the marker."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        if (
            marker in " ".join(process.info["cmdline"] or [])
            and process.info["status"] != psutil.STATUS_ZOMBIE
        ):
            found.append(process.info["pid"])
    return found


def test_a_job_runs_and_its_end_is_known(local: Local) -> None:
    job = local.submit("echo hello; exit 3")
    row = local.until_state(job, "FAILED")
    assert (row["exit_code"], row["reason"], row["account"], row["uid"]) == (
        "3:0",
        "NonZeroExitCode",
        "local",
        os.getuid(),
    )
    assert local.log() == "hello\n"
    ended = local.scheduler.read_ended([job]).table.to_pylist()[0]
    assert (ended["state"], ended["exit_code"]) == ("FAILED", "3:0")
    assert ended["end_s"] >= ended["start_s"] > 0


def test_a_job_knows_what_it_was_given(local: Local) -> None:
    job = local.submit("env; taskset -p $$ || true; ulimit -c")
    local.until_state(job, "COMPLETED")
    lines = local.log().splitlines()
    assert f"CARME_JOB_ID={job}" in lines
    assert f"SLURM_JOB_ID={job}" in lines
    assert "CUDA_VISIBLE_DEVICES=" in lines
    assert "SLURM_CPUS_ON_NODE=1" in lines
    assert lines[-1] == "0"
    assert not any(line.startswith(("CARME_DATA", "HOME=")) for line in lines)


def test_a_job_has_only_its_cpus(local: Local) -> None:
    job = local.submit("exec sleep 30")
    local.until_state(job, "RUNNING")
    (pid,) = local.until(
        lambda: [p.pid for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "30"]]
    )
    assert len(os.sched_getaffinity(pid)) == 1
    local.ask(action="cancel", job_id=job)


def test_the_same_name_is_the_same_job(local: Local) -> None:
    first = local.submit("echo once >> count; sleep 0.2", name="carme-x")
    assert local.submit("echo once >> count", name="carme-x") == first
    local.until_state(first, "COMPLETED")
    assert local.submit("echo once >> count", name="carme-x") == first
    assert (local.folder / "count").read_text() == "once\n"


def test_nothing_is_submitted_after_its_time(shared: Local) -> None:
    with pytest.raises(SchedulerError, match="had passed"):
        shared.submit("true", not_after_s=time.time() - 1)
    assert shared.scheduler.read_jobs().table.num_rows == 0


def test_cancel_ends_all_processes_also_those_that_hid(local: Local) -> None:
    job = local.submit("(setsid sleep 4711 &) ; (trap '' TERM; sleep 4712; sleep 4712) & sleep 4713")
    local.until(lambda: len(alive("sleep 471")) >= 3)
    local.ask(action="cancel", name="carme-1")
    row = local.until_state(job, "CANCELLED", timeout_s=20)
    assert row["reason"] == ""
    assert alive("sleep 471") == []


def test_what_a_job_leaves_behind_ends_with_it(local: Local) -> None:
    job = local.submit("(setsid sleep 4714 &) ; exit 0")
    local.until_state(job, "COMPLETED")
    assert alive("sleep 4714") == []


def test_a_job_ends_at_its_time_limit(local: Local) -> None:
    job = local.submit("sleep 4715", time_s=1)
    row = local.until_state(job, "TIMEOUT")
    assert row["reason"] == "TimeLimit"
    assert alive("sleep 4715") == []


def test_a_job_that_takes_more_memory_than_it_asked_for_is_ended(local: Local) -> None:
    script = f"{sys.executable} -c 'x = bytearray(300 << 20); import time; time.sleep(60)'"
    job = local.submit(script, memory_mb=100)
    row = local.until_state(job, "OUT_OF_MEMORY")
    assert row["reason"] == "OutOfMemory"
    ended = local.scheduler.read_ended([job]).table.to_pylist()[0]
    assert ended["memory_peak_mb"] > 100


def test_jobs_queue_first_come_first_served(narrow: Local) -> None:
    first = narrow.submit("sleep 30", name="carme-1", time_s=600)
    second = narrow.submit("true", name="carme-2")
    third = narrow.submit("true", name="carme-3")
    narrow.until_state(first, "RUNNING")
    waits = narrow.job(second)
    assert (waits["state"], waits["reason"], waits["start_expected"]) == ("PENDING", "Resources", True)
    assert abs(waits["start_s"] - (narrow.job(first)["start_s"] + 600)) <= 1
    assert narrow.job(third)["reason"] == "Priority"
    assert narrow.ask(action="estimate", cpus=1)["start_s"] > waits["start_s"]
    narrow.ask(action="cancel", job_id=first)
    narrow.until_state(third, "COMPLETED")
    assert narrow.job(second)["state"] == "COMPLETED"


def test_a_held_job_waits_until_it_is_released(local: Local) -> None:
    blocker = local.submit("sleep 30", name="carme-b", cpus=len(os.sched_getaffinity(0)))
    job = local.submit("true", name="carme-h")
    local.ask(action="hold", job_id=job)
    local.ask(action="cancel", job_id=blocker)
    local.until_state(blocker, "CANCELLED")
    time.sleep(0.6)
    row = local.job(job)
    assert (row["state"], row["reason"], row["priority"]) == ("PENDING", "JobHeldUser", 0)
    local.ask(action="release", job_id=job)
    local.until_state(job, "COMPLETED")


def test_a_time_limit_can_be_changed(local: Local) -> None:
    job = local.submit("sleep 30", time_s=100)
    local.until_state(job, "RUNNING")
    local.ask(action="update", job_id=job, time_s=200)
    assert local.job(job)["time_limit_s"] == 200
    with pytest.raises(SchedulerError, match="60 to 3600"):
        local.ask(action="update", job_id=job, time_s=4000)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cpus": 10_000}, "CPUs are asked for"),
        ({"memory_mb": 10**9}, "MB of memory are asked for"),
        ({"gpus": 99, "gpu_type": "a100"}, "a100 GPUs are asked for"),
        ({"nodes": 2}, "one node here"),
        ({"time_s": 99_999}, "longest time limit"),
        ({"partition": "gpu"}, "one partition here"),
        ({"cpus": "2; id"}, "whole number"),
        ({"cpus": -1}, "whole number"),
        ({"argv": "rm -rf /"}, "argv"),
        ({"argv": ["a\0b"]}, "argv"),
        ({"env": {"A": 1}}, "env"),
        ({"cwd": ""}, "cwd"),
    ],
)
def test_what_can_not_be_is_refused_in_words(shared: Local, options: dict[str, Any], words: str) -> None:
    with pytest.raises(SchedulerError, match=words):
        shared.submit("true", **options)


def test_a_killed_supervisor_finds_its_jobs_again(local: Local) -> None:
    runs = local.submit("sleep 1.5; echo done; exit 7", name="carme-r")
    blocker = local.submit("sleep 60", name="carme-b", cpus=max(1, len(os.sched_getaffinity(0)) - 1))
    waits = local.submit("true", name="carme-w", cpus=len(os.sched_getaffinity(0)))
    local.until_state(runs, "RUNNING")
    local.until(lambda: alive("sleep 1.5"))
    local.kill()
    with pytest.raises(SchedulerAway):
        local.ask(action="list")
    local.start()
    assert local.job(waits)["state"] == "PENDING"
    assert local.submit("true", name="carme-r") == runs
    row = local.until_state(runs, "FAILED")
    assert row["exit_code"] == "7:0"
    assert local.log("carme-r") == "done\n"
    local.ask(action="cancel", job_id=blocker)
    local.until_state(waits, "COMPLETED")


def test_a_job_that_ended_while_nobody_watched_is_known_to_have(local: Local) -> None:
    job = local.submit("sleep 0.5; exit 4")
    local.until(lambda: alive("sleep 0.5"))
    local.kill()
    time.sleep(1.2)
    local.start()
    assert local.until_state(job, "FAILED")["exit_code"] == "4:0"


def test_a_job_whose_runner_is_killed_is_no_ghost(local: Local) -> None:
    job = local.submit("sleep 4716")
    local.until(lambda: alive("sleep 4716"))
    runner = local.until(lambda: local.ask(action="list")["jobs"][0]["runner"])
    os.kill(runner[0], signal.SIGKILL)
    row = local.until_state(job, "NODE_FAIL")
    assert row["reason"] == "NodeDown"
    local.until(lambda: not alive("sleep 4716"))


def test_stopping_properly_ends_all_jobs(local: Local) -> None:
    local.submit("sleep 4717", name="carme-1")
    local.submit("sleep 4718", name="carme-2", cpus=len(os.sched_getaffinity(0)))
    local.until(lambda: alive("sleep 4717"))
    local.kill(signal.SIGTERM)
    assert alive("sleep 471") == []
    assert not socket_path(local.settings).exists()
    local.start()
    states = {row["name"]: row["state"] for row in local.scheduler.read_jobs().table.to_pylist()}
    assert states == {"carme-1": "CANCELLED", "carme-2": "CANCELLED"}


def test_killing_whoever_submitted_touches_no_job(local: Local) -> None:
    code = (
        "import json, socket, sys, time\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(sys.argv[2].encode() + b'\\n'); print(s.recv(1000).decode(), flush=True); time.sleep(60)\n"
    )
    request = {
        "action": "submit", "name": "carme-k", "argv": ["/bin/sh", "-c", "sleep 1; exit 0"], "cwd": "/",
        "env": {}, "output": str(local.folder / "k.log"), "cpus": 1, "memory_mb": 100,
    }  # fmt: skip
    client = subprocess.Popen(
        [sys.executable, "-c", code, str(socket_path(local.settings)), json.dumps(request)],
        stdout=subprocess.PIPE,
    )
    assert client.stdout is not None
    job = json.loads(client.stdout.readline())["job_id"]
    client.kill()
    client.wait()
    client.stdout.close()
    local.until_state(job, "COMPLETED")


def test_the_log_is_not_written_through_a_link(local: Local) -> None:
    secret = local.folder / "secret"
    secret.write_text("mine")
    (local.folder / "carme-1.log").symlink_to(secret)
    job = local.submit("echo overwritten")
    local.until_state(job, "FAILED")
    assert secret.read_text() == "mine"


def test_only_its_own_user_may_ask(shared: Local) -> None:
    assert socket_path(shared.settings).stat().st_mode & 0o777 == 0o600
    here, there = socket.socketpair()
    with here, there:
        assert peer_uid(here) == os.getuid()


@pytest.mark.parametrize(
    "line", [b"\n", b"{}\n", b"[]\n", b"nonsense\n", b'{"action": "no"}\n', b'{"action": ["x"]}\n']
)
def test_nonsense_is_answered_and_hurts_nobody(shared: Local, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(socket_path(shared.settings)))
        connection.sendall(line)
        answer = json.loads(connection.makefile("rb").readline())
    assert answer["ok"] is False
    assert answer["error"]["kind"] == "bad_request"
    assert shared.answers()


def test_two_supervisors_never_own_one_folder(shared: Local) -> None:
    with pytest.raises(SupervisorRunning):
        run_supervisor(shared.settings)


def test_this_machine_is_a_cluster_of_one_node(local: Local) -> None:
    job = local.submit("sleep 20", memory_mb=321)
    local.until_state(job, "RUNNING")
    (node,) = local.scheduler.read_nodes().table.to_pylist()
    (partition,) = local.scheduler.read_partitions().table.to_pylist()
    assert node["cpus_allocated"] == 1 and node["memory_allocated_mb"] == 321
    assert partition["node_names"] == [node["name"]] and partition["default"]
    limits = local.scheduler.read_limits()
    assert limits.associations.table["user"][0].as_py() == ""
    assert limits.accounts.table["name"].to_pylist() == ["local"]
    assert local.scheduler.read_jobs().table.schema == JOBS


def test_without_a_supervisor_the_error_has_words(tmp_path: Path) -> None:
    scheduler = LocalScheduler(load_settings(None, {"CARME_DATA": str(tmp_path)}))
    with pytest.raises(SchedulerAway, match="supervisor of local jobs"):
        scheduler.read_jobs()


def test_processes_are_found_however_deep() -> None:
    child = subprocess.Popen(["/bin/sh", "-c", "sh -c 'sleep 4719; true'; true"])
    try:
        deadline = time.monotonic() + 5
        while len(below(os.getpid())) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert child.pid in below(os.getpid())
        assert start_ticks(child.pid) is not None
    finally:
        for pid in [*below(child.pid), child.pid]:
            os.kill(pid, signal.SIGKILL)
        child.wait()
    assert start_ticks(child.pid) is None
