"""What the writer does now and then: archive ended jobs, put files together, remove what is too old."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from backend.telemetry.store.layout import files
from backend.telemetry.store.layout.chunks import Chunk
from backend.telemetry.store.layout.footprint_files import newest_rows, read_footprints, write_footprints
from backend.telemetry.store.layout.manifest import File, Manifest, sweep
from backend.telemetry.store.memory.live import footprint_table
from backend.telemetry.store.writing import compaction
from backend.telemetry.store.writing.archive import by_day, series_of, to_archive
from backend.telemetry.store.writing.writer import MINUTE_S, Store

DAY_S = 86400.0
CARRIED = 9  # the level of minutes kept beyond their time, for jobs that still run
MOST_AT_ONCE = 500  # jobs archived in one go: what must be done again after a crash


def maintain(store: Store) -> None:
    """Everything that is due. Raises TelemetryUnusable."""
    store.seal()
    while archive(store):
        pass
    compact(store)
    expire(store)
    store.forget()
    sweep(store.folder, store.manifest)


def archive(store: Store) -> int:
    """Archive jobs that are over; returns how many. Raises TelemetryUnusable."""
    now = store.now()
    attempts = sorted(to_archive(store.base.attempts, now), key=lambda item: item.end_s or 0)[:MOST_AT_ONCE]
    added: list[File] = []
    for of_day in by_day(attempts).values():
        chunks = [
            chunk
            for attempt in of_day
            for chunk in series_of(store.files, store.manifest, attempt, store.keeping.archive_points)
        ]
        chunks.sort(key=lambda chunk: (chunk.key, float(chunk.times_s[0]) if len(chunk.times_s) else 0.0))
        written = files.write(
            store.folder, "archive", store.next_number(), chunks, bins=True, level=0, sealed_s=now
        )
        ends = [attempt.end_s or 0 for attempt in of_day]
        if written is not None:
            # Found by when its jobs ended, not by when their points were.
            added.append(replace(written, since_s=float(min(ends)), until_s=float(max(ends))))
        rows = [item.tally.row(item.cluster, item.job_id, item.start_s, item.end_s) for item in of_day]
        added.append(
            write_footprints(store.folder, store.next_number(), footprint_table(rows), level=0, sealed_s=now)
        )
    if attempts:
        for attempt in attempts:
            attempt.archived = True
        store.commit(replace(store.manifest, files=(*store.manifest.files, *added)))
        store.live.mark_archived(attempts)
    return len(attempts)


def compact(store: Store) -> None:
    """Put together what is due. Raises TelemetryUnusable."""
    while True:
        group = next(compaction.due(store.manifest, store.now()), None)
        if group is None:
            return
        one = _as_one(store, group)
        kept = [file for file in store.manifest.files if file not in group]
        store.commit(replace(store.manifest, files=(*kept, *([one] if one else []))))


def _as_one(store: Store, group: list[File]) -> File | None:
    tier, level = group[0].tier, compaction.level_of(group)
    sealed_s, newest = max(file.sealed_s for file in group), max(file.number for file in group)
    if tier == "jobs":
        oldest_first = sorted(group, key=lambda file: file.number)
        rows = newest_rows([read_footprints(store.folder, file) for file in oldest_first])
        return write_footprints(
            store.folder, store.next_number(), rows, level=level, sealed_s=sealed_s, newest=newest
        )
    written = files.write(
        store.folder, tier, store.next_number(), compaction.together(store.files, group), bins=tier != "raw",
        level=level, sealed_s=sealed_s, metrics=compaction.metrics_of(store.files, group), newest=newest,
    )  # fmt: skip
    if written is not None and tier == "archive":
        span = min(file.since_s for file in group), max(file.until_s for file in group)
        written = replace(written, since_s=span[0], until_s=span[1])
    return written


def expire(store: Store) -> None:
    """Remove what is kept no longer. Raises TelemetryUnusable."""
    now, keeping, before = store.now(), store.keeping, store.manifest
    raw = _older(before, "raw", now - keeping.raw_days * DAY_S)
    minute = [
        file
        for file in _older(before, "minute", now - (keeping.raw_days + keeping.minute_days) * DAY_S)
        if file.level != CARRIED or not _running(store, file)
    ]
    gone = raw + minute
    if keeping.archive_days:
        horizon_s = now - keeping.archive_days * DAY_S
        gone += _older(before, "archive", horizon_s) + _older(before, "jobs", horizon_s)
    if not gone:
        return
    carried = _carry(store, [file for file in minute if file.level != CARRIED])
    store.commit(
        replace(
            before,
            files=(*(file for file in before.files if file not in gone), *carried),
            raw_from_s=max([before.raw_from_s, *(file.until_s + 0.1 for file in raw)]),
            minute_from_s=max([before.minute_from_s, *(file.until_s + MINUTE_S for file in minute)]),
        )
    )


def _older(manifest: Manifest, tier: str, than_s: float) -> list[File]:
    return [file for file in manifest.files if file.tier == tier and file.until_s < than_s]


def _running(store: Store, file: File) -> bool:
    return any(
        file.min_job_id <= attempt.job_id <= file.max_job_id for attempt in store.base.attempts if not attempt.archived
    )


def _carry(store: Store, group: list[File]) -> list[File]:
    """What is too old of jobs that still run, or aren't archived yet."""
    running = {(attempt.cluster, attempt.job_id) for attempt in store.base.attempts if not attempt.archived}
    carried = []
    for file in group:

        def mine(file: File = file) -> Iterator[Chunk]:
            return (chunk for chunk in store.files.all(file) if chunk.key[:2] in running)

        written = files.write(
            store.folder, "minute", store.next_number(), mine(), bins=True, level=CARRIED,
            sealed_s=file.sealed_s, metrics=compaction.metrics_of(store.files, [file]), newest=file.number,
        )  # fmt: skip
        carried += [] if written is None else [written]
    return carried
