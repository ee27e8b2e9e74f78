"""`Telemetry` out of a Prometheus or VictoriaMetrics that scrapes the nodes' agents.

A point of a series is what was scraped within its bin: mean, low and high. Footprints and small lines are of values
taken at regular distances, at most `FOOTPRINT_POINTS` over a job: a peak between two of them shows only in metrics that
count peaks themselves, and in when the GPUs of a running job were last at work.
"""

from __future__ import annotations

import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa

from backend.telemetry.catalogue import BY_NAME, IDLE_GPU_PERCENT, METRICS
from backend.telemetry.model import (
    FOOTPRINTS,
    Device,
    JobRef,
    Resolution,
    Series,
    Spark,
    TelemetryState,
    TelemetryUnusable,
)
from backend.telemetry.prometheus.api import Api, quoted
from backend.telemetry.store import Chunk, Tally, footprint_table
from backend.telemetry.store.layout.chunks import Key, device_order
from backend.telemetry.store.memory.attempts import EARLY_S, LATE_S
from backend.telemetry.store.reading.sparks import spark_of
from backend.telemetry.store.writing.archive import step_for

PREFIX = "carme_job_"
FOOTPRINT_POINTS = 400
AT_ONCE = 6
JOBS_AT_ONCE = 40
KEPT = 5000  # footprints of ended jobs
RUNNING_S = 600
SETTLED_S = 600  # an ended job's last values have been scraped by then
RUNNING_BACK_S = 86400  # jobs that nobody names are looked at so far back
STATE_S = 5.0
STRETCH_S = 3 * 3600  # of one question for every sample: Prometheus gives 11,000 points of a series at most
_KINDS = ("job", "gpu")
_NAMES = [metric.name for metric in METRICS if metric.kind in _KINDS]


@dataclass(frozen=True)
class _Of:
    """A job's series. None: of any."""

    cluster: str
    job_id: int
    nodes: Sequence[str] | None = None
    devices: Sequence[str] | None = None


class PrometheusTelemetry:
    """Safe in several threads; blocks. `every_s`: how often the nodes are scraped."""

    lists_jobs = False

    def __init__(self, api: Api, *, every_s: float = 10.0, now: Callable[[], float] = time.time) -> None:
        self._api, self._now, self._every_s = api, now, every_s
        self._least_steps = {"auto": step_for(every_s * 600, 601), "raw": 1, "minute": 60}
        self._lock = Lock()
        self._kept: OrderedDict[JobRef, dict[str, Any]] = OrderedDict()
        self._state: tuple[float, TelemetryState] | None = None
        self._failing_since_s: float | None = None

    @property
    def state(self) -> TelemetryState:
        """How far it is known. Sizes are the other server's own business."""
        known = self._state
        if known is not None and time.monotonic() - known[0] < STATE_S:
            return known[1]
        try:
            found = self._api.instant(f"max(timestamp({PREFIX}cpu_cores))", self._now())
            self._failing_since_s = None
            state = TelemetryState(as_of_s=float(found[0]["value"][1]) if found else None)
        except TelemetryUnusable as error:
            self._failing_since_s = self._failing_since_s or self._now()
            as_of_s = known[1].as_of_s if known else None
            state = TelemetryState(as_of_s=as_of_s, error=str(error), error_since_s=self._failing_since_s)
        self._state = (time.monotonic(), state)
        return state

    def devices(self, job: JobRef) -> tuple[Device, ...]:
        """What of the job was measured."""
        found: dict[tuple[str, str], tuple[str, set[str]]] = {}
        for labels in self._api.labels(_selector(job.cluster, [job.job_id]), *self._span(job)):
            name = labels["__name__"].removeprefix(PREFIX)
            if name in BY_NAME:
                where = (labels.get("node", ""), labels.get("device", ""))
                model, metrics = found.setdefault(where, ("", set()))
                metrics.add(name)
                found[where] = (labels.get("model", "") or model, metrics)
        return tuple(
            Device(node, device, model, tuple(name for name in BY_NAME if name in metrics))
            for (node, device), (model, metrics) in sorted(found.items(), key=lambda item: device_order(*item[0]))
        )

    def series(
        self,
        job: JobRef,
        metrics: Sequence[str],
        *,
        since_s: float | None = None,
        until_s: float | None = None,
        points: int = 600,
        nodes: Sequence[str] | None = None,
        resolution: Resolution = "auto",
    ) -> tuple[Series, ...]:
        """The points of every device; see `Telemetry`."""
        first_s, last_s = self._window(job, since_s, until_s)
        known = [name for name in dict.fromkeys(metrics) if name in BY_NAME]
        if last_s <= first_s or not known:
            return ()
        step_s = float(max(step_for(last_s - first_s, points), self._least_steps[resolution]))
        found = self._binned(known, (first_s, last_s, step_s), _Of(job.cluster, job.job_id, nodes))
        order = {name: at for at, name in enumerate(known)}
        return tuple(sorted(found, key=lambda one: (device_order(one.node, one.device), order[one.metric])))

    def samples(
        self, job: JobRef, devices: Sequence[Device], *, since_s: float | None = None, until_s: float | None = None
    ) -> Iterator[tuple[Device, pa.Table]]:
        """All that was scraped, a stretch of one device in memory at a time."""
        first_s, last_s = self._window(job, since_s, until_s)
        for device in devices:
            of = _Of(job.cluster, job.job_id, [device.node], [device.device])
            at_s = first_s
            while at_s < last_s:
                end_s = min((at_s // STRETCH_S + 1) * STRETCH_S, last_s)
                if found := self._binned(device.metrics, (at_s, end_s, 1.0), of):
                    yield device, _table(found)
                at_s = end_s

    def _binned(self, metrics: Sequence[str], window: tuple[float, float, float], of: _Of) -> list[Series]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return [one for each in pool.map(lambda name: self._bins(name, window, of), metrics) for one in each]

    def _bins(self, name: str, window: tuple[float, float, float], of: _Of) -> list[Series]:
        first_s, last_s, step_s = window
        selector = _selector(of.cluster, [of.job_id], name, nodes=of.nodes, devices=of.devices)
        # A range of PromQL is (t - step, t]; a bin is [t - step, t): a thousandth of a second makes them one.
        begin_s = math.floor(first_s / step_s) * step_s + step_s - 0.001
        end_s = math.ceil(last_s / step_s) * step_s - 0.001
        parts: list[dict[tuple[str, str], dict[float, float]]] = []
        for function in ("avg", "min", "max"):
            query = f"{function}_over_time({selector}[{round(step_s * 1000)}ms])"
            parts.append(_by_device(self._api.range(query, begin_s, end_s, step_s)))
        means, lows, highs = parts
        found = []
        for where, values in means.items():
            times = [at for at in sorted(values) if at in lows.get(where, {}) and at in highs.get(where, {})]
            chosen = highs[where] if BY_NAME[name].highest else values
            if times:
                found.append(Series(
                    *where, name, step_s, tuple(round(at + 0.001 - step_s, 3) for at in times),
                    tuple(chosen[at] for at in times), tuple(lows[where][at] for at in times),
                    tuple(highs[where][at] for at in times),
                ))  # fmt: skip
        return found

    def sparks(self, jobs: Sequence[JobRef], points: int = 32) -> dict[JobRef, Spark]:
        """A small line for each job that was measured."""
        newest = self._newest(jobs)
        lines = {job: spark_of(row, points) for job, row in self._rows(jobs).items() if row["spark_step_s"]}
        return {
            job: replace(line, every_s=self._every_s, last_s=newest.get((job.cluster, job.job_id), line.last_s))
            for job, line in lines.items()
        }

    def _newest(self, jobs: Sequence[JobRef]) -> dict[tuple[str, int], float]:
        """When running jobs were scraped last, to the second. In a range a value counts on for some minutes, and its
        steps are wide."""
        by_cluster: dict[str, set[int]] = {}
        for job in jobs:
            if job.end_s is None:
                by_cluster.setdefault(job.cluster, set()).add(job.job_id)
        found = {}
        for cluster, job_ids in by_cluster.items():
            times = f"timestamp({_selector(cluster, sorted(job_ids), 'cpu_cores')})"
            for one in self._api.instant(f"max by (jobid) ({times})", self._now()):
                found[cluster, int(one["metric"]["jobid"])] = float(one["value"][1])
        return found

    def footprints(self, jobs: Sequence[JobRef]) -> pa.Table:
        """Rows of FOOTPRINTS for those of the jobs that were measured."""
        rows = self._rows(jobs)
        return footprint_table([rows[job] for job in jobs if job in rows])

    def running(self, cluster: str) -> pa.Table:
        """Every job that was scraped within the last ten minutes. Their beginning is what the last day shows of it."""
        now = self._now()
        found = self._unnamed(cluster, now - RUNNING_BACK_S, now, now - RUNNING_S)
        return footprint_table([row for row in found if row["end_s"] is None])

    def footprints_of(
        self, clusters: Collection[str], since_s: int, until_s: int, columns: Sequence[str] = FOOTPRINTS.names
    ) -> pa.Table:
        """All jobs that were scraped within, by what was scraped within: their beginnings aren't known."""
        last_s = min(until_s, self._now())
        rows = [row for cluster in clusters for row in self._unnamed(cluster, since_s, last_s, since_s)]
        return footprint_table(rows).select(list(columns))

    def _unnamed(self, cluster: str, first_s: float, last_s: float, there_since_s: float) -> list[dict[str, Any]]:
        if last_s <= first_s:
            return []
        # Not the labels of the time: those VictoriaMetrics knows by the day only.
        within = f"{_selector(cluster, None, 'cpu_cores')}[{round((last_s - there_since_s) * 1000)}ms]"
        there = [one["metric"] for one in self._api.instant(f"count by (jobid) (last_over_time({within}))", last_s)]
        job_ids = sorted({int(labels["jobid"]) for labels in there if labels.get("jobid", "").isdigit()})
        rows = []
        with ThreadPoolExecutor(AT_ONCE) as pool:
            parts = [job_ids[at : at + JOBS_AT_ONCE] for at in range(0, len(job_ids), JOBS_AT_ONCE)]
            groups = pool.map(lambda part: self._tallies(cluster, part, first_s, last_s), parts)
            for group in groups:
                for job_id, tally in group.items():
                    running = tally.last_s >= self._now() - RUNNING_S
                    end_s = None if running else int(tally.last_s)
                    rows.append(tally.row(cluster, job_id, int(tally.first_s), end_s))
        return rows

    def _rows(self, jobs: Sequence[JobRef]) -> dict[JobRef, dict[str, Any]]:
        with self._lock:
            found = {job: self._kept[job] for job in jobs if job in self._kept}
        missing = [job for job in dict.fromkeys(jobs) if job not in found]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for job, row in zip(missing, pool.map(self._row, missing), strict=True):
                if row is not None:
                    found[job] = row
        with self._lock:
            for job in missing:
                if job in found and job.end_s is not None and job.end_s < self._now() - SETTLED_S:
                    self._kept[job] = found[job]
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def _row(self, job: JobRef) -> dict[str, Any] | None:
        tally = self._tallies(job.cluster, [job.job_id], *self._span(job)).get(job.job_id)
        return None if tally is None else tally.row(job.cluster, job.job_id, job.start_s, job.end_s)

    def _tallies(self, cluster: str, job_ids: Sequence[int], first_s: float, last_s: float) -> dict[int, Tally]:
        now_s = self._now()
        last_s = min(last_s, now_s)  # a value is shown for some minutes more, unless its target says it is gone
        step_s = max(10.0, float(step_for(last_s - first_s, FOOTPRINT_POINTS)))
        looks = last_s - (last_s - first_s) // step_s * step_s, last_s, step_s  # the newest value is one of them
        found = self._api.range(_selector(cluster, job_ids, *_NAMES), *looks)
        chunks: dict[int, dict[Key, Chunk]] = {}
        for key, series in _grouped(cluster, found).items():
            chunks.setdefault(key.job_id, {})[key] = _chunk(key, series)
        tallies = {}
        for job_id, its in chunks.items():
            tally = Tally()
            tally.add(list(its.values()))
            if tally.measured:
                tallies[job_id] = tally
        run = [job_id for job_id, tally in tallies.items() if tally.gpus and tally.last_s >= now_s - RUNNING_S]
        if run:
            for job_id, active_s in self._active(cluster, run, looks).items():
                tallies[job_id].active_s = max(tallies[job_id].active_s, active_s)
        return tallies

    def _active(self, cluster: str, job_ids: Sequence[int], looks: tuple[float, float, float]) -> dict[int, float]:
        """The end of the last step in which a GPU of the job was not idle, however short."""
        counted, driver = (
            f"max_over_time({_selector(cluster, job_ids, name)}[{round(looks[2] * 1000)}ms])"
            for name in ("gpu_busy_percent", "gpu_utilisation_percent")
        )
        found = self._api.range(f"max by (jobid) ({counted} or {driver})", *looks)
        busy = {
            int(one["metric"]["jobid"]): [at for at, text in one["values"] if float(text) >= IDLE_GPU_PERCENT]
            for one in found
        }
        return {job_id: float(times[-1]) for job_id, times in busy.items() if times}

    def _span(self, job: JobRef) -> tuple[float, float]:
        end_s = self._now() if job.end_s is None else job.end_s
        return job.start_s - EARLY_S, end_s + LATE_S

    def _window(self, job: JobRef, since_s: float | None, until_s: float | None) -> tuple[float, float]:
        first_s, last_s = self._span(job)
        return (
            first_s if since_s is None else max(first_s, since_s),
            last_s if until_s is None else min(last_s, until_s),
        )


def _table(found: Sequence[Series]) -> pa.Table:
    """Series of one device: `time_s` and a column a metric."""
    times = np.unique(np.concatenate([np.asarray(each.times_s) for each in found]))
    columns = {"time_s": pa.array(times)}
    for each in found:
        values = np.full(times.size, np.nan)
        values[np.searchsorted(times, np.asarray(each.times_s))] = each.means
        columns[each.metric] = pa.array(values, from_pandas=True)  # NaN is null: not scraped then
    return pa.table(columns)


def _selector(
    cluster: str,
    job_ids: Sequence[int] | None,
    *names: str,
    nodes: Sequence[str] | None = None,
    devices: Sequence[str] | None = None,
) -> str:
    which = f'__name__="{PREFIX}{names[0]}"' if len(names) == 1 else f'__name__=~"{PREFIX}({"|".join(names) or ".+"})"'
    parts = [which, f"cluster={quoted(cluster)}"]
    if job_ids is not None:
        parts.append(f'jobid=~"{"|".join(str(job_id) for job_id in job_ids)}"')
    for label, values in (("node", nodes), ("device", devices)):
        if values is not None:
            parts.append(f"{label}=~{quoted('|'.join(re.escape(value) for value in values))}")
    return "{" + ",".join(parts) + "}"


def _by_device(found: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[float, float]]:
    by: dict[tuple[str, str], dict[float, float]] = {}
    for series in found:
        labels = series["metric"]
        values = by.setdefault((labels.get("node", ""), labels.get("device", "")), {})
        for at, text in series["values"]:
            value = float(text)
            if math.isfinite(value):
                values[round(float(at), 3)] = value
    return by


def _grouped(cluster: str, found: Iterable[Mapping[str, Any]]) -> dict[Key, list[Mapping[str, Any]]]:
    by: dict[Key, list[Mapping[str, Any]]] = {}
    for series in found:
        labels = series["metric"]
        if labels.get("jobid", "").isdigit():
            key = Key(cluster, int(labels["jobid"]), labels.get("node", ""), labels.get("device", ""))
            by.setdefault(key, []).append(series)
    return by


def _chunk(key: Key, found: Sequence[Mapping[str, Any]]) -> Chunk:
    times = np.array(sorted({float(at) for series in found for at, _ in series["values"]}))
    names = tuple(dict.fromkeys(series["metric"]["__name__"].removeprefix(PREFIX) for series in found))
    means = np.full((len(names), len(times)), np.nan, np.float32)
    model = ""
    for series in found:
        at = np.searchsorted(times, [float(at) for at, _ in series["values"]])
        means[names.index(series["metric"]["__name__"].removeprefix(PREFIX)), at] = [
            float(text) for _, text in series["values"]
        ]
        model = model or series["metric"].get("model", "")
    return Chunk(key, model, times, names, means)
