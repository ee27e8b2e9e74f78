"""The node service: a look at everything every few seconds, sent to the console and shown to Prometheus."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..heap import give_back_freed_memory
from ..sampler import Gpu, GpuReader, Sample, Sampler
from ..telemetry import series
from ..telemetry.push import EARLY_S, Door, Pusher
from ..telemetry.series import Row
from ..telemetry.watch import FIRST_S
from .allocation import Allocations, Ask
from .attribution import Attribution, attribute
from .exposition import Exposed, text


class Looked(NamedTuple):
    """What was seen at one moment: the jobs' rows, the node's own, and why GPUs in use are nobody's."""

    jobs: Sequence[Row] = ()
    whole: Sequence[Row] = ()
    unattributed: tuple[tuple[str, str, str], ...] = ()  # device, model, reason


class NodeService:
    """Looks on until it is ended. `door` None sends nothing; `listen` "" shows nothing; `token` is for who looks."""

    def __init__(
        self,
        *,
        node: str,
        cluster: str,
        door: Door | None,
        listen: str,
        token: str = "",
        every_s: float,
        say: Callable[[str], None],
        gpus: Sequence[GpuReader] | None = None,
        ask: Ask | None = None,
        root: str = "/",
    ) -> None:
        """Raises OSError, ValueError when it can't listen. `root`: where /proc and /sys are looked for."""
        self._node, self._cluster, self._every_s, self._say = node, cluster, every_s, say
        self._sampler = Sampler(node=node, gpus=gpus, root=root)
        self._allocations = Allocations(node, self._sampler.processes, ask)
        self._pusher = Pusher(door, node, say) if door is not None else None
        self._ending = threading.Event()
        self._looked = Looked()
        self._first_s: dict[int, float] = {}
        self._said: dict[str, str] = {}
        self.exposed = Exposed(listen, self.metrics, token=token) if listen else None

    def end(self) -> None:
        """Stop looking. From any thread or signal handler."""
        self._ending.set()

    def metrics(self) -> str:
        """The newest look as Prometheus' text."""
        looked = self._looked
        reasons = {(device, model): reason for device, model, reason in looked.unattributed}
        return text(self._cluster, self._node, looked.jobs, looked.whole, reasons)

    def run(self, last_word_s: float) -> None:
        """Look on until `end`, then send what is left, for so long."""
        self._allocations.start()
        if self._pusher is not None:
            self._pusher.start()
        if self.exposed is not None:
            self.exposed.start()
        self._look_or_say()  # counters: the first rates come with the second look
        give_back_freed_memory()  # what starting took
        due_s = time.monotonic() + min(FIRST_S, self._every_s)
        while not self._ending.wait(max(0.0, due_s - time.monotonic())):
            self._look_or_say()
            due_s = max(due_s + self._every_s, time.monotonic())
        if self._pusher is not None:
            self._pusher.close(last_word_s)

    def _look_or_say(self) -> None:
        try:
            self._look()
        except Exception as error:  # noqa: BLE001 - one look that fails is a gap, and the next may not
            self._once(f"a look at this node failed: {error!r}")

    def _look(self) -> None:
        at_s = self._pusher.now_s() if self._pusher is not None else time.time()
        sample = self._sampler.sample()
        claims = self._allocations.claims(self._sampler.places) if sample.gpus else {}
        attribution = attribute(sample.gpus, claims) if sample.gpus else Attribution()
        rows = series.rows(sample, at_s, attribution.gpus_of)
        self._looked = Looked(rows, _whole(sample, at_s), self._unattributed(sample.gpus, attribution))
        if self._pusher is not None:
            self._pusher.add(rows, fresh=self._any_fresh(rows))

    def _once(self, words: str) -> None:
        if self._said.get("") != words:
            self._say(words)
            self._said[""] = words

    def _any_fresh(self, rows: Sequence[Row]) -> bool:
        """Whether a job is so young that its page is waited for."""
        now_s = time.monotonic()
        self._first_s = {row.job: self._first_s.get(row.job, now_s) for row in rows}
        return any(now_s - first_s < EARLY_S for first_s in self._first_s.values())

    def _unattributed(self, gpus: Sequence[Gpu], attribution: Attribution) -> tuple[tuple[str, str, str], ...]:
        found = [
            (series.device_of(gpu), series.model_of(gpu), attribution.why[gpu.index])
            for gpu in gpus
            if gpu.index in attribution.why
        ]
        now = {device: reason for device, _, reason in found}
        for device, reason in now.items():
            if self._said.get(device) != reason:
                self._say(f"{device} is counted for no job: {reason}")
        self._said = {**now, "": self._said.get("", "")}
        return tuple(found)


def _whole(sample: Sample, at_s: float) -> list[Row]:
    rows = [Row(0, "node", "", at_s, series.node_values(sample.node))]
    rows += [Row(0, f"fs:{name}", "", at_s, values) for name, values in series.file_systems(sample).items()]
    rows += [Row(0, series.device_of(gpu), series.model_of(gpu), at_s, series.gpu_values(gpu)) for gpu in sample.gpus]
    return [row for row in rows if row.values]
