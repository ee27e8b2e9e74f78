"""What people on a node may write, name and mount to mislead a sampler that runs as root, and what comes of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from backend.agent.sampler import Sampler
from backend.agent.sampler.processes import Processes
from backend.agent.sampler.reading import MOST_BYTES, natural, text
from tests.unit.sampler_kit import V2, Machine, only

ME = os.geteuid()
ADA, EVE = 20_001, 20_002
EVIL = "/dev/shm/evil"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# Mounts and cgroup folders


def evil_tree(machine: Machine) -> None:
    base = machine.v2_job("job_12", cpu_s=99)
    (machine.root / EVIL[1:]).mkdir(parents=True)
    (machine.root / base).parents[1].rename(machine.root / f"{EVIL}/system.slice"[1:])
    machine.put(f"{EVIL}/memory/slurm/uid_1/job_12/memory.stat"[1:], "total_rss 1\n")


@pytest.mark.parametrize(
    "mount",
    [
        f"evil /tmp/a\rx\x1f{EVIL}\x1fcgroup2\x1fz fuse.x rw 0 0",
        f"evil /tmp/a\x85x {EVIL} cgroup2 fuse.x rw 0 0",
        f"evil {EVIL} fuse.cgroup2 rw 0 0",
        f"cgroup2 {EVIL} cgroup2 rw 0 0",
        f"cgroup {EVIL}/memory cgroup rw,memory 0 0",
        f"evil /sys/fs/cgroup\x1fx{EVIL} cgroup2 rw 0 0",
    ],
)
def test_a_mount_of_somebodys_own_is_no_cgroup_tree(machine: Machine, mount: str) -> None:
    evil_tree(machine)
    machine.put("proc/self/mounts", f"proc /proc proc rw 0 0\n{mount}\n")
    assert not machine.look().jobs


def test_of_two_cgroup_trees_the_first_counts(machine: Machine) -> None:
    machine.v2_job("job_12", cpu_s=3)
    machine.put("sys/fs/cgroup/user.slice/system.slice/slurmstepd.scope/job_13/cgroup.procs", "")
    lines = ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "cgroup2 /sys/fs/cgroup/user.slice cgroup2 rw 0 0\n")
    machine.put("proc/self/mounts", "".join(lines))
    assert only(machine.look()).job_id == 12


@pytest.mark.skipif(ME != 0, reason="only root can give a folder away")
def test_a_job_folder_of_somebody_else_is_no_job(machine: Machine) -> None:
    machine.unified()
    os.chown(machine.root / machine.v2_job("job_12"), EVE, EVE)
    machine.v2_job("job_13")
    assert only(machine.look()).job_id == 13


def test_a_pipe_or_a_link_in_a_counters_place_is_not_read(machine: Machine) -> None:
    machine.unified()
    base = machine.root / machine.v2_job("job_12", cpu_s=3)
    for name in ("cpu.stat", "memory.peak"):
        (base / name).unlink()
    os.mkfifo(base / "cpu.stat")
    machine.put("secret", "12345\n")
    (base / "memory.peak").symlink_to(machine.root / "secret")
    job = only(machine.look())
    assert job.memory_peak_bytes != 12345 and not job.cpu_s
    assert job.memory_limit_bytes
    with pytest.raises(OSError, match="no regular file"):
        text(str(base / "cpu.stat"))


# Long lists


def test_a_list_of_proc_is_read_to_its_end() -> None:
    names = [f"carme-{os.getpid()}-{number}" for number in range(100)]
    with ExitStack() as opened:
        for name in names:
            opened.enter_context(socket.socket(socket.AF_UNIX)).bind(f"\0{name}")
        told = text("/proc/net/unix")
    assert len(told) > 4096 and all(f"@{name}\n" in told for name in names)


def test_nothing_is_read_without_end(machine: Machine) -> None:
    machine.process(70, 1, uid=ME)
    for name in ("environ", "cmdline", "huge"):
        machine.put(f"proc/70/{name}", "A=1\0")
        os.truncate(machine.root / f"proc/70/{name}", MOST_BYTES + 1)
    assert len(text(str(machine.root / "proc/70/huge"))) == MOST_BYTES
    processes = Processes(str(machine.root))
    assert processes.environment(70) == {"A": "1"}
    assert len(processes.title(70)) < 1 << 18


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("7", 7),
        ("007", 7),
        ("", None),
        ("-1", None),
        ("²", None),
        ("٣", None),
        ("9" * 18, 10**18 - 1),
        ("9" * 19, None),
    ],
)
def test_a_number_is_a_few_ascii_digits(word: str, found: int | None) -> None:
    assert natural(word) == found


# Whose a process is


@pytest.fixture
def victim(machine: Machine) -> Machine:
    """Job 12 of ada and job 13 of eve, by their step daemons."""
    for number, uid in ((12, ADA), (13, EVE)):
        machine.process(number + 80, 1, uid=0, title=f"slurmstepd: [{number}.batch]")
        machine.process(number * 10, number + 80, uid=uid, cpu_s=1)
    return machine


def status(machine: Machine, pid: int, name: str, *uids: int) -> None:
    users = "\t".join(str(uid) for uid in uids)
    machine.put(f"proc/{pid}/status", f"Name:\t{name}\nUmask:\t0022\nUid:\t{users}\n")


def processes_by_job(machine: Machine) -> dict[int | None, int | None]:
    return {job.job_id: job.processes for job in machine.look().jobs}


@pytest.mark.parametrize(
    "name", [f"\rUid: {ME} {ME}", f"\rUid:\t{ME}\t{ME}\t{ME}\t{ME}", "\rUid:", "\x1cUid:\t", "\\nUid:"]
)
def test_a_process_name_is_nobodys_user(victim: Machine, name: str) -> None:
    for pid, parent in ((300, 93), (301, 1)):
        victim.process(pid, parent, uid=EVE, SLURM_JOB_ID="12")
        status(victim, pid, name, EVE, EVE, EVE, EVE)
    assert processes_by_job(victim) == {12: 1, 13: 2}


def test_a_setuid_program_names_no_job(victim: Machine) -> None:
    """su while it waits for a password: its environment and its title are of whoever started it."""
    victim.process(300, 1, uid=ME, SLURM_JOB_ID="12")
    victim.process(301, 1, uid=0, title="slurmstepd: [12.0]")
    victim.process(302, 301, uid=EVE)
    status(victim, 300, "su", EVE, ME, ME, ME)
    status(victim, 301, "su", EVE, 0, 0, 0)
    assert processes_by_job(victim) == {12: 1, 13: 1}


@pytest.mark.parametrize("told", ["9" * 5000, "²", "", "-1"])
def test_a_job_number_that_is_none_is_passed_over(victim: Machine, told: str) -> None:
    victim.process(300, 1, uid=ME, SLURM_JOB_ID=told)
    assert processes_by_job(victim) == {12: 1, 13: 1}


LINE = "0000000000000000: 00000002 00000000 00010000 0001 01"


@pytest.mark.parametrize(
    "name",
    [
        f"@x\n{LINE} 501 /n2_12.0",
        f"@x\n{LINE} 502 /n2_12.0",
        "@x\n0: 0 0 0 0 0 502 /n2_12.0",
        "@x\r0: 1 2 3 4 5 501 /n2_12.0",
    ],
)
def test_a_socket_name_moves_no_job_to_another_node(victim: Machine, name: str) -> None:
    """Of the daemon's sockets 501 is named for its node, 502 is in no list (TCP), or has no name."""
    (victim.root / "proc/92/fd").mkdir()
    for inode in (501, 502):
        (victim.root / f"proc/92/fd/{inode}").symlink_to(f"socket:[{inode}]")
    victim.put("proc/net/unix", f"Num RefCount …\n{LINE}   501 /spool/n1_12.0\n{LINE}     0\n{LINE} 700 {name}\n")
    jobs = Sampler(node="n1", gpus=(), root=str(victim.root)).sample().jobs
    assert 12 in {job.job_id for job in jobs}


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[int]]:
    """The processes whose command line was read."""
    asked = set[int]()
    real = Processes.title
    monkeypatch.setattr(Processes, "title", lambda self, pid: asked.add(pid) or real(self, pid))
    yield asked


@pytest.mark.parametrize("layout", ["processes", "unified", "controllers"])
def test_nobody_elses_command_line_is_read(machine: Machine, titles: set[int], layout: str) -> None:
    """It may be made to hang whoever reads it."""
    machine.process(90, 1, uid=0, title="slurmstepd: [12.batch]")
    machine.process(300, 1, uid=EVE, title="slurmstepd: [12.batch]")
    if layout == "unified":
        machine.unified()
        machine.v2_job("s5K1KKYAYG5D00", 300, daemon=90)
        machine.put(f"{V2}/s5K1KKYAYG5D00/step_0/slurm/cgroup.procs", "300\n")
    elif layout == "controllers":
        machine.controllers("memory")
        machine.put("sys/fs/cgroup/memory/slurm/uid_1/job_12/cgroup.procs", "90\n300\n")
    assert machine.look().jobs
    assert titles == {90}


# One job's doing, another's figures


@pytest.mark.parametrize("told", ["²", "9" * 5000, "0", "x"])
def test_what_a_job_says_of_its_cpus_is_a_number_or_a_gap(victim: Machine, told: str) -> None:
    victim.process(130, 93, uid=EVE, SLURM_CPUS_ON_NODE=told, SLURM_MEM_PER_CPU=told, SLURM_MEM_PER_NODE=told)
    first, second = victim.look().jobs
    assert (first.job_id, second.job_id, second.cpus, second.memory_limit_bytes) == (12, 13, None, None)


def test_a_job_that_cant_be_read_is_a_gap_of_its_own(machine: Machine) -> None:
    machine.unified()
    machine.put(f"{machine.v2_job('job_12')}/memory.peak", "?\n")
    machine.v2_job("job_13")
    sample = machine.look()
    assert only(sample).job_id == 13
    assert "can't be read" in sample.missing["job.12"]
