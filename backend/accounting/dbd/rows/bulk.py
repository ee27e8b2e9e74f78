"""Many rows at once: the server writes them as one text, which Arrow parses.

pymysql decodes row by row, some 20 s a million rows. Instead the server joins each row's columns by commas (texts
in quotes, quotes doubled) and a chunk of rows by newlines, with GROUP_CONCAT, and one value comes over. What did not
fit into the server's largest packet is noticed by the count, and asked again in two halves by the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from backend.accounting.dbd.connection import Connection

TEXT = pa.binary()  # until it is known to be UTF-8
INT = pa.int64()
BIG = pa.uint64()
REAL = pa.float64()


class ChunkTooLarge(Exception):
    """More rows than fit into one answer of the server."""


@dataclass(frozen=True)
class Field:
    """A column of an answer: what it is called here, what the server computes, and its type."""

    name: str
    sql: str
    type: pa.DataType = INT

    def written(self) -> str:
        """SQL of the value as a field of a line."""
        if self.type == TEXT:
            return f"IFNULL(CONCAT('\"', REPLACE(CAST({self.sql} AS BINARY), '\"', '\"\"'), '\"'), '')"
        return f"IFNULL({self.sql}, '')"


def read(connection: Connection, fields: Sequence[Field], source: str, arguments: Sequence[object] = ()) -> pa.Table:
    """The rows of `source` (FROM … WHERE …) with these fields. Raises ChunkTooLarge, SourceError."""
    line = ", ".join(field.written() for field in fields)
    ((count, text),) = connection.rows(
        f"SELECT COUNT(*), GROUP_CONCAT(CONCAT_WS(',', {line}) SEPARATOR '\\n') FROM {source}",  # noqa: S608
        arguments,
    )
    if not count:
        return pa.schema([(field.name, field.type) for field in fields]).empty_table()
    if text is None or len(text) >= connection.max_packet_bytes - 1:
        raise ChunkTooLarge
    table = _parse(text if isinstance(text, bytes) else str(text).encode(), fields)
    if table.num_rows != count:
        raise ChunkTooLarge
    return table


def _parse(text: bytes, fields: Sequence[Field]) -> pa.Table:
    return csv.read_csv(
        pa.py_buffer(text),
        read_options=csv.ReadOptions(column_names=[field.name for field in fields], use_threads=False,
                                     block_size=max(1 << 20, len(text) + 1)),
        parse_options=csv.ParseOptions(newlines_in_values=True, double_quote=True, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(
            column_types={field.name: field.type for field in fields},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )  # fmt: skip


def text_of(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Bytes as text. What is not UTF-8 (an old table in latin1) is read as latin1, so that nothing is lost."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    try:
        return whole.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([_decoded(value) for value in whole.to_pylist()], pa.string())


def _decoded(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array without nulls: what is absent is 0."""
    filled = pc.fill_null(column, 0)
    return filled.combine_chunks() if isinstance(filled, pa.ChunkedArray) else filled
