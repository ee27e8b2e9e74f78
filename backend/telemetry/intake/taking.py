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
from backend.telemetry.intake.budgets import Budgets, Limit
from backend.telemetry.intake.committer import Committer
from backend.telemetry.intake.keys import Keys, KeyUnusable, Known, signed_by
from backend.telemetry.intake.rights import Allowed, NotAllowed, Rights
from backend.telemetry.intake.wire import BadBatch, Sent, TooLarge, inflated, understood
from backend.telemetry.model import TelemetryUnusable
from backend.telemetry.store import Batch, Store

log = logging.getLogger("carme.telemetry")

LARGE_BYTES = 64 * 1024  # what is larger is read away from the event loop
TO_READ = Limit(1_000_000.0, 32_000_000.0)
"""Bytes of JSON of one sender, whatever becomes of them: a hundred nodes of sixteen GPUs every two seconds."""
OF_SESSION = Limit(1_000.0, 1_000_000.0)
"""Weight, by each of its nodes: three times what a node of sixteen GPUs comes to with a look every ten seconds."""
OF_NODE = Limit(50_000.0, 10_000_000.0)
"""Weight: a node with a hundred jobs, a look every two seconds; an hour of a large node, after the console was away."""
RETRY_S = 10
SAID_MOST = 10_000
SAID_OF_ONE = 20
SAY_AGAIN_S = 3600.0


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
        self._to_read, self._to_keep = Budgets(), Budgets()
        self._said: dict[str, set[str]] = {}
        self._said_since_s = time.monotonic()
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
        if self._to_read.left(sender, TO_READ) <= 0:
            return TOO_MUCH
        plain = inflated(body)
        self._to_read.pay(sender, TO_READ, len(plain))
        sent = understood(plain) if len(plain) < LARGE_BYTES else await asyncio.to_thread(understood, plain)
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
            self._say(sender, "has sent of jobs of other nodes, or of more devices than a job has: left out")
        limit = OF_NODE if session is None else OF_SESSION
        if self._to_keep.left((sender, sent.node), limit) <= 0:
            return TOO_MUCH
        self._to_keep.pay((sender, sent.node), limit, sent.weight)
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

    def _refuse(self, sender: str, status: int, why: str) -> Taken:
        self.refused += 1
        self._say(sender, f"turned away ({status}): {why}")
        return Taken(status, _detail(why))

    def _say(self, sender: str, what: str) -> None:
        """To the log: each thing once an hour of each sender, and no more than SAID_OF_ONE of them."""
        if len(self._said) > SAID_MOST or time.monotonic() - self._said_since_s > SAY_AGAIN_S:
            self._said, self._said_since_s = {}, time.monotonic()
        said = self._said.setdefault(sender, set())
        if what not in said and len(said) < SAID_OF_ONE:
            said.add(what)
            log.warning("%s %s", sender, what)


def _detail(why: str) -> bytes:
    return json.dumps({"detail": why}).encode()


TOO_MUCH = Taken(429, _detail("more than one sender may send"), RETRY_S)
