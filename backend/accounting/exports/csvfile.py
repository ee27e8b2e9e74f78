"""CSV: UTF-8, a header, one row a line; null is empty, an empty text is two quotes."""

from __future__ import annotations

from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from backend.accounting.exports.formulas import guard_all
from backend.accounting.exports.sheet import ARROW, Column, Sheet

# Texts stand in quotes, all of them; numbers don't.
OPTIONS = csv.WriteOptions(include_header=False, batch_size=16_384, quoting_style="needed", eol="\n")


def write(sheet: Sheet, stream: BinaryIO) -> None:
    """Numbers in full precision, times as ISO 8601 with the zone's offset."""
    schema = pa.schema([(column.name, _type(column)) for column in sheet.columns])
    stream.write((",".join(_quoted(column.name) for column in sheet.columns) + "\n").encode())
    with csv.CSVWriter(stream, schema, write_options=OPTIONS) as writer:
        for batch in sheet.batches():
            arrays = [
                _cells(array, column, sheet.zone) for array, column in zip(batch.columns, sheet.columns, strict=True)
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _type(column: Column) -> pa.DataType:
    return pa.string() if column.kind in ("text", "day", "time") else ARROW[column.kind]


def _cells(array: pa.Array, column: Column, zone: str) -> pa.Array:
    if column.kind in ("text", "day"):
        return guard_all(array)
    if column.kind == "time":
        return iso_times(array, zone)
    return array


def iso_times(seconds: pa.Array, zone: str) -> pa.Array:
    """Unix seconds as `2026-03-01T12:00:00+01:00`."""
    moments = pc.cast(seconds, pa.timestamp("s", tz=zone))
    texts = pc.strftime(moments, format="%Y-%m-%dT%H:%M:%S%z")
    return pc.replace_substring_regex(texts, r"([+-]\d\d)(\d\d)$", r"\1:\2")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(c in name for c in ',"\r\n') else name
