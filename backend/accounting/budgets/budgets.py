"""Budgets: kept by operators, seen by the people of their accounts."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

from sqlalchemy import select

from backend.accounting.budgets.burndown import LONGEST_DAYS, Burndown, burndown
from backend.accounting.budgets.days import day_of, name_of, start_s
from backend.accounting.budgets.model import (
    METRICS,
    BudgetDraft,
    BudgetNotFound,
    BudgetRefused,
    BudgetRow,
    Notice,
    decimal_of,
    plain,
)
from backend.accounting.budgets.people import AccountPeople
from backend.accounting.usage import Usage
from backend.identity import Viewer, policy
from backend.notices import BadMail, checked_address
from backend.store import Database, audit
from backend.store.models import Budget, BudgetNotice

LONGEST_NOTE = 2000
LONGEST_ACCOUNT = 128
MOST_THRESHOLDS = 10
HIGHEST_THRESHOLD = 1000
MOST_WATCHERS = 20
MOST_BUDGETS = 2000


class Budgets:
    """Blocking, used from any thread. Methods raise BudgetNotFound, BudgetRefused."""

    def __init__(
        self,
        db: Database,
        usage: Usage,
        people: AccountPeople,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.db = db
        self.usage = usage
        self.people = people
        self.clock = clock

    @property
    def zone(self) -> str:
        return self.usage.zone

    # -- reading ---------------------------------------------------------------------------------------------

    def every(self) -> list[BudgetRow]:
        """All there are, whoever asks: for the round that watches them."""
        with self.db.read() as rows:
            order = (Budget.account, Budget.project, Budget.from_s.desc(), Budget.id)
            found = rows.scalars(select(Budget).order_by(*order))
            return [_row(row) for row in found]

    def shown(self, viewer: Viewer) -> list[BudgetRow]:
        """Those the viewer may see, by account, the newest period first."""
        found = self.every()
        accounts = self.people.accounts_of(viewer) if found else frozenset()
        return [budget for budget in found if self._sees(viewer, budget, accounts)]

    def get(self, viewer: Viewer, budget_id: str) -> BudgetRow:
        with self.db.read() as rows:
            row = rows.get(Budget, budget_id)
            found = _row(row) if row is not None else None
        if found is None or not self._sees(viewer, found, self.people.accounts_of(viewer)):
            raise BudgetNotFound
        return found

    def burndown(self, budget: BudgetRow) -> Burndown:
        """As of now. What it tells is of the whole account: ask for budgets that the viewer may see."""
        return burndown(self.usage, budget, int(self.clock()) // 60 * 60)  # answers are kept for a minute, then

    def notices(self, budget: BudgetRow) -> list[Notice]:
        """What was told of it, the newest first."""
        with self.db.read() as rows:
            found = rows.scalars(
                select(BudgetNotice)
                .where(BudgetNotice.budget_id == budget.id)
                .order_by(BudgetNotice.reached_s.desc(), BudgetNotice.threshold.desc())
            )
            return [
                Notice(row.threshold, row.used, row.reached_s, row.state, tuple(row.mails), row.edition)
                for row in found
            ]

    def heads(self, budget: BudgetRow) -> frozenset[str]:
        """The accounts that, with those below them, it is a budget of; none of a project that there is no more."""
        if not budget.project:
            return frozenset({budget.account})
        project = self.usage.projects.current().named(budget.project)
        return project.heads if project is not None else frozenset()

    def coordinators(self, budget: BudgetRow) -> frozenset[str]:
        """Of the account, or of each account of the project."""
        found = [self.people.coordinators(account) for account in self.heads(budget)]
        return frozenset.intersection(*found) if found else frozenset()

    def _sees(self, viewer: Viewer, budget: BudgetRow, accounts: frozenset[str]) -> bool:
        """One who would see a budget of each of its accounts. `accounts`: those the viewer belongs to."""

        def sees(account: str) -> bool:
            members = frozenset({viewer.name}) if accounts & self.people.below(account) else frozenset()
            return policy.allowed(viewer, "budget.see", {"account": account, "members": members})

        heads = self.heads(budget)
        return all(sees(account) for account in heads) if heads else policy.allowed(viewer, "budget.see")

    # -- changing --------------------------------------------------------------------------------------------

    def save(self, viewer: Viewer, draft: BudgetDraft, budget_id: str = "", address: str = "") -> BudgetRow:
        """A new budget, or one changed. When what is measured changes, thresholds are told anew."""
        _may_edit(viewer)
        made = self._read(draft)
        with self.db.begin() as rows:
            if budget_id:
                row = rows.get(Budget, budget_id)
                if row is None:
                    raise BudgetNotFound
                if row.ended_s is not None:
                    raise BudgetRefused("account", "This budget was ended. Make a new one.")
                before = _row(row)
                if _measured(before) != _measured(made):
                    row.edition += 1
            else:
                if len(list(rows.scalars(select(Budget.id)))) >= MOST_BUDGETS:
                    raise BudgetRefused("account", f"There are {MOST_BUDGETS} budgets: no more fit.")
                before = None
                row = Budget(
                    id=secrets.token_hex(16), edition=1, created_s=int(self.clock()), created_by=viewer.name
                )
                rows.add(row)
            row.account, row.project = made.account, made.project
            row.metric, row.amount = made.metric, plain(made.amount)
            row.from_s, row.until_s = made.from_s, made.until_s
            row.thresholds, row.watchers, row.note = list(made.thresholds), list(made.watchers), made.note
            audit(
                rows, viewer.name, "budget.change" if before else "budget.make", f"{made.whose} {row.id}",
                address=address, now=self._told(made), before=self._told(before) if before else None,
            )  # fmt: skip
            rows.flush()
            return _row(row)

    def end(self, viewer: Viewer, budget_id: str, address: str = "") -> BudgetRow:
        """End it before its time: nothing of it is told any more; it stays to be looked at."""
        _may_edit(viewer)
        with self.db.begin() as rows:
            row = rows.get(Budget, budget_id)
            if row is None:
                raise BudgetNotFound
            if row.ended_s is None:
                row.ended_s, row.ended_by = int(self.clock()), viewer.name
                audit(rows, viewer.name, "budget.end", f"{_row(row).whose} {row.id}", address=address)
            return _row(row)

    def _told(self, budget: BudgetRow) -> dict[str, object]:
        return {
            "metric": budget.metric, "amount": plain(budget.amount), "from": name_of(budget.from_s, self.zone),
            "until": name_of(budget.until_s - 1, self.zone), "thresholds": list(budget.thresholds),
            "watchers": list(budget.watchers),
        }  # fmt: skip

    def _read(self, draft: BudgetDraft) -> BudgetRow:
        account, project = draft.account.strip(), draft.project
        self._refuse_unknown(account, project)
        if draft.metric not in METRICS:
            raise BudgetRefused("metric", f"A budget is in {', '.join(METRICS.values())}.")
        if draft.metric == "cost" and not self.usage.prices.current().prices:
            raise BudgetRefused("metric", "No prices are set, so nothing has a cost. Set prices first.")
        amount = decimal_of(draft.amount)
        since, until = day_of(draft.since, "since"), day_of(draft.until, "until")
        if until < since:
            raise BudgetRefused("until", "The last day must not be before the first.")
        if (until - since).days >= LONGEST_DAYS:
            raise BudgetRefused("until", "A period is ten years at most.")
        thresholds = tuple(sorted(set(draft.thresholds)))
        if len(thresholds) > MOST_THRESHOLDS or any(not 1 <= each <= HIGHEST_THRESHOLD for each in thresholds):
            raise BudgetRefused("thresholds", f"At most {MOST_THRESHOLDS} whole percents, such as 50, 80, 100.")
        watchers = tuple(dict.fromkeys(each.strip() for each in draft.watchers if each.strip()))
        if len(watchers) > MOST_WATCHERS:
            raise BudgetRefused("watchers", f"At most {MOST_WATCHERS} addresses.")
        for each in watchers:
            try:
                checked_address(each)
            except BadMail as error:
                raise BudgetRefused("watchers", str(error)) from error
        note = draft.note.strip()
        if len(note) > LONGEST_NOTE:
            raise BudgetRefused("note", f"A note has at most {LONGEST_NOTE} characters.")
        until_s = start_s(until + timedelta(days=1), self.zone)
        return BudgetRow(
            "", account, draft.metric, amount, start_s(since, self.zone), until_s, thresholds, watchers, note,
            1, 0, "", None, None, project,
        )  # fmt: skip

    def _refuse_unknown(self, account: str, project: str) -> None:
        if project:
            if account:
                raise BudgetRefused("project", "A budget is of an account or of a project, not of both.")
            if self.usage.projects.current().named(project) is None:
                raise BudgetRefused("project", "There is no project of that name here.")
            return
        if not account or len(account) > LONGEST_ACCOUNT:
            raise BudgetRefused("account", "Choose an account.")
        if account not in self.people.accounts():
            raise BudgetRefused("account", "There is no account of that name here.")


def _may_edit(viewer: Viewer) -> None:
    if not policy.allowed(viewer, "budget.edit"):
        raise BudgetRefused("account", "Only operators and admins make, change and end budgets.")


def _measured(budget: BudgetRow) -> tuple[object, ...]:
    return (budget.account, budget.project, budget.metric, budget.amount, budget.from_s, budget.until_s)


def _row(row: Budget) -> BudgetRow:
    return BudgetRow(
        id=row.id, account=row.account, metric=row.metric, amount=Decimal(row.amount), from_s=row.from_s,
        until_s=row.until_s, thresholds=tuple(row.thresholds), watchers=tuple(row.watchers), note=row.note,
        edition=row.edition, created_s=row.created_s, created_by=row.created_by, ended_s=row.ended_s,
        ended_by=row.ended_by, project=row.project,
    )  # fmt: skip
