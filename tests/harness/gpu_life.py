"""What the pretend GPUs of a demonstration do: those that jobs have work in a way of their own, the others idle."""

from __future__ import annotations

import contextlib
import math
import random
import re
import threading
import time
from collections.abc import Collection

from backend.agent.node.allocation import allocated
from tests.harness.cluster import Cluster
from tests.harness.errors import HarnessError
from tests.harness.slurm import NODES

EVERY_S = 5.0
GIB = 1 << 30


class GpuLife:
    """Moves the GPUs along until it is ended. `idle`: jobs that leave all of theirs alone."""

    def __init__(self, cluster: Cluster, idle: Collection[int] = ()) -> None:
        self._cluster = cluster
        self._idle = idle
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._over.wait(EVERY_S):
            with contextlib.suppress(HarnessError, OSError):  # the cluster is being taken down
                self._move()

    def _move(self) -> None:
        shown = self._cluster.run(["scontrol", "-d", "show", "job"]).stdout
        jobs = [(int(found[1]), part) for part in shown.split("\n\n") if (found := re.match(r"\s*JobId=(\d+) ", part))]
        for node in NODES:
            lines: list[str] = []
            for job, part in jobs:
                works = "JobState=RUNNING" in part and job not in self._idle
                claim = allocated(part, node.name) if works else None
                for gpu in sorted(claim.places) if claim else ():
                    lines += at_work(job, gpu, time.time())
            if node.gpus:
                self._cluster.set_gpus(node.name, *lines)


def at_work(job: int, gpu: int, now_s: float) -> list[str]:
    """A device of a job at a moment. Every fourth job leaves its second GPU and those after it idle."""
    drawn = random.Random(job)
    if job % 4 == 3 and gpu % 2:
        return []
    level, period_s, memory = drawn.uniform(35, 92), drawn.uniform(60, 400), drawn.uniform(6, 70)
    wave = math.sin(2 * math.pi * now_s / period_s + gpu)
    busy = max(0, min(100, round(level + 12 * wave + random.uniform(-4, 4))))
    watts = 65 + 3.2 * busy
    return [
        f"{gpu} utilisation {busy}", f"{gpu} memory_utilisation {busy // 2}", f"{gpu} power {round(watts * 1000)}",
        f"{gpu} temperature {34 + busy // 3}", f"{gpu} memory_used {round((memory + wave) * GIB)}",
        f"{gpu} throttle {4 if busy > 97 else 0}",
    ]  # fmt: skip
