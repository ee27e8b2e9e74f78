"""NVML's GPM counters (Hopper and newer): what a GPU did between two samples, as means, and for MIG instances too."""

from __future__ import annotations

import contextlib
import time
from ctypes import c_void_p

from .libnvml import Library, Refused
from .model import Unavailable

_MIB = 1024.0 * 1024.0
_LEAST_S = 0.1
"""NVML wants 100 ms between the two samples."""
METRICS = {
    1: ("busy", 1.0),  # NVML_GPM_METRIC_GRAPHICS_UTIL: any kernel was running; 1.8 ms of CPU, the others 0.1 together
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

    def __init__(self, library: Library, device: c_void_p, instance: int) -> None:
        self._library, self._device, self._instance = library, device, instance
        self._taken: tuple[float, c_void_p] | None = None
        self._spare: c_void_p | None = None
        try:
            self.supported = library.counts_activity(device)
        except Refused:
            self.supported = False

    def means(self) -> dict[str, float]:
        """Percents and bytes/s since the last call; what this GPU doesn't count is left out. Raises Unavailable."""
        if not self.supported:
            raise Unavailable("this GPU keeps no activity counters")
        now = time.monotonic()
        before = self._taken
        if before is not None and now - before[0] < _LEAST_S:
            raise Unavailable("its counters need 0.1 s between two samples")
        current = self._spare or self._library.activity_sample()
        self._spare = current
        self._library.take_activity(self._device, self._instance, current)
        self._taken, self._spare = (now, current), before and before[1]
        if before is None:
            raise Unavailable("a rate needs a second sample")
        found = self._library.activity_between(before[1], current, list(METRICS))
        means = {METRICS[number][0]: value * METRICS[number][1] for number, value in found.items()}
        if "busy" not in means:
            raise Unavailable("this GPU counted no activity")
        return means

    def close(self) -> None:
        """Free the samples."""
        for sample in (self._taken and self._taken[1], self._spare):
            if sample is not None:
                with contextlib.suppress(Refused):
                    self._library.free_activity(sample)
        self._taken = self._spare = None
