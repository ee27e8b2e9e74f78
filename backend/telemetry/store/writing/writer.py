"""The one process that writes: takes batches in, and turns what is in memory into files."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from backend.telemetry.model import TelemetryUnusable
from backend.telemetry.store.layout import files
from backend.telemetry.store.layout import manifest as manifests
from backend.telemetry.store.layout.chunks import Chunk, binned
from backend.telemetry.store.layout.files import Files
from backend.telemetry.store.layout.manifest import File, Manifest, naming
from backend.telemetry.store.layout.wal import JobFacts, Record, WalWriter, state_of, wal_numbers, wal_path
from backend.telemetry.store.memory.live import Head, Live, as_chunks
from backend.telemetry.store.memory.senders import Verdict

LOCK = "writer.lock"
MINUTE_S = 60.0
FORGET_SENDER_S = 30 * 86400  # a session's agent that long silent is over; a node's service is never forgotten
FORGET_UNMEASURED_S = 3600
MOST_IN_MEMORY = 192_000_000  # weight (about a GB); when files can't be written, no more are taken in


@dataclass(frozen=True)
class Keeping:
    """How long what is kept, in days; archive_days 0: for ever. `archive_points`: of one job's archive."""

    raw_days: float = 2.0
    minute_days: float = 14.0
    archive_days: float = 0.0
    archive_points: int = 12_000


@dataclass(frozen=True)
class OpenAttempt:
    """A job whose end is not known, and its newest sample (0: none)."""

    cluster: str
    job_id: int
    start_s: int
    heard_s: float


class StoreBusy(Exception):
    """Another process writes this store."""


class Store:
    """The writer. `judge`, `append`, `told`, `chunks` and `footprints` from any thread; the rest from one."""

    def __init__(self, folder: Path, keeping: Keeping | None = None, now: Callable[[], float] = time.time) -> None:
        """Open or make the store. Raises StoreBusy, TelemetryUnusable."""
        self.folder = folder.absolute()
        self.keeping = keeping or Keeping()
        self.now = now
        self._wal_lock = Lock()
        with naming(self.folder):
            self.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._lock = self._locked()
        try:
            self.manifest = manifests.load(self.folder)
            self.files = Files(self.folder)
            self._number = self.manifest.number
            self.base = Live.sealed(self.folder, self.manifest)  # as of the newest file
            self.live = Live.load(self.folder, self.manifest)
            self._remove_old_logs()
            manifests.sweep(self.folder, self.manifest)
            self._wal = WalWriter(self.folder, max([self.manifest.wal_from - 1, *wal_numbers(self.folder)]) + 1)
        except BaseException:
            os.close(self._lock)
            raise
        self._unsealed: tuple[dict[str, Any], int] | None = None  # memory's state when the log was changed, its number

    def _locked(self) -> int:
        lock = os.open(self.folder / LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise StoreBusy(f"another process writes {self.folder}: end it first") from None
        return lock

    def close(self) -> None:
        """Let go of the store; what is in memory is in the log."""
        self._wal.close()
        os.close(self._lock)

    def judge(self, sender: str, node: str, boot: str, seq: int) -> Verdict:
        """Whether a batch is new."""
        with self.live.lock:
            known = self.live.senders.get((sender, node))
            return "new" if known is None else known.judge(boot, seq)

    def correction_s(self, sender: str, node: str, boot: str) -> float:
        """What is to be added to this process's times; 0 when nothing is known of its clock."""
        with self.live.lock:
            known = self.live.senders.get((sender, node))
            return known.clock.correction_s if known and known.clock and known.boot == boot else 0.0

    def newest_attempt(self, cluster: str, job_id: int) -> tuple[int, int | None] | None:
        """Start and end of the newest attempt of a job that is known; None for an unknown one."""
        with self.live.lock:
            found = self.live.attempts.of(cluster, job_id)
            return (found[-1].start_s, found[-1].end_s) if found and not found[-1].guessed else None

    def cluster_of(self, node: str, job_ids: Sequence[int]) -> str | None:
        """The cluster of one of these jobs that was measured on this node."""
        with self.live.lock:
            return next(
                (item.cluster for item in self.live.attempts if item.job_id in job_ids and node in item.nodes), None
            )

    def runs_on(self, cluster: str, job_id: int, node: str) -> bool:
        """Whether the job's newest attempt was measured on this node."""
        with self.live.lock:
            found = self.live.attempts.of(cluster, job_id)
            return bool(found) and node in found[-1].nodes

    def open_attempts(self) -> list[OpenAttempt]:
        """The attempts whose end is not known."""
        with self.live.lock:
            return [
                OpenAttempt(item.cluster, item.job_id, item.start_s, self.live.heard_s(item))
                for item in self.live.attempts
                if item.end_s is None
            ]

    def append(self, records: Sequence[Record]) -> None:
        """Have them on disk and in memory; one that was taken before changes nothing. Raises TelemetryUnusable."""
        with self._wal_lock:
            if self.live.weight > MOST_IN_MEMORY:
                raise TelemetryUnusable("The memory is full of samples that can't be put into files.")
            self._wal.append(records)
            for record in records:
                self.live.apply(record)

    def news(self, facts: Sequence[JobFacts]) -> list[JobFacts]:
        """What of this is not known yet."""
        with self.live.lock:
            return [fact for fact in facts if self.live.attempts.is_news(fact)]

    def told(self, facts: Sequence[JobFacts]) -> None:
        """What the scheduler says of jobs. Only news is written. Raises TelemetryUnusable."""
        news = self.news(facts)
        if news:
            self.append(news)

    def ended_attempts(self) -> list[JobFacts]:
        """The attempts whose end is known, and which are still in memory."""
        with self.live.lock:
            return [
                JobFacts(item.cluster, item.job_id, item.start_s, item.end_s)
                for item in self.live.attempts
                if item.end_s is not None
            ]

    def known_jobs(self) -> list[tuple[str, int]]:
        """Cluster and number of each job in memory."""
        with self.live.lock:
            return [(item.cluster, item.job_id) for item in self.live.attempts]

    @property
    def unsealed(self) -> int:
        """What takes memory because it is in no file yet, in values."""
        return self.live.weight

    def chunks(self, cluster: str, job_id: int) -> list[Chunk]:
        """The job's samples that are in no file yet."""
        return self.live.chunks(cluster, job_id)

    def footprints(self, cluster: str | None, jobs: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """Rows of FOOTPRINTS of the attempts that run, or ended not long ago."""
        return self.live.footprints(cluster, jobs)

    @property
    def newest_s(self) -> float | None:
        """The newest sample of all."""
        return self.live.newest_s

    def next_number(self) -> int:
        """Of a new file."""
        self._number += 1
        return self._number

    def seal(self) -> bool:
        """Put what is in memory into files; False when there is nothing. Raises TelemetryUnusable.

        After a failure the next call goes on with the same samples.
        """
        with self._wal_lock, self.live.lock:
            if self._unsealed is None:
                if not self._wal.size and not self.live.head.samples:
                    return False
                wal = WalWriter(self.folder, self._wal.number + 1)
                self._wal.close()
                self._wal = wal
                self.live.sealing, self.live.head = self.live.head, Head()
                self._unsealed = (self.live.state(), wal.number)
        assert self.live.sealing is not None  # noqa: S101
        state, wal_from = self._unsealed
        base = Live()
        base.restore(state)
        chunks = as_chunks(self.live.sealing.blocks(self.live.sealing.jobs()))
        for attempt, its in base.attempts.split(chunks):
            attempt.nodes |= {chunk.key.node for chunk in its}
            attempt.tally.add(its)
            attempt.archived = False
        added = self._write_pair(chunks)
        before, self.base = self.base, base
        try:
            self.commit(replace(self.manifest, wal_from=wal_from, files=(*self.manifest.files, *added)))
        except TelemetryUnusable:
            self.base = before
            raise
        with self.live.lock:
            self._unsealed, self.live.sealing = None, None
            self.live.adopt(base.attempts)
        self._remove_old_logs()
        return True

    def _write_pair(self, chunks: Sequence[Chunk]) -> list[File]:
        now = self.now()
        raw = files.write(self.folder, "raw", self.next_number(), chunks, bins=False, level=0, sealed_s=now)
        thinned = [binned(chunk, MINUTE_S) for chunk in chunks]
        minute = files.write(self.folder, "minute", self.next_number(), thinned, bins=True, level=0, sealed_s=now)
        return [file for file in (raw, minute) if file is not None]

    def commit(self, new: Manifest) -> None:
        """Make this the generation that counts, with the sums as of its newest samples. Raises TelemetryUnusable."""
        number = self.next_number()
        path = f"state/{number:010d}.zst"
        with naming(self.folder / path):
            (self.folder / "state").mkdir(mode=0o750, exist_ok=True)
            with (self.folder / path).open("wb") as out:
                out.write(state_of(self.base.state()))
                out.flush()
                os.fsync(out.fileno())
            for tier in {file.tier for file in new.files} | {"state"}:
                manifests.sync_folder(self.folder / tier)
        self.manifest = manifests.save(self.folder, self.manifest, replace(new, number=number, state=path))

    def forget(self) -> None:
        """Leave out senders and jobs that nothing more is to be expected of. Raises TelemetryUnusable."""
        now = self.now()
        forgotten = []
        for attempt in self.base.attempts:
            keep_s = self.keeping.raw_days * 86400 if attempt.tally.measured else FORGET_UNMEASURED_S
            settled = attempt.archived or not attempt.tally.measured
            if settled and attempt.end_s is not None and attempt.end_s < now - keep_s:
                forgotten.append(attempt)
        silent = [
            name
            for name, sender in self.base.senders.items()
            if name[0].startswith("session:") and sender.seen_s < now - FORGET_SENDER_S
        ]
        if forgotten or silent:
            self.base.forget(forgotten, silent)
            self.commit(self.manifest)
            self.live.forget(forgotten, silent)

    def _remove_old_logs(self) -> None:
        for number in wal_numbers(self.folder):
            if number < self.manifest.wal_from:
                wal_path(self.folder, number).unlink(missing_ok=True)

