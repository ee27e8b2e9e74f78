"""What a scheduler knows, in Slurm's own terms: the schemas of a snapshot's tables.

Times are integer Unix seconds and null when Slurm has none (never started, no limit, ...); memory is MB
(2**20 bytes) as Slurm counts it. `state` holds one base state in capitals (`PENDING`, `IDLE`, ...), `flags`
the rest of a compound state (`["COMPLETING"]`, `["DRAIN", "NOT_RESPONDING"]`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

_s = pa.int64()  # Unix seconds, or a duration in seconds

JOB_STATES = (
    "PENDING",
    "RUNNING",
    "SUSPENDED",
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "NODE_FAIL",
    "PREEMPTED",
    "BOOT_FAIL",
    "DEADLINE",
    "OUT_OF_MEMORY",
)
ENDED_STATES = frozenset(JOB_STATES[3:])

JOBS = pa.schema(
    [
        ("job_id", pa.int64()),  # the job's own number, as in SLURM_JOB_ID
        ("label", pa.string()),  # as people write it: 12, 12_3, 12_[4-9%2], 12+1
        ("array_job_id", pa.int64()),  # null when not of an array
        ("array_task_id", pa.string()),  # "3", or "4-9%2" for the tasks still folded in one row
        ("array_pending", pa.int32()),  # tasks this row stands for; 1 for all but a folded array
        ("het_job_id", pa.int64()),
        ("het_offset", pa.int32()),
        ("name", pa.string()),
        ("user", pa.string()),
        ("uid", pa.int64()),
        ("account", pa.string()),
        ("partition", pa.string()),  # "debug,gpu" while pending in several
        ("qos", pa.string()),
        ("reservation", pa.string()),
        ("state", pa.string()),
        ("flags", pa.list_(pa.string())),
        ("reason", pa.string()),  # Slurm's word, e.g. Resources, QOSMaxGRESPerUser; "" when none
        ("priority", pa.int64()),
        ("submit_s", _s),
        ("eligible_s", _s),
        ("start_s", _s),  # began, or for a pending job expected to begin (see start_expected)
        ("start_expected", pa.bool_()),  # start_s is Slurm's forecast
        ("end_s", _s),  # ended, or for a running job the time its limit is reached
        ("time_limit_s", _s),  # null: unlimited
        ("nodes", pa.int32()),
        ("node_list", pa.string()),  # compressed, as Slurm prints it; "" before allocation
        ("cpus", pa.int32()),
        ("memory_mb", pa.int64()),  # of the whole job; null when unknown
        ("gpus", pa.int32()),  # of the whole job
        ("gpu_type", pa.string()),  # "" when none or untyped
        ("tres", pa.string()),  # allocated, else requested: cpu=8,mem=32G,node=1,gres/gpu:a100=1
        ("dependency", pa.string()),
        ("features", pa.string()),
        ("work_dir", pa.string()),
        ("command", pa.string()),
        ("comment", pa.string()),
        ("exit_code", pa.string()),  # "status:signal"; "" while it has none
        ("restarts", pa.int32()),
    ]
)

NODES = pa.schema(
    [
        ("name", pa.string()),
        ("address", pa.string()),
        ("state", pa.string()),  # IDLE, MIXED, ALLOCATED, DOWN, UNKNOWN, FUTURE, ERROR
        ("flags", pa.list_(pa.string())),  # DRAIN, NOT_RESPONDING, MAINTENANCE, RESERVED, ...
        ("available", pa.bool_()),  # may take jobs: not down, drained, not responding, in maintenance, ...
        ("partitions", pa.list_(pa.string())),
        ("cpus", pa.int32()),
        ("cpus_allocated", pa.int32()),
        ("cpu_load", pa.float32()),
        ("memory_mb", pa.int64()),
        ("memory_allocated_mb", pa.int64()),
        ("gpus", pa.int32()),
        ("gpus_allocated", pa.int32()),
        ("gpu_type", pa.string()),  # the most common type; all of them in gpu_types
        (
            "gpu_types",
            pa.list_(pa.struct([("type", pa.string()), ("total", pa.int32()), ("allocated", pa.int32())])),
        ),
        ("features", pa.list_(pa.string())),
        ("reason", pa.string()),  # why it was drained or went down
        ("reason_user", pa.string()),
        ("reason_s", _s),
        ("boot_s", _s),
        ("slurmd_s", _s),
        ("version", pa.string()),
    ]
)

PARTITIONS = pa.schema(
    [
        ("name", pa.string()),
        ("state", pa.string()),  # UP, DOWN, DRAIN, INACTIVE
        ("default", pa.bool_()),
        ("node_names", pa.list_(pa.string())),
        ("nodes", pa.int32()),
        ("cpus", pa.int32()),
        ("max_time_s", _s),  # null: unlimited
        ("default_time_s", _s),
        ("max_nodes", pa.int32()),
        ("allow_accounts", pa.list_(pa.string())),  # null: all
        ("deny_accounts", pa.list_(pa.string())),
        ("allow_groups", pa.list_(pa.string())),
        ("allow_qos", pa.list_(pa.string())),
        ("qos", pa.string()),  # the partition's own QOS, whose limits apply to its jobs
        ("priority_tier", pa.int32()),
        ("oversubscribe", pa.string()),
        ("preempt_mode", pa.string()),
        ("tres", pa.string()),
    ]
)

RESERVATIONS = pa.schema(
    [
        ("name", pa.string()),
        ("state", pa.string()),  # ACTIVE, INACTIVE
        ("start_s", _s),
        ("end_s", _s),
        ("node_list", pa.string()),
        ("node_names", pa.list_(pa.string())),
        ("nodes", pa.int32()),
        ("partition", pa.string()),
        ("users", pa.list_(pa.string())),
        ("accounts", pa.list_(pa.string())),
        ("flags", pa.list_(pa.string())),
        ("tres", pa.string()),
    ]
)

# A limit that is not set is null, never a huge number. tres limits are Slurm text: "cpu=64,gres/gpu=8".
QOS = pa.schema(
    [
        ("name", pa.string()),
        ("description", pa.string()),
        ("priority", pa.int64()),
        ("flags", pa.list_(pa.string())),
        ("max_wall_s", _s),
        ("max_tres_per_job", pa.string()),
        ("max_tres_per_node", pa.string()),
        ("max_tres_per_user", pa.string()),
        ("max_tres_per_account", pa.string()),
        ("max_jobs_per_user", pa.int32()),
        ("max_submit_per_user", pa.int32()),
        ("max_jobs_per_account", pa.int32()),
        ("max_submit_per_account", pa.int32()),
        ("group_tres", pa.string()),
        ("group_jobs", pa.int32()),
        ("group_submit", pa.int32()),
        ("group_wall_s", _s),
        ("min_tres_per_job", pa.string()),
        ("usage_tres", pa.string()),  # in use now, where the scheduler says so; else null
        ("usage_jobs", pa.int32()),
    ]
)

ASSOCIATIONS = pa.schema(
    [
        ("id", pa.int64()),
        ("account", pa.string()),
        ("user", pa.string()),  # "" for the account's own row
        ("parent", pa.string()),  # parent account, of the account's own row
        ("partition", pa.string()),  # "" for all
        ("default_account", pa.bool_()),  # this is the user's default account
        ("admin_level", pa.string()),  # None, Operator, Administrator
        ("qos", pa.list_(pa.string())),
        ("default_qos", pa.string()),
        ("max_wall_s", _s),
        ("max_tres_per_job", pa.string()),
        ("max_jobs", pa.int32()),
        ("max_submit", pa.int32()),
        ("group_tres", pa.string()),
        ("group_jobs", pa.int32()),
        ("group_submit", pa.int32()),
        ("usage_tres", pa.string()),  # in use now
        ("usage_jobs", pa.int32()),
    ]
)

ACCOUNTS = pa.schema(
    [
        ("name", pa.string()),
        ("description", pa.string()),
        ("organization", pa.string()),
        ("parent", pa.string()),
        ("coordinators", pa.list_(pa.string())),
    ]
)

# What accounting says of own sessions' jobs: one row for each attempt, the newest last.
ENDED = pa.schema(
    [
        ("job_id", pa.int64()),
        ("name", pa.string()),
        ("user", pa.string()),
        ("uid", pa.int64()),
        ("account", pa.string()),
        ("partition", pa.string()),
        ("qos", pa.string()),
        ("state", pa.string()),
        ("cancelled_by", pa.string()),  # uid or name, of a CANCELLED job; "" when not told
        ("exit_code", pa.string()),
        ("submit_s", _s),
        ("start_s", _s),  # null: never started
        ("end_s", _s),  # null: accounting does not know of an end yet
        ("time_limit_s", _s),
        ("nodes", pa.int32()),
        ("node_list", pa.string()),
        ("cpus", pa.int32()),
        ("memory_mb", pa.int64()),
        ("gpus", pa.int32()),
        ("gpu_type", pa.string()),
        ("tres", pa.string()),
        ("cpu_used_s", pa.float64()),  # user + system time of all steps
        ("memory_peak_mb", pa.int64()),  # the largest of any task, as sampled
    ]
)

SCHEMAS: dict[str, pa.Schema] = {
    "jobs": JOBS,
    "nodes": NODES,
    "partitions": PARTITIONS,
    "reservations": RESERVATIONS,
    "qos": QOS,
    "associations": ASSOCIATIONS,
    "accounts": ACCOUNTS,
    "waiting": JOBS,
    "ended": ENDED,
}


@dataclass(frozen=True)
class Part:
    """One table of a snapshot and how fresh it is.

    `taken_s` is when the scheduler was asked for the rows shown (null: never yet); `error` is why the last
    attempt failed, in words for a person, and `failing_since_s` when it first did; null when it succeeded.
    """

    table: pa.Table
    taken_s: float | None
    duration_s: float | None
    every_s: float
    error: str | None = None
    failing_since_s: float | None = None
    problems: tuple[str, ...] = ()  # rows of the last answer that made no sense and were left out, by name

    def rows(self) -> list[dict[str, Any]]:
        """Every row as a dict: for the small tables only."""
        return self.table.to_pylist()


@dataclass(frozen=True)
class Snapshot:
    """What is known of one cluster; a part that was never read is an empty table with `taken_s` None."""

    cluster: str
    version: int  # differs whenever a part or its error changed
    jobs: Part
    nodes: Part
    partitions: Part
    reservations: Part
    qos: Part
    associations: Part
    accounts: Part
    waiting: Part  # rows of jobs for the sessions that are not ready yet, fresher than `jobs`
    ended: Part  # what accounting says of sessions' jobs that ended or left the queue
