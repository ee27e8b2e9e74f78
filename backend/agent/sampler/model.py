"""What a sample holds. A number that can't be had is None, and `Sample.missing` says why under the same name.

Named tuples, here and elsewhere in what a node's service loads: `dataclasses` would load `inspect`, 1.4 MB.
"""

from __future__ import annotations

from typing import NamedTuple


class Unavailable(Exception):
    """A metric can't be had here; the message says why."""


class Missing(dict[str, str]):
    """Why what can't be had is missing, by the metric's path: `gpu.0.power_w`, `job.12.oom_kills`, `gpus`."""


class GpuProcess(NamedTuple):
    """A process that holds memory of a GPU. `job_id` is None for one that belongs to no sampled job."""

    pid: int
    memory_bytes: int | None
    job_id: int | None = None


class Gpu(NamedTuple):
    """One device: a GPU, or a MIG instance (then `parent` is its GPU's uuid and `index` reads like `0:1`).

    `minor` is the number in its device file (`/dev/nvidia0`), the whole GPU's for a MIG instance; Slurm counts GPUs so.
    `utilisation_percent` is the driver's own figure: the share of its last period (≤ 1 s) in which a kernel or a copy
    ran. `busy_percent` (kernels only) up to `memory_bandwidth_percent` are means since the sample before.
    """

    index: str  # type: ignore[assignment]  # nobody looks a value up in it
    uuid: str
    model: str
    parent: str | None
    minor: int | None = None
    utilisation_percent: int | None = None
    memory_utilisation_percent: int | None = None
    busy_percent: float | None = None
    sm_percent: float | None = None
    tensor_percent: float | None = None
    memory_bandwidth_percent: float | None = None
    memory_used_bytes: int | None = None
    memory_reserved_bytes: int | None = None
    memory_total_bytes: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    temperature_c: int | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    throttle_reasons: tuple[str, ...] | None = None
    pcie_receive_bytes_per_s: float | None = None
    pcie_send_bytes_per_s: float | None = None
    nvlink_receive_bytes_per_s: float | None = None
    nvlink_send_bytes_per_s: float | None = None
    processes: tuple[GpuProcess, ...] | None = None


class Job(NamedTuple):
    """One job's use of this node. Totals count from the job's (in `source` "processes": the sampler's) start.

    `cpu_per_core` is CPU seconds for each second and core of the job: 1.0 is all its cores, all the time.
    `memory_resident_bytes` is what can't be dropped (anonymous and shared memory), `memory_cache_bytes` file cache.
    """

    job_id: int | None
    sluid: str | None
    source: str
    cpus: int | None = None
    cpu_s: float | None = None
    cpu_cores: float | None = None
    cpu_per_core: float | None = None
    memory_resident_bytes: int | None = None
    memory_cache_bytes: int | None = None
    memory_peak_bytes: int | None = None
    memory_limit_bytes: int | None = None
    oom_kills: int | None = None
    block_read_bytes: int | None = None
    block_write_bytes: int | None = None
    block_read_bytes_per_s: float | None = None
    block_write_bytes_per_s: float | None = None
    network_receive_bytes_per_s: float | None = None
    network_send_bytes_per_s: float | None = None
    processes: int | None = None
    threads: int | None = None


class Node(NamedTuple):
    """The whole machine. Network and InfiniBand are sums over hardware ports, disks over whole devices."""

    cpus: int | None = None
    cpu_cores: float | None = None
    load_1: float | None = None
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    memory_cache_bytes: int | None = None
    swap_used_bytes: int | None = None
    network_receive_bytes_per_s: float | None = None
    network_send_bytes_per_s: float | None = None
    infiniband_receive_bytes_per_s: float | None = None
    infiniband_send_bytes_per_s: float | None = None
    block_read_bytes_per_s: float | None = None
    block_write_bytes_per_s: float | None = None


class FileSystem(NamedTuple):
    """A parallel file system's client counters on this node (all jobs together)."""

    kind: str
    name: str
    read_bytes: int | None = None
    write_bytes: int | None = None
    read_bytes_per_s: float | None = None
    write_bytes_per_s: float | None = None
    opens: int | None = None


class Sample(NamedTuple):
    """One look at a machine. `taken_s` is wall-clock Unix time, `interval_s` what the rates are means over."""

    host: str
    taken_s: float
    interval_s: float | None
    took_ms: float
    node: Node
    gpus: tuple[Gpu, ...]
    jobs: tuple[Job, ...]
    file_systems: tuple[FileSystem, ...]
    missing: Missing
