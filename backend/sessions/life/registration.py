"""An agent says on which port its gateway listens. Its host is not believed: the scheduler tells that."""

from __future__ import annotations

import time
from typing import Any

from backend.agent.registration import is_signed, over_answer
from backend.agent.spec import SESSION_ID
from backend.sessions.life.rows import Row, Rows
from backend.sessions.life.submission import secret_purpose
from backend.sessions.model import LIVE_STATES, RegistrationAnswer
from backend.store import NotDecrypted, SecretBox

CLOCK_SKEW_S = 300
LOWEST_PORT, HIGHEST_PORT = 1024, 65535
APP_STATES = ("starting", "ready", "failed")
REFUSED = RegistrationAnswer(403)
TAKEN = RegistrationAnswer(204)
_NOBODY = "x" * 43  # a message for no session costs the same as one for a session


def secret_of(box: SecretBox, row: Row) -> str:
    """The secret shared with the session's agent. Raises NotDecrypted."""
    return box.decrypt(row.secret, purpose=secret_purpose(row.id)).decode()


def register(rows: Rows, box: SecretBox, message: dict[str, Any]) -> tuple[RegistrationAnswer, bool]:
    """Check and keep a message; also whether it changed anything. Only its port and apps count."""
    session_id = message.get("session")
    known = isinstance(session_id, str) and SESSION_ID.fullmatch(session_id) is not None
    row = rows.get(str(session_id)) if known else None
    try:
        secret = secret_of(box, row) if row is not None else _NOBODY
    except NotDecrypted:
        return REFUSED, False
    if not is_signed(secret, message) or row is None:
        return REFUSED, False
    port, sent_s, apps = message.get("port"), message.get("time_s"), message.get("apps")
    if type(port) is not int or not LOWEST_PORT <= port <= HIGHEST_PORT:
        return REFUSED, False
    # (not: further away than that; NaN is neither near nor far)
    if type(sent_s) not in (int, float) or not abs(time.time() - sent_s) <= CLOCK_SKEW_S:  # type: ignore[operator]
        return REFUSED, False
    if row.state not in LIVE_STATES:
        return RegistrationAnswer(410, over_answer(secret, message)), False
    return TAKEN, _keep(rows, row, port, float(sent_s), apps)  # type: ignore[arg-type]


def _keep(rows: Rows, row: Row, port: int, sent_s: float, apps: Any) -> bool:
    before = (row.port, dict(row.apps))

    def decide(fresh: Row) -> dict[str, Any]:
        if fresh.state not in LIVE_STATES or (fresh.registered_s or 0) > sent_s:
            return {}
        merged = {name: _state(apps, name, state) for name, state in fresh.apps.items()}
        if (fresh.port, dict(fresh.apps)) == (port, merged) and sent_s - (fresh.registered_s or 0) < 30:
            return {}  # nothing new: not worth a version
        return {"port": port, "apps": merged, "registered_s": sent_s}

    after = rows.change(row.id, decide)
    return after is not None and (after.port, dict(after.apps)) != before


def _state(apps: Any, name: str, known: str) -> str:
    told = apps.get(name) if isinstance(apps, dict) else None
    return told if told in APP_STATES else known
