"""Figures as files: CSV, XLSX, Parquet, JSON and PDF, written from a stream of rows in little memory."""

from backend.accounting.exports.answers import Made, chart_of, in_words, scope_in_words, sheet_of
from backend.accounting.exports.formats import FORMATS, Format, UnknownFormat, write
from backend.accounting.exports.formulas import guard, unguard
from backend.accounting.exports.sheet import Chart, ChartKind, Column, Kind, Sheet, column_kind, file_name, reader, when

__all__ = [
    "FORMATS",
    "Chart",
    "ChartKind",
    "Column",
    "Format",
    "Kind",
    "Made",
    "Sheet",
    "UnknownFormat",
    "chart_of",
    "column_kind",
    "file_name",
    "guard",
    "in_words",
    "reader",
    "scope_in_words",
    "sheet_of",
    "unguard",
    "when",
    "write",
]
