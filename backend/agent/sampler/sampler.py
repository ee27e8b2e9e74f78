"""One machine, sampled again and again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from .gpu import GpuReader
from .jobs import JobReader
from .model import Gpu, Job, Missing, Sample
from .node import NodeReader
from .nvml import Nvml
from .places import Place, find
from .places import own as find_own
from .processes import Process, Processes
from .reading import Rates


class Sampler:
    """Samples of this machine. Keeps what rates need between two of them; not for several threads at once.

    `jobs` names the jobs to tell of, None all that are here. `own` is the job this process itself is part of, and the
    node's name: then of that one only. `node` names the slurmd whose jobs count, where several run on one machine.
    `root` is where /proc and /sys are looked for. `places` are where the last sample found its jobs.
    """

    def __init__(
        self,
        *,
        jobs: Collection[int] | None = None,
        own: tuple[int, str] | None = None,
        node: str | None = None,
        gpus: Sequence[GpuReader] | None = None,
        root: str = "/",
    ) -> None:
        self._own, self._slurmd = own, node
        self.places: list[Place] = []
        self._wanted = frozenset([own[0]]) if own else None if jobs is None else frozenset(jobs)
        self._gpus: Sequence[GpuReader] = (Nvml(),) if gpus is None else gpus
        self._rates = Rates()
        self._root = root
        self.processes = Processes(root)
        self._node = NodeReader(root, self._rates)
        self._readers: dict[str, JobReader] = {}
        self._before_s: float | None = None

    def sample(self) -> Sample:
        """Look at everything once. Never raises for what this machine can't tell: `missing` says it."""
        taken_s, began_s = time.time(), time.monotonic()
        missing = Missing()
        node = self._node.read(missing)
        file_systems = self._node.file_systems(missing)
        jobs, owners = self._jobs(missing)
        gpus = [_owned(gpu, owners) for reader in self._gpus for gpu in reader.read(missing)]
        interval_s = None if self._before_s is None else began_s - self._before_s
        self._before_s = began_s
        self._rates.turn()
        return Sample(
            host=os.uname().nodename,
            taken_s=taken_s,
            interval_s=interval_s,
            took_ms=(time.monotonic() - began_s) * 1000,
            node=node,
            gpus=tuple(gpus),
            jobs=tuple(jobs),
            file_systems=tuple(file_systems),
            missing=missing,
        )

    def close(self) -> None:
        """Let the GPU libraries go."""
        for reader in self._gpus:
            reader.close()

    def _jobs(self, missing: Missing) -> tuple[list[Job], dict[int, int]]:
        """The jobs, and the job of each process."""
        if self._own is not None:
            places, table = find_own(self._root, self.processes, *self._own)
        else:
            places, table = find(self._root, self.processes, self._slurmd)
        if self._wanted is not None:
            places = [place for place in places if place.job_id in self._wanted]
            for absent in sorted(self._wanted.difference(place.job_id or 0 for place in places)):
                missing[f"job.{absent}"] = "no such job runs on this node"
        self.places = places
        self._readers = {_key(place): self._readers.get(_key(place)) or self._reader() for place in places}
        found = (self._job(place, table, missing) for place in places)
        owners = {pid: place.job_id for place in places if place.job_id is not None for pid in place.pids}
        return [job for job in found if job is not None], owners

    def _job(self, place: Place, table: Mapping[int, Process] | None, missing: Missing) -> Job | None:
        try:
            return self._readers[_key(place)].read(place, table, missing)
        except Exception as error:  # noqa: BLE001 - what one job shows is a gap in its own figures, in nobody else's
            missing[f"job.{_key(place)}"] = f"it can't be read: {error!r}"
            return None

    def _reader(self) -> JobReader:
        return JobReader(self.processes, self._rates)


def as_json(sample: Sample, *, indent: int | None = None) -> str:
    """The sample as one JSON document."""
    return json.dumps(_named(sample), indent=indent, allow_nan=False)


def _named(part: Any) -> Any:
    """As mappings all that has names, which JSON would show as lists."""
    if isinstance(part, tuple):
        names = getattr(part, "_fields", None)
        values = [_named(value) for value in part]
        return values if names is None else dict(zip(names, values))  # noqa: B905 - Python 3.9
    return part


def _key(place: Place) -> str:
    return place.sluid or str(place.job_id)


def _owned(gpu: Gpu, owners: dict[int, int]) -> Gpu:
    if not gpu.processes:
        return gpu
    owned = tuple(process._replace(job_id=owners.get(process.pid)) for process in gpu.processes)
    return gpu._replace(processes=owned)
