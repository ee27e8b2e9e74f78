"""Embeds, as a page makes, lists and ends them: actions of the Reports page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backend.accounting.embeds import EmbedError, EmbedInfo, code_of
from backend.accounting.reports import ReportError
from backend.accounting.usage import BadQuestion
from backend.accounting.warehouse import WarehouseUnusable
from backend.identity import Viewer, policy
from backend.services import Services
from pages.parts.desk import Action, Desk, Refused, number, text
from pages.parts.topics import Message

MOST_SITES = 20


@dataclass(frozen=True)
class Wanted:
    """An embed as the page asks for it. `days`: 0 for the longest there is."""

    report_id: str
    sites: tuple[str, ...]
    live: bool
    days: int


def shown(services: Services, info: EmbedInfo, viewer: Viewer) -> Message:
    code = code_of(services.settings.web.public_url, info)
    return {
        "id": info.id,
        "owner": info.owner,
        "mine": info.owner == viewer.name,
        "report": info.report_id,
        "title": info.title,
        "live": info.live,
        "sites": list(info.origins),
        "created_s": info.created_s,
        "expires_s": info.expires_s,
        "revoked_s": info.revoked_s,
        "url": code.url if code else None,
        "script": code.script if code else None,
        "iframe": code.iframe if code else None,
    }


def listed(services: Services, viewer: Viewer, report_id: str, everyones: bool) -> Message:
    """Embeds that hold, of one report or of all; and what making one takes."""
    now_s = services.embeds.now_s()
    found = [info for info in services.embeds.listed(viewer, everyones=everyones) if info.holds(now_s)]
    return {
        "embeds": [shown(services, info, viewer) for info in found if report_id in ("", info.report_id)],
        "may_see_all": policy.allowed(viewer, "embed.see"),
        "enabled": services.settings.embeds.enabled,
        "max_days": services.settings.embeds.max_days,
    }


async def list_action(desk: Desk, args: dict[str, Any]) -> Message:
    everyones = args.get("everyones") is True
    return await desk.run(listed, desk.services, desk.viewer, text(args, "report"), everyones)


async def make_action(desk: Desk, args: dict[str, Any]) -> Message:
    """An embed of a saved report. Raises Refused with the field to change."""
    sites = args.get("sites")
    if not isinstance(sites, list) or len(sites) > MOST_SITES or not all(isinstance(site, str) for site in sites):
        raise Refused("That request is not one the page makes.")
    wanted = Wanted(text(args, "report"), tuple(sites), args.get("live") is not False, number(args, "days"))
    return await desk.run(make, desk.services, desk.viewer, wanted)


def make(services: Services, viewer: Viewer, wanted: Wanted) -> Message:
    """Raises Refused."""
    try:
        report = services.reports.get(viewer, wanted.report_id)
        info = services.embeds.make(
            viewer, title=report.name, question=report.question, chart=report.chart, origins=wanted.sites,
            live=wanted.live, days=wanted.days or None, report_id=report.id,
        )  # fmt: skip
    except EmbedError as error:
        raise Refused(str(error), (("sites", str(error)),)) from error
    except (ReportError, BadQuestion) as error:
        raise Refused(str(error)) from error
    except WarehouseUnusable as error:
        raise Refused(f"The accounts can’t be read: {error}") from error
    return shown(services, info, viewer)


async def end_action(desk: Desk, args: dict[str, Any]) -> Message:
    """Revoke one."""
    return await desk.run(end, desk.services, desk.viewer, text(args, "embed"))


def end(services: Services, viewer: Viewer, embed_id: str) -> Message:
    """Raises Refused."""
    try:
        return shown(services, services.embeds.revoke(viewer, embed_id), viewer)
    except EmbedError as error:
        raise Refused("There is no such embed of yours.") from error


ACTIONS: dict[str, Action] = {
    "reports.embeds": list_action,
    "reports.embed": make_action,
    "reports.unembed": end_action,
}
