"""From bytes of whoever to samples on disk: who sent it, does it make sense, may they, is it new, write it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backend.agent.telemetry.batch import over_answer
from backend.telemetry.intake.committer import Committer
from backend.telemetry.intake.keys import Keys, KeyUnusable, Known, signed_by
from backend.telemetry.intake.rights import Allowed, NotAllowed, Rights
from backend.telemetry.intake.wire import BadBatch, Sent, TooLarge, read
from backend.telemetry.model import TelemetryUnusable
from backend.telemetry.store import Batch, Store

log = logging.getLogger("carme.telemetry")

LARGE_BYTES = 32 * 1024  # deflated: what is larger is read away from the event loop
VALUES_PER_S = 20_000.0  # of one sender, on the long run: fifty GPUs every second
BURST_VALUES = 10_000_000.0  # an hour of a large node, after the console was away
RETRY_S = 10
SAID_MOST = 10_000


@dataclass(frozen=True)
class Taken:
    """The answer: an HTTP status, its body (JSON) where it has one, after how long to come again."""

    status: int
    body: bytes = b""
    retry_after_s: int | None = None


NOBODY = Taken(403, b'{"detail":"no such sender, or not its signature"}')


class Taking:
    """Takes batches in. Lives in one event loop."""

    def __init__(
        self, store: Store, keys: Keys, rights: Rights, committer: Committer, now: Callable[[], float] = time.time
    ) -> None:
        self._store, self._keys, self._rights, self._committer, self._now = store, keys, rights, committer, now
        self._budgets: dict[str, tuple[float, float]] = {}  # by sender: values left, as of
        self._said: set[tuple[str, str]] = set()
        self._writing: dict[tuple[str, str, str, int], asyncio.Task[None]] = {}
        self.batches = self.values = self.refused = 0
        self.trouble: tuple[str, float] | None = None  # why nothing can be written, and since when

    async def take(self, sender: str, mac: str, body: bytes) -> Taken:
        """One batch. Raises nothing that is the sender's fault."""
        received_s = self._now()
        try:
            session, key = await self._who(sender)
        except KeyUnusable as error:
            self._say(sender, f"node services are turned away: {error}")
            return Taken(503, _detail("the console's key can't be read"), RETRY_S)
        if not signed_by(key, sender, body, mac) or key is None:
            self.refused += 1
            return NOBODY
        try:
            return await self._signed(sender, session, body, received_s)
        except (BadBatch, NotAllowed, TelemetryUnusable) as error:
            return self._failed(sender, error, over_answer(key, sender, mac))

    def _failed(self, sender: str, error: Exception, over: dict[str, Any]) -> Taken:
        """The answer to a batch that is signed and yet not taken. `over`: what says that the session is over."""
        if isinstance(error, NotAllowed):
            if error.status == 410:
                return Taken(410, json.dumps(over).encode())
            if error.status == 503:
                return Taken(503, _detail(str(error)), error.retry_after_s)
            return self._refuse(sender, error.status, str(error))
        if isinstance(error, BadBatch):
            return self._refuse(sender, 413 if isinstance(error, TooLarge) else 400, str(error))
        if self.trouble is None:
            log.error("samples are turned away: %s", error)
        self.trouble = (f"Samples can't be kept: {error}", self.trouble[1] if self.trouble else self._now())
        return Taken(503, _detail("the console can't keep samples now"), RETRY_S)

    async def _who(self, sender: str) -> tuple[Known | None, str | None]:
        kind, _, name = sender.partition(":")
        if kind == "node":
            return None, self._keys.node(name)
        if kind != "session":
            return None, None
        fresh, known = self._keys.recent(name)
        if not fresh:
            known = await asyncio.to_thread(self._keys.session, name)
        return known, None if known is None else known.key

    async def _signed(self, sender: str, session: Known | None, body: bytes, received_s: float) -> Taken:
        sent = read(body) if len(body) < LARGE_BYTES else await asyncio.to_thread(read, body)
        name = (sender, sent.node, sent.boot, sent.seq)
        if name in self._writing:  # it came again while it is being written
            await asyncio.shield(self._writing[name])
            return Taken(204)
        verdict = self._store.judge(*name)
        if verdict == "taken":
            return Taken(204)
        if verdict == "replayed":
            raise NotAllowed(403, "an earlier process of this sender has ended")
        correction_s = self._store.correction_s(sender, sent.node, sent.boot)
        if session is not None:
            allowed = self._rights.of_session(session, sent, correction_s)
        else:
            allowed = self._rights.of_node(sender.partition(":")[2], sent, correction_s)
        if len(allowed.blocks) < len(sent.blocks):
            self._say(sender, f"left out: {len(sent.blocks) - len(allowed.blocks)} blocks of jobs of other nodes")
        if not self._within_budget(sender, sent.values):
            return Taken(429, _detail("more than one sender may send"), RETRY_S)
        writing = asyncio.ensure_future(self._write(sender, sent, allowed, received_s))
        self._writing[name] = writing
        try:
            await asyncio.shield(writing)
        finally:
            self._writing.pop(name, None)
        if self.trouble is not None:
            self.trouble = None
            log.warning("samples are taken again")
        self.batches += 1
        self.values += sent.values
        return Taken(204)

    async def _write(self, sender: str, sent: Sent, allowed: Allowed, received_s: float) -> None:
        batch = Batch(
            allowed.cluster, sender, sent.node, sent.boot, sent.seq, sent.sent_s, sent.mono_s, received_s,
            allowed.blocks,
        )  # fmt: skip
        await self._committer.commit([*self._store.news(allowed.facts), batch])

    def _within_budget(self, sender: str, values: int) -> bool:
        now = time.monotonic()
        left, as_of = self._budgets.get(sender, (BURST_VALUES, now))
        left = min(BURST_VALUES, left + (now - as_of) * VALUES_PER_S)
        if values > left:
            return False
        if len(self._budgets) > 2 * SAID_MOST:
            self._budgets.clear()
        self._budgets[sender] = (left - values, now)
        return True

    def _refuse(self, sender: str, status: int, why: str) -> Taken:
        self.refused += 1
        self._say(sender, f"turned away ({status}): {why}")
        return Taken(status, _detail(why))

    def _say(self, sender: str, what: str) -> None:
        """To the log, each thing once of each sender."""
        if (sender, what) in self._said:
            return
        if len(self._said) > SAID_MOST:
            self._said.clear()
        self._said.add((sender, what))
        log.warning("%s %s", sender, what)


def _detail(why: str) -> bytes:
    return json.dumps({"detail": why}).encode()
