"""What can be asked: every metric with its unit and how it is made, every dimension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backend.accounting.usage.terms.question import BadQuestion, Question

Unit = Literal["h", "GB·h", "kWh", "s", "%", "count", "money"]
Kind = Literal["time", "name", "account", "size"]


@dataclass(frozen=True)
class Metric:
    name: str
    title: str
    unit: Unit  # "%": the value is a share, 1.0 is 100 %
    method: str  # one or two sentences for the reader of a figure
    additive: bool  # the rows' contributions sum to the figure; else it is a mean, a share or a quantile of them


@dataclass(frozen=True)
class Dimension:
    name: str
    title: str
    kind: Kind


@dataclass(frozen=True)
class Catalogue:
    metrics: tuple[Metric, ...]
    dimensions: tuple[Dimension, ...]

    def metric(self, name: str) -> Metric:
        """Raises BadQuestion when there is none of that name."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise BadQuestion("metrics", f"There is no metric {name!r}. Metrics: {_names(self.metrics)}.")

    def without(self, dimension: str) -> Catalogue:
        return Catalogue(self.metrics, tuple(each for each in self.dimensions if each.name != dimension))

    def dimension(self, name: str, part: str = "by") -> Dimension:
        """Raises BadQuestion (about `part` of the question) when there is none of that name."""
        for dimension in self.dimensions:
            if dimension.name == name:
                return dimension
        raise BadQuestion(part, f"There is no dimension {name!r}. Dimensions: {_names(self.dimensions)}.")


def _names(things: tuple[Metric, ...] | tuple[Dimension, ...]) -> str:
    return ", ".join(thing.name for thing in things)


_CLIPPED = "counted for the part of every attempt that lies in the window, running jobs until they were last seen"
_ENDED = "Over attempts that ended in the window, each whole, and only those of which the use is known"

METRICS = (
    Metric("cpu_hours", "CPU hours", "h", f"Allocated CPUs × time, {_CLIPPED}. Suspended time is left out.", True),
    Metric("gpu_hours", "GPU hours", "h",
           f"Allocated GPUs × time, {_CLIPPED}. By type, a job with several types counts under each.", True),
    Metric("node_hours", "Node hours", "h",
           f"Nodes with an allocation of the job × time, {_CLIPPED}; a shared node counts for each of its jobs.", True),
    Metric("wall_hours", "Wall hours", "h", f"Elapsed time less suspended time, {_CLIPPED}.", True),
    Metric("mem_gb_hours", "Memory GB hours", "GB·h", f"Allocated memory (GB = 1024 MB) × time, {_CLIPPED}.", True),
    Metric("billing_hours", "Billing hours", "h",
           f"Slurm's billing weight, as stored at allocation, × time, {_CLIPPED}.", True),
    Metric("energy_kwh", "Energy", "kWh",
           "Energy that Slurm measured, spread evenly over each attempt. Attempts without a measurement are left out.",
           True),
    Metric("cost", "Cost", "money", "By the price list of the day on which the usage happened.", True),
    Metric("jobs", "Jobs", "count",
           "Jobs that ran in the window, once each whatever their attempts and components; jobs that never started "
           "count when they ended, or when last seen waiting. A pending array counts its tasks.", True),
    Metric("attempts", "Attempts", "count",
           "As jobs, but each requeue, each resize and each component of a heterogeneous job counts.", True),
    Metric("jobs_submitted", "Jobs submitted", "count", "Jobs by the time they were first submitted.", True),
    Metric("jobs_started", "Jobs started", "count", "Jobs by the time their first attempt started.", True),
    Metric("jobs_ended", "Jobs ended", "count",
           "Jobs by the time they ended for good, those that never started too.", True),
    Metric("wait_hours", "Waiting", "h",
           "Start less eligible, of jobs by the time their first attempt started. Time held or waiting for other jobs "
           "is not in it.", True),
    Metric("wait_mean_s", "Mean wait", "s", "Mean of start less eligible, of first attempts that started.", False),
    Metric("wait_median_s", "Median wait", "s", "Median of start less eligible, of first attempts that started.",
           False),
    Metric("wait_p90_s", "Wait, 90th percentile", "s",
           "Nine of ten first attempts that started had waited no longer (interpolated).", False),
    Metric("cpu_efficiency", "CPU efficiency", "%", f"CPU time used ÷ (CPUs × run time). {_ENDED}.", False),
    Metric("mem_efficiency", "Memory efficiency", "%",
           f"Largest memory of a task ÷ memory allocated, weighted by both and run time. {_ENDED}; for jobs of several "
           "tasks it is a lower bound.", False),
    Metric("time_efficiency", "Time limit used", "%", f"Run time ÷ time limit. {_ENDED}.", False),
    Metric("gpu_efficiency", "GPU efficiency", "%", "Slurm's accounting does not hold the use of GPUs.", False),
    Metric("cpu_hours_unused", "Unused CPU hours", "h", f"CPUs × run time less CPU time used. {_ENDED}.", True),
    Metric("utilisation", "CPU utilisation", "%",
           "CPU hours ÷ the CPU hours that the cluster had in the same time, by slurmdbd's hourly record of its size.",
           False),
    Metric("gpu_utilisation", "GPU utilisation", "%",
           "GPU hours ÷ the GPU hours that the cluster had in the same time, by slurmdbd's hourly record of its size.",
           False),
)  # fmt: skip

_XDMOD = (
    "As Open XDMoD counts: ended jobs that got a node, each record on its own; records that were requeued or resized "
    "are left out, suspended time is not."
)
XDMOD_METHODS = {
    "cpu_hours": f"CPUs × elapsed time, split at the window. {_XDMOD}",
    "gpu_hours": f"GPUs × elapsed time, split at the window. {_XDMOD}",
    "node_hours": f"Nodes × elapsed time, split at the window. {_XDMOD}",
    "wall_hours": f"Elapsed time, split at the window. {_XDMOD}",
    "mem_gb_hours": f"Memory × elapsed time, split at the window. {_XDMOD}",
    "billing_hours": f"Billing weight × elapsed time, split at the window. {_XDMOD}",
    "jobs": f"Records that ran in the window. {_XDMOD}",
    "attempts": f"Records that ran in the window. {_XDMOD}",
    "jobs_submitted": f"Records by the time of submission. {_XDMOD}",
    "jobs_started": f"Records by the time of start. {_XDMOD}",
    "jobs_ended": f"Records by the time of end. {_XDMOD}",
    "wait_hours": f"Start less submission, by the time of start. {_XDMOD}",
    "wait_mean_s": f"Mean of start less submission, by the time of start. {_XDMOD}",
    "wait_median_s": f"Median of start less submission, by the time of start. {_XDMOD}",
    "wait_p90_s": f"90th percentile of start less submission, by the time of start. {_XDMOD}",
}

PROJECT = "project"
PROJECT_METHOD = (
    "A project has the jobs of its accounts and of all below them that are in no other project, as the site's list of "
    "projects says today, whatever it said when they ran."
)
NO_PROJECTS = (
    "Projects are not set up here. Who runs the console names a file of them as accounting.projects_file in its "
    "settings (docs/usage.md)."
)

TIME = ("hour", "day", "week", "month", "quarter", "year")

DIMENSIONS = (
    Dimension("hour", "Hour", "time"),
    Dimension("day", "Day", "time"),
    Dimension("week", "Week", "time"),
    Dimension("month", "Month", "time"),
    Dimension("quarter", "Quarter", "time"),
    Dimension("year", "Year", "time"),
    Dimension("cluster", "Cluster", "name"),
    Dimension("user", "User", "name"),
    Dimension("account", "Account", "account"),
    Dimension(PROJECT, "Project", "name"),
    Dimension("partition", "Partition", "name"),
    Dimension("qos", "QOS", "name"),
    Dimension("state", "State", "name"),
    Dimension("job_size", "Job size (nodes)", "size"),
    Dimension("gpu_type", "GPU type", "name"),
    Dimension("reservation", "Reservation", "name"),
    Dimension("app", "App", "name"),
    Dimension("exit", "Exit status:signal", "name"),
    Dimension("wckey", "WCKey", "name"),
)

# Number of nodes of a job, as ranges that read well and double.
JOB_SIZES = ("0", "1", "2", "3-4", "5-8", "9-16", "17-32", "33-64", "65-128", "129-256", "257-512", "513+")

CATALOGUE = Catalogue(METRICS, DIMENSIONS)


def methods(question: Question) -> dict[str, str]:
    """The method note of each metric that is asked for."""
    made = XDMOD_METHODS if question.definitions == "xdmod" else {}
    of_projects = f" {PROJECT_METHOD}" if question.about(PROJECT) else ""
    return {name: made.get(name, CATALOGUE.metric(name).method) + of_projects for name in question.metrics}
