"""Budgets: what accounts may use and have used, where that goes, who was told; and the price list."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from backend.accounting.budgets import (
    METHOD,
    METRICS,
    THRESHOLDS,
    BudgetDraft,
    BudgetError,
    BudgetRefused,
    BudgetRow,
    Burndown,
    Notice,
    PriceDraft,
    name_of,
    plain,
)
from backend.accounting.usage import BadQuestion
from backend.accounting.warehouse import WarehouseUnusable
from backend.identity import Viewer, policy
from backend.services import Services
from pages.parts.charts.burndown import burndown as chart_of
from pages.parts.charts.look import Look
from pages.parts.desk import Action, Desk, Refused, number, text
from pages.parts.topics import Message

NARROWEST, WIDEST = 240, 2400
LONGEST_LIST = 6000
T = TypeVar("T")


def build(services: Services, viewer: Viewer) -> Any:
    """The page at `/budgets`."""
    from pages.shell import page  # the shell knows every page, so it comes last

    return page(services, viewer, "budgets")


# -- what is shown -------------------------------------------------------------------------------------------


def listed(services: Services, viewer: Viewer) -> Message:
    """The budgets the viewer may see, and what a new one may be."""
    budgets = services.budgets
    may_edit = policy.allowed(viewer, "budget.edit")
    return {
        "budgets": [row(services, budgets.burndown(budget)) for budget in budgets.shown(viewer)],
        "may_edit": may_edit,
        "may_price": policy.allowed(viewer, "prices.edit"),
        "accounts": budgets.people.accounts() if may_edit else [],
        "projects": [[each.name, each.title] for each in services.usage.projects.current().listed] if may_edit else [],
        "metrics": [[name, _unit_title(services, name)] for name in METRICS],
        "priced": bool(services.prices.current().prices),
        "thresholds": list(THRESHOLDS),
        "mail": bool(services.settings.mail.host),
        "today": name_of(int(time.time()), budgets.zone),
        "zone": budgets.zone,
    }


def row(services: Services, made: Burndown) -> Message:
    """A budget with its totals as JSON values."""
    budget, zone = made.budget, services.budgets.zone
    unit = _unit(services, budget.metric)
    forecast = made.forecast
    project = services.usage.projects.current().named(budget.project)
    return {
        "id": budget.id,
        "account": budget.account,
        "project": budget.project,
        "project_title": project.title if project is not None else budget.project,
        "project_accounts": list(project.accounts) if project is not None else [],
        "metric": budget.metric,
        "metric_title": METRICS[budget.metric],
        "unit": unit,
        "amount": plain(budget.amount),
        "total": float(budget.amount),
        "used": made.total,
        "since": name_of(budget.from_s, zone),
        "until": name_of(budget.until_s - 1, zone),
        "now_s": made.now_s,
        "from_s": budget.from_s,
        "until_s": budget.until_s,
        "thresholds": list(budget.thresholds),
        "note": budget.note,
        "ended_s": budget.ended_s,
        "used_up": _iso(made.used_up),
        "forecast": None
        if forecast is None
        else {
            "end": [forecast.low[-1], forecast.middle[-1], forecast.high[-1]],
            "out": _iso(forecast.out_day),
            "early": _iso(forecast.out_early),
            "late": _iso(forecast.out_late),
            "days": forecast.history_days,
        },
        "why_none": made.why_none,
    }


def opened(services: Services, viewer: Viewer, budget_id: str, look: Look) -> Message:
    """One budget: chart, table, forecast, and who was told what. Raises BudgetNotFound."""
    budget = services.budgets.get(viewer, budget_id)
    made = services.budgets.burndown(budget)
    chart = chart_of(made, look, unit=_unit(services, budget.metric), zone=services.budgets.zone)
    may_edit = policy.allowed(viewer, "budget.edit")
    return {
        **row(services, made),
        "picture": chart.message(),
        "method": METHOD,
        "notes": list(made.notes),
        "zone": services.budgets.zone,
        "may_edit": may_edit,
        "watchers": list(budget.watchers) if may_edit else [],
        "created_by": budget.created_by,
        "ended_by": budget.ended_by,
        "told": [_told(each, budget, may_edit) for each in services.budgets.notices(budget)],
    }


def _told(notice: Notice, budget: BudgetRow, addresses: bool) -> Message:
    """Mail addresses are for those who keep budgets; others see how many were told."""
    return {
        "threshold": notice.threshold,
        "used": notice.used,
        "reached_s": notice.reached_s,
        "state": notice.state,
        "before": notice.edition != budget.edition,
        "sent": sum(mail["state"] == "sent" for mail in notice.mails),
        "mails": [dict(mail) for mail in notice.mails] if addresses else [],
    }


def prices(services: Services, viewer: Viewer) -> Message:
    """The price list: everybody may know what usage costs."""
    now_s = int(time.time())
    zone = services.budgets.zone
    return {
        "prices": [
            {
                "id": each.id,
                "tres": each.tres,
                "partition": each.partition,
                "qos": each.qos,
                "amount": each.amount,
                "from": name_of(each.from_s, zone),
                "until": name_of(each.until_s - 1, zone) if each.until_s is not None else "",
                "state": "coming" if each.from_s > now_s
                else "past" if each.until_s is not None and each.until_s <= now_s else "now",
                "by": each.created_by,
                "created_s": each.created_s,
            }
            for each in services.prices.listed()
        ],
        "currency": services.prices.current().currency,
        "may_price": policy.allowed(viewer, "prices.edit"),
        "today": name_of(now_s, zone),
        "zone": zone,
        **_names(services),
    }  # fmt: skip


def _names(services: Services) -> Message:
    """What a price can be narrowed to, as far as the snapshot knows."""
    current = services.snapshots.current
    return {
        "partitions": sorted({name for name in current.partitions.table["name"].to_pylist() if name}),
        "qos": sorted({name for name in current.qos.table["name"].to_pylist() if name}),
    }


def _unit(services: Services, metric: str) -> str:
    return services.prices.current().currency if metric == "cost" else "h"


def _unit_title(services: Services, metric: str) -> str:
    currency = services.prices.current().currency
    return f"{METRICS[metric]} ({currency})" if metric == "cost" and currency else METRICS[metric]


def _iso(day: Any) -> str:
    return day.isoformat() if day is not None else ""


# -- actions -------------------------------------------------------------------------------------------------


async def list_action(desk: Desk, _args: dict[str, Any]) -> Message:
    return await _done(desk, lambda: listed(desk.services, desk.viewer))


async def open_action(desk: Desk, args: dict[str, Any]) -> Message:
    look = Look(dark=args.get("dark") is True, width=min(WIDEST, max(NARROWEST, number(args, "width", 900))))
    budget_id = text(args, "id")
    return await _done(desk, lambda: opened(desk.services, desk.viewer, budget_id, look))


async def save_action(desk: Desk, args: dict[str, Any]) -> Message:
    """A new budget, or (with `id`) one changed."""
    draft = BudgetDraft(
        account=text(args, "account"),
        project=text(args, "project"),
        metric=text(args, "metric"),
        amount=text(args, "amount"),
        since=text(args, "since"),
        until=text(args, "until"),
        thresholds=_thresholds(text(args, "thresholds")),
        watchers=tuple(text(args, "watchers", LONGEST_LIST).replace(";", ",").split(",")),
        note=text(args, "note", LONGEST_LIST),
    )
    budget_id = text(args, "id")

    def work() -> Message:
        budget = desk.services.budgets.save(desk.viewer, draft, budget_id)
        return row(desk.services, desk.services.budgets.burndown(budget))

    return await _done(desk, work)


def _thresholds(given: str) -> tuple[int, ...]:
    """Raises Refused."""
    found = []
    for each in given.replace("%", " ").replace(";", ",").split(","):
        if not each.strip():
            continue
        if not (each.strip().isascii() and each.strip().isdigit() and len(each.strip()) <= 6):
            words = f"{each.strip()[:20]!r} is no whole percent. Write them like 50, 80, 100."
            raise Refused(words, (("thresholds", words),))
        found.append(int(each))
    return tuple(found)


async def end_action(desk: Desk, args: dict[str, Any]) -> Message:
    budget_id = text(args, "id")

    def work() -> Message:
        return row(desk.services, desk.services.budgets.burndown(desk.services.budgets.end(desk.viewer, budget_id)))

    return await _done(desk, work)


async def prices_action(desk: Desk, _args: dict[str, Any]) -> Message:
    return await _done(desk, lambda: prices(desk.services, desk.viewer))


async def price_action(desk: Desk, args: dict[str, Any]) -> Message:
    draft = PriceDraft(
        tres=text(args, "tres"), amount=text(args, "amount"), day=text(args, "day"),
        partition=text(args, "partition"), qos=text(args, "qos"),
    )  # fmt: skip

    def work() -> Message:
        desk.services.prices.set(desk.viewer, draft)
        return prices(desk.services, desk.viewer)

    return await _done(desk, work)


async def withdraw_action(desk: Desk, args: dict[str, Any]) -> Message:
    price_id = text(args, "id")

    def work() -> Message:
        desk.services.prices.withdraw(desk.viewer, price_id)
        return prices(desk.services, desk.viewer)

    return await _done(desk, work)


async def currency_action(desk: Desk, args: dict[str, Any]) -> Message:
    currency = text(args, "currency")

    def work() -> Message:
        desk.services.prices.set_currency(desk.viewer, currency)
        return prices(desk.services, desk.viewer)

    return await _done(desk, work)


async def _done(desk: Desk, work: Callable[[], T]) -> T:
    """In a thread; what is refused is told beside the field it is about."""
    try:
        return await desk.run(work)
    except BudgetRefused as error:
        raise Refused(str(error), ((error.part, str(error)),)) from error
    except (BudgetError, BadQuestion) as error:
        raise Refused(str(error)) from error
    except WarehouseUnusable as error:
        raise Refused(f"The accounts can’t be read: {error}") from error


ACTIONS: dict[str, Action] = {
    "budgets.list": list_action,
    "budgets.open": open_action,
    "budgets.save": save_action,
    "budgets.end": end_action,
    "budgets.prices": prices_action,
    "budgets.price": price_action,
    "budgets.withdraw": withdraw_action,
    "budgets.currency": currency_action,
}
