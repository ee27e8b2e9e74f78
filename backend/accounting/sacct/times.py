"""sacct's local times as Unix seconds, and its durations as seconds: whole columns at a time.

A time in the hour that comes twice, when summer time ends, is taken to be the one that fits the others of its row
(submitted, eligible, started, ended, and how long it ran), and the earlier one where both do.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backend.cluster.slurm import duration

NONE = ("", "Unknown", "None", "N/A", "INVALID", "Invalid", "NONE")
NO_TIME = -1  # in arrays: there is none
BAD = -2  # no time at all
NOT_IN_ZONE = -3  # an hour that the zone skips
TIMES = ("submit", "eligible", "start", "end")  # in the order they happen

_LOCAL = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$"
_UNITS = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)(?:\.(\d+))?\Z")
_LATEST_S = 0xFFFF_FF00

Ints = npt.NDArray[np.int64]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Times:
    """Each kind of time of each row, in Unix seconds or as one of NO_TIME, BAD, NOT_IN_ZONE."""

    by_name: Mapping[str, Ints]


def times_of(table: pa.Table, zone: str, elapsed_s: Ints | None) -> Times:
    """`elapsed_s`: how long each job ran (less suspensions), NO_TIME where unknown; None when there is no column."""
    earlier, later = {}, {}
    for name in TIMES:
        if name in table.column_names:
            earlier[name], later[name] = _seconds(table[name], zone)
    twofold = np.zeros(table.num_rows, bool)
    for name, first in earlier.items():
        twofold |= first != later[name]
    for at in np.flatnonzero(twofold).tolist():
        length = None if elapsed_s is None or elapsed_s[at] < 0 else int(elapsed_s[at])
        options = [sorted({int(earlier[name][at]), int(later[name][at])}) for name in earlier]
        best = min(itertools.product(*options), key=lambda times: _badness(list(earlier), times, length))
        for name, chosen in zip(earlier, best, strict=True):
            earlier[name][at] = chosen
    return Times(earlier)


def durations(column: pa.ChunkedArray) -> pa.Array:
    """Seconds of `00:05:35`, `125-00:00:00`; null for `UNLIMITED`, `Partition_Limit`, nothing."""
    return each(column, duration, pa.int64())


def cpu_seconds(column: pa.ChunkedArray) -> pa.Array:
    """Seconds of CPU time: `05:35.123`, `1-02:03:04`; null where none is known (0 counts as none)."""
    return each(column, _cpu_seconds, pa.float64())


def each(column: pa.ChunkedArray, read: Callable[[str], Value], kind: pa.DataType) -> pa.Array:
    """A reader of one text over a whole column, once for each different text."""
    coded = column.combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    return pa.array([read(text) for text in coded.dictionary.to_pylist()], kind).take(coded.indices)


def _cpu_seconds(text: str) -> float | None:
    match = _UNITS.match(text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[:4])
    fraction = float(f"0.{match[5]}") if match[5] else 0.0
    return days * 86_400 + hours * 3600 + minutes * 60 + seconds + fraction or None


def _seconds(column: pa.ChunkedArray, zone: str) -> tuple[Ints, Ints]:
    """Each time, and the later one where the clock shows it twice."""
    texts = column.combine_chunks()
    local = pc.match_substring_regex(texts, _LOCAL).to_numpy(zero_copy_only=False)
    first = np.full(len(texts), BAD, np.int64)
    if local.any():
        chosen = texts.filter(pa.array(local))
        first[local], second = _from_local(chosen, zone)
        last = first.copy()
        last[local] = second
    else:
        last = first.copy()
    if not local.all():
        rest = each(pa.chunked_array([texts.filter(pa.array(~local))]), _other, pa.int64()).to_numpy()
        first[~local] = last[~local] = rest
    return first, last


def _from_local(texts: pa.Array, zone: str) -> tuple[Ints, Ints]:
    try:
        naive = texts.cast(pa.timestamp("s"))
    except pa.ArrowInvalid:  # 31 February
        good = np.array([_is_date(text) for text in texts.to_pylist()], bool)
        first = np.full(len(texts), BAD, np.int64)
        last = first.copy()
        if good.any():
            first[good], last[good] = _from_local(texts.filter(pa.array(good)), zone)
        return first, last
    found = []
    for ambiguous in ("earliest", "latest"):
        aware = pc.assume_timezone(naive, zone, ambiguous=ambiguous, nonexistent="earliest")
        found.append(aware.cast(pa.int64()).to_numpy().copy())
    # What the zone skips doesn't come back as it was written.
    back = pc.local_timestamp(pc.assume_timezone(naive, zone, ambiguous="earliest", nonexistent="earliest"))
    skipped = ~pc.equal(back, naive).to_numpy(zero_copy_only=False)
    for seconds in found:
        seconds[skipped] = NOT_IN_ZONE
    return found[0], found[1]


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _other(text: str) -> int:
    """Unix seconds, or a time that names its offset (SLURM_TIME_FORMAT); NO_TIME, BAD."""
    if text in NONE:
        return NO_TIME
    if text.isascii() and text.isdigit() and len(text) < 12:
        return int(text) if 0 < int(text) < _LATEST_S else NO_TIME
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return BAD
    return int(found.timestamp()) if found.tzinfo is not None else BAD


def _badness(names: list[str], times: tuple[int, ...], elapsed_s: int | None) -> tuple[int, int, tuple[int, ...]]:
    """How little these times fit together; the earlier ones first where they fit as well."""
    known = [time for time in times if time >= 0]
    backwards = sum(later < earlier for earlier, later in itertools.pairwise(known))
    row = dict(zip(names, times, strict=True))
    off = 0
    if elapsed_s is not None and row.get("start", NO_TIME) >= 0 and row.get("end", NO_TIME) >= 0:
        off = abs(row["end"] - row["start"] - elapsed_s)
    return backwards, off, times
