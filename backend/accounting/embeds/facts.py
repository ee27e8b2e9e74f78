"""What is known of an embed, as plain frozen facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.accounting.usage import TIME, Answer, Question, Scope


@dataclass(frozen=True)
class EmbedInfo:
    """One embed as its maker and operators see it."""

    id: str
    owner: str
    report_id: str  # the saved report it was made from
    title: str
    live: bool  # else a snapshot
    origins: tuple[str, ...]
    created_s: int
    expires_s: int
    revoked_s: int | None
    token: str | None  # for the maker alone, while it holds

    def holds(self, now_s: float) -> bool:
        """Whether it is neither over nor revoked."""
        return self.revoked_s is None and self.expires_s > now_s


@dataclass(frozen=True)
class Embed:
    """What a good token shows."""

    id: str
    title: str
    chart: str  # "time", "rank"; "": a table only
    saved: Mapping[str, Any]  # the question as the report has it
    scope: Scope
    origins: tuple[str, ...]
    live: bool
    frozen_digest: str
    created_s: int
    expires_s: int


@dataclass(frozen=True)
class Figures:
    answer: Answer
    cut: bool  # there may be more rows than a figure holds


def scope_as_json(scope: Scope) -> dict[str, Any]:
    return {
        "everything": scope.everything,
        "user": scope.user,
        "uid": scope.uid,
        "accounts": sorted(scope.accounts),
    }


def scope_from_json(said: Mapping[str, Any]) -> Scope:
    return Scope(bool(said["everything"]), said["user"], said["uid"], frozenset(said["accounts"]))


def drawn_as(chart: str, question: Question) -> str:
    """How a report's figures are drawn: over "time", as a "rank"; "" where they are a table only."""
    grain = any(name in TIME for name in question.by)
    others = [name for name in question.by if name not in TIME]
    if chart == "table" or not question.by or len(others) > 1:
        return ""
    if chart == "rank" and grain:
        return ""
    return "time" if grain else "rank"


def within(inner: Scope, outer: Scope) -> bool:
    """Whether whoever may see `outer` may see all of `inner`."""
    if outer.everything:
        return True
    if inner.everything:
        return False
    same = (inner.user, inner.uid) == (outer.user, outer.uid)
    return same and inner.accounts <= outer.accounts
