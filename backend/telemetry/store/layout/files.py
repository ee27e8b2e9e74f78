"""Chunks in Parquet files: one row a device of a job, a list of times and a list for each metric beside it.

Columns: cluster, job_id, node, device, model; metrics (the names, with commas); first_s, last_s; t (milliseconds);
for each metric its values, and in files of bins n (samples in each bin), `METRIC.low` and `METRIC.high`. Rows are
sorted by their first four columns, so that a job lies in few row groups, which its number finds.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backend.telemetry.catalogue import BY_NAME
from backend.telemetry.store.layout.chunks import Chunk, Key, Matrix, rounded
from backend.telemetry.store.layout.manifest import File, Tier, naming

KEYS = ("cluster", "job_id", "node", "device", "model", "metrics")
GROUP_VALUES = 1 << 20  # values of a row group: what one question of a job must decode of others' at most
LEVEL = 3  # of zstd
OPEN_FILES = 256

Names = Collection[str] | None  # of nodes or devices; None: any
_ANY = ("", chr(0x10FFFF))  # the span of names in files that don't tell

_KEY_FIELDS = [
    ("cluster", pa.string()),
    ("job_id", pa.int64()),
    ("node", pa.string()),
    ("device", pa.string()),
    ("model", pa.string()),
    ("metrics", pa.string()),
    ("first_s", pa.float64()),
    ("last_s", pa.float64()),
    ("t", pa.list_(pa.int64())),
]


def schema_of(metrics: Iterable[str], bins: bool) -> pa.Schema:
    """The schema of a file with these metrics."""
    fields = list(_KEY_FIELDS)
    if bins:
        fields.append(("n", pa.list_(pa.int32())))
    for name in metrics:
        endings = ("", ".low", ".high") if bins else ("",)
        fields += [(name + ending, pa.list_(pa.float32())) for ending in endings]
    return pa.schema(fields)


def as_table(chunks: Sequence[Chunk], metrics: Sequence[str], bins: bool) -> pa.Table:
    """Chunks as rows; all of them samples, or all of them bins."""
    keys = [chunk.key for chunk in chunks]
    lengths = [len(chunk.times_s) for chunk in chunks]
    offsets = _offsets(lengths)
    times = np.concatenate([chunk.times_s for chunk in chunks]) if chunks else np.empty(0)
    columns: list[Any] = [
        pa.array([key.cluster for key in keys], pa.string()),
        pa.array([key.job_id for key in keys], pa.int64()),
        pa.array([key.node for key in keys], pa.string()),
        pa.array([key.device for key in keys], pa.string()),
        pa.array([chunk.model for chunk in chunks], pa.string()),
        pa.array([",".join(chunk.metrics) for chunk in chunks], pa.string()),
        pa.array([chunk.times_s[0] for chunk in chunks], pa.float64()),
        pa.array([chunk.times_s[-1] for chunk in chunks], pa.float64()),
        pa.ListArray.from_arrays(offsets, pa.array(np.round(times * 1000).astype(np.int64))),
    ]
    if bins:
        counts = np.concatenate([chunk.counts for chunk in chunks if chunk.counts is not None])
        columns.append(pa.ListArray.from_arrays(offsets, pa.array(counts.astype(np.int32))))
    rows = [{name: at for at, name in enumerate(chunk.metrics)} for chunk in chunks]
    for name in metrics:
        at = [found.get(name) for found in rows]
        for part in ("means", "lows", "highs") if bins else ("means",):
            columns.append(_lists([getattr(chunk, part) for chunk in chunks], at))
    return pa.table(columns, schema=schema_of(metrics, bins))


def chunk_table(chunks: Sequence[Chunk]) -> pa.Table:
    """Samples as one table, to be sent to another process; `from_table` reads it."""
    there = {name for chunk in chunks for name in chunk.metrics}
    return as_table(chunks, [name for name in BY_NAME if name in there], bins=False)


def _offsets(lengths: Sequence[int]) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())


def _lists(parts: Sequence[Matrix], at: Sequence[int | None]) -> pa.Array:
    """One list a row, null where the row has no such metric."""
    found = [part[row] for part, row in zip(parts, at, strict=True) if row is not None]
    lengths = [0 if row is None else part.shape[1] for part, row in zip(parts, at, strict=True)]
    values = np.concatenate(found) if found else np.empty(0, np.float32)
    absent = pa.array([row is None for row in at], pa.bool_())
    return pa.ListArray.from_arrays(_offsets(lengths), pa.array(values, pa.float32()), mask=absent)


def from_table(table: pa.Table, metrics: Sequence[str] | None = None) -> Iterator[Chunk]:
    """The rows as chunks; `metrics`: only these, those of them that a row has."""
    if not table.num_rows:
        return
    table = table.combine_chunks()
    names = table.column_names
    bins = "n" in names
    wanted = [name for name in BY_NAME if name in names and (metrics is None or name in metrics)]
    lists = {name: _Lists(table[name]) for name in names if name not in KEYS and name not in ("first_s", "last_s")}
    columns = [table[name].to_pylist() for name in KEYS]
    for row, (cluster, job_id, node, device, model, has) in enumerate(zip(*columns, strict=True)):
        mine = set(has.split(","))
        found = tuple(name for name in wanted if name in mine)
        times = lists["t"].row(row).astype(np.float64) / 1000
        chunk = Chunk(
            Key(cluster, job_id, node, device), model, times, found, _matrix(lists, found, "", row, len(times))
        )
        if bins:
            chunk = replace(
                chunk,
                counts=lists["n"].row(row).astype(np.float64),
                lows=_matrix(lists, found, ".low", row, len(times)),
                highs=_matrix(lists, found, ".high", row, len(times)),
            )
        yield chunk


class _Lists:
    """A column of lists, its rows as views of one array."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        array = column.chunk(0)
        self._offsets: npt.NDArray[np.int32] = array.offsets.to_numpy()
        self._values: npt.NDArray[Any] = array.values.to_numpy(zero_copy_only=False)

    def row(self, at: int) -> npt.NDArray[Any]:
        return self._values[self._offsets[at] : self._offsets[at + 1]]


def _matrix(lists: dict[str, _Lists], names: tuple[str, ...], ending: str, row: int, length: int) -> Matrix:
    if not names:
        return np.empty((0, length), np.float32)
    return np.stack([lists[name + ending].row(row) for name in names])


def write(
    folder: Path,
    tier: Tier,
    number: int,
    chunks: Iterable[Chunk],
    *,
    bins: bool,
    level: int,
    sealed_s: float,
    metrics: Sequence[str] | None = None,
    newest: int | None = None,
) -> File | None:
    """Write chunks (sorted by key) as a new file, on disk when this returns; None when there are none.

    `metrics`: all that occur in them (None: found out first, which needs all chunks in memory). `newest`: the
    number of their newest rows, where they are older than the file.
    Raises TelemetryUnusable.
    """
    if metrics is None:
        chunks = list(chunks)
        there = {name for chunk in chunks for name in chunk.metrics}
        metrics = [name for name in BY_NAME if name in there]
    path = f"{tier}/{number:010d}.parquet"
    target = folder / path
    facts = _Facts()
    with naming(target):
        target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with target.open("wb") as out:
            with _parquet(out, metrics, bins) as writer:
                for group in _groups(chunks):
                    facts.add(group)
                    writer.write_table(as_table(group, metrics, bins))
            out.flush()
            os.fsync(out.fileno())
            size = out.tell()
        if not facts.rows:
            target.unlink()
            return None
    return File(
        path, tier, level, sealed_s, facts.since_s, facts.until_s, facts.min_job_id, facts.max_job_id,
        facts.rows, facts.samples, size, number if newest is None else newest,
    )  # fmt: skip


@dataclass
class _Facts:
    rows: int = 0
    samples: int = 0
    since_s: float = np.inf
    until_s: float = -np.inf
    min_job_id: int = 1 << 62
    max_job_id: int = 0

    def add(self, chunks: Sequence[Chunk]) -> None:
        self.rows += len(chunks)
        for chunk in chunks:
            self.samples += chunk.samples
            self.since_s = min(self.since_s, float(chunk.times_s[0]))
            self.until_s = max(self.until_s, float(chunk.times_s[-1]))
            self.min_job_id = min(self.min_job_id, chunk.key.job_id)
            self.max_job_id = max(self.max_job_id, chunk.key.job_id)


def _groups(chunks: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    group: list[Chunk] = []
    values = 0
    for chunk in chunks:
        if not len(chunk.times_s):
            continue
        group.append(rounded(chunk))
        values += chunk.means.size
        if values >= GROUP_VALUES:
            yield group
            group, values = [], 0
    if group:
        yield group


def _parquet(out: Any, metrics: Sequence[str], bins: bool) -> pq.ParquetWriter:
    schema = schema_of(metrics, bins)
    values = [name for name in schema.names if pa.types.is_list(schema.field(name).type) and name not in ("t", "n")]
    split = dict.fromkeys((f"{name}.list.element" for name in values), "BYTE_STREAM_SPLIT")
    delta = dict.fromkeys(["t.list.element", "job_id", *(["n.list.element"] if bins else [])], "DELTA_BINARY_PACKED")
    return pq.ParquetWriter(
        out, schema, compression="zstd", compression_level=LEVEL, column_encoding=split | delta,
        use_dictionary=[name for name in KEYS if name != "job_id"], write_statistics=["job_id", "node", "device"],
    )  # fmt: skip


@dataclass(frozen=True)
class _Open:
    metadata: pq.FileMetaData
    columns: frozenset[str]
    low: npt.NDArray[np.int64]  # job ids of each row group
    high: npt.NDArray[np.int64]
    nodes: list[tuple[str, str]]  # first and last of each row group
    devices: list[tuple[str, str]]


class Files:
    """Reads data files, remembering what is at which place of each. Safe in several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._open: OrderedDict[str, _Open] = OrderedDict()

    def chunks(
        self,
        file: File,
        cluster: str,
        job_id: int,
        metrics: Sequence[str] | None = None,
        *,
        nodes: Names = None,
        devices: Names = None,
    ) -> list[Chunk]:
        """What a file has of one job. Raises TelemetryUnusable."""
        table = self._rows(file, cluster, job_id, metrics, nodes=nodes, devices=devices)
        return [] if table is None else [chunk for chunk in from_table(table, metrics) if len(chunk.metrics)]

    def keys(self, file: File, cluster: str, job_id: int) -> list[dict[str, Any]]:
        """`node`, `device`, `model`, `metrics`, `first_s`, `last_s` of a job's rows. Raises TelemetryUnusable."""
        table = self._rows(file, cluster, job_id, ())
        rows: list[dict[str, Any]] = [] if table is None else table.to_pylist()
        return rows

    def all(self, file: File) -> Iterator[Chunk]:
        """Every row in order, a row group in memory at a time. Raises TelemetryUnusable."""
        with naming(self._folder / file.path), pq.ParquetFile(self._folder / file.path) as parquet:
            for group in range(parquet.num_row_groups):
                yield from from_table(parquet.read_row_group(group, use_threads=False))

    def metrics(self, file: File) -> set[str]:
        """The metrics that occur in a file. Raises TelemetryUnusable."""
        return {name for name in self._opened(file.path).columns if name in BY_NAME}

    def _rows(
        self,
        file: File,
        cluster: str,
        job_id: int,
        metrics: Sequence[str] | None,
        *,
        nodes: Names = None,
        devices: Names = None,
    ) -> pa.Table | None:
        if not file.min_job_id <= job_id <= file.max_job_id:
            return None
        known = self._opened(file.path)
        groups = np.flatnonzero((known.low <= job_id) & (known.high >= job_id)).tolist()
        for names, spans in ((nodes, known.nodes), (devices, known.devices)):
            if names is not None:
                groups = [at for at in groups if any(spans[at][0] <= name <= spans[at][1] for name in names)]
        if not groups:
            return None
        columns = [name for name, _ in _KEY_FIELDS if name != "t"]
        if metrics is None or metrics:
            wanted = BY_NAME if metrics is None else metrics
            columns += ["t", "n"] + [name + ending for name in wanted for ending in ("", ".low", ".high")]
        path = self._folder / file.path
        with naming(path), pq.ParquetFile(path, metadata=known.metadata, memory_map=True) as parquet:
            table = parquet.read_row_groups(
                groups, columns=[name for name in columns if name in known.columns], use_threads=False
            )
        mine = pc.and_(pc.equal(table["job_id"], job_id), pc.equal(table["cluster"], cluster))
        for column, names in (("node", nodes), ("device", devices)):
            if names is not None:
                mine = pc.and_(mine, pc.is_in(table[column], pa.array(list(names), pa.string())))
        at = np.flatnonzero(mine.combine_chunks().to_numpy(zero_copy_only=False))
        if not len(at):
            return None
        # Rows of a job lie together: a slice copies nothing.
        table = table.slice(int(at[0]), int(at[-1] - at[0]) + 1)
        return table if table.num_rows == len(at) else table.take(at - at[0])

    def _opened(self, path: str) -> _Open:
        with self._lock:
            found = self._open.get(path)
            if found is not None:
                self._open.move_to_end(path)
                return found
        with naming(self._folder / path):
            metadata = pq.read_metadata(self._folder / path)
        paths = [metadata.schema.column(column).path for column in range(metadata.num_columns)]
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        spans = [group.column(paths.index("job_id")).statistics for group in groups]
        known = _Open(
            metadata,
            frozenset(metadata.schema.to_arrow_schema().names),
            np.array([span.min for span in spans], np.int64),
            np.array([span.max for span in spans], np.int64),
            _spans(groups, paths.index("node")),
            _spans(groups, paths.index("device")),
        )
        with self._lock:
            self._open[path] = known
            while len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)
        return known


def _spans(groups: Sequence[pq.RowGroupMetaData], column: int) -> list[tuple[str, str]]:
    """The first and the last text of a column in each row group."""
    found = [group.column(column).statistics for group in groups]
    return [_ANY if each is None or not each.has_min_max else (each.min, each.max) for each in found]
