"""Which files to put together. Each commit leaves small files; eight of a size become one of the next size, so that
a row is written again a handful of times in its life, and a month consists of a few dozen files at most.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from backend.accounting.warehouse.files import MAX_ROWS
from backend.accounting.warehouse.manifest import JobsFile

FANOUT = 8
SMALLEST = 4096
BITS = 4  # so many small files beside a large one do no harm
SETTLES_S = 3 * 86400  # after its end a month still gets late edits: longer than those are looked for


def groups(jobs: Iterable[JobsFile], everything: bool = False) -> Iterator[Sequence[JobsFile]]:
    """Groups of two or more files of one cluster and month that should be one. `everything`: as few as can be."""
    by_size: dict[tuple[str, str, int], list[JobsFile]] = defaultdict(list)
    for file in jobs:
        if file.rows < MAX_ROWS:
            by_size[file.cluster, file.month, 0 if everything else _size(file.rows)].append(file)
    for found in by_size.values():
        if len(found) >= (2 if everything else FANOUT):
            yield from _fitting(found)


def settled(jobs: Iterable[JobsFile], now_s: int) -> Iterator[Sequence[JobsFile]]:
    """Groups of files of months that are over for a while: nothing more comes, so they become as few as can be. Every
    file costs each question some time; but for a late edit or two a large file is not written again."""
    since = datetime.fromtimestamp(now_s - SETTLES_S, UTC).strftime("%Y-%m")
    for group in groups((file for file in jobs if file.month < since), everything=True):
        rows = [file.rows for file in group]
        if len(group) > BITS or (sum(rows) - max(rows)) * FANOUT >= max(rows):
            yield group


def _fitting(files: Iterable[JobsFile]) -> Iterator[Sequence[JobsFile]]:
    """Small ones first, each group as large as a file may be."""
    group: list[JobsFile] = []
    rows = 0
    for file in sorted(files, key=lambda file: file.rows):
        if group and rows + file.rows > MAX_ROWS:
            if len(group) > 1:
                yield group
            group, rows = [], 0
        group.append(file)
        rows += file.rows
    if len(group) > 1:
        yield group


def _size(rows: int) -> int:
    size, limit = 0, SMALLEST
    while rows >= limit:
        size, limit = size + 1, limit * FANOUT
    return size
