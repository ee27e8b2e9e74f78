"""What a person's own similar jobs suggest for the next one, and when they suggest nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.accounting.warehouse import Warehouse
from backend.sessions import LaunchRequest
from backend.telemetry.rightsize import FEWEST, WINDOW_S, RightSize, Wanted, Whose, right_size
from pages.launch import hint
from tests.unit.pages_kit import ADA, World
from tests.unit.verdict_kit import GB, HOUR, Measured, gpu_footprint
from tests.unit.warehouse_kit import T0, job, put

ADAS = Whose("c1", "ada", 1001)
NOW = T0 + 30 * 86400
GPUS = {"gpus": 2, "gpu_type": "a100", "cpus": 16, "mem_mb": 65536, "app": "jupyterlab", "partition": "gpu"}
FORM = Wanted("jupyterlab", "a100", "gpu", gpus=2, nodes=1, cpus=16, memory_mb=65536, time_s=8 * HOUR)


def session(number: int, hours: float = 2, **columns: Any) -> dict[str, Any]:
    """Ada's JupyterLab on two GPUs, one a day."""
    start_s = T0 + number * 86400
    return job(number, start_s, **({"start_s": start_s, "end_s": start_s + int(hours * HOUR)} | GPUS | columns))


def seen(row: dict[str, Any], **columns: Any) -> dict[str, Any]:
    """Its footprint: one GPU used, at most 2.4 CPUs, 9.2 GB."""
    return gpu_footprint(
        **{
            "cluster": "c1", "job_id": row["job_id"], "start_s": row["start_s"], "end_s": row["end_s"], "cpus": 16,
            "cpu_cores_p95": 2.4, "memory_peak_bytes": int(9.2 * GB), "memory_limit_bytes": 64 * GB, "gpus_used": 1,
        } | columns
    )  # fmt: skip


class Own:
    """Ada's jobs in a warehouse, with what was measured of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.telemetry = Measured()

    def put(self, *rows: dict[str, Any], **columns: Any) -> None:
        put(self._folder, *rows)
        self.telemetry.rows += [seen(row, **columns) for row in rows]

    def ask(self, wanted: Wanted = FORM, whose: Whose = ADAS) -> RightSize | None:
        warehouse = Warehouse(self._folder, memory_mb=256)
        try:
            titles = {"jupyterlab": "JupyterLab"}
            return right_size(warehouse, self.telemetry, whose, wanted, titles=titles, now_s=NOW)
        finally:
            warehouse.close()


@pytest.fixture
def own(tmp_path: Path) -> Own:
    return Own(tmp_path)


def test_the_suggestion_has_a_margin_and_says_where_it_comes_from(own: Own) -> None:
    own.put(*(session(number) for number in range(1, 6)))
    found = own.ask()
    assert found is not None
    assert found.changes == {"memory_mb": 12 * 1024, "cpus": 3, "gpus": 1, "time_s": int(2.5 * HOUR)}
    assert found.reason == (
        "Your last 5 JupyterLab sessions peaked at 9.2 GB, kept at most 2.4 CPUs busy, used 1 of 2 GPUs and ran 2 h at "
        "the longest."
    )
    assert found.jobs == (5, 4, 3, 2, 1)


def test_the_greatest_of_them_counts(own: Own) -> None:
    own.put(session(1), session(2), session(3))
    own.put(session(4, hours=4), memory_peak_bytes=30 * GB, cpu_cores_p95=10.0, gpus_used=2)
    found = own.ask()
    assert found is not None
    assert found.changes == {"memory_mb": 36 * 1024, "cpus": 11, "time_s": 5 * HOUR}


def test_two_measured_jobs_are_too_few(own: Own) -> None:
    own.put(*(session(number) for number in range(1, FEWEST)))
    assert own.ask() is None


def test_jobs_that_were_not_measured_or_hardly_do_not_count(own: Own) -> None:
    own.put(session(1), session(2))
    own.put(session(3), samples=29)
    own.put(session(4, hours=0.1))
    put(own._folder, session(5))
    assert own.ask() is None


def test_jobs_of_long_ago_do_not_count(own: Own) -> None:
    ended_s = NOW - WINDOW_S - 1000
    own.put(*(job(number, ended_s - 86400, start_s=ended_s - 86400, end_s=ended_s, **GPUS) for number in (1, 2, 3)))
    assert own.ask() is None


def test_another_persons_jobs_do_not_count_even_of_the_same_name(own: Own) -> None:
    own.put(*(session(number, uid=1002) for number in range(1, 6)))
    assert own.ask() is None


def test_sessions_without_gpus_say_nothing_about_one_with(own: Own) -> None:
    own.put(*(session(number, gpus=0, gpu_type=None) for number in range(1, 6)))
    assert own.ask() is None


def test_where_sessions_of_the_app_are_few_other_jobs_on_that_gpu_model_count(own: Own) -> None:
    own.put(session(1), session(2, app=None), session(3, app=None))
    found = own.ask()
    assert found is not None and found.reason.startswith("Your last 3 jobs on A100 peaked at 9.2 GB")


def test_without_gpus_other_jobs_of_the_partition_count(own: Own) -> None:
    bare = {"gpus": 0, "gpu_type": None, "app": None, "partition": "batch"}
    own.put(*(session(number, **bare) for number in (1, 2, 3)), gpus=0, gpus_used=None)
    found = own.ask(Wanted("jupyterlab", "", "batch", cpus=16, memory_mb=65536))
    assert found is not None and found.reason.startswith("Your last 3 jobs in batch peaked at 9.2 GB")
    assert "gpus" not in found.changes


def test_after_a_job_that_ran_out_of_memory_more_is_suggested(own: Own) -> None:
    own.put(session(1), session(2))
    own.put(session(3, state="OUT_OF_MEMORY"), memory_limit_bytes=16 * GB, memory_peak_bytes=16 * GB, oom_kills=1)
    found = own.ask(Wanted("jupyterlab", "a100", "gpu", gpus=1, cpus=3, memory_mb=16384, time_s=HOUR))
    assert found is not None
    assert found.changes == {"memory_mb": 24 * 1024}
    assert found.reason == "Your last 3 JupyterLab sessions ran out of memory once with 16 GB."


def test_where_all_cpus_were_used_and_a_limit_was_reached_nothing_is_known_of_either(own: Own) -> None:
    own.put(*(session(number, state="TIMEOUT") for number in (1, 2, 3)), cpu_cores_p95=15.0, gpus_used=2)
    found = own.ask()
    assert found is not None and set(found.changes) == {"memory_mb"}


def test_gpus_that_nobody_used_are_left_out(own: Own) -> None:
    own.put(*(session(number) for number in (1, 2, 3)), gpus_used=0)
    found = own.ask()
    assert found is not None and found.changes["gpus"] == 0
    assert "left their GPUs idle" in found.reason


def test_a_form_that_asks_for_about_that_is_left_in_peace(own: Own) -> None:
    own.put(*(session(number) for number in range(1, 6)))
    assert own.ask(Wanted("jupyterlab", "a100", "gpu", gpus=1, cpus=3, memory_mb=13 * 1024, time_s=9000)) is None


# -- the form ------------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield World(tmp_path, Measured())


def test_one_who_may_not_launch_is_suggested_nothing(world: World) -> None:
    assert hint(world.services, ADA, LaunchRequest(app="jupyterlab")) == {}
