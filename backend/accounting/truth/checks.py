"""The comparisons asked for and made, kept in the console's database: asked by a page, made by the collector."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import undefer

from backend.accounting.truth.comparison import Comparison
from backend.accounting.truth.window import is_month
from backend.store import CONSOLE, Database, audit
from backend.store.models import TruthCheck

KEPT = 120  # of a cluster and month its last one, and of all others so many
STOPPED = "The collector was stopped meanwhile. Ask again."
STALE_S = 3600  # a comparison that has run for longer died with its collector


class BadMonth(ValueError):
    """Not a month, or one that has not begun."""


@dataclass(frozen=True)
class Check:
    """One comparison. `figures`: `Comparison.to_json()`, only where it was asked for."""

    id: int
    cluster: str
    month: str
    asked_by: str
    asked_s: int
    started_s: int | None
    ended_s: int | None
    agrees: bool | None
    error: str
    figures: dict[str, Any] | None = None


def ask(db: Database, cluster: str, month: str, person: str, address: str = "") -> Check:
    """Ask for a comparison; one that is waiting or running already is not asked for twice. Raises BadMonth."""
    if not is_month(month):
        raise BadMonth(f"{month!r} is no month. Write it like 2026-11.")
    now = int(time.time())
    with db.begin() as session:
        waiting = session.scalars(
            select(TruthCheck)
            .where(TruthCheck.cluster == cluster, TruthCheck.month == month, TruthCheck.ended_s.is_(None))
            .where(TruthCheck.asked_s > now - STALE_S)
            .order_by(TruthCheck.id.desc())
        ).first()
        if waiting is None:
            waiting = TruthCheck(cluster=cluster, month=month, asked_by=person, asked_s=now)
            session.add(waiting)
            session.flush()
            audit(session, person, "accounting.compare", f"{cluster} {month}", address=address)
        return _check(waiting)


def next_asked(db: Database) -> Check | None:
    """Take the next comparison to make. One collector takes them, so nothing is made twice."""
    now = int(time.time())
    with db.read() as session:
        found = session.scalars(
            select(TruthCheck.id).where(TruthCheck.ended_s.is_(None), TruthCheck.started_s.is_(None)).limit(1)
        ).first()
    if found is None:
        return None
    with db.begin() as session:
        row = session.get(TruthCheck, found)
        if row is None or row.started_s is not None:
            return None
        row.started_s = now
        return _check(row)


def give_up_stale(db: Database) -> None:
    """At the collector's start: what was under way ended with the one before."""
    with db.begin() as session:
        session.execute(
            update(TruthCheck)
            .where(TruthCheck.started_s.is_not(None), TruthCheck.ended_s.is_(None))
            .values(ended_s=int(time.time()), error=STOPPED)
        )


def finish(db: Database, check: Check, comparison: Comparison | None, error: str = "") -> None:
    """Keep what came of it, and say in the audit trail when the figures part."""
    with db.begin() as session:
        row = session.get(TruthCheck, check.id)
        if row is None:
            return
        row.ended_s = int(time.time())
        row.error = error[:2000]
        if comparison is not None:
            row.agrees = comparison.agrees
            row.figures = comparison.to_json()
        if comparison is not None and not comparison.agrees:
            apart = [line for line in comparison.lines if line.sreport.rest or line.sacct.rest]
            problems = len(comparison.problems)
            target = f"{check.cluster} {check.month}"
            audit(session, CONSOLE, "accounting.parted", target, "failed", lines=len(apart), problems=problems)
        _forget_old(session, check)


def _forget_old(session: Any, check: Check) -> None:
    """Keep the last with figures of each month, and a number of others."""
    newest = select(TruthCheck.id).order_by(TruthCheck.id.desc()).limit(KEPT).subquery()
    last = (
        select(TruthCheck.id)
        .where(TruthCheck.cluster == check.cluster, TruthCheck.month == check.month, TruthCheck.agrees.is_not(None))
        .order_by(TruthCheck.id.desc())
        .limit(1)
        .subquery()
    )
    older = (TruthCheck.cluster == check.cluster, TruthCheck.month == check.month)
    session.execute(
        update(TruthCheck)
        .where(*older, TruthCheck.id.not_in(select(last.c.id)), TruthCheck.figures.is_not(None))
        .values(figures=None)
    )
    session.execute(delete(TruthCheck).where(*older, TruthCheck.id.not_in(select(newest.c.id)),
                                             TruthCheck.id.not_in(select(last.c.id))))  # fmt: skip


def last_checks(db: Database, limit: int = 20) -> list[Check]:
    """The newest first, without their figures."""
    with db.read() as session:
        rows = session.scalars(select(TruthCheck).order_by(TruthCheck.id.desc()).limit(limit))
        return [_check(row) for row in rows]


def check_of(db: Database, cluster: str, month: str) -> tuple[Check | None, Check | None]:
    """The newest comparison of the month with its figures, and the newest of any outcome."""
    with db.read() as session:
        wanted = (
            select(TruthCheck)
            .where(TruthCheck.cluster == cluster, TruthCheck.month == month)
            .order_by(TruthCheck.id.desc())
        )
        newest = session.scalars(wanted).first()
        made = session.scalars(
            wanted.where(TruthCheck.agrees.is_not(None)).options(undefer(TruthCheck.figures))
        ).first()
        return (None if made is None else _check(made, made.figures)), (None if newest is None else _check(newest))


def parted(db: Database) -> list[Check]:
    """For operators' notice: each cluster and month whose newest comparison found a difference that has no name."""
    with db.read() as session:
        rows = session.scalars(
            select(TruthCheck).where(TruthCheck.agrees.is_not(None)).order_by(TruthCheck.id.desc()).limit(KEPT)
        )
        newest: dict[tuple[str, str], TruthCheck] = {}
        for row in rows:
            newest.setdefault((row.cluster, row.month), row)
        return [_check(row) for row in newest.values() if row.agrees is False]


def _check(row: TruthCheck, figures: dict[str, Any] | None = None) -> Check:
    return Check(
        id=row.id, cluster=row.cluster, month=row.month, asked_by=row.asked_by, asked_s=row.asked_s,
        started_s=row.started_s, ended_s=row.ended_s, agrees=row.agrees, error=row.error, figures=figures,
    )  # fmt: skip
