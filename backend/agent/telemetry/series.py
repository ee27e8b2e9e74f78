"""A sample in the words of the console's catalogue: one row for each device of a job.

Metric names are those of `backend.telemetry.METRICS`: the agent imports nothing of the rest, a test holds them equal.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ..sampler import FileSystem, Gpu, Job, Node, Sample

JOB = (
    "cpu_cores",
    "cpus",
    "memory_resident_bytes",
    "memory_cache_bytes",
    "memory_peak_bytes",
    "memory_limit_bytes",
    "oom_kills",
    "block_read_bytes_per_s",
    "block_write_bytes_per_s",
    "network_receive_bytes_per_s",
    "network_send_bytes_per_s",
    "processes",
    "threads",
)
GPU = (
    "utilisation_percent",
    "busy_percent",
    "sm_percent",
    "tensor_percent",
    "memory_bandwidth_percent",
    "memory_used_bytes",
    "memory_total_bytes",
    "power_w",
    "power_limit_w",
    "temperature_c",
    "sm_clock_mhz",
    "memory_clock_mhz",
    "pcie_receive_bytes_per_s",
    "pcie_send_bytes_per_s",
    "nvlink_receive_bytes_per_s",
    "nvlink_send_bytes_per_s",
)
NODE = (
    "cpu_cores",
    "cpus",
    "load_1",
    "memory_available_bytes",
    "memory_total_bytes",
    "network_receive_bytes_per_s",
    "network_send_bytes_per_s",
    "infiniband_receive_bytes_per_s",
    "infiniband_send_bytes_per_s",
    "block_read_bytes_per_s",
    "block_write_bytes_per_s",
)
FILE_SYSTEM = ("read_bytes_per_s", "write_bytes_per_s")
"""What is told of each kind, as the sampler calls it; all but a job's get the kind's name before them."""
HIGHEST = 1e18
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_MODEL_LENGTH = 80
_FS_LENGTH = 64

_POWER = frozenset(["power limit"])
_THERMAL = frozenset(["too warm, slowed by the driver", "too warm, slowed by the hardware"])
_BRAKE, _HARDWARE = "power brake of the machine", "hardware slowdown"
Values = Mapping[str, float]


class Row(NamedTuple):
    """One device of one job at one moment (`at_s`, Unix time). What could not be had is not in `values`."""

    job: int
    device: str
    model: str
    at_s: float
    values: Values


def rows(
    sample: Sample, at_s: float, gpus_of: Mapping[int, Collection[str]], jobs: Collection[int] | None = None
) -> list[Row]:
    """A row for each device of each job that has numbers. `gpus_of` are the indices of each job's GPUs.

    The node and its file systems belong to all jobs together: each of them has a row of them.
    """
    found = []
    shared = [("node", node_values(sample.node))]
    shared += [(f"fs:{name}", values) for name, values in file_systems(sample).items()]
    for job in sample.jobs:
        if job.job_id is None or (jobs is not None and job.job_id not in jobs):
            continue
        number = job.job_id
        found.append(Row(number, "", "", at_s, job_values(job)))
        found += [
            Row(number, device_of(gpu), model_of(gpu), at_s, gpu_values(gpu))
            for gpu in sample.gpus
            if gpu.index in gpus_of.get(number, ())
        ]
        found += [Row(number, device, "", at_s, values) for device, values in shared]
    return [row for row in found if row.values]


def device_of(gpu: Gpu) -> str:
    """`gpu:0`, `gpu:0:1`: by the number in its device file, which a job's device cgroup doesn't change."""
    whole, colon, instance = gpu.index.partition(":")
    return f"gpu:{whole if gpu.minor is None else gpu.minor}{colon}{instance}"


def model_of(gpu: Gpu) -> str:
    """Its name, in characters that can be shown."""
    return "".join(char for char in gpu.model if char.isprintable()).strip()[:_MODEL_LENGTH]


def job_values(job: Job) -> Values:
    """What a job as a whole does on this node."""
    return _values(job, JOB, "")


def gpu_values(gpu: Gpu) -> Values:
    """What one GPU does. What slows it down is 1 or 0 at this moment: means over time are shares."""
    found = dict(_values(gpu, GPU, "gpu_"))
    if gpu.throttle_reasons is not None:
        reasons = set(gpu.throttle_reasons)
        thermal = bool(reasons & _THERMAL)
        # the general bit comes with those that say why
        hardware = _BRAKE in reasons or (_HARDWARE in reasons and not thermal)
        found["gpu_throttle_power"] = float(bool(reasons & _POWER))
        found["gpu_throttle_thermal"] = float(thermal)
        found["gpu_throttle_hardware"] = float(hardware)
    return found


def node_values(node: Node) -> Values:
    """What the whole machine does."""
    return _values(node, NODE, "node_")


def file_systems(sample: Sample) -> dict[str, Values]:
    """What the clients of parallel file systems do, by a name that is safe to use."""
    found: dict[str, Values] = {}
    for file_system in sample.file_systems:
        name = _fs_name(file_system)
        values = _values(file_system, FILE_SYSTEM, "fs_")
        if name and values:
            found.setdefault(name, values)
    return found


def _fs_name(file_system: FileSystem) -> str:
    return "".join(char if char in _NAME else "_" for char in file_system.name)[:_FS_LENGTH]


def _values(thing: Any, names: tuple[str, ...], prefix: str) -> Values:
    found = {}
    for name in names:
        value = getattr(thing, name)
        if value is not None and math.isfinite(value) and 0 <= value <= HIGHEST:
            found[prefix + name] = _rounded(float(value))
    return found


def _rounded(value: float) -> float:
    """Six digits of what is measured: the rest is noise that would be sent and kept."""
    if value >= 1e6 or value == int(value):
        return float(round(value))
    return float(f"{value:.6g}")
