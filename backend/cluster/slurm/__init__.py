"""Slurm 20.11 to 26.05, by its own commands: what is there is read, no release number is ever asked for."""

from __future__ import annotations

from backend.cluster.slurm.command import Commands, Marks
from backend.cluster.slurm.scheduler import SlurmScheduler
from backend.cluster.slurm.text import count_tasks, duration, moment, tres, whole

__all__ = ["Commands", "Marks", "SlurmScheduler", "count_tasks", "duration", "moment", "tres", "whole"]
