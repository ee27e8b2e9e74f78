"""The shell: one document serves every page, since navigation swaps the content within it."""

from __future__ import annotations

import time
from typing import Any

from panel.io.state import state

from backend.identity import Viewer, policy
from backend.services import Services
from pages.admin import ACTIONS as ADMIN_ACTIONS
from pages.budgets import ACTIONS as BUDGETS_ACTIONS
from pages.cluster import ACTIONS as CLUSTER_ACTIONS
from pages.cluster import TOPICS as CLUSTER_TOPICS
from pages.home import TOPICS as HOME_TOPICS
from pages.job import ACTIONS as JOB_ACTIONS
from pages.jobs import ACTIONS as JOBS_ACTIONS
from pages.launch import ACTIONS as LAUNCH_ACTIONS
from pages.launch import TOPICS as LAUNCH_TOPICS
from pages.parts import console
from pages.parts.desk import Action, Desk
from pages.parts.embedding import ACTIONS as EMBEDDING_ACTIONS
from pages.parts.live import Live
from pages.parts.sparks import TOPICS as SPARKS_TOPICS
from pages.parts.topics import to_json
from pages.parts.usage.view import whose
from pages.reports import ACTIONS as REPORTS_ACTIONS
from pages.sessions import ACTIONS as SESSIONS_ACTIONS
from pages.sessions import TOPICS as SESSIONS_TOPICS
from pages.truth import ACTIONS as TRUTH_ACTIONS
from pages.truth import TOPICS as TRUTH_TOPICS
from pages.usage import ACTIONS as USAGE_ACTIONS
from pages.usage import TOPICS as USAGE_TOPICS
from pages.waste import ACTIONS as WASTE_ACTIONS
from pages.waste import TOPICS as WASTE_TOPICS

TOPICS = (
    *HOME_TOPICS, *CLUSTER_TOPICS, *LAUNCH_TOPICS, *SESSIONS_TOPICS, *USAGE_TOPICS, *TRUTH_TOPICS, *SPARKS_TOPICS,
    *WASTE_TOPICS,
)  # fmt: skip
ACTIONS: dict[str, Action] = {
    **CLUSTER_ACTIONS, **JOB_ACTIONS, **JOBS_ACTIONS, **LAUNCH_ACTIONS, **SESSIONS_ACTIONS, **USAGE_ACTIONS,
    **REPORTS_ACTIONS, **EMBEDDING_ACTIONS, **BUDGETS_ACTIONS, **TRUTH_ACTIONS, **WASTE_ACTIONS,
    **ADMIN_ACTIONS,
}  # fmt: skip
FIRST_TOPICS = {
    "home": ("fresh", "home", "mine", "quick", "sparks"),
    "sessions": ("fresh", "mine", "sparks"),
    "cluster": ("fresh", "home", "mine"),
    "launch": ("fresh", "home", "mine"),
    "usage": ("fresh", "mine", "usage"),
}

_lives: dict[int, Live] = {}


def live_of(services: Services) -> Live:
    """The process's poller for these services; it begins with the first page."""
    if id(services) not in _lives:
        _lives[id(services)] = Live(services, TOPICS)
    return _lives[id(services)]


async def watch(desk: Desk, args: dict[str, Any]) -> None:
    """The topics that the page shows from now on."""
    desk.live.start()
    keys, have = args.get("keys"), args.get("have")
    if isinstance(keys, list) and isinstance(have, dict):
        await desk.live.watch(desk, [key for key in keys if isinstance(key, str)], have)


def page(services: Services, viewer: Viewer, name: str) -> Any:
    """A new document, opening at the page called `name`."""
    live = live_of(services)
    desk = Desk(services, viewer, live, {**ACTIONS, "topics": watch})
    shown = console.Console(desk, name, boot=boot(services, viewer, live, name))
    document = state.curdoc
    if document is not None:
        document.config.update(reconnect_session=True, notify_connection_status=False)
        desk.sit_down(document)
    return shown


def boot(services: Services, viewer: Viewer, live: Live, name: str) -> str:
    """What the browser draws its first picture from: who, where to, and the topics that are at hand."""
    from pages.catalogue import PAGES

    topics = {topic: live.peek(topic, viewer) for topic in FIRST_TOPICS.get(name, ("fresh", "mine"))}
    return to_json(
        {
            "page": name,
            "instance": services.settings.instance.name,
            "zone": services.settings.instance.time_zone,
            "now": round(time.time(), 1),
            "idle_warn_s": services.settings.sessions.idle_warn_s,
            "viewer": {
                "name": viewer.name,
                "display": viewer.display_name,
                "roles": sorted(viewer.roles - {"user"}),
            },
            "all_jobs": policy.allowed(viewer, "jobs.all") or bool(viewer.coordinates),
            "usage_who": whose(viewer),
            "csrf": services.identity.csrf_token(viewer.login_id),
            "paths": {"account": "/account", "sign_out": "/logout", "csrf_field": "csrf"},
            "nav": [
                {"path": item.path, "title": item.title, "icon": item.icon, "name": item.name, "hidden": item.hidden}
                for item in PAGES
                if item.roles & viewer.roles
            ],
            "topics": {key: {"v": known[0], "data": known[1]} for key, known in topics.items() if known},
        }
    )
