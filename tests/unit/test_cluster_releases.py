"""Answers recorded from real clusters of several Slurm releases are read whole, and tell the same kinds of facts.

Each release puts some of them differently: exit codes of `squeue` are a raw status in 22.05 and `3:0` in 24.11,
GPUs asked for are `gres:gpu:a100:1` and `gres/gpu:a100:1`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.cluster import JOBS, NODES
from backend.cluster.slurm import limits
from backend.cluster.slurm.ended import parse_ended
from backend.cluster.slurm.jobs import parse_jobs
from backend.cluster.slurm.nodes import parse_nodes, parse_partitions, parse_reservations
from backend.cluster.views import reason_in_words
from tests.unit.cluster_kit import ANSWERS, captured, captured_marks, snapshot

RELEASES = sorted(ANSWERS.glob("slurm-*"))
HOSTILE = 'evil\n1234|x|<script>alert(1)</script>\t "q" \u202e rtl ✓'
REASON = "bad | fan NodeName=node1 State=IDLE Reason=x OS=Linux <b>"


@pytest.fixture(params=RELEASES, ids=lambda folder: folder.name)
def release(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.param
    return folder


def jobs_of(release: Path) -> list[dict[str, Any]]:
    reading = parse_jobs([captured("squeue", release).encode()], captured_marks(release))
    assert reading.problems == ()
    assert reading.table.schema == JOBS
    rows: list[dict[str, Any]] = reading.table.to_pylist()
    return rows


def test_more_than_one_release_is_replayed() -> None:
    assert {folder.name for folder in RELEASES} >= {"slurm-22.05", "slurm-24.11"}


def test_the_queue_with_names_of_any_text(release: Path) -> None:
    jobs = jobs_of(release)
    evil = next(row for row in jobs if row["name"] == HOSTILE)
    assert (evil["comment"], evil["state"], evil["gpus"], evil["gpu_type"]) == ("c|d\ne", "RUNNING", 2, "a100")
    assert any(row["name"] == "latin-\ufffd" for row in jobs)
    assert {"PENDING", "RUNNING", "SUSPENDED", "CANCELLED"} <= {row["state"] for row in jobs}
    assert any(row["array_pending"] > 10 and row["array_task_id"].endswith("%2") for row in jobs if row["array_job_id"])
    assert {row["het_offset"] for row in jobs if row["het_job_id"]} == {0, 1}


def test_gpus_are_counted_however_they_were_asked_for(release: Path) -> None:
    assert {(row["gpus"], row["gpu_type"]) for row in jobs_of(release) if row["name"] in ("plain", "gpn", "wide")} >= {
        (1, "a100"),
        (2, "a100"),
    }


def test_exit_codes_say_status_and_signal(release: Path) -> None:
    for row in jobs_of(release):
        if row["state"] == "CANCELLED":
            assert row["exit_code"] == "0:15"
        elif row["state"] == "FAILED":
            assert row["exit_code"] == "3:0"
        elif row["state"] in ("PENDING", "RUNNING", "SUSPENDED"):
            assert row["exit_code"] == ""


def test_every_job_that_waits_or_ended_has_words(release: Path) -> None:
    jobs = jobs_of(release)
    seen = snapshot(jobs=jobs)
    for row in jobs:
        said = reason_in_words(row, seen)
        assert (said != "") == (row["state"] not in ("RUNNING", "SUSPENDED"))
        assert not said.startswith("Slurm says")


def test_the_nodes_and_who_drained_one_why_and_when(release: Path) -> None:
    reading = parse_nodes(captured("nodes", release))
    assert reading.problems == ()
    assert reading.table.schema == NODES
    nodes = reading.table.to_pylist()
    assert all(row["version"].startswith(release.name.removeprefix("slurm-")) for row in nodes)
    assert any(row["gpu_type"] == "a100" and row["gpus"] == 4 == row["gpus_allocated"] for row in nodes)
    drained = next(row for row in nodes if row["reason"] == REASON)
    assert (drained["flags"], drained["available"], drained["reason_user"]) == (["DRAIN"], False, "root")
    assert drained["reason_s"] > drained["boot_s"]


def test_partitions_and_reservations(release: Path) -> None:
    partitions = parse_partitions(captured("partitions", release))
    assert partitions.problems == ()
    gpu = next(row for row in partitions.table.to_pylist() if row["name"] == "gpu")
    assert (gpu["state"], gpu["default"], gpu["max_time_s"]) == ("UP", True, 172_800)
    reservations = parse_reservations(captured("reservations", release))
    assert reservations.problems == ()
    maint = next(row for row in reservations.table.to_pylist() if row["name"] == "maint")
    assert "MAINT" in maint["flags"]
    assert maint["end_s"] - maint["start_s"] == 3600
    assert maint["nodes"] == len(maint["node_names"]) == 1


def test_accounts_limits_and_their_use(release: Path) -> None:
    rows = {}
    for what, fields in (
        ("association", limits.ASSOCIATION_FIELDS),
        ("qos", limits.QOS_FIELDS),
        ("user", limits.USER_FIELDS),
        ("account", limits.COORDINATOR_FIELDS),
    ):
        rows[what] = limits.parse_rows(captured(what, release), what, fields)
        assert rows[what].problems == []
    for what, columns in (("account", limits.DESCRIPTION_COLUMNS), ("qos", limits.QOS_DESCRIPTION_COLUMNS)):
        texts = limits.parse_columns((release / f"{what}_texts.txt").read_bytes(), what, columns)
        assert texts.problems == []
        assert any(row["Description"] for row in texts)
    use = limits.parse_use(captured("assoc_mgr", release))
    # Each association and QOS that sacctmgr tells has its use, what runs counts in that of the root.
    assert {int(row["ID"]) for row in rows["association"]} == set(use.associations)
    assert {row["Name"] for row in rows["qos"]} == set(use.qos)
    root = next(row for row in rows["association"] if row["Account"] == "root" and not row["User"])
    held, running = use.associations[int(root["ID"])]
    jobs = [row for row in jobs_of(release) if row["state"] in ("RUNNING", "SUSPENDED")]
    assert f"gres/gpu={sum(row['gpus'] for row in jobs)}" in held.split(",")
    assert running == len(jobs)


def test_what_became_of_jobs(release: Path) -> None:
    reading = parse_ended(captured("sacct", release), captured_marks(release))
    assert reading.problems == ()
    by_state = {row["state"]: row for row in reading.table.to_pylist()}
    assert by_state["FAILED"]["exit_code"] == "3:0"
    assert by_state["CANCELLED"]["cancelled_by"] == "0"
    assert by_state["REQUEUED"]["end_s"] is not None
    assert by_state["RUNNING"]["end_s"] is None
