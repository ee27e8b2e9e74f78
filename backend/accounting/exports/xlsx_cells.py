"""Rows of a spreadsheet as XML, a batch at a time.

XlsxWriter makes one Python call a cell, and takes a text such as `<r>…</r>` for markup of its own: so the rows are
written here, with Arrow's text functions, and every text is a text whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape

import pyarrow as pa
import pyarrow.compute as pc

from backend.accounting.exports.sheet import Kind

LONGEST_TEXT = 32_767  # of a cell: Excel's limit, in UTF-16 units
CUT = "…"
EPOCH_DAYS = 25_569.0  # 1970-01-01 as Excel counts days
DAY_S = 86_400.0
# ECMA-376 22.9.2.19, ST_Xstring: what XML can't hold is written _xHHHH_, and so is an underscore that looks like it.
_SPECIAL = r"[\x00-\x08\x0b-\x1f\x{fffe}\x{ffff}]|_x[0-9A-Fa-f]{4}_"
_SPECIAL_HERE = re.compile(r"[\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
LARGEST_EXACT = 2**53
EMPTY = "<c/>"


def text_cell(text: str, style: int) -> str:
    """One cell, for the few that stand beside the table."""
    return _texts(pa.array([text]), style)[0].as_py()  # type: ignore[no-any-return]


def cells(array: pa.Array, kind: Kind, style: int, zone: str) -> pa.Array:
    """The cells of one column; null is an empty cell."""
    return pc.fill_null(_MAKERS[kind](array, style, zone), EMPTY)


def row_xml(columns: list[pa.Array], first_row: int) -> pa.Array:
    """One text a row; `first_row` counts from 1."""
    rows = len(columns[0])
    numbers = pa.array(range(first_row, first_row + rows), pa.int32()).cast(pa.string())
    # One join at a time keeps the largest intermediate small: a batch's rows.
    return pc.binary_join_element_wise('<row r="', numbers, '">', *columns, "</row>", "")


def _texts(array: pa.Array, style: int, _zone: str = "") -> pa.Array:
    return _wrapped(_escaped(array), f'<c s="{style}" t="inlineStr"><is><t xml:space="preserve">', "</t></is></c>")


def _escaped(array: pa.Array) -> pa.Array:
    longest = pc.max(pc.utf8_length(array)).as_py() or 0
    special = pc.match_substring_regex(array, _SPECIAL)
    if longest > LONGEST_TEXT // 2 or pc.any(special).as_py():
        return pa.array([None if text is None else escape(_holdable(text), quote=False) for text in array.to_pylist()])
    for plain, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        array = pc.replace_substring(array, plain, entity)
    return array


def _holdable(text: str) -> str:
    if len(text) > LONGEST_TEXT // 2 and len(text.encode("utf-16-le")) // 2 > LONGEST_TEXT:
        text = text.encode("utf-16-le")[: 2 * (LONGEST_TEXT - 1)].decode("utf-16-le", "ignore") + CUT
    return _SPECIAL_HERE.sub(lambda found: f"_x{ord(found[0]):04X}_", text)


def _numbers(array: pa.Array, style: int, _zone: str) -> pa.Array:
    return _wrapped(array.cast(pa.string()), f'<c s="{style}"><v>', "</v></c>")


def _whole(array: pa.Array, style: int, zone: str) -> pa.Array:
    largest = pc.max(pc.abs(array)).as_py() or 0
    # A spreadsheet's numbers are doubles: what they can't hold exactly is a text.
    return _texts(array.cast(pa.string()), style) if largest > LARGEST_EXACT else _numbers(array, style, zone)


def _ids(array: pa.Array, style: int, _zone: str) -> pa.Array:
    return _wrapped(array.cast(pa.string()), f'<c s="{style}" t="inlineStr"><is><t>', "</t></is></c>")


def _times(array: pa.Array, style: int, zone: str) -> pa.Array:
    local = pc.local_timestamp(array.cast(pa.timestamp("s", tz=zone))).cast(pa.int64())
    days = pc.add(pc.divide(local.cast(pa.float64()), DAY_S), EPOCH_DAYS)
    return _numbers(days, style, zone)


def _days(array: pa.Array, style: int, zone: str) -> pa.Array:
    days = pc.cast(pc.strptime(array, format="%Y-%m-%d", unit="s"), pa.date32()).cast(pa.int32())
    return _numbers(pc.add(days, int(EPOCH_DAYS)), style, zone)


def _flags(array: pa.Array, style: int, _zone: str) -> pa.Array:
    return _wrapped(array.cast(pa.int8()).cast(pa.string()), f'<c s="{style}" t="b"><v>', "</v></c>")


def _wrapped(array: pa.Array, before: str, after: str) -> pa.Array:
    return pc.binary_join_element_wise(before, array, after, "")


_MAKERS: dict[Kind, Callable[[pa.Array, int, str], pa.Array]] = {
    "text": _texts,
    "whole": _whole,
    "number": _numbers,
    "share": _numbers,
    "time": _times,
    "day": _days,
    "id": _ids,
    "flag": _flags,
}
