"""Saved reports: kept, shown to others, run with the reader's rights; and the schedules by which they go out."""

from __future__ import annotations

import secrets
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session as DbSession

from backend.accounting.exports import FORMATS, ChartKind, Made, Sheet, sheet_of
from backend.accounting.reports.model import (
    CHARTS,
    VISIBILITIES,
    WAYS,
    Draft,
    Report,
    ReportNotFound,
    ReportRefused,
    Schedule,
    ScheduleDraft,
)
from backend.accounting.reports.question import read_saved, resolve, scope_for
from backend.accounting.reports.times import Times
from backend.accounting.usage import Answer, Usage
from backend.identity import Viewer, policy
from backend.notices import BadMail, checked_address
from backend.store import Database, audit
from backend.store.models import ReportSchedule, SavedReport
from config import Settings

LONGEST_NAME = 120
MOST_REPORTS = 200  # of one person
MOST_SCHEDULES = 5  # of one report
MOST_ADDRESSES = 20
KEPT_S = 7 * 86400  # a deleted report can be brought back for so long
DRAWN: dict[str, ChartKind] = {"table": "none"}  # else bars

Members = Callable[[str], frozenset[str]]


class Reports:
    """Blocking, used from any thread. `members`: the accounts a person belongs to, by name."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        usage: Usage,
        *,
        members: Members,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.db = db
        self.usage = usage
        self._members = members
        self.clock = clock

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.settings.instance.time_zone)

    # Seeing

    def shown(self, viewer: Viewer) -> list[Report]:
        """The viewer's own, then those that others show them, by name. Schedules only of one's own."""
        wanted = select(SavedReport).where(
            SavedReport.deleted_s.is_(None),
            or_(
                SavedReport.owner == viewer.name,
                SavedReport.visibility == "everyone",
                (SavedReport.visibility == "account") & SavedReport.account.in_(sorted(self.accounts_of(viewer))),
            ),
        )
        with self.db.read() as rows:
            found = [self._report(rows, row, viewer) for row in rows.scalars(wanted)]
        return sorted(found, key=lambda report: (report.owner != viewer.name, report.name.casefold(), report.id))

    def get(self, viewer: Viewer, report_id: str) -> Report:
        """Raises ReportNotFound."""
        with self.db.read() as rows:
            row = rows.get(SavedReport, report_id)
            if row is None or row.deleted_s is not None or not self._may_see(viewer, row):
                raise ReportNotFound
            return self._report(rows, row, viewer)

    def all(self) -> list[Report]:
        """Everybody's, for the command line of the data folder's owner."""
        with self.db.read() as rows:
            found = rows.scalars(select(SavedReport).where(SavedReport.deleted_s.is_(None)))
            return sorted(
                (self._report(rows, row, None) for row in found), key=lambda report: (report.name, report.owner)
            )

    def _may_see(self, viewer: Viewer, row: SavedReport) -> bool:
        if policy.allowed(viewer, "report.see", row) or row.visibility == "everyone":
            return True
        return row.visibility == "account" and row.account in self.accounts_of(viewer)

    def accounts_of(self, viewer: Viewer) -> frozenset[str]:
        """Whose people the viewer may show a report to: those they belong to or coordinate."""
        return self._members(viewer.name) | viewer.coordinates

    def _report(self, rows: DbSession, row: SavedReport, viewer: Viewer | None) -> Report:
        own = viewer is None or policy.allowed(viewer, "report.change", row)
        found = select(ReportSchedule).where(ReportSchedule.report_id == row.id).order_by(ReportSchedule.id)
        return Report(
            id=row.id,
            owner=row.owner,
            name=row.name,
            question=row.question,
            chart=row.chart,
            visibility=row.visibility,
            account=row.account,
            created_s=row.created_s,
            changed_s=row.changed_s,
            deleted_s=row.deleted_s,
            schedules=tuple(schedule_of(each) for each in rows.scalars(found)) if own else (),
        )

    # Running

    def ask(self, viewer: Viewer, report: Report, now_s: float | None = None) -> Answer:
        """The report's figures as of now, within what the viewer may see. Raises BadQuestion."""
        question = resolve(report.question, self.clock() if now_s is None else now_s)
        return self.usage.ask(question, scope_for(report.question, viewer))

    def sheet(self, viewer: Viewer, report_id: str) -> Sheet:
        """The same to be written as a file. Raises ReportNotFound, BadQuestion."""
        return self.sheet_of(viewer, self.get(viewer, report_id))

    def sheet_of(self, viewer: Viewer, report: Report, now_s: float | None = None) -> Sheet:
        answer = self.ask(viewer, report, now_s)
        made = Made(
            report.name,
            scope_for(report.question, viewer),
            int(self.clock()),
            DRAWN.get(report.chart, "bars"),
            self.settings.reports.max_rows,
        )
        return sheet_of(answer, made)

    # Keeping

    def save(self, viewer: Viewer, draft: Draft, address: str = "") -> Report:
        """A new report of the viewer's. Raises ReportRefused, BadQuestion."""
        facts = self._checked(viewer, draft)
        now = int(self.clock())
        row = SavedReport(id=secrets.token_hex(8), owner=viewer.name, created_s=now, changed_s=now, **facts)
        with self.db.begin() as rows:
            mine = select(func.count()).where(SavedReport.owner == viewer.name, SavedReport.deleted_s.is_(None))
            if (rows.scalar(mine) or 0) >= MOST_REPORTS:
                raise ReportRefused("name", f"You have {MOST_REPORTS} reports: delete some first.")
            rows.add(row)
            audit(rows, viewer.name, "report.save", row.id, "done", address, name=row.name, visibility=row.visibility)
            return self._report(rows, row, viewer)

    def change(self, viewer: Viewer, report_id: str, draft: Draft, address: str = "") -> Report:
        """Raises ReportNotFound, ReportRefused, BadQuestion."""
        facts = self._checked(viewer, draft)
        with self.db.begin() as rows:
            row = self._own(rows, viewer, report_id, "report.change")
            for name, value in facts.items():
                setattr(row, name, value)
            row.changed_s = int(self.clock())
            audit(rows, viewer.name, "report.change", row.id, "done", address, name=row.name, visibility=row.visibility)
            return self._report(rows, row, viewer)

    def delete(self, viewer: Viewer, report_id: str, address: str = "") -> None:
        """It and its schedules are gone at once, and can be brought back for a week. Raises ReportNotFound."""
        with self.db.begin() as rows:
            row = self._own(rows, viewer, report_id, "report.delete")
            row.deleted_s = int(self.clock())
            audit(rows, viewer.name, "report.delete", row.id, "done", address, name=row.name, owner=row.owner)

    def restore(self, viewer: Viewer, report_id: str, address: str = "") -> Report:
        """Undo of `delete`, by whoever might do that. Missed occurrences are not made up. Raises ReportNotFound."""
        with self.db.begin() as rows:
            row = rows.get(SavedReport, report_id)
            if row is None or row.deleted_s is None or not policy.allowed(viewer, "report.delete", row):
                raise ReportNotFound
            row.deleted_s = None
            for each in rows.scalars(select(ReportSchedule).where(ReportSchedule.report_id == row.id)):
                each.due_s = max(each.due_s, self._next(each))
            audit(rows, viewer.name, "report.restore", row.id, "done", address, name=row.name)
            return self._report(rows, row, viewer)

    def _own(self, rows: DbSession, viewer: Viewer, report_id: str, action: str) -> SavedReport:
        row = rows.get(SavedReport, report_id)
        if row is None or row.deleted_s is not None or not policy.allowed(viewer, action, row):
            raise ReportNotFound
        return row

    def _checked(self, viewer: Viewer, draft: Draft) -> Mapping[str, Any]:
        name = " ".join(draft.name.split())
        if not name or len(name) > LONGEST_NAME or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
            raise ReportRefused("name", f"A report needs a name of 1 to {LONGEST_NAME} characters.")
        if draft.visibility not in VISIBILITIES:
            raise ReportRefused("visibility", f"A report is shown to one of {', '.join(VISIBILITIES)}.")
        account = draft.account if draft.visibility == "account" else ""
        may_show = account in self.accounts_of(viewer) or (account and policy.allowed(viewer, "jobs.all"))
        if draft.visibility == "account" and not may_show:
            raise ReportRefused("account", "Choose an account that you belong to.")
        if draft.chart not in CHARTS:
            raise ReportRefused("chart", "There is no such chart.")
        question = read_saved(draft.question, self.settings.instance.time_zone)
        self.usage.check(resolve(question, self.clock()))
        return {
            "name": name,
            "question": question,
            "chart": draft.chart,
            "visibility": draft.visibility,
            "account": account[:128],
        }

    # Sending

    def schedule(
        self, viewer: Viewer, report_id: str, draft: ScheduleDraft, schedule_id: str = "", address: str = ""
    ) -> Report:
        """A new schedule, or in place of one. Raises ReportNotFound, ReportRefused."""
        addresses = self._checked_schedule(viewer, draft)
        with self.db.begin() as rows:
            row = self._own(rows, viewer, report_id, "report.change")
            kept = list(rows.scalars(select(ReportSchedule).where(ReportSchedule.report_id == row.id)))
            found = next((each for each in kept if each.id == schedule_id), None)
            if schedule_id and found is None:
                raise ReportNotFound
            if found is None:
                if len(kept) >= MOST_SCHEDULES:
                    raise ReportRefused("every", f"A report has at most {MOST_SCHEDULES} schedules.")
                found = ReportSchedule(id=secrets.token_hex(8), report_id=row.id)
                rows.add(found)
            found.every, found.hour, found.weekday = draft.every, draft.hour, draft.weekday
            found.format, found.way, found.addresses = draft.format, draft.way, list(addresses)
            found.due_s = self._next(found)
            found.active, found.stopped, found.error, found.error_s = True, "", "", None
            found.retry_s, found.tries, found.claim, found.claim_until_s, found.handing_over_s = (
                None,
                0,
                None,
                None,
                None,
            )
            rows.flush()
            audit(
                rows, viewer.name, "report.schedule", row.id, "done", address,
                every=draft.every, way=draft.way, addresses=list(addresses), format=draft.format,
            )  # fmt: skip
            return self._report(rows, row, viewer)

    def unschedule(self, viewer: Viewer, report_id: str, schedule_id: str, address: str = "") -> Report:
        """Raises ReportNotFound."""
        with self.db.begin() as rows:
            row = self._own(rows, viewer, report_id, "report.change")
            found = rows.get(ReportSchedule, schedule_id)
            if found is None or found.report_id != row.id:
                raise ReportNotFound
            rows.delete(found)
            rows.flush()
            audit(rows, viewer.name, "report.unschedule", row.id, "done", address)
            return self._report(rows, row, viewer)

    def switch(self, viewer: Viewer, report_id: str, schedule_id: str, *, active: bool, address: str = "") -> Report:
        """Stop a schedule, or go on with one from its next occurrence. Raises ReportNotFound."""
        with self.db.begin() as rows:
            row = self._own(rows, viewer, report_id, "report.change")
            found = rows.get(ReportSchedule, schedule_id)
            if found is None or found.report_id != row.id:
                raise ReportNotFound
            found.active, found.stopped = active, ""
            if active:
                found.due_s, found.retry_s, found.tries = self._next(found), None, 0
            audit(rows, viewer.name, "report.schedule-on" if active else "report.schedule-off", row.id, "done", address)
            return self._report(rows, row, viewer)

    def _next(self, row: ReportSchedule) -> int:
        return times_of(row).after(self.clock(), self.zone)

    def _checked_schedule(self, viewer: Viewer, draft: ScheduleDraft) -> tuple[str, ...]:
        if draft.every not in ("month", "week", "day") or not 0 <= draft.hour <= 23 or not 0 <= draft.weekday <= 6:
            raise ReportRefused("every", "Choose monthly, weekly or daily, and an hour from 0 to 23.")
        if draft.format not in FORMATS:
            raise ReportRefused("format", f"There are {', '.join(FORMATS)}.")
        if draft.way not in WAYS:
            raise ReportRefused("way", "A report goes out by mail or into the site's folder.")
        if draft.way == "folder":
            self.allowed_folder(viewer)
            return ()
        return self.allowed_addresses(viewer, draft.addresses)

    @staticmethod
    def allowed_folder(viewer: Viewer) -> None:
        """Raises ReportRefused."""
        if not policy.allowed(viewer, "report.folder"):
            raise ReportRefused("way", "Only operators may put files into the site's folder.")

    def allowed_addresses(self, viewer: Viewer, wanted: Iterable[str]) -> tuple[str, ...]:
        """Where mails in the viewer's name may go; without `wanted`, to the viewer. Raises ReportRefused."""
        addresses = tuple(dict.fromkeys(each.strip() for each in wanted if each.strip()))
        if not self.settings.mail.host:
            raise ReportRefused("way", "This console sends no mail: there is no mail server (mail.host).")
        if not addresses and not viewer.mail:
            raise ReportRefused("addresses", "Your mail address is not known here.")
        if len(addresses) > MOST_ADDRESSES:
            raise ReportRefused("addresses", f"At most {MOST_ADDRESSES} addresses.")
        anyone = policy.allowed(viewer, "report.mail_anyone")
        for each in addresses:
            try:
                checked_address(each)
            except BadMail as error:
                raise ReportRefused("addresses", str(error)) from error
            if each.casefold() != viewer.mail.casefold() and not anyone:
                raise ReportRefused(
                    "addresses", f"Your reports go to {viewer.mail or 'nobody'}; only operators mail others."
                )
        return addresses


def schedule_of(row: ReportSchedule) -> Schedule:
    return Schedule(
        id=row.id,
        report_id=row.report_id,
        every=row.every,
        weekday=row.weekday,
        hour=row.hour,
        format=row.format,
        way=row.way,
        addresses=tuple(row.addresses),
        active=row.active,
        stopped=row.stopped,
        due_s=row.due_s,
        retry_s=row.retry_s,
        tries=row.tries,
        done_s=row.done_s,
        error=row.error,
        error_s=row.error_s,
        words=times_of(row).words(),
    )


def times_of(row: ReportSchedule) -> Times:
    return Times(row.every, row.hour, row.weekday)  # type: ignore[arg-type]
