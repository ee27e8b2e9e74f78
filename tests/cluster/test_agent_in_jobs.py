"""The agent in real batch jobs: JupyterLab from the image on one node and on two, and what is left of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.agent.spec import AgentSpec, RuntimeSpec
from backend.sessions.apps import app_spec, base_path
from backend.sessions.job import agent_zipapp, batch_script
from tests.harness import Cluster
from tests.harness.images import Provided
from tests.unit.agent_kit import SESSION, Console, ask, console, spec_for

LAB = base_path(SESSION, "jupyterlab")


@pytest.fixture
def door() -> Iterator[Console]:
    with console() as running:
        yield running


def until(claim: Callable[[], Any], within_s: float = 40) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)


def submit(cluster: Cluster, spec: AgentSpec, *options: str, user: str = "ada") -> tuple[str, Path]:
    """Submit a session as its person does, with the files the as-user program would write."""
    folder = cluster.make_folder(f"session-{time.monotonic_ns()}", user)
    account = cluster.account(user)
    for name, content in (
        ("agent.pyz", agent_zipapp()),
        ("session.json", spec.to_json().encode()),
        ("job.sh", batch_script().encode()),
    ):
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
        os.chown(folder / name, account.uid, account.gid)
    done = cluster.run(
        ["sbatch", "--parsable", f"--output={folder}/output", *options, str(folder / "job.sh"), str(folder)],
        user,
        check=True,
    )
    return done.stdout.strip(), folder / "output"


def lab_session(door: Console, images: Provided, **changes: Any) -> AgentSpec:
    runtime = RuntimeSpec("apptainer", images.apptainer, images.image)
    spec = spec_for(door.url, app_spec(SESSION, "jupyterlab"), runtime=runtime, **changes)
    door.secret = spec.secret
    return spec


def agents(cluster: Cluster) -> list[str]:
    return cluster.run(["pgrep", "-f", "agent.pyz|jupyter-lab|squashfuse"]).stdout.split()


def scratch_folders(cluster: Cluster) -> set[Path]:
    return set(cluster.outside("/tmp").glob("carme-*/sockets"))


def ended(cluster: Cluster, job: str) -> str:
    """The job's final state."""
    until(lambda: not cluster.run(["squeue", "-h", "-j", job, "-o", "%T"]).stdout.strip())
    shown = cluster.run(["scontrol", "show", "job", job]).stdout
    return shown.partition("JobState=")[2].split()[0]


def test_jupyterlab_from_the_image_on_a_gpu_and_nothing_is_left_after_scancel(
    quiet_cluster: Cluster, images: Provided, door: Console
) -> None:
    cluster, spec = quiet_cluster, lab_session(door, images)
    before = scratch_folders(cluster)  # of agents that other tests had killed with their cluster's memory
    job, output = submit(cluster, spec, "--partition=gpu", "--gres=gpu:a100:1")
    message = door.wait_for(lambda m: m["apps"]["jupyterlab"] != "starting", 60)
    assert message["apps"]["jupyterlab"] == "ready", output.read_text()
    assert message["node"].startswith("a100-")
    status = ask(message["port"], spec, f"{LAB}api/status")
    assert json.loads(status.partition(b"\r\n\r\n")[2])["kernels"] == 0
    lab = cluster.run(["pgrep", "-f", "-u", "ada", "bin/jupyter-lab"]).stdout.split()[0]
    environment = cluster.run(["cat", f"/proc/{lab}/environ"]).stdout.split("\0")
    assert any(line.startswith("CUDA_VISIBLE_DEVICES=") for line in environment)
    assert f"SLURM_JOB_ID={job}" in environment
    assert spec.secret not in "".join(environment)
    cluster.run(["scancel", job], "ada", check=True)
    assert ended(cluster, job) == "CANCELLED"
    until(lambda: not agents(cluster), 15)
    assert scratch_folders(cluster) == before


def test_on_two_nodes_one_agent_serves_and_the_end_of_it_ends_the_job(
    quiet_cluster: Cluster, images: Provided, door: Console
) -> None:
    cluster, spec = quiet_cluster, lab_session(door, images)
    job, output = submit(cluster, spec, "--partition=gpu", "--nodes=2", "--gres=gpu:a100:1")
    message = door.wait_for(lambda m: m["apps"]["jupyterlab"] == "ready", 60)
    assert {m["node"] for m in door.messages} == {message["node"]}
    batch_host = cluster.run(["squeue", "-h", "-j", job, "-o", "%B"]).stdout.strip()
    assert message["node"] == batch_host, output.read_text()
    command = "python3 -I .*agent.pyz stand-by .*session.json$"
    stand_bys = cluster.run(["pgrep", "-f", "-u", "ada", command]).stdout.split()
    names = {cluster.run(["ps", "-o", "comm=", "-p", pid]).stdout.strip() for pid in stand_bys}
    assert names == {"srun", "python3"}
    nested = cluster.run(
        ["srun", f"--jobid={job}", "--overlap", "--nodes=2", "--ntasks=2", "hostname"], "ada", timeout=30
    )
    assert nested.returncode == 0, nested.stderr  # the agents' step is in nobody's way
    door.answer = 410
    deadline_s = 75  # at its next registration
    until(lambda: not cluster.run(["squeue", "-h", "-j", job, "-o", "%T"]).stdout.strip(), deadline_s)
    assert ended(cluster, job) == "COMPLETED", output.read_text()
    until(lambda: not agents(cluster), 15)
