"""Writing the warehouse: one writer at a time; what it does counts from its commit on, all of it or nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backend.accounting.model import JOBS, SMALL_TABLES, SUSPENDS
from backend.accounting.warehouse import compaction, files, manifest, usage_day
from backend.accounting.warehouse.files import PLAIN_JOBS, Ints, Keys, keys_of
from backend.accounting.warehouse.lock import LOCK, locked
from backend.accounting.warehouse.manifest import ClusterState, JobsFile, Manifest
from backend.accounting.warehouse.merge import differing, latest_of, merge, with_derived

COMPUTED = ("rows", "open_rows", "oldest_s")
SETTLE_FOR_S = 2.0
NO_KEYS: Keys = np.zeros(0, np.uint64)


@dataclass(frozen=True)
class Upserted:
    """What became of the rows of one upsert."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    outranked: int = 0  # a better source has its own row of the same job

    def __add__(self, other: Upserted) -> Upserted:
        return Upserted(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class Writer:
    """`with Warehouse.write(folder, zone) as writer: writer.upsert(...); writer.commit()`.

    Rows go to new files at once, so memory holds one batch (give some ten thousand rows at a time), but readers see
    them with the commit. Without a commit nothing has happened. Several commits in one go are fine.
    The lock is the kernel's, on an open file: it goes with the process, however that ends.
    """

    def __init__(self, folder: Path, zone: str, wait_s: float = 60.0) -> None:
        self.folder = folder.absolute()
        self._zone = zone
        self._wait_s = wait_s
        self._lock: IO[bytes] | None = None
        self._committed = Manifest()
        # What the next commit will hold:
        self._jobs: list[JobsFile] = []
        self._open_files: dict[str, str] = {}
        self._suspends: dict[str, str] = {}
        self._tables: Mapping[str, Mapping[str, str]] = {}
        self._states: dict[str, ClusterState] = {}
        self._open: dict[str, pa.Table] = {}  # read once, by cluster
        self._open_changed: set[str] = set()
        self._ended_now: dict[str, list[Keys]] = {}  # put in as ended since the last commit
        self._touched = False

    def __enter__(self) -> Self:
        """Raises WarehouseBusy, and WarehouseUnusable when the folder can't be read or written."""
        try:
            self.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._lock = locked(self.folder / LOCK, self._wait_s)
        except OSError as error:
            raise manifest.WarehouseUnusable(f"{self.folder} can't be written: {error.strerror}") from error
        try:
            self._begin(manifest.load(self.folder))
            self._sweep()
            self._take_over()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None and not self._touched:
                self.compact()
        finally:
            if self._lock is not None:
                self._lock.close()

    # -- what there is ------------------------------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """Of the last commit."""
        return self._committed.generation

    def state(self, cluster: str) -> ClusterState:
        """The cluster's state with what was set since the last commit (`rows` and the like: as of that commit)."""
        return self._states.get(cluster, ClusterState())

    def clusters(self) -> tuple[str, ...]:
        """The clusters the warehouse knows."""
        return tuple(sorted(self._states))

    def open_rows(self, cluster: str) -> pa.Table:
        """The cluster's rows that have not ended, as they would be committed now."""
        return self._open_of(cluster)

    # -- rows ---------------------------------------------------------------------------------------------------

    def upsert(self, table: pa.Table, suspends: pa.Table | None = None, *, cluster: str) -> Upserted:
        """Put rows (schema JOBS, ended or open) in, by KEY; a row of a better source stays.

        `suspends` (schema SUSPENDS): all there are of these rows; None leaves what is known. origin_s, attempt and
        last_attempt are computed here, from all rows of the same job ids. Raises ValueError for rows that no source
        can have: of another cluster, without job id or submit time.
        """
        batch = latest_of(self._checked(table, cluster))
        if not batch.num_rows:
            return Upserted()
        keys = keys_of(batch)
        forced = self._put_suspends(cluster, keys, suspends)
        self._ended_now.setdefault(cluster, []).append(keys[pc.is_valid(batch["end_s"]).to_numpy()])
        return self._apply(cluster, batch, np.zeros(0, np.int64), forced)

    def replace_open(self, cluster: str, table: pa.Table, suspends: pa.Table | None = None) -> None:
        """All open rows of the cluster as of now; open rows known so far and not among them are dropped.

        Rows that were put in as ended since the last commit stay ended: the list may be a little older.
        """
        batch = latest_of(self._checked(table, cluster))
        if batch["end_s"].null_count != batch.num_rows:
            raise ValueError("an open row has no end")
        ended = np.concatenate([NO_KEYS, *self._ended_now.get(cluster, [])])
        keys = keys_of(batch)
        forced = self._put_suspends(cluster, keys, suspends)
        standing = ~np.isin(keys, ended)
        batch, keys = batch.filter(pa.array(standing)), keys[standing]
        old = self._open_of(cluster)
        old_keys = keys_of(old)
        known = np.isin(keys, old_keys)
        kept = with_derived(batch.filter(pa.array(known)), keys[known], old, old_keys)
        self._set_open(cluster, kept)
        gone = np.setdiff1d(old_keys, keys)
        gone_ids = (gone >> np.uint64(32)).astype(np.int64)
        self._apply(cluster, batch.filter(pa.array(~known)), gone_ids, forced)

    def mark_gone(self, cluster: str, *, before_s: int | None = None, keys: Iterable[tuple[int, int]] = ()) -> int:
        """slurmdbd holds these ended rows no more: those that ended before a time, or by (job_id, submit_s).

        They stay, with `gone` set. Returns how many rows were not marked before.
        """
        wanted = np.array([(job_id << 32) | submit_s for job_id, submit_s in keys], np.uint64)
        marked = 0
        for file in list(self._jobs):
            if file.cluster != cluster or not file.standing:
                continue
            if before_s is None and not wanted.size:
                continue
            table = files.read_jobs(self.folder, file)
            hit = np.isin(keys_of(table), wanted)
            if before_s is not None:
                hit |= table["end_s"].to_numpy() < before_s
            hit &= pc.equal(table["source"], "slurmdbd").to_numpy()
            hit &= ~pc.fill_null(table["gone"], False).to_numpy()
            if hit.any():
                gone = pc.or_(pc.fill_null(table["gone"], False), pa.array(hit))
                at = PLAIN_JOBS.get_field_index("gone")
                table = table.set_column(at, PLAIN_JOBS.field(at), gone)
                again = files.write_jobs(self.folder, cluster, file.month, table, usage=file.usage)
                self._replace_file(file, [again])
                marked += int(hit.sum())
        return marked

    # -- beside the rows ----------------------------------------------------------------------------------------

    def put_table(self, cluster: str, name: str, table: pa.Table) -> None:
        """Replace a small table (`model.SMALL_TABLES`) of a cluster whole. Without a change nothing is written."""
        schema = pa.schema([("cluster", pa.string()), *SMALL_TABLES[name]])
        names = pa.array([cluster] * table.num_rows, pa.string())
        full = table.select(SMALL_TABLES[name].names).add_column(0, "cluster", names).cast(schema).combine_chunks()
        there = self._tables.get(name, {}).get(cluster)
        if there is not None and files.read_table(self.folder, there).equals(full):
            return
        path = files.new_path("tables", cluster, name)
        files.write_table(self.folder, path, full)
        self._tables = {**self._tables, name: {**self._tables.get(name, {}), cluster: path}}
        self._touched = True

    def set_state(self, cluster: str, **changes: Any) -> None:
        """Change fields of the cluster's ClusterState; the warehouse counts rows and oldest_s itself."""
        if mine := [name for name in COMPUTED if name in changes]:
            raise ValueError(f"{', '.join(mine)}: the warehouse counts that itself")
        self._states[cluster] = replace(self.state(cluster), **changes)
        self._touched = True

    def rebuild(self) -> None:
        """Make the roll-up anew at the next commit."""
        self._jobs = [replace(file, usage=None) for file in self._jobs]
        self._touched = True

    def compact(self, everything: bool = False) -> None:
        """Put small files together and commit that. Leaving the `with` after a commit does so when it is time.

        `everything`: as few files as can be; else a second or two of those that nothing more comes to.
        """
        for group in compaction.groups(self._jobs, everything):
            self._join(group)
        if any(state.progress is not None for state in self._states.values()):
            return  # a first load goes on: more comes to every month
        until = time.monotonic() + SETTLE_FOR_S
        for group in compaction.settled(self._jobs, int(time.time())):
            if time.monotonic() > until:
                break
            self._join(group)

    def _join(self, group: Sequence[JobsFile]) -> None:
        joined = files.join_jobs(self.folder, group)
        joined = replace(joined, usage=usage_day.add_up(self.folder, joined, group))
        for file in group[1:]:
            self._replace_file(file, [])
        self._replace_file(group[0], [joined])
        self.commit(roll_up=False)

    # -- commit -------------------------------------------------------------------------------------------------

    def commit(self, *, roll_up: bool = True) -> int:
        """Make all since the last commit count, at once. Returns the generation.

        Without `roll_up` the roll-up waits for a later commit: for the many commits of a first load. Until then
        questions are answered from the detail.
        """
        if roll_up:
            self._roll_up()
        for cluster in self._open_changed:
            self._open_files.pop(cluster, None)
            table = self._open[cluster]
            if table.num_rows:
                path = files.new_path("open", cluster, "open")
                files.write_table(self.folder, path, table)
                self._open_files[cluster] = path
        now = replace(
            self._committed,
            columns=tuple(PLAIN_JOBS.names),
            zone=self._zone,
            rollup_version=usage_day.rollup_version(),
            jobs=tuple(self._jobs),
            open=dict(self._open_files),
            suspends=dict(self._suspends),
            tables=self._tables,
            clusters={name: self._counted(name) for name in sorted(self._states)},
        )
        for folder in {(self.folder / path).parent for path in now.files() - self._committed.files()}:
            manifest.sync_folder(folder)
        self._begin(manifest.save(self.folder, self._committed, now))
        return self._committed.generation

    def _roll_up(self) -> None:
        made: dict[str, str] = {}
        for cluster in {file.cluster for file in self._jobs if file.usage is None}:
            mine = [file for file in self._jobs if file.cluster == cluster and file.usage is None]
            paths = usage_day.roll_up(self.folder, mine, self._suspends.get(cluster), self._zone)
            made |= {file.path: path for file, path in zip(mine, paths, strict=True)}
        self._jobs = [replace(file, usage=made.get(file.path, file.usage)) for file in self._jobs]

    def _counted(self, cluster: str) -> ClusterState:
        mine = [file for file in self._jobs if file.cluster == cluster]
        waiting = self._open_of(cluster)
        oldest = [file.min_submit_s for file in mine]
        if waiting.num_rows:
            oldest.append(pc.min(waiting["submit_s"]).as_py())
        return replace(
            self._states[cluster],
            rows=sum(file.rows for file in mine),
            open_rows=waiting.num_rows,
            oldest_s=min(oldest, default=None),
        )

    # -- inside -------------------------------------------------------------------------------------------------

    def _begin(self, committed: Manifest) -> None:
        self._committed = committed
        self._jobs = list(committed.jobs)
        self._open_files = dict(committed.open)
        self._suspends = dict(committed.suspends)
        self._tables = committed.tables
        self._states = dict(committed.clusters)
        self._open, self._open_changed, self._ended_now = {}, set(), {}
        self._touched = False

    def _take_over(self) -> None:
        """Go on from what another release, or another zone, has left."""
        known = self._committed
        if known.generation and known.columns != tuple(PLAIN_JOBS.names):
            for file in list(self._jobs):
                table = files.read_jobs(self.folder, file)
                self._replace_file(file, [files.write_jobs(self.folder, file.cluster, file.month, table)])
        if known.zone != self._zone or known.rollup_version != usage_day.rollup_version():
            self.rebuild()
        self._touched = False

    def _sweep(self) -> None:
        """Remove what a killed writer has left, and files that no reader looks at any more: all that is not named."""
        named = self._committed.files() | set(self._committed.dropped)
        for path in self.folder.glob("*/*/*.parquet"):
            if str(path.relative_to(self.folder)) not in named:
                path.unlink()

    def _checked(self, table: pa.Table, cluster: str) -> pa.Table:
        batch = files.plain(table, JOBS).combine_chunks()
        if batch.num_rows and not pc.all(pc.equal(batch["cluster"], cluster)).as_py():
            raise ValueError(f"a row that is not of {cluster}")
        self._states.setdefault(cluster, ClusterState())
        return batch

    def _apply(self, cluster: str, batch: pa.Table, also: Ints, forced: Keys) -> Upserted:
        """Merge a batch (each key once) with what is known of its job ids, and of those in `also`."""
        self._touched = True
        job_ids = np.sort(np.concatenate([batch["job_id"].to_numpy(), also]))
        if not job_ids.size:
            return Upserted()
        mine = [file for file in self._jobs if file.cluster == cluster]
        found = list(files.find_jobs(self.folder, mine, job_ids))
        waiting = self._open_of(cluster)
        at = files.places(waiting["job_id"].to_numpy(), job_ids)
        known = pa.concat_tables([*(part.table for part in found), waiting.take(pa.array(at))])
        merged = merge(known, batch, forced)
        offset = 0
        for part in found:
            leave = merged.leave[offset : offset + len(part.at)]
            offset += len(part.at)
            if leave.any():
                self._drop_rows(part.file, part.at[leave])
        leave = merged.leave[offset:]
        ended, still_open = _split(merged.write)
        if leave.any() or still_open.num_rows:
            stay = np.ones(waiting.num_rows, bool)
            stay[at[leave]] = False
            self._set_open(cluster, pa.concat_tables([waiting.filter(pa.array(stay)), still_open]))
        self._jobs.extend(files.write_by_month(self.folder, cluster, ended))
        return Upserted(merged.new, merged.changed, merged.unchanged, merged.outranked)

    def _drop_rows(self, file: JobsFile, at: Ints) -> None:
        table = files.read_jobs(self.folder, file)
        stay = np.ones(table.num_rows, bool)
        stay[at] = False
        rest = table.filter(pa.array(stay))
        again = [files.write_jobs(self.folder, file.cluster, file.month, rest)] if rest.num_rows else []
        self._replace_file(file, again)

    def _replace_file(self, file: JobsFile, by: list[JobsFile]) -> None:
        at = self._jobs.index(file)
        self._jobs[at : at + 1] = by
        self._touched = True

    def _open_of(self, cluster: str) -> pa.Table:
        if cluster not in self._open:
            path = self._open_files.get(cluster)
            self._open[cluster] = files.today(files.read_table(self.folder, path)) if path else PLAIN_JOBS.empty_table()
        return self._open[cluster]

    def _set_open(self, cluster: str, table: pa.Table) -> None:
        self._open[cluster] = table.combine_chunks()
        self._open_changed.add(cluster)
        self._touched = True

    def _put_suspends(self, cluster: str, keys: Keys, suspends: pa.Table | None) -> Keys:
        """Replace the suspensions of these jobs; returns the keys for which they differ from what was known."""
        if suspends is None:
            return NO_KEYS
        new = files.plain(suspends, SUSPENDS).combine_chunks()
        path = self._suspends.get(cluster)
        if not new.num_rows and path is None:
            return NO_KEYS
        new = new.filter(pa.array(np.isin(keys_of(new), keys)))
        old = files.read_table(self.folder, path) if path else new.slice(0, 0)
        old_keys = keys_of(old)
        mine = np.isin(old_keys, keys)
        was = old.filter(pa.array(mine))
        changed = differing(was, new)
        if not changed.size:
            return NO_KEYS
        table = pa.concat_tables([old.filter(pa.array(~mine)), new])
        table = table.sort_by([("job_id", "ascending"), ("submit_s", "ascending"), ("from_s", "ascending")])
        path = files.new_path("suspends", cluster, "suspends")
        files.write_table(self.folder, path, table)
        self._suspends[cluster] = path
        return changed


def _split(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Ended rows and open ones; not copied where all are of one kind."""
    waiting = rows["end_s"].null_count
    if not waiting or waiting == rows.num_rows:
        return (rows, rows.slice(0, 0)) if not waiting else (rows.slice(0, 0), rows)
    ended = pc.is_valid(rows["end_s"])
    return rows.filter(ended), rows.filter(pc.invert(ended))
