"""A console whose accounts hold some weeks of jobs of several people, some of them measured."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.unit.history_kit import HOSTILE, UIDS, Footprints, fill
from tests.unit.pages_kit import World
from tests.unit.pages_kit import job as queued
from tests.unit.usage_kit import job

HOUR_S = 3600
GB = 2**30
NAMES = ("train-resnet", "relax-gold-211", "align-reads", "sweep-lr", HOSTILE, "mesh", "a-name-that-goes-on-" * 6)
STATES = ("COMPLETED", "COMPLETED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "CANCELLED", "COMPLETED")
OTHERS = (("bob", "biology"), ("leo", "lasers"), ("eve", "physics"))


def rows(now_s: int, number: int = 130) -> list[dict[str, Any]]:
    """The newest ended an hour ago. Every third is ada's; job 5003 was requeued once."""
    found = []
    for n in range(number):
        user, account = ("ada", "physics") if n % 3 == 0 else OTHERS[n % 3 - 1]
        gpus = (0, 1, 4)[n % 3 if n % 2 else 0]
        start_s = now_s - (n + 2) * 4 * HOUR_S
        wall_s = HOUR_S * (1 + n % 3)
        found.append(job(
            5000 + n, start_s, start_s + wall_s, submit_s=start_s - 900, user=user, uid=UIDS[user], account=account,
            cluster="local", job_name=NAMES[n % 7], state=STATES[n % 7], cpus=4 * (1 + n % 4), gpus=gpus,
            gpu_type=("a100", "h100")[n % 2] if gpus else None, mem_mb=16384, partition="gpu" if gpus else "cpu",
            cpu_used_s=None if n % 5 == 4 else wall_s * 4 * (n % 4 + 0.2),
            mem_peak_mb=None if n % 5 == 4 else 1000 * (n % 17),
            time_limit_s=8 * HOUR_S,
        ))  # fmt: skip
    again = found[3]
    found.append({**again, "submit_s": again["submit_s"] - HOUR_S, "start_s": again["start_s"] - HOUR_S,
                  "end_s": again["start_s"] - 600, "state": "REQUEUED"})  # fmt: skip
    running = job(
        4999, now_s - 2 * HOUR_S, None, submit_s=now_s - 3 * HOUR_S, seen_s=now_s, user="ada", uid=UIDS["ada"],
        cluster="local", job_name="train-now", cpus=8, gpus=2, gpu_type="h100", mem_mb=65536,
    )  # fmt: skip
    return [*found, running]


def footprints(known: list[dict[str, Any]]) -> Footprints:
    return Footprints([
        {
            "cluster": "local", "job_id": row["job_id"], "start_s": row["start_s"], "end_s": row["end_s"],
            "gpu_percent_mean": (2.0, 45.0, 88.0, 12.0)[at % 4] if row["gpus"] else None, "gpus": row["gpus"] or None,
            "gpus_used": max(1, (row["gpus"] or 0) // 2), "cpus": row["cpus"], "cpu_cores_mean": row["cpus"] * 0.62,
            "memory_peak_bytes": (at % 9 + 1) * 2 * GB, "memory_limit_bytes": 16 * GB,
        }
        for at, row in enumerate(known) if row["start_s"] is not None and at % 4 != 3
    ])  # fmt: skip


def made(folder: Path) -> tuple[World, Footprints]:
    """The data folder, and the telemetry of its jobs."""
    world = World(folder, jobs=[
        queued(5300, "ada", uid=50001), queued(5301, "ada", uid=50001, state="PENDING", reason="Priority"),
        queued(5302, "bob", uid=50002, state="PENDING", reason="Resources"),
    ])  # fmt: skip
    known = rows(int(time.time()))
    fill(folder / "accounting", known, cluster="local")
    return world, footprints(known)
