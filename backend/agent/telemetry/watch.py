"""A job's agent looks at its own job on its node, again and again, and sends what it saw.

In a thread of its own: a library that hangs, a full disk or a console that is away hurt nothing but the figures.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from ..heap import give_back_freed_memory
from ..sampler import Gpu, GpuReader, Sample, Sampler
from .own import own_gpus
from .push import Door, Pusher
from .series import rows

FIRST_S = 1.0
"""How long after the first look the second comes, with which rates begin."""
BUSY_CORES = 0.2
"""Above this a job computes: an open notebook that does nothing takes a hundredth of a core, a loop a whole one."""
BUSY_GPU_PERCENT = 5.0
"""As `backend.telemetry.IDLE_GPU_PERCENT`."""
_LAST_LOOK_S = 1.0
"""A last look at the end is worth it when the one before is that old."""


class JobWatch:
    """Samples one job on this node and pushes. Raises nothing, whatever happens."""

    def __init__(
        self,
        door: Door,
        *,
        job: int,
        node: str,
        env: Mapping[str, str],
        every_s: float,
        say: Callable[[str], None],
        gpus: Sequence[GpuReader] | None = None,
        busy: Callable[[], None] = lambda: None,
    ) -> None:
        """`busy` is called after each look that saw the job compute, from the watch's thread."""
        self._job, self._node, self._env = job, node, dict(env)
        self._every_s, self._say, self._busy, self._gpus = every_s, say, busy, gpus
        self._pusher = Pusher(door, node, say)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin; once."""
        self._pusher.start()
        self._thread.start()

    def end(self, limit_s: float) -> None:
        """One last look, what is left is sent; not longer than that, in all. Nothing where it never began."""
        if self._thread.ident is None:
            return
        until_s = time.monotonic() + limit_s
        self._ending.set()
        self._thread.join(limit_s / 2)
        if not self._thread.is_alive():  # else it hangs in a driver, and may not be waited for
            self._pusher.close(max(0.0, until_s - time.monotonic()))

    def _run(self) -> None:
        try:
            self._look_on(Sampler(own=(self._job, self._node), gpus=self._gpus))
        except Exception as error:  # noqa: BLE001 - figures are never worth a session
            self._say(f"telemetry ended: {error!r}")

    def _look_on(self, sampler: Sampler) -> None:
        sampler.sample()
        give_back_freed_memory()  # what starting took
        before_s = time.monotonic()
        due_s = before_s + min(FIRST_S, self._every_s)
        while not self._pusher.over:
            ending = self._ending.wait(max(0.0, due_s - time.monotonic()))
            if not ending or time.monotonic() - before_s > _LAST_LOOK_S:
                at_s = self._pusher.now_s()
                before_s = time.monotonic()
                sample = sampler.sample()
                own = own_gpus(sample.gpus, self._job, self._env)
                if is_busy(sample, own):
                    self._busy()
                self._pusher.add(rows(sample, at_s, {self._job: own}))
            if ending:
                return
            due_s = max(due_s + self._every_s, time.monotonic())


def is_busy(sample: Sample, own: frozenset[str]) -> bool:
    """Whether the job computes: on its CPUs, or on a GPU of its own."""
    if any((job.cpu_cores or 0.0) >= BUSY_CORES for job in sample.jobs):
        return True
    return any(_busy_percent(gpu) >= BUSY_GPU_PERCENT for gpu in sample.gpus if gpu.index in own)


def _busy_percent(gpu: Gpu) -> float:
    told = gpu.busy_percent if gpu.busy_percent is not None else gpu.utilisation_percent
    return told or 0.0
