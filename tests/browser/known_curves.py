"""Known shapes, and whether the curves of a Job page have them: each point within one sample of what was so."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

from playwright.sync_api import Page

from tests.cluster.test_telemetry import MIB, Truth
from tests.harness import Cluster

SAMPLE_S = 1.0
HALF_S = 6.0  # of the load's wave, and of the GPUs': so long that points in its middle can be of one level only
# What the job does beside its load: its shell, Python itself, and of a session the agent.
AGENTS_CORES = 0.25
BESIDES_BYTES = 64 * MIB  # at most, and the same all the time but for ...
WAVERS_BYTES = 14 * MIB  # ... this: less than half a step of the load
WORDS = re.compile(r"(?P<value>[\d.,e+-]+)(?: (?P<unit>\S+))?")
SIZES = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
CELLS = "twin => [...twin.querySelectorAll('tr')].map(row => [...row.cells].map(cell => cell.innerText))"
Curve = dict[float, float]


@dataclass
class Levels:
    """What a pretend GPU did: levels, each with when it was begun to be set and when it was."""

    begun: list[float] = field(default_factory=list)
    done: list[float] = field(default_factory=list)
    values: list[int] = field(default_factory=list)

    def within(self, since_s: float, until_s: float) -> tuple[int, int]:
        """The least and the most that it may have shown in a stretch."""
        over = [*self.done[1:], float("inf")]
        found = [
            value
            for value, begun, end in zip(self.values, self.begun, over, strict=True)
            if begun <= until_s and end >= since_s
        ]
        return min(found), max(found)


class Waves:
    """GPUs of several nodes, each going to and fro between two levels of its own until `end`."""

    def __init__(self, cluster: Cluster, between: Mapping[str, Mapping[int, tuple[int, int]]]) -> None:
        """`between`: by node and device; two different levels, in percent."""
        self._cluster, self._between = cluster, between
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.truth = {(node, gpu): Levels() for node, gpus in between.items() for gpu in gpus}

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Stay as they are."""
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        turn = 0
        while True:
            for node, gpus in self._between.items():
                levels = {gpu: pair[turn % 2] for gpu, pair in gpus.items()}
                begun_s = time.time()
                self._cluster.set_gpus(node, *(line for each in levels.items() for line in _busy(*each)))
                for gpu, level in levels.items():
                    truth = self.truth[node, gpu]
                    truth.begun.append(begun_s)
                    truth.done.append(time.time())
                    truth.values.append(level)
            turn += 1
            if self._over.wait(HALF_S):
                return


def _busy(gpu: int, percent: int) -> tuple[str, ...]:
    """The level in three metrics: percent, 100 W and a watt a percent, a GiB each two percent."""
    return f"{gpu} utilisation {percent}", f"{gpu} power {1000 * (100 + percent)}", f"{gpu} memory_used {percent << 29}"


# What the page shows


def curves(page: Page, title: str) -> dict[str, Curve]:
    """The points of a chart by line, as its table has them."""
    button = page.get_by_role("button", name=f"{title} as a table", exact=True)
    if button.get_attribute("aria-pressed") != "true":
        button.click()
    twin = page.get_by_role("region", name=f"{title} as a table", exact=True)
    (_, *names), *rows = twin.evaluate(CELLS)
    found: dict[str, Curve] = {name: {} for name in names}
    for clock, *cells in rows:
        for name, cell in zip(names, cells, strict=True):
            if cell != "–":
                found[name][moment(clock)] = amount(cell)
    return found


def moment(clock: str) -> float:
    """`29 Nov, 16:46:17` of this year or the last, UTC."""
    now = datetime.now(UTC)
    told = datetime.strptime(f"{now.year} {clock}", "%Y %d %b, %H:%M:%S").replace(tzinfo=UTC)
    return (told if told.timestamp() < now.timestamp() + 86400 else told.replace(year=now.year - 1)).timestamp()


def amount(words: str) -> float:
    """1.5 MB/s, 97 %, 0.98 cores: bytes, percent, cores."""
    found = WORDS.fullmatch(words)
    assert found, words
    return float(found["value"].replace(",", "")) * SIZES.get((found["unit"] or "").removesuffix("/s"), 1)


# Whether it is so


def assert_level(curve: Curve, truth: Levels, scale: float = 1.0, base: float = 0.0) -> None:
    """Each point is of a level that was within a sample of it; and there are points that can be of one level only."""
    sure, step_s = set(), step_of(curve)
    for at_s, value in curve.items():
        if at_s - SAMPLE_S < truth.done[0]:  # what was before is not known
            continue
        low, high = truth.within(at_s - SAMPLE_S, at_s + step_s + SAMPLE_S)
        assert base + scale * low * 0.99 - 0.5 <= value <= base + scale * high * 1.01 + 0.5, (at_s, value, low, high)
        if low == high:
            sure.add(low)
    assert sure == set(truth.values), sure


def assert_load(shown: Mapping[str, Mapping[str, Curve]], line: str, truths: Sequence[Truth]) -> None:
    """CPU, memory and writing of a job on a node are those of a load on it (cluster/known_load.py)."""
    cpu, memory, written = truths
    assert_rates(shown["CPU"][line], cpu, AGENTS_CORES)
    assert_rates(shown["Disk written"][line], written, 2.2 * MIB)
    points, step_s = inside(shown["Memory"][line], memory), step_of(shown["Memory"][line])
    known = {
        at_s: (
            min(memory.around(at_s)[0], memory.around(at_s + step_s)[0]),
            max(memory.around(at_s)[1], memory.around(at_s + step_s)[1]),
        )
        for at_s in points
    }
    besides = min(value - known[at_s][0] for at_s, value in points.items())
    assert -2 * MIB < besides < BESIDES_BYTES
    for at_s, value in points.items():
        assert value - besides <= known[at_s][1] * 1.01 + WAVERS_BYTES, (at_s, value, besides, known[at_s])
    busy, rest = [], []
    for at_s, value in inside(shown["CPU"][line], cpu).items():
        half = (at_s - cpu.times[0]) / HALF_S
        if SAMPLE_S / HALF_S < half % 1 < 1 - SAMPLE_S / HALF_S:
            (rest if int(half) % 2 else busy).append((value, _rate(cpu, at_s - SAMPLE_S / 2, at_s + SAMPLE_S / 2)))
    shown_by, known_by = (_mean(busy, place) - _mean(rest, place) for place in (0, 1))
    assert shown_by > known_by / 2 > 0, (shown_by, known_by)


def assert_rates(curve: Curve, truth: Truth, off: float) -> None:
    """Each point is a mean rate of the stretch since the one before it, by up to a sample sooner or later."""
    points, step_s = list(inside(curve, truth).items()), step_of(curve)
    assert len(points) > (truth.times[-1] - truth.times[0]) / SAMPLE_S / 3, points
    for (before_s, _), (at_s, value) in pairwise(points):
        first_s, last_s = before_s - SAMPLE_S, at_s + step_s + SAMPLE_S
        rates = [
            _rate(truth, since_s, since_s + long_s)
            for long_s in (SAMPLE_S / 2, at_s - before_s)
            for since_s in (first_s + step * (last_s - long_s - first_s) / 8 for step in range(9))
        ]
        assert min(rates) * 0.99 - off <= value <= max(rates) * 1.01 + off, (at_s, value, min(rates), max(rates))


def step_of(curve: Curve) -> float:
    """How far its points are apart: a sample, or two where the machine was slow."""
    return min(later - before for before, later in pairwise(curve))


def inside(curve: Curve, truth: Truth) -> Curve:
    """The points that lie well within what is known."""
    first_s, last_s = truth.times[0] + 2 * SAMPLE_S, truth.times[-1] - 3 * SAMPLE_S
    return {at_s: value for at_s, value in curve.items() if first_s < at_s < last_s}


def _rate(truth: Truth, since_s: float, until_s: float) -> float:
    return (truth._at(until_s) - truth._at(since_s)) / (until_s - since_s)


def _mean(pairs: Sequence[tuple[float, float]], place: int) -> float:
    return sum(pair[place] for pair in pairs) / len(pairs)
