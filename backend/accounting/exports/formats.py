"""The formats by name, and the one function that writes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from backend.accounting.exports import csvfile, jsonfile, parquet, xlsx
from backend.accounting.exports.pdf import document as pdf
from backend.accounting.exports.sheet import Sheet


class UnknownFormat(ValueError):
    """There is no such format."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no format {name[:40]!r}; there are {', '.join(FORMATS)}.")


@dataclass(frozen=True)
class Format:
    title: str
    media_type: str
    writer: Callable[[Sheet, BinaryIO, Path | None], None]


FORMATS: dict[str, Format] = {
    "csv": Format("CSV", "text/csv; charset=utf-8", lambda sheet, stream, _: csvfile.write(sheet, stream)),
    "xlsx": Format("Excel", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", xlsx.write),
    "parquet": Format(
        "Parquet", "application/vnd.apache.parquet", lambda sheet, stream, _: parquet.write(sheet, stream)
    ),
    "json": Format("JSON", "application/json; charset=utf-8", lambda sheet, stream, _: jsonfile.write(sheet, stream)),
    "pdf": Format("PDF", "application/pdf", lambda sheet, stream, _: pdf.write(sheet, stream)),
}


def write(sheet: Sheet, format: str, stream: BinaryIO, scratch: Path | None = None) -> None:
    """Write `sheet` to `stream`, which need not be seekable, in one of FORMATS. Reads the sheet's rows.

    `scratch`: the folder for XLSX's temporary file, about as large as the result. Raises UnknownFormat, and what the
    rows' source and the stream raise.
    """
    if format not in FORMATS:
        raise UnknownFormat(format)
    FORMATS[format].writer(sheet, stream, scratch)
