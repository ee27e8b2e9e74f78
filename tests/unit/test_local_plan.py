"""Who begins when on this machine."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backend.cluster.local.jobs import Wanted
from backend.cluster.local.machine import Gpu, Machine, gpu_type
from backend.cluster.local.plan import Held, plan

MACHINE = Machine("here", (0, 1, 2, 3), 8000, (Gpu(0, "a100"), Gpu(1, "a100"), Gpu(2, "h100")), 0)


def want(
    cpus: int = 1, memory_mb: int = 1000, gpus: int = 0, gpu_type: str = "", time_s: int = 100
) -> Wanted:
    return Wanted(cpus, memory_mb, gpus, gpu_type, time_s)


def test_what_fits_begins_at_once() -> None:
    assert plan(MACHINE, [], [want(), want(cpus=3)], 0) == [0, 0]


def test_what_does_not_fit_begins_when_there_is_room() -> None:
    held = Held(want(cpus=3), (), until_s=50)
    assert plan(MACHINE, [held], [want(cpus=2)], 0) == [50]


def test_a_later_job_passes_where_it_delays_nobody() -> None:
    held = Held(want(cpus=3), (), until_s=50)
    assert plan(MACHINE, [held], [want(cpus=4), want(cpus=1, time_s=50)], 0) == [50, 0]


def test_a_later_job_that_would_delay_an_earlier_one_waits() -> None:
    held = Held(want(cpus=3), (), until_s=50)
    assert plan(MACHINE, [held], [want(cpus=4), want(cpus=1, time_s=51)], 0) == [50, 150]


def test_gpus_are_counted_by_type() -> None:
    assert plan(MACHINE, [], [want(gpus=1, gpu_type="h100"), want(gpus=1, gpu_type="h100")], 0) == [0, 100]
    assert plan(MACHINE, [], [want(gpus=2), want(gpus=1)], 0) == [0, 0]


def test_a_job_past_its_limit_is_expected_to_end_any_moment() -> None:
    held = Held(want(cpus=4), (), until_s=10)
    assert plan(MACHINE, [held], [want()], 20) == [21]


wants = st.builds(
    Wanted,
    cpus=st.integers(1, 4),
    memory_mb=st.integers(1, 8000),
    gpus=st.integers(0, 1),
    gpu_type=st.sampled_from(["", "a100", "h100"]),
    time_s=st.integers(1, 1000),
)


@given(st.lists(wants, max_size=8))
def test_nothing_is_ever_given_twice_and_nobody_is_forgotten(waiting: list[Wanted]) -> None:
    starts = plan(MACHINE, [], waiting, 0)
    assert len(starts) == len(waiting)
    for moment in starts:
        on = [job for job, start in zip(waiting, starts, strict=True) if start <= moment < start + job.time_s]
        assert sum(job.cpus for job in on) <= 4
        assert sum(job.memory_mb for job in on) <= 8000
        assert sum(job.gpus for job in on) <= 3
        assert sum(job.gpus for job in on if job.gpu_type == "h100") <= 1


@given(st.lists(wants, min_size=1, max_size=6), wants)
def test_who_comes_later_delays_nobody(waiting: list[Wanted], later: Wanted) -> None:
    assert plan(MACHINE, [], [*waiting, later], 0)[:-1] == plan(MACHINE, [], waiting, 0)


def test_gpu_names_become_types() -> None:
    names = {
        "NVIDIA A100-SXM4-80GB": "a100",
        "NVIDIA H100 80GB HBM3": "h100",
        "Tesla V100-SXM2-16GB": "v100",
        "NVIDIA GeForce RTX 4090": "rtx4090",
        "NVIDIA RTX A6000": "rtxa6000",
        "": "gpu",
    }
    assert {name: gpu_type(name) for name in names} == names
