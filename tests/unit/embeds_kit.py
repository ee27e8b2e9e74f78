"""Embeds over a small table of usage, with people, and a count of what was computed.

- `kit(tmp_path)`: ada (coordinates physics), bob, olga (operator); `made.ask` answers from ROWS within the scope.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from backend.accounting.embeds import EmbedInfo, Embeds
from backend.accounting.reports.question import read_saved
from backend.accounting.usage import Answer, Question, Scope
from backend.identity import Viewer
from tests.unit.identity_kit import Clock, Kit
from tests.unit.identity_kit import kit as identity_kit

ROWS = (("ada", "physics", 10.0), ("eve", "physics", 2.5), ("bob", "biology", 4.0))
SITE = "https://wiki.example.org"
SAVED = read_saved({"metrics": ["cpu_hours"], "by": ["user"], "since": "now-1day", "until": "now"}, "UTC")


@dataclass
class EmbedKit:
    identity: Kit
    embeds: Embeds
    asked: list[tuple[Question, Scope]] = field(default_factory=list)
    factor: float = 1.0  # what the warehouse holds now, relative to ROWS

    @property
    def clock(self) -> Clock:
        return self.identity.clock

    def ask(self, question: Question, scope: Scope) -> Answer:
        self.asked.append((question, scope))
        rows = [(user, hours * self.factor) for user, account, hours in ROWS
                if scope.everything or user == scope.user or account in scope.accounts]  # fmt: skip
        rows = rows[: question.limit]
        table = pa.table(
            {"user": pa.array([row[0] for row in rows]).dictionary_encode(),
             "cpu_hours": pa.array([row[1] for row in rows], pa.float64())}
        )  # fmt: skip
        total = sum(row[1] for row in rows)
        return Answer(question, table, {"cpu_hours": total}, {"cpu_hours": "cores × time"}, ("so far",), 123, 7)

    def viewer(self, name: str) -> Viewer:
        found = self.identity.identity.standing(name)
        assert found is not None
        return found

    def make(self, name: str = "ada", **given: Any) -> EmbedInfo:
        settings: dict[str, Any] = {"title": "Who", "question": SAVED, "chart": "", "origins": [SITE], "live": True}
        return self.embeds.make(self.viewer(name), **settings | given)

    def token(self, name: str = "ada", **given: Any) -> str:
        token = self.make(name, **given).token
        assert token is not None
        return token

    def shown(self, token: str) -> dict[str, float]:
        """User to hours, as whoever has the token sees it."""
        embed = self.embeds.admit(token)
        answer = self.embeds.figures(embed, self.embeds.question(embed)).answer
        return {row["user"]: row["cpu_hours"] for row in answer.table.to_pylist()}


def kit(tmp_path: Path, **environ: str) -> EmbedKit:
    identity = identity_kit(tmp_path, **environ)
    for name, roles in (("ada", ()), ("bob", ()), ("olga", ("operator",))):
        identity.add(name, roles=roles)
    identity.identity.coordinates_by(lambda name: frozenset({"physics"}) if name == "ada" else frozenset())
    made: EmbedKit

    def ask(question: Question, scope: Scope) -> Answer:
        return made.ask(question, scope)

    embeds = Embeds(
        identity.settings.embeds, identity.db, identity.identity.box, identity.identity,
        ask=ask, clock=identity.clock,
    )  # fmt: skip
    made = EmbedKit(identity, embeds)
    return made
