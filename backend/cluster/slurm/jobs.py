"""The queue, from one `squeue --Format`: every field followed by a mark drawn at random for this answer.

`--Format` knows `tres-alloc`, which tells the GPUs of a job however they were asked for, and takes a mark
after each field since 20.11; fields are named, never counted on to be in a release.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa

from backend.cluster.model import JOBS
from backend.cluster.protocol import Reading, SchedulerError
from backend.cluster.slurm.command import Commands, Marks
from backend.cluster.slurm.job_table import FIELDS, job_batch

CHUNK = 4096  # rows converted at once: what is between text and table stays small

UNKNOWN_JOB = "Invalid job id"


def read_jobs(commands: Commands) -> Reading:
    """The whole queue, ended jobs that the controller still remembers included. Raises SchedulerError."""
    return _read(commands)


def read_some_jobs(commands: Commands, job_ids: Iterable[int]) -> Reading:
    """The rows of these jobs only; ids that the controller has forgotten are simply absent."""
    wanted = ",".join(str(job_id) for job_id in sorted(set(job_ids)))
    if not wanted:
        return Reading(JOBS.empty_table())
    try:
        return _read(commands, f"--jobs={wanted}")
    except SchedulerError as error:
        if UNKNOWN_JOB in str(error):  # said only when one job is asked for and it is gone
            return Reading(JOBS.empty_table())
        raise


def _read(commands: Commands, *selection: str) -> Reading:
    marks = Marks.draw()
    output = commands.stream(
        "squeue",
        "--noheader",
        "--all",
        "--local",
        "--states=all",
        *selection,
        f"--Format={job_format(marks)}",
    )
    return parse_jobs(output, marks)


def job_format(marks: Marks) -> str:
    """The value of `--Format`; a size left empty means that nothing is cut."""
    return ",".join(f"{name}::{marks.field}" for name in FIELDS[:-1]) + f",{FIELDS[-1]}::{marks.row.rstrip()}"


def parse_jobs(output: Iterable[bytes], marks: Marks) -> Reading:
    """The table (schema JOBS) of squeue's answer, as it comes in pieces of any size.

    A row that makes no sense is left out and named. What is no UTF-8 is replaced, so that it costs no row.
    """
    problems: list[str] = []
    batches: list[pa.RecordBatch] = []
    count = 0
    with _no_collection():
        for lines in _chunks(output, f":{marks.row}".encode(), problems):
            rows = _rows(lines, count, marks, problems)
            count += len(lines)
            if rows:
                batches.append(job_batch(rows))
    return Reading(pa.Table.from_batches(batches, schema=JOBS).combine_chunks(), tuple(problems))


def _chunks(output: Iterable[bytes], end: bytes, problems: list[str]) -> Iterator[list[bytes]]:
    """The rows as they come, about CHUNK at a time; what is left without an end is named."""
    ready: list[bytes] = []
    rest = b""
    for piece in output:
        *lines, rest = (rest + piece).split(end)
        ready.extend(lines)
        if len(ready) >= CHUNK:
            yield ready
            ready = []
    if ready:
        yield ready
    if rest.strip():
        problems.append(f"squeue's answer ends in the middle of a row: {rest[:80]!r}")


def _rows(lines: list[bytes], start: int, marks: Marks, problems: list[str]) -> list[list[str]]:
    separator = f":{marks.field}"
    rows = []
    for number, line in enumerate(lines, start=start + 1):
        piece = line.decode("utf-8", "replace")
        values = piece.split(separator)
        identity = values[0]
        if len(values) != len(FIELDS):
            problems.append(f"row {number} of squeue has {len(values)} of {len(FIELDS)} fields: {piece[:80]!r}")
        elif not (identity.isascii() and identity.isdigit() and len(identity) < 19):
            problems.append(f"row {number} of squeue has no job id: {identity[:80]!r}")
        else:
            rows.append(values)
    return rows


@contextmanager
def _no_collection() -> Iterator[None]:
    """Millions of short-lived texts make the garbage collector walk them again and again for nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
