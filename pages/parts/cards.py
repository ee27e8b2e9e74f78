"""A session as the browser draws it, on Home and on Sessions."""

from __future__ import annotations

from typing import Any

from backend.sessions import Session
from backend.sessions.apps import APPS


def app_title(name: str) -> str:
    """What people call the app."""
    return APPS[name].title if name in APPS else name


def card(session: Session) -> dict[str, Any]:
    """Its facts as JSON values; nothing here is a secret."""
    return {
        "id": session.id,
        "name": session.title or app_title(session.request.app),
        "title": session.title,
        "app_title": app_title(session.request.app),
        "state": session.state,
        "live": session.live,
        "job_id": session.job_id,
        "node": session.node,
        "account": session.account or session.request.account,
        "request": session.request.to_dict(),
        "apps": [{"name": name, "title": app_title(name), "state": state} for name, state in session.apps.items()],
        "reason": session.reason,
        "exit_code": session.exit_code,
        "created_s": session.created_s,
        "start_s": session.start_s,
        "start_expected": session.start_expected,
        "limit_end_s": session.limit_end_s,
        "ready_s": session.ready_s,
        "end_s": session.end_s,
        "idle_since_s": session.idle_since_s,
        "idle_end_s": session.idle_end_s,
    }
