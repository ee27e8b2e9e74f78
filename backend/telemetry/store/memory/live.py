"""What is in memory: the samples that are in no file yet, who sent them, and the sums of every running job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import pyarrow as pa

from backend.telemetry.model import FOOTPRINTS, TelemetryUnusable
from backend.telemetry.store.layout.chunks import Chunk, Key, merged
from backend.telemetry.store.layout.manifest import Manifest, naming
from backend.telemetry.store.layout.wal import Batch, Block, JobFacts, Record, facts_of, replay, wal_numbers
from backend.telemetry.store.memory.attempts import Attempt, Attempts
from backend.telemetry.store.memory.senders import Clock, Sender

SIBLING_S = 120  # what a node's service has told within this time, a job's own agent tells for nothing

LATEST_S = 86400.0  # what comes later than that after it was measured is not taken in, nor what is of the future
AHEAD_S = 60.0


class Head:
    """Samples as they came, by whose they are."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, int], dict[Key, list[tuple[Clock, Block]]]] = {}
        self.samples = 0
        self.weight = 0

    def add(self, batch: Batch, clock: Clock, blocks: Iterable[Block]) -> None:
        """Take samples in."""
        for block in blocks:
            key = Key(batch.cluster, block.job_id, batch.node, block.device)
            self._jobs.setdefault(key[:2], {}).setdefault(key, []).append((clock, block))
            self.samples += block.values.size
            self.weight += block.weight

    def jobs(self) -> list[tuple[str, int]]:
        """Cluster and number of each job."""
        return list(self._jobs)

    def blocks(self, jobs: Iterable[tuple[str, int]]) -> dict[Key, list[tuple[Clock, Block]]]:
        """Those of these jobs."""
        return {key: list(found) for job in jobs for key, found in self._jobs.get(job, {}).items()}


def _kind(block: Block) -> str:
    return block.device.partition(":")[0]


def _timely(block: Block, batch: Batch, clock: Clock) -> Block | None:
    """The samples whose times can be true; None where there are none."""
    times_s = block.times_s + clock.correction_s
    low, high = np.searchsorted(times_s, [batch.received_s - LATEST_S, batch.received_s + AHEAD_S])
    if low == high:
        return None
    if high - low == len(times_s):
        return block
    cut = slice(int(low), int(high))
    return replace(block, times_s=block.times_s[cut], values=block.values[:, cut])


def as_chunks(found: dict[Key, list[tuple[Clock, Block]]]) -> list[Chunk]:
    """Samples by our clock, sorted by key; one chunk a key."""
    chunks = []
    for key in sorted(found):
        parts = [
            Chunk(key, block.model, np.round(block.times_s + clock.correction_s, 1), block.metrics, block.values)
            for clock, block in found[key]
        ]
        chunk = merged(parts)
        if len(parts) == 1 and len(chunk.times_s) > 1 and not (np.diff(chunk.times_s) > 0).all():
            chunk = merged([chunk, chunk.within(0.0, 0.0)])  # rounded to one moment
        if len(chunk.times_s):
            chunks.append(chunk)
    return chunks


class Live:
    """The store's memory. Safe in several threads."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.senders: dict[tuple[str, str], Sender] = {}  # by sender and node
        self.attempts = Attempts()
        self.head = Head()
        self.sealing: Head | None = None
        self.newest_s: float | None = None
        self.wal_read: dict[int, int] = {}  # how far each log was read
        self._heard: dict[tuple[str, int], float] = {}  # the newest sample of each job since the start
        self._by_service: dict[tuple[str, int, str, str], float] = {}  # when a node's service last sent this kind of it

    @classmethod
    def sealed(cls, folder: Path, manifest: Manifest) -> Live:
        """As it was when the newest file was written. Raises TelemetryUnusable."""
        live = cls()
        if manifest.state is not None:
            path = folder / manifest.state
            with naming(path):
                data = path.read_bytes()
            try:
                live.restore(facts_of(data))
            except (ValueError, KeyError, TypeError, pa.ArrowException) as error:
                raise TelemetryUnusable(f"{path} is damaged: {error!r}") from error
        return live

    @classmethod
    def load(cls, folder: Path, manifest: Manifest) -> Live:
        """As it was when the last record was written. Raises TelemetryUnusable."""
        live = cls.sealed(folder, manifest)
        live.catch_up(folder, manifest)
        return live

    @property
    def samples(self) -> int:
        """How many are in no file yet."""
        return self.head.samples + (self.sealing.samples if self.sealing else 0)

    @property
    def weight(self) -> int:
        """What these take of memory, in values."""
        return self.head.weight + (self.sealing.weight if self.sealing else 0)

    def adopt(self, sealed: Attempts) -> None:
        """The sums now that what was being sealed is in files."""
        with self.lock:
            for attempt in sealed:
                mine = self.attempts.like(attempt)
                if mine is None:
                    self.attempts.add(Attempt.of(attempt.facts()))
                    continue
                copy = Attempt.of(attempt.facts())
                mine.tally, mine.nodes = copy.tally, copy.nodes
                mine.archived = mine.archived and attempt.archived

    def forget(self, attempts: Iterable[Attempt], senders: Iterable[tuple[str, str]]) -> None:
        """Leave these out, unless something new has come of them."""
        with self.lock:
            for attempt in attempts:
                mine = self.attempts.like(attempt)
                if mine is not None and mine.end_s == attempt.end_s:
                    self.attempts.remove(mine)
                    if not self.attempts.of(mine.cluster, mine.job_id):
                        self._heard.pop((mine.cluster, mine.job_id), None)
            for name in senders:
                self.senders.pop(name, None)
            newest_s = self.newest_s or 0.0
            told = self._by_service
            self._by_service = {key: sent_s for key, sent_s in told.items() if sent_s > newest_s - SIBLING_S}

    def mark_archived(self, attempts: Iterable[Attempt]) -> None:
        """All that these have in files is archived."""
        with self.lock:
            for attempt in attempts:
                mine = self.attempts.like(attempt)
                if mine is not None and mine.end_s == attempt.end_s:
                    mine.archived = True

    def catch_up(self, folder: Path, manifest: Manifest) -> None:
        """Read what the log has more than this. Raises TelemetryUnusable."""
        for number in wal_numbers(folder):
            if number < manifest.wal_from:
                continue
            for record, end in replay(folder, number, self.wal_read.get(number, 0)):
                self.apply(record)
                self.wal_read[number] = end

    def apply(self, record: Record) -> None:
        """Take in a record that is on disk."""
        with self.lock:
            if isinstance(record, JobFacts):
                self.attempts.told(record)
                return
            sender = self.senders.setdefault((record.sender, record.node), Sender())
            if sender.judge(record.boot, record.seq) != "new":
                return
            clock = sender.take(record)
            blocks = [cut for block in self._not_twice(record) if (cut := _timely(block, record, clock)) is not None]
            self.head.add(record, clock, blocks)
            for block in blocks:
                newest_s = min(float(block.times_s[-1]) + clock.correction_s, record.received_s)
                self.newest_s = max(self.newest_s or 0.0, newest_s)
                job = (record.cluster, block.job_id)
                self._heard[job] = max(self._heard.get(job, 0.0), newest_s)
                for attempt in self.attempts.of(*job)[-1:]:
                    attempt.nodes.add(record.node)

    def heard_s(self, attempt: Attempt) -> float:
        """The newest sample of an attempt that nobody says has ended; 0: none."""
        tallied = attempt.tally.last_s if attempt.tally.measured else 0.0
        return max(self._heard.get((attempt.cluster, attempt.job_id), 0.0), tallied)

    def _not_twice(self, batch: Batch) -> Sequence[Block]:
        """Without what a node's service tells as well: nobody's word on their own job outranks what root saw of it.

        By kind of device, so that an agent can't add GPUs of its own making to those that the service told of.
        """
        if batch.sender.startswith("node:"):
            for block in batch.blocks:
                self._by_service[batch.cluster, block.job_id, batch.node, _kind(block)] = batch.received_s
            return batch.blocks
        since_s = batch.received_s - SIBLING_S
        return [
            block
            for block in batch.blocks
            if self._by_service.get((batch.cluster, block.job_id, batch.node, _kind(block)), -1e18) < since_s
        ]

    def chunks(self, cluster: str, job_id: int) -> list[Chunk]:
        """The job's samples that are in no file yet (or in one of this moment)."""
        with self.lock:
            found = self.head.blocks([(cluster, job_id)])
            if self.sealing is not None:
                for key, blocks in self.sealing.blocks([(cluster, job_id)]).items():
                    found.setdefault(key, [])[:0] = blocks
        return as_chunks(found)

    def footprints(self, cluster: str | None = None, jobs: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """Rows of FOOTPRINTS of the attempts that are known: all, a cluster's, or of these job ids."""
        wanted = None if jobs is None else set(jobs)

        def asked(key: tuple[str, int]) -> bool:
            return (cluster is None or key[0] == cluster) and (wanted is None or key[1] in wanted)

        with self.lock:
            copy = Attempts()
            for attempt in self.attempts:
                if asked((attempt.cluster, attempt.job_id)):
                    copy.add(Attempt.of(attempt.facts()))
            heads = [head for head in (self.sealing, self.head) if head is not None]
            fresh = [head.blocks(filter(asked, head.jobs())) for head in heads]
        for blocks in fresh:
            for attempt, chunks in copy.split(as_chunks(blocks)):
                attempt.tally.add(chunks)
        return [
            attempt.tally.row(attempt.cluster, attempt.job_id, attempt.start_s, attempt.end_s)
            for attempt in copy
            if attempt.tally.measured
        ]

    def state(self) -> dict[str, Any]:
        """All but the samples, as JSON."""
        with self.lock:
            return {
                "senders": [[*name, sender.facts()] for name, sender in self.senders.items()],
                "attempts": [attempt.facts() for attempt in self.attempts],
                "newest_s": self.newest_s,
            }

    def restore(self, facts: dict[str, Any]) -> None:
        self.senders = {(sender, node): Sender.of(found) for sender, node, found in facts["senders"]}
        for found in facts["attempts"]:
            self.attempts.add(Attempt.of(found))
        self.newest_s = facts["newest_s"]


def footprint_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows as a table of FOOTPRINTS."""
    return pa.Table.from_pylist(list(rows), schema=FOOTPRINTS)

