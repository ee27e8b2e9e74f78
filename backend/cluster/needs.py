"""Which jobs the console's own sessions want to know about, from its database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select

from backend.store import Database
from backend.store.models import Session

# A session in one of these wants its job's row every few seconds
WAITING_STATES = frozenset(["pending", "starting", "stopping"])
LIVE_STATES = frozenset(["submitting", "pending", "starting", "ready", "stopping"])


@dataclass(frozen=True)
class SessionJob:
    """A live session's job."""

    session_id: str
    job_id: int
    waiting: bool  # it is not ready yet, or is being stopped


SessionJobs = Callable[[], list[SessionJob]]


def session_jobs(db: Database, cluster: str) -> list[SessionJob]:
    """The jobs of all live sessions of a cluster."""
    wanted = select(Session.id, Session.job_id, Session.state).where(
        Session.state.in_(LIVE_STATES), Session.job_id.is_not(None), Session.cluster == cluster
    )
    with db.read() as look:
        rows = look.execute(wanted).all()
    return [
        SessionJob(identity, number, state in WAITING_STATES) for identity, number, state in rows if number is not None
    ]
