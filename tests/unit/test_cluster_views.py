"""What a person is shown of a snapshot: capacity, queue, and what fits now."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cluster import JOBS
from backend.cluster.slurm.node_states import NODE_STATES, node_state
from backend.cluster.views import (
    FitRequest,
    GpuModel,
    JobFilter,
    active_jobs,
    filter_jobs,
    fits_now,
    fold_arrays,
    gpus_by_model,
    job,
    jobs_on_node,
    node_kind,
    node_tiles,
    page_of,
    partition_loads,
    queue_page,
    queue_summary,
    totals,
    visible_jobs,
)
from backend.cluster.views.capacity import KINDS
from tests.unit.cluster_kit import job_row, node_row, partition_row, running, snapshot


def table(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=JOBS)


def ids(jobs: pa.Table) -> list[int]:
    return jobs["job_id"].to_pylist()


def a100(total: int, allocated: int) -> list[dict[str, object]]:
    return [{"type": "a100", "total": total, "allocated": allocated}]


# -- capacity ----------------------------------------------------------------


def test_gpus_are_allocated_free_reserved_or_down() -> None:
    seen = snapshot(
        nodes=[
            node_row("n1", gpu_types=a100(4, 3)),
            node_row("n2", gpu_types=a100(4, 1), available=False, flags=["DRAIN"]),
            node_row("n3", gpu_types=a100(4, 0), flags=["RESERVED"]),
            node_row(
                "n4",
                gpu_types=[
                    {"type": "h100", "total": 2, "allocated": 0},
                    {"type": "", "total": 1, "allocated": 1},
                ],
            ),
        ]
    )
    assert gpus_by_model(seen) == [
        GpuModel("a100", total=12, allocated=4, free=1, down=3, reserved=4),
        GpuModel("h100", total=2, allocated=0, free=2, down=0),
        GpuModel("gpu", total=1, allocated=1, free=0, down=0),
    ]


def test_what_stands_on_closed_nodes_is_not_free() -> None:
    seen = snapshot(
        nodes=[
            node_row("n1", state="MIXED", cpus_allocated=14, gpus_allocated=1),
            node_row("n2", state="DOWN", available=False),
            node_row("n3"),
        ]
    )
    sums = totals(seen)
    assert (sums.nodes, sums.nodes_available, sums.nodes_idle, sums.nodes_down) == (3, 2, 1, 1)
    assert (sums.cpus, sums.cpus_free, sums.gpus_free) == (192, 114, 7)


@pytest.mark.parametrize(
    ("shown", "kind"),
    [
        ("IDLE", "free"),
        ("MIXED", "mixed"),
        ("ALLOCATED", "full"),
        ("IDLE+DRAIN", "drained"),
        ("MIXED+DRAIN", "draining"),
        ("IDLE*", "down"),
        ("DOWN", "down"),
        ("IDLE+MAINTENANCE+RESERVED", "maintenance"),
        ("IDLE+RESERVED", "reserved"),
        ("IDLE+PLANNED", "planned"),
        ("IDLE+POWERED_DOWN", "asleep"),
        ("FUTURE", "unknown"),
    ],
)
def test_node_kind(shown: str, kind: str) -> None:
    assert node_kind(*node_state(shown)) == kind


@given(st.sampled_from(sorted(NODE_STATES)), st.lists(st.text(max_size=12), max_size=3))
def test_every_state_has_a_kind(state: str, flags: list[str]) -> None:
    assert node_kind(state, flags) in KINDS


def test_a_tile_for_each_gpu() -> None:
    (tile,) = node_tiles(snapshot(nodes=[node_row(gpu_types=a100(4, 1), flags=["PLANNED"])]))
    assert [gpu.used for gpu in tile.gpus] == [True, False, False, False]
    assert tile.label == "IDLE+PLANNED"


def test_a_job_pending_in_two_partitions_counts_in_both() -> None:
    seen = snapshot(
        nodes=[node_row("n1")],
        partitions=[partition_row("gpu"), partition_row("debug")],
        jobs=[job_row(1, partition="gpu,debug", array_pending=5), running(2)],
    )
    loads = {load.name: load for load in partition_loads(seen)}
    assert (loads["gpu"].pending, loads["debug"].pending, loads["gpu"].running) == (5, 5, 1)


# -- queue ----------------------------------------------------------------

QUEUE = table(
    job_row(1, user="ada", name="Train", partition="gpu,cpu", gpus=1, gpu_type="a100", priority=5),
    job_row(
        2,
        user="bob",
        name="<b>x</b>",
        partition="cpu",
        account="chem",
        priority=9,
        reason="ReqNodeNotAvail, UnavailableNodes:n1",
    ),
    job_row(
        3,
        user="ada",
        state="RUNNING",
        reason="",
        node_list="n[1-2],m1",
        gpus=2,
        gpu_type="h100,a100",
        priority=7,
    ),
    job_row(4, user="bob", state="COMPLETED", flags=["COMPLETING"], node_list="n7", priority=None),
    job_row(5, user="eve", state="COMPLETED", node_list="n1", priority=7),
)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (JobFilter(), [1, 2, 3, 4, 5]),
        (JobFilter(users=("ada",)), [1, 3]),
        (JobFilter(states=("PENDING",), partitions=("gpu",)), [1]),
        (JobFilter(partitions=("cpu",)), [1, 2]),
        (JobFilter(accounts=("chem",)), [2]),
        (JobFilter(gpu_types=("a100",)), [1, 3]),
        (JobFilter(with_gpus=False), [2, 4, 5]),
        (JobFilter(reasons=("ReqNodeNotAvail",)), [2]),
        (JobFilter(text="train"), [1]),
        (JobFilter(text="EVE"), [5]),
        (JobFilter(text="3"), [3]),
        (JobFilter(text="<b>"), [2]),
        (JobFilter(text=".*("), []),
        (JobFilter(text="9" * 30), []),
    ],
)
def test_filter(wanted: JobFilter, found: list[int]) -> None:
    assert ids(filter_jobs(QUEUE, wanted)) == found
    assert sorted(ids(queue_page(QUEUE, wanted).rows)) == found


@given(st.text(max_size=20))
def test_no_search_text_raises(text: str) -> None:
    filter_jobs(QUEUE, JobFilter(text=text))


def test_ended_jobs_are_not_active_but_completing_ones_are() -> None:
    assert ids(active_jobs(QUEUE)) == [1, 2, 3, 4]


def test_one_sees_own_jobs_and_those_of_led_accounts() -> None:
    assert ids(visible_jobs(QUEUE, "ada")) == [1, 3]
    assert ids(visible_jobs(QUEUE, "eve", ["chem"])) == [2, 5]


def test_a_page_is_ordered_and_empty_values_come_last() -> None:
    assert ids(page_of(QUEUE, sort="priority", descending=True)) == [2, 3, 5, 1, 4]
    assert ids(page_of(QUEUE, sort="priority", descending=False)) == [1, 3, 5, 2, 4]
    assert ids(page_of(QUEUE, sort="priority", offset=1, limit=2)) == [3, 5]
    assert ids(page_of(QUEUE, offset=10)) == []


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 5)), max_size=30),
    st.integers(0, 30),
    st.integers(1, 10),
    st.booleans(),
)
def test_pages_follow_each_other_without_gap(priorities: list[int | None], offset: int, limit: int, down: bool) -> None:
    jobs = table(*(job_row(n, priority=priority) for n, priority in enumerate(priorities)))
    whole = sorted(
        range(len(priorities)),
        key=lambda n: (priorities[n] is None, (-1 if down else 1) * (priorities[n] or 0), n),
    )
    assert ids(page_of(jobs, descending=down, offset=offset, limit=limit)) == whole[offset : offset + limit]


ARRAYS = table(
    job_row(10, label="10_[3-9%2]", array_job_id=10, array_task_id="3-9%2", array_pending=7),
    job_row(20),
    job_row(11, label="10_1", array_job_id=10, array_task_id="1", state="RUNNING"),
    job_row(12, label="10_2", array_job_id=10, array_task_id="2", state="RUNNING"),
    job_row(30, label="30_4", array_job_id=30, array_task_id="4"),
)


def test_an_array_folds_to_one_row() -> None:
    rows = fold_arrays(ARRAYS).to_pylist()
    assert [
        (row["label"], row["tasks"], row["tasks_running"], row["tasks_pending"], row["folded"]) for row in rows
    ] == [
        ("10_[…]", 9, 2, 7, True),
        ("20", 1, 0, 1, False),
        ("30_4", 1, 0, 1, False),
    ]


def test_a_page_of_folded_arrays_has_whole_rows() -> None:
    page = queue_page(ARRAYS, JobFilter(), fold=True, sort="job_id", descending=False)
    rows = page.rows.to_pylist()
    assert (page.total, page.tasks) == (3, 11)
    assert [(row["job_id"], row["label"], row["tasks"], row["user"]) for row in rows] == [
        (10, "10_[…]", 9, "ada"),
        (20, "20", 1, "ada"),
        (30, "30_4", 1, "ada"),
    ]


def test_one_job() -> None:
    found = job(QUEUE, 2)
    assert found is not None and found["user"] == "bob"
    assert job(QUEUE, 99) is None


def test_the_jobs_of_a_node() -> None:
    seen = snapshot(jobs=QUEUE.to_pylist())
    assert ids(jobs_on_node(seen, "n2")) == [3]
    assert ids(jobs_on_node(seen, "n1")) == [3]
    assert ids(jobs_on_node(seen, "n7")) == [4]
    assert ids(jobs_on_node(seen, "n")) == []


def test_an_array_counts_as_its_tasks() -> None:
    summary = queue_summary(
        snapshot(
            jobs=[
                *ARRAYS.to_pylist(),
                job_row(40, state="COMPLETED", user="old"),
                job_row(41, gpus=2, array_pending=3),
            ]
        )
    )
    assert (summary.running, summary.pending, summary.gpus_pending, summary.users) == (2, 12, 6, 1)
    assert summary.reasons == (("Priority", 12),)


def test_an_empty_queue() -> None:
    summary = queue_summary(snapshot())
    assert (summary.running, summary.pending, summary.users, summary.reasons) == (0, 0, 0, ())
    assert queue_page(snapshot().jobs.table, JobFilter(), fold=True).rows.num_rows == 0


# -- fits now ----------------------------------------------------------------

ROOM = snapshot(
    nodes=[
        node_row("n1", gpu_types=a100(4, 3), gpus_allocated=3),
        node_row("n2"),
        node_row("n3", available=False, flags=["DRAIN"]),
        node_row("n4", flags=["RESERVED"]),
        node_row("c1", gpus=0, gpu_types=[], cpus=8, memory_mb=16_000),
    ],
    partitions=[
        partition_row("gpu", ("n1", "n2", "n3", "n4")),
        partition_row("cpu", ("c1",)),
        partition_row("closed", ("n1", "n2"), state="DOWN"),
        partition_row("small", ("n1", "n2"), max_nodes=1),
    ],
    reservations=[{"name": "course", "state": "ACTIVE", "node_names": ["n4"], "flags": []}],
)


@pytest.mark.parametrize(
    ("request_", "nodes", "partitions"),
    [
        (FitRequest(gpus=1, gpu_type="a100"), 2, ("gpu", "small")),
        (FitRequest(gpus=4, gpu_type="a100"), 1, ("gpu", "small")),
        (FitRequest(gpus=1, gpu_type="h100"), 0, ()),
        (FitRequest(gpus=1, nodes=2), 2, ("gpu",)),
        (FitRequest(cpus=8), 2, ("gpu", "cpu", "small")),
        (FitRequest(cpus=65), 0, ()),
        (FitRequest(memory_mb=20_000, partition="cpu"), 0, ()),
        (FitRequest(partition="closed"), 0, ()),
        (FitRequest(gpus=1, reservation="course"), 1, ("gpu",)),
        (FitRequest(gpus=1, reservation="unknown"), 0, ()),
    ],
)
def test_fits_now(request_: FitRequest, nodes: int, partitions: tuple[str, ...]) -> None:
    fit = fits_now(ROOM, request_)
    assert (fit.nodes_now, fit.partitions, fit.fits) == (nodes, partitions, bool(partitions))


def test_what_no_node_could_ever_hold_is_told_apart() -> None:
    assert fits_now(ROOM, FitRequest(gpus=4, nodes=3)).nodes_ever == 4
    assert fits_now(ROOM, FitRequest(gpus=8)).nodes_ever == 0
