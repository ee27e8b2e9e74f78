"""Which files make up one generation of the store. `manifest.json` is replaced by rename, whole.

A file that no manifest names doesn't count: a killed writer left it, or readers of an earlier generation may still
have it open. Data files are never changed once written.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa

from backend.telemetry.model import TelemetryUnusable

MANIFEST = "manifest.json"
FORMAT = 1
KEEP_DROPPED_S = 900  # how long readers of an older generation find its files

Tier = Literal["raw", "minute", "archive", "jobs"]
TIERS: tuple[Tier, ...] = get_args(Tier)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A file that can't be read or written is named. Raises TelemetryUnusable."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise TelemetryUnusable(f"{path}: {error}") from error


@dataclass(frozen=True)
class File:
    """One Parquet file. `tier`: raw and minute by when their points were, archive and jobs by when jobs ended."""

    path: str  # relative to the store's folder
    tier: Tier
    level: int  # how often its rows were put together with others
    sealed_s: float  # when the newest of its rows came into files
    since_s: float  # of its points, or ends of its jobs
    until_s: float  # the last of them
    min_job_id: int
    max_job_id: int
    rows: int
    samples: int  # values in it
    size_bytes: int
    number: int  # of its newest rows: of two archives of one job the later counts


@dataclass(frozen=True)
class Manifest:
    """One generation."""

    generation: int = 0
    written_s: float = 0.0
    number: int = 0  # of the newest file
    wal_from: int = 1  # write-ahead files before this one are in `files`
    raw_from_s: float = 0.0  # samples before were there and are gone
    minute_from_s: float = 0.0
    state: str | None = None  # the file of what is known of senders and running jobs
    files: tuple[File, ...] = ()
    dropped: Mapping[str, float] = field(default_factory=dict)  # files of earlier generations, since when

    def of(self, tier: Tier) -> list[File]:
        """The files of a tier, in the order they were written."""
        return sorted((file for file in self.files if file.tier == tier), key=lambda file: file.number)

    def names(self) -> set[str]:
        """Every path of this generation."""
        return {file.path for file in self.files} | ({self.state} if self.state else set())


def load(folder: Path) -> Manifest:
    """The generation that counts now; generation 0 where there is none. Raises TelemetryUnusable."""
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Manifest()
    except (OSError, ValueError) as error:
        raise TelemetryUnusable(f"{path} can't be read: {error}") from error
    if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
        raise TelemetryUnusable(f"{path} was written by a release of the console that this one doesn't know")
    try:
        return Manifest(**found | {"files": tuple(File(**file) for file in found["files"])})
    except (KeyError, TypeError) as error:
        raise TelemetryUnusable(f"{path} is damaged: {error!r}") from error


def save(folder: Path, before: Manifest, new: Manifest) -> Manifest:
    """Make `new` the generation that counts. Returns it as saved. Raises TelemetryUnusable."""
    now = time.time()
    dropped = {path: since for path, since in before.dropped.items() if since >= now - KEEP_DROPPED_S}
    dropped |= dict.fromkeys(sorted(before.names() - new.names()), now)
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


def sweep(folder: Path, manifest: Manifest) -> None:
    """Remove the data files that neither this generation nor readers of a recent one need. Raises TelemetryUnusable."""
    needed = manifest.names() | set(manifest.dropped)
    for tier in (*TIERS, "state"):
        with naming(folder / tier):
            for path in (folder / tier).glob("*"):
                if f"{tier}/{path.name}" not in needed:
                    path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Have the folder's entries on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
