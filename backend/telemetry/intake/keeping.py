"""What the telemetry process does beside taking samples: it follows the jobs' ends, and keeps the store in order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from backend.accounting.warehouse import Warehouse, WarehouseUnusable
from backend.cluster import ENDED_STATES
from backend.telemetry.intake.rights import Rights
from backend.telemetry.intake.sight import JobsNow
from backend.telemetry.model import TelemetryUnusable
from backend.telemetry.store import JobFacts, Keeping, OpenAttempt, Store, maintain
from config import Settings

log = logging.getLogger("carme.telemetry")

FOLLOW_EVERY_S = 10.0
MAINTAIN_EVERY_S = 600.0
FIRST_S = 60.0  # after the start: a process that is started again and again must get to it too
MOST_UNSEALED = 24_000_000  # weight in memory (about 150 MB) after which it is put into files at once
SILENT_S = 1800.0  # a job that is not in the snapshot and sends nothing any more is over
CORRECT_EVERY_S = 3600.0
LEAST_DIFFERENCE_S = 2


def keeping_of(settings: Settings) -> Keeping:
    """How long what is kept, as the settings say."""
    told = settings.telemetry
    return Keeping(told.raw_days, told.minute_days, told.archive_days, told.archive_points)


class Housekeeper:
    """A thread that does what is due. `trouble`: what went wrong last and since when, None when all is well."""

    def __init__(
        self, store: Store, jobs: JobsNow, rights: Rights, accounts: Path, now: Callable[[], float] = time.time
    ) -> None:
        self._store, self._jobs, self._rights, self._now = store, jobs, rights, now
        self._accounts = accounts
        self._warehouse: Warehouse | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)
        self.trouble: tuple[str, float] | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, grace_s: float) -> None:
        """End after what is being done, or after `grace_s`: whatever is left half done is done again."""
        self._stop.set()
        self._thread.join(grace_s)

    def _run(self) -> None:
        corrected = time.monotonic()
        maintained = corrected - MAINTAIN_EVERY_S + FIRST_S
        while not self._stop.wait(FOLLOW_EVERY_S):
            due = time.monotonic() - maintained > MAINTAIN_EVERY_S or self._store.unsealed > MOST_UNSEALED
            try:
                self.follow()
                if time.monotonic() - corrected > CORRECT_EVERY_S:
                    corrected = time.monotonic()
                    self.correct()
                if due:
                    maintained = time.monotonic()
                    maintain(self._store)
                    self._rights.forget(self._store.known_jobs())
                if due or self.trouble is None:
                    self._well()
            except TelemetryUnusable as error:
                self._failed(str(error))
            except Exception as error:
                log.exception("housekeeping of the telemetry failed")
                self._failed(f"Something went wrong here: {error!r}")

    def _failed(self, why: str) -> None:
        if self.trouble is None or self.trouble[0] != why:
            log.error("telemetry: %s", why)
            self.trouble = (why, self.trouble[1] if self.trouble else self._now())

    def _well(self) -> None:
        if self.trouble is not None:
            log.warning("telemetry: well again")
            self.trouble = None

    def follow(self) -> None:
        """Note which jobs have ended. Raises TelemetryUnusable."""
        facts = [self._end_of(attempt) for attempt in self._store.open_attempts()]
        self._store.told([fact for fact in facts if fact is not None])

    def _end_of(self, attempt: OpenAttempt) -> JobFacts | None:
        sight = self._jobs.find(attempt.cluster, attempt.job_id)
        end_s: int | None = None
        if sight is not None and sight.start_s == attempt.start_s:
            if sight.state in ENDED_STATES:
                end_s = sight.end_s
        elif sight is not None and sight.started and sight.start_s is not None and sight.start_s > attempt.start_s:
            # Another attempt of it has begun: this one ended with its last sample, or when accounting says.
            end_s = min(int(attempt.heard_s) or attempt.start_s, sight.start_s)
        elif attempt.heard_s < self._now() - SILENT_S:
            end_s = max(int(attempt.heard_s), attempt.start_s)
        return None if end_s is None else JobFacts(attempt.cluster, attempt.job_id, attempt.start_s, end_s)

    def correct(self) -> None:
        """Where accounting knows an end better than it was known here, take it from there. Raises TelemetryUnusable."""
        ended = self._store.ended_attempts()
        if not ended or not self._accounts.exists():
            return
        try:
            if self._warehouse is None:
                self._warehouse = Warehouse(self._accounts, 256)
            self._warehouse.refresh()
            with self._warehouse.cursor() as cursor:
                asked = pa.array(sorted({facts.job_id for facts in ended}), pa.int64())
                rows = cursor.execute(
                    "select cluster, job_id, start_s, end_s from ended_jobs where list_contains(?, job_id) "
                    "and start_s is not null and end_s >= ?",
                    [asked.to_pylist(), min(facts.start_s for facts in ended)],
                ).fetchall()
        except WarehouseUnusable as error:
            log.info("ends of jobs can't be compared with the accounts: %s", error)
            return
        ends = {(cluster, job_id, start_s): end_s for cluster, job_id, start_s, end_s in rows}
        better = []
        for facts in ended:
            end_s = ends.get((facts.cluster, facts.job_id, facts.start_s))
            if end_s is not None and abs(end_s - (facts.end_s or 0)) >= LEAST_DIFFERENCE_S:
                better.append(JobFacts(facts.cluster, facts.job_id, facts.start_s, end_s))
        self._store.told(better)
