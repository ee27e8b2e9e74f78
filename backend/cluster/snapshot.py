"""The snapshot on disk: one Arrow IPC file a part and one status file, each replaced atomically.

    DATA/snapshot/<cluster>/jobs.arrow … ended.arrow   the rows, and when they were taken
    DATA/snapshot/<cluster>/status.json                revision; for each part stamp, error, since when
    DATA/snapshot/kick                                 touched to ask the collector for an early look

The writer replaces a part's file first and the status after it, so a reader that watches only the status
misses nothing, and whoever dies at whichever moment leaves whole files.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from backend.cluster.model import SCHEMAS, Part, Snapshot

STATUS = "status.json"
KICK = "kick"
_META = b"carme"


class SnapshotWriter:
    """Publishes one cluster's parts. Used by one process, the collector; safe from several of its threads."""

    def __init__(self, folder: Path, cluster: str, every_s: dict[str, float]) -> None:
        self.cluster = cluster
        self.folder = folder / cluster_folder(cluster)
        self.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        for leftover in self.folder.glob(".*"):  # of a writer that was killed
            leftover.unlink(missing_ok=True)
        self._lock = threading.Lock()
        status = _read_status(self.folder / STATUS)
        parts = status.get("parts", {})
        self._status: dict[str, Any] = {
            "cluster": cluster,
            "revision": status.get("revision", 0),
            "parts": {
                name: {"stamp": 0, "error": None, "failing_since_s": None, "problems": []}
                | {key: value for key, value in parts.get(name, {}).items() if key != "every_s"}
                | {"every_s": every_s.get(name, 0.0)}
                for name in SCHEMAS
            },
        }
        self._write_status()

    def publish(
        self,
        part: str,
        table: pa.Table,
        *,
        taken_s: float,
        duration_s: float,
        problems: tuple[str, ...] = (),
    ) -> None:
        """Replace a part's rows; its error is over."""
        facts = json.dumps({"taken_s": taken_s, "duration_s": duration_s}).encode()
        stamped = table.replace_schema_metadata({_META: facts})
        with self._lock:
            _replace(self.folder / f"{part}.arrow", lambda path: _write_arrow(path, stamped))
            entry = self._status["parts"][part]
            entry.update(
                stamp=time.time_ns(),
                error=None,
                failing_since_s=None,
                problems=[p[:300] for p in problems[:20]],
            )
            self._write_status()

    def fail(self, part: str, error: str, now_s: float) -> bool:
        """The part could not be read: its rows stay, with why and since when. True when that is news."""
        with self._lock:
            entry = self._status["parts"][part]
            news = entry["error"] != error[:1000]
            if news:
                entry.update(error=error[:1000], failing_since_s=entry["failing_since_s"] or now_s)
                self._write_status()
            return news

    def remove(self) -> None:
        """Take the whole cluster out of the snapshot."""
        with self._lock:
            (self.folder / STATUS).unlink(missing_ok=True)
            for path in self.folder.iterdir():
                path.unlink()
            self.folder.rmdir()

    def _write_status(self) -> None:
        self._status["revision"] = max(self._status["revision"] + 1, time.time_ns() // 1000)
        content = json.dumps(self._status)
        _replace(self.folder / STATUS, lambda path: path.write_text(content, encoding="utf-8"))


@dataclass(frozen=True)
class _Seen:
    """What a reader last loaded of one cluster."""

    key: tuple[int, int, int]  # of the status file
    stamps: dict[str, int]
    snapshot: Snapshot


class SnapshotReader:
    """The newest snapshot, memory-mapped; one object serves all threads of a process.

    `refresh()` looks whether anything changed, for one `stat` a cluster; between two calls the answers stay
    the same objects. `cluster` names the one `current` is about; "" stands for the only one there is.
    """

    def __init__(self, folder: Path, cluster: str = "") -> None:
        self.folder = Path(folder)
        self._cluster = cluster
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self.clusters: dict[str, Snapshot] = {}
        self.current: Snapshot = empty_snapshot(cluster)

    def refresh(self) -> bool:
        """Take in what was published since; True when something was. Blocks for milliseconds."""
        with self._lock:
            seen: dict[str, _Seen] = {}
            for path in self._folders():
                known = self._seen.get(path.name)
                fresh = _load(path, known)
                if fresh is not None:
                    seen[path.name] = fresh
            changed = seen.keys() != self._seen.keys() or any(
                self._seen[name] is not item for name, item in seen.items()
            )
            if changed:
                self._seen = seen
                self.clusters = {item.snapshot.cluster: item.snapshot for item in seen.values()}
                self.current = self._choose()
            return changed

    def kick(self) -> None:
        """Ask the collector for an early look at the queue: after a submit or a cancel."""
        with contextlib.suppress(FileNotFoundError):  # no collector has ever run here
            fd = os.open(self.folder / KICK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                os.utime(fd)
            finally:
                os.close(fd)

    def _folders(self) -> list[Path]:
        try:
            return sorted(path for path in self.folder.iterdir() if not path.name.startswith("."))
        except FileNotFoundError:
            return []

    def _choose(self) -> Snapshot:
        if self._cluster:
            return self.clusters.get(self._cluster) or empty_snapshot(self._cluster)
        if not self.clusters:
            return empty_snapshot("")
        return max(self.clusters.values(), key=lambda snapshot: snapshot.version)


def empty_snapshot(cluster: str) -> Snapshot:
    """What is known before the collector has ever looked."""
    parts = {name: Part(schema.empty_table(), None, None, 0.0) for name, schema in SCHEMAS.items()}
    return Snapshot(cluster=cluster, version=0, **parts)


def cluster_folder(cluster: str) -> str:
    """A cluster's name as the name of its folder."""
    safe = "".join(char if char.isalnum() or char in "-_." else "_" for char in cluster).lstrip(".")
    return safe or "_"


def _load(path: Path, known: _Seen | None) -> _Seen | None:
    try:
        facts = (path / STATUS).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    key = (facts.st_mtime_ns, facts.st_ino, facts.st_size)
    if known is not None and known.key == key:
        return known
    status = _read_status(path / STATUS)
    parts: dict[str, Part] = {}
    stamps: dict[str, int] = {}
    for name, entry in status.get("parts", {}).items():
        if name not in SCHEMAS:
            continue
        stamps[name] = entry["stamp"]
        if known is not None and known.stamps.get(name) == entry["stamp"]:
            rows = getattr(known.snapshot, name)
        else:
            rows = _read_part(path / f"{name}.arrow", name)
        parts[name] = replace(
            rows,
            every_s=entry["every_s"],
            error=entry["error"] or rows.error,
            failing_since_s=entry["failing_since_s"],
            problems=tuple(entry["problems"]),
        )
    empty = empty_snapshot(status.get("cluster", path.name))
    snapshot = Snapshot(
        cluster=empty.cluster,
        version=status.get("revision", 0),
        **{name: parts.get(name) or getattr(empty, name) for name in SCHEMAS},
    )
    return _Seen(key, stamps, snapshot)


def _read_part(path: Path, name: str) -> Part:
    """The rows of a file without copying them; a file of another release or a broken one is an empty part."""
    schema = SCHEMAS[name]
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        facts = json.loads((table.schema.metadata or {})[_META])
    except FileNotFoundError:
        return Part(schema.empty_table(), None, None, 0.0)
    except (OSError, pa.ArrowInvalid, KeyError, ValueError) as error:
        return Part(schema.empty_table(), None, None, 0.0, error=f"The file {path.name} can't be read: {error}")
    table = table.replace_schema_metadata(None)
    if not table.schema.equals(schema):
        return Part(
            schema.empty_table(),
            None,
            None,
            0.0,
            error="Written by another release; new rows are on their way.",
        )
    return Part(table, facts["taken_s"], facts["duration_s"], 0.0)


def _read_status(path: Path) -> dict[str, Any]:
    try:
        status = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def _write_arrow(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _replace(path: Path, write: Any) -> None:
    """Write beside the file and rename over it. No fsync: after a power cut the collector writes anew."""
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(fd)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o640)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
