"""JSON: one object; what the table is, its columns, and its rows as objects, a row a line."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from backend.accounting.exports.csvfile import iso_times
from backend.accounting.exports.sheet import Sheet, when


def write(sheet: Sheet, stream: BinaryIO) -> None:
    """Numbers in full precision, undefined ones null; times as ISO 8601 with offset; 64-bit ids as texts."""
    head = json.dumps(description(sheet), ensure_ascii=False, allow_nan=False, indent=1)
    stream.write(head[:-2].encode() + b',\n "rows": [')
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
    names = [column.name for column in sheet.columns]
    first = True
    for batch in sheet.batches():
        values = []
        for array, column in zip(batch.columns, sheet.columns, strict=True):
            if column.kind == "time":
                array = iso_times(array, sheet.zone)  # noqa: PLW2901 - the same cells, as texts
            elif column.kind == "id":
                array = array.cast("string")  # noqa: PLW2901
            values.append(array.to_pylist())
        lines = [encode(dict(zip(names, row, strict=True))) for row in zip(*values, strict=True)]
        stream.write((("\n" if first else ",\n") + ",\n".join(lines)).encode())
        first = False
    stream.write(b"\n]}\n")


def description(sheet: Sheet) -> dict[str, Any]:
    """Everything about the table but its rows, as JSON values."""
    return {
        "title": sheet.title,
        "question": sheet.question,
        "since": when(sheet.since_s, sheet.zone).replace(" ", "T") or None,
        "until": when(sheet.until_s, sheet.zone).replace(" ", "T") or None,
        "since_s": sheet.since_s,
        "until_s": sheet.until_s,
        "zone": sheet.zone,
        "scope": sheet.scope,
        "as_of_s": sheet.as_of_s,
        "made_s": sheet.made_s,
        "notes": list(sheet.notes),
        "totals": sheet.totals,
        "columns": [
            {"name": c.name, "kind": c.kind, "title": c.title, "unit": c.unit, "note": c.note} for c in sheet.columns
        ],
    }
