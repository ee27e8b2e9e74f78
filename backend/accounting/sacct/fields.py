"""Lines of jobs by column, and readers of columns that may lack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backend.accounting.sacct import times

NOTHING = ("", "None", "(null)", "N/A", "Unknown", "INVALID")

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Column: TypeAlias = pa.Array | pa.ChunkedArray


class Lines:
    """Lines of jobs, and what is wrong with which of them."""

    def __init__(self, table: pa.Table, numbers: Ints) -> None:
        self.table = table
        self.numbers = numbers
        self.why = np.full(len(numbers), None, object)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def good(self) -> Bools:
        """The lines with which nothing is wrong so far."""
        found: Bools = self.why == None  # noqa: E711 - element by element
        return found

    def refuse(self, which: Bools, why: str) -> None:
        """Leave these lines out. The first reason counts."""
        self.why[which & self.good] = why

    def texts(self, *names: str) -> pa.ChunkedArray | None:
        """The first of these columns that there is."""
        for name in names:
            if name in self.table.column_names:
                return self.table[name]
        return None

    def read(self, name: str, read: Callable[[pa.ChunkedArray], pa.Array], kind: pa.DataType) -> pa.Array:
        """A column read by its reader; nulls without the column."""
        column = self.texts(name)
        return pa.nulls(len(self), kind) if column is None else read(column)

    def whole(self, name: str) -> pa.Array:
        """A column of whole numbers; null where there is none."""
        return self.read(name, lambda column: times.each(column, whole, pa.int64()), pa.int64())

    def numbers_of(self, *names: str) -> Ints:
        """The first of these columns that there is, 0 where there is no number."""
        column = self.texts(*names)
        if column is None:
            return np.zeros(len(self), np.int64)
        found: Ints = pc.fill_null(times.each(column, whole, pa.int64()), 0).to_numpy()
        return found

    def names(self, name: str) -> Column:
        """A column of names, null for Slurm's words for none."""
        column = self.texts(name)
        if column is None:
            return pa.nulls(len(self), pa.string())
        return pc.if_else(pc.is_in(column, pa.array(NOTHING)), None, column)

    def words(self, name: str) -> Column:
        """A column of people's own texts: each counts as it is."""
        column = self.texts(name)
        return pa.nulls(len(self), pa.string()) if column is None else column


def whole(text: str) -> int | None:
    """A number of sacct's; `1K` where --units asked for it."""
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    if text.isascii() and text[:-1].replace(".", "", 1).isdigit() and text[-1:] in ("K", "M", "G"):
        return round(float(text[:-1]) * {"K": 1000, "M": 1000**2, "G": 1000**3}[text[-1]])
    return None


def joules(text: str) -> int | None:
    """Energy; nothing is measured as 0."""
    return whole(text) or None


def as_times(seconds: Ints) -> pa.Array:
    """Unix seconds, null where there is none."""
    return pa.array(seconds, pa.int64(), mask=seconds < 0)


def flags(column: Any) -> Bools:
    """A column of truths as numpy has them; null is false."""
    filled = pc.fill_null(column, False)
    found: Bools = filled.to_numpy() if isinstance(filled, pa.ChunkedArray) else filled.to_numpy(zero_copy_only=False)
    return found
