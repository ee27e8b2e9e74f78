"""Why a job waits, in words a person understands, with the limit that bites."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cluster.slurm.jobs import parse_jobs
from backend.cluster.views import reason_in_words
from backend.cluster.views.amounts import amount, as_duration
from tests.unit.cluster_kit import (
    NOW_S,
    association_row,
    captured,
    captured_marks,
    job_row,
    partition_row,
    running,
    snapshot,
)

# Every reason of Slurm 20.11 to 26.05 (src/common/job_state_reason.c)
SLURM_REASONS = """
None Prolog Priority Dependency Resources PartitionNodeLimit PartitionTimeLimit PartitionDown
PartitionInactive JobHeldAdmin JobHeldUser NvidiaImexChannels BeginTime Licenses AssociationJobLimit
AssociationResourceLimit AssociationTimeLimit Reservation ReqNodeNotAvail SchedDefer NodeDown
BadConstraints SystemFailure JobLaunchFailure InvalidAccount InvalidQOS QOSUsageThreshold
QOSJobLimit QOSResourceLimit QOSTimeLimit Cleaning QOSNotAllowed AccountNotAllowed
DependencyNeverSatisfied QOSGrpCpuLimit QOSGrpCPUMinutesLimit QOSGrpCPURunMinutesLimit
QOSGrpJobsLimit QOSGrpMemLimit QOSGrpNodeLimit QOSGrpSubmitJobsLimit QOSGrpWallLimit
QOSMaxCpuPerJobLimit QOSMaxCpuMinutesPerJobLimit QOSMaxNodePerJobLimit QOSMaxWallDurationPerJobLimit
QOSMaxCpuPerUserLimit QOSMaxJobsPerUserLimit QOSMaxNodePerUserLimit QOSMaxSubmitJobPerUserLimit
QOSMinCpuNotSatisfied AssocGrpCpuLimit AssocGrpCPUMinutesLimit AssocGrpCPURunMinutesLimit
AssocGrpJobsLimit AssocGrpMemLimit AssocGrpNodeLimit AssocGrpSubmitJobsLimit AssocGrpWallLimit
AssocMaxJobsLimit AssocMaxCpuPerJobLimit AssocMaxCpuMinutesPerJobLimit AssocMaxNodePerJobLimit
AssocMaxWallDurationPerJobLimit AssocMaxSubmitJobLimit JobHoldMaxRequeue JobArrayTaskLimit
BurstBufferResources BurstBufferStageIn BurstBufferOperation AssocGrpUnknown AssocGrpUnknownMinutes
AssocGrpUnknownRunMinutes AssocMaxUnknownPerJob AssocMaxUnknownPerNode AssocMaxUnknownMinutesPerJob
AssocMaxCpuPerNode AssocGrpMemMinutes AssocGrpMemRunMinutes AssocMaxMemPerJob AssocMaxMemPerNode
AssocMaxMemMinutesPerJob AssocGrpNodeMinutes AssocGrpNodeRunMinutes AssocMaxNodeMinutesPerJob
AssocGrpEnergy AssocGrpEnergyMinutes AssocGrpEnergyRunMinutes AssocMaxEnergyPerJob
AssocMaxEnergyPerNode AssocMaxEnergyMinutesPerJob AssocGrpGRES AssocGrpGRESMinutes
AssocGrpGRESRunMinutes AssocMaxGRESPerJob AssocMaxGRESPerNode AssocMaxGRESMinutesPerJob
AssocGrpLicense AssocGrpLicenseMinutes AssocGrpLicenseRunMinutes AssocMaxLicensePerJob
AssocMaxLicenseMinutesPerJob AssocGrpBB AssocGrpBBMinutes AssocGrpBBRunMinutes AssocMaxBBPerJob
AssocMaxBBPerNode AssocMaxBBMinutesPerJob QOSGrpUnknown QOSGrpUnknownMinutes QOSGrpUnknownRunMinutes
QOSMaxUnknownPerJob QOSMaxUnknownPerNode QOSMaxUnknownPerUser QOSMaxUnknownMinutesPerJob
QOSMinUnknown QOSMaxCpuPerNode QOSGrpMemoryMinutes QOSGrpMemoryRunMinutes QOSMaxMemoryPerJob
QOSMaxMemoryPerNode QOSMaxMemoryPerUser QOSMaxMemoryMinutesPerJob QOSMinMemory QOSGrpNodeMinutes
QOSGrpNodeRunMinutes QOSMaxNodeMinutesPerJob QOSMinNode QOSGrpEnergy QOSGrpEnergyMinutes
QOSGrpEnergyRunMinutes QOSMaxEnergyPerJob QOSMaxEnergyPerNode QOSMaxEnergyPerUser
QOSMaxEnergyMinutesPerJob QOSMinEnergy QOSGrpGRES QOSGrpGRESMinutes QOSGrpGRESRunMinutes
QOSMaxGRESPerJob QOSMaxGRESPerNode QOSMaxGRESPerUser QOSMaxGRESMinutesPerJob QOSMinGRES
QOSGrpLicense QOSGrpLicenseMinutes QOSGrpLicenseRunMinutes QOSMaxLicensePerJob QOSMaxLicensePerUser
QOSMaxLicenseMinutesPerJob QOSMinLicense QOSGrpBB QOSGrpBBMinutes QOSGrpBBRunMinutes QOSMaxBBPerJob
QOSMaxBBPerNode QOSMaxBBPerUser AssocMaxBBMinutesPerJob QOSMinBB DeadLine MaxBBPerAccount
MaxCpuPerAccount MaxEnergyPerAccount MaxGRESPerAccount MaxNodePerAccount MaxLicensePerAccount
MaxMemoryPerAccount MaxUnknownPerAccount MaxJobsPerAccount MaxSubmitJobsPerAccount
""".split()  # noqa: SIM905 - a list of lines of one word each is no easier to read

GPU2 = "cpu=1,mem=1000M,node=1,billing=1,gres/gpu=2,gres/gpu:a100=2"


def words(job: dict[str, Any], own: bool = True, **parts: list[dict[str, Any]]) -> str:
    parts.setdefault("jobs", []).append(job)
    return reason_in_words(job, snapshot(**parts), own=own)


@pytest.mark.parametrize("reason", SLURM_REASONS)
def test_every_reason_of_slurm_has_words(reason: str) -> None:
    said = words(job_row(reason=reason))
    assert said.endswith((".", ")."))
    assert not said.startswith("Slurm says")


def test_a_reason_nobody_described_is_shown_in_slurms_word() -> None:
    assert words(job_row(reason="SomethingNew")) == "Slurm says: SomethingNew"


@given(st.text(max_size=80), st.sampled_from(["PENDING", "RUNNING", "FAILED", "CANCELLED"]))
def test_no_reason_raises(reason: str, state: str) -> None:
    words(job_row(reason=reason, state=state))


def test_a_running_job_needs_no_reason() -> None:
    assert words(running(1)) == ""


# -- limits ----------------------------------------------------------------


def test_a_groups_limit_with_its_use() -> None:
    said = words(
        job_row(9, reason="AssocGrpGRES", tres=GPU2),
        jobs=[
            running(1, tres="gres/gpu=4"),
            running(2, tres="gres/gpu=4", account="qcd"),
            running(3, tres="gres/gpu=7", account="chem"),
        ],
        associations=[
            association_row("root", parent=""),
            association_row("physics", group_tres="gres/gpu=8"),
            association_row("qcd", parent="physics"),
            association_row("physics", "ada"),
        ],
    )
    assert said == "Your group physics uses 8 of its 8 GPUs (QOS normal); this job asks for 2."


def test_the_limit_of_a_parent_account() -> None:
    said = words(
        job_row(9, reason="AssocGrpCpuLimit", account="qcd", tres="cpu=4"),
        own=False,
        jobs=[running(1, account="qcd", tres="cpu=62")],
        associations=[
            association_row("physics", group_tres="cpu=64", parent=""),
            association_row("qcd", parent="physics", group_tres="cpu=500"),
        ],
    )
    assert said == "Group physics uses 62 of its 64 CPUs (QOS normal); this job asks for 4."


def test_a_persons_limit_in_a_qos() -> None:
    said = words(
        job_row(9, reason="QOSMaxGRESPerUser", qos="high", tres=GPU2),
        jobs=[running(1, qos="high", tres=GPU2), running(2, qos="high", user="bob", tres=GPU2)],
        qos=[{"name": "high", "max_tres_per_user": "gres/gpu=2"}],
    )
    assert said == "You use 2 of the 2 GPUs that QOS high gives one person; this job asks for 2."


def test_the_same_of_another_person() -> None:
    said = words(
        job_row(9, reason="QOSMaxGRESPerUser", qos="high", tres=GPU2),
        own=False,
        qos=[{"name": "high", "max_tres_per_user": "gres/gpu:a100=1"}],
    )
    assert said == "ada uses 0 of the 1 a100 GPU that QOS high gives one person; this job asks for 2."


def test_the_qos_of_a_partition() -> None:
    said = words(
        job_row(9, reason="QOSGrpCpuLimit", partition="cpu", tres="cpu=8"),
        jobs=[running(1, partition="cpu", tres="cpu=12")],
        partitions=[partition_row("cpu", qos="partq")],
        qos=[{"name": "partq", "group_tres": "cpu=16"}, {"name": "normal"}],
    )
    assert said == "Partition cpu has 12 of its 16 CPUs in use; this job asks for 8."


def test_as_many_jobs_as_allowed() -> None:
    said = words(
        job_row(9, reason="QOSMaxJobsPerUserLimit", qos="high"),
        jobs=[running(n, qos="high") for n in (1, 2, 3)],
        qos=[{"name": "high", "max_jobs_per_user": 3}],
    )
    assert said == "You have 3 jobs running; QOS high allows one person 3."


def test_as_many_jobs_of_an_account_as_allowed() -> None:
    said = words(
        job_row(9, reason="AssocMaxJobsLimit"),
        jobs=[running(1)],
        associations=[association_row("physics", "ada", max_jobs=1)],
    )
    assert said == "You have 1 job running; account physics allows 1."


def test_a_job_that_asks_for_too_much_will_never_start() -> None:
    said = words(
        job_row(9, reason="QOSMaxMemoryPerJob", tres="cpu=1,mem=64G"),
        qos=[{"name": "normal", "max_tres_per_job": "mem=32G"}],
    )
    assert said == "It asks for 64 GB of memory; QOS normal allows 32 GB of memory a job. It will not start as it is."


def test_a_job_that_asks_for_too_little() -> None:
    said = words(
        job_row(9, reason="QOSMinGRES", tres="cpu=1"),
        qos=[{"name": "normal", "min_tres_per_job": "gres/gpu=1"}],
    )
    assert said == "It asks for no GPUs; QOS normal wants 1 GPU or more a job. It will not start as it is."


def test_a_time_limit_that_is_too_long() -> None:
    said = words(
        job_row(9, reason="QOSMaxWallDurationPerJobLimit", time_limit_s=172_800),
        qos=[{"name": "normal", "max_wall_s": 86_400}],
    )
    assert said == "It asks for 2 days; QOS normal allows 1 day. It will not start as it is."


def test_a_limit_that_the_snapshot_does_not_know() -> None:
    said = words(job_row(9, reason="AssocGrpGRES"))
    assert said == "A limit of account physics on GPUs or other devices is reached (AssocGrpGRES)."


# -- other reasons ----------------------------------------------------------------


def test_how_many_go_first() -> None:
    ahead = [
        job_row(1, priority=200),
        job_row(2, priority=300, array_pending=4),
        job_row(3, priority=900, partition="cpu"),
    ]
    assert words(job_row(9, priority=100), jobs=ahead) == "5 jobs with a higher priority go first in gpu."


def test_next_in_line() -> None:
    said = words(job_row(9, reason="Resources", gpus=2, gpu_type="a100", nodes=2))
    assert said == "Next in line: it waits for 2 nodes with 2 a100 GPUs to become free."


def test_a_maintenance_that_a_shorter_job_could_avoid() -> None:
    said = words(
        job_row(9, reason="ReqNodeNotAvail, May be reserved for other job", time_limit_s=86_400),
        partitions=[partition_row("gpu", ("n1",))],
        reservations=[
            {
                "name": "maint",
                "flags": ["MAINT"],
                "start_s": NOW_S + 7200,
                "node_names": ["n1"],
                "state": "INACTIVE",
            }
        ],
    )
    assert "Maintenance (maint) begins in 2 hours: a shorter time limit may start sooner." in said


def test_the_nodes_that_are_not_available() -> None:
    assert "n[1-3]" in words(job_row(9, reason="ReqNodeNotAvail, UnavailableNodes:n[1-3]"))


def test_the_jobs_it_depends_on() -> None:
    said = words(job_row(9, reason="Dependency", dependency="afterok:12(unfulfilled),afterany:13_*(unfulfilled)"))
    assert said == "It waits for jobs 12, 13_* to finish first."


def test_an_array_of_a_few_at_once() -> None:
    said = words(job_row(9, reason="JobArrayTaskLimit", array_task_id="2-20%2"))
    assert said == "The array was asked to run 2 tasks at once; the rest wait."


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (
            {"state": "FAILED", "reason": "NonZeroExitCode", "exit_code": "3:0"},
            "It ended with an error (exit code 3).",
        ),
        ({"state": "FAILED", "reason": "", "exit_code": "0:9"}, "It ended with an error (signal 9)."),
        ({"state": "TIMEOUT", "reason": "TimeLimit", "exit_code": "0:1"}, "It reached its time limit."),
        ({"state": "CANCELLED", "reason": "", "exit_code": "0:15"}, "It was cancelled."),
        (
            {"state": "OUT_OF_MEMORY", "reason": "OutOfMemory", "exit_code": "0:125"},
            "It used more memory than it had asked for.",
        ),
        ({"state": "COMPLETED", "reason": "", "exit_code": "0:0"}, "It ended well."),
    ],
)
def test_how_it_ended(facts: dict[str, Any], said: str) -> None:
    assert words(job_row(**facts)) == said


def test_every_job_of_the_captured_queue_has_words() -> None:
    jobs = parse_jobs([captured("squeue").encode()], captured_marks()).table.to_pylist()
    seen = snapshot(jobs=jobs)
    for job in jobs:
        said = reason_in_words(job, seen)
        assert (said != "") == (job["state"] not in ("RUNNING", "SUSPENDED"))
        assert not said.startswith("Slurm says")


@pytest.mark.parametrize(
    ("key", "number", "said"),
    [
        ("gres/gpu", 1, "1 GPU"),
        ("gres/gpu:h100", 2, "2 h100 GPUs"),
        ("mem", 2048, "2 GB of memory"),
        ("mem", 1500, "1500 MB of memory"),
        ("cpu", 0, "0 CPUs"),
        ("gres/shard", 3, "3 shard"),
    ],
)
def test_amount(key: str, number: int, said: str) -> None:
    assert amount(key, number) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (1, "1 second"),
        (300, "5 minutes"),
        (5400, "1 hour 30 minutes"),
        (90_061, "1 day 1 hour"),
        (-5, "0 seconds"),
    ],
)
def test_as_duration(seconds: int, said: str) -> None:
    assert as_duration(seconds) == said
