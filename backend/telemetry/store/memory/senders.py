"""Who has sent what so far: a batch that comes again is known, and each sender's clock is compared with ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from backend.telemetry.store.layout.wal import Batch

WINDOW = 4096  # batches that may be missing below the newest and still come: at 30 s each, more than a day
BOOTS = 1000  # earlier processes of one sender that are remembered, so that what they sent can't be sent again
SKEW_S = 2.0  # a clock that is off by less is left alone: a batch on its way looks the same
STEP_S = 2.0  # the clock was set while the sender ran
LOOK = 20  # batches after which an old comparison of clocks is forgotten: clocks drift

Verdict = Literal["new", "taken", "replayed"]


@dataclass
class Clock:
    """How far a sender's clock is behind ours. A batch is late at most, never early, so the least counts."""

    base_s: float  # its clock less its monotonic one: changes when the clock is set
    least_s: float
    before_s: float = float("inf")
    seen: int = 0

    @property
    def correction_s(self) -> float:
        """To add to the sender's times."""
        offset = min(self.least_s, self.before_s)
        return offset if abs(offset) > SKEW_S else 0.0

    def compare(self, offset_s: float) -> None:
        """Take another batch into account."""
        self.seen += 1
        if self.seen > LOOK:
            self.before_s, self.least_s, self.seen = self.least_s, offset_s, 0
        self.least_s = min(self.least_s, offset_s)


@dataclass
class Sender:
    """One process that sends, and those before it on the same node."""

    boot: str = ""
    highest: int = 0
    taken: int = 0  # bit i: the batch `highest - i`
    earlier: list[str] = field(default_factory=list)
    clock: Clock | None = None
    seen_s: float = 0.0

    def judge(self, boot: str, seq: int) -> Verdict:
        """Whether a batch is to be written."""
        if boot != self.boot:
            return "replayed" if boot in self.earlier else "new"
        if seq > self.highest:
            return "new"
        behind = self.highest - seq
        return "taken" if behind >= WINDOW or self.taken >> behind & 1 else "new"

    def take(self, batch: Batch) -> Clock:
        """Note that the batch is written; the clock its times are by."""
        if batch.boot != self.boot:
            if self.boot:
                self.earlier = [*self.earlier, self.boot][-BOOTS:]
            self.boot, self.highest, self.taken, self.clock = batch.boot, 0, 0, None
        if batch.seq > self.highest:
            self.taken = self.taken << (batch.seq - self.highest) if batch.seq - self.highest < WINDOW else 0
            self.highest = batch.seq
        self.taken = (self.taken | 1 << (self.highest - batch.seq)) & ((1 << WINDOW) - 1)
        self.seen_s = max(self.seen_s, batch.received_s)
        base, offset = batch.sent_s - batch.mono_s, batch.received_s - batch.sent_s
        if self.clock is None or abs(base - self.clock.base_s) > STEP_S:
            self.clock = Clock(base, offset)
        self.clock.compare(offset)
        return self.clock

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        clock = self.clock and [self.clock.base_s, self.clock.least_s, self.clock.before_s, self.clock.seen]
        return {
            "boot": self.boot, "highest": self.highest, "taken": f"{self.taken:x}", "earlier": self.earlier,
            "seen_s": self.seen_s, "clock": clock,
        }  # fmt: skip

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Sender:
        """From JSON."""
        clock = facts["clock"] and Clock(*facts["clock"])
        return cls(
            facts["boot"], facts["highest"], int(facts["taken"], 16), list(facts["earlier"]), clock, facts["seen_s"]
        )
