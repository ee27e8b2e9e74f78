"""XLSX: typed and formatted cells, a header that stays in sight, a method sheet; memory of one batch of rows.

XlsxWriter makes the workbook (styles, header, frozen rows); the rows are put into its sheets as they come. A table
of more rows than a sheet takes goes on in the next one.
"""

from __future__ import annotations

import io
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import xlsxwriter

from backend.accounting.exports.sheet import Column, Sheet
from backend.accounting.exports.xlsx_cells import cells, row_xml, text_cell

SHEET_ROWS = 1_048_575  # and the header
SHEET_BYTES = 1_900_000_000  # of XML: beyond 2 GiB a ZIP entry needs an extension that Excel complains about
BATCH_ROWS = 16_384
LEVEL = 1  # of compression: 4 takes twice the time for a tenth of the size
DATA_SHEET = "Data"
METHOD_SHEET = "Method"
FORMATS = {
    "text": "@",  # so that a text which is edited stays one
    "id": "@",
    "whole": "#,##0",
    "number": "#,##0.00",
    "share": "0.0%",
    "time": "yyyy-mm-dd hh:mm:ss",
    "day": "yyyy-mm-dd",
    "flag": "General",
}
WIDTHS = {"text": 22, "id": 22, "whole": 12, "number": 14, "share": 12, "time": 20, "day": 12, "flag": 8}


@dataclass(frozen=True)
class _Frame:
    """A workbook without its rows: every part of the file, and the cells' style numbers."""

    parts: dict[str, bytes]
    styles: dict[str, int]

    def around(self, name: str) -> tuple[bytes, bytes]:
        """What stands before and after the rows of a sheet's XML."""
        whole = self.parts[name]
        # The sheet's extent would have to be known before its rows; readers work it out.
        whole = re.sub(rb"<dimension [^>]*/>", b"", whole, count=1)
        whole = whole.replace(b"<sheetData/>", b"<sheetData></sheetData>", 1)
        before, end, after = whole.partition(b"</sheetData>")
        return before, end + after


def write(sheet: Sheet, stream: BinaryIO, scratch: Path | None = None) -> None:
    """`scratch`: the folder of the temporary file; by default the system's."""
    with tempfile.TemporaryFile(dir=scratch) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:
            sheets = _write_data(sheet, archive)
            frame = _frame(sheet.columns, sheets)
            last = f"xl/worksheets/sheet{sheets + 1}.xml"
            for name, content in frame.parts.items():
                if name == last:
                    before, after = frame.around(name)
                    archive.writestr(name, before + _method_rows(sheet, frame).encode() + after)
                elif not re.fullmatch(r"xl/worksheets/sheet\d+\.xml", name):
                    archive.writestr(name, content)
        file.seek(0)
        shutil.copyfileobj(file, stream, 1 << 20)


def _write_data(sheet: Sheet, archive: zipfile.ZipFile) -> int:
    """The sheets with the rows; gives how many there are, at least one."""
    frame = _frame(sheet.columns, 1)
    before, after = frame.around("xl/worksheets/sheet1.xml")
    pieces = _pieces(sheet)
    piece = next(pieces, None)
    number = 0
    while number == 0 or piece is not None:
        number += 1
        row, size = 0, 0
        with archive.open(f"xl/worksheets/sheet{number}.xml", "w") as entry:
            entry.write(before if number == 1 else before.replace(b' tabSelected="1"', b""))
            while piece is not None and row < SHEET_ROWS and size < SHEET_BYTES:
                now, piece = piece.slice(0, SHEET_ROWS - row), piece.slice(SHEET_ROWS - row)
                text = _xml(now, sheet, frame, row + 2)
                entry.write(text)
                row, size = row + now.num_rows, size + len(text)
                if not piece.num_rows:
                    piece = next(pieces, None)
            entry.write(after)
    return number


def _pieces(sheet: Sheet) -> Iterator[pa.RecordBatch]:
    for batch in sheet.batches():
        for at in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(at, BATCH_ROWS)


def _xml(batch: pa.RecordBatch, sheet: Sheet, frame: _Frame, first_row: int) -> memoryview:
    made = [
        cells(array, column.kind, frame.styles[column.kind], sheet.zone)
        for array, column in zip(batch.columns, sheet.columns, strict=True)
    ]
    rows = row_xml(made, first_row)
    offsets, data = rows.buffers()[1:]
    ends = memoryview(offsets).cast("i")
    return memoryview(data)[ends[rows.offset] : ends[rows.offset + len(rows)]]


def _frame(columns: tuple[Column, ...], sheets: int) -> _Frame:
    """A workbook of `sheets` data sheets and the method sheet, without rows."""
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    header = book.add_format({"bold": True, "text_wrap": True, "valign": "top", "bottom": 1, "num_format": "@"})
    formats = {kind: book.add_format({"num_format": shape}) for kind, shape in FORMATS.items()}
    formats["bold"] = book.add_format({"bold": True, "valign": "top", "num_format": "@"})
    formats["wrap"] = book.add_format({"text_wrap": True, "valign": "top", "num_format": "@"})
    for number in range(sheets):
        page = book.add_worksheet(DATA_SHEET if number == 0 else f"{DATA_SHEET} {number + 1}")
        page.freeze_panes(1, 0)
        for at, column in enumerate(columns):
            page.set_column(at, at, WIDTHS[column.kind])
            page.write_string(0, at, column.name, header)
    page = book.add_worksheet(METHOD_SHEET)
    page.set_column(0, 0, 24)
    page.set_column(1, 1, 28)
    page.set_column(2, 2, 90)
    styles = {kind: made._get_xf_index() for kind, made in formats.items()}
    book.close()
    with zipfile.ZipFile(out) as archive:
        return _Frame({name: archive.read(name) for name in archive.namelist()}, styles)


def _method_rows(sheet: Sheet, frame: _Frame) -> str:
    """Title, question, window, zone, scope, as-of; then each column with its unit and how it is made; notes."""
    bold, wrap = frame.styles["bold"], frame.styles["wrap"]
    lines: list[list[tuple[str, int]]] = [[(sheet.title, bold)], []]
    lines += [[(label, bold), (words, wrap)] for label, words in sheet.facts()]
    lines += [[], [("Column", bold), ("What it is", bold), ("How it is made", bold)]]
    for column in sheet.columns:
        title = column.title + (f" ({column.unit})" if column.unit else "")
        lines.append([(column.name, bold), (title, wrap), (column.note, wrap)])
    if sheet.totals:
        lines += [[], [("Over the whole window", bold)]]
        lines += [[(name, bold), ("" if value is None else repr(value), wrap)] for name, value in sheet.totals.items()]
    if sheet.notes:
        lines += [[], [("What to know", bold)], *([("", wrap), (note, wrap)] for note in sheet.notes)]
    return "".join(
        f'<row r="{number}">' + "".join(text_cell(text, style) for text, style in line) + "</row>"
        for number, line in enumerate(lines, 1)
    )
