"""A store of job telemetry filled with samples of known shape, for whoever asks a `Telemetry`.

    site = TelemetrySite(tmp_path)                      # its clock stands at NOW_S; site.now_s moves it
    job = site.job(7, nodes=("n1", "n2"), gpus=4, hours=2, shape={"cpu_cores": ramp(0, 8), "gpu_busy_percent": 97})
    old = site.job(8, ended_ago_s=86400)                # ended: still full resolution
    site.settle()                                       # into files, ended jobs into the archive
    site.telemetry.series(job, ["cpu_cores"])           # `Telemetry` over files and memory

A shape is a number, None (not measured), or a function of the seconds since the job's start: `ramp`, `square`.
A key may name a device: `("n2", "gpu:1", "gpu_busy_percent")`, `("gpu:1", "gpu_busy_percent")`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backend.telemetry import BY_NAME, METRICS, JobRef
from backend.telemetry.store import Batch, Block, JobFacts, Keeping, Store, StoreReader, maintain

NOW_S = 1_780_000_000.0
CLUSTER = "tiny"
Shape = float | None | Callable[[Any], Any]
GB = 2.0**30

DEFAULTS: dict[str, Shape] = {
    "cpu_cores": 3.0, "cpus": 8.0, "memory_resident_bytes": 10 * GB, "memory_cache_bytes": 2 * GB,
    "memory_peak_bytes": 12 * GB, "memory_limit_bytes": 32 * GB, "oom_kills": 0.0,
    "block_read_bytes_per_s": 1e6, "block_write_bytes_per_s": 5e5, "processes": 4.0, "threads": 16.0,
    "gpu_utilisation_percent": 90.0, "gpu_memory_used_bytes": 20 * GB, "gpu_memory_total_bytes": 80 * GB,
    "gpu_power_w": 400.0, "gpu_power_limit_w": 700.0, "gpu_temperature_c": 60.0, "gpu_sm_clock_mhz": 1980.0,
    "gpu_throttle_thermal": 0.0, "gpu_throttle_hardware": 0.0,
    "node_cpu_cores": 5.0, "node_cpus": 64.0, "node_memory_total_bytes": 512 * GB,
}  # fmt: skip
"""What a job does where nothing else is said; metrics that are not here are not measured."""


def ramp(low: float, high: float, over_s: float = 3600.0) -> Shape:
    """From `low` to `high` in `over_s`, then flat."""
    return lambda t: low + (high - low) * np.clip(np.asarray(t) / over_s, 0, 1)


def square(low: float, high: float, period_s: float = 600.0) -> Shape:
    """`high` for the first half of each period, then `low`."""
    return lambda t: np.where(np.asarray(t) % period_s < period_s / 2, high, low)


class TelemetrySite:
    """A store in `folder`, its clock `now_s`, and jobs that have been measured by it."""

    def __init__(self, folder: Path, keeping: Keeping | None = None, cluster: str = CLUSTER) -> None:
        self.now_s = NOW_S
        self.cluster = cluster
        self.store = Store(folder, keeping, now=lambda: self.now_s)
        self.telemetry = StoreReader(folder, self.store, now=lambda: self.now_s)
        self._seq = 0

    def job(
        self,
        job_id: int,
        *,
        nodes: Sequence[str] = ("n1",),
        gpus: int = 1,
        hours: float = 1.0,
        ended_ago_s: float | None = None,
        every_s: float = 10.0,
        model: str = "NVIDIA A100-SXM4-80GB",
        shape: Mapping[Any, Shape] | None = None,
        node_wide: bool = False,
    ) -> JobRef:
        """A job that ran for `hours` until `ended_ago_s`, or until now; sampled all the time."""
        last_s = self.now_s - (ended_ago_s or 0.0)
        start_s = int(last_s - hours * 3600)
        end_s = None if ended_ago_s is None else int(last_s)
        self.store.told([JobFacts(self.cluster, job_id, start_s, None)])
        times = np.arange(start_s + every_s, last_s + 1e-6, every_s)
        for at in range(0, len(times), 1000):
            for node in nodes:
                self._send(
                    job_id, node, times[at : at + 1000],
                    gpus=gpus, start_s=start_s, shape=shape or {}, model=model, node_wide=node_wide,
                )  # fmt: skip
        if end_s is not None:
            self.store.told([JobFacts(self.cluster, job_id, start_s, end_s)])
        return JobRef(self.cluster, job_id, start_s, end_s)

    def settle(self) -> None:
        """What is in memory goes into files, ended jobs into the archive."""
        maintain(self.store)

    def restarted(self) -> TelemetrySite:
        """The same store, opened anew by another process."""
        folder, keeping, now_s, seq = self.store.folder, self.store.keeping, self.now_s, self._seq
        self.store.close()
        again = TelemetrySite(folder, keeping, self.cluster)
        again.now_s, again._seq = now_s, seq
        return again

    def _send(
        self, job_id: int, node: str, times: Any, *, gpus: int, start_s: int, shape: Mapping[Any, Shape], model: str,
        node_wide: bool,
    ) -> None:  # fmt: skip
        devices = ["", *(f"gpu:{number}" for number in range(gpus)), *(["node"] if node_wide else [])]
        blocks = []
        for device in devices:
            kind = device.partition(":")[0] or "job"
            values = {}
            for name in (metric.name for metric in METRICS if metric.kind == kind):
                form = next(
                    (shape[key] for key in ((node, device, name), (device, name), name) if key in shape),
                    DEFAULTS.get(name),
                )
                if form is not None:
                    values[name] = np.broadcast_to(form(times - start_s) if callable(form) else form, times.shape)
            if values:
                matrix = np.array(list(values.values()), np.float32)
                blocks.append(
                    Block(job_id, device, model if kind == "gpu" else "", times, tuple(values), matrix)
                )
        self._seq += 1
        self.store.append([
            Batch(self.cluster, f"session:job{job_id}", node, "00000000000000aa", self._seq, float(times[-1]),
                  float(times[-1]), float(times[-1]), tuple(blocks))
        ])  # fmt: skip


assert all(name in BY_NAME for name in DEFAULTS)
