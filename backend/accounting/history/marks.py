"""Tags and notes on jobs, in the console's database. Who may see a job or write on it, the caller has decided.

A mark hangs on (cluster, job id, submit time of the job's first attempt): numbers come again, jobs do not. Of a job of
which the accounts did not know yet it was the submit time the queue said; both lie within the job's attempts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session as DbSession

from backend.accounting.history.question import JobKey
from backend.accounting.history.words import tag_of
from backend.store import Database, audit
from backend.store.models import JobNote, JobTag

MOST_TAGS = 20  # on one job
MOST_OF_PERSON = 20_000  # tags that one person has put on jobs
LONGEST_NOTE = 4000
MOST_KEYS = 100_000  # jobs with a tag that a filter looks among
AT_ONCE = 500  # numbers in one statement: SQLite takes some thousand


class MarkRefused(Exception):
    """It is not kept; the message is for the person. `part`: the field it is about."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True)
class Marks:
    """What people wrote on one job."""

    tags: tuple[str, ...] = ()
    note: str = ""
    note_by: str = ""
    note_s: int | None = None


@dataclass(frozen=True)
class Span:
    """A job by its attempts: the submit times of the first and of the last one."""

    cluster: str
    job_id: int
    first_s: int
    last_s: int

    @property
    def key(self) -> JobKey:
        return JobKey(self.cluster, self.job_id, self.first_s)


NONE = Marks()


class JobMarks:
    """Blocking, used from any thread."""

    def __init__(self, db: Database, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._clock = clock

    def of(self, jobs: Sequence[Span]) -> dict[Span, Marks]:
        """The marks of those of the jobs that have any."""
        by_number: dict[tuple[str, int], list[Span]] = {}
        for job in jobs:
            by_number.setdefault((job.cluster, job.job_id), []).append(job)
        tags: dict[Span, set[str]] = {}
        notes: dict[Span, JobNote] = {}
        with self._db.read() as rows:
            for tag in _rows_of(rows, JobTag, by_number):
                for job in _hit(by_number, tag):
                    tags.setdefault(job, set()).add(tag.tag)
            for note in _rows_of(rows, JobNote, by_number):
                for job in _hit(by_number, note):
                    if job not in notes or notes[job].changed_s <= note.changed_s:
                        notes[job] = note
            return {
                job: Marks(
                    tuple(sorted(tags.get(job, ()))),
                    notes[job].text if job in notes else "",
                    notes[job].changed_by if job in notes else "",
                    notes[job].changed_s if job in notes else None,
                )
                for job in tags.keys() | notes.keys()
            }

    def with_tags(self, tags: Collection[str]) -> list[JobKey]:
        """Jobs that have one of these tags, the newest first, at most MOST_KEYS."""
        wanted = select(JobTag.cluster, JobTag.job_id, JobTag.submit_s).where(JobTag.tag.in_(sorted(tags)))
        with self._db.read() as rows:
            found = rows.execute(wanted.order_by(JobTag.submit_s.desc()).limit(MOST_KEYS))
            return list(dict.fromkeys(JobKey(cluster, job_id, submit_s) for cluster, job_id, submit_s in found))

    def used_by(self, person: str, most: int = 100) -> list[str]:
        """Tags that the person has put on jobs, the most used first."""
        number = func.count()
        wanted = select(JobTag.tag).where(JobTag.added_by == person).group_by(JobTag.tag)
        with self._db.read() as rows:
            return list(rows.scalars(wanted.order_by(number.desc(), JobTag.tag).limit(most)))

    def tag(
        self, person: str, job: Span, *, add: Iterable[str] = (), remove: Iterable[str] = (), address: str = ""
    ) -> Marks:
        """Put tags on the job and take others off. Raises MarkRefused, NotAsked for what is no tag."""
        new, old = {tag_of(text) for text in add}, {tag_of(text) for text in remove}
        with self._db.begin() as rows:
            there = [row for row in _rows_of(rows, JobTag, {(job.cluster, job.job_id): [job]}) if _within(row, job)]
            known = {row.tag for row in there}
            gone, come = known & old, new - known - old
            if len(known - gone) + len(come) > MOST_TAGS:
                raise MarkRefused("tag", f"A job has at most {MOST_TAGS} tags.")
            if come and (rows.scalar(select(func.count()).where(JobTag.added_by == person)) or 0) >= MOST_OF_PERSON:
                raise MarkRefused("tag", f"You have put {MOST_OF_PERSON} tags on jobs: take some off first.")
            for row in there:
                if row.tag in gone:
                    rows.delete(row)
            now = int(self._clock())
            for tag in sorted(come):
                rows.add(JobTag(cluster=job.cluster, job_id=job.job_id, submit_s=job.first_s, tag=tag,
                                added_by=person, added_s=now))  # fmt: skip
            if come or gone:
                audit(rows, person, "job.tag", _name(job), "done", address, add=sorted(come), remove=sorted(gone))
        return self.of([job]).get(job, NONE)

    def note(self, person: str, job: Span, text: str, address: str = "") -> Marks:
        """Write the job's note; "" takes it off. Raises MarkRefused."""
        text = text.replace("\r\n", "\n").strip()
        if len(text) > LONGEST_NOTE or "\x00" in text:
            raise MarkRefused("note", f"A note has at most {LONGEST_NOTE} characters.")
        with self._db.begin() as rows:
            rows.execute(delete(JobNote).where(
                JobNote.cluster == job.cluster, JobNote.job_id == job.job_id,
                JobNote.submit_s >= job.first_s, JobNote.submit_s <= job.last_s,
            ))  # fmt: skip
            if text:
                rows.add(JobNote(cluster=job.cluster, job_id=job.job_id, submit_s=job.first_s, text=text,
                                 changed_by=person, changed_s=int(self._clock())))  # fmt: skip
            audit(rows, person, "job.note", _name(job), "done", address, length=len(text))
        return self.of([job]).get(job, NONE)


def span_of(row: Mapping[str, Any], cluster: str | None = None) -> Span:
    """Of a row of the accounts, or (with `cluster`) of the queue, which knows only the attempt that is."""
    submit_s = row["submit_s"] or 0
    origin_s = row.get("origin_s")
    return Span(cluster or row["cluster"], row["job_id"], submit_s if origin_s is None else origin_s, submit_s)


def _rows_of(rows: DbSession, model: Any, by_number: Mapping[tuple[str, int], Any]) -> list[Any]:
    numbers = sorted({job_id for _, job_id in by_number})
    clusters = sorted({cluster for cluster, _ in by_number})
    found: list[Any] = []
    for at in range(0, len(numbers), AT_ONCE):
        wanted = select(model).where(model.cluster.in_(clusters), model.job_id.in_(numbers[at : at + AT_ONCE]))
        found += rows.scalars(wanted)
    return found


def _hit(by_number: Mapping[tuple[str, int], list[Span]], row: Any) -> list[Span]:
    return [job for job in by_number.get((row.cluster, row.job_id), ()) if _within(row, job)]


def _within(row: Any, job: Span) -> bool:
    return bool(job.first_s <= row.submit_s <= job.last_s)


def _name(job: Span) -> str:
    return f"{job.cluster}/{job.job_id}"
