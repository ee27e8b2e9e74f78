"""GPU-hours that stood idle, and jobs that leave their GPUs idle now: of what the asker may see."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, ClassVar

from app.rest.base import Operation, Parameter, Problem, RestHandler
from app.rest.schemas import TEXT, WHOLE, many, of, plain, thing
from backend import jobs
from backend.accounting.rights import scope_of
from backend.telemetry import TelemetryUnusable
from backend.waste import DIMENSIONS, FIRST, LEAST_MINUTES, MOST_MINUTES, WINDOWS, Group, Hours, IdleJob, Waste
from backend.waste import idle_now as idle_jobs
from backend.waste import window as window_of

MINUTES = 30
FIGURES = thing(
    {
        "window": TEXT,
        "since_s": WHOLE,
        "until_s": WHOLE,
        "total": of(Hours),
        "groups": thing({name: many(of(Group)) for name in DIMENSIONS}),
        "more": thing(dict.fromkeys(DIMENSIONS, WHOLE)),
        "away": TEXT,
    }
)


class WasteFigures(RestHandler):
    """`/waste`."""

    asks = "asking_telemetry"
    operations: ClassVar = {
        "GET": Operation(
            "GPU-hours held, measured and idle, of whole jobs that ended in the window or run: yours, those of the "
            "accounts you coordinate, or all; what was not measured is not counted as idle",
            {200: FIGURES},
            parameters=(Parameter("window", {"enum": list(WINDOWS)}, f"which stretch of time (default {FIRST})"),),
            errors=(400, 429, 503),
        )
    }

    async def get(self) -> None:
        self.json(await self.ask(self._found))

    def _found(self) -> dict[str, Any]:
        name = self.text("window", FIRST, tuple(WINDOWS))
        now_s = time.time()
        since_s, until_s = window_of(name, self.services.settings.instance.time_zone, now_s)
        waste = Waste(self.services.warehouse, self.services.telemetry, self.services.projects)
        found = waste.figures(scope_of(self.viewer), since_s, until_s, int(now_s))
        answer: dict[str, Any] = plain({"window": name, **asdict(found)})
        return answer


class IdleNow(RestHandler):
    """`/waste/idle`."""

    asks = "asking_telemetry"
    operations: ClassVar = {
        "GET": Operation(
            "Running jobs of which all GPUs are idle, the longest first: of the jobs you may see",
            {200: thing({"minutes": WHOLE, "jobs": many(of(IdleJob))})},
            parameters=(Parameter("minutes", WHOLE, f"idle for at least so long (default {MINUTES})"),),
            errors=(400, 429, 503),
        )
    }

    async def get(self) -> None:
        self.json(await self.ask(self._found))

    def _found(self) -> dict[str, Any]:
        minutes = self.number("minutes", MINUTES, LEAST_MINUTES, MOST_MINUTES)
        self.services.snapshots.refresh()
        snapshot = self.services.snapshots.current
        seen = jobs.seen_by(self.viewer, snapshot, "all")
        try:
            found = idle_jobs(self.services.telemetry, snapshot.cluster, seen, minutes, time.time())
        except TelemetryUnusable as error:
            raise Problem(503, "Service Unavailable", f"Which GPUs are idle is not known now: {error}") from error
        answer: dict[str, Any] = plain({"minutes": minutes, "jobs": found})
        return answer
