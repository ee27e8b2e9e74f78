"""How much a sender may send: more than its share now and then, its share on the long run."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

KEPT_MOST = 20_000


@dataclass(frozen=True)
class Limit:
    """`per_s` on the long run, `burst` at once."""

    per_s: float
    burst: float


class Budgets:
    """What each sender has left. One may go into debt once: what something costs is known when it was looked at."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[Hashable, tuple[float, float]] = {}  # and as of when

    def left(self, sender: Hashable, limit: Limit) -> float:
        """What it may still send; below zero: it must wait."""
        now = self._clock()
        left, as_of = self._left.get(sender, (limit.burst, now))
        return min(limit.burst, left + (now - as_of) * limit.per_s)

    def pay(self, sender: Hashable, limit: Limit, cost: float) -> None:
        """It sent so much."""
        left = self.left(sender, limit)
        if len(self._left) > KEPT_MOST:
            self._left.clear()
        self._left[sender] = (left - cost, self._clock())
