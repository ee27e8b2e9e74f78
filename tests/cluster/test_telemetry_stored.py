"""What jobs did, as a real console keeps it: equal to what they did, with no gap where the console was away."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from tests.cluster.test_telemetry import (
    EVERY_S,
    FIRST,
    MIB,
    Truth,
    assert_rates,
    assert_values,
    finished,
    gpus_of,
    known_of,
)
from tests.cluster.test_telemetry import load as load  # noqa: PLC0414 - a fixture
from tests.harness import Cluster
from tests.harness.console import PYTHON, Console
from tests.harness.kinds import submit
from tests.harness.nodes import start_node_service
from tests.unit.push_kit import Points, until

READ = """\
import json, os, sys
from pathlib import Path
from backend.services import open_services
from backend.telemetry import JobRef
from config import load_settings
job, since_s = int(sys.argv[2]), int(sys.argv[3])
services = open_services(load_settings(Path(sys.argv[1]), os.environ))
ref = JobRef(sys.argv[4], job, since_s)
found = services.telemetry.series(ref, sys.argv[5].split(","), points=100_000, resolution="raw")
print(json.dumps([[one.device, one.metric, one.step_s, one.times_s, one.means] for one in found]))
"""
METRICS = ("cpu_cores", "memory_resident_bytes", "block_write_bytes_per_s", "processes", "gpu_utilisation_percent")
Stored = dict[tuple[str, str], Points]


@pytest.fixture(scope="module")
def console(cluster: Cluster) -> Iterator[Console]:
    running = Console.on(cluster, name="telemetry-console")
    yield running
    running.stop()


@pytest.fixture
def stored(quiet_cluster: Cluster, console: Console) -> Callable[[int, int], Stored]:
    """What the console's readers find of a job."""

    def read(job: int, since_s: int) -> Stored:
        name = quiet_cluster.name
        arguments = [str(console.config), str(job), str(since_s), name, ",".join(METRICS)]
        done = console._run([PYTHON, "-c", READ, *arguments])
        assert done.returncode == 0, done.stderr
        return {
            (device, metric): dict(zip(times, means, strict=True))
            for device, metric, _, times, means in json.loads(done.stdout)
        }

    return read


def test_a_plain_job_is_kept_as_it_was_and_without_a_gap_though_the_console_was_away(
    quiet_cluster: Cluster, console: Console, load: tuple[str, Path], stored: Callable[[int, int], Stored]
) -> None:
    cluster, (command, log) = quiet_cluster, load
    key = console.cli("agent", "node-key", FIRST).stdout.strip()
    service = start_node_service(cluster, FIRST, console=console.url, key=key, every_s=EVERY_S)
    since_s = int(time.time())
    job = submit(cluster, "ada", f"-w{FIRST}", "-n1", "--gres=gpu:a100:1", f"--wrap={command}; sleep 600")
    (gpu,) = gpus_of(cluster, job, FIRST)
    until(log.exists, 60)
    wave = Truth()
    level = 20
    until(log.exists, 60)

    def outage() -> float:
        """As long as eight samples, and the time that stopping and starting take."""
        time.sleep(3 * EVERY_S)
        console.stop()
        gone_s = time.time()
        time.sleep(8 * EVERY_S)
        console.start()
        return gone_s

    with ThreadPoolExecutor(1) as aside:
        away = aside.submit(outage)
        while not (finished(log) and away.done()):
            level = 110 - level
            cluster.set_gpus(FIRST, f"{gpu} utilisation {level}")
            wave.now(level)
            time.sleep(3 * EVERY_S)
        gone_s = away.result()
    cpu, memory, written = known_of(log)
    last_s = cpu.times[-1]
    until(lambda: max(stored(job, since_s).get(("", "cpu_cores"), {0.0: 0.0})) > last_s, 120)
    found = stored(job, since_s)
    assert_rates(found["", "cpu_cores"], cpu, off=0.25)
    assert_rates(found["", "block_write_bytes_per_s"], written, off=2.1 * MIB)
    assert_values(found["", "memory_resident_bytes"], memory, above=40 * MIB)
    assert_values(found[f"gpu:{gpu}", "gpu_utilisation_percent"], wave)
    times = [at_s for at_s in found["", "processes"] if at_s > gone_s - 2]
    assert max(later - earlier for earlier, later in pairwise(times)) < 4 * EVERY_S
    service.terminate()
    assert service.wait(20) == 0
