"""Tells when a budget reaches its thresholds: a thread of the collector's process.

A threshold is told once: its row is written before anything is sent, and whoever finds the row there already leaves it
alone. A process that dies in between has told nobody, and the page says so; a mail is never sent twice.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from backend.accounting.budgets.budgets import Budgets
from backend.accounting.budgets.burndown import Burndown, known, totals
from backend.accounting.budgets.days import name_of
from backend.accounting.budgets.model import METRICS, BudgetRow, plain
from backend.accounting.usage import BadQuestion
from backend.accounting.warehouse import WarehouseUnusable
from backend.identity import Viewer
from backend.notices import MailError, NotSureSent
from backend.store import CONSOLE, audit
from backend.store.models import BudgetNotice

log = logging.getLogger("carme.budgets")

LOOK_EVERY_S = 60.0
LATE_S = 7 * 86400  # jobs of a period may become known after its end
RETRY_S = (60, 300, 900, 3600)
MOST_TRIES = len(RETRY_S) + 1
UNSURE = "It may have gone out, and is not sent again."
STOPPED = f"The console was stopped meanwhile. {UNSURE}"


class Sends(Protocol):
    """What mails are sent by: backend.notices.Mailer."""

    @property
    def able(self) -> bool: ...

    def send(self, to: Iterable[str], subject: str, text: str) -> None: ...


class Standing(Protocol):
    """Who people are: backend.identity.Identity."""

    def standing(self, name: str) -> Viewer | None: ...


@dataclass(frozen=True)
class Console:
    """As mails name it."""

    name: str
    url: str


@dataclass(frozen=True)
class _Telling:
    """A notice on its way. `mails`: as far as it got when it was tried before."""

    notice_id: str
    threshold: int
    used: float
    mails: tuple[dict[str, str], ...] = ()
    tries: int = 0


class BudgetWatch:
    """`refresh` is called before each look: people's accounts are those of the newest snapshot."""

    def __init__(
        self,
        budgets: Budgets,
        people: Standing,
        mailer: Sends,
        console: Console,
        *,
        clock: Callable[[], float] = time.time,
        refresh: Callable[[], object] = lambda: None,
    ) -> None:
        self._budgets = budgets
        self._people = people
        self._mailer = mailer
        self._console = console
        self._clock = clock
        self._refresh = refresh

    def run(self, stop: threading.Event) -> None:
        """Until told to stop. What a look meets is logged, and never the end of the thread."""
        self.give_up_stale()
        failed = ""
        while not stop.wait(LOOK_EVERY_S):
            try:
                self.look()
                failed = ""
            except Exception as error:
                if failed != repr(error):  # a lasting failure is logged once
                    failed = repr(error)
                    log.exception("the budgets can't be watched")

    def give_up_stale(self) -> None:
        """At the start: what was being sent ended with the process before, nobody knows how."""
        try:
            with self._budgets.db.begin() as rows:
                rows.execute(
                    update(BudgetNotice)
                    .where(BudgetNotice.state == "sending")
                    .values(state="failed", retry_s=None, mails=[_mail("", "", "unsure", STOPPED)])
                )
        except SQLAlchemyError:
            log.exception("the budgets' notices of before can't be cleared")

    def look(self) -> int:
        """One round; returns how many thresholds were found to be reached."""
        self._refresh()
        now_s = int(self._clock())
        found = 0
        for budget in self._budgets.every():
            if budget.ended_s is not None or not budget.from_s <= now_s < budget.until_s + LATE_S:
                continue
            if not budget.thresholds or not known(self._budgets.usage, budget):
                continue
            try:
                used = totals(self._budgets.usage, budget, now_s)
            except (WarehouseUnusable, BadQuestion) as error:
                log.warning("the budget of %s can't be reckoned: %s", budget.whose, error)
                continue
            found += self._reached(budget, used, now_s)
        self._try_again(now_s)
        return found

    def _reached(self, budget: BudgetRow, used: float, now_s: int) -> int:
        """Rows for thresholds that are reached and were not; a mail about the highest."""
        share = 100 * used / float(budget.amount)
        reached = [each for each in budget.thresholds if share >= each]
        if not reached:
            return 0
        with self._budgets.db.read() as rows:
            known = set(rows.scalars(select(BudgetNotice.threshold).where(
                BudgetNotice.budget_id == budget.id, BudgetNotice.edition == budget.edition
            )))  # fmt: skip
        new = [each for each in reached if each not in known]
        highest = bool(new) and new[-1] == reached[-1]
        count = 0
        for threshold in new:
            tell = highest and threshold == new[-1]
            notice_id = self._claim(budget, threshold, used, now_s, "sending" if tell else "passed")
            if notice_id is None:  # another process was first
                continue
            count += 1
            if tell:
                self._tell(budget, _Telling(notice_id, threshold, used))
        return count

    def _claim(self, budget: BudgetRow, threshold: int, used: float, now_s: int, state: str) -> str | None:
        notice_id = secrets.token_hex(16)
        try:
            with self._budgets.db.begin() as rows:
                rows.add(BudgetNotice(
                    id=notice_id, budget_id=budget.id, edition=budget.edition, threshold=threshold, used=used,
                    reached_s=now_s, state=state, tries=0, mails=[],
                ))  # fmt: skip
                audit(rows, CONSOLE, "budget.reached", f"{budget.whose} {budget.id}", threshold=threshold, used=used)
        except IntegrityError:
            return None
        return notice_id

    # -- mails -----------------------------------------------------------------------------------------------

    def _to(self, budget: BudgetRow) -> list[dict[str, str]]:
        """The coordinators of its accounts and the budget's watchers, each address once."""
        found: list[dict[str, str]] = []
        for name in sorted(self._budgets.coordinators(budget)):
            person = self._people.standing(name)
            if person is None or not person.mail:
                found.append(_mail("", name, "failed", "No mail address is known."))
            else:
                found.append(_mail(person.mail, name, "waiting"))
        known = {each["to"].casefold() for each in found if each["to"]}
        found += [_mail(each, "", "waiting") for each in budget.watchers if each.casefold() not in known]
        return found

    def _tell(self, budget: BudgetRow, telling: _Telling) -> None:
        """A mail to each who has none yet; how it went is kept with the notice."""
        mails = list(telling.mails) or self._to(budget)
        if not self._mailer.able:
            mails = [each | {"state": "failed", "why": "This console sends no mail."} for each in mails]
        subject, words = self._letter(budget, telling.threshold, telling.used)
        again = False
        for mail in mails:
            if mail["state"] != "waiting":
                continue
            try:
                self._mailer.send((mail["to"],), subject, words)
                mail |= {"state": "sent", "why": ""}
            except NotSureSent as error:
                mail |= {"state": "unsure", "why": f"{error} {UNSURE}"}
            except MailError as error:
                last = error.for_good or telling.tries + 1 >= MOST_TRIES
                mail |= {"state": "failed" if last else "waiting", "why": str(error)}
                again = again or not last
        states = {each["state"] for each in mails}
        state = "nobody" if not mails else "waiting" if again else "told" if "sent" in states else "failed"
        with self._budgets.db.begin() as rows:
            row = rows.get(BudgetNotice, telling.notice_id)
            if row is None:
                return
            row.mails, row.state, row.tries = [dict(each) for each in mails], state, telling.tries + 1
            row.retry_s = int(self._clock()) + RETRY_S[min(telling.tries, len(RETRY_S) - 1)] if again else None
            audit(
                rows, CONSOLE, "budget.told", f"{budget.whose} {budget.id}",
                "done" if state in ("told", "nobody") else "failed", threshold=telling.threshold,
                mails=[[each["to"] or each["who"], each["state"]] for each in mails],
            )  # fmt: skip

    def _try_again(self, now_s: int) -> None:
        """Mails that certainly did not go out."""
        budgets = {budget.id: budget for budget in self._budgets.every()}
        with self._budgets.db.read() as rows:
            due = list(rows.scalars(select(BudgetNotice).where(
                BudgetNotice.state == "waiting", BudgetNotice.retry_s <= now_s
            )))  # fmt: skip
        for row in due:
            budget = budgets.get(row.budget_id)
            if budget is None or budget.ended_s is not None or budget.edition != row.edition:
                self._give_up(row)
                continue
            with self._budgets.db.begin() as rows:
                taken: CursorResult[Any] = rows.execute(  # type: ignore[assignment]
                    update(BudgetNotice)
                    .where(BudgetNotice.id == row.id, BudgetNotice.state == "waiting", BudgetNotice.tries == row.tries)
                    .values(state="sending", retry_s=None)
                )
            if taken.rowcount == 1:
                mails = tuple(dict(each) for each in row.mails)
                self._tell(budget, _Telling(row.id, row.threshold, row.used, mails, row.tries))

    def _give_up(self, row: BudgetNotice) -> None:
        with self._budgets.db.begin() as rows:
            rows.execute(
                update(BudgetNotice)
                .where(BudgetNotice.id == row.id, BudgetNotice.state == "waiting")
                .values(state="failed", retry_s=None)
            )

    def _letter(self, budget: BudgetRow, threshold: int, used: float) -> tuple[str, str]:
        zone = self._budgets.zone
        currency = self._budgets.usage.prices.current().currency
        unit = currency if budget.metric == "cost" else METRICS[budget.metric]
        amount = float(budget.amount)
        ahead = _ahead(self._budgets.burndown(budget))
        lines = [
            f"The budget of {budget.whose} has reached {threshold} %.",
            "",
            f"Used: {used:,.2f} of {plain(budget.amount)} {unit} ({100 * used / amount:.1f} %)",
            f"Left: {amount - used:,.2f} {unit}",
            f"Period: {name_of(budget.from_s, zone)} to {name_of(budget.until_s - 1, zone)} ({zone})",
            *([ahead] if ahead else []),
            "",
            f"{self._console.url}/budgets?budget={budget.id}",
            "",
            f"Reckoned {datetime.fromtimestamp(self._clock(), ZoneInfo(zone)):%Y-%m-%d %H:%M} by {self._console.name}. "
            "It is told once for each threshold, to its coordinators and those who watch the budget.",
        ]
        whose = "".join(each if each.isprintable() else " " for each in budget.whose)
        return f"{self._console.name}: {threshold} % of the budget of {whose} is used", "\n".join(lines)


def _ahead(made: Burndown) -> str:
    if made.forecast is None or made.forecast.out_day is None:
        return ""
    return f"At the pace of the last weeks it is used up on {made.forecast.out_day.isoformat()}."


def _mail(to: str, who: str, state: str, why: str = "") -> dict[str, str]:
    return {"to": to, "who": who, "state": state, "why": why}
