"""`carme serve` as a whole: what it does with processes that can't start or die, and what it leaves behind."""

from __future__ import annotations

import contextlib
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

from backend.cluster import SchedulerAway
from backend.cluster.local import ask_supervisor, socket_path
from config import load_settings
from tests.harness.ports import free_port

ROOT = Path(__file__).parents[2]


def hear_all_signals() -> None:
    """As started from a terminal, also where the tests run in the background or under nohup."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Serve:
    """`carme serve` with a data folder of its own; what it says goes to a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CARME_")},
            "CARME_DATA": str(folder / "data"),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "serve", *arguments],
                cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=hear_all_signals,  # noqa: PLW1509 - no lock is held there
            )  # fmt: skip
        return self.process

    @property
    def said(self) -> str:
        return (self.folder / "log").read_text()

    def mine(self) -> list[psutil.Process]:
        """Everything alive that was started for this data folder, jobs included."""
        found = []
        for each in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if (
                    each.environ().get("CARME_DATA") == self.environment["CARME_DATA"]
                    and each.status() != psutil.STATUS_ZOMBIE
                ):
                    found.append(each)
        return found

    def role(self, name: str) -> psutil.Process | None:
        for each in self.mine():
            with contextlib.suppress(psutil.NoSuchProcess):  # it may end between two looks
                if {name, "--as-process"} <= set(each.cmdline()):
                    return each
        return None

    def ask(self, **request: Any) -> dict[str, Any] | None:
        try:
            return ask_supervisor(socket_path(load_settings(None, self.environment)), request)
        except SchedulerAway:
            return None


def until(holds: Callable[[], Any], timeout_s: float = 90.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.05)
    raise AssertionError("it never came")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    started = Serve(tmp_path)
    try:
        yield started
    finally:
        if started.process is not None and started.process.poll() is None:
            started.process.terminate()
            started.process.wait(60)
        for left in started.mine():
            left.kill()


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def port_of(listener: socket.socket) -> str:
    return str(listener.getsockname()[1])


@pytest.mark.parametrize(("role", "flag"), [("web", "--port"), ("proxy", "--apps-port")])
def test_a_taken_port_ends_the_start_with_words(serve: Serve, taken: socket.socket, role: str, flag: str) -> None:
    process = serve.start("--only", role, "--address", "127.0.0.1", flag, port_of(taken))
    assert process.wait(120) == 1
    assert f"127.0.0.1 port {port_of(taken)}: another program has this port" in serve.said
    assert flag in serve.said
    assert f"{role} can't start" in serve.said
    assert "Traceback" not in serve.said
    assert serve.mine() == []


def test_a_process_that_was_up_is_started_again_until_its_port_is_free(serve: Serve) -> None:
    port = str(free_port())
    serve.start("--only", "proxy", "--address", "127.0.0.1", "--apps-port", port)
    until(lambda: "apps at" in serve.said)
    proxy = serve.role("proxy")
    assert proxy is not None
    proxy.kill()
    until(lambda: "starting it again" in serve.said)
    with socket.create_server(("127.0.0.1", int(port))):
        until(lambda: serve.said.count("proxy can't start; trying again") >= 2)
    until(lambda: serve.said.count("apps at") == 2)


def test_a_second_console_on_the_same_data_folder_ends_and_leaves_the_first_alone(serve: Serve, tmp_path: Path) -> None:
    first = serve.start("--only", "supervisor")
    until(lambda: serve.ask(action="list"))
    second = subprocess.run(
        [sys.executable, "-m", "app.cli", "serve", "--only", "supervisor"],
        cwd=ROOT, env=serve.environment, capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert "Another console runs on this data folder" in second.stderr
    assert first.poll() is None
    assert serve.ask(action="list")


def sleeping_job(serve: Serve) -> psutil.Process:
    marker = serve.folder / "job-pid"
    script = f"echo $$ > {marker}.new; mv {marker}.new {marker}; exec sleep 600"
    answer = serve.ask(
        action="submit",
        name="job",
        argv=["/bin/sh", "-c", script],
        cwd=str(serve.folder),
        env={"PATH": "/usr/bin:/bin"},
        output=str(serve.folder / "job.log"),
        cpus=1,
        memory_mb=100,
    )
    assert answer is not None
    until(marker.exists)
    return psutil.Process(int(marker.read_text()))


def states(serve: Serve) -> list[str]:
    answer = serve.ask(action="list")
    return [job["state"] for job in answer["jobs"]] if answer else []


def test_killing_serve_leaves_only_running_jobs_which_the_next_start_finds(serve: Serve, taken: socket.socket) -> None:
    roles = ("--only", "supervisor,launcher,proxy", "--address", "127.0.0.1", "--apps-port")
    process = serve.start(*roles, str(free_port()))
    until(lambda: serve.ask(action="list"))
    job = sleeping_job(serve)
    process.kill()
    process.wait()
    until(lambda: not any(serve.role(name) for name in ("supervisor", "launcher", "proxy")))
    assert job.is_running()

    # A start that fails is no proper end: the job goes on.
    assert serve.start(*roles, port_of(taken)).wait(120) == 1
    assert job.is_running()

    process = serve.start(*roles, str(free_port()))
    assert until(lambda: states(serve)) == ["RUNNING"]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert not job.is_running()
    assert serve.mine() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("after_s", [0.5, 1.2, 2.0])
def test_an_end_while_it_starts_leaves_nothing(serve: Serve, number: signal.Signals, after_s: float) -> None:
    process = serve.start("--port", str(free_port()), "--apps-port", str(free_port()))
    time.sleep(after_s)
    process.send_signal(number)
    process.wait(60)
    assert serve.mine() == []
    assert "ended with status" not in serve.said
