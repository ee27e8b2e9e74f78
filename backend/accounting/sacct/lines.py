"""A listing of `sacct --parsable2` (or `--parsable`) cut into columns, some ten thousand lines at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backend.accounting.sacct.columns import Columns, UnknownColumns, columns_of, is_header

CHUNK_BYTES = 8 << 20  # at a time: some ten thousand lines

Ints = npt.NDArray[np.int64]
_STEP = r"^[^|]*\."  # 123.batch, 123_4.0, 123+1.extern


@dataclass(frozen=True)
class Block:
    """Lines that have the right number of fields: their numbers (from 1), and a string column for each field."""

    numbers: Ints
    table: pa.Table
    misshapen: tuple[tuple[int, str], ...]  # the other lines: number, and what is wrong
    steps: int = 0  # lines of steps that are not even in here, for nothing in them is of use


@dataclass
class _Form:
    """What a listing looks like."""

    columns: Columns | None
    trailing: bool = False  # each line ends with a `|` too, as `sacct --parsable` prints it


def blocks(stream: BinaryIO, given: Columns | None) -> Iterator[tuple[Columns, Block]]:
    """The listing's blocks. The columns are as `given`, or as the first line says. Raises UnknownColumns.

    A block ends before a line of a job, so that a job's steps are in the block of their job.
    """
    form, number, kept = _Form(given), 1, list[str]()
    for chunk in _chunks(stream):
        lines = kept + chunk
        if number == 1 and lines:
            number += _begin(form, lines)
        ends = next((at for at in range(len(lines) - 1, 0, -1) if "." not in lines[at].split("|", 1)[0]), 0)
        lines, kept = lines[:ends], lines[ends:]
        if lines and form.columns is not None:
            yield form.columns, _cut(lines, number, form.columns, form.trailing)
            number += len(lines)
    if kept and form.columns is not None:
        yield form.columns, _cut(kept, number, form.columns, form.trailing)


def _begin(form: _Form, lines: list[str]) -> int:
    """Find out what the listing looks like; returns how many lines that took."""
    first = lines[0]
    if is_header(first):
        form.trailing = first.endswith("|")
        form.columns = form.columns or columns_of(first.removesuffix("|").split("|"))
        del lines[0]
        return 1
    if form.columns is None:
        raise UnknownColumns("the first line names no columns: give them (--columns jobidraw,cluster,user,...)")
    # As --parsable prints: every line. One alone may just hold a name that ends so.
    count = len(form.columns.names)
    written = [line for line in lines if line]
    form.trailing = all(line.endswith("|") for line in written) and any(line.count("|") == count for line in written)
    return 0


def _chunks(stream: BinaryIO) -> Iterator[list[str]]:
    """Lines without their ends, many at a time."""
    rest = b""
    while data := stream.read(CHUNK_BYTES):
        whole, newline, rest = (rest + data).rpartition(b"\n")
        if newline:
            yield _text(whole)
        elif len(rest) > 2 * CHUNK_BYTES:
            raise UnknownColumns("no listing of sacct: it has no lines")
    if rest:
        yield _text(rest)


def _text(data: bytes) -> list[str]:
    try:
        text = data.decode()
    except UnicodeDecodeError:  # names from before all was UTF-8: nothing is lost
        return [_line(line) for line in data.split(b"\n")]
    lines = text.split("\n")
    return [line.removesuffix("\r") for line in lines] if "\r" in text else lines


def _line(data: bytes) -> str:
    data = data.removesuffix(b"\r")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _cut(lines: list[str], first: int, columns: Columns, trailing: bool) -> Block:
    count = len(columns.names)
    texts = pa.array(lines, pa.string())
    numbers = np.arange(first, first + len(lines))
    wanted = pc.not_equal(texts, "")
    steps = 0
    if columns.names[0] in ("jobid", "jobidraw") and "maxrss" not in columns:
        is_step = pc.match_substring_regex(texts, _STEP)
        steps = pc.sum(is_step).as_py()
        wanted = pc.and_not(wanted, is_step)
    if not pc.all(wanted).as_py():
        texts, numbers = texts.filter(wanted), numbers[wanted.to_numpy(zero_copy_only=False)]
    if trailing:
        texts = pc.replace_substring_regex(texts, r"\|$", "")
    most = count - 1 if columns.last_may_hold_pipes else None
    parts = pc.split_pattern(texts, "|", max_splits=most)
    lengths = pc.list_value_length(parts).to_numpy()
    right = lengths == count
    wrong = tuple(
        (int(number), _misshapen(int(length), count))
        for number, length in zip(numbers[~right], lengths[~right], strict=True)
    )
    fields = parts.filter(pa.array(right)).flatten()
    at = np.arange(int(right.sum())) * count
    arrays = [fields.take(pa.array(at + column)) for column in range(count)]
    return Block(numbers[right], pa.table(arrays, names=list(columns.names)), wrong, steps)


def _misshapen(found: int, wanted: int) -> str:
    if found > wanted:
        advice = "Put JobName last in sacct's --format: there it may hold them"
        return f"more than the {wanted} columns: a `|` in a name? {advice}"
    return f"fewer than the {wanted} columns: a line that was cut, or a name with a line break in it"
