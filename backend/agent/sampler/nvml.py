"""NVIDIA GPUs through NVML.

Which calls are made was settled by their price on an H100 (driver 580): most take 2 to 10 µs, but energy counters,
per-process utilisation and stored utilisation samples take 2 to 3 ms of CPU each, so they are left out; PCIe and
activity come from NVML's GPM counters where the GPU has them, for the older question for PCIe waits 20 ms.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from ctypes import c_void_p
from functools import partial
from typing import Any, NamedTuple

from .gpm import Gpm
from .libnvml import NAME, NO_FUNCTION, NOT_FOUND, NOT_SUPPORTED, WORDS, Library, Refused
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
_TOGETHER = {
    "utilisation_percent": ("memory_utilisation_percent",),
    "memory_used_bytes": ("memory_reserved_bytes", "memory_total_bytes"),
    "busy_percent": ("sm_percent", "tensor_percent", "memory_bandwidth_percent"),
}
"""Metrics of one answer: when the first is missing, the others are for the same reason."""
_CLOCK_SM, _CLOCK_MEMORY = 1, 2
_PCIE = {"pcie_receive": 1, "pcie_send": 0}
"""nvmlPcieUtilCounter_t."""
_NVLINK = {"nvlink_receive": 139, "nvlink_send": 138}
"""NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX and _TX: counters in KiB."""
_MIG_ASKED_S = 60.0
"""How long an answer about MIG holds: the question costs 0.4 ms, and dividing a GPU takes an administrator."""
_Asked = Callable[[str, Callable[[], Any]], Any]


class _Lost(Exception):
    """The GPU went away while it was read."""


class _Device(NamedTuple):
    """A handle with what never changes about it. `instance` is a MIG device's GPU instance, else negative."""

    handle: c_void_p
    index: str  # type: ignore[assignment]  # nobody looks a value up in it
    uuid: str
    model: str
    parent: _Device | None
    instance: int
    minor: int | None


class Nvml:
    """The NVIDIA GPUs of this machine, as far as this process may see them."""

    def __init__(self, library: str = NAME) -> None:
        self._name = library
        self._library: Library | None = None
        self._devices: dict[str, _Device] = {}
        self._divided: dict[str, tuple[float, bool]] = {}
        self._gpm: dict[str, Gpm] = {}
        self._rates = Rates()

    def read(self, missing: Missing) -> list[Gpu]:
        try:
            library = self._library = self._library or Library(self._name)
            count = library.count()
        except Refused as reason:
            missing["gpus"] = str(reason)
            return []
        found = []
        for number in range(count):
            device = ask(missing, f"gpu.{number}", partial(self._device, library, number))
            if device is not None:
                found += self._read_with_instances(library, device, missing)
        self._rates.turn()
        for uuid in set(self._gpm).difference(gpu.uuid for gpu in found):  # of a MIG instance that was taken apart
            self._gpm.pop(uuid).close()
        return found

    def close(self) -> None:
        for gpm in self._gpm.values():
            gpm.close()
        if self._library is not None:
            with contextlib.suppress(Refused):
                self._library.close()
        self._library = None
        self._devices.clear()
        self._divided.clear()
        self._gpm.clear()

    def _device(self, library: Library, number: int, parent: _Device | None = None) -> _Device:
        index = str(number) if parent is None else f"{parent.index}:{number}"
        known = self._devices.get(index)
        if parent is None:
            if known is not None:
                return known
            handle, instance = library.device(number), -1
        else:  # instances come and go: ask each time, it costs a few microseconds
            handle = library.instance(parent.handle, number)
            instance = library.gpu_instance(handle)
        uuid = library.uuid(handle)
        if known is None or known.uuid != uuid:
            minor = _minor(library, handle) if parent is None else parent.minor
            known = self._devices[index] = _Device(handle, index, uuid, library.model(handle), parent, instance, minor)
        return known

    def _read_with_instances(self, library: Library, device: _Device, missing: Missing) -> list[Gpu]:
        try:
            divided = self._is_divided(library, device)
            found = [self._gpu(library, device, missing, divided=divided)]
            for number in range(library.places(device.handle)) if divided else ():
                found += self._instance(library, device, number, missing)
        except _Lost as reason:
            for path in [path for path in missing if path.startswith((f"gpu.{device.index}.", f"gpu.{device.index}:"))]:
                del missing[path]
            missing[f"gpu.{device.index}"] = str(reason)
            return [Gpu(device.index, device.uuid, device.model, None, device.minor)]
        return found

    def _is_divided(self, library: Library, device: _Device) -> bool:
        asked_s, divided = self._divided.get(device.uuid, (0.0, False))
        now = time.monotonic()
        if not asked_s or now - asked_s > _MIG_ASKED_S:
            try:
                divided = library.divided(device.handle)
            except Refused as reason:
                if reason.lost:
                    raise _Lost(str(reason)) from reason
                divided = False  # a GPU that knows no MIG says "not supported"
            self._divided[device.uuid] = now, divided
        return divided

    def _instance(self, library: Library, parent: _Device, number: int, missing: Missing) -> list[Gpu]:
        try:
            device = self._device(library, number, parent)
        except Refused as reason:
            if reason.code != NOT_FOUND:  # fewer instances than there could be
                missing[f"gpu.{parent.index}:{number}"] = str(reason)
            return []
        return [self._gpu(library, device, missing, divided=False)]

    def _gpu(self, library: Library, device: _Device, missing: Missing, *, divided: bool) -> Gpu:
        handle = device.handle
        base = f"gpu.{device.index}."

        def asked(name: str, question: Callable[[], Any]) -> Any:
            try:
                return question()
            except Unavailable as reason:
                if isinstance(reason, Refused) and reason.lost:
                    raise _Lost(str(reason)) from reason
                missing[base + name] = str(reason)
                return None

        def whole(name: str, question: Callable[[c_void_p], Any]) -> Any:
            if device.parent is not None:
                missing[base + name] = f"belongs to the whole GPU {device.parent.index}"
                return None
            return asked(name, lambda: question(handle))

        used, reserved, total = asked("memory_used_bytes", lambda: library.memory(handle)) or (None, None, None)
        busy, memory_busy = asked("utilisation_percent", lambda: library.utilisation(handle)) or (None, None)
        activity = asked("busy_percent", lambda: self._activity(library, device, divided=divided)) or {}
        for name in ("sm", "tensor", "memory_bandwidth") if activity else ():
            if name not in activity:
                missing[f"{base}{name}_percent"] = WORDS[NOT_SUPPORTED]
        if used is not None and reserved is None:
            missing[f"{base}memory_reserved_bytes"] = WORDS[NO_FUNCTION]
        for first, others in _TOGETHER.items():
            if base + first in missing:
                missing.update((base + other, missing[base + first]) for other in others)
        links = self._links(library, device, activity, asked, missing.get(f"{base}busy_percent", ""))
        return Gpu(
            index=device.index,
            uuid=device.uuid,
            model=device.model,
            parent=device.parent.uuid if device.parent else None,
            minor=device.minor,
            utilisation_percent=busy,
            memory_utilisation_percent=memory_busy,
            busy_percent=activity.get("busy"),
            sm_percent=activity.get("sm"),
            tensor_percent=activity.get("tensor"),
            memory_bandwidth_percent=activity.get("memory_bandwidth"),
            memory_used_bytes=used,
            memory_reserved_bytes=reserved,
            memory_total_bytes=total,
            power_w=whole("power_w", lambda gpu: library.power_mw(gpu) / 1000),
            power_limit_w=whole("power_limit_w", lambda gpu: library.power_limit_mw(gpu) / 1000),
            temperature_c=whole("temperature_c", library.temperature_c),
            sm_clock_mhz=whole("sm_clock_mhz", lambda gpu: library.clock_mhz(gpu, _CLOCK_SM)),
            memory_clock_mhz=whole("memory_clock_mhz", lambda gpu: library.clock_mhz(gpu, _CLOCK_MEMORY)),
            throttle_reasons=whole("throttle_reasons", lambda gpu: _reasons(library.throttle_bits(gpu))),
            pcie_receive_bytes_per_s=links["pcie_receive"],
            pcie_send_bytes_per_s=links["pcie_send"],
            nvlink_receive_bytes_per_s=links["nvlink_receive"],
            nvlink_send_bytes_per_s=links["nvlink_send"],
            processes=asked("processes", lambda: _processes(library, handle)),
        )

    def _activity(self, library: Library, device: _Device, *, divided: bool) -> dict[str, float]:
        if divided:
            raise Unavailable("the GPU is divided: see its instances")
        gpm = self._gpm.get(device.uuid)
        if gpm is None:
            gpm = self._gpm[device.uuid] = Gpm(library, (device.parent or device).handle, device.instance)
        return gpm.means()

    def _links(
        self, library: Library, device: _Device, activity: dict[str, float], asked: _Asked, why: str
    ) -> dict[str, float]:
        """PCIe and NVLink throughput in bytes/s: means where GPM counts, else a look (PCIe) or counters (NVLink)."""
        gpm = self._gpm.get(device.uuid)

        def link(name: str) -> float:
            if name in activity:
                return activity[name]
            if (gpm is not None and gpm.supported) or device.parent is not None:
                raise Unavailable(why or WORDS[NOT_SUPPORTED])
            if name in _PCIE:
                return library.pcie_kib_per_s(device.handle, _PCIE[name]) * 1024.0
            counter = library.field(device.handle, _NVLINK[name]) * 1024
            return self._rates.per_s(f"{device.uuid} {name}", counter, time.monotonic())

        return {name: asked(f"{name}_bytes_per_s", partial(link, name)) for name in (*_PCIE, *_NVLINK)}


def _minor(library: Library, device: c_void_p) -> int | None:
    try:
        return library.minor(device)
    except Refused:
        return None


def _processes(library: Library, device: c_void_p) -> tuple[GpuProcess, ...]:
    found = dict(library.processes(device, "Compute") + library.processes(device, "Graphics"))
    return tuple(GpuProcess(pid, used) for pid, used in sorted(found.items()))


def _reasons(bits: int) -> tuple[str, ...]:
    words = [word for bit, word in THROTTLE_REASONS.items() if bits & bit]
    other = bits & ~sum(THROTTLE_REASONS)
    return (*words, f"unknown reason {other:#x}") if other else tuple(words)
