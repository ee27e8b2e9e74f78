"""Each metric as one division of sums of integers: the only place where a figure stops being exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HOUR_S = 3600
JOULES_A_KWH = 3_600_000


@dataclass(frozen=True)
class Formula:
    """(sum of `over`) ÷ (`by` × `per`); a count where there is nothing to divide by. Null where undefined."""

    over: Mapping[str, int]  # raw sums with their factor
    by: str | None = None  # a raw sum
    per: int = 1
    known: str | None = None  # a raw sum that is 0 where nothing is known

    @property
    def raws(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.over, *filter(None, (self.by, self.known))]))

    @property
    def counts(self) -> bool:
        return self.by is None and self.per == 1

    def sql(self, of: str = "") -> str:
        """An expression on the columns of raw sums, with `of` before each name."""
        over = " + ".join(f"{of}{raw} * {factor}" if factor != 1 else f"{of}{raw}" for raw, factor in self.over.items())
        if self.counts:
            return over
        by = f"{of}{self.by}::DOUBLE * {self.per}" if self.by else f"{self.per}"
        value = f"({over})::DOUBLE / nullif({by}, 0)"
        return f"CASE WHEN {of}{self.known} <> 0 THEN {value} END" if self.known else value

    def value(self, sums: Mapping[str, int | None]) -> float | int | None:
        if self.known and not sums[self.known]:
            return None
        parts = [(sums[raw], factor) for raw, factor in self.over.items()]
        by = sums[self.by] if self.by else 1
        if not by or any(part is None for part, _ in parts):
            return None
        over = sum(part * factor for part, factor in parts if part is not None)
        return over if self.counts else over / (by * self.per)


FORMULAS = {
    "cpu_hours": Formula({"cpu_s": 1}, per=HOUR_S),
    "gpu_hours": Formula({"gpu_s": 1}, per=HOUR_S),
    "node_hours": Formula({"node_s": 1}, per=HOUR_S),
    "wall_hours": Formula({"wall_s": 1}, per=HOUR_S),
    "mem_gb_hours": Formula({"mem_mb_s": 1}, per=1024 * HOUR_S),
    "billing_hours": Formula({"billing_s": 1}, per=HOUR_S),
    "energy_kwh": Formula({"energy_j": 1}, per=JOULES_A_KWH),
    "jobs": Formula({"jobs": 1}),
    "attempts": Formula({"attempts": 1}),
    "jobs_submitted": Formula({"submitted": 1}),
    "jobs_started": Formula({"started": 1}),
    "jobs_ended": Formula({"ended": 1}),
    "wait_hours": Formula({"wait_s": 1}, per=HOUR_S),
    "wait_mean_s": Formula({"wait_s": 1}, by="waits"),
    "cpu_efficiency": Formula({"cpu_used_ms": 1}, by="cpu_ran_s", per=1000),
    "mem_efficiency": Formula({"mem_used_mb_s": 1}, by="mem_ran_mb_s"),
    "time_efficiency": Formula({"time_used_s": 1}, by="time_limit_s"),
    "cpu_hours_unused": Formula({"cpu_ran_s": 1000, "cpu_used_ms": -1}, per=1000 * HOUR_S, known="cpu_ran_s"),
}
# Needed from every attempt, so from the detail: (share, raw sum that says a group has any).
QUANTILES = {"wait_median_s": 0.5, "wait_p90_s": 0.9}
# A share of what the cluster had: the raw sum, and the TRES of the capacity table.
SHARES = {"utilisation": ("cpu_s", "cpu"), "gpu_utilisation": ("gpu_s", "gres/gpu")}
# What has a price: see `prices`.
PRICED_RAWS = ("cpu_s", "mem_mb_s", "node_s", "billing_s", "gpu_s")
# Why a figure is not there, whatever is asked.
UNAVAILABLE = {
    "gpu_efficiency": "Slurm's accounting does not hold how busy GPUs were.",
}
# Not the sum over stretches of time: what is there in two of them counts in both.
OVERLAPPING = frozenset({"jobs", "attempts"})


def raws_of(metric: str) -> tuple[str, ...]:
    """The raw sums of a metric."""
    if metric in FORMULAS:
        return FORMULAS[metric].raws
    if metric in SHARES:
        return (SHARES[metric][0],)
    if metric == "cost":
        return PRICED_RAWS
    return ("wait_s", "waits") if metric in QUANTILES else ()
