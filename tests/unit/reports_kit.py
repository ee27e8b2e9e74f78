"""Saved reports on the small accounts of `usage_rest_kit`, with a clock that tests turn and an inbox.

- `Desk(tmp_path)`: reports, identity and a runner; ada coordinates physics and lasers, olga is an operator.
- `Inbox`: takes the runner's mails; `wrong` is raised instead, `on_send` is called in the middle of sending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from backend.accounting.reports import Draft, Report, ReportRunner, Reports, Schedule, ScheduleDraft
from backend.accounting.usage import Usage
from backend.accounting.warehouse import Warehouse
from backend.identity import Viewer
from backend.notices import Attachment, MailError
from backend.store.models import Audit
from tests.unit.identity_kit import Clock, kit
from tests.unit.usage_kit import at
from tests.unit.usage_rest_kit import fill

NOW_S = at("2026-11-20T12:00")
QUESTION: dict[str, Any] = {"metrics": ["cpu_hours"], "by": ["user"], "window": "month"}
DRAFT = Draft("Usage of the month", QUESTION)
MONTHLY = ScheduleDraft("month", 6, "csv", "mail")
DAILY = ScheduleDraft("day", 6, "csv", "mail")


@dataclass
class Inbox:
    mails: list[tuple[tuple[str, ...], str, str, tuple[Attachment, ...]]] = field(default_factory=list)
    wrong: Exception | None = None
    on_send: Callable[[], None] = lambda: None

    def send(self, to: Iterable[str], subject: str, text: str, attachments: Iterable[Attachment] = ()) -> None:
        self.on_send()
        if self.wrong is not None:
            raise self.wrong
        self.mails.append((tuple(to), subject, text, tuple(attachments)))

    @property
    def attached(self) -> list[str]:
        return [each.content.decode() for mail in self.mails for each in mail[3]]


class Desk:
    def __init__(self, folder: Path, **settings: str) -> None:
        given = {
            "MAIL__HOST": "mail.example.org", "MAIL__SENDER": "carme@example.org",
            "INSTANCE__TIME_ZONE": "UTC", "WEB__PUBLIC_URL": "https://c.example.org",
        }  # fmt: skip
        made = kit(folder, **(given | settings))
        self.settings, self.db, self.identity, self.clock = made.settings, made.db, made.identity, made.clock
        self.clock.now_s = NOW_S
        fill(self.settings.instance.data_dir)
        coordinated = {"ada": frozenset({"physics", "lasers"})}
        self.identity.coordinates_by(lambda name: coordinated.get(name, frozenset()))
        for name, roles in (("ada", ()), ("bob", ()), ("olga", ("operator",)), ("root", ("admin",))):
            self.identity.add_person(
                "console", name, "correct horse battery", roles=roles, mail=f"{name}@example.org",
                uid={"ada": 1001, "bob": 1004}.get(name, 5),
            )  # fmt: skip
        self.members: dict[str, frozenset[str]] = {"bob": frozenset({"biology"}), "ada": frozenset({"physics"})}
        self.inbox = Inbox()
        self.reports = self.process()[0]

    def process(self, clock: Clock | None = None) -> tuple[Reports, ReportRunner]:
        """What one more process on the same data has."""
        usage = Usage(Warehouse(self.settings.instance.data_dir / "accounting", 256), "UTC")
        reports = Reports(
            self.settings, self.db, usage,
            members=lambda name: self.members.get(name, frozenset()), clock=clock or self.clock,
        )  # fmt: skip
        return reports, ReportRunner(reports, self.identity, self.inbox, clock=clock or self.clock)  # type: ignore[arg-type]

    def who(self, name: str) -> Viewer:
        found = self.identity.standing(name)
        assert found is not None
        return found

    def look(self) -> int:
        return self.process()[1].look()

    def sent_at(self, schedule: ScheduleDraft, owner: str = "ada", draft: Draft = DRAFT) -> Report:
        """A new report of the owner's with this schedule."""
        report = self.reports.save(self.who(owner), draft)
        return self.reports.schedule(self.who(owner), report.id, schedule)

    def schedule(self, report: Report) -> Schedule:
        return self.reports.get(self.who(report.owner), report.id).schedules[0]

    def lines(self, action: str) -> list[tuple[str, str, str]]:
        with self.db.read() as rows:
            found = rows.scalars(select(Audit).where(Audit.action == action).order_by(Audit.id))
            return [(line.actor, line.target, line.outcome) for line in found]


NO_SERVER = MailError("The mail server is away.")
