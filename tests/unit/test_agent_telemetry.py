"""The agent in a job sends what its own job does on its node, and nothing about that can harm the job."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from backend.agent.spec import AgentSpec
from backend.agent.telemetry.of_session import BusyMarks, touch
from backend.sessions.job import agent_zipapp
from tests.harness import nvml
from tests.unit.agent_kit import PYTHON, Console, StartedAgent, console, echo_app, spec_for
from tests.unit.push_kit import until

EVERY_S = 0.2
JOB = 2_000_000_000 + os.getpid() % 100_000_000
"""A number no other job of this machine has."""


@pytest.fixture
def door() -> Iterator[Console]:
    with console() as running:
        yield running


def session(folder: Path, door: Console, every_s: float = EVERY_S) -> AgentSpec:
    spec = spec_for(door.url, echo_app(folder), sample_every_s=every_s)
    door.secret = spec.secret
    return spec


def env(**more: str) -> dict[str, str]:
    return {"SLURM_JOB_ID": str(JOB), "SLURMD_NODENAME": "gpu7", "CUDA_VISIBLE_DEVICES": "", **more}


def test_it_sends_its_own_job_and_node_from_its_first_seconds_on(tmp_path: Path, door: Console) -> None:
    with StartedAgent(tmp_path, session(tmp_path, door), **env()):
        until(lambda: len(door.samples.series(JOB, "", "cpu_cores", "gpu7")) > 3)
    assert door.samples.jobs() == {JOB}
    assert door.samples.devices(JOB)["gpu7"] >= {"", "node"}
    assert max(value or 0 for value in door.samples.series(JOB, "", "processes").values()) >= 2


def test_another_job_of_the_same_person_is_not_in_it(tmp_path: Path, door: Console) -> None:
    spinning = [PYTHON, "-c", "while True: pass"]
    other = subprocess.Popen(spinning, env={**os.environ, **env(SLURM_JOB_ID=str(JOB + 1))})
    elsewhere = subprocess.Popen(spinning, env={**os.environ, **env(SLURMD_NODENAME="gpu8")})
    try:
        with StartedAgent(tmp_path, session(tmp_path, door), **env()):
            until(lambda: len(door.samples.series(JOB, "", "cpu_cores")) > 5)
    finally:
        for process in (other, elsewhere):
            process.kill()
            process.wait()
    cores = sorted(value or 0 for value in door.samples.series(JOB, "", "cpu_cores").values())
    assert cores[len(cores) // 2] < 0.4
    assert door.samples.jobs() == {JOB}


def test_what_the_console_missed_comes_when_it_is_back_without_a_gap(tmp_path: Path, door: Console) -> None:
    with StartedAgent(tmp_path, session(tmp_path, door), **env()):
        until(lambda: door.samples.series(JOB, "", "processes"))
        door.samples.answers[:] = [503] * 3
        until(lambda: not door.samples.answers and len(door.samples.series(JOB, "", "processes")) > 10)
    times = list(door.samples.series(JOB, "", "processes"))
    assert max(later - earlier for earlier, later in pairwise(times)) < 10 * EVERY_S


def test_the_jobs_gpus_come_with_what_they_do(tmp_path: Path, door: Console) -> None:
    state = tmp_path / "gpus"
    state.write_text("1 utilisation 70\n2 utilisation 90\n")
    shim = {"LD_LIBRARY_PATH": str(nvml.build(tmp_path)), "NVML_SHIM_GPUS": "4", "NVML_SHIM_STATE": str(state)}
    with StartedAgent(tmp_path, session(tmp_path, door), **env(SLURM_JOB_GPUS="1,3", **shim)):
        until(lambda: 70 in door.samples.series(JOB, "gpu:1", "gpu_utilisation_percent").values())
        state.write_text("1 lost 1\n3 utilisation 40\n")
        until(lambda: 40 in door.samples.series(JOB, "gpu:3", "gpu_utilisation_percent").values())
        lost_s = list(door.samples.series(JOB, "gpu:3", "gpu_power_w"))[-1]
        until(lambda: list(door.samples.series(JOB, "gpu:3", "gpu_power_w"))[-1] > lost_s + EVERY_S)
    assert door.samples.devices(JOB)["gpu7"] == {"", "node", "gpu:1", "gpu:3"}
    assert list(door.samples.series(JOB, "gpu:1", "gpu_power_w"))[-1] <= lost_s


def test_its_end_sends_the_last_seconds(tmp_path: Path, door: Console) -> None:
    with StartedAgent(tmp_path, session(tmp_path, door, every_s=3600), **env()) as agent:
        until(lambda: door.samples.series(JOB, "", "processes"))
        time.sleep(1.5)
        before_s = time.time()
        assert agent.terminate() == 0
    assert list(door.samples.series(JOB, "", "processes"))[-1] > before_s - 1


def test_a_site_that_wants_no_telemetry_gets_none(tmp_path: Path, door: Console) -> None:
    with StartedAgent(tmp_path, session(tmp_path, door, every_s=0), **env()):
        door.wait_for(lambda message: "ready" in message["apps"].values())
    assert door.samples.tries == 0


def test_a_driver_library_that_is_broken_costs_the_gpus_figures_only(tmp_path: Path, door: Console) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("no library")
    with StartedAgent(tmp_path, session(tmp_path, door), **env(LD_LIBRARY_PATH=str(tmp_path))):
        until(lambda: door.samples.series(JOB, "", "cpu_cores"))


def stand_by(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    (folder / "agent.pyz").write_bytes(agent_zipapp())
    command = [PYTHON, "-I", str(folder / "agent.pyz"), "stand-by", *arguments]
    return subprocess.Popen(command, env={**os.environ, **env(SLURMD_NODENAME="gpu8")}, stdout=subprocess.PIPE)


def test_a_further_node_sends_under_its_own_name_and_marks_itself_busy(tmp_path: Path, door: Console) -> None:
    file = tmp_path / "session.json"
    file.write_text(session(tmp_path, door).to_json())
    file.chmod(0o600)
    spinning = subprocess.Popen([PYTHON, "-c", "while True: pass"], env={**os.environ, **env(SLURMD_NODENAME="gpu8")})
    waiting = stand_by(tmp_path, str(file))
    try:
        until(lambda: any((cores or 0) > 0.2 for cores in door.samples.series(JOB, "", "cpu_cores", "gpu8").values()))
        until((tmp_path / "busy-gpu8").exists)
    finally:
        spinning.kill()
        spinning.wait()
        waiting.terminate()
        assert waiting.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_further_node_without_a_session_file_stands_by_all_the_same(tmp_path: Path, number: int) -> None:
    waiting = stand_by(tmp_path, str(tmp_path / "nothing"))
    assert waiting.stdout is not None and b"can't be read" in waiting.stdout.readline()
    waiting.send_signal(number)
    assert waiting.wait(10) == 0


def test_another_nodes_mark_counts_when_it_changes(tmp_path: Path) -> None:
    marks = BusyMarks(tmp_path)
    assert not marks.changed()
    touch(tmp_path / "busy-n2")
    assert marks.changed() and not marks.changed()
    os.utime(tmp_path / "busy-n2", (1, 1))
    assert marks.changed()
    assert not BusyMarks(tmp_path / "missing").changed()


IDLE_S = 3


def idle_session(folder: Path, door: Console) -> AgentSpec:
    """One whose app was last used in 1970."""
    return replace(session(folder, door), idle_timeout_s=IDLE_S)


def test_a_session_that_computes_is_not_idle_until_it_stops(tmp_path: Path, door: Console) -> None:
    spinning = subprocess.Popen([PYTHON, "-c", "while True: pass"], env={**os.environ, **env()})
    try:
        with StartedAgent(tmp_path, idle_session(tmp_path, door), **env()) as agent:
            with pytest.raises(subprocess.TimeoutExpired):
                agent.process.wait(3 * IDLE_S)
            spinning.kill()
            spinning.wait()
            assert agent.process.wait(30) == 0
            assert any("idle" in line for line in agent.lines())
    finally:
        spinning.kill()
        spinning.wait()


def test_a_session_whose_gpu_is_busy_is_not_idle(tmp_path: Path, door: Console) -> None:
    state = tmp_path / "gpus"
    state.write_text("1 utilisation 70\n")
    shim = {"LD_LIBRARY_PATH": str(nvml.build(tmp_path)), "NVML_SHIM_GPUS": "2", "NVML_SHIM_STATE": str(state)}
    with StartedAgent(tmp_path, idle_session(tmp_path, door), **env(SLURM_JOB_GPUS="1", **shim)) as agent:
        with pytest.raises(subprocess.TimeoutExpired):
            agent.process.wait(3 * IDLE_S)
        state.write_text("0 utilisation 70\n1 utilisation 2\n")  # another's GPU keeps nobody's session alive
        assert agent.process.wait(30) == 0


def test_a_session_that_its_person_keeps_does_not_end(tmp_path: Path, door: Console) -> None:
    with StartedAgent(tmp_path, idle_session(tmp_path, door), **env()) as agent:
        door.wait_for(lambda message: "ready" in message["apps"].values())
        door.answer = 200
        with pytest.raises(subprocess.TimeoutExpired):
            agent.process.wait(3 * IDLE_S)
        door.answer = 204
        assert agent.process.wait(30) == 0


def test_no_session_ends_for_being_idle_while_the_console_is_away(tmp_path: Path) -> None:
    with console() as door:
        port = int(door.url.rpartition(":")[2])
        agent = StartedAgent(tmp_path, idle_session(tmp_path, door), **env())
        door.wait_for(lambda message: "ready" in message["apps"].values())
    with agent:
        with pytest.raises(subprocess.TimeoutExpired):
            agent.process.wait(3 * IDLE_S)
        with console(port):
            assert agent.process.wait(40) == 0
            assert any("idle" in line for line in agent.lines())
