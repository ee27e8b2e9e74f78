"""From samples in a real store to what is said: verdicts, idle hours and jobs, lines, the launch form's hint."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from backend import jobs
from backend.telemetry.rightsize import Wanted, Whose, right_size
from pages.parts.sparks import shown
from pages.waste import idle, look
from tests.unit.jobs_kit import CLUSTER, keep, past
from tests.unit.pages_kit import OPERATOR, UIDS, World
from tests.unit.pages_kit import job as queued
from tests.unit.telemetry_kit import TelemetrySite

GB = 2**30
HOUR = 3600
HALF_IDLE = {("gpu:1", "gpu_utilisation_percent"): 0.0}
SMALL = {
    "memory_peak_bytes": 9.2 * GB, "memory_resident_bytes": 8 * GB, "cpu_cores": 2.0, "gpu_utilisation_percent": 90.0,
}  # fmt: skip


def busy_until(share_s: float) -> Any:
    """A GPU that is busy for so many seconds and idle from then on."""
    return lambda t: np.where(np.asarray(t) < share_s, 90.0, 0.0)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TelemetrySite]:
    made = TelemetrySite(tmp_path_factory.mktemp("store"), cluster=CLUSTER)
    made.now_s = float(int(time.time()))
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def world(site: TelemetrySite, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Ended: 21, of whose two GPUs one did nothing; 31 to 33, small ones. Running: 22, idle for the last 50 minutes."""
    made = World(tmp_path_factory.mktemp("world"), site.telemetry)
    rows = []
    half = site.job(21, gpus=2, hours=2, ended_ago_s=HOUR, shape=HALF_IDLE)
    rows.append(past(21, start_s=half.start_s, end_s=half.end_s, submit_s=half.start_s - 5, gpus=2, req_gpus=2))
    for number in (31, 32, 33):
        ref = site.job(number, gpus=1, hours=1, ended_ago_s=number * 2 * HOUR, shape=SMALL)
        rows.append(
            past(number, start_s=ref.start_s, end_s=ref.end_s, submit_s=ref.start_s - 5, app="jupyterlab", nodes=1)
        )
    site.settle()
    running = site.job(22, gpus=1, hours=1, shape={"gpu_utilisation_percent": busy_until(600)})
    made.publish(jobs=[queued(22, start_s=running.start_s, gpus=1, gpu_type="a100", submit_s=running.start_s - 5)])
    keep(made, *rows)
    return made


def test_a_gpu_that_did_nothing_for_two_hours_is_told_with_the_change_and_its_hours(world: World) -> None:
    found = jobs.judge(world.services, jobs.look(world.services, OPERATOR, 21))
    (verdict,) = [each for each in found.verdicts if each.rule == "gpu-count"]
    assert verdict.fact == "It used 1 of 2 GPUs; the rest did nothing."
    assert verdict.change == "--gpus=1"
    assert verdict.saves == "2.0 GPU-hours; jobs for fewer GPUs start sooner"


def test_its_hours_are_on_the_waste_desk(world: World) -> None:
    answer = look(world.services, OPERATOR, "week")
    (by_user,) = [each for each in answer["tables"] if each["by"] == "user"]
    assert [row["name"] for row in by_user["rows"]] == ["ada"]
    assert answer["total"]["allocated"] == pytest.approx(4 + 3, abs=0.01)
    assert answer["total"]["measured"] == pytest.approx(4 + 3, abs=0.05)
    assert answer["total"]["idle"] == pytest.approx(2, abs=0.02)
    assert answer["telemetry"]["size_bytes"] > 0 and answer["telemetry"]["error"] == ""


def test_a_running_job_is_idle_since_its_gpu_was_last_busy(world: World) -> None:
    (found,) = idle(world.services, OPERATOR, 30)["jobs"]
    assert (found["job_id"], found["never"]) == (22, False)
    assert time.time() - found["idle_since_s"] == pytest.approx(3000, abs=120)
    assert idle(world.services, OPERATOR, 60)["jobs"] == []


def test_its_line_falls_where_the_gpu_fell_idle(world: World) -> None:
    record = jobs.look(world.services, OPERATOR, 22)
    (ref,) = record.runs()
    line = shown(world.services.telemetry.sparks([ref])[ref])
    assert line["gpu"][1] == 90 and line["gpu"][-2] == 0


def test_three_small_sessions_suggest_a_small_one(world: World) -> None:
    whose = Whose(CLUSTER, "ada", UIDS["ada"])
    wanted = Wanted("jupyterlab", "a100", "gpu", gpus=1, cpus=8, memory_mb=65536, time_s=8 * HOUR)
    services = world.services
    found = right_size(services.warehouse, services.telemetry, whose, wanted, titles={"jupyterlab": "JupyterLab"})
    assert found is not None
    assert found.changes == {"memory_mb": 12 * 1024, "cpus": 3, "time_s": 75 * 60}
    assert found.reason == (
        "Your last 3 JupyterLab sessions peaked at 9.2 GB, kept at most 2 CPUs busy and ran 1 h at the longest."
    )
