"""What stays of an ended job: its series in a fixed number of points, and its footprint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from backend.telemetry.store.layout.chunks import Chunk, binned
from backend.telemetry.store.layout.files import Files
from backend.telemetry.store.layout.manifest import Manifest
from backend.telemetry.store.memory.attempts import EARLY_S, LATE_S, Attempt
from backend.telemetry.store.reading.gathering import Wanted, gather

SETTLED_S = 60.0  # after its end a job's last samples are on their way
LEAST_POINTS = 16  # of each series, however many there are
STEPS_S = (
    1, 2, 3, 5, 10, 15, 20, 30, 60, 120, 180, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400,
    2 * 86400, 5 * 86400, 10 * 86400, 30 * 86400,
)  # fmt: skip


def step_for(span_s: float, points: float) -> int:
    """The least step of those that people can read by which a span has no more points than this."""
    # One point more than steps: neither end need lie on a multiple of it.
    return next((step for step in STEPS_S if span_s / step <= max(points - 1, 1)), STEPS_S[-1])


def to_archive(attempts: Iterable[Attempt], now_s: float) -> list[Attempt]:
    """Those that are over and whose samples are in no archive yet."""
    return [
        attempt
        for attempt in attempts
        if attempt.end_s is not None
        and not attempt.archived
        and attempt.end_s + SETTLED_S <= now_s
        and attempt.tally.measured
    ]


def series_of(files: Files, manifest: Manifest, attempt: Attempt, points: int) -> Iterator[Chunk]:
    """The attempt's archive: `points` of all its series together. Raises TelemetryUnusable."""
    assert attempt.end_s is not None  # noqa: S101 - to_archive has looked
    since_s, until_s = attempt.start_s - EARLY_S, max(attempt.end_s, attempt.start_s) + LATE_S
    span_s = max(attempt.tally.last_s - attempt.tally.first_s, 1.0)
    # As fine as its longest span could need; thinned out once the number of its series is known.
    fine = span_s / 60 < points / 4
    chunks = gather(
        files, manifest, Wanted(attempt.cluster, attempt.job_id, since_s, until_s, fine=fine), ()
    )
    series = sum(len(chunk.metrics) for chunk in chunks)
    if not series:
        return
    step_s = step_for(span_s, max(points / series, LEAST_POINTS))
    for chunk in chunks:
        yield binned(chunk, max(step_s, 60) if not fine else step_s)


def by_day(attempts: Sequence[Attempt]) -> dict[int, list[Attempt]]:
    """The attempts by the day of their end (UTC), as days since 1970."""
    days: dict[int, list[Attempt]] = {}
    for attempt in attempts:
        if attempt.end_s is not None:
            days.setdefault(attempt.end_s // 86400, []).append(attempt)
    return days
