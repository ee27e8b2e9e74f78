"""What is asked of slurmdbd's database, cluster by cluster. Every question is answered by an index."""

# ruff: noqa: S608 - tables are named by what the database has, and quoted; values are arguments
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backend.accounting import model
from backend.accounting.dbd.connection import Connection, SourceError
from backend.accounting.dbd.rows import small
from backend.accounting.dbd.rows.ahead import ahead_of
from backend.accounting.dbd.rows.bulk import BIG, ChunkTooLarge, Field, read
from backend.accounting.dbd.rows.decode import decode
from backend.accounting.dbd.rows.jobs import Raw, Window, read_raw
from backend.accounting.dbd.rows.names import Names, read_accounts, read_names, read_tres
from backend.accounting.dbd.schema import Schema, read_schema
from config.sections import Slurmdbd

SPAN_ROWS = 10_000  # rows of one statement of a first load
KEYS_ROWS = 4_000  # rows asked by their keys in one statement
CHUNKS_AHEAD = 3  # of a first load, read but not yet used
NEVER = 2**62


@dataclass(frozen=True)
class Batch:
    """Some rows, decoded. `last_key`: of a first load, the job_db_inx up to which it is complete."""

    jobs: pa.Table  # JOBS
    suspends: pa.Table  # SUSPENDS
    last_key: int = 0


class Reader:
    """Reads one database. Not for several threads at once. Every method raises SourceError."""

    def __init__(self, settings: Slurmdbd) -> None:
        self.settings = settings
        self.connection = Connection(settings)
        self._ahead = Connection(settings)
        self._schema: Schema | None = None
        self._names: dict[str, Names] = {}

    def close(self) -> None:
        """End the connections."""
        self.connection.close()
        self._ahead.close()

    # What there is

    @property
    def schema(self) -> Schema:
        """Tables and columns, asked once."""
        if self._schema is None:
            self._schema = read_schema(self.connection)
        return self._schema

    def forget(self) -> None:
        """Ask anew what tables and names there are: they change with an upgrade, and every day."""
        self._schema = None
        self._names.clear()

    def clusters(self) -> tuple[str, ...]:
        """The clusters to be shown. Raises SourceError when one that is named is not there, NotSlurmdbd."""
        found = self.schema.clusters()
        wanted = self.settings.clusters or found
        for name in wanted:
            if name not in found:
                raise SourceError(f"slurmdbd.clusters names {name}; the database has {', '.join(found) or 'none'}.")
            self.schema.check(name)
        return tuple(wanted)

    def now_s(self) -> int:
        """The server's clock."""
        return int(self.connection.rows("SELECT UNIX_TIMESTAMP()")[0][0])

    def server(self) -> str:
        """The server's version in its own words."""
        return str(self.connection.rows("SELECT VERSION()")[0][0])

    def grants(self) -> list[str]:
        """What the account may do."""
        return [str(row[0]) for row in self.connection.rows("SHOW GRANTS")]

    def last_key(self, cluster: str) -> int:
        """The largest job_db_inx; 0 when there is none."""
        return self._number(f"SELECT MAX(job_db_inx) FROM {self._jobs(cluster)}") or 0

    def first_key(self, cluster: str) -> int:
        """The smallest job_db_inx; 0 when there is none."""
        return self._number(f"SELECT MIN(job_db_inx) FROM {self._jobs(cluster)}") or 0

    def oldest_end_s(self, cluster: str) -> int | None:
        """The earliest end of any row that ended."""
        return self._number(f"SELECT MIN(time_end) FROM {self._jobs(cluster)} FORCE INDEX (rollup2) WHERE time_end > 0")

    def count_ended(self, cluster: str, since_s: int, until_s: int) -> int:
        """Rows that ended in [since_s, until_s)."""
        found = self.connection.rows(
            f"SELECT COUNT(*) FROM {self._jobs(cluster)} FORCE INDEX (rollup2) WHERE time_end >= %s AND time_end < %s",
            (max(1, since_s), until_s),
        )
        return int(found[0][0])

    def estimated_rows(self, cluster: str) -> int:
        """About how many rows there are, as the server guesses without counting."""
        return self._number(
            "SELECT table_rows FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %s",
            (f"{cluster}_job_table",),
        ) or 0

    def oldest_usage_s(self, cluster: str) -> int | None:
        """The first month of slurmdbd's own monthly roll-up, which outlives purged jobs."""
        if not self.schema.has(cluster, "usage_month_table", "time_start"):
            return None
        table = self.schema.table(cluster, "usage_month_table")
        return self._number(f"SELECT MIN(time_start) FROM {table} WHERE id_tres = 1 AND alloc_secs > 0")

    def rolled_up_s(self, cluster: str) -> int:
        """Until when slurmdbd's hourly roll-up stands; 0 when it never ran."""
        table = self.schema.table(cluster, "last_ran_table")
        return self._number(f"SELECT MAX(hourly_rollup) FROM {table}") or 0

    # Keys

    def ended_keys(self, cluster: str, since_s: int, until_s: int = NEVER) -> list[int]:
        """The keys of rows that ended in [since_s, until_s)."""
        return self._keys(cluster, "rollup2", "time_end >= %s AND time_end < %s", (max(1, since_s), until_s))

    def open_keys(self, cluster: str) -> list[int]:
        """The keys of rows that have not ended."""
        return self._keys(cluster, "rollup2", "time_end = 0", ())

    def newer_keys(self, cluster: str, after: int) -> list[int]:
        """The keys beyond one."""
        return self._keys(cluster, "PRIMARY", "job_db_inx > %s", (after,))

    # Rows

    def rows(self, cluster: str, keys: Sequence[int], seen_s: int) -> Iterator[Batch]:
        """The rows of these keys, as far as they are there."""
        for at in range(0, len(keys), KEYS_ROWS):
            for raw in self._pieces(cluster, list(keys[at : at + KEYS_ROWS])):
                yield self._decoded(raw, cluster, seen_s)

    def load(self, cluster: str, after: int, upto: int, seen_s: int) -> Iterator[Batch]:
        """All ended rows with after < key <= upto, in order of the key; the next ones are fetched meanwhile."""
        for raw, last in ahead_of(lambda: self._spans(cluster, after, upto), CHUNKS_AHEAD):
            batch = self._decoded(raw, cluster, seen_s)
            yield Batch(batch.jobs, batch.suspends, last)

    def _spans(self, cluster: str, after: int, upto: int) -> Iterator[tuple[Raw, int]]:
        while after < upto:
            raw, after = self._span(cluster, after, upto)
            yield raw, after

    def _span(self, cluster: str, after: int, upto: int, rows: int = SPAN_ROWS) -> tuple[Raw, int]:
        edge = self._ahead.rows(
            f"SELECT job_db_inx FROM {self._jobs(cluster)} FORCE INDEX (PRIMARY) "
            "WHERE job_db_inx > %s AND job_db_inx <= %s ORDER BY job_db_inx LIMIT 1 OFFSET %s",
            (after, upto, rows - 1),
        )
        last = int(edge[0][0]) if edge else upto
        try:
            return read_raw(self._ahead, self.schema, cluster, Window.span(after, last)), last
        except ChunkTooLarge:
            if rows == 1:
                raise SourceError(f"The row after {after} of {cluster}_job_table does not fit into a packet.") from None
            return self._span(cluster, after, upto, rows // 2)

    def _pieces(self, cluster: str, keys: list[int]) -> Iterator[Raw]:
        try:
            yield read_raw(self.connection, self.schema, cluster, Window.keys(keys))
        except ChunkTooLarge:
            if len(keys) == 1:
                raise SourceError(f"The row {keys[0]} of {cluster}_job_table does not fit into a packet.") from None
            yield from self._pieces(cluster, keys[: len(keys) // 2])
            yield from self._pieces(cluster, keys[len(keys) // 2 :])

    def _decoded(self, raw: Raw, cluster: str, seen_s: int) -> Batch:
        names = self.names(cluster)
        if _strangers(raw.jobs, names):
            self._names.pop(cluster, None)
            fresh = self.names(cluster)
            # What is not there either was removed: it must not be asked for with each row.
            for old, new, column in (
                (names.users, fresh.users, "id_assoc"),
                (names.qos, fresh.qos, "id_qos"),
                (names.reservations, fresh.reservations, "id_resv"),
            ):
                gone = {number: None for number in old.names if number not in new.names and old.names[number] is None}
                gone |= dict.fromkeys(new.unknown(_numbers(raw.jobs, column)))
                new.names.update(gone)
            names = fresh
        return Batch(*decode(raw, names, cluster, seen_s))

    def names(self, cluster: str) -> Names:
        """The names behind a cluster's numbers, as last asked."""
        known = self._names.get(cluster)
        if known is None:
            known = read_names(self.connection, self.schema, cluster, read_tres(self.connection))
            self._names[cluster] = known
        return known

    # Small tables

    def accounts(self, cluster: str) -> pa.Table:
        """Schema ACCOUNTS."""
        return read_accounts(self.connection, self.schema, cluster)

    def reservations(self, cluster: str) -> pa.Table:
        """Schema RESERVATIONS."""
        return small.read_reservations(self.connection, self.schema, cluster, self.names(cluster).tres.names)

    def events(self, cluster: str) -> pa.Table:
        """Schema EVENTS."""
        return small.read_events(self.connection, self.schema, cluster, self.names(cluster).tres.names)

    def capacity(self, cluster: str, since_s: int) -> pa.Table:
        """Schema CAPACITY, hours from since_s on."""
        return small.read_capacity(self.connection, self.schema, cluster, self.names(cluster).tres.names, since_s)

    # Within

    def _jobs(self, cluster: str) -> str:
        return self.schema.table(cluster, "job_table")

    def _number(self, sql: str, arguments: tuple[object, ...] = ()) -> int | None:
        value = self.connection.rows(sql, arguments)[0][0]
        return None if value is None else int(value)

    def _keys(self, cluster: str, index: str, where: str, arguments: tuple[object, ...]) -> list[int]:
        def part(more: str, values: tuple[object, ...]) -> list[int]:
            source = f"{self._jobs(cluster)} FORCE INDEX ({index}) WHERE {where}{more}"
            found = read(self.connection, [Field("key", "job_db_inx", BIG)], source, (*arguments, *values))
            keys: list[int] = found["key"].to_pylist()
            return keys

        return _halved(part, 0, 2**64)


def _halved(part: Callable[[str, tuple[object, ...]], list[int]], low: int, high: int) -> list[int]:
    """All keys in [low, high): in halves of the range where they are too many for one answer."""
    try:
        return part("" if (low, high) == (0, 2**64) else " AND job_db_inx >= %s AND job_db_inx < %s",
                    () if (low, high) == (0, 2**64) else (low, high))  # fmt: skip
    except ChunkTooLarge:
        middle = (low + high) // 2
        return _halved(part, low, middle) + _halved(part, middle, high)


def _numbers(jobs: pa.Table, column: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return pc.fill_null(jobs[column], 0).to_numpy()  # type: ignore[no-any-return]


def _strangers(jobs: pa.Table, names: Names) -> bool:
    """Whether a row names something made since the names were read."""
    return any(
        set(lookup.unknown(_numbers(jobs, column))) - {0}
        for lookup, column in (
            (names.users, "id_assoc"),
            (names.qos, "id_qos"),
            (names.reservations, "id_resv"),
        )
    )


def empty_batch() -> Batch:
    """No row."""
    return Batch(model.JOBS.empty_table(), model.SUSPENDS.empty_table())
