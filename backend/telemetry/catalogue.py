"""Every metric there is: its name, unit and what it is measured on. What is not here is not taken in.

A series is one metric of one device of one job on one node. A device is "" (the job as a whole on that node),
`gpu:INDEX` (`gpu:0`; a MIG instance `gpu:0:1`), `fs:NAME` (a parallel file system's client on the node, all jobs
together) or `node` (the whole machine, all jobs together).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["job", "gpu", "fs", "node"]
Unit = Literal["cores", "bytes", "bytes/s", "percent", "W", "°C", "MHz", "count", "share"]


@dataclass(frozen=True)
class Metric:
    """`highest`: the largest value is what counts of a stretch of time (a peak, a counter), else the mean."""

    name: str
    title: str
    unit: Unit
    kind: Kind
    highest: bool = False


METRICS: tuple[Metric, ...] = (
    Metric("cpu_cores", "CPU", "cores", "job"),
    Metric("cpus", "CPUs of the job on the node", "count", "job", highest=True),
    Metric("memory_resident_bytes", "Memory", "bytes", "job"),
    Metric("memory_cache_bytes", "File cache", "bytes", "job"),
    Metric("memory_peak_bytes", "Peak memory", "bytes", "job", highest=True),
    Metric("memory_limit_bytes", "Memory limit", "bytes", "job", highest=True),
    Metric("oom_kills", "Out-of-memory kills", "count", "job", highest=True),
    Metric("block_read_bytes_per_s", "Disk read", "bytes/s", "job"),
    Metric("block_write_bytes_per_s", "Disk written", "bytes/s", "job"),
    Metric("network_receive_bytes_per_s", "Network received", "bytes/s", "job"),
    Metric("network_send_bytes_per_s", "Network sent", "bytes/s", "job"),
    Metric("processes", "Processes", "count", "job"),
    Metric("threads", "Threads", "count", "job"),
    Metric("gpu_utilisation_percent", "GPU utilisation", "percent", "gpu"),
    Metric("gpu_busy_percent", "GPU busy", "percent", "gpu"),
    Metric("gpu_sm_percent", "SMs with work", "percent", "gpu"),
    Metric("gpu_tensor_percent", "Tensor cores", "percent", "gpu"),
    Metric("gpu_memory_bandwidth_percent", "GPU memory bandwidth", "percent", "gpu"),
    Metric("gpu_memory_used_bytes", "GPU memory", "bytes", "gpu"),
    Metric("gpu_memory_total_bytes", "GPU memory there is", "bytes", "gpu", highest=True),
    Metric("gpu_power_w", "GPU power", "W", "gpu"),
    Metric("gpu_power_limit_w", "GPU power limit", "W", "gpu", highest=True),
    Metric("gpu_temperature_c", "GPU temperature", "°C", "gpu"),
    Metric("gpu_sm_clock_mhz", "SM clock", "MHz", "gpu"),
    Metric("gpu_memory_clock_mhz", "GPU memory clock", "MHz", "gpu"),
    Metric("gpu_throttle_power", "Throttled by power", "share", "gpu"),
    Metric("gpu_throttle_thermal", "Throttled by heat", "share", "gpu"),
    Metric("gpu_throttle_hardware", "Throttled by the hardware", "share", "gpu"),
    Metric("gpu_pcie_receive_bytes_per_s", "PCIe to the GPU", "bytes/s", "gpu"),
    Metric("gpu_pcie_send_bytes_per_s", "PCIe from the GPU", "bytes/s", "gpu"),
    Metric("gpu_nvlink_receive_bytes_per_s", "NVLink received", "bytes/s", "gpu"),
    Metric("gpu_nvlink_send_bytes_per_s", "NVLink sent", "bytes/s", "gpu"),
    Metric("fs_read_bytes_per_s", "Read", "bytes/s", "fs"),
    Metric("fs_write_bytes_per_s", "Written", "bytes/s", "fs"),
    Metric("node_cpu_cores", "CPU of the node", "cores", "node"),
    Metric("node_cpus", "CPUs of the node", "count", "node", highest=True),
    Metric("node_load_1", "Load of the node", "count", "node"),
    Metric("node_memory_available_bytes", "Memory free on the node", "bytes", "node"),
    Metric("node_memory_total_bytes", "Memory of the node", "bytes", "node", highest=True),
    Metric("node_network_receive_bytes_per_s", "Network received, node", "bytes/s", "node"),
    Metric("node_network_send_bytes_per_s", "Network sent, node", "bytes/s", "node"),
    Metric("node_infiniband_receive_bytes_per_s", "InfiniBand received, node", "bytes/s", "node"),
    Metric("node_infiniband_send_bytes_per_s", "InfiniBand sent, node", "bytes/s", "node"),
    Metric("node_block_read_bytes_per_s", "Disk read, node", "bytes/s", "node"),
    Metric("node_block_write_bytes_per_s", "Disk written, node", "bytes/s", "node"),
)
BY_NAME = {metric.name: metric for metric in METRICS}
IDLE_GPU_PERCENT = 5.0
"""Below this a GPU counts as idle; the driver's own figure, or `gpu_busy_percent` where the GPU counts that."""
