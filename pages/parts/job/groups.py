"""Which charts there are, in the order they are seen: a metric each, one line a device, synchronised."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chart:
    """`limit`: the metric that says how much there is, drawn as a line across and never as a chart of its own."""

    metric: str
    limit: str = ""


@dataclass(frozen=True)
class Group:
    """`shut`: asked for only once it is opened."""

    name: str
    title: str
    charts: tuple[Chart, ...]
    shut: bool = False

    @property
    def metrics(self) -> tuple[str, ...]:
        """All that has to be read for it."""
        return tuple(dict.fromkeys(name for each in self.charts for name in (each.metric, each.limit) if name))


def _charts(*names: str) -> tuple[Chart, ...]:
    return tuple(Chart(name) for name in names)


GROUPS: tuple[Group, ...] = (
    Group(
        "gpu",
        "GPUs",
        (
            Chart("gpu_utilisation_percent"),
            Chart("gpu_memory_used_bytes", "gpu_memory_total_bytes"),
            Chart("gpu_power_w", "gpu_power_limit_w"),
            Chart("gpu_temperature_c"),
        ),
    ),
    Group(
        "cpu",
        "CPU and memory",
        (Chart("cpu_cores", "cpus"), Chart("memory_resident_bytes", "memory_limit_bytes")),
    ),
    Group(
        "io",
        "Disks and network",
        _charts(
            "block_read_bytes_per_s", "block_write_bytes_per_s", "network_receive_bytes_per_s",
            "network_send_bytes_per_s", "fs_read_bytes_per_s", "fs_write_bytes_per_s",
        ),
    ),
    Group(
        "gpu-more",
        "More about the GPUs",
        _charts(
            "gpu_busy_percent", "gpu_sm_percent", "gpu_tensor_percent", "gpu_memory_bandwidth_percent",
            "gpu_sm_clock_mhz", "gpu_memory_clock_mhz", "gpu_throttle_power", "gpu_throttle_thermal",
            "gpu_throttle_hardware", "gpu_pcie_receive_bytes_per_s", "gpu_pcie_send_bytes_per_s",
            "gpu_nvlink_receive_bytes_per_s", "gpu_nvlink_send_bytes_per_s",
        ),
        shut=True,
    ),
    Group(
        "cpu-more",
        "More about the job",
        _charts("memory_cache_bytes", "memory_peak_bytes", "oom_kills", "processes", "threads"),
        shut=True,
    ),
    Group(
        "node",
        "The whole nodes, all jobs together",
        (
            Chart("node_cpu_cores", "node_cpus"),
            Chart("node_load_1"),
            Chart("node_memory_available_bytes", "node_memory_total_bytes"),
            *_charts(
                "node_network_receive_bytes_per_s", "node_network_send_bytes_per_s",
                "node_infiniband_receive_bytes_per_s", "node_infiniband_send_bytes_per_s",
                "node_block_read_bytes_per_s", "node_block_write_bytes_per_s",
            ),
        ),
        shut=True,
    ),
)  # fmt: skip
BY_NAME = {group.name: group for group in GROUPS}
