"""When would it start? The scheduler is asked by `sbatch --test-only`: sparingly, each question costs it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from backend.sessions.model import Estimate, SessionError

Ask = Callable[[], Awaitable[Estimate]]
KEPT = 256


class Superseded(SessionError):
    """The same person asked something newer meanwhile."""

    def __init__(self) -> None:
        super().__init__("A newer question of yours took the place of this one.")


class Estimates:
    """Start estimates: one question in flight a person, `at_once` for the site, answers kept for a while.

    Of the questions a person asks while one is in flight only the newest is passed on.
    """

    def __init__(self, at_once: int, keep_s: float) -> None:
        self._keep_s = keep_s
        self._site = asyncio.Semaphore(at_once)
        self._kept: dict[str, tuple[float, Estimate]] = {}
        self._newest: dict[str, object] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    async def get(self, person: str, question: dict[str, Any], ask: Ask) -> Estimate:
        """The answer to `question` (JSON values), asked by `ask` unless it is known. Raises Superseded."""
        key = f"{person} {json.dumps(question, sort_keys=True)}"
        mine = self._newest[person] = object()
        turn = self._turns.setdefault(person, asyncio.Lock())
        try:
            async with turn:
                if self._newest.get(person) is not mine:
                    raise Superseded
                kept = self._kept.get(key)
                if kept is not None and time.monotonic() - kept[0] < self._keep_s:
                    return kept[1]
                async with self._site:
                    answer = await ask()
        finally:
            if self._newest.get(person) is mine:
                del self._newest[person]
            if person not in self._newest and not turn.locked():
                self._turns.pop(person, None)
        self._keep(key, answer)
        return answer

    def _keep(self, key: str, answer: Estimate) -> None:
        self._kept.pop(key, None)
        self._kept[key] = (time.monotonic(), answer)
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
