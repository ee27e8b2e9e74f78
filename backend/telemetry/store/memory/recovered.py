"""The memory of the process that writes, read from its log: for when that process is away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from backend.telemetry.store.layout import manifest as manifests
from backend.telemetry.store.layout.chunks import Chunk
from backend.telemetry.store.memory.live import Live


class Recovered:
    """As of the last acknowledged batch; looks again each time it is asked. Safe in several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._generation = -1
        self._live = Live()

    @property
    def newest_s(self) -> float | None:
        """The newest sample of all."""
        return self._now().newest_s

    def chunks(self, cluster: str, job_id: int) -> list[Chunk]:
        """The job's samples that are in no file yet."""
        return self._now().chunks(cluster, job_id)

    def footprints(self, cluster: str | None, jobs: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """Rows of FOOTPRINTS of attempts that run or ended not long ago."""
        return self._now().footprints(cluster, jobs)

    def _now(self) -> Live:
        with self._lock:
            manifest = manifests.load(self._folder)
            if manifest.generation != self._generation:
                self._live = Live.load(self._folder, manifest)
                self._generation = manifest.generation
            else:
                self._live.catch_up(self._folder, manifest)
            return self._live
