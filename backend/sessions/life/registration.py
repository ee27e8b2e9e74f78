"""An agent says on which port its gateway listens. Its host is not believed: the scheduler tells that."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from backend.agent.registration import is_signed, kept_answer, over_answer
from backend.agent.spec import SESSION_ID
from backend.sessions.life.rows import Row, Rows
from backend.sessions.life.submission import secret_purpose
from backend.sessions.model import LIVE_STATES, RegistrationAnswer
from backend.store import NotDecrypted, SecretBox

CLOCK_SKEW_S = 300
CLOCKS_S = 5
MOST_IDLE_S = 10**8
LOWEST_PORT, HIGHEST_PORT = 1024, 65535
APP_STATES = ("starting", "ready", "failed")
REFUSED = RegistrationAnswer(403)
TAKEN = RegistrationAnswer(204)
_NOBODY = "x" * 43  # a message for no session costs the same as one for a session


def secret_of(box: SecretBox, row: Row) -> str:
    """The secret shared with the session's agent. Raises NotDecrypted."""
    return box.decrypt(row.secret, purpose=secret_purpose(row.id)).decode()


@dataclass(frozen=True)
class _Told:
    """What a message says that counts. `sent_s` is by the agent's clock, `idle_since_s` by ours."""

    port: int
    sent_s: float
    apps: Any
    idle_since_s: int | None
    idle_timeout_s: int | None


def register(rows: Rows, box: SecretBox, message: dict[str, Any]) -> tuple[RegistrationAnswer, bool]:
    """Check and keep a message; also whether it changed anything. Only its port, apps and idle time count."""
    session_id = message.get("session")
    known = isinstance(session_id, str) and SESSION_ID.fullmatch(session_id) is not None
    row = rows.get(str(session_id)) if known else None
    try:
        secret = secret_of(box, row) if row is not None else _NOBODY
    except NotDecrypted:
        return REFUSED, False
    told = _told(message) if is_signed(secret, message) else None
    if told is None or row is None:
        return REFUSED, False
    if row.state not in LIVE_STATES:
        return RegistrationAnswer(410, over_answer(secret, message)), False
    changed = _keep(rows, row, told)
    if row.kept_s is not None and told.idle_since_s is not None and told.idle_since_s <= row.kept_s:
        ago_s = max(0, int(time.time()) - row.kept_s)
        return RegistrationAnswer(200, kept_answer(secret, message, ago_s)), changed
    return TAKEN, changed


def _told(message: dict[str, Any]) -> _Told | None:
    port, sent_s = message.get("port"), message.get("time_s")
    if type(port) is not int or not LOWEST_PORT <= port <= HIGHEST_PORT:
        return None
    # (not: further away than that; NaN is neither near nor far)
    if type(sent_s) not in (int, float) or not abs(time.time() - sent_s) <= CLOCK_SKEW_S:  # type: ignore[operator]
        return None
    return _Told(port, float(sent_s), message.get("apps"), **_idle(message))  # type: ignore[arg-type]


def _idle(message: dict[str, Any]) -> dict[str, int | None]:
    """Since when it is idle, by our clock, and after how long it ends itself; what is no number says nothing."""
    told = {name: message.get(name) for name in ("idle_s", "idle_timeout_s")}
    idle_s, limit_s = (value if type(value) is int and 0 < value < MOST_IDLE_S else None for value in told.values())
    since_s = None if idle_s is None else int(time.time()) - idle_s
    return {"idle_since_s": since_s, "idle_timeout_s": limit_s}


def _keep(rows: Rows, row: Row, told: _Told) -> bool:
    before = (row.port, dict(row.apps))

    def decide(fresh: Row) -> dict[str, Any]:
        if fresh.state not in LIVE_STATES or (fresh.registered_s or 0) > told.sent_s:
            return {}
        merged = {name: _state(told.apps, name, state) for name, state in fresh.apps.items()}
        idle = _news(fresh, told)
        same = (fresh.port, dict(fresh.apps)) == (told.port, merged) and not idle
        if same and told.sent_s - (fresh.registered_s or 0) < 30:
            return {}  # nothing new: not worth a version
        return {"port": told.port, "apps": merged, "registered_s": told.sent_s, **idle}

    after = rows.change(row.id, decide)
    return after is not None and (after.port, dict(after.apps)) != before


def _news(row: Row, told: _Told) -> dict[str, int | None]:
    """What is new of its idle time; two clocks' seconds between question and answer are not."""
    before, since_s = row.idle_since_s, told.idle_since_s
    same = before is not None and since_s is not None and abs(before - since_s) <= CLOCKS_S
    found = {"idle_since_s": before if same else since_s, "idle_timeout_s": told.idle_timeout_s}
    return {name: value for name, value in found.items() if getattr(row, name) != value}


def _state(apps: Any, name: str, known: str) -> str:
    told = apps.get(name) if isinstance(apps, dict) else None
    return told if told in APP_STATES else known
