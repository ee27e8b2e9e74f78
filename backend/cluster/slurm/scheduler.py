"""A Slurm cluster behind the `Scheduler` protocol."""

from __future__ import annotations

import re
from collections.abc import Iterable

from backend.cluster.protocol import Intervals, LimitsReading, Reading, SchedulerError
from backend.cluster.slurm import ended, jobs, limits, nodes
from backend.cluster.slurm.command import Commands
from config import Settings


class SlurmScheduler:
    """Looks with the console's own identity, through Slurm's own commands, of whichever release."""

    def __init__(self, settings: Settings) -> None:
        slurm = settings.slurm
        self.commands = Commands(slurm.bin_dir, slurm.conf, slurm.timeout_s)
        self._cluster = settings.scheduler.cluster
        # squeue is two RPCs, scontrol show node two, the others one: partitions, which hardly ever change,
        # are asked for every other time so that the whole stays under 20 RPCs a minute.
        self.intervals = Intervals(
            jobs_s=slurm.jobs_every_s,
            nodes_s=slurm.nodes_every_s,
            partitions_s=slurm.nodes_every_s * 2,
            reservations_s=slurm.nodes_every_s,
            limits_s=slurm.accounts_every_s,
            waiting_s=slurm.waiting_every_s,
        )

    def cluster(self) -> str:
        """The cluster's name, from the settings or from `scontrol show config`. Raises SchedulerError."""
        if not self._cluster:
            answer = self.commands.run("scontrol", "show", "config")
            found = re.search(r"^ClusterName\s*=\s*(\S+)", answer, re.MULTILINE)
            if found is None:
                raise SchedulerError("scontrol show config tells no ClusterName: set scheduler.cluster.")
            self._cluster = found[1]
        return self._cluster

    def read_jobs(self) -> Reading:
        return jobs.read_jobs(self.commands)

    def read_nodes(self) -> Reading:
        return nodes.read_nodes(self.commands)

    def read_partitions(self) -> Reading:
        return nodes.read_partitions(self.commands)

    def read_reservations(self) -> Reading:
        return nodes.read_reservations(self.commands)

    def read_limits(self) -> LimitsReading:
        return limits.read_limits(self.commands, self.cluster())

    def read_waiting(self, job_ids: Iterable[int]) -> Reading:
        return jobs.read_some_jobs(self.commands, job_ids)

    def read_ended(self, job_ids: Iterable[int]) -> Reading:
        return ended.read_ended(self.commands, job_ids)
