"""The warehouse's Parquet files: how rows are laid out in them, and how some are found again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backend.accounting.model import JOBS, SUSPENDS
from backend.accounting.warehouse.manifest import JobsFile, cluster_folder, naming

Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

ROW_GROUP = 32_768  # rows: few enough that a person's jobs, which lie together, are read without the rest
MAX_ROWS = 262_144  # of one file: what a late edit has to write again, in half a second
UINT32 = 1 << 32


def _plain(schema: pa.Schema) -> pa.Schema:
    return pa.schema(
        [(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in schema]
    )  # fmt: skip


# In the files names are plain text: Parquet has dictionaries of its own, and tables of several files go together.
PLAIN_JOBS = _plain(JOBS)

# Parquet's encodings: differences where neighbours are close, split bytes where numbers are of one size, else
# dictionaries, since most values come again.
_DELTA = ("job_id", "submit_s", "origin_s", "eligible_s", "start_s", "end_s", "array_job_id", "db_inx")
_SPLIT = ("mem_peak_mb", "energy_j")
_NO_DICTIONARY = (*_DELTA, *_SPLIT, "cpu_used_s")


def plain(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the schema's columns in its order. Raises ValueError when one lacks or doesn't fit."""
    wanted = _plain(schema)
    missing = [name for name in wanted.names if name not in table.column_names]
    if missing:
        raise ValueError(f"the table lacks {', '.join(missing)}")
    return table.select(wanted.names).cast(wanted)


def keys_of(table: pa.Table) -> Keys:
    """(job_id, submit_s) of each row as one number, in their order. Raises ValueError for what no job can have."""
    halves = []
    for name in ("job_id", "submit_s"):
        column = table[name]
        if column.null_count:
            raise ValueError(f"a row without {name}")
        values: Ints = column.to_numpy()
        if values.size and (values.min() < 0 or values.max() >= UINT32):
            raise ValueError(f"a row whose {name} is not within 32 bits")
        halves.append(values.astype(np.uint64))
    return (halves[0] << np.uint64(32)) | halves[1]


def months_of(end_s: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Months since 1970-01 (UTC) of each time."""
    days = end_s.to_numpy().astype("datetime64[s]")
    return days.astype("datetime64[M]").astype(np.int64)


def month_name(months: int) -> str:
    """`2026-01` from months since 1970-01."""
    return f"{1970 + months // 12:04d}-{months % 12 + 1:02d}"


@contextmanager
def new_file(folder: Path, path: str) -> Iterator[BinaryIO]:
    """A file to write, on disk before any manifest names it. Raises WarehouseUnusable."""
    target = folder / path
    with naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())


def write_table(folder: Path, path: str, table: pa.Table, **options: object) -> int:
    """Write a table; returns its size in bytes. Raises WarehouseUnusable."""
    with new_file(folder, path) as out:
        pq.write_table(table, out, compression="zstd", compression_level=3, **options)
        return out.tell()


def read_table(folder: Path, path: str) -> pa.Table:
    """A whole file. Raises WarehouseUnusable."""
    with naming(folder / path), pq.ParquetFile(folder / path) as parquet:
        return parquet.read().combine_chunks()


def new_path(kind: str, cluster: str, stem: str) -> str:
    """A path that was never used before, below the warehouse's folder."""
    return f"{kind}/{cluster_folder(cluster)}/{stem}-{uuid4().hex[:12]}.parquet"


_ORDER = ("user", "end_s", "job_id")  # of a file's rows: a person's jobs side by side


def write_jobs(folder: Path, cluster: str, month: str, table: pa.Table, usage: str | None = None) -> JobsFile:
    """One file of ended rows of one month."""
    return _write_sorted(folder, cluster, month, table.sort_by([(name, "ascending") for name in _ORDER]), usage)


def _write_sorted(folder: Path, cluster: str, month: str, table: pa.Table, usage: str | None = None) -> JobsFile:
    path = new_path("jobs", cluster, month)
    size = write_table(
        folder,
        path,
        table,
        row_group_size=ROW_GROUP,
        use_dictionary=[name for name in table.column_names if name not in _NO_DICTIONARY],
        column_encoding=dict.fromkeys(_DELTA, "DELTA_BINARY_PACKED") | dict.fromkeys(_SPLIT, "BYTE_STREAM_SPLIT"),
    )
    start = pc.min(table["start_s"]).as_py()
    ends = pc.min_max(table["end_s"])
    ids = pc.min_max(table["job_id"])
    first_s = ends["min"].as_py()
    standing = pc.and_(pc.equal(table["source"], "slurmdbd"), pc.invert(pc.fill_null(table["gone"], False)))
    return JobsFile(
        path=path,
        cluster=cluster,
        month=month,
        rows=table.num_rows,
        size_bytes=size,
        min_job_id=ids["min"].as_py(),
        max_job_id=ids["max"].as_py(),
        min_submit_s=pc.min(table["submit_s"]).as_py(),
        min_s=first_s if start is None else min(start, first_s),
        max_s=ends["max"].as_py(),
        standing=pc.sum(standing).as_py() or 0,
        usage=usage,
    )


def join_jobs(folder: Path, parts: Sequence[JobsFile]) -> JobsFile:
    """One file of the rows of several of one cluster and month. Column by column, so that memory holds them once."""
    with ExitStack() as opened:
        tables = []
        for part in parts:
            path = folder / part.path
            with naming(path):
                tables.append((path, opened.enter_context(pq.ParquetFile(path))))

        def column(field: pa.Field) -> pa.Array:
            found = []
            for path, parquet in tables:
                with naming(path):
                    here = field.name in parquet.schema_arrow.names
                    rows = parquet.metadata.num_rows
                    found.append(
                        parquet.read(columns=[field.name])[field.name].cast(field.type).combine_chunks()
                        if here
                        else pa.nulls(rows, field.type)  # written by an earlier release
                    )
            return pa.concat_arrays(found)

        keys = pa.table({name: column(PLAIN_JOBS.field(name)) for name in _ORDER})
        order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in _ORDER])
        joined = pa.table([column(field).take(order) for field in PLAIN_JOBS], schema=PLAIN_JOBS)
    return _write_sorted(folder, parts[0].cluster, parts[0].month, joined)


def write_by_month(folder: Path, cluster: str, table: pa.Table) -> Iterator[JobsFile]:
    """Ended rows as new files: one a month, more where there are many."""
    if not table.num_rows:
        return
    months = months_of(table["end_s"])
    # Sorted and copied once for all months.
    keys = table.select(_ORDER).append_column("month", pa.array(months))
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in ("month", *_ORDER)])
    table, months = table.take(order), months[order.to_numpy()]
    for month in np.unique(months):
        first, end = np.searchsorted(months, month, side="left"), np.searchsorted(months, month, side="right")
        for offset in range(first, end, MAX_ROWS):
            rows = table.slice(offset, min(MAX_ROWS, end - offset))
            yield _write_sorted(folder, cluster, month_name(int(month)), rows)


@dataclass(frozen=True)
class Found:
    """Rows of one file: where they stand in it, and all their columns."""

    file: JobsFile
    at: Ints
    table: pa.Table


def places(ids: Ints, wanted: Ints) -> Ints:
    """Where these ids are among `wanted`, which are sorted."""
    if not wanted.size:
        return np.zeros(0, np.int64)
    at = np.minimum(np.searchsorted(wanted, ids), wanted.size - 1)
    return np.flatnonzero(wanted[at] == ids)


def find_jobs(folder: Path, files: Iterable[JobsFile], job_ids: Ints) -> Iterator[Found]:
    """The rows of these jobs. `job_ids` must be sorted. Reads one column of the files where they could be."""
    for file in files:
        low, high = np.searchsorted(job_ids, [file.min_job_id, file.max_job_id + 1])
        if low == high:
            continue
        with naming(folder / file.path), pq.ParquetFile(folder / file.path) as parquet:
            ids = parquet.read(columns=["job_id"])["job_id"].to_numpy()
            at = places(ids, job_ids[low:high])
            rows = _rows_at(parquet, at) if at.size else None
        if rows is not None:
            yield Found(file, at, rows)


def read_jobs(folder: Path, file: JobsFile) -> pa.Table:
    """All rows of a file, in the schema of today: a column of a later release is null."""
    return today(read_table(folder, file.path))


def read_suspends(folder: Path, path: str | None, keys: Keys) -> pa.Table:
    """The suspensions of these rows. `path`: the cluster's file of them, None when there is none."""
    if path is None:
        return _plain(SUSPENDS).empty_table()
    table = read_table(folder, path)
    return table.filter(pa.array(np.isin(keys_of(table), keys)))


def today(table: pa.Table) -> pa.Table:
    """Rows an earlier release has written, with the columns of this one."""
    if table.schema.equals(PLAIN_JOBS):
        return table
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in PLAIN_JOBS
    ]
    return pa.table(columns, schema=PLAIN_JOBS)


def _rows_at(parquet: pq.ParquetFile, at: Ints) -> pa.Table:
    """The rows at these places (ascending), reading only the row groups they are in."""
    sizes = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    groups = np.unique(np.searchsorted(starts, at, side="right") - 1)
    tables = []
    for group in groups.tolist():
        here = at[(at >= starts[group]) & (at < starts[group + 1])] - starts[group]
        tables.append(today(parquet.read_row_group(group)).take(pa.array(here)))
    return pa.concat_tables(tables)
