"""When each waiting job will begin: first come, first served; later ones pass where they delay nobody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backend.cluster.local.jobs import Wanted
from backend.cluster.local.machine import Machine


@dataclass(frozen=True)
class Held:
    """What a job holds until a moment."""

    wanted: Wanted
    gpu_types: tuple[str, ...]  # the types of the GPUs it has, one each
    until_s: float


class _Room:
    """What is free from one moment on."""

    def __init__(self, machine: Machine) -> None:
        self.cpus = len(machine.cpus)
        self.memory_mb = machine.memory_mb
        self.gpus: dict[str, int] = {}
        for gpu in machine.gpus:
            self.gpus[gpu.type] = self.gpus.get(gpu.type, 0) + 1

    def fits(self, wanted: Wanted) -> bool:
        gpus = self.gpus.get(wanted.gpu_type, 0) if wanted.gpu_type else sum(self.gpus.values())
        return self.cpus >= wanted.cpus and self.memory_mb >= wanted.memory_mb and gpus >= wanted.gpus

    def take(self, wanted: Wanted, gpu_types: Iterable[str]) -> None:
        self.cpus -= wanted.cpus
        self.memory_mb -= wanted.memory_mb
        for kind in gpu_types:
            self.gpus[kind] = self.gpus.get(kind, 0) - 1


def pick_types(wanted: Wanted, free: dict[str, int]) -> tuple[str, ...]:
    """The types of the GPUs a job would get; untyped wishes take from the most plentiful type."""
    if wanted.gpu_type:
        return (wanted.gpu_type,) * wanted.gpus
    picked: list[str] = []
    left = dict(free)
    for _ in range(wanted.gpus):
        kind = max(sorted(left), key=lambda name: left[name], default="")
        left[kind] = left.get(kind, 0) - 1
        picked.append(kind)
    return tuple(picked)


def plan(machine: Machine, running: Sequence[Held], waiting: Sequence[Wanted], now_s: float) -> list[float]:
    """The moment each waiting job begins, in the order given; `now_s` for those that begin at once.

    Every job keeps the place found for it, so that none that comes later delays it.
    """
    kept = [held if held.until_s > now_s else Held(held.wanted, held.gpu_types, now_s + 1) for held in running]
    spans: list[tuple[float, Held]] = [(now_s, held) for held in kept]
    starts = []
    for wanted in waiting:
        start_s = _earliest(machine, spans, wanted, now_s)
        types = pick_types(wanted, _room(machine, spans, start_s).gpus)
        spans.append((start_s, Held(wanted, types, start_s + wanted.time_s)))
        starts.append(start_s)
    return starts


def _earliest(machine: Machine, spans: list[tuple[float, Held]], wanted: Wanted, now_s: float) -> float:
    for moment_s in sorted({now_s, *(held.until_s for _, held in spans if held.until_s > now_s)}):
        changes = [begin for begin, _ in spans if moment_s < begin < moment_s + wanted.time_s]
        if all(_room(machine, spans, point).fits(wanted) for point in [moment_s, *changes]):
            return moment_s
    return max((held.until_s for _, held in spans), default=now_s)


def _room(machine: Machine, spans: list[tuple[float, Held]], at_s: float) -> _Room:
    room = _Room(machine)
    for begin_s, held in spans:
        if begin_s <= at_s < held.until_s:
            room.take(held.wanted, held.gpu_types)
    return room
