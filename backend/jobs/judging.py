"""Whether a job used what it asked for, by the site's rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.accounting.warehouse import WarehouseUnusable
from backend.jobs.record import Record
from backend.services import Services
from backend.telemetry import JobRef, TelemetryUnusable
from backend.telemetry.verdicts import FAILURES, Verdict, job_facts, similar_failures


@dataclass(frozen=True)
class Judged:
    """`start_s`: of the run that is spoken of, None before the first. `footprint`: a row of FOOTPRINTS, None where it
    was not measured; `problem`: why what was measured can't be read, "" when it can."""

    start_s: int | None
    verdicts: tuple[Verdict, ...]
    footprint: Mapping[str, Any] | None
    problem: str


def judge(services: Services, record: Record, run: JobRef | None = None) -> Judged:
    """What is to be said of one run of the job, of the newest where none is named. Blocks.

    Without measurements only what the accounts know is judged.
    """
    run = run or next(iter(record.runs()), None)
    if run is None:
        return Judged(None, (), None, "")
    attempt = next((row for row in record.attempts if row["start_s"] == run.start_s), None)
    footprint, problem = None, ""
    try:
        rows = services.telemetry.footprints([run]).to_pylist()
        footprint = rows[0] if rows else None
    except TelemetryUnusable as error:
        problem = str(error)
    live = record.live if record.live is not None and record.live["start_s"] == run.start_s else None
    row = {**(attempt or {}), **({} if live is None else _newest(live))}
    facts = job_facts(row, similar_failures=_failures(services, attempt))
    return Judged(run.start_s, tuple(services.verdicts.judge(footprint or {}, facts)), footprint, problem)


def _newest(live: Mapping[str, Any]) -> dict[str, Any]:
    """What the queue knows, which is fresher; what it doesn't know the accounts may."""
    return {name: value for name, value in live.items() if value is not None} | {"end_s": live["end_s"]}


def _failures(services: Services, attempt: Mapping[str, Any] | None) -> int | None:
    if attempt is None or attempt["state"] not in FAILURES:
        return None
    try:
        return similar_failures(services.warehouse, attempt)
    except WarehouseUnusable:  # the record tells of it
        return None
