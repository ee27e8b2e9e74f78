"""What is exported: one table that is read once, with everything a reader needs to understand it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

# text; whole and number; share: a number, 1.0 is 100 %; time: Unix seconds; day: "YYYY-MM-DD"; id: 64 bits, more than
# a number in a spreadsheet or in JavaScript holds; flag: true or false.
Kind = Literal["text", "whole", "number", "share", "time", "day", "id", "flag"]
ChartKind = Literal["bars", "lines", "none"]

LONGEST_FILE_NAME = 80


@dataclass(frozen=True)
class Column:
    """`name` heads the column in every format; `title` and `unit` are for people (PDF, method sheet)."""

    name: str
    kind: Kind
    title: str = ""
    unit: str = ""
    note: str = ""  # how the figure is made, or what the column holds


@dataclass(frozen=True)
class Chart:
    """Drawn above a PDF's table: `measure` by `along`, one colour for each value of `split`."""

    kind: ChartKind
    along: str
    measure: str
    split: str = ""


@dataclass(frozen=True)
class Sheet:
    """A table that can be written once. The reader's columns are those of `columns`, in their order."""

    title: str
    columns: tuple[Column, ...]
    rows: pa.RecordBatchReader
    question: str = ""  # in words
    since_s: int | None = None
    until_s: int | None = None
    zone: str = "UTC"
    scope: str = ""  # in words: whose rows these are
    as_of_s: int | None = None
    made_s: int | None = None
    totals: dict[str, float | int | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    chart: Chart | None = None
    most_rows: int | None = None  # more of them are refused, when they come

    def facts(self) -> list[tuple[str, str]]:
        """What heads the method sheet, the PDF and the other formats' description: label and words."""
        found = [
            ("Question", self.question),
            ("From", when(self.since_s, self.zone)),
            ("Until (excluded)", when(self.until_s, self.zone)),
            ("Time zone", self.zone),
            ("Whose jobs", self.scope),
            ("Known until", when(self.as_of_s, self.zone)),
            ("Made at", when(self.made_s, self.zone)),
        ]
        return [(label, words) for label, words in found if words]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows with every column in its kind's Arrow type (`ARROW`). Raises WrongColumns, TooManyRows."""
        names = [column.name for column in self.columns]
        if self.rows.schema.names != names:
            raise WrongColumns(f"the rows have {self.rows.schema.names}, the sheet {names}")
        schema = pa.schema([(column.name, ARROW[column.kind]) for column in self.columns])
        rows = 0
        for batch in self.rows:
            rows += batch.num_rows
            if self.most_rows is not None and rows > self.most_rows:
                raise TooManyRows(self.most_rows)
            if batch.num_rows:
                arrays = [
                    _as_kind(array, column.kind) for array, column in zip(batch.columns, self.columns, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)


class TooManyRows(Exception):
    """More rows than the site lets one file hold."""

    def __init__(self, most: int) -> None:
        super().__init__(f"That is more than {most:,} rows (reports.max_rows). Choose a shorter window or a filter.")


class WrongColumns(ValueError):
    """The rows are not what the sheet says: a mistake of the program."""


ARROW: dict[Kind, pa.DataType] = {
    "text": pa.string(),
    "whole": pa.int64(),
    "number": pa.float64(),
    "share": pa.float64(),
    "time": pa.int64(),
    "day": pa.string(),
    "id": pa.uint64(),
    "flag": pa.bool_(),
}


def _as_kind(array: pa.Array, kind: Kind) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if kind in ("number", "share"):
        array = array.cast(pa.float64())
        return pc.if_else(pc.fill_null(pc.is_finite(array), False), array, pa.scalar(None, pa.float64()))
    if kind in ("whole", "time") and pa.types.is_floating(array.type):
        array = pc.round(array)
    return array.cast(ARROW[kind])


def column_kind(name: str, data_type: pa.DataType) -> Kind:
    """What a column of an answer or of the warehouse holds, by its type and, for whole numbers, its name."""
    if pa.types.is_dictionary(data_type):
        data_type = data_type.value_type
    if pa.types.is_boolean(data_type):
        return "flag"
    if pa.types.is_floating(data_type) or pa.types.is_decimal(data_type):
        return "number"
    if pa.types.is_uint64(data_type):
        return "id"
    if pa.types.is_integer(data_type):
        return "time" if name in TIMES else "whole"
    return "day" if name == "day" else "text"


TIMES = frozenset({"origin_s", "submit_s", "eligible_s", "start_s", "end_s", "seen_s", "day_s"})


def reader(table: pa.Table, rows: int = 65_536) -> pa.RecordBatchReader:
    """A table at hand as a reader of batches."""
    return table.to_reader(max_chunksize=rows)


def when(at_s: int | None, zone: str) -> str:
    """A moment in the zone, to the second, with its offset; "" for none."""
    if at_s is None:
        return ""
    return datetime.fromtimestamp(at_s, ZoneInfo(zone)).isoformat(sep=" ", timespec="seconds")


def file_name(title: str, ending: str, *, dated: str = "") -> str:
    """A name for every file system: ASCII letters, digits, `-` and `_`, never empty, never a path."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", plain).strip("-")[:LONGEST_FILE_NAME].strip("-") or "export"
    return "-".join(part for part in (slug, re.sub(r"[^0-9A-Za-z-]", "", dated)) if part) + f".{ending}"
