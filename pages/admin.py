"""Admin: what the console finds when it looks at itself, what it keeps on disk and for how long, who changed what."""

from __future__ import annotations

import shutil
import time
from typing import Any, get_args

from backend.accounting.warehouse import WarehouseUnusable
from backend.checks import examine
from backend.identity import Viewer, policy
from backend.services import Services
from backend.store import Asked, Outcome, kinds, trail
from backend.store.models import Audit
from config import sections
from pages.parts.desk import Action, Desk, Refused, number, text
from pages.parts.topics import Message

LINES = 100  # of the audit at once
OUTCOMES: dict[str, Outcome | None] = {"": None, **{each: each for each in get_args(Outcome)}}


def build(services: Services, viewer: Viewer) -> Any:
    """The page at `/admin`."""
    from pages.shell import page  # the shell knows every page, so it comes last

    return page(services, viewer, "admin")


# -- what is shown -------------------------------------------------------------------------------------------


def look(services: Services, viewer: Viewer) -> Message:
    """What is kept, and where."""
    data_dir = services.settings.instance.data_dir
    disk = shutil.disk_usage(data_dir)
    return {
        "data_dir": str(data_dir),
        "disk": {"total_bytes": disk.total, "used_bytes": disk.used, "free_bytes": disk.free},
        "telemetry": _telemetry(services),
        "accounts": _accounts(services),
        "database": {
            "address": services.db.url.render_as_string(hide_password=True), "size_bytes": services.db.size_bytes(),
        },
        "may_audit": policy.allowed(viewer, "audit.see"),
    }  # fmt: skip


def _telemetry(services: Services) -> Message:
    settings, state = services.settings.telemetry, services.telemetry.state
    return {
        "source": settings.source,
        "url": settings.prometheus_url if settings.source == "prometheus" else "",
        "as_of_s": state.as_of_s,
        "error": state.error or "",
        "error_since_s": state.error_since_s,
        "kept": [
            {"tier": each.tier, "size_bytes": each.size_bytes, "rows": each.rows, "since_s": each.since_s,
             "until_s": each.until_s, **_for(settings, each.tier)}
            for each in state.kept
        ],
    }  # fmt: skip


def _for(settings: sections.Telemetry, tier: str) -> Message:
    """For how many days, 0 for ever, by which setting; of minutes the days after those of the samples."""
    if tier == "raw":
        return {"days": settings.raw_days, "setting": "telemetry.raw_days"}
    if tier == "minute":
        return {"days": settings.minute_days, "setting": "telemetry.minute_days"}
    if tier in ("archive", "jobs"):
        return {"days": settings.archive_days, "setting": "telemetry.archive_days"}
    return {"days": None, "setting": ""}


def _accounts(services: Services) -> Message:
    error = ""
    try:
        services.warehouse.refresh()
    except WarehouseUnusable as failure:
        error = str(failure)
    sizes = services.warehouse.sizes()
    return {
        "error": error,
        "clusters": [
            {"name": name, "source": state.source, "size_bytes": sizes[name], "rows": state.rows + state.open_rows,
             "since_s": state.oldest_s, "until_s": state.synced_s, "progress": state.progress, "error": state.error,
             "error_since_s": state.error_since_s}
            for name, state in sorted(services.warehouse.state.clusters.items())
        ],
    }  # fmt: skip


def check(services: Services) -> Message:
    """What `carme doctor` finds now. Takes seconds."""
    return {"findings": [finding.facts() for finding in examine(services.settings)], "at_s": time.time()}


def audit(services: Services, viewer: Viewer, asked: Asked) -> Message:
    """Lines of the audit, the newest first. Raises Refused."""
    if not policy.allowed(viewer, "audit.see"):
        raise Refused("The audit is open to admins only.")
    found = trail(services.db, asked, LINES + 1)
    return {
        "lines": [_line(line) for line in found[:LINES]],
        "more": len(found) > LINES,
        "kinds": kinds(services.db) if asked.before is None else [],
    }


def _line(line: Audit) -> Message:
    return {
        "id": line.id, "time_s": line.time_s, "actor": line.actor, "action": line.action, "target": line.target,
        "outcome": line.outcome, "address": line.address, "detail": line.detail,
    }  # fmt: skip


# -- actions -------------------------------------------------------------------------------------------------


async def look_action(desk: Desk, _args: dict[str, Any]) -> Message:
    return await desk.run(look, desk.services, desk.viewer)


async def check_action(desk: Desk, _args: dict[str, Any]) -> Message:
    return await desk.ask(check, desk.services)


async def audit_action(desk: Desk, args: dict[str, Any]) -> Message:
    outcome = text(args, "outcome")
    if outcome not in OUTCOMES:
        raise Refused("That request is not one the page makes.")
    asked = Asked(
        text=text(args, "text", 255), kind=text(args, "kind", 64), outcome=OUTCOMES[outcome],
        before=number(args, "before") or None,
    )  # fmt: skip
    return await desk.ask(audit, desk.services, desk.viewer, asked)


ACTIONS: dict[str, Action] = {"admin.look": look_action, "admin.check": check_action, "admin.audit": audit_action}
