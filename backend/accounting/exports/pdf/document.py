"""A PDF: title, what was asked, chart, table, how the figures are made; page numbers. For reading, not for data."""

from __future__ import annotations

from datetime import datetime
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

import pyarrow as pa
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4, landscape
from reportlab.pdfgen.canvas import Canvas

from backend.accounting.exports.pdf.chart import Place, draw_chart
from backend.accounting.exports.pdf.script import BOLD, PLAIN, Drawn, draw, lines, register, set_text
from backend.accounting.exports.sheet import ARROW, Column, Sheet

MOST_ROWS = 5_000  # about a hundred pages; the other formats hold the rest
MARGIN = 40.0
MANY_COLUMNS = 6  # more of them take the page's long side
GAP = 8.0  # between columns
NARROWEST = 24.0
MEASURED = 500  # rows that decide on the widths
INK, QUIET, LINE, STRIPE = HexColor("#171A21"), HexColor("#5F6878"), HexColor("#C6CBD5"), HexColor("#F5F6F8")
RIGHT = frozenset({"whole", "number", "share", "id"})


def write(sheet: Sheet, stream: BinaryIO) -> None:
    """At most MOST_ROWS rows; the last page says when there are more."""
    table, more = _first_rows(sheet)
    paper = _Paper(sheet, stream)
    paper.head()
    height = draw_chart(Place(paper.canvas, MARGIN, paper.y - 14, paper.inner), sheet, table)
    paper.y -= height + (26 if height else 6)
    _Table(paper, sheet.columns, table, sheet.zone).draw()
    if more:
        paper.paragraph(
            f"Only the first {MOST_ROWS:,} rows are shown; CSV, XLSX, Parquet and JSON hold all of them.", bold=True
        )
    paper.methods()
    paper.save()


def _first_rows(sheet: Sheet) -> tuple[pa.Table, bool]:
    batches, rows = [], 0
    for batch in sheet.batches():
        batches.append(batch)
        rows += batch.num_rows
        if rows > MOST_ROWS:
            break
    schema = pa.schema([(column.name, ARROW[column.kind]) for column in sheet.columns])
    return pa.Table.from_batches(batches, schema=schema).slice(0, MOST_ROWS), rows > MOST_ROWS


class _Paper:
    """The pages, and where on the page the next thing comes."""

    def __init__(self, sheet: Sheet, stream: BinaryIO) -> None:
        register()
        self.sheet = sheet
        size = landscape(A4) if len(sheet.columns) > MANY_COLUMNS else A4
        self.width, self.height = size
        self.inner = self.width - 2 * MARGIN
        self.canvas = _Numbered(stream, pagesize=size, pageCompression=1)
        self.canvas.setTitle(sheet.title)
        self.canvas.setSubject(sheet.question)
        self.canvas.footer = set_text(sheet.title, 7, self.inner - 80)
        self.y = self.height - MARGIN

    def need(self, height: float) -> bool:
        """Go to a new page when `height` doesn't fit on this one; whether it did."""
        if self.y - height >= MARGIN + 14:
            return False
        self.canvas.showPage()
        self.y = self.height - MARGIN
        return True

    def head(self) -> None:
        for each in lines(self.sheet.title, 16, self.inner, BOLD):
            self._line(each, 16, 20)
        self.y -= 4
        for label, words in self.sheet.facts():
            for number, each in enumerate(lines(words, 8.5, self.inner - 96)):
                if number == 0:
                    self.canvas.setFillColor(QUIET)
                    draw(self.canvas, set_text(label, 8.5), MARGIN, self.y - 9, 8.5)
                self._line(each, 8.5, 12, 96)

    def methods(self) -> None:
        """How each figure is made, and what the reader must know."""
        described = [column for column in self.sheet.columns if column.note]
        if described:
            self.paragraph("How the figures are made", bold=True)
        for column in described:
            self.paragraph(f"{column.title or column.name}: {column.note}")
        if self.sheet.notes:
            self.paragraph("What to know", bold=True)
        for note in self.sheet.notes:
            self.paragraph(note)

    def paragraph(self, text: str, *, bold: bool = False) -> None:
        self.y -= 8 if bold else 2
        for each in lines(text, 8.5, self.inner, BOLD if bold else PLAIN):
            self._line(each, 8.5, 12)

    def _line(self, drawn: Drawn, size: float, height: float, indent: float = 0.0) -> None:
        self.need(height)
        self.canvas.setFillColor(INK)
        draw(self.canvas, drawn, MARGIN + indent, self.y - size, size)
        self.y -= height

    def save(self) -> None:
        self.canvas.showPage()
        self.canvas.save()


class _Numbered(Canvas):
    """Pages that know how many there are: numbered when all are drawn."""

    footer: Drawn

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pages: list[dict[str, Any]] = []

    def showPage(self) -> None:
        self._pages.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        for number, page in enumerate(self._pages, 1):
            self.__dict__.update(page)
            words = set_text(f"{number} / {len(self._pages)}", 7)
            self.setFillColor(QUIET)
            draw(self, self.footer, MARGIN, 24, 7)
            draw(self, words, self._pagesize[0] - MARGIN - words.width, 24, 7)
            super().showPage()
        super().save()


class _Table:
    """Rows under a header that is repeated on every page."""

    def __init__(self, paper: _Paper, columns: tuple[Column, ...], table: pa.Table, zone: str) -> None:
        self.paper = paper
        self.columns = columns
        self.size = 8.0 if len(columns) <= 10 else 6.5 if len(columns) <= 16 else 5.0
        self.row = self.size + 6
        self.rows = list(zip(*(_words(table[c.name], c, zone) for c in columns), strict=True))
        self.widths = self._fitted()

    def draw(self) -> None:
        self.paper.need(3 * self.row)
        self._header()
        for number, row in enumerate(self.rows):
            if self.paper.need(self.row):
                self._header()
            if number % 2:
                self.paper.canvas.setFillColor(STRIPE)
                self.paper.canvas.rect(
                    MARGIN - 3, self.paper.y - self.row, self.paper.inner + 6, self.row, stroke=0, fill=1
                )
            self._cells(row, PLAIN, INK)
        if not self.rows:
            self.paper.paragraph("No rows.")

    def _header(self) -> None:
        self._cells(tuple(_heading(column) for column in self.columns), BOLD, INK)
        self.paper.canvas.setStrokeColor(LINE)
        self.paper.canvas.setLineWidth(0.7)
        self.paper.canvas.line(MARGIN - 3, self.paper.y, MARGIN + self.paper.inner + 3, self.paper.y)

    def _cells(self, row: tuple[str, ...], font: str, ink: Any) -> None:
        x, canvas = MARGIN, self.paper.canvas
        canvas.setFillColor(ink)
        for text, width, column in zip(row, self.widths, self.columns, strict=True):
            drawn = set_text(text, self.size, width, font)
            at = x + width - drawn.width if column.kind in RIGHT else x
            draw(canvas, drawn, at, self.paper.y - self.row + 4, self.size)
            x += width + GAP
        self.paper.y -= self.row

    def _fitted(self) -> list[float]:
        """Each column as wide as it wants; where that is too much, the widest give first."""
        wanted = []
        for at, column in enumerate(self.columns):
            cells = [set_text(row[at], self.size).width for row in self.rows[:MEASURED]]
            heading = set_text(_heading(column), self.size, font=BOLD).width
            wanted.append(max([heading, NARROWEST, *cells]))
        space = self.paper.inner - GAP * (len(wanted) - 1)
        low, high = 0.0, max(wanted)
        if sum(wanted) <= space:
            return wanted
        for _ in range(30):
            middle = (low + high) / 2
            if sum(min(width, middle) for width in wanted) <= space:
                low = middle
            else:
                high = middle
        return [min(width, low) for width in wanted]


def _heading(column: Column) -> str:
    title = column.title or column.name
    return f"{title} ({column.unit})" if column.unit and column.unit not in title else title


def _words(values: pa.ChunkedArray, column: Column, zone: str) -> list[str]:
    found = values.to_pylist()
    if column.kind == "number":
        return ["–" if value is None else f"{value:,.2f}" for value in found]
    if column.kind == "share":
        return ["–" if value is None else f"{100 * value:.1f} %" for value in found]
    if column.kind == "whole":
        return ["–" if value is None else f"{value:,}" for value in found]
    if column.kind == "time":
        tz = ZoneInfo(zone)
        return [
            "–" if value is None else datetime.fromtimestamp(value, tz).strftime("%Y-%m-%d %H:%M:%S") for value in found
        ]
    if column.kind == "flag":
        return ["–" if value is None else "yes" if value else "no" for value in found]
    return ["–" if value is None else str(value) for value in found]
