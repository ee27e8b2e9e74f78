"""Sends what was sampled: batches that are kept, with their bytes, until the console has them on disk.

Never in the way of what it runs beside: adding a sample takes no lock for long and waits for nobody, whatever the
console does; memory is bounded (an hour of batches, the oldest go first); sending is in a thread of its own that the
process's end doesn't wait for.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..http_post import Answer, Connection
from . import batch
from .series import Row

EARLY_S = 120.0
"""So long a job counts as fresh: what was sampled is sent at once, so that its page fills."""
LATER_EVERY_S = 30.0
KEPT_S = 3600.0
KEPT_BYTES = 8 << 20
"""How much is kept while the console is away."""
TIMEOUT_S = 10.0
ANSWER_S = 45.0
"""How long one exchange may take altogether: an answer that drips is cut off."""
BACKOFF_S = (0.5, 30.0)
REFUSED_S = (5.0, 120.0)
"""First and longest waits; the console is away, or it doesn't know the job yet."""
RETRY_AFTER_MOST_S = 300.0
YOUNG_JOB_TRIES = 4
"""A job may be younger than the console's newest look: what it answers then is no news."""


def boot_clock_s() -> float:
    """Seconds on a clock that nobody sets and that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Door(NamedTuple):
    """Where batches go, and as whom: `session:ID` with its secret, `node:NAME` with its key."""

    url: str
    sender: str
    key: str
    ca_pem: str = ""
    path: str = batch.PATH

    def __repr__(self) -> str:
        """Without the key."""
        return f"Door({self.url!r}, {self.sender!r})"


class _Sealed(NamedTuple):
    seq: int
    body: bytes
    newest_s: float
    rows: int


class Pusher:
    """Takes rows from one thread and sends them from another. `say` gets a line for a person, each thing once."""

    def __init__(self, door: Door, node: str, say: Callable[[str], None], clock: Callable[[], float] = boot_clock_s):
        self._door, self._node, self._say, self._clock = door, node, say, clock
        self._boot = secrets.token_hex(8)
        self._zero_s = time.time() - clock()
        self._began_s = clock()
        self._seq = 1
        self._open: list[Row] = []
        self._sealed_s = 0.0
        self._kept: deque[_Sealed] = deque()
        self._kept_bytes = 0
        self._greeted = False
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._closing = False
        self._said = ""
        self._told: set[str] = set()
        self._connection = Connection(door.url, timeout_s=TIMEOUT_S, ca_pem=door.ca_pem)
        self._sending_since_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="push", daemon=True)

    def start(self) -> None:
        """Begin to send; once."""
        self._thread.start()

    @property
    def over(self) -> bool:
        """Nothing more is wanted: the console said so."""
        return self._over.is_set()

    def now_s(self) -> float:
        """Unix time that never goes back while this process lives; samples carry it."""
        return self._zero_s + self._clock()

    def add(self, rows: Sequence[Row], *, fresh: bool = False) -> None:
        """Take in what was just sampled; `fresh` sends it at once. From one thread; returns at once."""
        if self._over.is_set():
            return
        now_s = self._clock()
        self._open += rows
        early = fresh or now_s - self._began_s < EARLY_S
        if early or now_s - self._sealed_s >= LATER_EVERY_S - 1.0:
            self._seal(now_s)
        self._cut_off(now_s)

    def close(self, limit_s: float) -> None:
        """Send what is left, for so long and no longer. From the thread that adds."""
        if not self._over.is_set():
            self._seal(self._clock())
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(limit_s)
        self._over.set()
        with self._changed:
            self._changed.notify_all()

    # what is kept

    def _seal(self, now_s: float) -> None:
        rows, self._open, self._sealed_s = self._open, [], now_s
        if not rows:
            return
        for part in batch.split(rows):
            newest_s = max(block["t"][-1] for block in part)
            points = sum(len(block["t"]) for block in part)
            with self._changed:
                self._seq += 1
                body = self._encode(self._seq, part)
                self._kept.append(_Sealed(self._seq, body, newest_s, points))
                self._kept_bytes += len(body)
                self._bound()
                self._changed.notify_all()

    def _encode(self, seq: int, part: list[dict[str, Any]]) -> bytes:
        now_s = self._clock()
        return batch.encode(
            part, boot=self._boot, seq=seq, node=self._node, sent_s=self._zero_s + now_s, mono_s=now_s
        )

    def _bound(self) -> None:
        oldest_s = self.now_s() - KEPT_S
        lost = 0
        while self._kept and (self._kept[0].newest_s < oldest_s or self._kept_bytes > KEPT_BYTES):
            lost += self._drop_first().rows
        if lost:
            self._once("lost", "telemetry: the console has been away for so long that the oldest samples are given up")

    def _drop_first(self) -> _Sealed:
        first = self._kept.popleft()
        self._kept_bytes -= len(first.body)
        return first

    # sending

    def _run(self) -> None:
        wait_s = 0.0
        away_s, refused_s, busy = BACKOFF_S[0], REFUSED_S[0], 0
        while not self._over.is_set():
            with self._changed:
                self._changed.wait_for(self._may_go_on(wait_s), wait_s or None)
                if self._over.is_set() or (self._closing and not self._kept):
                    break
                if not self._kept and self._greeted:
                    continue
                sealed = self._kept[0] if self._greeted else None
            answer, why = self._send(sealed)
            wait_s = 0.0
            if answer is None:
                wait_s, away_s = _jittered(away_s), min(away_s * 2, BACKOFF_S[1])
                self._note(f"telemetry: the console can't be reached, keeping samples: {why}")
            elif answer.status == 204:
                away_s, refused_s, busy = BACKOFF_S[0], REFUSED_S[0], 0
                self._taken(sealed)
                self._note("")
            elif answer.status == 410 and why == "over":
                self._over.set()
            elif answer.status in (400, 413):
                self._once(f"{answer.status}", f"telemetry: the console refuses a batch ({answer.status}), left out")
                self._taken(sealed)
            elif answer.status == 429 or answer.status >= 500:
                asked_s = _retry_after_s(answer.headers.get(b"retry-after", b""))
                wait_s = _jittered(away_s) if asked_s is None else asked_s + _jittered(BACKOFF_S[0])
                away_s, busy = min(away_s * 2, BACKOFF_S[1]), busy + 1
                if busy > YOUNG_JOB_TRIES:
                    self._note(f"telemetry: the console answers {answer.status}, keeping samples")
            else:
                wait_s, refused_s = _jittered(refused_s), min(refused_s * 2, REFUSED_S[1])
                if refused_s > 4 * REFUSED_S[0]:
                    self._note(f"telemetry: the console answers {answer.status}, keeping samples")
            if self._closing and wait_s:
                break
        self._connection.close()

    def _may_go_on(self, wait_s: float) -> Callable[[], bool]:
        waiting = wait_s > 0  # for the console, not for samples: then only the end is worth waking for

        def ready() -> bool:
            return self._over.is_set() or self._closing or (not waiting and (bool(self._kept) or not self._greeted))

        return ready

    def _taken(self, sealed: _Sealed | None) -> None:
        with self._changed:
            if sealed is None:
                self._greeted = True
            elif self._kept and self._kept[0] is sealed:
                self._drop_first()
            idle = not self._kept
        if idle:
            self._connection.close()

    def _send(self, sealed: _Sealed | None) -> tuple[Answer | None, str]:
        """One exchange. The answer, or None and why there is none."""
        body = self._encode(1, []) if sealed is None else sealed.body
        door = self._door
        mac = batch.mac_of(door.key, door.sender, body)
        headers = {
            "Content-Type": "application/json",
            "Content-Encoding": "deflate",
            batch.SENDER_HEADER: door.sender,
            batch.MAC_HEADER: mac,
        }
        self._sending_since_s = self._clock()
        try:
            answer = self._connection.post(door.path, body, headers)
        except (OSError, ValueError) as error:
            return None, str(error) or type(error).__name__
        finally:
            self._sending_since_s = None
        if answer.status == 410 and batch.is_over(door.key, door.sender, mac, answer.body):
            return answer, "over"
        return answer, ""

    def _cut_off(self, now_s: float) -> None:
        """End an exchange that takes too long. From the thread that adds."""
        since_s = self._sending_since_s
        if since_s is not None and now_s - since_s > ANSWER_S:
            self._connection.cut()

    # saying

    def _note(self, words: str) -> None:
        """What has changed about the console, once."""
        kind = words.partition(":")[2].partition(",")[0]
        if kind == self._said:
            return
        self._say(words or "telemetry: the console takes samples again")
        self._said = kind

    def _once(self, kind: str, words: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._say(words)


def _retry_after_s(text: bytes) -> float | None:
    """Seconds as a plain number; a date, or anything else, counts as none."""
    return min(float(text[:9]), RETRY_AFTER_MOST_S) if text.isdigit() else None


def _jittered(wait_s: float) -> float:
    return wait_s * random.uniform(0.5, 1.0)  # noqa: S311 - so that a thousand agents don't come at once
