"""Jobs of real Slurm without cgroups, as the sampler tells them apart on the node they share."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from backend.agent.sampler import Job, Sampler
from backend.agent.sampler.processes import STEP_TITLE, Processes
from tests.harness import Cluster
from tests.harness.kinds import submit

SPINS = "python3 -c 'while True: pass'"


@pytest.fixture
def start(cluster: Cluster) -> Iterator[Callable[[str, str], int]]:
    """Submit a job as somebody; it is cancelled in the end."""
    started = list[int]()

    def submitted(user: str, command: str) -> int:
        started.append(submit(cluster, user, "-n1", f"--wrap={command}"))
        return started[-1]

    yield submitted
    cluster.run(["scancel", *(str(job) for job in started)], check=True)


def step_daemons() -> Counter[int]:
    """How many step daemons each job number has on this machine. Another cluster beside ours counts from 1 too."""
    processes = Processes("/")
    titles = (STEP_TITLE.match(processes.title(pid)) for pid in processes.all())
    return Counter(int(titled[1]) for titled in titles if titled)


def until_running(sampler: Sampler, jobs: set[int]) -> None:
    deadline = time.monotonic() + 60
    while not all(
        any(job.job_id == wanted and (job.processes or 0) > 1 for job in sampler.sample().jobs) for wanted in jobs
    ):
        assert time.monotonic() < deadline, "the jobs never ran"
        time.sleep(0.5)


def test_jobs_of_one_node_are_told_apart(start: Callable[[str, str], int]) -> None:
    busy, idle, other = start("ada", SPINS), start("ada", "sleep 300; true"), start("bob", "sleep 300; true")
    # what a third person pretends belongs to none of them
    start("dora", f"SLURM_JOB_ID={idle} {SPINS}")
    sampler = Sampler(gpus=())
    until_running(sampler, {busy, idle, other})
    if max(step_daemons()[job] for job in (busy, idle, other)) > 1:
        pytest.skip("another cluster on this machine has jobs of the same numbers")
    sampler.sample()
    time.sleep(3)
    found: dict[int | None, Job] = {job.job_id: job for job in sampler.sample().jobs}
    assert {found[job].source for job in (busy, idle, other)} == {"processes"}
    assert (found[busy].cpu_cores or 0) > 0.2 and found[busy].cpus is not None
    assert (found[idle].cpu_cores or 0) < 0.05 and (found[other].cpu_cores or 0) < 0.05
    assert (found[busy].memory_resident_bytes or 0) > 1 << 20
