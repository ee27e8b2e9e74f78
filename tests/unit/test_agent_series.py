"""A sample in the catalogue's words, and the bytes it is sent as."""

from __future__ import annotations

import json
import math
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.agent.sampler import FileSystem, Gpu, GpuProcess, Job, Missing, Node, Sample
from backend.agent.telemetry import batch, series
from backend.agent.telemetry.own import own_gpus
from backend.telemetry import METRICS
from tests.unit.push_kit import check


def sample(*jobs: Job, gpus: tuple[Gpu, ...] = (), file_systems: tuple[FileSystem, ...] = ()) -> Sample:
    return Sample("host", 0.0, 10.0, 1.0, Node(cpus=8, cpu_cores=2.5), gpus, jobs, file_systems, Missing())


def gpu(index: str = "0", **values: Any) -> Gpu:
    values.setdefault("minor", int(index.partition(":")[0]))
    values.setdefault("uuid", f"GPU-0000{index}")
    return Gpu(index=index, model="NVIDIA H100", parent=None, **values)


def test_every_metric_of_the_catalogue_is_told_and_no_other() -> None:
    full = series.rows(
        sample(
            Job(1, None, "cgroup v2", **dict.fromkeys(series.JOB, 1)),
            gpus=(gpu(throttle_reasons=(), **dict.fromkeys(series.GPU, 1)),),
            file_systems=(FileSystem("lustre", "scratch", read_bytes_per_s=1, write_bytes_per_s=1),),
        ),
        5.0,
        {1: {"0"}},
    )
    told = {name for row in full for name in row.values} | {f"node_{name}" for name in series.NODE}
    assert told == {metric.name for metric in METRICS}
    check({"v": 1, "boot": "0" * 16, "seq": 1, "blocks": batch.blocks(full)})


@pytest.mark.parametrize(
    ("reasons", "shares"),
    [
        ((), (0, 0, 0)),
        (("idle",), (0, 0, 0)),
        (("power limit",), (1, 0, 0)),
        (("too warm, slowed by the driver",), (0, 1, 0)),
        (("hardware slowdown", "too warm, slowed by the hardware"), (0, 1, 0)),
        (("hardware slowdown",), (0, 0, 1)),
        (("hardware slowdown", "power brake of the machine"), (0, 0, 1)),
    ],
)
def test_what_slows_a_gpu_down_is_said_by_its_cause(reasons: tuple[str, ...], shares: tuple[int, ...]) -> None:
    values = series.gpu_values(gpu(throttle_reasons=reasons))
    assert tuple(values[f"gpu_throttle_{cause}"] for cause in ("power", "thermal", "hardware")) == shares


def test_a_gpu_that_does_not_tell_why_it_is_slow_has_no_share() -> None:
    assert series.gpu_values(gpu(throttle_reasons=None)) == {}


def test_a_job_has_its_own_gpus_only_and_the_node_it_shares() -> None:
    both = sample(Job(1, None, "", cpu_cores=1.0), Job(2, None, "", cpu_cores=2.0), gpus=(gpu("0"), gpu("1")))
    both = both._replace(gpus=tuple(gpu(i, utilisation_percent=50) for i in "01"))
    found = series.rows(both, 1.0, {1: {"1"}})
    assert [(row.job, row.device) for row in found] == [(1, ""), (1, "gpu:1"), (1, "node"), (2, ""), (2, "node")]


def test_a_gpu_is_called_by_its_device_file_whatever_a_cgroup_shows() -> None:
    assert series.device_of(gpu("0", minor=3)) == "gpu:3"
    assert series.device_of(gpu("0:1", minor=3)) == "gpu:3:1"
    assert series.device_of(gpu("2", minor=None)) == "gpu:2"


def test_a_lost_gpu_has_no_row() -> None:
    found = series.rows(sample(Job(1, None, ""), gpus=(gpu(),)), 1.0, {1: {"0"}})
    assert [row.device for row in found] == ["node"]


def test_numbers_that_are_none_are_left_out() -> None:
    job = Job(1, None, "", cpu_cores=math.nan, memory_resident_bytes=-1, processes=3, threads=10**30)
    assert series.job_values(job) == {"processes": 3}


NUMBERS = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.integers()


@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, st.text(max_size=200), st.text(max_size=100)), min_size=1, max_size=30)
)
def test_whatever_is_measured_the_batch_is_one_the_console_takes(looks: list[tuple[Any, Any, str, str]]) -> None:
    found = []
    for number, (cores, resident, model, name) in enumerate(looks):
        device = Gpu("0", "u", model, None, 0, utilisation_percent=resident)
        disks = (FileSystem("lustre", name, read_bytes_per_s=cores),)
        one = sample(Job(7, None, "", cpu_cores=cores, memory_resident_bytes=resident), gpus=(device,))
        one = one._replace(file_systems=disks)
        found += series.rows(one, 1000.0 + number, {7: {"0"}})
    for part in batch.split(found):
        body = batch.encode(part, boot="0" * 16, seq=1, node="n", sent_s=1.0, mono_s=1.0)
        message = json.loads(zlib.decompress(body))
        check(message)
        for block in message["blocks"]:
            assert len(block["model"]) <= 80 and (block["model"] == "" or block["model"].isprintable())


def test_many_rows_become_several_batches() -> None:
    many = [series.Row(job, "", "", 1.0, {"cpu_cores": 1.234567, "processes": 3}) for job in range(30_000)]
    parts = batch.split(many)
    assert len(parts) > 1 and max(len(part) for part in parts) <= batch.SPLIT_BLOCKS
    assert sum(len(part) for part in parts) == len(many)
    assert all(len(json.dumps(part, separators=(",", ":"))) < 2 * batch.SPLIT_BYTES for part in parts)


def test_a_word_of_the_end_counts_for_its_batch_and_key_only() -> None:
    key, sender, body = "k" * 43, "session:sabcdefgh", b"bytes"
    mac = batch.mac_of(key, sender, body)
    answer = json.dumps(batch.over_answer(key, sender, mac)).encode()
    assert batch.is_over(key, sender, mac, answer)
    assert not batch.is_over(key, sender, batch.mac_of(key, sender, b"other"), answer)
    assert not batch.is_over("x" * 43, sender, mac, answer)
    assert not batch.is_over(key, "session:sother000", mac, answer)


OWN = tuple(gpu(index) for index in "0123")


@pytest.mark.parametrize(
    ("env", "own"),
    [
        ({}, ""),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, ""),
        ({"CUDA_VISIBLE_DEVICES": ""}, ""),
        ({"CUDA_VISIBLE_DEVICES": "1,3"}, "13"),
        ({"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_GPUS": "2"}, "2"),
        ({"SLURM_JOB_GPUS": "0-1,3"}, "013"),
        ({"SLURM_STEP_GPUS": "3", "SLURM_JOB_GPUS": "0"}, "3"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-00002"}, "2"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-"}, ""),
    ],
)
def test_the_jobs_gpus_are_those_its_environment_names(env: dict[str, str], own: str) -> None:
    assert own_gpus(OWN, 7, env) == set(own)


def test_in_a_device_cgroup_gpus_are_known_by_their_device_files() -> None:
    shown = (gpu("0", minor=2), gpu("1", minor=5))
    assert own_gpus(shown, 7, {"SLURM_JOB_GPUS": "2,5", "CUDA_VISIBLE_DEVICES": "0,1"}) == {"0", "1"}


def test_a_mig_instance_is_known_by_its_uuid_without_its_gpu() -> None:
    whole = gpu("0")
    parts = [Gpu(f"0:{n}", f"MIG-aaaa-{n}", "H100 1g", whole.uuid, 0) for n in range(2)]
    env = {"CUDA_VISIBLE_DEVICES": "MIG-aaaa-1", "SLURM_JOB_GPUS": "1"}
    assert own_gpus((whole, *parts), 7, env) == {"0:1"}


def test_a_gpu_with_a_process_of_the_job_is_its_own() -> None:
    busy = gpu("1", processes=(GpuProcess(5, None, job_id=7), GpuProcess(6, None, job_id=8)))
    assert own_gpus((gpu("0"), busy), 7, {}) == {"1"}
