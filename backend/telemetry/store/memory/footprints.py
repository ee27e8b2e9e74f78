"""What a job's samples come to: sums that grow with each stretch of them, and their row of FOOTPRINTS."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from backend.telemetry.catalogue import IDLE_GPU_PERCENT
from backend.telemetry.store.layout.chunks import Chunk, Times, device_order

USUAL_S = 10.0  # what a sample stands for when it is the only one
LEAST_LOOKS = 3
SPARK_POINTS = 32
ACTIVE_CPU_SHARE = 0.02
FULL_CPU = 0.95  # cores: as good as one CPU that never waits
WAITING_GPU_PERCENT = 50.0
USED_SHARE = 0.05
_MINUTE_S = 60


@dataclass
class _Node:
    """Sums of a job's part on one node."""

    looks: int = 0
    first_s: float = math.inf
    last_s: float = -math.inf
    every_s: float = USUAL_S
    every_of: int = 0  # how many looks of one stretch have told that
    cores: float = 0.0  # sum over looks
    share: float = 0.0  # of its CPUs, sum over looks
    shares: int = 0
    cpus: float = 0.0
    threads: float = 0.0
    memory_peak: float = 0.0
    memory_limit: float = 0.0
    oom_kills: float = 0.0


@dataclass
class _Gpu:
    """Sums of one GPU."""

    looks: int = 0
    busy: float = 0.0
    used: int = 0  # looks above idle
    idle_s: float = 0.0
    measured_s: float = 0.0
    memory_peak: float = 0.0
    memory_total: float = 0.0
    power: float = 0.0
    powers: int = 0
    throttled: float = 0.0
    throttles: int = 0


@dataclass
class Tally:
    """All sums of one attempt of a job. The order in which stretches are added doesn't matter."""

    first_s: float = math.inf
    last_s: float = -math.inf
    active_s: float = -math.inf
    nodes: dict[str, _Node] = field(default_factory=dict)
    gpus: dict[str, _Gpu] = field(default_factory=dict)  # by "NODE DEVICE"
    models: list[str] = field(default_factory=list)
    cores: dict[int, list[float]] = field(default_factory=dict)  # minutes by how many cores: [minutes, sum of cores]
    waits: int = 0
    waits_of: int = 0
    read_bytes: float | None = None
    write_bytes: float | None = None
    spark_step_s: int = 10
    spark: dict[int, list[float]] = field(default_factory=dict)  # by bin: [gpu, n, cores, cpus, memory, limit]

    @property
    def measured(self) -> bool:
        """Whether there was any sample."""
        return self.first_s <= self.last_s

    def add(self, chunks: Sequence[Chunk]) -> None:
        """Take in samples of the job that were not taken in before."""
        minutes: dict[int, float] = {}
        busy: dict[str, list[tuple[Times, Times]]] = {}
        jobs: list[Chunk] = []
        for chunk in chunks:
            if chunk.key.device.startswith("gpu:"):
                self._add_gpu(chunk, busy)
            elif chunk.key.device == "":
                jobs.append(chunk)
                self._add_node(chunk, minutes)
            else:
                continue
            self.first_s = min(self.first_s, float(chunk.times_s[0]))
            self.last_s = max(self.last_s, float(chunk.times_s[-1]))
        for cores in minutes.values():
            counted = self.cores.setdefault(_bucket(cores), [0.0, 0.0])
            counted[0] += 1
            counted[1] += cores
        for chunk in jobs:
            self._add_waits(chunk, busy.get(chunk.key.node, []))

    def _add_node(self, chunk: Chunk, minutes: dict[int, float]) -> None:
        node = self.nodes.setdefault(chunk.key.node, _Node())
        node.looks += len(chunk.times_s)
        _tell_distance(node, chunk.times_s)
        cores, cpus = _row(chunk, "cpu_cores"), _row(chunk, "cpus")
        node.cpus = max(node.cpus, _greatest(cpus))
        there = ~np.isnan(cores)
        node.cores += float(np.nansum(cores))
        if node.cpus:
            node.share += float(np.nansum(cores)) / node.cpus
            node.shares += int(there.sum())
            active = there & (cores > ACTIVE_CPU_SHARE * node.cpus)
            if active.any() and not self.gpus:
                self.active_s = max(self.active_s, float(chunk.times_s[active][-1]))
        node.threads = max(node.threads, _greatest(_row(chunk, "threads")))
        resident = _row(chunk, "memory_resident_bytes")
        node.memory_peak = max(node.memory_peak, _greatest(resident), _greatest(_row(chunk, "memory_peak_bytes")))
        limit = _row(chunk, "memory_limit_bytes")
        node.memory_limit = max(node.memory_limit, _greatest(limit))
        node.oom_kills = max(node.oom_kills, _greatest(_row(chunk, "oom_kills")))
        self.read_bytes = _more(self.read_bytes, _row(chunk, "block_read_bytes_per_s"), node.every_s)
        self.write_bytes = _more(self.write_bytes, _row(chunk, "block_write_bytes_per_s"), node.every_s)
        for minute, mean in _means(chunk.times_s[there] // _MINUTE_S, cores[there]):
            minutes[minute] = minutes.get(minute, 0.0) + mean
        full = np.where(there, node.cpus, 0.0)
        self._add_spark(chunk.times_s, 2, np.nan_to_num(cores), full)
        limited = ~np.isnan(resident) & (node.memory_limit > 0)
        self._add_spark(
            chunk.times_s, 4, np.where(limited, np.nan_to_num(resident), 0.0), np.where(limited, node.memory_limit, 0.0)
        )

    def _add_gpu(self, chunk: Chunk, busy: dict[str, list[tuple[Times, Times]]]) -> None:
        if not self.gpus:
            self.active_s = -math.inf  # so far only the CPU had counted
        gpu = self.gpus.setdefault(f"{chunk.key.node} {chunk.key.device}", _Gpu())
        if chunk.model and chunk.model not in self.models:
            self.models.append(chunk.model)
        percent = _busy(chunk)
        there = ~np.isnan(percent)
        times, percent = chunk.times_s[there], percent[there]
        every_s = _every_s(chunk) or USUAL_S
        idle = percent < IDLE_GPU_PERCENT
        gpu.looks += len(percent)
        gpu.busy += float(percent.sum())
        gpu.used += int((~idle).sum())
        gpu.idle_s += float(idle.sum()) * every_s
        gpu.measured_s += len(percent) * every_s
        if not idle.all():
            self.active_s = max(self.active_s, float(times[~idle][-1]))
        gpu.memory_peak = max(gpu.memory_peak, _greatest(_row(chunk, "gpu_memory_used_bytes")))
        gpu.memory_total = max(gpu.memory_total, _greatest(_row(chunk, "gpu_memory_total_bytes")))
        power = _row(chunk, "gpu_power_w")
        gpu.power += float(np.nansum(power))
        gpu.powers += int((~np.isnan(power)).sum())
        heat, hardware = _row(chunk, "gpu_throttle_thermal"), _row(chunk, "gpu_throttle_hardware")
        throttled = np.fmax(heat, hardware)
        gpu.throttled += float(np.nansum(throttled))
        gpu.throttles += int((~np.isnan(throttled)).sum())
        busy.setdefault(chunk.key.node, []).append((times, percent))
        self._add_spark(times, 0, percent, np.ones(len(percent)))

    def _add_waits(self, chunk: Chunk, gpus: Sequence[tuple[Times, Times]]) -> None:
        measured = [(times, percent) for times, percent in gpus if len(times)]
        if not measured:
            return
        cores = _row(chunk, "cpu_cores")
        at = chunk.times_s[~np.isnan(cores)]
        mean = np.mean([np.interp(at, times, percent) for times, percent in measured], axis=0)
        self.waits += int(((mean < WAITING_GPU_PERCENT) & (cores[~np.isnan(cores)] >= FULL_CPU)).sum())
        self.waits_of += len(at)

    def _add_spark(self, times_s: Times, column: int, sums: Times, of: Times) -> None:
        if not len(times_s):
            return
        bins = (times_s // self.spark_step_s).astype(np.int64)
        found, inverse = np.unique(bins, return_inverse=True)
        for part, values in ((column, sums), (column + 1, of)):
            for number, total in zip(found.tolist(), np.bincount(inverse, values).tolist(), strict=True):
                self.spark.setdefault(number, [0.0] * 6)[part] += total
        while len(self.spark) > 1 and max(self.spark) - min(self.spark) >= SPARK_POINTS:
            self._halve_spark()

    def _halve_spark(self) -> None:
        wider: dict[int, list[float]] = {}
        for number, sums in self.spark.items():
            into = wider.setdefault(number // 2, [0.0] * 6)
            for part, value in enumerate(sums):
                into[part] += value
        self.spark, self.spark_step_s = wider, self.spark_step_s * 2

    def row(self, cluster: str, job_id: int, start_s: int, end_s: int | None) -> dict[str, Any]:
        """The job's row of FOOTPRINTS."""
        nodes, gpus = list(self.nodes.values()), list(self.gpus.values())
        shares = [node.share / node.shares for node in nodes if node.shares]
        most = max(nodes, key=lambda node: node.memory_peak, default=None)
        means = [node.cores / node.looks for node in nodes if node.looks]
        return {
            "cluster": cluster, "job_id": job_id, "start_s": start_s, "end_s": end_s,
            "first_s": self.first_s, "last_s": self.last_s,
            "samples": min((node.looks for node in nodes), default=0) or max((gpu.looks for gpu in gpus), default=0),
            "every_s": float(np.median([node.every_s for node in nodes])) if nodes else USUAL_S,
            "nodes": len(self.nodes.keys() | {name.split(" ")[0] for name in self.gpus}),
            "cpus": round(sum(node.cpus for node in nodes)) if nodes and all(node.cpus for node in nodes) else None,
            "cpu_cores_mean": sum(means) if means else None,
            "cpu_cores_p95": _quantile(self.cores, 0.95),
            "cpu_node_low": min(shares, default=None), "cpu_node_high": max(shares, default=None),
            "threads_max": _int(max((node.threads for node in nodes), default=0.0)),
            "memory_peak_bytes": _int(most.memory_peak if most else 0.0),
            "memory_limit_bytes": _int(most.memory_limit if most else 0.0),
            "oom_kills": round(sum(node.oom_kills for node in nodes)) if nodes else None,
            **self._gpu_columns(),
            "read_bytes": self.read_bytes, "write_bytes": self.write_bytes,
            "last_active_s": self.active_s if math.isfinite(self.active_s) else None,
            **self._spark_columns(),
        }  # fmt: skip

    def _gpu_columns(self) -> dict[str, Any]:
        gpus = [self.gpus[name] for name in sorted(self.gpus, key=lambda name: device_order(*name.split(" ")))]
        counted = [gpu for gpu in gpus if gpu.looks]
        powers = sum(gpu.powers for gpu in gpus)
        throttles = sum(gpu.throttles for gpu in gpus)
        looks = sum(gpu.looks for gpu in gpus)
        return {
            "gpus": len(gpus),
            "gpu_model": None if not gpus else self.models[0] if len(self.models) == 1 else "",
            "gpu_percent_mean": sum(gpu.busy for gpu in gpus) / looks if looks else None,
            "gpu_percent_by_device": [gpu.busy / gpu.looks if gpu.looks else None for gpu in gpus] if gpus else None,
            "gpus_used": sum(gpu.used >= USED_SHARE * gpu.looks and gpu.used > 0 for gpu in gpus) if counted else None,
            "gpu_idle_s": sum(gpu.idle_s for gpu in gpus) if counted else None,
            "gpu_measured_s": sum(gpu.measured_s for gpu in gpus) if counted else None,
            "gpu_memory_peak_bytes": _int(max((gpu.memory_peak for gpu in gpus), default=0.0)),
            "gpu_memory_total_bytes": _int(max((gpu.memory_total for gpu in gpus), default=0.0)),
            "gpu_power_mean_w": sum(gpu.power for gpu in gpus) / powers if powers else None,
            "gpu_throttled_share": sum(gpu.throttled for gpu in gpus) / throttles if throttles else None,
            "gpu_waits_share": self.waits / self.waits_of if self.waits_of else None,
        }

    def _spark_columns(self) -> dict[str, Any]:
        if not self.spark:
            return dict.fromkeys(("spark_since_s", "spark_step_s", "spark_gpu", "spark_cpu", "spark_memory"))
        first, last = min(self.spark), max(self.spark)
        bins = [self.spark.get(number, [0.0] * 6) for number in range(first, last + 1)]

        def line(part: int, scale: float) -> list[float | None]:
            found = [round(scale * sums[part] / sums[part + 1], 2) if sums[part + 1] else None for sums in bins]
            return found if any(value is not None for value in found) else []

        return {
            "spark_since_s": first * self.spark_step_s, "spark_step_s": self.spark_step_s,
            "spark_gpu": line(0, 1.0), "spark_cpu": line(2, 100.0), "spark_memory": line(4, 100.0),
        }  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Tally:
        """From JSON."""
        known = {item.name for item in fields(cls)}
        found = cls(**{name: value for name, value in facts.items() if name in known})
        found.nodes = {name: _Node(**sums) for name, sums in facts["nodes"].items()}
        found.gpus = {name: _Gpu(**sums) for name, sums in facts["gpus"].items()}
        found.cores = {int(bucket): list(counted) for bucket, counted in facts["cores"].items()}
        found.spark = {int(number): list(sums) for number, sums in facts["spark"].items()}
        return found


def _row(chunk: Chunk, metric: str) -> Times:
    if metric not in chunk.metrics:
        return np.full(len(chunk.times_s), np.nan)
    return chunk.means[chunk.metrics.index(metric)].astype(np.float64)


def _busy(chunk: Chunk) -> Times:
    counted, driver = _row(chunk, "gpu_busy_percent"), _row(chunk, "gpu_utilisation_percent")
    return np.where(np.isnan(counted), driver, counted)


def _greatest(values: Times) -> float:
    return float(np.fmax.reduce(values, initial=0.0)) if len(values) else 0.0


def _tell_distance(node: _Node, times: Times) -> None:
    """How far looks usually are apart: by the longest stretch. One of two looks says little: a job's last look may come
    soon after the one before."""
    node.first_s, node.last_s = min(node.first_s, float(times[0])), max(node.last_s, float(times[-1]))
    if len(times) >= max(node.every_of, LEAST_LOOKS):
        node.every_s, node.every_of = float(np.median(np.diff(times))), len(times)
    elif not node.every_of and node.looks > 1:
        node.every_s = (node.last_s - node.first_s) / (node.looks - 1)


def _every_s(chunk: Chunk) -> float | None:
    return float(np.median(np.diff(chunk.times_s))) if len(chunk.times_s) > 1 else None


def _more(total: float | None, rates: Times, every_s: float) -> float | None:
    if np.isnan(rates).all():
        return total
    return (total or 0.0) + float(np.nansum(rates)) * every_s


def _means(bins: Times, values: Times) -> Iterable[tuple[int, float]]:
    if not len(bins):
        return []
    found, inverse = np.unique(bins.astype(np.int64), return_inverse=True)
    means = np.bincount(inverse, values) / np.bincount(inverse)
    return zip(found.tolist(), means.tolist(), strict=True)


def _bucket(cores: float) -> int:
    return round(math.log1p(cores / 0.01) / math.log(1.03))  # within 1.5 %


def _quantile(buckets: Mapping[int, Sequence[float]], share: float) -> float | None:
    left = share * sum(counted[0] for counted in buckets.values())
    for bucket in sorted(buckets):
        count, total = buckets[bucket]
        left -= count
        if left <= 1e-9:
            return total / count
    return None


def _int(value: float) -> int | None:
    return round(value) if value else None
