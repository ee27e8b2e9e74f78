"""The usage engine once more, slow and obvious: plain Python over rows, one at a time, no roll-up, no SQL.

It shares nothing with the engine but the question: what both say must be the same to the last digit.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from backend.accounting.usage import Question, Scope

Row = Mapping[str, Any]
Sums = dict[str, int]
TIMES = ("hour", "day", "week", "month", "quarter", "year")
STEP_S = 900  # all changes of the clock since 1980 that are asked about fall on a quarter of an hour
SIZES = [(0, "0"), (1, "1"), (2, "2"), (4, "3-4"), (8, "5-8"), (16, "9-16")]


def buckets(question: Question) -> Iterator[tuple[dict[str, str], int, int]]:
    """Runs of quarters of an hour whose clock reads alike, as far as is asked."""
    zone = ZoneInfo(question.zone)
    kinds = [name for name in question.by if name in TIMES]
    if not kinds:
        yield {}, question.since_s, question.until_s
        return
    run: tuple[Any, ...] | None = None
    labels: dict[str, str] = {}
    begun_s = 0
    first_s = (question.since_s - 7200) // STEP_S * STEP_S
    for at_s in range(first_s, question.until_s + STEP_S, STEP_S):
        clock = datetime.fromtimestamp(at_s, zone)
        here = tuple(_reads(kind, clock) for kind in kinds)
        if here != run or at_s >= question.until_s:
            if run is not None and min(at_s, question.until_s) > max(begun_s, question.since_s):
                yield labels, max(begun_s, question.since_s), min(at_s, question.until_s)
            run, begun_s = here, at_s
            labels = {
                kind: clock.isoformat(timespec="minutes") if kind == "hour" else _reads(kind, clock) for kind in kinds
            }


def _reads(kind: str, clock: datetime) -> str:
    return {
        "hour": f"{clock:%Y-%m-%d %H %z}", "day": f"{clock:%Y-%m-%d}", "week": f"{clock:%G-W%V}",
        "month": f"{clock:%Y-%m}", "quarter": f"{clock:%Y}-Q{(clock.month + 2) // 3}", "year": f"{clock:%Y}",
    }[kind]  # fmt: skip


def answer(
    question: Question,
    scope: Scope,
    jobs: Iterable[Row],
    suspends: Iterable[Row],
    below: Mapping[str, Mapping[str, set[str]]],
    *,
    project_of: Mapping[tuple[str, str], str],
) -> dict[tuple[str | None, ...], dict[str, Any]]:
    """Each group's metrics by its dimensions' values. `below`: by cluster, an account and all accounts under it.

    `project_of`: by cluster and account.
    """
    stops = defaultdict(list)
    for each in suspends:
        stops[each["cluster"], each["job_id"], each["submit_s"]].append((each["from_s"], each["to_s"]))
    groups: dict[tuple[str | None, ...], Group] = defaultdict(Group)
    spans = list(buckets(question))
    for row in jobs:
        if not counts(row, question.definitions) or not seen(row, scope, below):
            continue
        attempt = Attempt(row, stops[row["cluster"], row["job_id"], row["submit_s"]], question.definitions)
        for labels, from_s, to_s in spans:
            for gpu_type, sums in attempt.within(from_s, to_s):
                dims = dimensions(row, project_of) | labels | {"gpu_type": gpu_type}
                if passes(dims, question.where, row["cluster"], below):
                    groups[tuple(dims[name] for name in question.by)].add(sums, attempt)
    found = {key: group.metrics() for key, group in groups.items()}
    return {
        key: {metric: metrics[metric] for metric in question.metrics}
        for key, metrics in found.items()
        if groups[key].matters(question.metrics) or not question.by
    }


def counts(row: Row, definitions: str) -> bool:
    if row["state"] == "REVOKED":
        return False
    if definitions == "xdmod":
        ran = row["start_s"] is not None and row["end_s"] is not None and row["nodes"] > 0
        return ran and row["state"] not in ("REQUEUED", "RESIZING")
    return True


def seen(row: Row, scope: Scope, below: Mapping[str, Mapping[str, set[str]]]) -> bool:
    if scope.everything:
        return True
    if any(row["account"] in below.get(row["cluster"], {}).get(name, {name}) for name in scope.accounts):
        return True
    if scope.uid is not None and row["uid"] is not None:
        return bool(row["uid"] == scope.uid)
    return scope.user is not None and row["user"] == scope.user


def passes(dims: Mapping[str, Any], where: Any, cluster: str, below: Mapping[str, Mapping[str, set[str]]]) -> bool:
    for name, values in where:
        wanted = set(values)
        if name == "account":
            for value in values:
                wanted |= below.get(cluster, {}).get(value, set())
        if (dims[name] or "") not in wanted:
            return False
    return True


def dimensions(row: Row, project_of: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    size = next(label for most, label in SIZES if (row["nodes"] or 0) <= most)
    exit_code = f"{row['exit_status']}:{row['exit_signal']}" if row["end_s"] is not None else None
    plain = ("cluster", "user", "account", "partition", "qos", "state", "reservation", "app", "wckey")
    return {name: row[name] for name in plain} | {
        "job_size": size, "exit": exit_code, "project": project_of.get((row["cluster"], row["account"])),
    }  # fmt: skip


class Attempt:
    """One row, and what of it lies in a stretch of time."""

    def __init__(self, row: Row, stops: list[tuple[int, int | None]], definitions: str) -> None:
        self.row = row
        self.xdmod = definitions == "xdmod"
        self.ran = row["start_s"] is not None
        end_s, seen_s = row["end_s"], row["seen_s"]
        if not self.ran:
            self.begin_s = self.stop_s = end_s if end_s is not None else seen_s - 1
        elif end_s is not None:
            self.begin_s, self.stop_s = min(row["start_s"], end_s), end_s
        else:
            self.begin_s, self.stop_s = row["start_s"], max(row["start_s"], seen_s)
        self.last_s = max(self.stop_s, self.begin_s + 1)  # what takes no time is there for a second
        if self.xdmod or not row["suspended_s"] or not self.ran:
            self.stops = []
        elif stops:
            self.stops = [(from_s, self.stop_s if to_s is None else to_s) for from_s, to_s in stops]
        else:
            self.stops = [(self.stop_s - row["suspended_s"], self.stop_s)]
        leads = self.xdmod or not row["het_offset"]
        self.first = self.xdmod or (row["attempt"] == 1 and leads)
        self.last = self.xdmod or (row["last_attempt"] and leads)
        self.weight = max(1, row["array_pending"]) if not self.ran else 1
        self.job = (row["cluster"], row["het_job_id"] or row["job_id"], row["origin_s"])
        if self.xdmod:
            self.job = (row["cluster"], row["job_id"], row["submit_s"])

    def suspended(self, from_s: int, to_s: int) -> int:
        points = sorted({from_s, to_s, *(max(from_s, min(to_s, at_s)) for stop in self.stops for at_s in stop)})
        return sum(
            later - earlier
            for earlier, later in itertools.pairwise(points)
            if any(stop_from <= earlier < stop_to for stop_from, stop_to in self.stops)
        )

    def within(self, from_s: int, to_s: int) -> Iterator[tuple[str | None, Sums]]:
        """Sums by type of GPU: the mix has all of them but what each of its types takes."""
        row = self.row
        busy_from, busy_to = max(from_s, self.begin_s), min(to_s, self.stop_s)
        busy = max(0, busy_to - busy_from)
        awake = busy - (self.suspended(busy_from, busy_to) if busy else 0)
        here = self.begin_s < to_s and self.last_s > from_s
        started = self.ran and self.first and from_s <= self.begin_s < to_s
        ended = row["end_s"] is not None and from_s <= row["end_s"] < to_s
        sums = {
            "cpu_s": awake * row["cpus"], "gpu_s": busy * row["gpus"], "node_s": busy * row["nodes"],
            "wall_s": awake, "mem_mb_s": busy * row["mem_mb"], "billing_s": busy * row["billing"],
            "attempts": self.weight if here else 0,
            "submitted": self.weight if self.first and from_s <= min(row["submit_s"], self.begin_s) < to_s else 0,
            "started": int(started), "ended": self.weight if self.last and ended else 0,
        }  # fmt: skip
        eligible_s = row["submit_s"] if self.xdmod else row["eligible_s"]
        if started and eligible_s:
            sums |= {"wait_s": max(0, row["start_s"] - eligible_s), "waits": 1}
        if here and row["energy_j"] is not None:
            sums["measured"] = 1
            length = self.stop_s - self.begin_s
            sums["energy_j"] = row["energy_j"]
            if length:
                sums["energy_j"] = row["energy_j"] * (busy_to - self.begin_s) // length
                sums["energy_j"] -= row["energy_j"] * (busy_from - self.begin_s) // length
        length = self.stop_s - self.begin_s
        if ended and self.ran and length:
            if row["cpu_used_s"] is not None:
                sums["cpu_used_ms"] = round(row["cpu_used_s"] * 1000)
                idle = 0 if self.xdmod else row["suspended_s"]
                sums["cpu_ran_s"] = row["cpus"] * max(0, length - idle)
            if row["mem_peak_mb"] is not None and row["mem_mb"]:
                sums |= {"mem_used_mb_s": row["mem_peak_mb"] * length, "mem_ran_mb_s": row["mem_mb"] * length}
            if row["time_limit_s"]:
                sums |= {"time_used_s": length, "time_limit_s": row["time_limit_s"]}
        mix = row["gpu_type"] if row["gpus"] else None
        if mix and "=" in mix:
            for part in mix.split(","):
                name, _, count = part.partition("=")
                yield name, {"gpu_s": busy * int(count)}
                sums["gpu_s"] -= busy * int(count)
        yield mix, sums


class Group:
    def __init__(self) -> None:
        self.sums: Sums = defaultdict(int)
        self.jobs: dict[tuple[Any, ...], int] = {}
        self.waits: list[int] = []

    def add(self, sums: Sums, attempt: Attempt) -> None:
        for name, value in sums.items():
            self.sums[name] += value
        if sums.get("attempts"):
            self.jobs[attempt.job] = attempt.weight
        if sums.get("waits"):
            self.waits.append(sums["wait_s"])

    def matters(self, metrics: Iterable[str]) -> bool:
        sums = self.sums
        used = {
            "jobs_submitted": "submitted", "jobs_started": "started", "jobs_ended": "ended", "wait_hours": "wait_s",
            "wait_mean_s": "waits", "wait_median_s": "waits", "wait_p90_s": "waits", "gpu_hours": "gpu_s",
            "cpu_efficiency": "cpu_ran_s", "mem_efficiency": "mem_ran_mb_s", "time_efficiency": "time_limit_s",
            "cpu_hours_unused": "cpu_ran_s",
        }  # fmt: skip
        return bool(sums["attempts"]) or any(sums[used[metric]] for metric in metrics if metric in used)

    def metrics(self) -> dict[str, float | int | None]:
        sums = self.sums
        mixed = self.sums["gpu_s"]
        return {
            "cpu_hours": sums["cpu_s"] / 3600, "gpu_hours": mixed / 3600, "node_hours": sums["node_s"] / 3600,
            "wall_hours": sums["wall_s"] / 3600, "mem_gb_hours": sums["mem_mb_s"] / (3600 * 1024),
            "billing_hours": sums["billing_s"] / 3600,
            "energy_kwh": sums["energy_j"] / 3_600_000 if sums["measured"] else None,
            "jobs": sum(self.jobs.values()), "attempts": sums["attempts"], "jobs_submitted": sums["submitted"],
            "jobs_started": sums["started"], "jobs_ended": sums["ended"], "wait_hours": sums["wait_s"] / 3600,
            "wait_mean_s": _share(sums["wait_s"], sums["waits"]),
            "wait_median_s": quantile(self.waits, 1, 2), "wait_p90_s": quantile(self.waits, 9, 10),
            "cpu_efficiency": _share(sums["cpu_used_ms"], sums["cpu_ran_s"] * 1000),
            "mem_efficiency": _share(sums["mem_used_mb_s"], sums["mem_ran_mb_s"]),
            "time_efficiency": _share(sums["time_used_s"], sums["time_limit_s"]),
            "cpu_hours_unused": (
                (sums["cpu_ran_s"] * 1000 - sums["cpu_used_ms"]) / 3_600_000 if sums["cpu_ran_s"] else None
            ),
        }  # fmt: skip


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def quantile(values: list[int], over: int, by: int) -> float | None:
    """Linear between the two values that the place over/by falls between."""
    if not values:
        return None
    ordered = sorted(values)
    place, rest = divmod((len(ordered) - 1) * over, by)
    following = ordered[min(place + 1, len(ordered) - 1)]
    return ordered[place] + (following - ordered[place]) * rest / by
