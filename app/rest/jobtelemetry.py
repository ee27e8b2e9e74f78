"""What was measured of a job: curves of every device, for scripts."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from app.rest.base import Operation, Parameter, Problem
from app.rest.onejob import WHICH, OneJobHandler
from app.rest.schemas import NUMBER, TEXT, WHOLE, many, maybe, of, plain, thing
from backend.telemetry import METRICS, Device, JobRef, Series, TelemetryState, TelemetryUnusable

MOST_NUMBERS = 500_000  # points of one answer
POINTS = 600  # of a curve, where that is not too much
NAMES = tuple(metric.name for metric in METRICS)


class JobTelemetry(OneJobHandler):
    """`/jobs/{job}/telemetry`."""

    asks = "asking_telemetry"
    operations: ClassVar = {
        "GET": Operation(
            "What was measured of a job: a curve for each metric and device",
            {
                200: thing(
                    {
                        "run": maybe(of(JobRef)),
                        "devices": many(of(Device)),
                        "series": many(of(Series)),
                        "state": of(TelemetryState),
                    }
                )
            },
            parameters=(
                *WHICH,
                Parameter("run", WHOLE, "the start of one of its attempts (default: the last that started)"),
                Parameter("metric", {"enum": list(NAMES)}, "this metric (default: all)", many=True),
                Parameter("node", TEXT, "this node (default: all)", many=True),
                Parameter("since_s", NUMBER, "from then on (default: its start)"),
                Parameter("until_s", NUMBER, "until then (default: its end or now)"),
                Parameter(
                    "points", WHOLE, f"at most so many a curve (default {POINTS}, of very many fewer; at most 100000)"
                ),
                Parameter("resolution", {"enum": ["auto", "raw", "minute"]}, "which of what is kept (default auto)"),
            ),
            errors=(400, 404, 429, 503),
        )
    }

    async def get(self, number: str) -> None:
        text = await self.ask(self._found, number)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(text)

    def _found(self, number: str) -> str:
        record = self.record(number)
        telemetry = self.services.telemetry
        wanted, nodes = self.texts("metric"), self.texts("node")
        if unknown := [name for name in wanted if name not in NAMES]:
            raise Problem(400, "Bad Request", f"metric: there is no {unknown[0]!s:.60}.")
        metrics = wanted or NAMES
        points = self.number("points", 0, 1, 100_000) if "points" in self.request.arguments else None
        resolution = self.text("resolution", "auto", ("auto", "raw", "minute"))
        since_s, until_s = (self.number(name, 0, 0, 2**40) or None for name in ("since_s", "until_s"))
        start_s = self.number("run", 0, 0, 2**40)
        runs = [run for run in record.runs() if start_s in (0, run.start_s)]
        answer: dict[str, Any] = {"run": None, "devices": [], "series": [], "state": plain(telemetry.state)}
        if runs:
            try:
                devices = telemetry.devices(runs[0])
                shown = [each for each in devices if not nodes or each.node in nodes]
                curves = sum(len([name for name in each.metrics if name in metrics]) for each in shown)
                most = max(1, MOST_NUMBERS // max(1, curves))
                points = min(POINTS, most) if points is None else points
                if curves * points > MOST_NUMBERS:
                    words = f"{curves} curves of {points} points are too much at once: at most {most} points, or fewer."
                    raise Problem(400, "Bad Request", f"{words} Name a metric or a node.")
                series = telemetry.series(
                    runs[0],
                    metrics,
                    since_s=since_s,
                    until_s=until_s,
                    points=points,
                    nodes=nodes or None,
                    resolution="raw" if resolution == "raw" else "minute" if resolution == "minute" else "auto",
                )
            except TelemetryUnusable as error:
                raise Problem(503, "Service Unavailable", f"What was measured can't be read: {error}") from error
            answer |= {"run": plain(runs[0]), "devices": plain(devices), "series": plain(series)}
        return json.dumps(answer, separators=(",", ":"), allow_nan=False)
