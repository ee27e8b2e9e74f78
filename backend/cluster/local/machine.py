"""What this machine has: CPUs, memory and, through NVML where there is one, its GPUs."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

from config import Local

_VENDOR = frozenset(["NVIDIA", "TESLA", "GEFORCE", "QUADRO", "GRAPHICS", "DEVICE"])
_FAMILY = frozenset(["RTX", "GTX", "TITAN"])


@dataclass(frozen=True)
class Gpu:
    """One GPU. `index` is what CUDA_VISIBLE_DEVICES names it by."""

    index: int
    type: str


@dataclass(frozen=True)
class Machine:
    """What jobs may use together."""

    name: str
    cpus: tuple[int, ...]  # the CPUs' numbers
    memory_mb: int
    gpus: tuple[Gpu, ...]
    boot_s: int

    def gpus_of(self, kind: str) -> int:
        """How many GPUs of a type there are; "" counts all."""
        return sum(1 for gpu in self.gpus if not kind or gpu.type == kind)


def this_machine(limits: Local) -> Machine:
    """Look at the machine, and leave out what the settings don't give to jobs."""
    cpus = sorted(os.sched_getaffinity(0))
    memory_mb = psutil.virtual_memory().total >> 20
    return Machine(
        name=socket.gethostname().partition(".")[0] or "localhost",
        cpus=tuple(cpus[: limits.cpus] if limits.cpus else cpus),
        memory_mb=min(limits.memory_mb, memory_mb) if limits.memory_mb else memory_mb,
        gpus=tuple(find_gpus()),
        boot_s=int(psutil.boot_time()),
    )


def find_gpus() -> list[Gpu]:
    """The GPUs NVML tells of; none where there is no NVML or no GPU."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [
            Gpu(index, gpu_type(_text(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(index)))))
            for index in range(pynvml.nvmlDeviceGetCount())
        ]
    except pynvml.NVMLError:
        return []
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _text(name: str | bytes) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def gpu_type(name: str) -> str:
    """The type as sites write it in Slurm: `NVIDIA A100-SXM4-80GB` a100, `GeForce RTX 4090` rtx4090."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", name) if word and word.upper() not in _VENDOR]
    if not words:
        return "gpu"
    if words[0].upper() in _FAMILY and len(words) > 1:
        return (words[0] + words[1]).lower()
    return words[0].lower()


def boot_id() -> str:
    """A text that differs after each start of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
