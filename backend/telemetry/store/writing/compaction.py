"""Which files to put together, and how: rows of one job come to lie side by side, and a question opens few files."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby

from backend.telemetry.catalogue import BY_NAME
from backend.telemetry.store.layout.chunks import Chunk, merged
from backend.telemetry.store.layout.files import Files
from backend.telemetry.store.layout.manifest import File, Manifest, Tier
from backend.telemetry.store.reading.gathering import newer

# Files of a level become one when this span of time, by when they were sealed, is over.
SPANS_S: dict[Tier, tuple[float, ...]] = {
    "raw": (3600.0, 6 * 3600.0),
    "minute": (3600.0, 6 * 3600.0, 24 * 3600.0),
}
FANOUT = 8  # files of ended jobs of one month and size become one of the next size
LARGEST_BYTES = 1 << 30


def due(manifest: Manifest, now_s: float) -> Iterator[list[File]]:
    """Groups of two files or more, each to become one."""
    for tier, spans in SPANS_S.items():
        for level, span_s in enumerate(spans):
            by_span: dict[float, list[File]] = defaultdict(list)
            for file in manifest.of(tier):
                if file.level <= level and file.sealed_s // span_s < now_s // span_s:
                    by_span[file.sealed_s // span_s].append(file)
            yield from (found for found in by_span.values() if len(found) > 1)
    for tier in ("archive", "jobs"):
        by_size: dict[tuple[str, int], list[File]] = defaultdict(list)
        for file in manifest.of(tier):
            if file.size_bytes < LARGEST_BYTES:
                by_size[datetime.fromtimestamp(file.until_s, UTC).strftime("%Y-%m"), file.level].append(file)
        yield from (found for found in by_size.values() if len(found) >= FANOUT)


def level_of(group: Sequence[File]) -> int:
    """Of what a group becomes."""
    spans = SPANS_S.get(group[0].tier)
    if spans is None:
        return max(file.level for file in group) + 1
    # The narrowest span they all lie in.
    return 1 + next(
        level
        for level, span_s in enumerate(spans)
        if len({file.sealed_s // span_s for file in group}) == 1 and all(file.level <= level for file in group)
    )


def together(files: Files, group: Sequence[File]) -> Iterator[Chunk]:
    """The rows of all the files in order, a row group of each in memory. Raises TelemetryUnusable."""
    newest_first = sorted(group, key=lambda file: -file.number)
    streams = [((chunk.key, age, chunk) for chunk in files.all(file)) for age, file in enumerate(newest_first)]
    for _, rows in groupby(heapq.merge(*streams, key=lambda row: row[:2]), key=lambda row: row[0]):
        found = [(age, chunk) for _, age, chunk in rows]
        if group[0].tier == "archive":
            yield from _latest(found)
        else:
            yield merged([chunk for _, chunk in found])


def _latest(rows: Iterable[tuple[int, Chunk]]) -> list[Chunk]:
    """Of a device's archives (newest first) those that no newer one replaces."""
    kept: list[Chunk] = []
    for _, same_age in groupby(rows, key=lambda row: row[0]):
        kept += newer(kept, [chunk for _, chunk in same_age])
    return sorted(kept, key=lambda chunk: float(chunk.times_s[0]))


def metrics_of(files: Files, group: Iterable[File]) -> list[str]:
    """All metrics that occur in the files."""
    there: set[str] = set()
    for file in group:
        there |= files.metrics(file)
    return [name for name in BY_NAME if name in there]
