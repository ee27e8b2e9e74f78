"""What jobs of real Slurm do, as their agents and the node service send it: under loads of known shape."""

from __future__ import annotations

import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest

from backend.agent.node.allocation import allocated
from backend.agent.spec import AgentSpec, AppSpec
from backend.agent.telemetry.batch import node_key
from backend.sessions.apps import base_path
from tests.cluster.test_agent_in_jobs import submit as submit_session
from tests.harness import Cluster
from tests.harness.kinds import submit
from tests.harness.nodes import start_node_service
from tests.unit.agent_kit import ECHO_APP, SESSION, spec_for
from tests.unit.push_kit import Points, Receiver, receiver, until

EVERY_S = 1.0
LOAD_S = 18
FIRST, SECOND = "a100-01", "a100-02"
MASTER = "m" * 64
PYTHON = "/usr/bin/python3"
MIB = 1 << 20
Start = Callable[..., int]


@dataclass
class Truth:
    """What was so from each moment on."""

    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def now(self, value: float) -> None:
        self.times.append(time.time())
        self.values.append(value)

    def around(self, at_s: float) -> tuple[float, float]:
        """The least and the most within one sample of a moment."""
        first = max(0, bisect_right(self.times, at_s - EVERY_S) - 1)
        last = max(first + 1, bisect_left(self.times, at_s + EVERY_S))
        return min(self.values[first:last]), max(self.values[first:last])

    def rates_around(self, since_s: float, until_s: float) -> tuple[float, float]:
        """The least and the greatest mean rate of a counter over such a stretch, moved by up to one sample."""
        moved = [step / 4 * EVERY_S for step in range(-4, 5)]
        rates = [(self._at(until_s + by) - self._at(since_s + by)) / (until_s - since_s) for by in moved]
        return min(rates), max(rates)

    def _at(self, at_s: float) -> float:
        last = bisect_right(self.times, at_s)
        if last == 0 or last == len(self.times):
            return self.values[min(last, len(self.values) - 1)]
        begin, end = self.times[last - 1], self.times[last]
        share = (at_s - begin) / (end - begin)
        return self.values[last - 1] + share * (self.values[last] - self.values[last - 1])


def known_of(log: Path) -> tuple[Truth, Truth, Truth]:
    """CPU seconds, memory and bytes written, as the load says."""
    rows = [[float(word) for word in line.split()] for line in log.read_text().splitlines()]
    times = [row[0] for row in rows]
    cpu, memory, written = (Truth(times, [row[column] for row in rows]) for column in (1, 2, 3))
    return cpu, memory, written


def inside(points: Points, truth: Truth) -> list[tuple[float, float]]:
    """The points of a series that lie well within what is known."""
    return [
        (at_s, value)
        for at_s, value in points.items()
        if value is not None and truth.times[0] + 2 * EVERY_S < at_s < truth.times[-1] - 2 * EVERY_S
    ]


def assert_rates(points: Points, truth: Truth, off: float) -> None:
    """`off`: for writing a block at each end, which falls on one side of a sample or the other."""
    found = inside(points, truth)
    assert len(found) > LOAD_S / EVERY_S / 3, found
    for (since_s, _), (until_s, value) in pairwise(found):
        low, high = truth.rates_around(since_s, until_s)
        assert low - off <= value <= high + off, (until_s, value, low, high)


def assert_values(points: Points, truth: Truth, below: float = 0.0, above: float = 0.0) -> None:
    found = inside(points, truth)
    assert len(found) > 3, found
    for at_s, value in found:
        low, high = truth.around(at_s)
        assert low - below <= value <= high + above, (at_s, value, low, high)


@pytest.fixture
def door() -> Iterator[Receiver]:
    with receiver() as record:
        yield record


@pytest.fixture
def serve(quiet_cluster: Cluster, door: Receiver) -> Iterator[Callable[..., None]]:
    """Start the node service of these nodes."""
    started = []

    def service(*nodes: str) -> None:
        for node in nodes:
            key = node_key(MASTER, node)
            door.keys[f"node:{node}"] = key
            started.append(start_node_service(quiet_cluster, node, console=door.url, key=key, every_s=EVERY_S))

    yield service
    for process in started:
        process.terminate()
        assert process.wait(20) == 0


@pytest.fixture
def load(quiet_cluster: Cluster) -> tuple[str, Path]:
    """The command that makes the known load, and its log."""
    folder = quiet_cluster.make_folder(f"load-{time.monotonic_ns()}", mode=0o777)
    program = folder / "known_load.py"
    program.write_text(Path(__file__).with_name("known_load.py").read_text())
    program.chmod(0o644)
    log = folder / "load.log"
    return f"{PYTHON} {program} {log} {LOAD_S}", log


def finished(log: Path) -> bool:
    """The load has come to its end."""
    if not log.exists():
        return False
    times = [float(line.split()[0]) for line in log.read_text().splitlines() if line.count(" ") == 3]
    return bool(times) and times[-1] - times[0] > LOAD_S - 1


def gpus_of(cluster: Cluster, job: int, node: str) -> list[int]:
    """What Slurm gave the job there."""
    until(lambda: "CPU_IDs" in cluster.run(["scontrol", "-d", "show", "job", str(job)]).stdout, 60)
    claim = allocated(cluster.run(["scontrol", "-d", "show", "job", str(job)]).stdout, node)
    assert claim is not None
    return sorted(claim.places)


def test_a_plain_job_is_told_as_it_was(
    quiet_cluster: Cluster, door: Receiver, serve: Callable[..., None], load: tuple[str, Path]
) -> None:
    command, log = load
    serve(FIRST)
    job = submit(quiet_cluster, "ada", f"-w{FIRST}", "-n1", "--gres=gpu:a100:2", f"--wrap={command}; sleep 600")
    one, two = gpus_of(quiet_cluster, job, FIRST)
    wave, flat, power = Truth(), Truth(), Truth()
    until(log.exists, 60)
    level = 0
    while not finished(log):
        level = 90 - level if level else 20
        quiet_cluster.set_gpus(
            FIRST, f"{one} utilisation {level}", f"{two} utilisation 55", f"{two} power {1000 * (100 + level)}"
        )
        wave.now(level)
        flat.now(55)
        power.now(100 + level)
        time.sleep(3 * EVERY_S)
    until(lambda: list(door.series(job, "", "cpu_cores"))[-1] > time.time() - 3 * EVERY_S)
    cpu, memory, written = known_of(log)
    assert door.devices(job) == {FIRST: {"", "node", f"gpu:{one}", f"gpu:{two}"}}
    assert_rates(door.series(job, "", "cpu_cores"), cpu, off=0.2)
    assert_rates(door.series(job, "", "block_write_bytes_per_s"), written, off=2.1 * MIB)
    assert_values(door.series(job, "", "memory_resident_bytes"), memory, above=40 * MIB)
    for device, metric, truth in (
        (one, "gpu_utilisation_percent", wave),
        (two, "gpu_utilisation_percent", flat),
        (two, "gpu_power_w", power),
    ):
        assert_values(door.series(job, f"gpu:{device}", metric), truth)


def session_spec(cluster: Cluster, door: Receiver) -> AgentSpec:
    """A session with a small real server as its app."""
    folder = cluster.make_folder(f"app-{time.monotonic_ns()}", mode=0o755)
    program = folder / "app"
    program.write_text(ECHO_APP.replace(sys.executable, PYTHON))
    program.chmod(0o755)
    app = AppSpec("code-server", base_path(SESSION, "code-server"), {"command": str(program)})
    spec = spec_for(door.url, app, sample_every_s=EVERY_S)
    door.keys[f"session:{SESSION}"] = spec.secret
    return spec


def test_a_session_on_two_nodes_is_told_node_by_node_and_without_the_gpu_that_fell_off(
    quiet_cluster: Cluster, door: Receiver, load: tuple[str, Path]
) -> None:
    cluster, (command, log) = quiet_cluster, load
    options = ("--partition=gpu", "--nodes=2", f"--nodelist={FIRST},{SECOND}", "--gres=gpu:a100:1")
    job = int(submit_session(cluster, session_spec(cluster, door), *options)[0])
    first, second = (gpus_of(cluster, job, node)[0] for node in (FIRST, SECOND))
    cluster.set_gpus(FIRST, f"{first} utilisation 30")
    cluster.set_gpus(SECOND, f"{second} utilisation 80")
    until(lambda: len(door.devices(job)) == 2, 60)
    work = cluster.popen(
        ["srun", f"--jobid={job}", "--overlap", "-N1", "-n1", f"-w{SECOND}", *command.split()], "ada"
    )
    until(log.exists, 60)
    cluster.set_gpus(FIRST, f"{first} lost 1")
    lost_s = time.time()
    assert work.wait(120) == 0
    cpu, memory, written = known_of(log)

    def there(metric: str, device: str = "", node: str = SECOND) -> Points:
        return door.series(job, device, metric, node)

    until(lambda: list(there("cpu_cores"))[-1] > cpu.times[-1], 60)
    assert_rates(there("cpu_cores"), cpu, off=0.2)
    assert_rates(there("block_write_bytes_per_s"), written, off=2.1 * MIB)
    assert_values(there("memory_resident_bytes"), memory, above=60 * MIB)
    idle = sorted(value or 0.0 for _, value in inside(there("cpu_cores", node=FIRST), cpu))
    assert idle[len(idle) // 2] < 0.3
    assert door.devices(job) == {FIRST: {"", "node", f"gpu:{first}"}, SECOND: {"", "node", f"gpu:{second}"}}
    assert set(list(there("gpu_utilisation_percent", f"gpu:{second}").values())[3:]) == {80}
    lost = there("gpu_utilisation_percent", f"gpu:{first}", FIRST)
    assert 30 in lost.values() and max(lost) < lost_s + 2 * EVERY_S
    assert max(there("gpu_utilisation_percent", f"gpu:{second}")) > lost_s + 5 * EVERY_S


def test_jobs_of_one_node_and_of_one_person_are_never_mixed_up(
    quiet_cluster: Cluster, door: Receiver, serve: Callable[..., None]
) -> None:
    cluster = quiet_cluster
    gpu = (f"-w{FIRST}", "-n1", "--gres=gpu:a100:1")
    spins = f"{PYTHON} -c 'while True: pass'"
    busy = submit(cluster, "ada", *gpu, f"--wrap={spins}")
    idle = submit(cluster, "ada", *gpu, "--wrap=sleep 600")
    other = submit(cluster, "bob", *gpu, "--wrap=sleep 600")
    devices = {job: gpus_of(cluster, job, FIRST)[0] for job in (busy, idle, other)}
    assert len(set(devices.values())) == 3
    pretended = f"SLURM_JOB_ID={idle} SLURM_JOB_GPUS={devices[idle]} CUDA_VISIBLE_DEVICES={devices[idle]} {spins}"
    liar = submit(cluster, "dora", f"-w{FIRST}", "-n1", f"--wrap={pretended}")
    cluster.set_gpus(FIRST, *(f"{device} utilisation {10 + device}" for device in range(4)))
    serve(FIRST)
    everybody = (busy, idle, other, liar)
    until(lambda: all(len(door.series(job, "", "cpu_cores")) > 6 for job in everybody), 60)
    until(lambda: all(door.series(job, f"gpu:{device}", "gpu_power_w") for job, device in devices.items()), 60)
    # Where tests have several clusters on this machine, nodes of the same name tell of each other's jobs, too.
    assert door.jobs() >= set(everybody)

    def cores(job: int) -> float:
        found = sorted(value or 0.0 for value in door.series(job, "", "cpu_cores").values())
        return found[len(found) // 2]

    assert min(cores(busy), cores(liar)) > 3 * max(cores(idle), cores(other), 0.01)
    for job in everybody:
        mine = {f"gpu:{devices[job]}"} if job in devices else set()
        assert {device for device in door.devices(job)[FIRST] if device.startswith("gpu")} == mine
    for job, device in devices.items():
        assert set(door.series(job, f"gpu:{device}", "gpu_utilisation_percent").values()) == {10 + device}


def test_a_mig_instance_is_its_jobs_alone(quiet_cluster: Cluster, door: Receiver, serve: Callable[..., None]) -> None:
    cluster = quiet_cluster
    jobs = [submit(cluster, user, f"-w{FIRST}", "-n1", "--wrap=sleep 600") for user in ("ada", "bob")]
    until(lambda: len(_pids(cluster, jobs[0])) > 0 and len(_pids(cluster, jobs[1])) > 0, 60)
    ones, twos = (_pids(cluster, job)[0] for job in jobs)
    cluster.set_gpus(
        FIRST, "0 mig 2", "* gpm 1", f"0:0 process {ones}:1000", "0:0 memory_used 5000", f"0:1 process {twos}:1000"
    )
    serve(FIRST)
    until(lambda: all(door.series(job, f"gpu:0:{n}", "gpu_memory_used_bytes") for n, job in enumerate(jobs)), 60)
    for number, job in enumerate(jobs):
        assert door.devices(job)[FIRST] == {"", "node", f"gpu:0:{number}"}
    assert set(door.series(jobs[0], "gpu:0:0", "gpu_memory_used_bytes").values()) == {5000}


def _pids(cluster: Cluster, job: int) -> list[int]:
    """The job's sleeping processes, by their numbers inside."""
    shown = cluster.run(["scontrol", "listpids", str(job), FIRST])
    own = [line.split()[0] for line in shown.stdout.splitlines()[1:]]
    return [int(pid) for pid in own if "sleep" in cluster.run(["ps", "-o", "args=", "-p", pid]).stdout]


def test_a_console_that_was_away_misses_nothing(quiet_cluster: Cluster) -> None:
    """Ten minutes at a sample every ten seconds, sixty times as fast."""
    every_s, away_s = 10 / 60, 600 / 60
    record = Receiver()
    with receiver(0, record) as door:
        spec = replace(session_spec(quiet_cluster, door), sample_every_s=every_s)
        job = int(submit_session(quiet_cluster, spec, "-n1", f"-w{FIRST}", "--gres=gpu:a100:1")[0])
        until(lambda: len(record.series(job, "", "processes")) > 5, 60)
    gone_s = time.time()
    time.sleep(away_s)
    with receiver(record.port, record):
        back_s = time.time()
        until(lambda: max(record.series(job, "", "processes")) > back_s + 1, 60)
    for device, metric in (("", "processes"), ("node", "node_load_1")):
        times = [at_s for at_s in record.series(job, device, metric) if at_s > gone_s - 1]
        assert max(later - earlier for earlier, later in pairwise(times)) < away_s / 3
