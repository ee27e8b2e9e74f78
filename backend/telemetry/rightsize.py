"""What a person's own similar jobs say about the next: how much memory, how many CPUs and GPUs, how long."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.accounting.warehouse import Warehouse
from backend.telemetry.model import JobRef, Telemetry
from backend.telemetry.verdicts.facts import GB, MB, MEMORY_MARGIN, OOM_MARGIN, TIME_MARGIN, memory_step, time_step
from backend.telemetry.verdicts.wording import shown_as, span

WINDOW_S = 90 * 86400
FEWEST = 3  # measured jobs; below it nothing is said
MOST = 20  # the newest of them
MIN_SAMPLES = 30
MIN_ELAPSED_S = 600  # a session that was closed at once says nothing about the next
CPU_MARGIN = 1.1
WORTH = 0.2  # a suggestion that differs by less is not worth a person's attention


@dataclass(frozen=True)
class Wanted:
    """What a launch form asks for at the moment: amounts for each node, 0 for what is left to the console."""

    app: str
    gpu_type: str = ""
    partition: str = ""
    gpus: int = 0
    nodes: int = 1
    cpus: int = 0
    memory_mb: int = 0
    time_s: int = 0


@dataclass(frozen=True)
class RightSize:
    """`changes`: fields of the form with their new values. `reason`: one sentence with the figures behind them."""

    changes: Mapping[str, int]
    reason: str
    jobs: tuple[int, ...]  # ids of the jobs it goes by, the newest first


@dataclass(frozen=True)
class Whose:
    """Whose jobs count: by uid where it is known, since a scheduler may know the person by another name."""

    cluster: str
    user: str
    uid: int | None


def right_size(
    warehouse: Warehouse,
    telemetry: Telemetry,
    whose: Whose,
    wanted: Wanted,
    *,
    titles: Mapping[str, str],
    now_s: float | None = None,
) -> RightSize | None:
    """The suggestion, or None where there is too little to go by or nothing worth changing. Blocks.

    Similar are sessions of the same app, with or without GPUs as now; where these are too few, any of the person's
    jobs on the same GPU model, or without one in the same partition. `titles`: of apps, as people call them.
    Raises WarehouseUnusable, TelemetryUnusable.
    """
    since_s = int(time.time() if now_s is None else now_s) - WINDOW_S
    title = titles.get(wanted.app, wanted.app)
    kinds = [("app", wanted.app, f"{title} session")] if wanted.app else []
    if wanted.gpus and wanted.gpu_type:
        kinds.append(("gpu_type", wanted.gpu_type, f"job on {wanted.gpu_type.upper()}"))
    elif not wanted.gpus and wanted.partition:
        kinds.append(("partition", wanted.partition, f"job in {wanted.partition}"))
    for column, value, noun in kinds:
        rows = similar(warehouse, whose, column, value, with_gpus=wanted.gpus > 0, since_s=since_s)
        runs = measured(telemetry, rows)
        if len(runs) >= FEWEST:
            return suggest(runs, wanted, noun)
    return None


def similar(
    warehouse: Warehouse, whose: Whose, column: str, value: str, *, with_gpus: bool, since_s: int
) -> list[dict[str, Any]]:
    """The newest ended jobs of the person of which `column` is `value`; twice as many as are needed, since some were
    not measured."""
    if column not in ("app", "gpu_type", "partition"):
        raise ValueError(column)
    who = "uid = $uid" if whose.uid is not None else '"user" = $user'
    warehouse.refresh()
    with warehouse.cursor() as con:
        found = con.execute(
            "SELECT job_id, start_s, end_s, state, nodes, cpus, gpus, time_limit_s FROM ended_jobs "  # noqa: S608
            f"WHERE cluster = $cluster AND {who} AND {column} = $value AND (gpus > 0) = $with_gpus "
            "AND end_s >= $since_s AND end_s - start_s >= $least_s ORDER BY end_s DESC LIMIT $most",
            {
                "cluster": whose.cluster, "value": value, "with_gpus": with_gpus, "since_s": since_s,
                "least_s": MIN_ELAPSED_S, "most": 2 * MOST,
                **({"uid": whose.uid} if whose.uid is not None else {"user": whose.user}),
            },
        ).fetchall()  # fmt: skip
    names = ("job_id", "start_s", "end_s", "state", "nodes", "cpus", "gpus", "time_limit_s")
    return [{"cluster": whose.cluster, **dict(zip(names, row, strict=True))} for row in found]


def measured(telemetry: Telemetry, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those of the jobs that were measured long enough: `job`, and `print`, its footprint; the newest first."""
    if len(rows) < FEWEST:
        return []
    refs = [JobRef(row["cluster"], row["job_id"], row["start_s"], row["end_s"]) for row in rows]
    prints = {
        (each["job_id"], each["start_s"]): each
        for each in telemetry.footprints(refs).to_pylist()
        if (each["samples"] or 0) >= MIN_SAMPLES
    }
    found = [
        {"job": row, "print": prints[row["job_id"], row["start_s"]]}
        for row in rows
        if (row["job_id"], row["start_s"]) in prints
    ]
    return found[:MOST]


def suggest(runs: Sequence[Mapping[str, Any]], wanted: Wanted, noun: str) -> RightSize | None:
    """What these runs say. None where the form asks for about that already."""
    changes: dict[str, int] = {}
    said: list[str] = []
    for part in (_memory, _cpus, _gpus, _time):
        found = part(runs, wanted)
        if found is not None:
            name, value, words = found
            changes[name] = value
            said.append(words)
    if not changes:
        return None
    first, _, rest = noun.partition(" ")
    plural = f"{first}s {rest}" if first == "job" else f"{noun}s"
    jobs = tuple(run["job"]["job_id"] for run in runs)
    return RightSize(changes, f"Your last {len(runs)} {plural} {_listed(said)}.", jobs)


Part = tuple[str, int, str] | None


def _memory(runs: Sequence[Mapping[str, Any]], wanted: Wanted) -> Part:
    peaks = [run["print"]["memory_peak_bytes"] for run in runs if run["print"]["memory_peak_bytes"]]
    if len(peaks) < FEWEST:
        return None
    peak = max(peaks)
    short = [
        run["print"]["memory_limit_bytes"] or peak
        for run in runs
        if (run["print"]["oom_kills"] or 0) > 0 or run["job"]["state"] == "OUT_OF_MEMORY"
    ]
    if short:
        size = memory_step(max(max(short) * OOM_MARGIN, peak * MEMORY_MARGIN))
        words = f"ran out of memory {'once' if len(short) == 1 else f'{len(short)} times'} with {_bytes(max(short))}"
    else:
        size = memory_step(peak * MEMORY_MARGIN)
        words = f"peaked at {_bytes(peak)}"
    return _worth("memory_mb", size // MB, wanted.memory_mb, words)


def _cpus(runs: Sequence[Mapping[str, Any]], wanted: Wanted) -> Part:
    used = [
        run["print"]["cpu_cores_p95"] / max(1, run["print"]["nodes"] or 1)
        for run in runs
        if run["print"]["cpu_cores_p95"] is not None
    ]
    if len(used) < FEWEST:
        return None
    most = max(used)
    cpus = max(1, math.ceil(most * CPU_MARGIN))
    given = min((run["job"]["cpus"] or 0) / max(1, run["job"]["nodes"] or 1) for run in runs)
    if cpus >= given:  # all that they had was used: how many would be enough is not known
        return None
    return _worth("cpus", cpus, wanted.cpus, f"kept at most {shown_as('times', most)} CPUs busy")


def _gpus(runs: Sequence[Mapping[str, Any]], wanted: Wanted) -> Part:
    if not wanted.gpus:
        return None
    used = [(run["print"]["gpus_used"], run["print"]["nodes"] or 1) for run in runs]
    if any(gpus is None for gpus, _ in used):
        return None
    most = max(math.ceil(gpus / max(1, nodes)) for gpus, nodes in used)
    if most >= wanted.gpus:
        return None
    had = max(math.ceil((run["job"]["gpus"] or 0) / max(1, run["job"]["nodes"] or 1)) for run in runs)
    if most == 0:
        return "gpus", 0, f"left {'their GPU' if had <= 1 else 'their GPUs'} idle"
    return "gpus", most, f"used {most} of {had} GPUs"


def _time(runs: Sequence[Mapping[str, Any]], wanted: Wanted) -> Part:
    lengths = [run["job"]["end_s"] - run["job"]["start_s"] for run in runs]
    if any(run["job"]["state"] == "TIMEOUT" for run in runs):  # how long they would have run is not known
        return None
    longest = max(lengths)
    suggested = time_step(longest * TIME_MARGIN)
    if wanted.time_s and suggested > wanted.time_s:  # that much was not wanted this time
        return None
    return _worth("time_s", suggested, wanted.time_s, f"ran {span(longest)} at the longest")


def _worth(name: str, value: int, asked: int, words: str) -> Part:
    return None if asked and abs(value - asked) < WORTH * asked else (name, value, words)


def _bytes(size: float) -> str:
    return shown_as("bytes", round(size / GB, 1) * GB if size >= GB else size)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
