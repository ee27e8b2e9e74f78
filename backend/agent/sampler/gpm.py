"""NVML's GPM counters (Hopper and newer): what a GPU did between two samples, as means, and for MIG instances too."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from .model import Unavailable

_MIB = 1024.0 * 1024.0
_LEAST_S = 0.1
"""NVML wants 100 ms between the two samples."""
METRICS = {
    1: ("busy", 1.0),  # NVML_GPM_METRIC_GRAPHICS_UTIL: any kernel was running
    2: ("sm", 1.0),  # NVML_GPM_METRIC_SM_UTIL: share of the SMs that had work
    5: ("tensor", 1.0),  # NVML_GPM_METRIC_ANY_TENSOR_UTIL
    10: ("memory_bandwidth", 1.0),  # NVML_GPM_METRIC_DRAM_BW_UTIL, of the theoretical maximum
    20: ("pcie_send", _MIB),
    21: ("pcie_receive", _MIB),
    60: ("nvlink_receive", _MIB),
    61: ("nvlink_send", _MIB),
}
"""GPM metric: its name here, and what makes bytes/s of NVML's MiB/s."""


class Gpm:
    """One device's counters. `instance` is the GPU instance of a MIG device, negative for a whole GPU."""

    def __init__(self, nvml: ModuleType, asked: Callable[..., Any], handle: Any, instance: int) -> None:
        self._nvml, self._asked, self._handle, self._instance = nvml, asked, handle, instance
        self._taken: tuple[float, Any] | None = None
        self._spare: Any = None
        try:
            self.supported = bool(asked("nvmlGpmQueryDeviceSupport", handle).isSupportedDevice)
        except Unavailable:
            self.supported = False

    def means(self) -> dict[str, float]:
        """Percents and bytes/s since the last call; what this GPU doesn't count is left out. Raises Unavailable."""
        if not self.supported:
            raise Unavailable("this GPU keeps no activity counters")
        now = time.monotonic()
        before = self._taken
        if before is not None and now - before[0] < _LEAST_S:
            raise Unavailable("its counters need 0.1 s between two samples")
        current = self._spare or self._asked("nvmlGpmSampleAlloc")
        self._spare = current
        if self._instance < 0:
            self._asked("nvmlGpmSampleGet", self._handle, current)
        else:
            self._asked("nvmlGpmMigSampleGet", self._handle, self._instance, current)
        self._taken, self._spare = (now, current), before and before[1]
        if before is None:
            raise Unavailable("a rate needs a second sample")
        means = self._between(before[1], current)
        if "busy" not in means:
            raise Unavailable("this GPU counted no activity")
        return means

    def _between(self, first: Any, second: Any) -> dict[str, float]:
        question = self._nvml.c_nvmlGpmMetricsGet_t()
        question.version = self._nvml.NVML_GPM_METRICS_GET_VERSION
        question.numMetrics = len(METRICS)
        question.sample1, question.sample2 = first, second
        for place, number in enumerate(METRICS):
            question.metrics[place].metricId = number
        self._asked("nvmlGpmMetricsGet", question)
        return {
            name: answer.value * factor
            for answer, (name, factor) in zip(question.metrics, METRICS.values())  # noqa: B905 - Python 3.9
            if answer.nvmlReturn == 0 and answer.value == answer.value  # NaN where nothing was counted
        }

    def close(self) -> None:
        """Free the samples."""
        for sample in (self._taken and self._taken[1], self._spare):
            if sample is not None:
                with contextlib.suppress(Unavailable):
                    self._asked("nvmlGpmSampleFree", sample)
        self._taken = self._spare = None
