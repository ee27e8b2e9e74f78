"""Rows of `<cluster>_job_table`, with what its steps used and when it was suspended, as the database has them."""

# ruff: noqa: S608 - tables are named by what the database has, and quoted; values are arguments
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from backend.accounting.dbd.connection import Connection
from backend.accounting.dbd.rows.bulk import BIG, INT, REAL, TEXT, Field, read
from backend.accounting.dbd.schema import Schema

_NUMBERS = (
    "array_task_pending", "cpus_req", "exit_code", "id_assoc", "id_array_job", "id_array_task", "id_job",
    "id_qos", "id_resv", "id_wckey", "id_user", "id_group", "het_job_id", "het_job_offset", "state_reason_prev",
    "nodes_alloc", "state", "timelimit", "time_submit", "time_start", "time_end",
    "time_suspended",
)  # fmt: skip
_TEXTS = (
    "account", "job_name", "nodelist", "partition", "wckey", "work_dir", "tres_alloc", "tres_req",
)  # fmt: skip
JOB_FIELDS = (
    Field("job_db_inx", "j.job_db_inx", BIG),
    Field("mem_req", "j.mem_req", BIG),
    # An eligible time may be "infinite" in 64 bits.
    Field("time_eligible", "LEAST(j.time_eligible, 4294967295)"),
    *(Field(name, f"j.{name}") for name in _NUMBERS),
    *(Field(name, f"j.`{name}`", TEXT) for name in _TEXTS),
)
# The largest resident set of any task: TRES 2 of tres_usage_in_max, in bytes. The largest 64-bit numbers mean unknown.
_PEAK = (
    "IF(LOCATE(',2=', CONCAT(',', s.tres_usage_in_max)), CAST(SUBSTRING_INDEX(SUBSTRING_INDEX("
    "CONCAT(',', s.tres_usage_in_max), ',2=', -1), ',', 1) AS UNSIGNED), NULL)"
)
_KNOWN_PEAK = f"MAX(IF({_PEAK} < 4611686018427387904, {_PEAK}, NULL))"
STEP_FIELDS = (
    Field("job_db_inx", "t.inx", BIG),
    Field("cpu_used_s", "t.used", REAL),
    Field("peak_bytes", "t.peak", INT),
)
SUSPEND_FIELDS = (
    Field("job_db_inx", "s.job_db_inx", BIG),
    Field("from_s", "s.time_start", INT),
    Field("to_s", "s.time_end", INT),
)


@dataclass(frozen=True)
class Window:
    """Some rows of the job table: a condition on its alias `j` that the primary key serves.

    `spanning`: the same for another table's job_db_inx, where that is shorter than asking for each row.
    """

    where: str
    arguments: tuple[object, ...]
    spanning: tuple[int, int] | None = None

    @classmethod
    def span(cls, after: int, upto: int) -> Window:
        """Ended rows with after < job_db_inx <= upto."""
        return cls("j.job_db_inx > %s AND j.job_db_inx <= %s AND j.time_end > 0", (after, upto), (after, upto))

    @classmethod
    def keys(cls, keys: Sequence[int]) -> Window:
        """These rows, at most some thousands."""
        return cls(f"j.job_db_inx IN ({', '.join(['%s'] * len(keys))})", tuple(keys))


@dataclass(frozen=True)
class Raw:
    """What the database gave for a window."""

    jobs: pa.Table  # JOB_FIELDS
    steps: pa.Table  # STEP_FIELDS, one row a job
    suspends: pa.Table  # SUSPEND_FIELDS


def read_raw(connection: Connection, schema: Schema, cluster: str, window: Window, *, steps: bool = True) -> Raw:
    """The rows of a window with what belongs to them. Raises ChunkTooLarge, SourceError."""
    table = f"{schema.table(cluster, 'job_table')} AS j FORCE INDEX (PRIMARY)"
    jobs = read(connection, JOB_FIELDS, f"{table} WHERE {window.where}", window.arguments)
    used = _none(STEP_FIELDS)
    if steps and jobs.num_rows:
        of_steps = f"{schema.table(cluster, 'step_table')} AS s"
        if window.spanning:
            # The steps of rows that have not ended are read in vain; they are few.
            source = f"{of_steps} WHERE s.job_db_inx > %s AND s.job_db_inx <= %s"
        else:
            source = f"{table} STRAIGHT_JOIN {of_steps} ON s.job_db_inx = j.job_db_inx WHERE {window.where}"
        grouped = (
            f"(SELECT s.job_db_inx AS inx, SUM(s.user_sec + s.sys_sec + (s.user_usec + s.sys_usec) / 1000000) AS used, "
            f"{_KNOWN_PEAK} AS peak FROM {source} GROUP BY s.job_db_inx) AS t"
        )
        used = read(connection, STEP_FIELDS, grouped, window.spanning or window.arguments)
    suspends = _none(SUSPEND_FIELDS)
    if jobs.num_rows and any_suspended(jobs):
        source = (
            f"{table} STRAIGHT_JOIN {schema.table(cluster, 'suspend_table')} AS s ON s.job_db_inx = j.job_db_inx "
            f"WHERE {window.where} AND j.time_suspended > 0"
        )
        suspends = read(connection, SUSPEND_FIELDS, source, window.arguments)
    return Raw(jobs, used, suspends)


def any_suspended(jobs: pa.Table) -> bool:
    """Whether any of the jobs was ever suspended."""
    largest = pa.compute.max(jobs["time_suspended"]).as_py()
    return bool(largest)


def _none(fields: Sequence[Field]) -> pa.Table:
    return pa.schema([(field.name, field.type) for field in fields]).empty_table()
