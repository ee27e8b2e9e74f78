"""The whole machine, its file systems, and the command that prints a sample."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.cli import main
from backend.agent.sampler.model import Unavailable
from backend.agent.sampler.reading import Rates, keyed
from tests.unit.sampler_kit import Machine, net

ROOT = Path(__file__).parents[2]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_node_is_told_in_bytes_and_cores(machine: Machine) -> None:
    machine.look()
    time.sleep(0.05)
    ticks = os.sysconf("SC_CLK_TCK")
    machine.put("proc/stat", f"cpu  {100 + ticks} 0 100 900 50 0 0 0\ncpu0 0 0 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0\n")
    sample = machine.look()
    node = sample.node
    assert (node.cpus, node.load_1) == (2, 1.5)
    assert (node.memory_total_bytes, node.memory_available_bytes) == (1_024_000, 614_400)
    assert sample.interval_s and node.cpu_cores == pytest.approx(1 / sample.interval_s, rel=0.1)


def test_traffic_is_of_hardware_ports_where_there_are_any(machine: Machine) -> None:
    machine.put("sys/class/net/eth0/device", "")
    for got in (0, 1000):
        machine.put("proc/net/dev", net(lo=(got, got), eth0=(got, 0), docker0=(got, got)))
        sample = machine.look()
        time.sleep(0.02)
    assert sample.interval_s and sample.node.network_receive_bytes_per_s == pytest.approx(
        1000 / sample.interval_s, rel=0.1
    )
    assert sample.node.network_send_bytes_per_s == 0


def test_infiniband_counts_in_words_of_four_bytes(machine: Machine) -> None:
    base = "sys/class/infiniband/mlx5_0/ports/1/counters"
    for words in (0, 1000):
        machine.put(f"{base}/port_rcv_data", f"{words}\n")
        machine.put(f"{base}/port_xmit_data", "0\n")
        sample = machine.look()
        time.sleep(0.02)
    assert sample.interval_s
    assert sample.node.infiniband_receive_bytes_per_s == pytest.approx(4000 / sample.interval_s, rel=0.1)


def test_disks_are_counted_whole_not_by_partition(machine: Machine) -> None:
    machine.put("sys/block/sda/device", "")
    for sectors in (0, 100):
        names = ("8 0 sda", "8 1 sda1", "7 0 loop0")
        machine.put("proc/diskstats", "".join(f"{name} 1 0 {sectors} 1 1 0 0 1 0 1 1\n" for name in names))
        sample = machine.look()
        time.sleep(0.02)
    assert sample.interval_s and sample.node.block_read_bytes_per_s == pytest.approx(
        51_200 / sample.interval_s, rel=0.1
    )


def test_lustre_tells_the_sums_of_its_client(machine: Machine) -> None:
    for total in (1_000, 9_000):
        machine.put(
            "proc/fs/lustre/llite/scratch-ffff8800/stats",
            f"snapshot_time 1 secs.usecs\nread_bytes 2 samples [bytes] 1 512 {total} 9\nopen 7 samples [usecs] 1 2 3\n",
        )
        sample = machine.look()
        time.sleep(0.02)
    (found,) = sample.file_systems
    assert (found.kind, found.name, found.read_bytes, found.write_bytes, found.opens) == (
        "lustre",
        "scratch",
        9_000,
        0,
        7,
    )
    assert found.read_bytes_per_s and found.write_bytes_per_s == 0


def test_a_file_system_without_counters_is_named_with_the_reason(machine: Machine) -> None:
    (machine.root / "proc/fs/beegfs/1A2-3B4-node7").mkdir(parents=True)
    sample = machine.look()
    assert [(found.kind, found.read_bytes) for found in sample.file_systems] == [("beegfs", None)]
    assert "no byte counters" in sample.missing["file_system.1A2-3B4-node7"]


@pytest.mark.parametrize("gone", ["proc/stat", "proc/meminfo", "proc/loadavg", "proc/net/dev", "proc/diskstats"])
def test_every_missing_number_of_the_node_has_its_reason(machine: Machine, gone: str) -> None:
    (machine.root / gone).unlink()
    for _ in range(2):
        sample = machine.look()
        absent = {name for name, value in sample.node._asdict().items() if value is None}
        assert absent == {path.split(".")[1] for path in sample.missing if path.startswith("node.")}


def test_a_counter_that_started_again_gives_no_rate() -> None:
    rates = Rates()
    with pytest.raises(Unavailable, match="second sample"):
        rates.per_s("x", 10, 1.0)
    rates.turn()
    with pytest.raises(Unavailable, match="started again"):
        rates.per_s("x", 9, 2.0)
    rates.turn()
    assert rates.per_s("x", 19, 4.0) == 5.0


def test_lines_that_hold_no_number_are_left_out() -> None:
    assert keyed("anon 5\nMemTotal:   7 kB\nstate ok\n\nempty\n") == {"anon": 5, "MemTotal": 7}


# The command


def test_the_command_prints_one_sample_with_rates(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agent", "sample"]) == 0
    sample = json.loads(capsys.readouterr().out)
    assert sample["node"]["cpu_cores"] > 0 and sample["interval_s"] >= 1
    assert set(sample) == {
        "host", "taken_s", "interval_s", "took_ms", "node", "gpus", "jobs", "file_systems", "missing",
    }  # fmt: skip


def test_the_command_goes_on_with_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agent", "sample", "--every", "0.1", "--count", "3"]) == 0
    samples = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(samples) == 3 and all(0.05 < sample["interval_s"] < 1 for sample in samples)


def test_a_job_that_is_not_here_fails_after_the_sample(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agent", "sample", "--every", "0.1", "--count", "1", "--job", "4000000000"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["jobs"] == []
    assert "job 4000000000: no such job runs on this node" in printed.err


@pytest.mark.parametrize("wrong", [["--every", "0"], ["--every", "nan"], ["--count", "0"], ["--job", "x"]])
def test_wrong_use_of_the_command_is_status_two(wrong: list[str]) -> None:
    assert main(["agent", "sample", *wrong]) == 2


def test_a_process_of_a_job_is_found_for_real() -> None:
    sleeper = subprocess.Popen(["sleep", "30"], env={"SLURM_JOB_ID": "3999999999", "SLURM_CPUS_ON_NODE": "2"})
    try:
        run = subprocess.run(
            [sys.executable, "-m", "app.cli", "agent", "sample", "--job", "3999999999"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    finally:
        sleeper.kill()
        sleeper.wait()
    (job,) = json.loads(run.stdout)["jobs"]
    assert (job["processes"], job["cpus"], job["source"]) == (1, 2, "processes")
    assert 0 <= job["cpu_per_core"] < 0.1


def test_the_sampler_is_written_in_python_3_9() -> None:
    for path in (ROOT / "backend/agent/sampler").glob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 9))
