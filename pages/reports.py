"""Reports: questions that are kept; opened with one's own rights, shown to others, mailed or filed at their hours."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from backend.accounting.embeds.facts import drawn_as
from backend.accounting.exports import FORMATS, in_words, scope_in_words
from backend.accounting.reports import (
    WINDOWS,
    Draft,
    Report,
    ReportError,
    ReportRefused,
    Schedule,
    ScheduleDraft,
    resolve,
    scope_for,
    window_words,
)
from backend.accounting.usage import CATALOGUE, TIME, Answer, BadQuestion
from backend.accounting.warehouse import WarehouseUnusable
from backend.identity import Viewer, policy
from backend.services import Services
from pages.parts import charts
from pages.parts.charts.amounts import amount
from pages.parts.charts.groups import called
from pages.parts.charts.look import Look
from pages.parts.desk import Action, Desk, Refused, number, text
from pages.parts.topics import Message
from pages.parts.usage import view
from pages.usage import defaults_of

MOST_SHOWN = 200  # rows of an opened report; a file holds all
MOST_ROWS = 20_000
NARROWEST, WIDEST = 240, 2400


def build(services: Services, viewer: Viewer) -> Any:
    """The page at `/reports`."""
    from pages.shell import page  # the shell knows every page, so it comes last

    return page(services, viewer, "reports")


# -- the list ------------------------------------------------------------------------------------------------


def listed(services: Services, viewer: Viewer) -> Message:
    """The reports the viewer may see, and what they may do with a new one."""
    reports = services.reports.shown(viewer)
    return {
        "reports": [row(report, viewer) for report in reports],
        "accounts": sorted(services.reports.accounts_of(viewer)),
        "mail": bool(services.settings.mail.host),
        "own_mail": viewer.mail,
        "may_mail_anyone": policy.allowed(viewer, "report.mail_anyone"),
        "may_file": policy.allowed(viewer, "report.folder"),
        "folder": str(services.settings.reports.folder) if policy.allowed(viewer, "report.folder") else "",
        "zone": services.settings.instance.time_zone,
        "metrics": [[each.name, each.title] for each in CATALOGUE.metrics],
        "dimensions": [[each.name, each.title] for each in services.usage.catalogue().dimensions],
        "windows": list(WINDOWS.items()),
        "formats": [[name, kind.title] for name, kind in FORMATS.items()],
    }


def row(report: Report, viewer: Viewer) -> Message:
    """One report as JSON values; its question also in words."""
    try:
        words = in_words(resolve(report.question, time.time()))
    except BadQuestion as error:
        words = f"It can't be asked any more: {error}"
    return {
        "id": report.id,
        "name": report.name,
        "owner": report.owner,
        "own": report.owner == viewer.name,
        "may_delete": policy.allowed(viewer, "report.delete", report),
        "question": dict(report.question),
        "words": words,
        "window": window_words(report.question),
        "chart": report.chart,
        "visibility": report.visibility,
        "account": report.account,
        "changed_s": report.changed_s,
        "schedules": [_schedule(each) for each in report.schedules],
    }


def _schedule(schedule: Schedule) -> Message:
    return {**asdict(schedule), "addresses": list(schedule.addresses)}


# -- one report, opened --------------------------------------------------------------------------------------


def opened(services: Services, viewer: Viewer, report_id: str, look: Look) -> Message:
    """Its figures as of now, of the jobs the viewer may see: chart, table, totals, notes. Raises Refused."""
    try:
        report = services.reports.get(viewer, report_id)
        answer = services.reports.ask(viewer, report)
    except (ReportError, BadQuestion) as error:
        raise Refused(str(error)) from error
    except WarehouseUnusable as error:
        raise Refused(f"The accounts can’t be read: {error}") from error
    question = answer.question
    return {
        **row(report, viewer),
        "since_s": question.since_s,
        "until_s": question.until_s,
        "zone": question.zone,
        "scope": scope_in_words(scope_for(report.question, viewer)),
        "as_of_s": answer.as_of_s,
        "picture": picture(answer, report.chart, look),
        "table": table(answer),
        "totals": [[CATALOGUE.metric(name).title, amount(answer.totals.get(name), name)] for name in question.metrics],
        "methods": [[CATALOGUE.metric(name).title, answer.methods[name]] for name in question.metrics],
        "notes": list(answer.notes),
    }


def picture(answer: Answer, chart: str, look: Look) -> Message | None:
    """The chart; None where the report is a table, or nothing can be drawn of it."""
    kind = drawn_as(chart, answer.question)
    if not kind or answer.table.num_rows > MOST_ROWS:
        return None
    try:
        return charts.build(kind, answer, look).message()
    except charts.NothingToDraw:
        return None


def table(answer: Answer) -> Message:
    """The first rows, written for people."""
    question = answer.question
    heads = [[CATALOGUE.dimension(name).title, False] for name in question.by]
    heads += [[CATALOGUE.metric(name).title, True] for name in question.metrics]
    rows = []
    for each in answer.table.slice(0, MOST_SHOWN).to_pylist():
        cells = [str(each[name]) if name in TIME else called(name, each[name]) for name in question.by]
        rows.append(cells + [amount(each[name], name) for name in question.metrics])
    return {"heads": heads, "rows": rows, "count": answer.table.num_rows}


# -- actions -------------------------------------------------------------------------------------------------


async def list_action(desk: Desk, _args: dict[str, Any]) -> Message:
    return await desk.run(listed, desk.services, desk.viewer)


async def open_action(desk: Desk, args: dict[str, Any]) -> Message:
    look = Look(dark=args.get("dark") is True, width=min(WIDEST, max(NARROWEST, number(args, "width", 900))))
    return await desk.run(opened, desk.services, desk.viewer, text(args, "id"), look)


async def save_action(desk: Desk, args: dict[str, Any]) -> Message:
    """A new report, or (with `id`) one changed."""
    question = args.get("question")
    if not isinstance(question, dict):
        raise Refused("That request is not one the page makes.")
    return await _kept(desk, args, question)


async def keep_action(desk: Desk, args: dict[str, Any]) -> Message:
    """A new report of what the usage page shows at the address `query`."""
    try:
        shown = view.read(text(args, "query", view.LONGEST_QUERY), defaults_of(desk.services, desk.viewer))
    except BadQuestion as error:
        raise Refused(str(error), ((error.part, str(error)),)) from error
    return await _kept(desk, args, question_of(shown), chart={"time": "time", "rank": "rank"}.get(shown.chart, ""))


def question_of(shown: view.View) -> dict[str, Any]:
    """The saved question of a view of the usage page. A week's hours, a tree and a capacity are kept as their table."""
    grain = {"time": shown.grain or "day", "week": "hour", "capacity": shown.grain or "day"}.get(shown.chart, "")
    split = {"week": "", "tree": "account", "capacity": "cluster"}.get(shown.chart, shown.by)
    metric = {"wait": "wait_median_s", "capacity": "utilisation"}.get(shown.chart, shown.metric)
    return {
        "metrics": [metric],
        "by": [name for name in (grain, split) if name],
        "where": {name: list(values) for name, values in shown.where},
        "window": shown.window,
        "since": shown.since,
        "until": shown.until,
        "zone": shown.zone,
        "definitions": shown.definitions,
        "order": f"-{metric}" if not grain else "",
        "who": "mine" if shown.who == "mine" else "all",
    }


async def _kept(desk: Desk, args: dict[str, Any], question: Mapping[str, Any], chart: str | None = None) -> Message:
    draft = Draft(
        name=text(args, "name"),
        question=question,
        chart=text(args, "chart") if chart is None else chart,
        visibility=text(args, "visibility") or "private",
        account=text(args, "account"),
    )
    report_id, reports = text(args, "id"), desk.services.reports

    def work() -> Report:
        if report_id:
            return reports.change(desk.viewer, report_id, draft)
        return reports.save(desk.viewer, draft)

    return row(await _done(desk, work), desk.viewer)


async def delete_action(desk: Desk, args: dict[str, Any]) -> Message:
    report_id = text(args, "id")
    await _done(desk, lambda: desk.services.reports.delete(desk.viewer, report_id))
    return {"id": report_id}


async def restore_action(desk: Desk, args: dict[str, Any]) -> Message:
    report_id = text(args, "id")
    return row(await _done(desk, lambda: desk.services.reports.restore(desk.viewer, report_id)), desk.viewer)


async def schedule_action(desk: Desk, args: dict[str, Any]) -> Message:
    """A new schedule of the report, or (with `schedule`) in place of one."""
    draft = ScheduleDraft(
        every=text(args, "every"),
        hour=number(args, "hour", -1),
        weekday=number(args, "weekday"),
        format=text(args, "format"),
        way=text(args, "way"),
        addresses=tuple(each for each in text(args, "addresses", 4000).replace(";", ",").split(",") if each.strip()),
    )
    report_id, schedule_id = text(args, "id"), text(args, "schedule")
    found = await _done(
        desk, lambda: desk.services.reports.schedule(desk.viewer, report_id, draft, schedule_id=schedule_id)
    )
    return row(found, desk.viewer)


async def unschedule_action(desk: Desk, args: dict[str, Any]) -> Message:
    report_id, schedule_id = text(args, "id"), text(args, "schedule")
    found = await _done(desk, lambda: desk.services.reports.unschedule(desk.viewer, report_id, schedule_id))
    return row(found, desk.viewer)


async def switch_action(desk: Desk, args: dict[str, Any]) -> Message:
    report_id, schedule_id, active = text(args, "id"), text(args, "schedule"), args.get("active") is True
    found = await _done(desk, lambda: desk.services.reports.switch(desk.viewer, report_id, schedule_id, active=active))
    return row(found, desk.viewer)


async def _done(desk: Desk, work: Any) -> Any:
    """In a thread; what is refused is told beside the field it is about."""
    try:
        return await desk.run(work)
    except ReportRefused as error:
        raise Refused(str(error), ((error.part, str(error)),)) from error
    except BadQuestion as error:
        raise Refused(str(error), ((error.part, str(error)),)) from error
    except ReportError as error:
        raise Refused(str(error)) from error


ACTIONS: dict[str, Action] = {
    "reports.list": list_action,
    "reports.open": open_action,
    "reports.save": save_action,
    "reports.keep": keep_action,
    "reports.delete": delete_action,
    "reports.restore": restore_action,
    "reports.schedule": schedule_action,
    "reports.unschedule": unschedule_action,
    "reports.switch": switch_action,
}
