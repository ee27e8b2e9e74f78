"""Jobs as the sampler finds and reads them: both layouts of cgroup v2, v1, and the process tree."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.agent.sampler.processes import Process, Tally
from backend.agent.sampler.reading import listed
from tests.unit.sampler_kit import MB, PAGE_BYTES, V2, Machine, net, only

SLUID = "s5K1KKYAYG5D00"
ADA, EVE = 20_001, 20_002


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# cgroup v2


def test_a_job_is_read_from_its_unified_folder(machine: Machine) -> None:
    machine.unified()
    machine.v2_job("job_12", 100, 101, cpu_s=7.5)
    job = only(machine.look())
    assert (job.job_id, job.source, job.cpus, job.cpu_s) == (12, "cgroup v2", 5, 7.5)
    assert (job.memory_resident_bytes, job.memory_cache_bytes) == (15 * MB, 25 * MB)
    assert (job.memory_peak_bytes, job.memory_limit_bytes, job.oom_kills) == (50 * MB, 64 * MB, 1)
    assert (job.block_read_bytes, job.block_write_bytes) == (101, 202)
    assert (job.processes, job.threads) == (2, 17)


def test_cpu_per_core_is_seconds_used_for_each_second_and_core(machine: Machine) -> None:
    machine.unified()
    machine.v2_job("job_12", cpu_s=10)
    assert only(machine.look()).cpu_per_core is None
    time.sleep(0.05)
    machine.v2_job("job_12", cpu_s=11)
    sample = machine.look()
    job = only(sample)
    assert sample.interval_s is not None and job.cpu_cores is not None
    assert job.cpu_cores == pytest.approx(1 / sample.interval_s, rel=0.2)
    assert job.cpu_per_core == pytest.approx(job.cpu_cores / 5)


def test_a_folder_named_by_sluid_gets_its_number_from_roots_step_daemon(machine: Machine) -> None:
    machine.unified()
    machine.v2_job(SLUID, 100, daemon=90)
    machine.process(90, 1, uid=0, title="slurmstepd: [77.batch]")
    machine.process(100, 90, uid=ADA, SLURM_JOB_ID="13")
    job = only(machine.look(77))
    assert (job.job_id, job.sluid, job.processes) == (77, SLUID, 1)


def test_nobody_elses_process_can_name_a_job(machine: Machine) -> None:
    machine.unified()
    machine.v2_job(SLUID, 100, daemon=90)
    machine.process(90, 1, uid=EVE, title="slurmstepd: [12.batch]")
    machine.process(100, 90, uid=EVE, SLURM_JOB_ID="12")
    sample = machine.look()
    assert (only(sample).job_id, only(sample).sluid) == (None, SLUID)


def test_an_own_process_names_the_job_where_no_daemon_is_seen(machine: Machine) -> None:
    machine.unified()
    machine.v2_job(SLUID, 100)
    machine.process(100, 1, uid=os.geteuid(), SLURM_JOB_ID="77")
    assert only(machine.look()).job_id == 77


def test_several_slurmds_on_a_node_have_scopes_of_their_own(machine: Machine) -> None:
    machine.unified()
    machine.v2_job("job_12", 100)
    (machine.root / V2).rename(machine.root / "sys/fs/cgroup/system.slice/node3_slurmstepd.scope")
    assert only(machine.look()).job_id == 12


def test_folders_that_are_no_jobs_are_passed_over(machine: Machine) -> None:
    machine.unified()
    for name in ("system", "job_x", "s5K1KKYAYG5DIL", "job_12/step_0"):
        machine.put(f"{V2}/{name}/cgroup.procs", "")
    assert [job.job_id for job in machine.look().jobs] == [12]


def test_without_a_controller_the_processes_tell_and_the_rest_says_why(machine: Machine) -> None:
    machine.unified()
    base = machine.v2_job("job_12", 100)
    for name in ("memory.stat", "memory.peak", "memory.max", "memory.events", "io.stat"):
        (machine.root / base / name).unlink()
    machine.process(100, 1, uid=ADA, anonymous_pages=25)
    sample = machine.look()
    job = only(sample)
    assert job.memory_resident_bytes == job.memory_peak_bytes == 25 * PAGE_BYTES
    assert (job.block_read_bytes, job.block_write_bytes) == (4096, 8192)
    assert job.memory_cache_bytes is None and "memory.stat" in sample.missing["job.12.memory_cache_bytes"]


def test_a_job_without_memory_limit_says_so(machine: Machine) -> None:
    machine.unified()
    machine.put(f"{machine.v2_job('job_12')}/memory.max", "max\n")
    sample = machine.look()
    assert only(sample).memory_limit_bytes is None
    assert sample.missing["job.12.memory_limit_bytes"] == "the job's cgroup has no memory limit"


# cgroup v1


def v1_job(machine: Machine, number: int, *pids: int) -> None:
    machine.controllers("cpuacct", "memory", "blkio", "cpuset")
    files = {
        "cpuacct/cpuacct.usage": "7500000000\n",
        "cpuset/cpuset.cpus": "4-7\n",
        "memory/memory.stat": f"cache 1\nrss 1\ntotal_cache {30 * MB}\ntotal_rss {10 * MB}\ntotal_shmem {5 * MB}\n",
        "memory/memory.max_usage_in_bytes": f"{50 * MB}\n",
        "memory/memory.limit_in_bytes": f"{64 * MB}\n",
        "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        "blkio/blkio.throttle.io_service_bytes_recursive": "8:0 Read 100\n8:0 Write 200\n8:0 Total 300\nTotal 300\n",
    }
    for path, content in files.items():
        controller, name = path.split("/")
        base = f"sys/fs/cgroup/{controller}/slurm/uid_{ADA}/job_{number}"
        machine.put(f"{base}/{name}", content)
        machine.put(f"{base}/step_0/task_0/cgroup.procs", "".join(f"{pid}\n" for pid in pids))


def test_a_job_is_read_from_its_controllers(machine: Machine) -> None:
    v1_job(machine, 12, 90, 100)
    machine.process(90, 1, uid=0, title="slurmstepd: [12.0]")
    machine.process(100, 90, uid=ADA, threads=3)
    job = only(machine.look())
    assert (job.job_id, job.source, job.cpus, job.cpu_s) == (12, "cgroup v1", 4, 7.5)
    assert (job.memory_resident_bytes, job.memory_cache_bytes) == (15 * MB, 25 * MB)
    assert (job.memory_peak_bytes, job.memory_limit_bytes, job.oom_kills) == (50 * MB, 64 * MB, 2)
    assert (job.block_read_bytes, job.block_write_bytes) == (100, 200)
    assert (job.processes, job.threads) == (1, 3)


def test_no_limit_of_v1_is_no_number(machine: Machine) -> None:
    v1_job(machine, 12)
    machine.put(f"sys/fs/cgroup/memory/slurm/uid_{ADA}/job_12/memory.limit_in_bytes", "9223372036854771712\n")
    assert only(machine.look()).memory_limit_bytes is None


# processes


def two_jobs(machine: Machine) -> None:
    machine.process(90, 1, uid=0, title="slurmstepd: [12.batch]")
    machine.process(100, 90, uid=ADA, cpu_s=5, anonymous_pages=10, SLURM_JOB_ID="12", SLURM_CPUS_ON_NODE="4")
    machine.process(101, 100, uid=ADA, cpu_s=1, anonymous_pages=20)
    machine.process(102, 90, uid=0, cpu_s=50, title="prolog")
    machine.process(91, 1, uid=0, title="slurmstepd: [13.0]")
    machine.process(200, 91, uid=ADA, cpu_s=3, SLURM_JOB_ID="13")


def test_without_cgroups_a_job_is_the_tree_of_its_step_daemon(machine: Machine) -> None:
    two_jobs(machine)
    first, second = machine.look().jobs
    assert (first.job_id, first.source, first.processes, first.cpu_s, first.cpus) == (12, "processes", 2, 6, 4)
    assert first.memory_resident_bytes == 30 * PAGE_BYTES
    assert (second.job_id, second.processes, second.cpu_s, second.cpus) == (13, 1, 3, None)


def test_a_pretended_step_daemon_changes_nothing(machine: Machine) -> None:
    two_jobs(machine)
    machine.process(300, 1, uid=EVE, title="slurmstepd: [12.0]")
    machine.process(301, 300, uid=EVE, cpu_s=99, SLURM_JOB_ID="12")
    machine.process(302, 1, uid=EVE, cpu_s=99, SLURM_JOB_ID="12")
    assert [(job.job_id, job.processes) for job in machine.look().jobs] == [(12, 2), (13, 1)]


def test_a_person_with_two_jobs_sees_them_apart_after_processes_left_the_tree(machine: Machine) -> None:
    me = os.geteuid()
    machine.process(100, 1, uid=me, cpu_s=1, SLURM_JOB_ID="12")
    machine.process(200, 1, uid=me, cpu_s=2, SLURM_JOB_ID="13")
    machine.process(300, 1, uid=me, cpu_s=4)
    assert [(job.job_id, job.cpu_s) for job in machine.look().jobs] == [(12, 1), (13, 2)]


def test_cpu_time_of_what_ended_is_kept(machine: Machine) -> None:
    two_jobs(machine)
    machine.look(12)
    machine.ends(101)
    machine.process(100, 90, uid=ADA, cpu_s=6, reaped_s=1, SLURM_JOB_ID="12")
    assert only(machine.look()).cpu_s == 7  # the child's second is in its parent's
    machine.ends(100)
    machine.process(103, 90, uid=ADA, cpu_s=2)
    assert only(machine.look()).cpu_s == 9


def test_peak_outlives_what_was_resident(machine: Machine) -> None:
    two_jobs(machine)
    machine.look(12)
    machine.process(101, 100, uid=ADA, anonymous_pages=1)
    job = only(machine.look())
    assert (job.memory_resident_bytes, job.memory_peak_bytes) == (11 * PAGE_BYTES, 30 * PAGE_BYTES)


@given(st.lists(st.sets(st.integers(2, 6)), max_size=6))
def test_a_tally_is_what_all_that_ever_ran_was_last_seen_with(looks: list[set[int]]) -> None:
    tally, seen, before = Tally(), dict[tuple[int, int], float](), set[int]()
    starts = dict.fromkeys(range(2, 7), 0)
    for at, pids in enumerate(looks):
        now = {}
        for pid in pids:
            starts[pid] += pid not in before  # a pid that comes again is another process
            seen[pid, starts[pid]] = at + pid / 8
            now[pid] = Process(pid, 1, "x", starts[pid], 1, at + pid / 8, 0.0)
        assert tally.cpu_s(now) == sum(seen.values())
        before = pids


# which, and what is missing


def test_only_the_jobs_that_were_asked_for_are_told(machine: Machine) -> None:
    machine.unified()
    machine.v2_job("job_12", 100)
    machine.v2_job("job_13", 200)
    sample = machine.look(13, 99)
    assert only(sample).job_id == 13
    assert sample.missing["job.99"] == "no such job runs on this node"


def test_two_jobs_of_a_node_keep_their_own_rates(machine: Machine) -> None:
    machine.unified()
    for at in (0, 1):
        machine.v2_job("job_12", cpu_s=at * 1)
        machine.v2_job("job_13", cpu_s=at * 3)
        sample = machine.look()
        time.sleep(0.02)
    first, second = sample.jobs
    assert first.cpu_cores and second.cpu_cores
    assert second.cpu_cores == pytest.approx(3 * first.cpu_cores, rel=0.1)


def test_a_job_with_a_network_of_its_own_has_its_traffic(machine: Machine) -> None:
    machine.unified()
    machine.v2_job("job_12", 100)
    machine.process(100, 1, uid=ADA)
    for place, space in (("self", "net:[1]"), ("100", "net:[2]")):
        (machine.root / "proc" / place / "ns").mkdir(parents=True)
        (machine.root / "proc" / place / "ns/net").symlink_to(space)
    for got in (0, 5000):
        machine.put("proc/100/net/dev", net(lo=(7, 7), eth0=(got, 0)))
        sample = machine.look()
        time.sleep(0.02)
    assert only(sample).network_receive_bytes_per_s and only(sample).network_send_bytes_per_s == 0


def test_a_job_on_the_nodes_network_says_that_it_shares_it(machine: Machine) -> None:
    machine.unified()
    machine.v2_job("job_12", 100)
    machine.process(100, 1, uid=ADA)
    for place in ("self", "100"):
        (machine.root / "proc" / place / "ns").mkdir(parents=True)
        (machine.root / "proc" / place / "ns/net").symlink_to("net:[1]")
    assert "shares the node's network" in machine.look().missing["job.12.network_send_bytes_per_s"]


@pytest.mark.parametrize("layout", ["unified", "controllers", "processes"])
def test_every_missing_number_of_a_job_has_its_reason(machine: Machine, layout: str) -> None:
    if layout == "unified":
        machine.unified()
        machine.put(f"{V2}/job_12/cgroup.procs", "")
    elif layout == "controllers":
        machine.controllers("cpuacct")
        machine.put(f"sys/fs/cgroup/cpuacct/slurm_n1/uid_{ADA}/job_12/cgroup.procs", "")
    else:
        machine.process(90, 1, uid=0, title="slurmstepd: [12.batch]")
    for _ in range(2):
        sample = machine.look()
        absent = {name for name, value in only(sample)._asdict().items() if value is None} - {"sluid"}
        assert absent == {path.split(".")[2] for path in sample.missing if path.startswith("job.12.")}


@given(st.sets(st.integers(0, 300), min_size=1))
def test_a_list_of_cpus_is_counted_whatever_its_form(cpus: set[int]) -> None:
    parts, ordered = [], sorted(cpus)
    for cpu in ordered:
        if parts and parts[-1][1] == cpu - 1:
            parts[-1][1] = cpu
        else:
            parts.append([cpu, cpu])
    assert listed(",".join(f"{a}-{b}" if a != b else f"{a}" for a, b in parts) + "\n") == len(cpus)
