"""The small lines on session cards: asked of the telemetry once for everybody who looks, in a thread of their own."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from backend.identity import Viewer
from backend.services import Services
from backend.sessions import Session
from backend.telemetry import JobRef, Spark, Telemetry, TelemetryUnusable
from pages.parts.topics import Message, Topic

log = logging.getLogger("carme.pages")

EVERY_S = 10.0  # as often as jobs are sampled
KEEP_S = 60.0  # a line that nobody has looked at for so long is not asked for any more
MOST_SESSIONS = 100


class Sparks:
    """What is known of the lines that somebody looks at. Thread-safe; nothing here waits for the telemetry."""

    def __init__(self, telemetry: Telemetry, clock: Callable[[], float] = time.monotonic) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._lock = threading.Lock()
        self._wanted: dict[JobRef, float] = {}  # until when
        self._known: dict[JobRef, Spark] = {}
        self._next_s = 0.0
        self._asking = False
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sparks")
        self.version = 0  # rises with each answer, also when it is the same: who looks says so again
        self.away: tuple[str, float | None] | None = None  # why nothing newer is known, and since when

    def look(self, jobs: Iterable[JobRef]) -> dict[JobRef, Spark]:
        """What is known of these jobs now; from here on they are asked for."""
        until_s = self._clock() + KEEP_S
        with self._lock:
            found = {}
            for job in jobs:
                if job not in self._wanted:
                    self._next_s = 0.0
                self._wanted[job] = until_s
                if job in self._known:
                    found[job] = self._known[job]
            return found

    def tick(self) -> None:
        """Ask anew where it is time; returns at once."""
        now_s = self._clock()
        with self._lock:
            self._wanted = {job: until_s for job, until_s in self._wanted.items() if until_s > now_s}
            if self._asking or not self._wanted or now_s < self._next_s:
                return
            self._asking = True
            self._next_s = now_s + EVERY_S
            wanted = list(self._wanted)
        self._pool.submit(self.ask, wanted)

    def ask(self, jobs: list[JobRef]) -> None:
        """Ask for these and keep the answer. Blocks."""
        known: dict[JobRef, Spark] | None = None
        away: tuple[str, float | None] | None = None
        try:
            known = self._telemetry.sparks(jobs)
            state = self._telemetry.state
            if state.error:
                away = state.error, state.error_since_s
        except TelemetryUnusable as error:
            away = str(error), self._since()
        except Exception as error:  # else the lines of everybody would stand still for ever
            words = f"The measurements can't be read ({type(error).__name__}; the console's log says more)."
            away = words, self._since()
            if self.away is None or self.away[0] != away[0]:
                log.exception("the lines of sessions could not be read")
        with self._lock:
            if known is not None:
                self._known = {job: spark for job, spark in known.items() if job in self._wanted}
            self.away = away
            self.version += 1
            self._asking = False

    def _since(self) -> float:
        """Since when it fails: now, or as before."""
        return self.away[1] if self.away and self.away[1] else time.time()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


_kept: dict[int, tuple[Services, Sparks]] = {}  # with the services, so that no others get their number


def sparks_of(services: Services) -> Sparks:
    """The process's one of these services."""
    if id(services) not in _kept:
        _kept[id(services)] = services, Sparks(services.telemetry)
    return _kept[id(services)][1]


def close_sparks(services: Services) -> None:
    """Give its thread back; who asks again gets a new one."""
    kept = _kept.pop(id(services), None)
    if kept is not None:
        kept[1].close()


def ref(session: Session) -> JobRef | None:
    """The session's job, once it runs."""
    if session.job_id is None or session.start_s is None or session.start_expected:
        return None
    return JobRef(session.cluster, session.job_id, session.start_s, session.end_s)


def make(services: Services, viewer: Viewer | None) -> Message:
    """The lines of the person's active sessions, by session; whole percents, null where nothing was measured."""
    assert viewer is not None  # noqa: S101 - a personal topic is made for a person
    sparks = sparks_of(services)
    sessions = services.sessions.list(viewer, ended=False, limit=MOST_SESSIONS)
    refs = {session.id: job for session in sessions if (job := ref(session)) is not None}
    found = sparks.look(refs.values())
    why, since_s = sparks.away or ("", None)
    return {
        "sessions": {name: shown(found[job]) for name, job in refs.items() if job in found},
        "away": why,
        "away_since_s": since_s,
    }


def shown(spark: Spark) -> dict[str, Any]:
    """A spark as the browser draws it."""
    return {
        "since_s": spark.since_s,
        "step_s": spark.step_s,
        "last_s": int(spark.last_s),
        "every_s": round(spark.every_s),
        "gpu": _whole(spark.gpu_percent),
        "cpu": _whole(spark.cpu_percent),
    }


def _whole(points: tuple[float | None, ...]) -> list[int | None]:
    return [None if point is None or math.isnan(point) else round(min(100.0, max(0.0, point))) for point in points]


TOPICS = (Topic("sparks", make, ("sparks", "sessions"), personal=True, keyed=frozenset({"sessions"})),)
