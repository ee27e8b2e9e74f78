"""Parquet: typed columns, times with their zone; what the table is stands in the schema's metadata."""

from __future__ import annotations

import json
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backend.accounting.exports.jsonfile import description
from backend.accounting.exports.sheet import ARROW, Column, Sheet

METADATA_KEY = b"carme"
GROUP_ROWS = 65_536


def write(sheet: Sheet, stream: BinaryIO) -> None:
    """Row groups of GROUP_ROWS, ZSTD. Method notes stand with their columns, too (`note`)."""
    fields = [pa.field(column.name, _type(column, sheet.zone), metadata=_notes(column)) for column in sheet.columns]
    about = json.dumps(description(sheet), ensure_ascii=False, allow_nan=False)
    schema = pa.schema(fields, metadata={METADATA_KEY: about.encode()})
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        group: list[pa.RecordBatch] = []
        for batch in sheet.batches():
            arrays = [
                _cells(array, column, sheet.zone) for array, column in zip(batch.columns, sheet.columns, strict=True)
            ]
            group.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
            if sum(each.num_rows for each in group) >= GROUP_ROWS:
                writer.write_table(pa.Table.from_batches(group), row_group_size=GROUP_ROWS)
                group = []
        if group:
            writer.write_table(pa.Table.from_batches(group), row_group_size=GROUP_ROWS)


def _type(column: Column, zone: str) -> pa.DataType:
    if column.kind == "time":
        return pa.timestamp("s", tz=zone)
    return pa.date32() if column.kind == "day" else ARROW[column.kind]


def _cells(array: pa.Array, column: Column, zone: str) -> pa.Array:
    if column.kind == "time":
        return array.cast(pa.timestamp("s", tz=zone))
    if column.kind == "day":
        return pc.cast(pc.strptime(array, format="%Y-%m-%d", unit="s"), pa.date32())
    return array


def _notes(column: Column) -> dict[str, str]:
    said = {"title": column.title, "unit": column.unit, "note": column.note}
    return {name: words for name, words in said.items() if words}
