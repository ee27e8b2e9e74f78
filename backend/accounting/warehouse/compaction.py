"""Which files to put together. Each commit leaves small files; eight of a size become one of the next size, so that
a row is written again a handful of times in its life, and a month consists of a few dozen files at most.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from backend.accounting.warehouse.files import MAX_ROWS
from backend.accounting.warehouse.manifest import JobsFile

FANOUT = 8
SMALLEST = 4096


def groups(jobs: Iterable[JobsFile], everything: bool = False) -> Iterator[Sequence[JobsFile]]:
    """Groups of two or more files of one cluster and month that should be one. `everything`: as few as can be."""
    by_size: dict[tuple[str, str, int], list[JobsFile]] = defaultdict(list)
    for file in jobs:
        if file.rows < MAX_ROWS:
            by_size[file.cluster, file.month, 0 if everything else _size(file.rows)].append(file)
    for found in by_size.values():
        if len(found) < (2 if everything else FANOUT):
            continue
        group: list[JobsFile] = []
        rows = 0
        for file in sorted(found, key=lambda file: file.rows):
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
