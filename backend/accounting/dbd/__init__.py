"""Reading slurmdbd's database: its schema found by its columns, its rows as the warehouse keeps them."""

from __future__ import annotations

from backend.accounting.dbd.connection import Connection, DatabaseAway, DatabaseRefuses, SourceError
from backend.accounting.dbd.rows.reader import Batch, Reader
from backend.accounting.dbd.schema import NotSlurmdbd, Schema, read_schema
from backend.accounting.dbd.source import SlurmdbdSource

__all__ = [
    "Batch",
    "Connection",
    "DatabaseAway",
    "DatabaseRefuses",
    "NotSlurmdbd",
    "Reader",
    "Schema",
    "SlurmdbdSource",
    "SourceError",
    "read_schema",
]
