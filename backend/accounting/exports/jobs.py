"""Jobs as a sheet: the rows behind a figure, or the whole accounting for billing, a row a job or an account and month.

The columns of the billing export are promised (docs/exports.md): none is renamed, moved or taken away, new ones come
last.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa

from backend.accounting.exports.answers import Made, in_words, scope_in_words, sheet_of
from backend.accounting.exports.sheet import Column, Kind, Sheet, column_kind
from backend.accounting.model import JOBS
from backend.accounting.usage import CATALOGUE, Question, Scope, Usage

BATCH_ROWS = 8_192  # at once on their way: several such batches are held at the same time
GROUPING_MB = 256  # of memory while rows of one job are brought together; more goes to the disk
HOURS = ("cpu_hours", "gpu_hours", "node_hours", "mem_gb_hours", "wall_hours", "billing_hours", "energy_kwh", "cost")

# Name, kind, how it is made of the job's attempts in the window, what it is.
_A_JOB: tuple[tuple[str, Kind, str, str], ...] = (
    ("cluster", "text", "cluster", "The cluster."),
    ("job_id", "whole", "job_id", "The job's number. With cluster and submit it names the job."),
    ("submit", "time", "origin_s", "When it was first submitted."),
    ("array_job_id", "whole", "max(array_job_id)", "The array's number; empty for other jobs."),
    ("array_task_id", "whole", "max(array_task_id)", "The task's index in its array."),
    ("het_job_id", "whole", "max(het_job_id)", "The number of the heterogeneous job it is a component of."),
    ("user", "text", '"user"', "Who submitted it."),
    ("uid", "whole", "uid", "The same by Unix uid."),
    ("group", "text", '"group"', "The Unix group it ran under."),
    ("account", "text", "account", "The account that is charged."),
    ("wckey", "text", "wckey", "Its workload characterisation key."),
    ("partition", "text", '"partition"', "Of the last attempt."),
    ("qos", "text", "qos", "Of the last attempt."),
    ("reservation", "text", "reservation", "Of the last attempt."),
    ("job_name", "text", "job_name", "As its owner called it."),
    ("state", "text", "state", "Of the last attempt: RUNNING, COMPLETED, ..."),
    ("exit_status", "whole", "exit_status", "Of the last attempt."),
    ("exit_signal", "whole", "exit_signal", "Of the last attempt."),
    ("attempts", "whole", "count(*)", "How many of its attempts have a part in the window."),
    ("start", "time", "min(start_s)", "When the first of them started; empty when none did."),
    ("end", "time", "CASE WHEN count(*) = count(end_s) THEN max(end_s) END", "When it ended; empty while it has not."),
    ("nodes", "whole", "nodes", "Allocated to the last attempt."),
    ("cpus", "whole", "cpus", "Allocated to the last attempt."),
    ("mem_mb", "whole", "mem_mb", "Allocated to the last attempt, in MB of 2**20 bytes."),
    ("gpus", "whole", "gpus", "Allocated to the last attempt."),
    ("gpu_type", "text", "gpu_type", "Their type, or a100=2,h100=1 for several."),
    ("tres", "text", "tres", "All that was allocated to the last attempt, as Slurm writes it."),
)  # fmt: skip
_ITS_END: tuple[tuple[str, Kind, str, str], ...] = (
    ("source", "text", "source", "Where the row comes from: slurmdbd, sacct, local."),
    ("db_inx", "id", "db_inx", "slurmdbd's number of the last attempt; empty when imported."),
)
_OWN_WORDS = frozenset({"cluster", "job_id", "origin_s"})


def job_columns() -> tuple[Column, ...]:
    """Of the billing export with a row a job."""
    first = [Column(name, kind, note=note) for name, kind, _, note in _A_JOB]
    last = [Column(name, kind, note=note) for name, kind, _, note in _ITS_END]
    return (*first, *(_metric(name) for name in HOURS), *last)


def month_columns() -> tuple[Column, ...]:
    """Of the billing export with a row an account and month."""
    names = [
        Column("month", "text", note="YYYY-MM, in the zone."),
        Column("cluster", "text", note="The cluster."),
        Column("account", "text", note="The account that is charged: its own jobs, not those of accounts below it."),
    ]
    return (*names, *(_metric(name) for name in ("jobs", *HOURS)))


def _metric(name: str) -> Column:
    metric = CATALOGUE.metric(name)
    kind: Kind = "whole" if metric.unit == "count" else "number"
    unit = "" if metric.unit == "count" else metric.unit
    return Column(name, kind, metric.title, unit, metric.method)


@contextmanager
def job_rows(
    usage: Usage, question: Question, made: Made, cell: Mapping[str, str | int | None] | None = None
) -> Iterator[Sheet]:
    """Every attempt behind a figure with what it adds: written within the `with`. Raises BadQuestion."""
    with usage.job_reader(question, made.scope, cell or {}, rows=BATCH_ROWS) as found:
        metrics = tuple(dict.fromkeys(question.metrics))
        names = [*JOBS.names, *metrics]
        columns = tuple(
            replace(_metric(name), kind="number")
            if name in metrics
            else Column(name, column_kind(name, JOBS.field(name).type))
            for name in names
        )
        rows = pa.RecordBatchReader.from_batches(
            pa.schema([found.schema.field(name) for name in names]), (batch.select(names) for batch in found)
        )
        yield _described(question, made, columns, rows, f"The jobs behind: {in_words(question)}")


@contextmanager
def billing_jobs(
    usage: Usage, since_s: int, until_s: int, zone: str, most_rows: int | None = None, *, scratch: Path | None = None
) -> Iterator[Sheet]:
    """The whole accounting of the window, a row a job, by cluster and submission: for those who may see all.

    `scratch`: where a folder is made for what doesn't fit in memory; by default the system's.
    """
    question = Question(metrics=HOURS, since_s=since_s, until_s=until_s, zone=zone)
    made = Made("Accounting by job", Scope(everything=True), int(time.time()), "none", most_rows)
    with (
        tempfile.TemporaryDirectory(prefix="carme-", dir=scratch) as spill,
        usage.job_reader(question, made.scope, rows=BATCH_ROWS) as attempts,
    ):
        # A connection of its own: the rows of one job are brought together from a stream.
        limits: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{GROUPING_MB}MB",
            "threads": 2,
            "temp_directory": spill,
        }
        con = duckdb.connect(config=limits)
        con.execute("SET enable_progress_bar = false")  # a stream that is read would show one on standard output
        try:
            con.register("attempts", attempts)
            picked = [f'{_of_last(how)} AS "{name}"' for name, _, how, _ in _A_JOB]
            picked += [f'sum("{name}") AS "{name}"' for name in HOURS]
            picked += [f'{_of_last(how)} AS "{name}"' for name, _, how, _ in _ITS_END]
            # All of our own words; nothing of it was asked by anyone.
            found = con.sql(
                f"SELECT {', '.join(picked)} FROM attempts GROUP BY cluster, job_id, origin_s "  # noqa: S608
                "ORDER BY cluster, origin_s, job_id"
            )
            words = "Every job that has a part in the window, with its usage in the window"
            yield _described(question, made, job_columns(), found.to_arrow_reader(BATCH_ROWS), words)
        finally:
            con.close()


def _of_last(how: str) -> str:
    """A plain column is that of the last attempt."""
    plain = how not in _OWN_WORDS and "(" not in how
    return f"arg_max({how}, attempt)" if plain else how


def billing_months(usage: Usage, since_s: int, until_s: int, zone: str, most_rows: int | None = None) -> Sheet:
    """The same summed up, a row an account and month of the zone."""
    question = Question(
        metrics=("jobs", *HOURS), since_s=since_s, until_s=until_s, by=("month", "cluster", "account"), zone=zone
    )
    scope = Scope(everything=True)
    made = Made("Accounting by account and month", scope, int(time.time()), "none", most_rows)
    return replace(sheet_of(usage.ask(question, scope), made), columns=month_columns())


def _described(
    question: Question, made: Made, columns: tuple[Column, ...], rows: pa.RecordBatchReader, words: str
) -> Sheet:
    return Sheet(
        title=made.title,
        columns=columns,
        rows=rows,
        question=words,
        since_s=question.since_s,
        until_s=question.until_s,
        zone=question.zone,
        scope=scope_in_words(made.scope),
        made_s=made.made_s,
        most_rows=made.most_rows,
    )
