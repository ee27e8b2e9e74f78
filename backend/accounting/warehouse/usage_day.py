"""The roll-up beside the detail: for each jobs file the sums of its rows by day. Its SQL is the usage engine's.

The sums add up over any split of the ended rows, so each file has its own, and a commit rolls up only what it wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backend.accounting.warehouse import files
from backend.accounting.warehouse.manifest import JobsFile, WarehouseUnusable

ROWS_AT_ONCE = 131_072


def usage_schema() -> pa.Schema:
    """Columns of `usage_day`."""
    from backend.accounting.usage.figures import rollup

    return rollup.SCHEMA


def rollup_version() -> int:
    """Of the roll-up's meaning; another one has to be made anew."""
    from backend.accounting.usage.figures import rollup

    return rollup.ROLLUP_VERSION


def roll_up(folder: Path, jobs: Sequence[JobsFile], suspends: str | None, zone: str) -> Iterator[str]:
    """Write the roll-up of each of one cluster's jobs files; gives their paths. `suspends`: its file of them, if any.

    Many files at once are one statement: to plan it takes as long as to sum up some ten thousand rows.
    """
    for some in _portions(jobs):
        made = _rolled_up(folder, some, suspends, zone)
        names = made["file"].to_numpy()  # in order
        for file in some:
            name = Path(file.path).name
            first, end = np.searchsorted(names, name, side="left"), np.searchsorted(names, name, side="right")
            yield _write(folder, file, made.slice(first, end - first).drop_columns(["file"]))


def _portions(jobs: Sequence[JobsFile]) -> Iterator[list[JobsFile]]:
    some: list[JobsFile] = []
    for file in jobs:
        if some and sum(each.rows for each in some) + file.rows > ROWS_AT_ONCE:
            yield some
            some = []
        some.append(file)
    if some:
        yield some


def _rolled_up(folder: Path, jobs: Sequence[JobsFile], suspends: str | None, zone: str) -> pa.Table:
    """The sums of these files, with the file's name first."""
    from backend.accounting.usage.figures import rollup

    first_s = min(min(file.min_submit_s, file.min_s) for file in jobs)
    last_s = max(file.max_s for file in jobs)
    starts = rollup.day_starts(zone, first_s, last_s + 3 * 86400)  # until the start of a day after the last
    paths = [str(folder / file.path) for file in jobs]
    try:
        with duckdb.connect(config={"memory_limit": "512MB", "threads": 2}) as connection:
            rows = connection.read_parquet(paths, filename=True, hive_partitioning=False)
            rows.project("* exclude (filename), parse_filename(filename) as file").create_view("ended")
            stopped = connection.sql("select job_id, submit_s from ended where suspended_s > 0").to_arrow_table()
            connection.register("suspends", files.read_suspends(folder, suspends, files.keys_of(stopped)))
            return rollup.roll_up(connection, zone, starts[0], starts[-1], part="file")
    except duckdb.Error as error:
        raise WarehouseUnusable(f"the daily sums can't be made: {error}") from error


def add_up(folder: Path, file: JobsFile, parts: Sequence[JobsFile]) -> str | None:
    """The roll-up of a file put together from `parts`, from theirs; None where one has none."""
    from backend.accounting.usage.figures import rollup

    paths = [part.usage for part in parts if part.usage]
    if len(paths) < len(parts):
        return None
    parted = pa.concat_tables([files.read_table(folder, path) for path in paths])
    names = [_quoted(name) for name in rollup.SCHEMA.names if name not in rollup.SUMS]
    sums = [f"sum({_quoted(name)})::BIGINT as {_quoted(name)}" for name in rollup.SUMS]
    with duckdb.connect(config={"memory_limit": "512MB", "threads": 2}) as connection:
        connection.register("parted", parted)
        table = connection.sql(  # the words are those of the roll-up's own schema
            f"select {', '.join(names + sums)} from parted group by {', '.join(names)} "  # noqa: S608
            'order by level, day_s, account, "user"'
        ).to_arrow_table()
    return _write(folder, file, table.select(rollup.SCHEMA.names).cast(rollup.SCHEMA))


def _quoted(name: str) -> str:
    return f'"{name}"'


def _write(folder: Path, file: JobsFile, table: pa.Table) -> str:
    path = files.new_path("usage_day", file.cluster, file.month)
    names = [field.name for field in table.schema if pa.types.is_string(field.type)]
    sums = [field.name for field in table.schema if not pa.types.is_string(field.type)]
    options = {"use_dictionary": names, "column_encoding": dict.fromkeys(sums, "BYTE_STREAM_SPLIT")}
    with files.new_file(folder, path) as out, pq.ParquetWriter(out, table.schema, compression="zstd", **options) as to:
        for level in pc.unique(table["level"]):  # never two in one row group: readers skip those they don't need
            to.write_table(table.filter(pc.equal(table["level"], level)), row_group_size=files.ROW_GROUP)
    return path
