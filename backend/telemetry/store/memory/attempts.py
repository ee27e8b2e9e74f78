"""The jobs that samples are of: each attempt's span, as the scheduler says, and what its samples come to so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.telemetry.store.layout.chunks import Chunk
from backend.telemetry.store.layout.wal import JobFacts
from backend.telemetry.store.memory.footprints import Tally

EARLY_S = 60.0  # an agent may measure before the scheduler's second of the start, by clocks that differ a little

LATE_S = 60.0


@dataclass
class Attempt:
    """One attempt of a job. `guessed`: the scheduler has not said yet when it started."""

    cluster: str
    job_id: int
    start_s: int
    end_s: int | None = None
    guessed: bool = False
    archived: bool = False  # all that was taken in until now is in an archive
    nodes: set[str] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "cluster": self.cluster, "job_id": self.job_id, "start_s": self.start_s, "end_s": self.end_s,
            "guessed": self.guessed, "archived": self.archived, "nodes": sorted(self.nodes),
            "tally": self.tally.facts(),
        }  # fmt: skip

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Attempt:
        """From JSON."""
        return cls(**dict(facts) | {"nodes": set(facts["nodes"]), "tally": Tally.of(facts["tally"])})


class Attempts:
    """Every attempt that is running, or ended not long ago. Not safe in several threads by itself."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, int], list[Attempt]] = {}

    def __iter__(self) -> Iterator[Attempt]:
        for found in self._jobs.values():
            yield from found

    def of(self, cluster: str, job_id: int) -> Sequence[Attempt]:
        """The attempts of a job, oldest first."""
        return self._jobs.get((cluster, job_id), [])

    def add(self, attempt: Attempt) -> None:
        """One more."""
        mine = self._jobs.setdefault((attempt.cluster, attempt.job_id), [])
        mine.append(attempt)
        mine.sort(key=lambda item: item.start_s)

    def like(self, other: Attempt) -> Attempt | None:
        """The same attempt as one of another memory, in which its start may have been a guess."""
        mine = self.of(other.cluster, other.job_id)
        same = next((item for item in mine if item.start_s == other.start_s), None)
        if same is None and other.guessed:
            same = next((item for item in mine if item.start_s <= other.start_s + EARLY_S), None)
        return same

    def remove(self, attempt: Attempt) -> None:
        """It needs no more to be known."""
        mine = self._jobs[attempt.cluster, attempt.job_id]
        mine.remove(attempt)
        if not mine:
            del self._jobs[attempt.cluster, attempt.job_id]

    def is_news(self, facts: JobFacts) -> bool:
        """Whether the scheduler says something that is not known."""
        same = next((item for item in self.of(facts.cluster, facts.job_id) if item.start_s == facts.start_s), None)
        return same is None or same.guessed or same.end_s != facts.end_s

    def told(self, facts: JobFacts) -> None:
        """The scheduler says so."""
        mine = self.of(facts.cluster, facts.job_id)
        same = next((item for item in mine if item.start_s == facts.start_s), None)
        if same is None:
            # One whose start was only guessed, from a sample at or after it.
            same = next((item for item in mine if item.guessed and item.start_s >= facts.start_s - EARLY_S), None)
        if same is None:
            self.add(Attempt(facts.cluster, facts.job_id, facts.start_s, facts.end_s))
        elif (same.start_s, same.end_s, same.guessed) != (facts.start_s, facts.end_s, False):
            same.start_s, same.end_s, same.guessed, same.archived = facts.start_s, facts.end_s, False, False

    def split(self, chunks: Iterable[Chunk]) -> list[tuple[Attempt, list[Chunk]]]:
        """Which of the samples are of which attempt; one that nobody has told of begins with its first sample."""
        by_job: dict[tuple[str, int], list[Chunk]] = {}
        for chunk in chunks:
            if len(chunk.times_s):
                by_job.setdefault((chunk.key.cluster, chunk.key.job_id), []).append(chunk)
        found = []
        for (cluster, job_id), its in by_job.items():
            if not self.of(cluster, job_id):
                first_s = int(min(chunk.times_s[0] for chunk in its))
                self.add(Attempt(cluster, job_id, first_s, guessed=True))
            attempts = self.of(cluster, job_id)
            for at, attempt in enumerate(attempts):
                since_s = attempt.start_s - EARLY_S if at else float("-inf")
                until_s = attempts[at + 1].start_s - EARLY_S if at + 1 < len(attempts) else float("inf")
                if attempt.end_s is not None:
                    until_s = min(until_s, attempt.end_s + LATE_S)
                mine = [chunk.within(since_s, until_s) for chunk in its]
                mine = [chunk for chunk in mine if len(chunk.times_s)]
                if mine:
                    found.append((attempt, mine))
        return found
