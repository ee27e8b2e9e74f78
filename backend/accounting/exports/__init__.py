"""Figures as files: CSV, XLSX, Parquet, JSON and PDF, written from a stream of rows in little memory."""

from backend.accounting.exports.answers import Made, chart_of, in_words, scope_in_words, sheet_of
from backend.accounting.exports.formats import FORMATS, Format, UnknownFormat, write
from backend.accounting.exports.formulas import guard, unguard
from backend.accounting.exports.jobs import billing_jobs, billing_months, job_columns, job_rows, month_columns
from backend.accounting.exports.sheet import (
    Chart,
    ChartKind,
    Column,
    Kind,
    Sheet,
    TooManyRows,
    column_kind,
    file_name,
    reader,
    when,
)

__all__ = [
    "FORMATS",
    "Chart",
    "ChartKind",
    "Column",
    "Format",
    "Kind",
    "Made",
    "Sheet",
    "TooManyRows",
    "UnknownFormat",
    "billing_jobs",
    "billing_months",
    "chart_of",
    "column_kind",
    "file_name",
    "guard",
    "in_words",
    "job_columns",
    "job_rows",
    "month_columns",
    "reader",
    "scope_in_words",
    "sheet_of",
    "unguard",
    "when",
    "write",
]
