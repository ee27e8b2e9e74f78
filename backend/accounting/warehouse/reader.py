"""Reading the warehouse: DuckDB views over the Parquet files of one generation, for any number of readers."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from backend.accounting.model import JOBS, SMALL_TABLES, SUSPENDS
from backend.accounting.warehouse import manifest as manifests
from backend.accounting.warehouse.manifest import JobsFile, Manifest, WarehouseState
from backend.accounting.warehouse.usage_day import rollup_version, usage_schema

if TYPE_CHECKING:
    from backend.accounting.warehouse.writer import Writer


@dataclass(frozen=True)
class Reading:
    """A cursor with the files of its generation, for who needs only some of them."""

    con: duckdb.DuckDBPyConnection
    files: tuple[JobsFile, ...]  # of ended rows
    generation: int
    _folder: Path
    _columns: tuple[str, ...]

    def ended(self, files: Iterable[JobsFile], more: str = "") -> str:
        """SQL of the ended rows (schema `model.JOBS`) of these files alone. `more`: after the columns, as
        `, filename`."""
        text = _over(self._folder, (file.path for file in files), JOBS, self._columns)
        return text.replace(" from read_parquet(", f"{more} from read_parquet(", 1) if more else text

    def path(self, file: JobsFile) -> str:
        """What `filename` says of the rows of a file."""
        return str(self._folder / file.path)


class Warehouse:
    """The accounts, to ask. Thread-safe and blocking: call it from a thread. Any number of processes may read
    while one writes; none waits for another.

    Views in a `cursor()`: `jobs` (ended and open rows, schema `model.JOBS`), `ended_jobs` and `open_jobs` (its parts:
    the few open rows are found without opening the files of the others), `suspends`, `usage_day` (the roll-up of
    ENDED rows, schema of `backend.accounting.usage.figures.rollup`; empty when `rollup_zone` is None), and `accounts`,
    `reservations`, `events`, `capacity` with a `cluster` column first. Without data they are there, and empty.
    """

    def __init__(self, folder: Path, memory_mb: int = 1024) -> None:
        """`folder` may not exist yet. One that can't be read is told by `refresh`: damaged accounts keep nothing else
        of the console from starting."""
        self.folder = folder.absolute()
        self._lock = threading.Lock()
        self._db = duckdb.connect(
            config={
                "memory_limit": f"{memory_mb}MB",
                "temp_directory": str(self.folder / "spill"),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        # "global": else it holds for this connection, not for its cursors. Files never change once they are written.
        self._db.execute("set global parquet_metadata_cache = true")
        self._db.execute("set global validate_external_file_cache = 'NO_VALIDATION'")
        self._db.execute(f"set allowed_directories = [{_text(str(self.folder))}]")
        self._db.execute("set enable_external_access = false")
        self._seen: tuple[int, int, int] | None = None
        self._in_use: Counter[int] = Counter()  # cursors by generation
        self._schemas: set[int] = set()
        self._manifest = Manifest()
        self._create_views(self._manifest)
        with contextlib.suppress(manifests.WarehouseUnusable):  # said again each time it is asked
            self.refresh()

    @staticmethod
    def write(folder: Path, zone: str, wait_s: float = 60.0) -> Writer:
        """The one writer, to use as a context manager. `zone`: of the roll-up's days, the site's.

        Raises WarehouseBusy when another writer is at it for longer than `wait_s`.
        """
        from backend.accounting.warehouse.writer import Writer

        return Writer(folder, zone, wait_s)

    @property
    def generation(self) -> int:
        """Rises with each commit; 0 while there was none."""
        return self._manifest.generation

    @property
    def state(self) -> WarehouseState:
        """Each cluster's state as of this generation."""
        return WarehouseState(self._manifest.clusters)

    def sizes(self) -> dict[str, int]:
        """Bytes on disk by cluster, of the files of this generation."""
        manifest = self._manifest
        found = dict.fromkeys(manifest.clusters, 0)
        for cluster, path in manifest.by_cluster():
            with contextlib.suppress(FileNotFoundError):  # of a generation that is no longer the newest
                found[cluster] = found.get(cluster, 0) + (self.folder / path).stat().st_size
        return found

    @property
    def rollup_zone(self) -> str | None:
        """The zone of `usage_day`'s days; None while there is no complete roll-up to use."""
        return _rollup_zone(self._manifest)

    def refresh(self) -> bool:
        """Go on to the newest generation. Cheap when there is none; True when there was.

        Raises WarehouseUnusable, each time until it can be read; the generation known so far stays in use.
        """
        with self._lock:
            try:
                found = (self.folder / manifests.MANIFEST).stat()
            except FileNotFoundError:
                return False
            except OSError as error:
                raise manifests.WarehouseUnusable(f"{self.folder} can't be read: {error.strerror}") from error
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if seen == self._seen:
                return False
            new = manifests.load(self.folder)
            changed = new.generation != self._manifest.generation
            if changed:
                self._create_views(new)
                self._manifest = new
                self._drop_unused()
            self._seen = seen
            return changed

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection on one generation, the newest this object knows: what is read with it fits together.

        Don't keep it for longer than a few minutes: a generation's files are removed 15 minutes after the next.
        Raises WarehouseUnusable where a file is missing or damaged, or the disk is full.
        """
        with self.reading() as found:
            yield found.con

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """The same, with the names and ranges of the files. Raises WarehouseUnusable."""
        with self._lock:
            manifest = self._manifest
            generation = manifest.generation
            self._in_use[generation] += 1
            connection = self._db.cursor()
        try:
            connection.execute(f"use {_schema(generation)}")
            yield Reading(connection, manifest.jobs, generation, self.folder, manifest.columns)
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise manifests.WarehouseUnusable(f"{self.folder}: {error}") from error
        finally:
            connection.close()
            with self._lock:
                self._in_use[generation] -= 1
                self._drop_unused()

    def rows_near(self, job_id: int, cluster: str | None = None) -> str:
        """SQL of `jobs` over the files alone that could hold this job: the manifest knows the numbers in each.

        For a `cursor()`; select with `job_id = …`, for which the row groups' statistics are used.
        """
        manifest = self._manifest
        ended = [
            file.path
            for file in manifest.jobs
            if file.min_job_id <= job_id <= file.max_job_id and cluster in (None, file.cluster)
        ]
        waiting = [path for name, path in manifest.open.items() if cluster in (None, name)]
        return self._over([*ended, *waiting], JOBS, manifest.columns)

    def close(self) -> None:
        """Give the memory back."""
        self._db.close()

    def _create_views(self, manifest: Manifest) -> None:
        schema = _schema(manifest.generation)
        connection = self._db.cursor()
        try:
            connection.execute(f"create schema {schema}")
            for name, sql in self._views(manifest):
                connection.execute(f"create view {schema}.{name} as {sql}")
        except duckdb.Error as error:
            connection.execute(f"drop schema if exists {schema} cascade")
            raise manifests.WarehouseUnusable(f"{self.folder} is incomplete: {error}") from error
        finally:
            connection.close()
        self._schemas.add(manifest.generation)

    def _views(self, manifest: Manifest) -> Iterator[tuple[str, str]]:
        ended = [file.path for file in manifest.jobs]
        yield "jobs", self._over([*ended, *manifest.open.values()], JOBS, manifest.columns)
        yield "ended_jobs", self._over(ended, JOBS, manifest.columns)
        yield "open_jobs", self._over(manifest.open.values(), JOBS, manifest.columns)
        yield "suspends", self._over(manifest.suspends.values(), SUSPENDS)
        usage = [file.usage for file in manifest.jobs if file.usage] if _rollup_zone(manifest) else []
        yield "usage_day", self._over(usage, usage_schema())
        for name, fields in SMALL_TABLES.items():
            with_cluster = pa.schema([("cluster", pa.string()), *fields])
            yield name, self._over(manifest.tables.get(name, {}).values(), with_cluster)

    def _over(self, paths: Iterable[str], schema: pa.Schema, there: Iterable[str] | None = None) -> str:
        return _over(self.folder, paths, schema, there)

    def _drop_unused(self) -> None:
        for generation in list(self._schemas):
            if generation != self._manifest.generation and not self._in_use[generation]:
                self._db.execute(f"drop schema if exists {_schema(generation)} cascade")
                self._schemas.discard(generation)
                del self._in_use[generation]


def _over(folder: Path, paths: Iterable[str], schema: pa.Schema, there: Iterable[str] | None = None) -> str:
    files = ", ".join(_text(str(folder / path)) for path in paths)
    found = set(schema.names if there is None else there) if files else set()
    columns = ", ".join(
        _name(field.name) if field.name in found else f"null::{_sql_type(field.type)} as {_name(field.name)}"
        for field in schema
    )
    # Names and paths are our own, and quoted: no text from outside.
    return f"select {columns} from read_parquet([{files}])" if files else f"select {columns} where false"  # noqa: S608


def _rollup_zone(manifest: Manifest) -> str | None:
    if manifest.rollup_version != rollup_version() or any(file.usage is None for file in manifest.jobs):
        return None
    return manifest.zone or None


def _schema(generation: int) -> str:
    return f"generation_{generation}"


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    return _SQL_TYPES[kind]


_SQL_TYPES = {
    pa.string(): "varchar",
    pa.bool_(): "boolean",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.uint64(): "ubigint",
    pa.float64(): "double",
}
