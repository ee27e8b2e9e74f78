"""Points of one device of one job on one node: put together, thinned out, rounded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from backend.telemetry.catalogue import BY_NAME

Times = npt.NDArray[np.float64]
Values = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float32]

_DROPPED_BITS = 11  # of a float32's 23: what stays is exact to 1 in 8192, and integers to 8191 are exact


class Key(NamedTuple):
    """Whose points these are; files are sorted by it."""

    cluster: str
    job_id: int
    node: str
    device: str


@dataclass(frozen=True)
class Chunk:
    """Points of one device, times rising without repeats. Row i of the matrices is `metrics[i]`; NaN: not measured.

    Samples have `counts`, `lows` and `highs` None; bins have how many samples are in each, and their extremes.
    """

    key: Key
    model: str
    times_s: Times
    metrics: tuple[str, ...]
    means: Matrix  # metrics × times
    counts: Times | None = None
    lows: Matrix | None = field(default=None, repr=False)
    highs: Matrix | None = field(default=None, repr=False)

    @property
    def binned(self) -> bool:
        """Whether the points are bins of several samples."""
        return self.counts is not None

    @property
    def samples(self) -> int:
        """Values that were measured."""
        return int(np.count_nonzero(~np.isnan(self.means)))

    def within(self, since_s: float, until_s: float) -> Chunk:
        """The points of [since, until)."""
        low, high = np.searchsorted(self.times_s, [since_s, until_s])
        if low == 0 and high == len(self.times_s):
            return self
        cut = slice(int(low), int(high))
        return replace(
            self,
            times_s=self.times_s[cut],
            means=self.means[:, cut],
            counts=None if self.counts is None else self.counts[cut],
            lows=None if self.lows is None else self.lows[:, cut],
            highs=None if self.highs is None else self.highs[:, cut],
        )

    def of(self, metrics: Sequence[str]) -> Chunk:
        """Only these metrics, those of them that there are."""
        rows = [self.metrics.index(name) for name in metrics if name in self.metrics]
        return replace(
            self,
            metrics=tuple(self.metrics[row] for row in rows),
            means=self.means[rows],
            lows=None if self.lows is None else self.lows[rows],
            highs=None if self.highs is None else self.highs[rows],
        )

    def as_bins(self) -> Chunk:
        """Samples as bins of one sample each."""
        if self.binned:
            return self
        return replace(self, counts=np.ones(len(self.times_s)), lows=self.means, highs=self.means)


def merged(chunks: Sequence[Chunk]) -> Chunk:
    """One chunk of several of the same key: a time that comes twice counts once; bins of one time become one."""
    if len(chunks) == 1:
        return chunks[0]
    if any(chunk.binned for chunk in chunks):
        chunks = [chunk.as_bins() for chunk in chunks]
    metrics = tuple(name for name in BY_NAME if any(name in chunk.metrics for chunk in chunks))
    times = np.concatenate([chunk.times_s for chunk in chunks])
    order = np.argsort(times, kind="stable")
    times = times[order]
    means = _stacked(chunks, metrics, [chunk.means for chunk in chunks])[:, order]
    found = replace(chunks[0], model=_model(chunks), metrics=metrics, times_s=times, means=means)
    if chunks[0].binned:
        found = replace(
            found,
            counts=np.concatenate([chunk.counts for chunk in chunks if chunk.counts is not None])[order],
            lows=_stacked(chunks, metrics, [chunk.lows for chunk in chunks])[:, order],
            highs=_stacked(chunks, metrics, [chunk.highs for chunk in chunks])[:, order],
        )
    return _without_repeats(found)


def _model(chunks: Iterable[Chunk]) -> str:
    return next((chunk.model for chunk in chunks if chunk.model), "")


def _stacked(chunks: Sequence[Chunk], metrics: tuple[str, ...], parts: Sequence[Matrix | None]) -> Matrix:
    out = np.full((len(metrics), sum(len(chunk.times_s) for chunk in chunks)), np.nan, np.float32)
    rows = {name: row for row, name in enumerate(metrics)}
    at = 0
    for chunk, part in zip(chunks, parts, strict=True):
        if part is not None and chunk.metrics:
            out[[rows[name] for name in chunk.metrics], at : at + len(chunk.times_s)] = part
        at += len(chunk.times_s)
    return out


def _without_repeats(chunk: Chunk) -> Chunk:
    times = chunk.times_s
    if len(times) < 2 or bool((np.diff(times) > 0).all()):
        return chunk
    if chunk.binned:
        return _reduced(chunk, np.flatnonzero(np.diff(times, prepend=-np.inf) > 0), None)
    # Two samples of one moment: what the first lacks is taken from the others (two senders may measure different
    # things).
    starts = np.flatnonzero(np.diff(times, prepend=-np.inf) > 0)
    lengths = np.diff(np.append(starts, len(times)))
    means = chunk.means[:, starts].copy()
    for step in range(1, int(lengths.max())):
        more = np.flatnonzero(lengths > step)
        taken = chunk.means[:, starts[more] + step]
        means[:, more] = np.where(np.isnan(means[:, more]), taken, means[:, more])
    return replace(chunk, times_s=times[starts], means=means)


def binned(chunk: Chunk, step_s: float) -> Chunk:
    """The chunk in bins that begin at multiples of `step_s`: means, extremes and counts."""
    if not len(chunk.times_s):
        return chunk.as_bins()
    numbers = np.floor(chunk.times_s / step_s + 1e-9)
    starts = np.flatnonzero(np.diff(numbers, prepend=-np.inf) > 0)
    return _reduced(chunk.as_bins(), starts, numbers[starts] * step_s)


def _reduced(chunk: Chunk, starts: npt.NDArray[np.int64], times_s: Times | None) -> Chunk:
    """Bins from `starts` on as one each, called by `times_s` (None: as the first of each)."""
    assert chunk.counts is not None and chunk.lows is not None and chunk.highs is not None  # noqa: S101
    measured = ~np.isnan(chunk.means)
    weights = np.where(measured, chunk.counts, 0.0)
    sums = np.add.reduceat(np.where(measured, chunk.means, 0.0) * weights, starts, axis=1)
    totals = np.add.reduceat(weights, starts, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (sums / totals).astype(np.float32)
    # fmin and fmax pass over NaN
    return replace(
        chunk,
        times_s=chunk.times_s[starts] if times_s is None else times_s,
        means=means,
        counts=np.add.reduceat(chunk.counts, starts),
        lows=np.fmin.reduceat(chunk.lows, starts, axis=1),
        highs=np.fmax.reduceat(chunk.highs, starts, axis=1),
    )


def rounded(chunk: Chunk) -> Chunk:
    """As it is kept: what only fills the disk is cut off. Peaks, limits and counters stay as they are."""
    exact = np.array([BY_NAME[name].highest for name in chunk.metrics], bool)
    return replace(
        chunk,
        times_s=np.round(chunk.times_s, 1),
        means=_round(chunk.means, exact),
        lows=None if chunk.lows is None else _round(chunk.lows, exact),
        highs=None if chunk.highs is None else _round(chunk.highs, exact),
    )


def _round(values: Matrix, exact: npt.NDArray[np.bool_]) -> Matrix:
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    half, mask = np.uint32(1 << (_DROPPED_BITS - 1)), np.uint32(0xFFFFFFFF << _DROPPED_BITS & 0xFFFFFFFF)
    out = ((bits + half) & mask).view(np.float32)
    out[exact] = values[exact]
    return out


def device_order(node: str, device: str) -> tuple[object, ...]:
    """Sorts devices as people count: gpu:2 before gpu:10, node2 before node10."""
    return (*_counted(node), "", *_counted(device))


def _counted(text: str) -> tuple[object, ...]:
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"([0-9]+)", text) if part)
