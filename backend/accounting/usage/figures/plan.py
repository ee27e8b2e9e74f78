"""How a question is cut: buckets of time, and which part of them the daily roll-up can answer."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace

from backend.accounting.usage.figures.atoms import DIMENSIONS
from backend.accounting.usage.figures.formulas import QUANTILES
from backend.accounting.usage.figures.rollup import level_of
from backend.accounting.usage.terms.catalogue import CATALOGUE, TIME
from backend.accounting.usage.terms.question import BadQuestion, Question, Scope
from backend.accounting.usage.terms.zones import stretches, zone_of

LAST_S = 32_503_680_000  # the year 3000


@dataclass(frozen=True)
class Bucket:
    from_s: int
    to_s: int
    labels: tuple[str, ...]  # of each asked dimension of time


@dataclass(frozen=True)
class Piece:
    """A part of a bucket that is answered from one place."""

    bucket: int
    bucket_s: int  # when the bucket begins
    from_s: int
    to_s: int


@dataclass(frozen=True)
class Day:
    """A whole day of a bucket, answered from the roll-up."""

    day_s: int
    bucket: int
    first: bool  # the bucket begins with it


@dataclass(frozen=True)
class Plan:
    question: Question
    times: tuple[str, ...]  # the dimensions of time among `by`
    names: tuple[str, ...]  # the others
    buckets: tuple[Bucket, ...]
    level: str | None  # of the roll-up; None: all from the detail
    days: tuple[Day, ...]  # without dimensions of time: the first and the last of them
    pieces: tuple[Piece, ...]  # of ended attempts, from the detail

    @property
    def whole(self) -> tuple[Piece, ...]:
        """Each bucket in one piece: what is not in the roll-up is counted over these."""
        return tuple(
            Piece(number, bucket.from_s, bucket.from_s, bucket.to_s) for number, bucket in enumerate(self.buckets)
        )


def check(question: Question) -> Question:
    """The question with each metric and dimension once. Raises BadQuestion."""
    metrics, by = tuple(dict.fromkeys(question.metrics)), tuple(dict.fromkeys(question.by))
    if not metrics:
        raise BadQuestion("metrics", "Ask for at least one metric.")
    for metric in metrics:
        CATALOGUE.metric(metric)
    for name in by:
        CATALOGUE.dimension(name)
    if not 0 <= question.since_s <= LAST_S or not 0 <= question.until_s <= LAST_S:
        raise BadQuestion("since", "The window must lie between 1970 and 3000.")
    if question.until_s <= question.since_s:
        raise BadQuestion("until", "The window is empty: its end must be later than its beginning.")
    for name, values in question.where:
        if CATALOGUE.dimension(name, "where").kind == "time":
            raise BadQuestion("where", f"{name} is no filter: choose the window instead.")
        if not values:
            raise BadQuestion("where", f"The filter {name} has no value.")
    if question.order and question.order.removeprefix("-") not in {*metrics, *by}:
        raise BadQuestion("order", "Order by one of the metrics or dimensions that are asked for.")
    if question.limit is not None and question.limit < 1:
        raise BadQuestion("limit", "The limit must be at least 1.")
    if question.definitions not in ("carme", "xdmod"):
        raise BadQuestion("definitions", "Definitions are carme or xdmod.")
    zone_of(question.zone)
    return replace(question, metrics=metrics, by=by)


def plan(question: Question, scope: Scope, rollup_zone: str | None, oldest_s: int | None = None) -> Plan:
    """Of a checked question. `rollup_zone`: in which the days of the roll-up begin; None: there is none.

    `oldest_s`: nothing is known from before; None: that isn't known.
    """
    times = tuple(name for name in question.by if name in TIME)
    names = tuple(name for name in question.by if name not in TIME)
    since_s = question.since_s
    if oldest_s is not None:  # "since ever" is not cut into 20,000 empty days, and begins with a whole one
        (day,) = stretches("day", zone_of(rollup_zone or question.zone), oldest_s, oldest_s + 1)
        since_s = max(since_s, min(day.from_s, question.until_s - 1))
    buckets = _buckets(question, times, since_s)
    level = _level(question, scope, names) if rollup_zone is not None else None
    made = Plan(question, times, names, buckets, None, (), ())
    if level is None or rollup_zone is None:
        return replace(made, pieces=made.whole)
    days, pieces = _cut(buckets, rollup_zone) if times else _cut_one(buckets[0], rollup_zone)
    return replace(made, level=level if days else None, days=days, pieces=pieces)


def _buckets(question: Question, times: Iterable[str], since_s: int) -> tuple[Bucket, ...]:
    zone = zone_of(question.zone)
    until_s = question.until_s
    kinds = [stretches(kind, zone, since_s, until_s) for kind in times]
    starts = [[stretch.from_s for stretch in kind] for kind in kinds]
    edges = sorted({since_s, until_s, *(at_s for kind in starts for at_s in kind if since_s < at_s < until_s)})
    return tuple(
        Bucket(
            from_s,
            to_s,
            tuple(kind[bisect.bisect_right(at, from_s) - 1].label for kind, at in zip(kinds, starts, strict=True)),
        )
        for from_s, to_s in itertools.pairwise(edges)
    )


def _level(question: Question, scope: Scope, names: tuple[str, ...]) -> str | None:
    """The smallest level of the roll-up that knows all that is asked."""
    if question.definitions != "carme" or "hour" in question.by:
        return None
    if all(metric in QUANTILES for metric in question.metrics):
        return None
    needed = {*names, *(name for name, _ in question.where)}
    if not scope.everything:
        needed |= {"user", "uid", "account"}
    return level_of(needed)


def _cut(buckets: tuple[Bucket, ...], zone: str) -> tuple[tuple[Day, ...], tuple[Piece, ...]]:
    """The whole days of `zone` in each bucket, and what is left at its edges."""
    all_days = stretches("day", zone_of(zone), buckets[0].from_s, buckets[-1].to_s)
    starts = [day.from_s for day in all_days]
    days: list[Day] = []
    pieces: list[Piece] = []
    for number, bucket in enumerate(buckets):
        first = bisect.bisect_left(starts, bucket.from_s)
        after = bisect.bisect_right(starts, bucket.to_s)
        whole = [day for day in all_days[first:after] if day.to_s <= bucket.to_s]
        if not whole:
            pieces.append(Piece(number, bucket.from_s, bucket.from_s, bucket.to_s))
            continue
        days.extend(Day(day.from_s, number, day.from_s == bucket.from_s) for day in whole)
        if bucket.from_s < whole[0].from_s:
            pieces.append(Piece(number, bucket.from_s, bucket.from_s, whole[0].from_s))
        if whole[-1].to_s < bucket.to_s:
            pieces.append(Piece(number, bucket.from_s, whole[-1].to_s, bucket.to_s))
    return tuple(days), tuple(pieces)


def _cut_one(bucket: Bucket, zone: str) -> tuple[tuple[Day, ...], tuple[Piece, ...]]:
    """The same of one bucket, however long: the first whole day and the last stand for all between them."""
    near_s = 3 * 86400
    if bucket.to_s - bucket.from_s <= 3 * near_s:
        return _cut((bucket,), zone)
    head, before = _cut((Bucket(bucket.from_s, bucket.from_s + near_s, ()),), zone)
    tail, after = _cut((Bucket(bucket.to_s - near_s, bucket.to_s, ()),), zone)
    pieces = [piece for piece in before if piece.to_s == head[0].day_s]
    pieces += [Piece(0, bucket.from_s, piece.from_s, piece.to_s) for piece in after if piece.from_s > tail[-1].day_s]
    return (head[0], tail[-1]), tuple(pieces)


def runs(pieces: tuple[Piece, ...], most: int = 4) -> list[tuple[Piece, ...]]:
    """The pieces as few runs without gaps, so that each scan of the detail reads a short window; too many: one."""
    found: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: piece.from_s):
        if found and piece.from_s <= found[-1][-1].to_s:
            found[-1].append(piece)
        else:
            found.append([piece])
    if len(found) > most:
        return [tuple(piece for run in found for piece in run)]
    return [tuple(run) for run in found]


assert set(DIMENSIONS) - {"uid"} == {each.name for each in CATALOGUE.dimensions if each.kind != "time"}  # noqa: S101
