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

LINES = 65_536  # at a time
LONGEST_BYTES = 1 << 20  # of a line; what is longer is no listing of sacct

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """Lines that have the right number of fields: their numbers (from 1), and a string column for each field."""

    numbers: Ints
    table: pa.Table
    misshapen: tuple[tuple[int, str], ...]  # the other lines: number, and what is wrong


def blocks(stream: BinaryIO, given: Columns | None) -> Iterator[tuple[Columns, Block]]:
    """The listing's blocks. The columns are as `given`, or as the first line says. Raises UnknownColumns.

    A block ends before a line of a job, so that a job's steps are in the block of their job.
    """
    columns, number, waiting = given, 0, _Lines([], [])
    trailing = False
    for line in _lines(stream):
        number += 1
        if number == 1 and is_header(line):
            trailing = line.endswith("|")
            columns = columns or columns_of(line.removesuffix("|").split("|"))
            continue
        if columns is None:
            raise UnknownColumns("the first line names no columns: give them (--columns jobidraw,cluster,user,...)")
        if not line:
            continue
        if number == 1 and given is not None:
            trailing = line.endswith("|") and line.count("|") == len(columns.names)
        if len(waiting.texts) >= LINES and "." not in line.split("|", 1)[0]:
            yield columns, _cut(waiting, columns, trailing)
            waiting = _Lines([], [])
        waiting.numbers.append(number)
        waiting.texts.append(line)
    if waiting.texts and columns is not None:
        yield columns, _cut(waiting, columns, trailing)


@dataclass(frozen=True)
class _Lines:
    numbers: list[int]
    texts: list[str]


def _lines(stream: BinaryIO) -> Iterator[str]:
    while line := stream.readline(LONGEST_BYTES):
        try:
            text = line.decode()
        except UnicodeDecodeError:  # names from before all was UTF-8: nothing is lost
            text = line.decode("latin-1")
        yield text.rstrip("\n").rstrip("\r")


def _cut(lines: _Lines, columns: Columns, trailing: bool) -> Block:
    """`trailing`: each line ends with a `|` too, as `sacct --parsable` prints it."""
    count = len(columns.names)
    texts = pa.array(lines.texts, pa.string())
    if trailing:
        texts = pc.replace_substring_regex(texts, r"\|$", "")
    most = count - 1 if columns.last_may_hold_pipes else None
    parts = pc.split_pattern(texts, "|", max_splits=most)
    lengths = pc.list_value_length(parts).to_numpy()
    right = lengths == count
    numbers = np.array(lines.numbers, np.int64)
    wrong = tuple(
        (int(number), _misshapen(int(length), count))
        for number, length in zip(numbers[~right], lengths[~right], strict=True)
    )
    fields = parts.filter(pa.array(right)).flatten()
    rows = int(right.sum())
    at = np.arange(rows) * count
    arrays = [fields.take(pa.array(at + column)) for column in range(count)]
    return Block(numbers[right], pa.table(arrays, names=list(columns.names)), wrong)


def _misshapen(found: int, wanted: int) -> str:
    if found > wanted:
        advice = "Put JobName last in sacct's --format: there it may hold them"
        return f"more than the {wanted} columns: a `|` in a name? {advice}"
    return f"fewer than the {wanted} columns: a line that was cut, or a name with a line break in it"
