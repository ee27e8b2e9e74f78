"""The warehouse's tables, in Slurm's own terms. Other tools may read them: the files are Parquet.

Times are integer Unix seconds, null when there is none; memory is MB (2**20 bytes) as Slurm counts it. One row of
`JOBS` is one attempt of one job: a job that was requeued has several, with the same `job_id` and `origin_s`.
"""

from __future__ import annotations

import pyarrow as pa

_s = pa.int64()  # Unix seconds, or a duration in seconds
_name = pa.dictionary(pa.int32(), pa.string())  # few values, many rows

# What names a row wherever it came from: slurmdbd keeps (id_job, time_submit) unique, and sacct prints both. A
# requeue gives the next attempt a submit time of its own.
KEY = ("cluster", "job_id", "submit_s")

JOBS = pa.schema(
    [
        ("cluster", _name),
        ("job_id", pa.int64()),  # id_job, JobIDRaw
        ("submit_s", _s),
        ("origin_s", _s),  # the submit time of the job's first attempt; (cluster, job_id, origin_s) is one job
        ("attempt", pa.int32()),  # 1 for the first
        ("last_attempt", pa.bool_()),  # no later attempt is known: it did not end by requeue or resize
        ("eligible_s", _s),
        ("start_s", _s),
        ("end_s", _s),  # null while pending or running
        ("seen_s", _s),  # of an open row: until when it was known to be so. Usage of a running job ends here
        ("suspended_s", _s),  # seconds suspended in all, within [start, end or seen)
        ("state", _name),  # one base state, or REQUEUED, RESIZING, REVOKED of an attempt that ended so
        ("user", _name),
        ("uid", pa.int64()),
        ("group", _name),
        ("account", _name),
        ("assoc_id", pa.int64()),
        ("partition", _name),  # "debug,high" while pending in several
        ("qos", _name),
        ("reservation", _name),  # null when none
        ("wckey", _name),
        ("job_name", pa.string()),
        ("nodes", pa.int32()),  # allocated; 0 when it never was
        ("cpus", pa.int32()),
        ("mem_mb", pa.int64()),
        ("gpus", pa.int32()),  # untyped gres/gpu, or the sum of the typed ones where only these are kept
        ("gpu_type", _name),  # the only type; null when none is known; "a100=2,h100=1" for several, in order of name
        ("billing", pa.int64()),  # TRES 5 as stored at allocation
        ("energy_j", pa.int64()),  # null when unknown
        ("tres", _name),  # tres_alloc by name, as sacct prints it: billing=8,cpu=8,gres/gpu:a100=1,...
        ("req_tres", _name),
        ("req_cpus", pa.int32()),
        ("req_mem_mb", pa.int64()),  # of the whole job; null when unknown
        ("req_gpus", pa.int32()),
        ("time_limit_s", _s),  # null: none or unknown
        ("exit_status", pa.int32()),
        ("exit_signal", pa.int32()),
        ("node_list", pa.string()),  # compressed, as Slurm prints it; "" before allocation
        ("array_job_id", pa.int64()),  # null when not of an array
        ("array_task_id", pa.int64()),  # null for the master that stands for tasks still pending
        ("array_pending", pa.int32()),  # tasks this row stands for while it is pending; else 0
        ("het_job_id", pa.int64()),  # null when not of a het job; one het job counts once
        ("het_offset", pa.int32()),
        ("cpu_used_s", pa.float64()),  # user + system seconds of its steps; null when none is known
        ("mem_peak_mb", pa.int64()),  # the largest MaxRSS of any task of any step; null when none is known
        ("work_dir", pa.string()),
        ("reason", _name),  # why it waited last
        ("app", _name),  # of a session of this console: "jupyterlab"; else null
        ("db_inx", pa.uint64()),  # job_db_inx, 64 bits: a string in JSON; null when imported
        ("source", _name),  # "slurmdbd", "sacct", "local"
        ("gone", pa.bool_()),  # slurmdbd has purged or archived it since: only the console still has it
    ]
)

# When a job was stopped and held its CPUs no more. Half-open; `to_s` null while it lasts.
SUSPENDS = pa.schema([("cluster", _name), ("job_id", pa.int64()), ("submit_s", _s), ("from_s", _s), ("to_s", _s)])

# Small tables, one a cluster, replaced whole at a sync.
ACCOUNTS = pa.schema(
    [("name", pa.string()), ("parent", pa.string()), ("description", pa.string()), ("organization", pa.string()),
     ("deleted", pa.bool_()), ("coordinators", pa.list_(pa.string()))]
)  # fmt: skip
RESERVATIONS = pa.schema(
    [("id", pa.int64()), ("name", pa.string()), ("start_s", _s), ("end_s", _s), ("tres", pa.string()),
     ("assocs", pa.string()), ("unused_wall_s", pa.float64()), ("node_list", pa.string())]
)  # fmt: skip
EVENTS = pa.schema(
    [("node", pa.string()), ("start_s", _s), ("end_s", _s), ("state", pa.string()), ("reason", pa.string()),
     ("tres", pa.string())]
)  # fmt: skip
# slurmdbd's own hourly roll-up of the whole cluster: what there was to use, and how it split up.
CAPACITY = pa.schema(
    [("hour_s", _s), ("tres", pa.string()), ("count", pa.int64()), ("alloc_s", pa.int64()), ("down_s", pa.int64()),
     ("planned_down_s", pa.int64()), ("idle_s", pa.int64()), ("planned_s", pa.int64()), ("over_s", pa.int64())]
)  # fmt: skip
SMALL_TABLES = {"accounts": ACCOUNTS, "reservations": RESERVATIONS, "events": EVENTS, "capacity": CAPACITY}
