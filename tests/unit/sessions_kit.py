"""What the tests of sessions share: snapshots from a few words, a database, launchers named by what they do.

- `snapshot(jobs=[…], nodes=[…], …)`: rows as dicts, absent columns filled with what means nothing.
- `Desk`: sessions of one console on a database of its own; `publish()` is the next look at the scheduler.
- `AcceptingLauncher`, `RefusingLauncher`, `SilentLauncher`: take every job, refuse it, never tell.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from backend.cluster import SCHEMAS, Part, Snapshot, empty_snapshot
from backend.identity import Viewer
from backend.launcher import LauncherError
from backend.sessions import LaunchRequest, Sessions
from backend.sessions.life.reconcile import Reconciler
from backend.sessions.life.rows import Row, Rows
from backend.sessions.life.scheduler import sight_of
from backend.store import Database, SecretBox
from config import Settings, load_settings

CLUSTER = "tiny"
UID = os.getuid()
ME = pwd.getpwuid(UID).pw_name
ADA = Viewer("ada", "Ada", UID, frozenset({"user"}), "login-of-ada")
BOB = Viewer("bob", "Bob", UID + 1, frozenset({"user"}), "login-of-bob")
OPERATOR = Viewer("olga", "Olga", UID + 2, frozenset({"user", "operator"}), "login-of-olga")


def table(part: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows of a part; a column that is not given is "", [] or null."""
    schema = SCHEMAS[part]
    blank: dict[str, Any] = {}
    for item in schema:
        if pa.types.is_string(item.type):
            blank[item.name] = ""
        elif pa.types.is_list(item.type) and not item.name.startswith(("allow_", "deny_")):
            blank[item.name] = []
    filled = [{item.name: row.get(item.name, blank.get(item.name)) for item in schema} for row in rows]
    return pa.Table.from_pylist(filled, schema=schema)


def snapshot(
    taken_s: float | None = None, cluster: str = CLUSTER, **parts: Iterable[Mapping[str, Any]]
) -> Snapshot:
    """A snapshot in which every part was taken at `taken_s` (now)."""
    taken_s = time.time() if taken_s is None else taken_s
    made = {name: Part(table(name, parts.get(name, ())), taken_s, 0.01, 5.0) for name in SCHEMAS}
    return Snapshot(cluster=cluster, version=time.time_ns(), **made)


def gpu_node(name: str, kind: str = "a100", gpus: int = 4, used: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "address": f"10.0.0.{len(name)}",
        "state": "IDLE", "available": True, "partitions": ["gpu"],
        "cpus": 64, "cpus_allocated": 0, "memory_mb": 256_000, "memory_allocated_mb": 0, "gpus": gpus,
        "gpus_allocated": used, "gpu_type": kind, **more,
        "gpu_types": more.get("gpu_types", [{"type": kind, "total": gpus, "allocated": used}]),
    }  # fmt: skip


def cpu_node(name: str, cpus: int = 32, **more: Any) -> dict[str, Any]:
    return {
        **gpu_node(name, gpus=0),
        "gpu_types": [],
        "gpu_type": "",
        "cpus": cpus,
        "partitions": ["cpu"],
        **more,
    }


def partition(name: str, nodes: list[str], **more: Any) -> dict[str, Any]:
    return {"name": name, "state": "UP", "default": False, "node_names": nodes, "nodes": len(nodes), **more}


def association(user: str, account: str, **more: Any) -> dict[str, Any]:
    return {"user": user, "account": account, "qos": ["normal"], "default_qos": "normal",
            "default_account": False, **more}  # fmt: skip


def job(session_id: str, job_id: int = 7, state: str = "RUNNING", **more: Any) -> dict[str, Any]:
    now = int(time.time())
    started = {"start_s": now - 5, "end_s": now + 3600, "node_list": "a1"} if state != "PENDING" else {}
    return {
        "job_id": job_id, "label": str(job_id), "name": f"carme-{session_id}", "user": ME, "uid": UID,
        "account": "physics", "partition": "gpu", "state": state, "start_expected": False, "array_pending": 1,
        "time_limit_s": 3600, "nodes": 1, "submit_s": now - 10, **started, **more,
    }  # fmt: skip


def site(**changes: Iterable[Mapping[str, Any]]) -> dict[str, Iterable[Mapping[str, Any]]]:
    """A small site: a GPU partition by default, a CPU partition, the account physics for everybody here."""
    return {
        "nodes": [gpu_node("a1"), gpu_node("a22"), cpu_node("c1")],
        "partitions": [partition("gpu", ["a1", "a22"], default=True, max_time_s=86400),
                       partition("cpu", ["c1"], max_time_s=7 * 86400)],
        "associations": [association("", "physics", qos=[], default_qos=""),
                         association(ME, "physics", default_account=True)],
        "qos": [{"name": "normal", "max_tres_per_user": "gres/gpu=4"}],
        "accounts": [{"name": "physics", "description": "Physics"}],
        **changes,
    }  # fmt: skip


class Snapshots:
    """What the console sees of the scheduler: the newest snapshot a test has published."""

    def __init__(self) -> None:
        self.current: Snapshot = empty_snapshot("")
        self.clusters: dict[str, Snapshot] = {}
        self.kicks = 0

    def refresh(self) -> bool:
        return False

    def kick(self) -> None:
        self.kicks += 1


@dataclass
class AcceptingLauncher:
    """Takes every job and gives it the next number."""

    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    job_id: int = 6

    async def call(self, user: str, action: str, **arguments: Any) -> dict[str, Any]:
        return self.call_blocking(user, action, **arguments)

    def call_blocking(self, user: str, action: str, **arguments: Any) -> dict[str, Any]:
        self.calls.append((user, action, arguments))
        if action == "submit":
            self.job_id += 1
            return {"ok": True, "job_id": self.job_id}
        return {"ok": True, "text": "the log", "start_s": int(time.time()) + 600}

    def of(self, action: str) -> list[dict[str, Any]]:
        return [arguments for _, name, arguments in self.calls if name == action]


@dataclass
class RefusingLauncher(AcceptingLauncher):
    """Says no to every submission."""

    kind: str = "refused"
    message: str = "Batch job submission failed: Invalid qos specification"

    def call_blocking(self, user: str, action: str, **arguments: Any) -> dict[str, Any]:
        self.calls.append((user, action, arguments))
        if action == "submit":
            raise LauncherError(self.kind, self.message)
        return {"ok": True}


class SilentLauncher(RefusingLauncher):
    """Breaks off: nobody knows whether the job was taken."""

    def __init__(self) -> None:
        super().__init__(kind="unknown", message="The launcher gave no answer.")


class Desk:
    """Sessions of one console, without its watching thread: tests call `look()`."""

    def __init__(self, folder: Path, launcher: AcceptingLauncher | None = None, **overrides: Any) -> None:
        self.settings: Settings = load_settings(None, {}, {"instance.data_dir": folder, **overrides})
        self.db = Database(self.settings.store.url)
        self.db.upgrade()
        self.box = SecretBox(folder)
        self.snapshots = Snapshots()
        self.launcher = launcher or AcceptingLauncher()
        self.sessions = Sessions(self.settings, self.db, self.box, self.snapshots, self.launcher)  # type: ignore[arg-type]
        self.rows = Rows(self.db)
        self.cancelled: list[tuple[str, int | None]] = []
        self.reconciler = Reconciler(self.rows, lambda row, job_id: self.cancelled.append((row.id, job_id)))
        self.publish(**site())

    def publish(self, taken_s: float | None = None, **parts: Iterable[Mapping[str, Any]]) -> Snapshot:
        made = snapshot(taken_s, **parts)
        self.snapshots.current = made
        self.snapshots.clusters = {made.cluster: made}
        return made

    def look(self, taken_s: float | None = None, **parts: Iterable[Mapping[str, Any]]) -> None:
        """The scheduler is looked at and the rows are brought up to it."""
        made = self.publish(taken_s, **site(**parts))
        self.reconciler.run(made, sight_of(made))

    async def launch(self, viewer: Viewer = ADA, key: str = "", **request: Any) -> str:
        return (await self.sessions.launch(viewer, LaunchRequest(**request), key=key)).id

    def row(self, session_id: str) -> Row:
        found = self.rows.get(session_id)
        assert found is not None
        return found
