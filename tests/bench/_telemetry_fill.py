"""Samples that look like real ones for the telemetry bench: noise, steps and slow growth, by the kind of metric."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from backend.telemetry import METRICS, JobRef, Metric
from backend.telemetry.store import Batch, Block, JobFacts, Keeping, Store, maintain

CLUSTER = "bench"
EVERY_S = 10
PART_S = 1000 * EVERY_S // 2
GB = 2.0**30
CHART = (
    "gpu_utilisation_percent", "gpu_memory_used_bytes", "gpu_power_w", "gpu_temperature_c", "gpu_sm_percent",
    "gpu_sm_clock_mhz",
)  # fmt: skip


class Filler:
    """A store whose clock goes along with the samples that are put into it."""

    def __init__(self, folder: Path, begin_s: int, seal_every_s: int) -> None:
        self.now_s = float(begin_s)
        self._seal_every_s = seal_every_s
        self._random = np.random.default_rng(4)
        self.store = Store(folder, Keeping(), now=lambda: self.now_s)
        self._seq = 0

    def run(self, jobs: Sequence[tuple[int, int, int]], for_s: int, names: Sequence[str] | None = None) -> list[JobRef]:
        """Jobs (number, nodes, GPUs of each) sampled every ten seconds, from now on; sealed and put together."""
        start_s = int(self.now_s)
        self.store.told([JobFacts(CLUSTER, job_id, start_s, None) for job_id, _, _ in jobs])
        until_s = start_s + for_s
        sealed_s = self.now_s
        while self.now_s < until_s:
            times = np.arange(self.now_s, min(self.now_s + PART_S, until_s), EVERY_S)
            for job_id, nodes, gpus in jobs:
                for node in range(nodes):
                    self._append(job_id, f"node{job_id}-{node}", gpus, times, names)
            self.now_s = float(times[-1]) + EVERY_S
            if self.now_s - sealed_s >= self._seal_every_s:
                sealed_s = self.now_s
                maintain(self.store)
        maintain(self.store)
        return [JobRef(CLUSTER, job_id, start_s, None) for job_id, _, _ in jobs]

    def _append(self, job_id: int, node: str, gpus: int, times: np.ndarray, names: Sequence[str] | None) -> None:
        jittered = times + self._random.normal(0, 0.02, len(times))
        blocks = []
        for device in ["", *(f"gpu:{number}" for number in range(gpus)), "node"]:
            kind = device.partition(":")[0] or "job"
            metrics = [m for m in METRICS if m.kind == kind and (names is None or kind != "gpu" or m.name in names)]
            values = np.array([self._values(metric, len(times)) for metric in metrics], np.float32)
            blocks.append(Block(job_id, device, "", jittered, tuple(m.name for m in metrics), values))
        self._seq += 1
        last_s = float(jittered[-1])
        self.store.append([
            Batch(CLUSTER, f"session:job{job_id}", node, "0" * 16, self._seq, last_s, last_s, last_s, tuple(blocks))
        ])  # fmt: skip

    def _values(self, metric: Metric, count: int) -> np.ndarray:
        noise = self._random.normal(0, 1, count)
        if metric.highest:
            return np.full(count, 80 * GB if metric.unit == "bytes" else 16.0)
        if metric.unit == "percent":
            return np.clip(80 + 12 * noise, 0, 100).round(0 if "utilisation" in metric.name else 2)
        if metric.unit == "bytes":
            return 40 * GB + np.cumsum(noise * 2**20).round()
        return {
            "W": (400 + 60 * noise).round(3), "°C": (60 + 2 * noise).round(), "MHz": 1980 - 15 * (noise > 1.0),
            "share": (noise > 2) * 1.0, "count": 20 + (noise > 1.5) * 1.0, "cores": np.abs(6 + noise).round(4),
            "bytes/s": np.abs(2e9 * noise).round(),
        }[metric.unit]  # fmt: skip
