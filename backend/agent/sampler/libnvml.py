"""NVIDIA's management library by ctypes: the calls the sampler makes, as nvml.h declares them.

Not through the package nvidia-ml-py: compute nodes seldom have it, and it takes 5 MB (15 where it is compiled at
import) of the agent's memory for some thousand calls that are not made here.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_char, c_char_p, c_double, c_int, c_longlong, c_uint, c_ulonglong, c_void_p
from typing import Any

from .model import Unavailable

NAME = "libnvidia-ml.so.1"
NOT_SUPPORTED, NOT_FOUND, INSUFFICIENT_SIZE, NO_LIBRARY, NO_FUNCTION, GPU_IS_LOST, RESET_REQUIRED = (
    3,
    6,
    7,
    12,
    13,
    15,
    16,
)
WORDS = {
    NOT_SUPPORTED: "not supported by this device",
    4: "no permission",
    9: "the NVIDIA driver is not loaded",
    NO_LIBRARY: f"no NVIDIA driver library ({NAME}) is here",
    NO_FUNCTION: "this driver is too old to tell",
    GPU_IS_LOST: "the GPU has fallen off the bus",
    RESET_REQUIRED: "the GPU needs a reset",
    18: "driver and driver library differ: the machine needs a restart",
    25: "this driver is too old to tell",
}
"""nvmlReturn_t in words."""
_MEMORY_V2 = 0x02000028
_ALL_LINKS = 0xFFFFFFFF
_UNKNOWN_BYTES = 0xFFFFFFFF_FFFFFFFF
_MOST_METRICS = 333
"""NVML_GPM_METRIC_MAX of the newest header."""


class Refused(Unavailable):
    """NVML's error, with its number."""

    def __init__(self, code: int) -> None:
        super().__init__(WORDS.get(code, f"NVML error {code}"))
        self.code = code

    @property
    def lost(self) -> bool:
        """The GPU is gone: nothing else can be asked of it."""
        return self.code in (GPU_IS_LOST, RESET_REQUIRED)


class _Memory(ctypes.Structure):
    _fields_ = [("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong)]


class _MemoryV2(ctypes.Structure):
    _fields_ = [
        ("version", c_uint),
        ("total", c_ulonglong),
        ("reserved", c_ulonglong),
        ("free", c_ulonglong),
        ("used", c_ulonglong),
    ]


class _Utilisation(ctypes.Structure):
    _fields_ = [("gpu", c_uint), ("memory", c_uint)]


class _Process(ctypes.Structure):
    _fields_ = [("pid", c_uint), ("used", c_ulonglong), ("gpu_instance", c_uint), ("compute_instance", c_uint)]


class _Value(ctypes.Union):
    _fields_ = [("double", c_double), ("unsigned", c_ulonglong), ("signed", c_longlong)]


class _Field(ctypes.Structure):
    _fields_ = [
        ("field", c_uint),
        ("scope", c_uint),
        ("timestamp", c_longlong),
        ("latency", c_longlong),
        ("type", c_uint),
        ("result", c_uint),
        ("value", _Value),
    ]


class _Support(ctypes.Structure):
    _fields_ = [("version", c_uint), ("supported", c_uint)]


class _Metric(ctypes.Structure):
    _fields_ = [("id", c_uint), ("result", c_uint), ("value", c_double), ("names", c_char_p * 3)]


class _Metrics(ctypes.Structure):
    _fields_ = [
        ("version", c_uint),
        ("count", c_uint),
        ("first", c_void_p),
        ("second", c_void_p),
        ("metrics", _Metric * _MOST_METRICS),
    ]


class Library:
    """The opened library. Every method raises Refused. Devices and GPM samples are opaque pointers."""

    def __init__(self, name: str = NAME) -> None:
        try:
            self._library = ctypes.CDLL(name)
        except OSError:
            raise Refused(NO_LIBRARY) from None
        self._call("nvmlInit_v2")

    def close(self) -> None:
        self._call("nvmlShutdown")

    def count(self) -> int:
        return self._number("nvmlDeviceGetCount_v2")

    def device(self, number: int) -> c_void_p:
        return self._pointer("nvmlDeviceGetHandleByIndex_v2", c_uint(number))

    def instance(self, device: c_void_p, number: int) -> c_void_p:
        """The MIG device in a GPU's place `number`; NOT_FOUND for an empty place."""
        return self._pointer("nvmlDeviceGetMigDeviceHandleByIndex", device, c_uint(number))

    def divided(self, device: c_void_p) -> bool:
        """MIG is on."""
        now, later = c_uint(), c_uint()
        self._call("nvmlDeviceGetMigMode", device, byref(now), byref(later))
        return now.value == 1

    def places(self, device: c_void_p) -> int:
        return self._number("nvmlDeviceGetMaxMigDeviceCount", device)

    def gpu_instance(self, device: c_void_p) -> int:
        return self._number("nvmlDeviceGetGpuInstanceId", device)

    def uuid(self, device: c_void_p) -> str:
        return self._text("nvmlDeviceGetUUID", device)

    def model(self, device: c_void_p) -> str:
        return self._text("nvmlDeviceGetName", device)

    def minor(self, device: c_void_p) -> int:
        return self._number("nvmlDeviceGetMinorNumber", device)

    def memory(self, device: c_void_p) -> tuple[int, int | None, int]:
        """Used, reserved, total. The second version tells what the driver reserves for itself from what is used, as
        nvidia-smi does; the first, all that drivers before 510 have, counts both as used."""
        second = _MemoryV2(version=_MEMORY_V2)
        try:
            self._call("nvmlDeviceGetMemoryInfo_v2", device, byref(second))
        except Refused as reason:
            if reason.lost:
                raise
            first = _Memory()
            self._call("nvmlDeviceGetMemoryInfo", device, byref(first))
            return first.used, None, first.total
        return second.used, second.reserved, second.total

    def utilisation(self, device: c_void_p) -> tuple[int, int]:
        """GPU and memory, in percent of the driver's last period."""
        rates = _Utilisation()
        self._call("nvmlDeviceGetUtilizationRates", device, byref(rates))
        return rates.gpu, rates.memory

    def power_mw(self, device: c_void_p) -> int:
        return self._number("nvmlDeviceGetPowerUsage", device)

    def power_limit_mw(self, device: c_void_p) -> int:
        return self._number("nvmlDeviceGetEnforcedPowerLimit", device)

    def temperature_c(self, device: c_void_p) -> int:
        return self._number("nvmlDeviceGetTemperature", device, c_int(0))

    def clock_mhz(self, device: c_void_p, clock: int) -> int:
        return self._number("nvmlDeviceGetClockInfo", device, c_int(clock))

    def throttle_bits(self, device: c_void_p) -> int:
        return self._number("nvmlDeviceGetCurrentClocksThrottleReasons", device, kind=c_ulonglong)

    def pcie_kib_per_s(self, device: c_void_p, counter: int) -> int:
        """Waits 20 ms, over which it counts."""
        return self._number("nvmlDeviceGetPcieThroughput", device, c_int(counter))

    def field(self, device: c_void_p, number: int) -> int:
        """A counter by its NVML_FI_ number, over all links."""
        asked = _Field(field=number, scope=_ALL_LINKS)
        self._call("nvmlDeviceGetFieldValues", device, c_int(1), byref(asked))
        if asked.result:
            raise Refused(asked.result)
        return int(asked.value.unsigned)

    def processes(self, device: c_void_p, kind: str) -> list[tuple[int, int | None]]:
        """Pid and bytes of the `Compute` or `Graphics` processes; the newest form the driver has."""
        try:
            return self._processes(f"nvmlDeviceGet{kind}RunningProcesses_v3", device)
        except Refused as reason:
            if reason.code != NO_FUNCTION:
                raise
        return self._processes(f"nvmlDeviceGet{kind}RunningProcesses_v2", device)

    def counts_activity(self, device: c_void_p) -> bool:
        """GPM is supported."""
        told = _Support(version=1)
        self._call("nvmlGpmQueryDeviceSupport", device, byref(told))
        return bool(told.supported)

    def activity_sample(self) -> c_void_p:
        return self._pointer("nvmlGpmSampleAlloc")

    def take_activity(self, device: c_void_p, gpu_instance: int, sample: c_void_p) -> None:
        """Of the whole GPU where `gpu_instance` is negative."""
        if gpu_instance < 0:
            self._call("nvmlGpmSampleGet", device, sample)
        else:
            self._call("nvmlGpmMigSampleGet", device, c_uint(gpu_instance), sample)

    def activity_between(self, first: c_void_p, second: c_void_p, numbers: list[int]) -> dict[int, float]:
        """The GPM metrics that were counted between two samples."""
        asked = _Metrics(version=1, count=len(numbers), first=first, second=second)
        for place, number in enumerate(numbers):
            asked.metrics[place].id = number
        self._call("nvmlGpmMetricsGet", byref(asked))
        answers = asked.metrics[: len(numbers)]
        return {one.id: one.value for one in answers if not one.result and one.value == one.value}  # no NaN

    def free_activity(self, sample: c_void_p) -> None:
        self._call("nvmlGpmSampleFree", sample)

    def _call(self, name: str, *arguments: Any) -> None:
        function = getattr(self._library, name, None)
        if function is None:
            raise Refused(NO_FUNCTION)
        code = function(*arguments)
        if code:
            raise Refused(code)

    def _number(self, name: str, *arguments: Any, kind: Any = c_uint) -> int:
        out = kind()
        self._call(name, *arguments, byref(out))
        return int(out.value)

    def _pointer(self, name: str, *arguments: Any) -> c_void_p:
        out = c_void_p()
        self._call(name, *arguments, byref(out))
        return out

    def _text(self, name: str, device: c_void_p) -> str:
        out = (c_char * 96)()
        self._call(name, device, out, c_uint(len(out)))
        return out.value.decode("utf-8", "replace")

    def _processes(self, name: str, device: c_void_p) -> list[tuple[int, int | None]]:
        room = c_uint(0)
        try:
            self._call(name, device, byref(room), None)
        except Refused as reason:
            if reason.code != INSUFFICIENT_SIZE:
                raise
        if not room.value:
            return []
        room.value = 2 * room.value + 8  # some may start between the two calls
        found = (_Process * room.value)()
        self._call(name, device, byref(room), found)
        return [(one.pid, None if one.used == _UNKNOWN_BYTES else one.used) for one in found[: room.value]]
