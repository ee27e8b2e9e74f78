"""Answers what pages ask, from the store's files and from the memory of the process that writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backend.telemetry.catalogue import BY_NAME
from backend.telemetry.model import (
    FOOTPRINTS,
    Device,
    JobRef,
    Kept,
    Resolution,
    Series,
    Spark,
    TelemetryState,
    TelemetryUnusable,
)
from backend.telemetry.store.layout import manifest as manifests
from backend.telemetry.store.layout.chunks import Chunk, binned, device_order
from backend.telemetry.store.layout.files import Files
from backend.telemetry.store.layout.footprint_files import newest_rows, read_footprints
from backend.telemetry.store.layout.manifest import TIERS, File, Manifest, Tier
from backend.telemetry.store.layout.wal import wal_numbers, wal_path
from backend.telemetry.store.memory.attempts import EARLY_S, LATE_S
from backend.telemetry.store.memory.live import footprint_table
from backend.telemetry.store.reading.gathering import MINUTE_S, Wanted, gather, overlapping, spacing_s
from backend.telemetry.store.reading.sparks import spark_of
from backend.telemetry.store.writing.archive import step_for

A_SAMPLE = 0.95  # samples come a little sooner or later than usual: bins of just their distance hold one, seldom none
FINEST_S = 1.0
RUNNING_S = 600  # a job that sent within this time runs


class Memory(Protocol):
    """What the process that writes has in memory. All raise TelemetryUnusable."""

    @property
    def newest_s(self) -> float | None:
        """The newest sample of all."""

    def chunks(self, cluster: str, job_id: int) -> list[Chunk]:
        """The job's samples that are in no file yet."""

    def footprints(self, cluster: str | None, jobs: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """Rows of FOOTPRINTS of attempts that run or ended not long ago: of a cluster, of these job ids."""


class StoreReader:
    """`Telemetry` of the embedded store. Any number of processes may read while one writes."""

    lists_jobs = True

    def __init__(self, folder: Path, memory: Memory, now: Callable[[], float] = time.time) -> None:
        """`folder` need not exist yet."""
        self.folder = folder.absolute()
        self._memory = memory
        self._now = now
        self._files = Files(self.folder)
        self._lock = Lock()
        self._seen: tuple[int, int, int] | None = None
        self._manifest = Manifest()

    @property
    def state(self) -> TelemetryState:
        """How far it is known; a fault is told in it, none is raised."""
        error, since = None, None
        newest: float | None = None
        try:
            manifest = self._newest()
            newest = self._memory.newest_s
        except TelemetryUnusable as failure:
            manifest, error = self._manifest, str(failure)
            since = getattr(failure, "since_s", None)
        told = getattr(self._memory, "trouble", None)
        if error is None and told is not None:
            error, since = told
        spans = [file for file in manifest.files if file.tier in ("raw", "minute")]
        if newest is None:
            newest = max((file.until_s for file in spans), default=None)
        return TelemetryState(
            as_of_s=newest,
            error=error,
            error_since_s=since,
            oldest_s=min((file.since_s for file in manifest.files), default=None),
            kept=(*(_kept(tier, manifest.of(tier)) for tier in TIERS), Kept("log", self._log_bytes())),
        )

    def devices(self, job: JobRef) -> tuple[Device, ...]:
        """What of the job was measured."""
        since_s, until_s = self._span(job)
        found: dict[tuple[str, str], tuple[str, set[str]]] = {}

        def add(node: str, device: str, model: str, metrics: Sequence[str]) -> None:
            before = found.get((node, device), ("", set()))
            found[node, device] = (model or before[0], before[1] | set(metrics))

        for chunk in self._memory.chunks(job.cluster, job.job_id):
            if len(chunk.within(since_s, until_s).times_s):
                add(chunk.key.node, chunk.key.device, chunk.model, chunk.metrics)
        for row in self._rows(job.cluster, job.job_id, since_s, until_s):
            add(row["node"], row["device"], row["model"], row["metrics"].split(","))
        return tuple(
            Device(node, device, model, tuple(name for name in BY_NAME if name in metrics))
            for (node, device), (model, metrics) in sorted(found.items(), key=lambda item: device_order(*item[0]))
        )

    def _rows(self, cluster: str, job_id: int, since_s: float, until_s: float) -> list[dict[str, Any]]:
        manifest = self._newest()
        tiers = overlapping(manifest.of("minute"), since_s - MINUTE_S, until_s)
        if since_s < manifest.minute_from_s:
            tiers += [file for file in manifest.of("archive") if file.until_s >= since_s]
        found = []
        for file in tiers:
            rows = self._files.keys(file, cluster, job_id)
            found += [row for row in rows if row["first_s"] < until_s and row["last_s"] >= since_s - MINUTE_S]
        return found

    def series(
        self,
        job: JobRef,
        metrics: Sequence[str],
        *,
        since_s: float | None = None,
        until_s: float | None = None,
        points: int = 600,
        nodes: Sequence[str] | None = None,
        resolution: Resolution = "auto",
    ) -> tuple[Series, ...]:
        """The points of every device; see `Telemetry`."""
        first_s, last_s = self._window(job, since_s, until_s)
        known = [name for name in dict.fromkeys(metrics) if name in BY_NAME]
        if last_s <= first_s or not known:
            return ()
        step_s = float(step_for(last_s - first_s, points))
        if resolution == "minute":
            step_s = max(step_s, MINUTE_S)
        elif resolution == "auto":
            step_s = max(step_s, self._least_step(job))
        fine = resolution == "raw" or step_s < MINUTE_S
        wanted = Wanted(
            job.cluster, job.job_id, first_s, last_s, known, None if nodes is None else set(nodes), fine=fine
        )
        fresh = self._memory.chunks(job.cluster, job.job_id)
        chunks = gather(self._files, self._newest(), wanted, fresh)
        chunks.sort(key=lambda chunk: device_order(chunk.key.node, chunk.key.device))
        return tuple(series for chunk in chunks for series in _series(chunk, known, step_s))

    def samples(
        self, job: JobRef, devices: Sequence[Device], *, since_s: float | None = None, until_s: float | None = None
    ) -> Iterator[tuple[Device, pa.Table]]:
        """All that was measured, one device in memory at a time."""
        first_s, last_s = self._window(job, since_s, until_s)
        for node, its in groupby(devices, key=lambda device: device.node):
            fresh = self._memory.chunks(job.cluster, job.job_id)
            manifest = self._newest()
            for device in its:
                wanted = Wanted(
                    job.cluster, job.job_id, first_s, last_s, device.metrics, {node}, {device.device}, fine=True
                )
                for chunk in gather(self._files, manifest, wanted, fresh):
                    yield device, _table(_bins(chunk, FINEST_S)[0])

    def _window(self, job: JobRef, since_s: float | None, until_s: float | None) -> tuple[float, float]:
        first_s, last_s = self._span(job)
        return (
            first_s if since_s is None else max(first_s, since_s),
            last_s if until_s is None else min(last_s, until_s),
        )

    def _least_step(self, job: JobRef) -> float:
        """The step that holds about one sample: finer points would be samples with gaps between them."""
        row = self._rows_of([job]).get(job)
        return min(float(step_for(row["every_s"] * A_SAMPLE * 600, 601)), MINUTE_S) if row else 1.0

    def sparks(self, jobs: Sequence[JobRef], points: int = 32) -> dict[JobRef, Spark]:
        """A small line for each job that was measured."""
        return {job: spark_of(row, points) for job, row in self._rows_of(jobs).items() if row["spark_step_s"]}

    def footprints(self, jobs: Sequence[JobRef]) -> pa.Table:
        """Rows of FOOTPRINTS for those of the jobs that were measured."""
        found = self._rows_of(jobs)
        return footprint_table([found[job] for job in jobs if job in found])

    def running(self, cluster: str) -> pa.Table:
        """Every job that sent samples within the last ten minutes."""
        rows = self._memory.footprints(cluster)
        since_s = self._now() - RUNNING_S
        return footprint_table([row for row in rows if row["end_s"] is None and row["last_s"] >= since_s])

    def footprints_of(
        self, clusters: Collection[str], since_s: int, until_s: int, columns: Sequence[str] = FOOTPRINTS.names
    ) -> pa.Table:
        """All jobs that ended within, and those that run."""
        needed = list(dict.fromkeys(["cluster", "job_id", "start_s", "end_s", *columns]))
        # Memory first: who is archived meanwhile is in both, and the archive's row counts.
        known = self._memory.footprints(next(iter(clusters)) if len(clusters) == 1 else None)
        archived = [
            read_footprints(self.folder, file, columns=needed)
            for file in overlapping(self._newest().of("jobs"), since_s, until_s)
        ]
        table = newest_rows([*archived, footprint_table(known).select(needed)])
        within = pc.or_kleene(
            pc.is_null(table["end_s"]),
            pc.and_(pc.greater_equal(table["end_s"], since_s), pc.less(table["end_s"], until_s)),
        )
        theirs = pc.is_in(table["cluster"], pa.array(list(clusters), pa.string()))
        return table.filter(pc.and_kleene(within, theirs)).select(list(columns))

    def _rows_of(self, jobs: Sequence[JobRef]) -> dict[JobRef, dict[str, Any]]:
        """The best row of each job: the one whose span fits best, the newest of several."""
        if not jobs:
            return {}
        ids = sorted({job.job_id for job in jobs})
        candidates: dict[tuple[str, int], list[dict[str, Any]]] = {}
        fresh = self._memory.footprints(None, ids)
        since_s = min(job.start_s for job in jobs) - EARLY_S
        for file in self._newest().of("jobs"):
            if file.until_s >= since_s and any(file.min_job_id <= job_id <= file.max_job_id for job_id in ids):
                for row in read_footprints(self.folder, file, ids).to_pylist():
                    candidates.setdefault((row["cluster"], row["job_id"]), []).append(row)
        for row in fresh:
            candidates.setdefault((row["cluster"], row["job_id"]), []).append(row)
        found = {}
        for job in jobs:
            best, most = None, 0.0
            for row in candidates.get((job.cluster, job.job_id), []):
                shared = self._shared_s(job, row)
                if shared > 0 and shared >= most:
                    best, most = row, shared
            if best is not None:
                found[job] = best
        return found

    def _shared_s(self, job: JobRef, row: dict[str, Any]) -> float:
        since_s, until_s = self._span(job)
        last_s = row["end_s"] + LATE_S if row["end_s"] is not None else max(row["last_s"], until_s)
        return float(min(until_s, last_s) - max(since_s, row["start_s"] - EARLY_S))

    def _span(self, job: JobRef) -> tuple[float, float]:
        end_s = self._now() if job.end_s is None else job.end_s
        return job.start_s - EARLY_S, end_s + LATE_S

    def _newest(self) -> Manifest:
        with self._lock:
            try:
                found = (self.folder / manifests.MANIFEST).stat()
            except FileNotFoundError:
                return self._manifest
            except OSError as error:
                raise TelemetryUnusable(f"{self.folder} can't be read: {error.strerror}") from error
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if seen != self._seen:
                self._manifest = manifests.load(self.folder)
                self._seen = seen
            return self._manifest

    def _log_bytes(self) -> int:
        total = 0
        for number in wal_numbers(self.folder):
            try:
                total += wal_path(self.folder, number).stat().st_size
            except FileNotFoundError:  # put into files meanwhile
                continue
        return total


def _kept(tier: Tier, files: Sequence[File]) -> Kept:
    return Kept(
        tier,
        size_bytes=sum(file.size_bytes for file in files),
        rows=sum(file.rows if tier == "jobs" else file.samples for file in files),
        since_s=min((file.since_s for file in files), default=None),
        until_s=max((file.until_s for file in files), default=None),
    )


def _bins(chunk: Chunk, step_s: float) -> tuple[Chunk, float]:
    if chunk.binned and spacing_s(chunk) > step_s:  # an archive's points are further apart
        step_s = float(step_for(spacing_s(chunk) * 600, 601))
    return binned(chunk, step_s), step_s


def _table(bins: Chunk) -> pa.Table:
    """`time_s` and a column a metric, of the times at which anything was measured."""
    assert bins.highs is not None  # noqa: S101
    there = ~np.isnan(bins.means).all(axis=0)
    columns = {"time_s": pa.array(bins.times_s[there])}
    for row, name in enumerate(bins.metrics):
        values = bins.highs[row] if BY_NAME[name].highest else bins.means[row]
        columns[name] = pa.array(values[there].astype(np.float64), from_pandas=True)  # NaN is null: not measured then
    return pa.table(columns)


def _series(chunk: Chunk, metrics: Sequence[str], step_s: float) -> list[Series]:
    bins, step_s = _bins(chunk, step_s)
    assert bins.lows is not None and bins.highs is not None  # noqa: S101
    found = []
    for name in metrics:
        if name not in bins.metrics:
            continue
        row = bins.metrics.index(name)
        there = ~np.isnan(bins.means[row])
        if not there.any():
            continue
        means = bins.highs[row] if BY_NAME[name].highest else bins.means[row]
        found.append(
            Series(
                chunk.key.node, chunk.key.device, name, step_s,
                *(tuple(part[there].tolist()) for part in (bins.times_s, means, bins.lows[row], bins.highs[row])),
            )
        )
    return found
