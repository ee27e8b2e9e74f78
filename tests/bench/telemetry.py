"""Job telemetry: how fast samples are taken in, what they take on disk, how soon charts have their data.

Ingest is the telemetry process's own CPU time over its socket, with signed batches as agents send them: of a node with
eight GPUs, three samples each. What is put into the store looks like real samples (`_telemetry_fill`).
CARME_BENCH_TELEMETRY_SCALE (1.0) makes the stores smaller.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from backend.telemetry import METRICS, JobRef
from backend.telemetry.intake import ProcessAway, ask, ask_blocking, socket_path
from backend.telemetry.store import StoreReader
from tests.bench import Figure
from tests.bench._telemetry_fill import CHART, Filler
from tests.unit.intake_kit import Agent, Signed, publish_jobs
from tests.unit.test_telemetry_process import add_agents, killable

SCALE = float(os.environ.get("CARME_BENCH_TELEMETRY_SCALE", "1"))
SENDERS = 200
ROUNDS = max(2, round(12 * SCALE))
AT_ONCE = 32
DAY_S = 86400
BEGIN_S = 1_780_000_000
REPEAT = 5


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        yield from ingest(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        yield from one_day(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        yield from one_week(Path(folder))


def ingest(folder: Path) -> Iterator[Figure]:
    """Samples a second on one core, the slowest batch of a hundred, and how soon all is there after a kill."""
    publish_jobs(folder, dict.fromkeys(range(1, SENDERS + 1), "n1"))
    agents = add_agents(folder, SENDERS)
    begin_s = round(time.time()) - 30 * (ROUNDS + 1)
    batches = [
        [batch(number, agent, begin_s + 30 * at) for number, agent in agents.items()] for at in range(ROUNDS + 1)
    ]
    each = values_of()
    with killable(folder) as running:
        process = psutil.Process(running.pid)
        asyncio.run(send(folder, batches[0]))  # what the first of each sender costs is paid once
        before_s, delays = cpu_s(process), []
        for round_ in batches[1:]:
            delays += asyncio.run(send(folder, round_))
        used_s = cpu_s(process) - before_s
        running.kill()
        running.wait()
    sent = SENDERS * ROUNDS * each
    against = f"{SENDERS * ROUNDS} batches of {each} samples, {AT_ONCE} at once"
    yield Figure("telemetry_ingest_samples_per_core_s", sent / used_s, "samples/s", ">= 50000", against)
    yield Figure("telemetry_batch_p50_ms", statistics.median(delays) * 1000, "ms", "", against)
    yield Figure("telemetry_batch_p99_ms", statistics.quantiles(delays, n=100)[98] * 1000, "ms", "", against)
    began = time.monotonic()
    with killable(folder):
        took = time.monotonic() - began
        newest_s = ask_blocking(socket_path(folder), {"do": "state"})[0]["newest_s"]
    assert newest_s >= begin_s + 30 * ROUNDS
    yield Figure("telemetry_recover_after_kill_s", took, "s", "", f"{sent + SENDERS * each} samples in the log")


def batch(number: int, agent: Agent, at_s: float) -> Signed:
    """Three samples of a node with eight GPUs."""
    times = [at_s + 10.0 * step for step in range(3)]
    blocks = []
    for device in ["", *(f"gpu:{gpu}" for gpu in range(8)), "node"]:
        kind = device.partition(":")[0] or "job"
        metrics = {m.name: [round(random.uniform(0, 1e4), 2) for _ in times] for m in METRICS if m.kind == kind}
        model = "NVIDIA H100" if kind == "gpu" else ""
        blocks.append({"job": number, "device": device, "model": model, "t": times, "m": metrics})
    return agent.blocks(blocks, sent_s=times[-1])


def values_of() -> int:
    """How many numbers such a batch has."""
    kinds = {kind: sum(metric.kind == kind for metric in METRICS) for kind in ("job", "gpu", "node")}
    return 3 * (kinds["job"] + 8 * kinds["gpu"] + kinds["node"])


async def send(folder: Path, batches: list[Signed]) -> list[float]:
    """Send them all; how long each took."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(each: Signed) -> float:
        async with limit:
            began = time.monotonic()
            answer, body = await ask(
                socket_path(folder), {"do": "take", "sender": each.sender, "mac": each.mac}, each.body
            )
            if answer["status"] != 204:
                raise ProcessAway from RuntimeError(f"{answer} {body!r}")
            return time.monotonic() - began

    return list(await asyncio.gather(*map(one, batches)))


def cpu_s(process: psutil.Process) -> float:
    """CPU time of a process so far."""
    times = process.cpu_times()
    return times.user + times.system


def one_day(folder: Path) -> Iterator[Figure]:
    """A day of a job on eight GPUs, among twelve others."""
    filler = Filler(folder, BEGIN_S, 3600)
    day_s = round(DAY_S * SCALE)
    (job, *_) = filler.run([(100, 1, 8), *((number, 1, 1) for number in range(1, 13))], day_s)
    raw, minute = filler.store.manifest.of("raw"), filler.store.manifest.of("minute")
    samples = sum(file.samples for file in raw)
    said = f"{samples} samples of {day_s / 3600:g} h, every ten seconds, noisy"
    yield Figure("telemetry_bytes_per_sample", sum(file.size_bytes for file in raw) / samples, "B", "<= 4", said)
    more = sum(file.size_bytes for file in (*raw, *minute)) / samples
    yield Figure("telemetry_bytes_per_sample_with_minutes", more, "B", "", "samples and minutes together")
    yield chart(filler, job, ("telemetry_chart_24h_8_gpus_6_metrics_ms", 200, f"{len(minute)} files of minutes"))
    zoomed = {"since_s": filler.now_s - 3600, "until_s": filler.now_s}
    yield chart(filler, job, ("telemetry_chart_1h_full_resolution_ms", 200, "the last hour, every sample"), **zoomed)
    filler.store.close()


def one_week(folder: Path) -> Iterator[Figure]:
    """A week of a job on eight nodes with eight GPUs each."""
    filler = Filler(folder, BEGIN_S, 3 * 3600)
    (job,) = filler.run([(100, 8, 8)], round(7 * DAY_S * SCALE), CHART)
    files = len(filler.store.manifest.of("minute"))
    yield chart(filler, job, ("telemetry_chart_7d_64_gpus_6_metrics_ms", 1000, f"{files} files of minutes"))
    one = f"{files} files of minutes, one metric"
    yield chart(filler, job, ("telemetry_chart_7d_64_gpus_1_metric_ms", 1000, one), metrics=CHART[:1])
    filler.store.close()


def chart(
    filler: Filler, job: JobRef, figure: tuple[str, int, str], metrics: tuple[str, ...] = CHART, **window: float
) -> Figure:
    """The median of some readers that know nothing yet, as a page's first question. `figure`: name, goal, against."""
    name, goal_ms, against = figure
    took, used = [], []
    for _ in range(REPEAT):
        reader = StoreReader(filler.store.folder, filler.store, now=lambda: filler.now_s)
        began, cpu_began = time.perf_counter(), time.process_time()
        found = reader.series(job, metrics, points=600, **window)  # type: ignore[arg-type]
        took.append(time.perf_counter() - began)
        used.append(time.process_time() - cpu_began)
        assert len(found) % len(metrics) == 0
        assert found[0].times_s
    said = f"{len(found)} series, {against}; {statistics.median(used) * 1000:.0f} ms of CPU"
    return Figure(name, statistics.median(took) * 1000, "ms", f"<= {goal_ms}", said)
