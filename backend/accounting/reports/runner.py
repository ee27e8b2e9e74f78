"""Sends reports at their hours, in a thread of the collector's process; several such processes don't send twice.

An occurrence is claimed by compare-and-set, and the claim runs out when its process dies. Before a mail is handed to
the server that is written down, too: if the process dies between that and the server's answer, nobody knows whether
the mail went out, and it is told on the page instead of being sent again. A file can be put twice, it is the same.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlalchemy.engine import CursorResult

from backend.accounting.exports import TooManyRows
from backend.accounting.reports.delivery import letter, make, put, sweep
from backend.accounting.reports.model import Report, ReportError, Schedule
from backend.accounting.reports.saved import KEPT_S, Reports, schedule_of, times_of
from backend.accounting.usage import BadQuestion
from backend.accounting.warehouse import WarehouseUnusable
from backend.identity import Identity, Viewer
from backend.notices import Mailer, MailError, NotSureSent
from backend.store import CONSOLE, Outcome, audit
from backend.store.models import ReportSchedule, SavedReport

log = logging.getLogger("carme.reports")

LOOK_EVERY_S = 20.0
STALE_S = 86400  # nothing takes that long: a temporary file that old is a killed process's
CLAIM_S = 1800  # longer than any report takes
RETRY_S = (60, 300, 900, 3600)  # the last again and again, until
MOST_TRIES = 12  # about nine hours later
PRUNE_EVERY_S = 3600.0
UNSURE = "It may have gone out, and is not sent again."


class ReportRunner:
    """One a process. `reports` and `identity` are the process's own; `mailer` sends. `refresh` is called before each
    look: people's accounts are those of the newest snapshot."""

    def __init__(
        self,
        reports: Reports,
        identity: Identity,
        mailer: Mailer,
        *,
        clock: Callable[[], float] = time.time,
        refresh: Callable[[], object] = lambda: None,
    ) -> None:
        self._reports = reports
        self._identity = identity
        self._mailer = mailer
        self._clock = clock
        self._refresh = refresh
        self._db = reports.db
        self._pruned_at = float("-inf")

    def run(self, stop: threading.Event) -> None:
        """Until told to stop. What goes wrong with one report is told on its page, and ends nothing."""
        failed = ""
        while not stop.is_set():
            try:
                self.look(stop)
            except Exception as error:
                if failed != repr(error):  # a lasting failure is logged once
                    log.exception("due reports can't be looked for")
                failed = repr(error)
            else:
                failed = ""
            stop.wait(LOOK_EVERY_S)

    def look(self, stop: threading.Event | None = None) -> int:
        """Everything that is due now, one after the other; gives how many occurrences were worked on."""
        self._prune()
        self._refresh()
        done = 0
        while not (stop is not None and stop.is_set()) and (claimed := self._claim()) is not None:
            self._work(*claimed)
            done += 1
        return done

    # Claiming

    def _claim(self) -> tuple[str, str] | None:
        """The schedule's id and our claim on it; None when nothing is due."""
        now = int(self._clock())
        free = or_(ReportSchedule.claim.is_(None), ReportSchedule.claim_until_s < now)
        due = (
            select(ReportSchedule.id, ReportSchedule.due_s, ReportSchedule.claim)
            .join(SavedReport, SavedReport.id == ReportSchedule.report_id)
            .where(
                ReportSchedule.active.is_(True),
                SavedReport.deleted_s.is_(None),
                ReportSchedule.due_s <= now,
                or_(ReportSchedule.retry_s.is_(None), ReportSchedule.retry_s <= now),
                free,
            )
            .order_by(ReportSchedule.due_s, ReportSchedule.id)
        )
        with self._db.read() as rows:
            found = rows.execute(due).all()
        for schedule_id, due_s, before in found:
            claim = secrets.token_hex(16)
            same = ReportSchedule.claim.is_(None) if before is None else ReportSchedule.claim == before
            changed = self._set(
                schedule_id, [ReportSchedule.due_s == due_s, same, free], claim=claim, claim_until_s=now + CLAIM_S
            )
            if changed:
                return schedule_id, claim
        return None

    def _set(self, schedule_id: str, conditions: list[Any], **values: Any) -> bool:
        """Change the row if it is still as it was; whether it was."""
        with self._db.begin() as rows:
            changed = rows.execute(
                update(ReportSchedule)
                .where(ReportSchedule.id == schedule_id, *conditions)
                .values(**values)
                .execution_options(synchronize_session=False)
            )
            return isinstance(changed, CursorResult) and changed.rowcount == 1

    def _mine(self, claim: str) -> list[Any]:
        return [ReportSchedule.claim == claim, ReportSchedule.claim_until_s >= int(self._clock())]

    # Working

    def _work(self, schedule_id: str, claim: str) -> None:
        with self._db.read() as rows:
            row = rows.get(ReportSchedule, schedule_id)
            kept = rows.get(SavedReport, row.report_id) if row is not None else None
        if row is None or kept is None:
            return
        due_s = times_of(row).latest(row.due_s, int(self._clock()), self._reports.zone)
        report = Report(
            kept.id, kept.owner, kept.name, kept.question, kept.chart, kept.visibility, kept.account,
            kept.created_s, kept.changed_s,
        )  # fmt: skip
        work = _Work(claim, report, schedule_of(row), due_s, tries=row.tries + 1)
        if row.handing_over_s is not None:
            self._over(work, error=f"The console stopped while this mail was handed over. {UNSURE}")
            return
        if due_s != row.due_s:  # several were missed: only the last is made up
            self._set(schedule_id, self._mine(claim), due_s=due_s, tries=0, retry_s=None)
            work.tries = 1
        try:
            self._deliver(work)
        except _Lost:
            log.warning("report %s: another process has taken over", report.id)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the others
            self._went_wrong(work, error)
        else:
            self._over(work)

    def _went_wrong(self, work: _Work, error: Exception) -> None:
        words = str(error)
        if isinstance(error, _Stopped):
            self._release(work, "refused", words, {"active": False, "stopped": words})
        elif isinstance(error, NotSureSent):
            self._over(work, error=f"{words} {UNSURE}")
        elif isinstance(error, (BadQuestion, TooManyRows)):
            self._over(work, error=words)
        elif isinstance(error, MailError):
            self._failed(work, words, final=error.for_good)
        elif isinstance(error, (ReportError, WarehouseUnusable)):
            self._failed(work, words)
        else:
            log.error("report %s failed", work.report.id, exc_info=error)
            words = f"Something went wrong in the console ({type(error).__name__}); its log has it."
            if work.handing_over:
                self._over(work, error=f"{words} {UNSURE}")
            else:
                self._failed(work, words)

    def _deliver(self, work: _Work) -> None:
        """Raises _Stopped, _Lost, and what making and sending raise."""
        settings = self._reports.settings
        owner = self._owner(work)
        sheet = self._reports.sheet_of(owner, work.report, work.due_s)
        made = make(sheet, work.schedule.format, settings.instance.data_dir / "tmp")
        try:
            if work.schedule.way == "folder":
                self._hold(work)
                put(made, work.report, settings.reports.folder)
            else:
                post = letter(
                    made, work.report, work.schedule, owner, (settings.instance.name, settings.web.public_url)
                )
                self._hold(work, handing_over_s=int(self._clock()))
                work.handing_over = True
                self._mailer.send(post.to, post.subject, post.text, post.attachments)
        finally:
            made.path.unlink(missing_ok=True)

    def _hold(self, work: _Work, **values: Any) -> None:
        """At the last moment: the claim is still ours, for long enough. Raises _Lost."""
        until_s = int(self._clock()) + CLAIM_S
        if not self._set(work.schedule.id, self._mine(work.claim), claim_until_s=until_s, **values):
            raise _Lost

    def _owner(self, work: _Work) -> Viewer:
        """With today's rights. Raises _Stopped."""
        owner = self._identity.standing(work.report.owner)
        if owner is None:
            raise _Stopped(f"{work.report.owner} has no account here any more, or it is locked.")
        try:
            if work.schedule.way == "mail":
                self._reports.allowed_addresses(owner, work.schedule.addresses)
            else:
                self._reports.allowed_folder(owner)
        except ReportError as error:
            raise _Stopped(str(error)) from error
        return owner

    # Afterwards

    def _over(self, work: _Work, error: str = "") -> None:
        """The occurrence is done with, well or (with `error`) not."""
        now = int(self._clock())
        schedule = work.schedule
        row = ReportSchedule(every=schedule.every, hour=schedule.hour, weekday=schedule.weekday)
        values: dict[str, Any] = {
            "due_s": times_of(row).after(max(work.due_s, now), self._reports.zone),
            "error": error,
            "error_s": now if error else None,
        }
        if not error:
            values |= {"done_s": now, "done_due_s": work.due_s}
        self._release(work, "failed" if error else "done", error, values)

    def _failed(self, work: _Work, error: str, *, final: bool = False) -> None:
        """Tried again later, unless that changes nothing, or was done often enough."""
        if final or work.tries >= MOST_TRIES:
            self._over(work, error)
            return
        now = int(self._clock())
        retry_s = now + RETRY_S[min(work.tries, len(RETRY_S)) - 1]
        values = {"tries": work.tries, "retry_s": retry_s, "error": error, "error_s": now}
        self._release(work, "failed", error, values)

    def _release(self, work: _Work, outcome: Outcome, why: str, values: dict[str, Any]) -> None:
        """Write the outcome and the audit line, and give the claim back."""
        cleared = dict.fromkeys(("claim", "claim_until_s", "handing_over_s", "retry_s")) | {"tries": 0}
        said: dict[str, Any] = {"why": why} if why else {}
        with self._db.begin() as rows:
            rows.execute(
                update(ReportSchedule)
                .where(ReportSchedule.id == work.schedule.id, ReportSchedule.claim == work.claim)
                .values(cleared | values)
                .execution_options(synchronize_session=False)
            )
            said |= {"owner": work.report.owner, "way": work.schedule.way}
            audit(rows, CONSOLE, "report.send", work.report.id, outcome, to=list(work.schedule.addresses), **said)
        if why:
            log.warning("report %s of %s was not sent: %s", work.report.id, work.report.owner, why)

    def _prune(self) -> None:
        """Deleted reports go for good when their time to be brought back is over, files of killed processes now."""
        now_mono = time.monotonic()
        if now_mono - self._pruned_at < PRUNE_EVERY_S:
            return
        self._pruned_at = now_mono
        sweep(self._reports.settings.instance.data_dir / "tmp", int(time.time()) - STALE_S)
        old = select(SavedReport.id).where(SavedReport.deleted_s < int(self._clock()) - KEPT_S)
        with self._db.read() as rows:
            ids = list(rows.scalars(old))
        if ids:
            with self._db.begin() as rows:
                rows.execute(delete(ReportSchedule).where(ReportSchedule.report_id.in_(ids)))
                rows.execute(delete(SavedReport).where(SavedReport.id.in_(ids)))


@dataclass
class _Work:
    """One occurrence under our claim."""

    claim: str
    report: Report
    schedule: Schedule
    due_s: int
    tries: int  # this one counted
    handing_over: bool = False


class _Stopped(Exception):
    """The schedule ends here: its owner may not have it any more."""


class _Lost(Exception):
    """The claim ran out meanwhile; somebody else may have it."""
