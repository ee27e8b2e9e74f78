"""What was written into the audit: who changed what."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import or_, select

from backend.store.audit import Outcome
from backend.store.database import Database
from backend.store.models import Audit


@dataclass(frozen=True)
class Asked:
    """Which lines; what is empty asks nothing.

    `text`: the whole name of who acted, or a part of what it was done to; `kind`: the part of an action before its dot;
    `before`: lines older than the one of this number.
    """

    text: str = ""
    kind: str = ""
    outcome: Outcome | None = None
    before: int | None = None


def trail(db: Database, asked: Asked, most: int) -> list[Audit]:
    """The newest lines that fit, at most so many, the newest first."""
    query = select(Audit).order_by(Audit.id.desc()).limit(most)
    if asked.text:
        query = query.where(or_(Audit.actor == asked.text, Audit.target.contains(asked.text, autoescape=True)))
    if asked.kind:
        query = query.where(Audit.action.startswith(f"{asked.kind}.", autoescape=True))
    if asked.outcome:
        query = query.where(Audit.outcome == asked.outcome)
    if asked.before is not None:
        query = query.where(Audit.id < asked.before)
    with db.read() as rows:
        return list(rows.execute(query).scalars())


def kinds(db: Database) -> list[str]:
    """The parts before the dot of all actions there are, by name."""
    with db.read() as rows:
        actions = rows.execute(select(Audit.action).distinct()).scalars()
        return sorted({action.partition(".")[0] for action in actions})
