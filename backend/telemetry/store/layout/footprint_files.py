"""The rows of FOOTPRINTS of ended jobs in Parquet files, by when they ended, sorted by job."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backend.telemetry.model import FOOTPRINTS
from backend.telemetry.store.layout.manifest import File, naming

GROUP_ROWS = 4096
_SORT = [("job_id", "ascending"), ("cluster", "ascending"), ("start_s", "ascending")]
_LISTS = ("gpu_percent_by_device", "spark_gpu", "spark_cpu", "spark_memory")
_SPLIT = [*(f"{name}.list.element" for name in _LISTS)] + [
    field.name for field in FOOTPRINTS if pa.types.is_float64(field.type)
]


def write_footprints(
    folder: Path, number: int, table: pa.Table, *, level: int, sealed_s: float, newest: int | None = None
) -> File:
    """Write rows (each with an end) as a new file. Raises TelemetryUnusable."""
    path = f"jobs/{number:010d}.parquet"
    table = table.select(FOOTPRINTS.names).cast(FOOTPRINTS).sort_by(_SORT)
    with naming(folder / path):
        (folder / path).parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with (folder / path).open("wb") as out:
            pq.write_table(
                table, out, compression="zstd", compression_level=3, row_group_size=GROUP_ROWS,
                use_dictionary=["cluster", "gpu_model"], column_encoding=dict.fromkeys(_SPLIT, "BYTE_STREAM_SPLIT"),
            )  # fmt: skip
            out.flush()
            os.fsync(out.fileno())
            size = out.tell()
    ends, ids = pc.min_max(table["end_s"]), pc.min_max(table["job_id"])
    return File(
        path, "jobs", level, sealed_s, float(ends["min"].as_py()), float(ends["max"].as_py()), ids["min"].as_py(),
        ids["max"].as_py(), table.num_rows, 0, size, number if newest is None else newest,
    )  # fmt: skip


def read_footprints(
    folder: Path, file: File, job_ids: Collection[int] | None = None, columns: Sequence[str] | None = None
) -> pa.Table:
    """A file's rows: of these jobs, or all. Raises TelemetryUnusable."""
    with naming(folder / file.path), pq.ParquetFile(folder / file.path, memory_map=True) as parquet:
        groups = list(range(parquet.num_row_groups))
        if job_ids is not None:
            at = parquet.schema_arrow.names.index("job_id")
            ids = np.sort(np.fromiter(job_ids, np.int64))
            spans = [parquet.metadata.row_group(group).column(at).statistics for group in groups]
            groups = [
                group
                for group, span in zip(groups, spans, strict=True)
                if np.searchsorted(ids, span.min) < np.searchsorted(ids, span.max, side="right")
            ]
        there = None if columns is None else [name for name in columns if name in parquet.schema_arrow.names]
        table = parquet.read_row_groups(groups, columns=there, use_threads=False)
    if job_ids is not None:
        table = table.filter(pc.is_in(table["job_id"], pa.array(list(job_ids), pa.int64())))
    return _today(table, columns)


def newest_rows(tables: Iterable[pa.Table]) -> pa.Table:
    """The tables (oldest first) as one; of several rows of one attempt the last."""
    table = pa.concat_tables(tables)
    if not table.num_rows:
        return table
    order = pa.table(
        {**{name: table[name] for name in ("cluster", "job_id", "start_s")}, "at": pa.array(range(table.num_rows))}
    )
    last = order.group_by(["cluster", "job_id", "start_s"]).aggregate([("at", "max")])["at_max"]
    return table if len(last) == table.num_rows else table.take(_sorted(last))


def _sorted(at: pa.ChunkedArray) -> pa.Array:
    return pa.array(np.sort(at.to_numpy()))


def _today(table: pa.Table, columns: Sequence[str] | None) -> pa.Table:
    """Rows an earlier release wrote, with the columns of this one."""
    wanted = FOOTPRINTS if columns is None else pa.schema([FOOTPRINTS.field(name) for name in columns])
    found = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in wanted
    ]
    return pa.table(found, schema=wanted)
