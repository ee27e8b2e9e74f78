"""The warehouse's manifest: which files make up one generation. `manifest.json` is replaced by rename, whole.

A file that no manifest names doesn't count: it is what a killed writer left, or what readers of the generation
before may still have open. Data files are never changed once written.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from backend.accounting.model import JOBS

MANIFEST = "manifest.json"
FORMAT = 1
KEEP_DROPPED_S = 900  # how long readers of an older generation find its files


class WarehouseUnusable(Exception):
    """The warehouse can't be read or written: what is wrong, and what to do."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A file that can't be read or written is named. Raises WarehouseUnusable."""
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:  # a full disk, a missing file, one that is no Parquet
        raise WarehouseUnusable(f"{path}: {error}") from error


@dataclass(frozen=True)
class ClusterState:
    """What the warehouse knows of one cluster's accounts."""

    source: str = ""  # "slurmdbd", "local", "sacct": who fills it
    synced_s: int | None = None  # until when it is complete
    error: str = ""  # why the last sync failed, "" when it did not
    error_since_s: int | None = None
    progress: float | None = None  # of a first load, 0..1; None when there is none going on
    oldest_s: int | None = None  # the earliest submit time among its rows
    purged_before_s: int | None = None  # the source holds no ended rows from before
    rows: int = 0  # ended rows
    open_rows: int = 0
    zone: str = ""  # of the source's days: slurmdbd's server, or the import's --tz
    cursor: Mapping[str, Any] = field(default_factory=dict)  # the source's own: where to go on. JSON


@dataclass(frozen=True)
class WarehouseState:
    """Every cluster's state, of one generation."""

    clusters: Mapping[str, ClusterState]


@dataclass(frozen=True)
class JobsFile:
    """One file of ended rows, all of one cluster that ended in one month (UTC), and its part of the roll-up."""

    path: str  # relative to the warehouse's folder
    cluster: str
    month: str  # "2026-01", of end_s in UTC
    rows: int
    size_bytes: int
    min_job_id: int
    max_job_id: int
    min_submit_s: int
    min_s: int  # the earliest start, or end where it never started
    max_s: int  # the latest end
    standing: int  # rows of slurmdbd that it still has: not `gone`
    usage: str | None = None  # the roll-up of these rows; None: not made yet


@dataclass(frozen=True)
class Manifest:
    """One generation of the warehouse. All paths are relative to its folder."""

    generation: int = 0
    written_s: int = 0
    columns: tuple[str, ...] = tuple(JOBS.names)  # of the jobs files
    zone: str = ""  # of the roll-up's days
    rollup_version: int = 0  # 0: there is none
    jobs: tuple[JobsFile, ...] = ()
    open: Mapping[str, str] = field(default_factory=dict)  # by cluster: the file of its open rows
    suspends: Mapping[str, str] = field(default_factory=dict)  # by cluster
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by name, by cluster
    clusters: Mapping[str, ClusterState] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)  # files of earlier generations, and since when

    def by_cluster(self) -> Iterator[tuple[str, str]]:
        """Cluster and path of every file of this generation."""
        for file in self.jobs:
            yield file.cluster, file.path
            if file.usage:
                yield file.cluster, file.usage
        for paths in (self.open, self.suspends, *self.tables.values()):
            yield from paths.items()

    def files(self) -> set[str]:
        """All files of this generation."""
        return {path for _, path in self.by_cluster()}


def load(folder: Path) -> Manifest:
    """The generation that counts now; generation 0 where there is none yet. Raises WarehouseUnusable."""
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Manifest()
    except (OSError, ValueError) as error:
        raise WarehouseUnusable(f"{path} can't be read: {error}") from error
    if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
        raise WarehouseUnusable(f"{path} was written by a release of the console that this one doesn't know")
    try:
        found["columns"] = tuple(found["columns"])
        found["jobs"] = tuple(JobsFile(**file) for file in found["jobs"])
        found["clusters"] = {name: ClusterState(**state) for name, state in found["clusters"].items()}
        return Manifest(**found)
    except (AttributeError, KeyError, TypeError) as error:
        raise WarehouseUnusable(f"{path} is damaged: {error!r}") from error


def save(folder: Path, before: Manifest, new: Manifest) -> Manifest:
    """Make `new` the generation that counts, by rename. Returns it as saved, with what it drops of `before`.

    What was dropped long ago is no longer named: the next writer removes it, as all that no manifest names.
    """
    now = int(time.time())
    kept = new.files()
    dropped = {path: since for path, since in before.dropped.items() if since >= now - KEEP_DROPPED_S}
    dropped |= dict.fromkeys(sorted(before.files() - kept), now)
    new = replace(new, generation=before.generation + 1, written_s=now, dropped=dropped)
    text = json.dumps({"format": FORMAT, **asdict(new)}, separators=(",", ":"))
    temporary = folder / f".{MANIFEST}.new"
    with naming(folder / MANIFEST):
        with temporary.open("w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(folder / MANIFEST)
        sync_folder(folder)
    return new


def sync_folder(folder: Path) -> None:
    """Have the folder's entries on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cluster_folder(cluster: str) -> str:
    """`cluster=NAME`, the name percent-encoded: no name leaves the warehouse's folder."""
    return f"cluster={quote(cluster, safe='').replace('.', '%2E')}"
