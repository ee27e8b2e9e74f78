"""The small lines on session cards: asked once for all who look, and told to be old when nothing newer is known."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.telemetry import JobRef, Spark, TelemetryState
from pages.parts import sparks as lines
from pages.parts.live import Live
from pages.parts.sparks import EVERY_S, KEEP_S, Sparks, shown
from pages.shell import TOPICS
from tests.unit.pages_kit import ADA, BOB, Sitter, World, session_row
from tests.unit.verdict_kit import Measured

JOB = JobRef("local", 7, 1000)
OTHER = JobRef("local", 8, 1000)


def spark(gpu: tuple[float | None, ...] = (10.4, None, 72.6), cpu: tuple[float | None, ...] = (1, 2, 3)) -> Spark:
    return Spark(1000, 10, gpu_percent=gpu, cpu_percent=cpu, memory_percent=(), last_s=1024.5, every_s=10.0)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Unhurried(Sparks):
    """Asks at once, in the test's own thread."""

    def tick(self) -> None:
        super().tick()
        self._pool.submit(int).result()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def telemetry() -> Measured:
    return Measured()


@pytest.fixture
def sparks(telemetry: Measured, clock: Clock) -> Iterator[Sparks]:
    made = Unhurried(telemetry, clock)
    yield made
    made.close()


def test_all_who_look_are_answered_by_one_question(telemetry: Measured, sparks: Sparks, clock: Clock) -> None:
    telemetry.lines = {JOB: spark(), OTHER: spark()}
    for job in (JOB, OTHER, JOB, JOB):
        sparks.look([job])
    sparks.tick()
    sparks.tick()
    ((_, asked),) = telemetry.asked
    assert set(asked) == {JOB, OTHER}
    assert sparks.look([JOB]) == {JOB: telemetry.lines[JOB]}
    clock.now_s += EVERY_S
    sparks.tick()
    assert len(telemetry.asked) == 2


def test_a_line_that_nobody_looks_at_is_not_asked_for(telemetry: Measured, sparks: Sparks, clock: Clock) -> None:
    sparks.tick()
    sparks.look([JOB])
    sparks.tick()
    clock.now_s += KEEP_S + 1
    sparks.tick()
    assert len(telemetry.asked) == 1


def test_while_telemetry_is_away_the_last_line_stays_and_says_since_when(
    telemetry: Measured, sparks: Sparks, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    telemetry.lines = {JOB: spark()}
    sparks.look([JOB])
    sparks.tick()
    telemetry.broken = "The telemetry process does not answer."
    began = time.time()
    for _ in range(3):
        clock.now_s += EVERY_S
        sparks.tick()
    assert JOB in sparks.look([JOB])
    assert sparks.away is not None
    why, since_s = sparks.away
    assert why == "The telemetry process does not answer." and since_s is not None and since_s >= began - 1
    telemetry.broken = ""
    clock.now_s += EVERY_S
    sparks.tick()
    assert sparks.away is None
    assert not caplog.records


def test_what_the_telemetry_itself_says_to_be_old_is_told(telemetry: Measured, sparks: Sparks) -> None:
    telemetry.state = TelemetryState(as_of_s=5.0, error="No answer from the process", error_since_s=17.0)
    sparks.look([JOB])
    sparks.tick()
    assert sparks.away == ("No answer from the process", 17.0)


def test_a_fault_of_ours_is_logged_once_and_told(
    telemetry: Measured, sparks: Sparks, clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_jobs: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(telemetry, "sparks", broken)
    sparks.look([JOB])
    for _ in range(3):
        sparks.tick()
        clock.now_s += EVERY_S
    assert sparks.away is not None and "ZeroDivisionError" in sparks.away[0]
    assert len(caplog.records) == 1


def test_a_line_is_sent_in_whole_percents_with_gaps() -> None:
    found = shown(spark(gpu=(10.4, None, 130.0), cpu=()))
    assert (found["gpu"], found["cpu"]) == ([10, None, 100], [])


def test_a_line_tells_its_newest_sample_and_how_far_samples_are_apart() -> None:
    found = shown(spark())
    assert (found["last_s"], found["every_s"]) == (1024, 10)


def test_a_point_that_is_no_number_is_a_gap() -> None:
    assert shown(spark(gpu=(math.nan, 50.0)))["gpu"] == [None, 50]


@pytest.fixture
def world(tmp_path: Path, telemetry: Measured) -> Iterator[World]:
    made = World(tmp_path, telemetry)
    lines._kept[id(made.services)] = made.services, Unhurried(telemetry)
    yield made
    lines.close_sparks(made.services)


async def test_a_person_is_sent_the_lines_of_their_own_running_sessions(world: World, telemetry: Measured) -> None:
    session_row(world, "s1", job_id=7, start_s=1000)
    session_row(world, "s2", job_id=8, start_s=2000, start_expected=True, state="pending")
    session_row(world, "s3", "bob", job_id=9, start_s=1000)
    jobs = [JobRef("local", 7, 1000), JobRef("local", 8, 2000), JobRef("local", 9, 1000)]
    telemetry.lines = dict.fromkeys(jobs, spark())
    live = Live(world.services, TOPICS, every_s=3600)
    ada, bob = Sitter(ADA), Sitter(BOB)
    await live.watch(ada, ["sparks"], {})
    await live.watch(bob, ["sparks"], {})
    await live.poll()
    await live.poll()
    assert set(ada.topics["sparks"]["sessions"]) == {"s1"}
    assert set(bob.topics["sparks"]["sessions"]) == {"s3"}
    assert ada.topics["sparks"]["away"] == ""
    sent = len(ada.texts)
    await live.poll()
    assert len(ada.texts) == sent
    await live.stop()


async def test_a_poller_that_ended_leaves_the_next_one_its_lines(world: World, telemetry: Measured) -> None:
    session_row(world, "s1", job_id=7, start_s=1000)
    telemetry.lines = {JobRef("local", 7, 1000): spark()}
    await Live(world.services, TOPICS, every_s=3600).stop()
    lines._kept[id(world.services)] = world.services, Unhurried(telemetry)
    live, ada = Live(world.services, TOPICS, every_s=3600), Sitter(ADA)
    await live.watch(ada, ["sparks"], {})
    await live.poll()
    await live.poll()
    assert set(ada.topics["sparks"]["sessions"]) == {"s1"}
    await live.stop()
