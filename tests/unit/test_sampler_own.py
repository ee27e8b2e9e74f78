"""A job seen from within it, and the jobs of one of several nodes that are pretended on a machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backend.agent.sampler import Sample, Sampler
from tests.unit.sampler_kit import V2, Machine, only

ME = os.geteuid()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def own(machine: Machine, job: int = 12, node: str = "n1") -> Sample:
    return Sampler(own=(job, node), gpus=(), root=str(machine.root)).sample()


def test_a_job_knows_its_own_folder_whatever_else_has_its_number(machine: Machine) -> None:
    machine.unified()
    machine.process(70, 1, uid=ME)
    machine.v2_job("job_12", 70, cpu_s=3.0)
    machine.put("proc/self/cgroup", "0::/system.slice/slurmstepd.scope/job_12/step_batch/user/task_0\n")
    found = only(own(machine))
    assert (found.source, found.cpu_s, found.processes) == ("cgroup v2", 3.0, 1)


def test_a_job_knows_its_own_folder_named_by_sluid(machine: Machine) -> None:
    machine.unified()
    machine.process(70, 1, uid=ME)
    machine.v2_job("s5K1KKYAYG5D00", 70, cpu_s=3.0)
    machine.put("proc/self/cgroup", "0::/system.slice/slurmstepd.scope/s5K1KKYAYG5D00/step_0/user\n")
    found = only(own(machine))
    assert (found.job_id, found.sluid, found.cpu_s) == (12, "s5K1KKYAYG5D00", 3.0)


def test_a_job_knows_its_own_controllers(machine: Machine) -> None:
    machine.controllers("memory", "cpuacct")
    machine.put("proc/self/cgroup", "9:cpuacct:/slurm/uid_7/job_12/step_0\n4:memory:/slurm/uid_7/job_12/step_0\n0::/\n")
    for name in ("memory", "cpuacct"):
        machine.put(f"sys/fs/cgroup/{name}/slurm/uid_7/job_12/cgroup.procs", "70\n")
    machine.put("sys/fs/cgroup/cpuacct/slurm/uid_7/job_12/cpuacct.usage", f"{2 * 10**9}\n")
    machine.process(70, 1, uid=ME)
    found = only(own(machine))
    assert (found.source, found.cpu_s, found.processes) == ("cgroup v1", 2.0, 1)


def test_beside_another_clusters_cgroups_a_job_without_one_is_its_own_processes(machine: Machine) -> None:
    """The embedded default on a machine that also runs Slurm, where the same number is somebody else's job."""
    machine.unified()
    machine.v2_job("job_12", 60, cpu_s=99.0)
    machine.put("proc/self/cgroup", "0::/user.slice/user-1000.slice\n")
    marked = {"SLURM_JOB_ID": "12", "SLURMD_NODENAME": "n1"}
    machine.process(70, 1, uid=ME, cpu_s=1.0, **marked)
    machine.process(71, 70, uid=ME, cpu_s=2.0)  # its environment was cleaned: known by its parent
    machine.process(72, 70, uid=ME, cpu_s=4.0, SLURM_JOB_ID="12", SLURMD_NODENAME="n2")
    machine.process(73, 70, uid=ME, cpu_s=8.0, SLURM_JOB_ID="13", SLURMD_NODENAME="n1")
    machine.process(74, 1, uid=ME + 1, cpu_s=16.0, **marked)
    found = only(own(machine))
    assert (found.source, found.cpu_s, found.processes) == ("processes", 3.0, 2)


def test_what_was_asked_for_is_the_limit_where_no_cgroup_has_one(machine: Machine) -> None:
    machine.process(70, 1, uid=ME, SLURM_JOB_ID="12", SLURMD_NODENAME="n1", SLURM_MEM_PER_NODE="4096")
    machine.process(80, 1, uid=ME, SLURM_JOB_ID="13", SLURM_MEM_PER_CPU="100", SLURM_CPUS_ON_NODE="3")
    assert only(own(machine)).memory_limit_bytes == 4096 << 20
    found = Sampler(jobs=[13], gpus=(), root=str(machine.root)).sample()
    assert only(found).memory_limit_bytes == 300 << 20


def test_a_job_that_is_not_here_is_said(machine: Machine) -> None:
    sample = own(machine)
    assert not sample.jobs and "job.12" in sample.missing


def test_of_several_pretended_nodes_only_the_ones_jobs_are_told(machine: Machine) -> None:
    machine.put(
        "proc/net/unix",
        "Num RefCount Protocol Flags Type St Inode Path\n"
        "0: 00000002 00000000 00010000 0001 01 501 /spool/n1/n1_12.4294967291\n"
        "0: 00000002 00000000 00010000 0001 01 502 /spool/n2/n2_12.0\n",
    )
    for pid, inode in ((90, 501), (91, 502)):
        machine.process(pid, 1, uid=0, title="slurmstepd: [12.batch]")
        (machine.root / f"proc/{pid}/fd").mkdir()
        (machine.root / f"proc/{pid}/fd/6").symlink_to(f"socket:[{inode}]")
        machine.process(pid + 10, pid, uid=1000, cpu_s=float(pid))
    for node, seconds in (("n1", 90.0), ("n2", 91.0)):
        found = only(Sampler(node=node, gpus=(), root=str(machine.root)).sample())
        assert (found.job_id, found.cpu_s) == (12, seconds)
    everywhere = only(Sampler(gpus=(), root=str(machine.root)).sample())
    assert everywhere.cpu_s == 181.0


def test_of_several_slurmds_only_the_ones_scope_is_read(machine: Machine) -> None:
    machine.unified()
    for node, job in (("n1", 12), ("n2", 13)):
        folder = V2.replace("slurmstepd.scope", f"{node}_slurmstepd.scope")
        machine.put(f"{folder}/job_{job}/cgroup.procs", "")
    assert only(Sampler(node="n2", gpus=(), root=str(machine.root)).sample()).job_id == 13
