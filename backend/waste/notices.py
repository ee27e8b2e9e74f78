"""Telling a person that their job leaves its GPUs idle: in the console, and by mail where there is a way.

A notice is written before its mail goes out, and never sent twice: who finds the row there leaves it alone.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_, func, or_, select, true, update
from sqlalchemy.exc import IntegrityError

from backend.identity import Viewer, policy
from backend.notices import MailError, NotSureSent
from backend.store import Database, audit
from backend.store.models import IdleNotice, Person
from backend.telemetry.verdicts.wording import span
from backend.waste.idle import IdleJob

AGAIN_S = 86400  # the same job is not asked about twice within a day
SHOWN_S = 7 * 86400  # so long a notice waits for its person in the console
LONGEST_NOTE = 1000
MOST_LISTED = 200


class NoticeRefused(Exception):
    """It is not sent; the message is for who wanted to."""


class Sends(Protocol):
    """What mails are sent by: backend.notices.Mailer."""

    @property
    def able(self) -> bool: ...

    def send(self, to: Iterable[str], subject: str, text: str) -> None: ...


@dataclass(frozen=True)
class Draft:
    """What would be sent. `ways`: how it reaches the person, in words."""

    person: str
    subject: str
    text: str
    ways: str


@dataclass(frozen=True)
class Sender:
    """As mails name the console, and in which zone they say times."""

    name: str
    url: str
    zone: str


class IdleNotices:
    """Blocking, for threads; safe in several."""

    def __init__(self, db: Database, mailer: Sends, sender: Sender, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._mailer = mailer
        self._sender = sender
        self._clock = clock

    def draft(self, viewer: Viewer, job: IdleJob, note: str = "") -> Draft:
        """What the person would be told. Raises NoticeRefused: not the viewer's to tell, or told lately."""
        if not policy.allowed(viewer, "waste.notice", job):
            raise NoticeRefused("You may not send a notice about this job.")
        self._refuse_again(job)
        subject, text = self._letter(viewer, job, _checked(note))
        return Draft(job.user, subject, text, self._ways(job)[0])

    def send(self, viewer: Viewer, job: IdleJob, note: str = "", address: str = "") -> IdleNotice:
        """Tell the person; the row says how the mail went. Leaves an audit line. Raises NoticeRefused."""
        number = self._count(job) + 1  # before the look for others: one that comes in between takes this number
        made = self.draft(viewer, job, note)
        _, mail, why = self._ways(job)
        now_s = int(self._clock())
        row = IdleNotice(
            id=secrets.token_hex(16), cluster=job.cluster, job_id=job.job_id, job_start_s=job.start_s,
            number=number, person=job.user, uid=job.uid, account=job.account,
            subject=made.subject, text=made.text, sent_by=viewer.name, sent_s=now_s,
            mail="sending" if mail else "none", mail_why=why, seen_s=None,
        )  # fmt: skip
        try:
            with self._db.begin() as rows:
                rows.add(row)
                audit(
                    rows, viewer.name, "waste.notice", f"{job.cluster} {job.job_id}", "done", address,
                    person=job.user, idle_since_s=job.idle_since_s, mail=bool(mail),
                )  # fmt: skip
        except IntegrityError:  # somebody else was faster
            self._refuse_again(job)
            raise NoticeRefused("Somebody is sending a notice about this job right now.") from None
        if mail:
            state, why = self._mailed(mail, made)
            with self._db.begin() as rows:
                rows.execute(update(IdleNotice).where(IdleNotice.id == row.id).values(mail=state, mail_why=why))
                if state != "sent":
                    audit(
                        rows, viewer.name, "waste.mail", f"{job.cluster} {job.job_id}", "failed", address, why=why[:300]
                    )
        with self._db.read() as rows:
            return rows.scalars(select(IdleNotice).where(IdleNotice.id == row.id)).one()

    def last_of(self, jobs: Iterable[IdleJob]) -> dict[tuple[str, int, int], IdleNotice]:
        """The newest notice of each job that has one, by cluster, number and start."""
        wanted = {(job.cluster, job.job_id, job.start_s) for job in jobs}
        if not wanted:
            return {}
        numbers = sorted({number for _, number, _ in wanted})
        found: dict[tuple[str, int, int], IdleNotice] = {}
        with self._db.read() as rows:
            for at in range(0, len(numbers), 500):
                known = rows.scalars(
                    select(IdleNotice).where(IdleNotice.job_id.in_(numbers[at : at + 500])).order_by(IdleNotice.sent_s)
                )
                for row in known:
                    if (row.cluster, row.job_id, row.job_start_s) in wanted:
                        found[row.cluster, row.job_id, row.job_start_s] = row
        return found

    def listed(self, viewer: Viewer) -> list[IdleNotice]:
        """What was sent, the newest first: all for those who see all jobs, else about jobs of the viewer's accounts."""
        which: ColumnElement[bool] = true()
        if not policy.allowed(viewer, "jobs.all"):
            which = IdleNotice.account.in_(sorted(viewer.coordinates))
        with self._db.read() as rows:
            return list(
                rows.scalars(select(IdleNotice).where(which).order_by(IdleNotice.sent_s.desc()).limit(MOST_LISTED))
            )

    # -- the person's side -------------------------------------------------------------------------------------

    def waiting_for(self, viewer: Viewer) -> list[IdleNotice]:
        """What the person was told and has not put away, the newest first."""
        since_s = int(self._clock()) - SHOWN_S
        with self._db.read() as rows:
            return list(
                rows.scalars(
                    select(IdleNotice)
                    .where(_to(viewer), IdleNotice.seen_s.is_(None), IdleNotice.sent_s >= since_s)
                    .order_by(IdleNotice.sent_s.desc())
                    .limit(20)
                )
            )

    def put_away(self, viewer: Viewer, notice_id: str) -> None:
        """The person has read it; another's is left alone."""
        with self._db.begin() as rows:
            rows.execute(
                update(IdleNotice)
                .where(IdleNotice.id == notice_id, _to(viewer), IdleNotice.seen_s.is_(None))
                .values(seen_s=int(self._clock()))
            )

    def version(self) -> tuple[int, int]:
        """Differs after each notice that is sent or put away: for pollers."""
        with self._db.read() as rows:
            total, seen = rows.execute(
                select(func.count(), func.count(IdleNotice.seen_s)).select_from(IdleNotice)
            ).one()
        return int(total), int(seen)

    # -- how it goes out ---------------------------------------------------------------------------------------

    def _refuse_again(self, job: IdleJob) -> None:
        known = self.last_of([job]).get((job.cluster, job.job_id, job.start_s))
        if known is not None and self._clock() - known.sent_s < AGAIN_S:
            at = self._when(known.sent_s)
            raise NoticeRefused(
                f"{known.sent_by} sent a notice about this job at {at}; another may go out a day later."
            )

    def _count(self, job: IdleJob) -> int:
        with self._db.read() as rows:
            return int(
                rows.scalar(
                    select(func.count())
                    .select_from(IdleNotice)
                    .where(
                        IdleNotice.cluster == job.cluster,
                        IdleNotice.job_id == job.job_id,
                        IdleNotice.job_start_s == job.start_s,
                    )
                )
                or 0
            )

    def _ways(self, job: IdleJob) -> tuple[str, str, str]:
        """How it reaches the person in words, the address to mail to ("": none) and why there is no mail."""
        person = self._person(job)
        console = "in the console" if person is not None else "in the console, once they sign in"
        if not self._mailer.able:
            return f"{console} (this console sends no mail)", "", "This console sends no mail."
        if person is None or not person.mail:
            return f"{console} (no mail address is known)", "", "No mail address is known."
        return f"{console} and by mail", person.mail, ""

    def _person(self, job: IdleJob) -> Person | None:
        """By uid where it is known, since the scheduler may know a person by another name than the console."""
        with self._db.read() as rows:
            if job.uid is not None:
                found = rows.scalars(select(Person).where(Person.uid == job.uid).order_by(Person.name)).first()
                if found is not None:
                    return found
            named = rows.get(Person, job.user)
        return named if named is not None and (named.uid is None or job.uid is None) else None

    def _mailed(self, to: str, made: Draft) -> tuple[str, str]:
        try:
            self._mailer.send((to,), made.subject, made.text)
        except NotSureSent as error:
            return "unsure", f"{error} It may have gone out, and is not sent again."
        except MailError as error:
            return "failed", str(error)
        return "sent", ""

    def _when(self, time_s: int) -> str:
        return f"{datetime.fromtimestamp(time_s, ZoneInfo(self._sender.zone)):%a %-d %b %H:%M}"

    def _letter(self, viewer: Viewer, job: IdleJob, note: str) -> tuple[str, str]:
        now_s = self._clock()
        gpus = "its GPU" if job.gpus == 1 else f"{job.gpus} GPUs"
        model = job.gpu_model or job.gpu_type or "GPU"
        holds = [f"{job.gpus} × {model}", f"{job.cpus} CPUs" if job.cpus != 1 else "1 CPU"]
        if job.memory_mb:
            holds.append(f"{job.memory_mb / 1024:.0f} GB")
        what = "session" if job.is_session or not job.name else f'job "{job.name}"'
        lines = [
            f"Your {what} (job {job.label}) on {job.node_list or 'its node'} holds {', '.join(holds)}.",
            f"Its GPUs have done nothing since {self._when(job.idle_since_s)}, for {span(now_s - job.idle_since_s)}.",
            "",
            "If you don't need them now, please stop it, so that others can have them:",
            f"{self._sender.url}/job?id={job.job_id}",
            "If it is meant to be like that, you need not do anything.",
            "",
            *([note, ""] if note else []),
            f"{viewer.display_name or viewer.name} ({viewer.name}), {self._when(int(now_s))} ({self._sender.zone}), "
            f"{self._sender.name}",
        ]
        subject = f"{self._sender.name}: job {job.label} leaves {gpus} idle"
        return "".join(each if each.isprintable() else " " for each in subject)[:200], "\n".join(
            "".join(each if each.isprintable() else " " for each in line) for line in lines
        )


def _checked(note: str) -> str:
    words = " ".join(note.split())
    if len(words) > LONGEST_NOTE:
        raise NoticeRefused(f"A note has at most {LONGEST_NOTE} characters.")
    return words


def _to(viewer: Viewer) -> ColumnElement[bool]:
    if viewer.uid is None:
        return IdleNotice.person == viewer.name
    return or_(IdleNotice.uid == viewer.uid, and_(IdleNotice.uid.is_(None), IdleNotice.person == viewer.name))
