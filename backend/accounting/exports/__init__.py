"""Figures as files: CSV, XLSX, Parquet, JSON and PDF, written from a stream of rows in little memory."""

from backend.accounting.exports.formats import FORMATS, Format, UnknownFormat, write
from backend.accounting.exports.formulas import guard, unguard
from backend.accounting.exports.sheet import Chart, Column, Kind, Sheet, column_kind, file_name, reader, when

__all__ = [
    "FORMATS",
    "Chart",
    "Column",
    "Format",
    "Kind",
    "Sheet",
    "UnknownFormat",
    "column_kind",
    "file_name",
    "guard",
    "reader",
    "unguard",
    "when",
    "write",
]
