"""What rules can speak of: facts of the job as asked and given, of its footprint, and what follows from both.

A fact that is not known is None: no rule holds by it, and no sentence is made with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from backend.telemetry.catalogue import IDLE_GPU_PERCENT

Value = float | int | str | None
Unit = Literal[
    "count", "share", "percent", "bytes", "seconds", "hours", "times", "text", "sbatch-memory", "sbatch-time"
]  # fmt: skip

MB = 2**20
GB = 2**30
MEMORY_MARGIN = 1.2  # over the peak: the next run is never quite the same
OOM_MARGIN = 1.5  # over what was not enough
TIME_MARGIN = 1.25
WORKERS_MOST = 16  # more loader processes for one GPU seldom help, and each holds memory


@dataclass(frozen=True)
class Fact:
    unit: Unit
    title: str

    @property
    def is_text(self) -> bool:
        return self.unit == "text"


FACTS: dict[str, Fact] = {
    # asked and given
    "state": Fact("text", "how it stands or ended, in Slurm's word"),
    "nodes": Fact("count", "nodes it had"),
    "partition": Fact("text", "partition"),
    "cpus": Fact("count", "CPUs it had, all nodes"),
    "req_cpus": Fact("count", "CPUs it asked for"),
    "gpus": Fact("count", "GPUs it had, all nodes"),
    "gpu_type": Fact("text", "their type, as Slurm calls it"),
    "mem_bytes": Fact("bytes", "memory it had, all nodes"),
    "req_mem_bytes": Fact("bytes", "memory it asked for, all nodes"),
    "time_limit_s": Fact("seconds", "its time limit"),
    "elapsed_s": Fact("seconds", "how long it ran, or runs"),
    "exit_status": Fact("count", "what its script ended with"),
    "similar_failures": Fact("count", "earlier jobs of the same person and name that failed early, last 7 days"),
    # measured
    "samples": Fact("count", "looks at the job, on the node with the fewest"),
    "measured_nodes": Fact("count", "nodes that were measured"),
    "cpu_cores_mean": Fact("times", "CPUs it kept busy, mean"),
    "cpu_cores_p95": Fact("times", "CPUs it kept busy, but for the busiest twentieth of the time"),
    "cpu_node_low": Fact("share", "of its CPUs, on the least busy node"),
    "cpu_node_high": Fact("share", "of its CPUs, on the busiest node"),
    "threads_max": Fact("count", "threads, on the node with the most"),
    "memory_peak_bytes": Fact("bytes", "peak of memory, on the node with the most"),
    "oom_kills": Fact("count", "processes the kernel killed for want of memory"),
    "measured_gpus": Fact("count", "GPUs that were measured"),
    "gpu_model": Fact("text", "their model, as the driver calls it"),
    "gpu_percent_mean": Fact("percent", "how busy its GPUs were, mean"),
    "gpus_used": Fact("count", f"GPUs that were above {IDLE_GPU_PERCENT:g} % in a twentieth of the time or more"),
    "gpu_memory_peak_bytes": Fact("bytes", "peak of GPU memory, on the GPU with the most"),
    "gpu_memory_total_bytes": Fact("bytes", "memory of one GPU"),
    "gpu_throttled_share": Fact("share", "of GPU time slowed by heat or by the hardware"),
    "gpu_waits_share": Fact("share", "of the time, GPUs below half while a CPU of the job was full"),
    # what follows
    "cpu_share": Fact("share", "of its CPUs that it kept busy, mean"),
    "cpus_a_node": Fact("count", "CPUs on one node"),
    "cpus_a_gpu": Fact("times", "CPUs for each GPU"),
    "cpus_suggested": Fact("count", "CPUs that would have done"),
    "cpus_for_loading": Fact("count", "CPUs, twice as many"),
    "memory_given_bytes": Fact("bytes", "memory it might use on that node: its limit there, else its part"),
    "memory_share": Fact("share", "of that memory, at the peak"),
    "memory_suggested": Fact("sbatch-memory", f"the peak and {MEMORY_MARGIN:g} times of it, as --mem takes it"),
    "memory_more": Fact("sbatch-memory", f"{OOM_MARGIN:g} times what it had on one node, as --mem takes it"),
    "memory_spare_bytes": Fact("bytes", "memory that asking for memory_suggested leaves to others, all nodes"),
    "memory_spare_gb_hours": Fact("hours", "that memory in GB, for as long as the job ran"),
    "time_share": Fact("share", "of its time limit that it ran"),
    "time_suggested": Fact("sbatch-time", f"{TIME_MARGIN:g} times as long as it ran, as --time takes it"),
    "time_more": Fact("sbatch-time", "one and a half times its limit, as --time takes it"),
    "time_spare_s": Fact("seconds", "time limit less time_suggested"),
    "cpu_hours": Fact("hours", "CPU-hours it held"),
    "cpu_hours_spare": Fact("hours", "CPU-hours that cpus_suggested would have left to others"),
    "cpu_hours_uneven": Fact("hours", "CPU-hours that the least busy node did less than the busiest"),
    "gpu_hours": Fact("hours", "GPU-hours it held"),
    "gpus_idle": Fact("count", "GPUs that were hardly used"),
    "gpu_hours_unused": Fact("hours", "GPU-hours of these"),
    "gpu_idle_share": Fact("share", f"of its measured GPU time below {IDLE_GPU_PERCENT:g} %"),
    "gpu_idle_hours": Fact("hours", "measured GPU-hours of that"),
    "gpu_waits_hours": Fact("hours", "measured GPU-hours in which GPUs waited for a CPU"),
    "gpu_throttled_hours": Fact("hours", "measured GPU-hours that were slowed"),
    "gpu_memory_share": Fact("share", "of a GPU's memory, at the peak"),
    "gpu_least_percent": Fact("percent", "how busy the least busy of its GPUs was, mean"),
    "gpu_most_percent": Fact("percent", "how busy the busiest was, mean"),
    "workers_suggested": Fact("count", "loader processes that its CPUs can run for each GPU"),
    "threads_share": Fact("times", "threads for each CPU, on the node with the most"),
}


def facts_of(footprint: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, Value]:
    """Every fact of FACTS. `footprint`: a row of FOOTPRINTS, or empty; `job`: as `jobfacts.job_facts` makes it."""
    facts = dict.fromkeys(FACTS, None) | _given(job) | _measured(footprint)
    facts["cpus"] = facts["cpus"] or _number(footprint, "cpus")
    facts["gpus"] = facts["gpus"] or facts["measured_gpus"]
    facts |= _cpu(facts)
    facts |= _memory(footprint, facts)
    facts |= _time(facts)
    facts |= _gpu(footprint, facts)
    return facts


def _number(row: Mapping[str, Any], name: str) -> float | int | None:
    value = row.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def _given(job: Mapping[str, Any]) -> dict[str, Value]:
    same = ("nodes", "cpus", "req_cpus", "gpus", "time_limit_s", "elapsed_s", "exit_status", "similar_failures")
    given: dict[str, Value] = {name: _number(job, name) for name in same}
    given |= {name: job.get(name) or None for name in ("state", "partition", "gpu_type")}
    for name, of in (("mem_bytes", "mem_mb"), ("req_mem_bytes", "req_mem_mb")):
        size_mb = _number(job, of)
        given[name] = size_mb * MB if size_mb else None
    return given


def _measured(footprint: Mapping[str, Any]) -> dict[str, Value]:
    same = (
        "samples", "cpu_cores_mean", "cpu_cores_p95", "cpu_node_low", "cpu_node_high", "threads_max",
        "memory_peak_bytes", "oom_kills", "gpu_percent_mean", "gpus_used", "gpu_memory_peak_bytes",
        "gpu_memory_total_bytes", "gpu_throttled_share", "gpu_waits_share",
    )  # fmt: skip
    measured: dict[str, Value] = {name: _number(footprint, name) for name in same}
    measured["measured_nodes"] = _number(footprint, "nodes")
    measured["measured_gpus"] = _number(footprint, "gpus")
    measured["gpu_model"] = footprint.get("gpu_model") or None
    return measured


def _hours(count: Any, seconds: Any) -> float | None:
    return count * seconds / 3600 if count is not None and seconds is not None else None


def _cpu(facts: Mapping[str, Any]) -> dict[str, Value]:
    cpus, nodes, elapsed_s = facts["cpus"], facts["nodes"] or facts["measured_nodes"] or 1, facts["elapsed_s"]
    made: dict[str, Value] = {"cpu_hours": _hours(cpus, elapsed_s)}
    if not cpus:
        return made
    made["cpus_a_node"] = a_node = max(1, round(cpus / nodes))
    made["cpus_for_loading"] = 2 * cpus
    if facts["cpu_cores_mean"] is not None:
        made["cpu_share"] = min(1.0, facts["cpu_cores_mean"] / cpus)
    if facts["cpu_cores_p95"] is not None:
        made["cpus_suggested"] = suggested = min(cpus, max(1, math.ceil(facts["cpu_cores_p95"] * 1.1)))
        made["cpu_hours_spare"] = _hours(cpus - suggested, elapsed_s)
    if facts["cpu_node_low"] is not None and facts["cpu_node_high"] is not None:
        made["cpu_hours_uneven"] = _hours((facts["cpu_node_high"] - facts["cpu_node_low"]) * a_node, elapsed_s)
    if facts["threads_max"] is not None:
        made["threads_share"] = facts["threads_max"] / a_node
    return made


def _memory(footprint: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Value]:
    nodes = facts["nodes"] or facts["measured_nodes"] or 1
    given = _number(footprint, "memory_limit_bytes")
    if not given and facts["mem_bytes"]:
        given = facts["mem_bytes"] / nodes
    made: dict[str, Value] = {"memory_given_bytes": given}
    if not given:
        return made
    made["memory_more"] = memory_step(given * OOM_MARGIN)
    peak = facts["memory_peak_bytes"]
    if peak is not None:
        made["memory_share"] = peak / given
        made["memory_suggested"] = suggested = memory_step(peak * MEMORY_MARGIN)
        made["memory_spare_bytes"] = spare = max(0, given - suggested) * nodes
        made["memory_spare_gb_hours"] = _hours(spare / GB, facts["elapsed_s"])
    return made


def memory_step(size_bytes: float) -> int:
    """The next size a person would ask for: whole GB, in steps of about a twentieth from 20 GB on."""
    whole = max(1, math.ceil(size_bytes / GB))
    step = 1 if whole <= 20 else 2 if whole <= 64 else 8 if whole <= 256 else 32
    return math.ceil(whole / step) * step * GB


def time_step(seconds: float) -> int:
    """The next time a person would ask for: five minutes, quarters of an hour, whole hours."""
    step = 300 if seconds <= 3600 else 900 if seconds <= 6 * 3600 else 3600
    return max(1, math.ceil(seconds / step)) * step


def _time(facts: Mapping[str, Any]) -> dict[str, Value]:
    limit, elapsed = facts["time_limit_s"], facts["elapsed_s"]
    if not limit or elapsed is None:
        return {}
    suggested = time_step(elapsed * TIME_MARGIN)
    return {
        "time_share": elapsed / limit,
        "time_suggested": suggested,
        "time_more": time_step(limit * 1.5),
        "time_spare_s": max(0, limit - suggested),
    }


def _gpu(footprint: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Value]:
    gpus, elapsed_s = facts["gpus"], facts["elapsed_s"]
    made: dict[str, Value] = {"gpus": gpus or 0, "gpu_hours": _hours(gpus, elapsed_s) if gpus else None}
    measured_s, idle_s = _number(footprint, "gpu_measured_s"), _number(footprint, "gpu_idle_s")
    if measured_s and idle_s is not None:
        made["gpu_idle_share"] = min(1.0, idle_s / measured_s)
        made["gpu_idle_hours"] = idle_s / 3600
    for share, hours in (("gpu_waits_share", "gpu_waits_hours"), ("gpu_throttled_share", "gpu_throttled_hours")):
        if measured_s and facts[share] is not None:
            made[hours] = facts[share] * measured_s / 3600
    if facts["measured_gpus"] and facts["gpus_used"] is not None:
        # Of the measured ones only: what was not measured may have been busy.
        made["gpus_idle"] = idle = max(0, facts["measured_gpus"] - facts["gpus_used"])
        made["gpu_hours_unused"] = _hours(idle, elapsed_s)
    if facts["gpu_memory_peak_bytes"] is not None and facts["gpu_memory_total_bytes"]:
        made["gpu_memory_share"] = facts["gpu_memory_peak_bytes"] / facts["gpu_memory_total_bytes"]
    by_device = [each for each in footprint.get("gpu_percent_by_device") or () if each is not None]
    if by_device:
        made["gpu_least_percent"], made["gpu_most_percent"] = min(by_device), max(by_device)
    if gpus and facts["cpus"]:
        made["cpus_a_gpu"] = facts["cpus"] / gpus
        made["workers_suggested"] = min(WORKERS_MOST, max(2, int(facts["cpus"] / gpus)))
    return made
