"""All that is known of a job within a window, from files of every tier and from memory, as chunks."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from backend.telemetry.store.layout.chunks import Chunk, Key, binned, merged
from backend.telemetry.store.layout.files import Files
from backend.telemetry.store.layout.manifest import File, Manifest

MINUTE_S = 60.0


@dataclass(frozen=True)
class Wanted:
    """A question: `fine`: samples where there still are some, else minutes. `metrics` None: all."""

    cluster: str
    job_id: int
    since_s: float
    until_s: float
    metrics: Sequence[str] | None = None
    nodes: Collection[str] | None = None
    devices: Collection[str] | None = None
    fine: bool = False

    def asks(self, key: Key) -> bool:
        """Whether that device of the job is meant."""
        return (self.nodes is None or key.node in self.nodes) and (self.devices is None or key.device in self.devices)


@dataclass
class _Parts:
    samples: dict[Key, list[Chunk]] = field(default_factory=dict)
    bins: dict[Key, list[Chunk]] = field(default_factory=dict)


def gather(files: Files, manifest: Manifest, wanted: Wanted, fresh: Sequence[Chunk]) -> list[Chunk]:
    """One chunk a device, in the order of keys: samples, or bins where some part of it is binned.

    `fresh`: what memory has of the job, asked before the manifest was read: what went into a file meanwhile is then
    in both, and counts once. Raises TelemetryUnusable.
    """
    parts = _Parts()
    archived = _archived(files, manifest, wanted)
    _collect(files, manifest, wanted, parts, fresh=fresh, archived=bool(archived))
    for chunk in archived:
        parts.bins.setdefault(chunk.key, []).append(chunk)
    return _together(parts)


def _collect(
    files: Files, manifest: Manifest, wanted: Wanted, parts: _Parts, *, fresh: Iterable[Chunk], archived: bool
) -> None:
    """Samples and minutes of the window; not those of before `minute_from_s` where an archive has them."""
    edge_s = math.ceil(manifest.raw_from_s / MINUTE_S) * MINUTE_S if wanted.fine else math.inf
    first_s = max(wanted.since_s, manifest.minute_from_s) if archived else wanted.since_s
    until_s = min(wanted.until_s, edge_s)
    if first_s < until_s:
        for file in overlapping(manifest.of("minute"), first_s - MINUTE_S, until_s):
            for chunk in _read(files, file, wanted):
                _put(parts.bins, chunk.within(_minute(first_s), until_s))
    if wanted.fine:
        first_s = max(wanted.since_s, edge_s)
        for file in overlapping(manifest.of("raw"), first_s, wanted.until_s):
            for chunk in _read(files, file, wanted):
                _put(parts.samples, chunk.within(first_s, wanted.until_s))
    for chunk in fresh:
        if wanted.asks(chunk.key):
            mine = chunk if wanted.metrics is None else chunk.of(wanted.metrics)
            cut = mine.within(first_s if wanted.fine else wanted.since_s, wanted.until_s)
            _put(parts.samples if wanted.fine else parts.bins, cut if wanted.fine else binned(cut, MINUTE_S))


def _read(files: Files, file: File, wanted: Wanted) -> list[Chunk]:
    return files.chunks(file, wanted.cluster, wanted.job_id, wanted.metrics, nodes=wanted.nodes, devices=wanted.devices)


def _minute(time_s: float) -> float:
    return math.floor(time_s / MINUTE_S) * MINUTE_S


def overlapping(files: Iterable[File], since_s: float, until_s: float) -> list[File]:
    """Those that may have something of [since, until)."""
    return [file for file in files if file.since_s < until_s and file.until_s >= since_s]


def _put(into: dict[Key, list[Chunk]], chunk: Chunk) -> None:
    if len(chunk.times_s) and chunk.metrics:
        into.setdefault(chunk.key, []).append(chunk)


def _archived(files: Files, manifest: Manifest, wanted: Wanted) -> list[Chunk]:
    """From the archive, the part of the window of which there are no minutes any more."""
    if wanted.since_s >= manifest.minute_from_s:
        return []
    found: list[Chunk] = []
    # A job is in the archive of its end, which is within the window or after it.
    for file in sorted(manifest.of("archive"), key=lambda file: -file.number):
        if file.until_s >= wanted.since_s:
            its = _read(files, file, wanted)
            found += newer(found, its)
    cut = [chunk.within(wanted.since_s, min(wanted.until_s, manifest.minute_from_s)) for chunk in found]
    return [chunk for chunk in cut if len(chunk.times_s)]


def newer(known: Sequence[Chunk], older: Iterable[Chunk]) -> list[Chunk]:
    """Those of `older` that `known` has no newer row of: an attempt may be archived again."""
    spans = [(chunk.key.job_id, chunk.times_s[0], chunk.times_s[-1]) for chunk in known]
    return [
        chunk
        for chunk in older
        if not any(
            job_id == chunk.key.job_id and first <= chunk.times_s[-1] and chunk.times_s[0] <= last
            for job_id, first, last in spans
        )
    ]


def _together(parts: _Parts) -> list[Chunk]:
    chunks = []
    for key in sorted(parts.samples.keys() | parts.bins.keys()):
        its = [merged(found) for found in (parts.bins.get(key), parts.samples.get(key)) if found]
        chunks.append(merged(its))
    return chunks


def spacing_s(chunk: Chunk) -> float:
    """The usual distance of two points; 0 for a single one."""
    return float(np.median(np.diff(chunk.times_s))) if len(chunk.times_s) > 1 else 0.0
