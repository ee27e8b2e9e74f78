"""NVIDIA GPUs through NVML (`pynvml`, the package nvidia-ml-py).

Which calls are made was settled by their price on an H100 (driver 580): most take 2 to 10 µs, but energy counters,
per-process utilisation and stored utilisation samples take 2 to 3 ms of CPU each, so they are left out; PCIe and
activity come from NVML's GPM counters where the GPU has them, for `nvmlDeviceGetPcieThroughput` waits 20 ms.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

from .gpm import Gpm
from .model import Gpu, GpuProcess, Missing, Unavailable
from .reading import Rates, ask

THROTTLE_REASONS = {
    0x001: "idle",
    0x002: "clocks set by an application or administrator",
    0x004: "power limit",
    0x008: "hardware slowdown",
    0x010: "kept in step with other GPUs",
    0x020: "too warm, slowed by the driver",
    0x040: "too warm, slowed by the hardware",
    0x080: "power brake of the machine",
    0x100: "clocks set for a display",
}
"""NVML's clocks event reasons, by bit (nvml.h, nvmlClocksEventReason*)."""
_WORDS = {
    3: "not supported by this device",
    4: "no permission",
    9: "the NVIDIA driver is not loaded",
    12: "no NVIDIA driver library (libnvidia-ml.so.1) is here",
    13: "this driver (or nvidia-ml-py) is too old to tell",
    15: "the GPU has fallen off the bus",
    16: "the GPU needs a reset",
    18: "driver and driver library differ: the machine needs a restart",
    25: "this driver is too old to tell",
}
_LOST = frozenset([15, 16])
_UNSUPPORTED, _NOT_FOUND, _NO_FUNCTION = 3, 6, 13
_MEMORY_V2 = 0x02000028
_CLOCK_SM, _CLOCK_MEMORY = 1, 2
_PCIE = {"pcie_receive": 1, "pcie_send": 0}
"""nvmlPcieUtilCounter_t."""
_NVLINK = {"nvlink_receive": 139, "nvlink_send": 138}
"""NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX and _TX: counters in KiB."""
_TOGETHER = {
    "utilisation_percent": ("memory_utilisation_percent",),
    "memory_used_bytes": ("memory_reserved_bytes", "memory_total_bytes"),
    "busy_percent": ("sm_percent", "tensor_percent", "memory_bandwidth_percent"),
}
"""Metrics of one answer: when the first is missing, the others are for the same reason."""
_NO_NUMBER = 0xFFFFFFFF_FFFFFFFF
_ALL_LINKS = 0xFFFFFFFF
_Asked = Callable[[str, Callable[[], Any]], Any]


class _Refused(Unavailable):
    """NVML's error, with its number."""

    def __init__(self, code: int, otherwise: str = "") -> None:
        super().__init__(_WORDS.get(code) or otherwise or f"NVML error {code}")
        self.code = code


class _Lost(Exception):
    """The GPU went away while it was read."""


@dataclass(frozen=True)
class _Device:
    """A handle with what never changes about it. `instance` is a MIG device's GPU instance, else negative."""

    handle: Any
    index: str
    uuid: str
    model: str
    parent: _Device | None
    instance: int


class Nvml:
    """The NVIDIA GPUs of this machine, as far as this process may see them."""

    def __init__(self) -> None:
        self._nvml: ModuleType | None = None
        self._devices: dict[str, _Device] = {}
        self._gpm: dict[str, Gpm] = {}
        self._rates = Rates()

    def read(self, missing: Missing) -> list[Gpu]:
        try:
            count = self._asked("nvmlDeviceGetCount")
        except Unavailable as reason:
            missing["gpus"] = str(reason)
            return []
        found = []
        for number in range(count):
            device = ask(missing, f"gpu.{number}", partial(self._device, str(number), number))
            if device is not None:
                found += self._read_with_instances(device, missing)
        self._rates.turn()
        for uuid in set(self._gpm).difference(gpu.uuid for gpu in found):  # of a MIG instance that was taken apart
            self._gpm.pop(uuid).close()
        return found

    def close(self) -> None:
        if self._nvml is not None:
            for gpm in self._gpm.values():
                gpm.close()
            self._gpm.clear()
            self._devices.clear()
            with contextlib.suppress(Unavailable):
                self._asked("nvmlShutdown")
            self._nvml = None

    def _opened(self) -> ModuleType:
        if self._nvml is None:
            try:
                import pynvml
            except ImportError:
                raise Unavailable("the Python package nvidia-ml-py is not installed") from None
            try:
                pynvml.nvmlInit()
            except pynvml.NVMLError as error:
                raise _Refused(error.value, f"NVML: {error}") from error
            self._nvml = pynvml
        return self._nvml

    def _asked(self, call: str, *arguments: Any, **named: Any) -> Any:
        nvml = self._opened()
        function = getattr(nvml, call, None)
        if function is None:
            raise _Refused(_NO_FUNCTION)
        try:
            return function(*arguments, **named)
        except nvml.NVMLError as error:
            raise _Refused(error.value, f"NVML: {error}") from error

    def _device(self, index: str, number: int, parent: _Device | None = None) -> _Device:
        known = self._devices.get(index)
        if parent is None:
            if known is not None:
                return known
            handle = self._asked("nvmlDeviceGetHandleByIndex", number)
            instance = -1
        else:  # instances come and go: ask each time, it costs a few microseconds
            handle = self._asked("nvmlDeviceGetMigDeviceHandleByIndex", parent.handle, number)
            instance = self._asked("nvmlDeviceGetGpuInstanceId", handle)
        uuid = _text(self._asked("nvmlDeviceGetUUID", handle))
        if known is not None and known.uuid == uuid:
            return known
        model = _text(self._asked("nvmlDeviceGetName", handle))
        self._devices[index] = _Device(handle, index, uuid, model, parent, instance)
        return self._devices[index]

    def _read_with_instances(self, device: _Device, missing: Missing) -> list[Gpu]:
        try:
            mig = self._asked("nvmlDeviceGetMigMode", device.handle)[0] == 1
        except _Refused as reason:
            if reason.code in _LOST:
                missing[f"gpu.{device.index}"] = str(reason)
                return [Gpu(device.index, device.uuid, device.model, None)]
            mig = False  # GPUs without MIG say "not supported"
        try:
            found = [self._gpu(device, missing, mig=mig)]
            if mig:
                for number in range(self._asked("nvmlDeviceGetMaxMigDeviceCount", device.handle)):
                    found += self._instance(device, number, missing)
        except _Lost as reason:
            for path in [path for path in missing if path.startswith((f"gpu.{device.index}.", f"gpu.{device.index}:"))]:
                del missing[path]
            missing[f"gpu.{device.index}"] = str(reason)
            return [Gpu(device.index, device.uuid, device.model, None)]
        return found

    def _instance(self, parent: _Device, number: int, missing: Missing) -> list[Gpu]:
        try:
            device = self._device(f"{parent.index}:{number}", number, parent)
        except _Refused as reason:
            if reason.code == _NOT_FOUND:  # fewer instances than there could be
                return []
            missing[f"gpu.{parent.index}:{number}"] = str(reason)
            return []
        return [self._gpu(device, missing, mig=False)]

    def _gpu(self, device: _Device, missing: Missing, *, mig: bool) -> Gpu:
        """`mig` says that this is a GPU divided into instances."""
        handle = device.handle
        base = f"gpu.{device.index}."

        def asked(name: str, question: Callable[[], Any]) -> Any:
            try:
                return question()
            except Unavailable as reason:
                if isinstance(reason, _Refused) and reason.code in _LOST:
                    raise _Lost(str(reason)) from reason
                missing[base + name] = str(reason)
                return None

        def whole(name: str, question: Callable[[], Any]) -> Any:
            if device.parent is not None:
                missing[base + name] = f"belongs to the whole GPU {device.parent.index}"
                return None
            return asked(name, question)

        def scaled(call: str, *arguments: Any) -> Callable[[], float]:
            return lambda: self._asked(call, *arguments) / 1000.0

        memory = asked("memory_used_bytes", lambda: self._memory(handle))
        rates = asked("utilisation_percent", lambda: self._asked("nvmlDeviceGetUtilizationRates", handle))
        reasons = whole("throttle_reasons", lambda: self._throttle_reasons(handle))
        activity = asked("busy_percent", lambda: self._activity(device, mig=mig)) or {}
        for name in ("sm", "tensor", "memory_bandwidth") if activity else ():
            if name not in activity:
                missing[f"{base}{name}_percent"] = _WORDS[_UNSUPPORTED]
        if memory and memory[1] is None:
            missing[f"{base}memory_reserved_bytes"] = _WORDS[_NO_FUNCTION]
        for first, others in _TOGETHER.items():
            if base + first in missing:
                missing.update((base + other, missing[base + first]) for other in others)
        links = self._links(device, activity, asked, missing.get(f"{base}busy_percent", ""))
        return Gpu(
            index=device.index,
            uuid=device.uuid,
            model=device.model,
            parent=device.parent.uuid if device.parent else None,
            utilisation_percent=float(rates.gpu) if rates else None,
            memory_utilisation_percent=float(rates.memory) if rates else None,
            busy_percent=activity.get("busy"),
            sm_percent=activity.get("sm"),
            tensor_percent=activity.get("tensor"),
            memory_bandwidth_percent=activity.get("memory_bandwidth"),
            memory_used_bytes=memory and memory[0],
            memory_reserved_bytes=memory and memory[1],
            memory_total_bytes=memory and memory[2],
            power_w=whole("power_w", scaled("nvmlDeviceGetPowerUsage", handle)),
            power_limit_w=whole("power_limit_w", scaled("nvmlDeviceGetEnforcedPowerLimit", handle)),
            temperature_c=whole("temperature_c", lambda: self._asked("nvmlDeviceGetTemperature", handle, 0)),
            sm_clock_mhz=whole("sm_clock_mhz", lambda: self._asked("nvmlDeviceGetClockInfo", handle, _CLOCK_SM)),
            memory_clock_mhz=whole(
                "memory_clock_mhz", lambda: self._asked("nvmlDeviceGetClockInfo", handle, _CLOCK_MEMORY)
            ),
            throttle_reasons=reasons,
            pcie_receive_bytes_per_s=links["pcie_receive"],
            pcie_send_bytes_per_s=links["pcie_send"],
            nvlink_receive_bytes_per_s=links["nvlink_receive"],
            nvlink_send_bytes_per_s=links["nvlink_send"],
            processes=asked("processes", lambda: self._processes(handle)),
        )

    def _memory(self, handle: Any) -> tuple[int, int | None, int]:
        """Used, reserved, total. The second version of the call tells what the driver itself reserves from what is
        used, as nvidia-smi does; the first counts both as used."""
        try:
            found = self._asked("nvmlDeviceGetMemoryInfo", handle, version=_MEMORY_V2)
        except _Refused as reason:
            if reason.code in _LOST:
                raise
            found = self._asked("nvmlDeviceGetMemoryInfo", handle)
            return found.used, None, found.total
        return found.used, found.reserved, found.total

    def _throttle_reasons(self, handle: Any) -> tuple[str, ...]:
        bits = self._asked("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        words = [word for bit, word in THROTTLE_REASONS.items() if bits & bit]
        other = bits & ~sum(THROTTLE_REASONS)
        return (*words, f"unknown reason {other:#x}") if other else tuple(words)

    def _activity(self, device: _Device, *, mig: bool) -> dict[str, float]:
        if mig:
            raise Unavailable("the GPU is divided: see its instances")
        gpm = self._gpm.get(device.uuid)
        if gpm is None:  # asked once: it is the GPU's kind that decides
            owner = device.parent or device
            gpm = self._gpm[device.uuid] = Gpm(self._opened(), self._asked, owner.handle, device.instance)
        return gpm.means()

    def _links(self, device: _Device, activity: dict[str, float], asked: _Asked, why: str) -> dict[str, float]:
        """PCIe and NVLink throughput in bytes/s: means where GPM counts, else a look (PCIe) or counters (NVLink)."""
        gpm = self._gpm.get(device.uuid)

        def link(name: str) -> float:
            if name in activity:
                return activity[name]
            if (gpm is not None and gpm.supported) or device.parent is not None:
                raise Unavailable(why or _WORDS[_UNSUPPORTED])
            if name in _PCIE:  # in KiB/s, over the 20 ms that the call takes
                return self._asked("nvmlDeviceGetPcieThroughput", device.handle, _PCIE[name]) * 1024.0
            return self._link_rate(device, name, _NVLINK[name])

        return {name: asked(f"{name}_bytes_per_s", partial(link, name)) for name in (*_PCIE, *_NVLINK)}

    def _link_rate(self, device: _Device, name: str, field: int) -> float:
        (answer,) = self._asked("nvmlDeviceGetFieldValues", device.handle, [(field, _ALL_LINKS)])
        if answer.nvmlReturn:
            raise _Refused(answer.nvmlReturn)
        return self._rates.per_s(f"{device.uuid} {name}", answer.value.ullVal * 1024, time.monotonic())

    def _processes(self, handle: Any) -> tuple[GpuProcess, ...]:
        found: dict[int, int | None] = {}
        for kind in ("Compute", "Graphics"):
            for process in self._running(kind, handle):
                used = process.usedGpuMemory
                found[process.pid] = None if used in (None, _NO_NUMBER) else used
        return tuple(GpuProcess(pid, used) for pid, used in sorted(found.items()))

    def _running(self, kind: str, handle: Any) -> Any:
        """The list in the newest form that the driver has; drivers before 510 have the second."""
        try:
            return self._asked(f"nvmlDeviceGet{kind}RunningProcesses_v3", handle)
        except _Refused as reason:
            if reason.code != _NO_FUNCTION:
                raise
        return self._asked(f"nvmlDeviceGet{kind}RunningProcesses_v2", handle)


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
