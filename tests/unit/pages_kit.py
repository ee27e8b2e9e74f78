"""What the tests of pages share: real services on an empty data folder, with a snapshot the test publishes.

- `World(folder)`: services; `publish(part=rows)` is the collector's next look, `fail(part, why)` a failed one.
- `Sitter`: an open document as the live data sees one; keeps what it is sent and the topics that follow.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from backend.cluster import SCHEMAS, SnapshotWriter
from backend.identity import Viewer
from backend.services import Services, open_services
from backend.sessions import LaunchRequest
from backend.store import models
from backend.telemetry import Telemetry
from config import load_settings
from tests.unit.sessions_kit import table

ADA = Viewer("ada", "Ada Lovelace", 50001, frozenset({"user"}), "login-of-ada")
BOB = Viewer("bob", "Bob", 50002, frozenset({"user"}), "login-of-bob")
COORDINATOR = Viewer(
    "cleo",
    "Cleo",
    50003,
    frozenset({"user", "coordinator"}),
    "login-of-cleo",
    coordinates=frozenset({"physics"}),
)
OPERATOR = Viewer("olga", "Olga", 50004, frozenset({"user", "operator"}), "login-of-olga")
UIDS = {"ada": 50001, "bob": 50002, "cleo": 50003, "olga": 50004}


class World:
    def __init__(
        self,
        folder: Path,
        telemetry: Telemetry | None = None,
        environ: Mapping[str, str] | None = None,
        **parts: Iterable[Mapping[str, Any]],
    ) -> None:
        settings = load_settings(None, {"CARME_DATA": str(folder), **(environ or {})})
        self.writer = SnapshotWriter(settings.instance.data_dir / "snapshot", "local", dict.fromkeys(SCHEMAS, 5.0))
        self.services: Services = open_services(settings)
        if telemetry is not None:
            self.services = replace(self.services, telemetry=telemetry)
        self.publish(**{name: parts.get(name, ()) for name in SCHEMAS})

    def publish(self, taken_s: float | None = None, **parts: Iterable[Mapping[str, Any]]) -> None:
        for name, rows in parts.items():
            self.writer.publish(
                name, table(name, rows), taken_s=time.time() if taken_s is None else taken_s, duration_s=0.01
            )
        self.services.snapshots.refresh()

    def fail(self, part: str, why: str) -> None:
        self.writer.fail(part, why, time.time())


def job(job_id: int, user: str = "ada", state: str = "RUNNING", **more: Any) -> dict[str, Any]:
    """A job's row."""
    now = int(time.time())
    waits = state == "PENDING"
    return {
        "job_id": job_id, "label": str(job_id), "array_pending": 1, "name": f"job {job_id}", "user": user,
        "uid": UIDS[user], "account": "physics", "partition": "gpu", "qos": "normal", "state": state,
        "reason": "Priority" if waits else "", "priority": 10, "submit_s": now - 600,
        "start_s": None if waits else now - 300, "end_s": None if waits else now + 3300, "time_limit_s": 3600,
        "nodes": 1, "node_list": "" if waits else "a1", "cpus": 4, "memory_mb": 4096, "gpus": 0,
        "start_expected": False, "restarts": 0, **more,
    }  # fmt: skip


class Sitter:
    """One open document."""

    def __init__(self, viewer: Viewer = ADA) -> None:
        self.viewer = viewer
        self.texts: list[str] = []
        self.topics: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, str] = {}

    def send(self, text: str) -> None:
        self.texts.append(text)
        for message in json.loads(text):
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        """As assets/web/console/channel.js does."""
        name = message["t"]
        if "full" in message:
            self.topics[name] = message["full"]
        else:
            assert message["from"] == self.versions[name]
            data = {**self.topics[name], **message["set"]}
            for section, change in message["keyed"].items():
                rows = {**data[section], **change["set"]}
                data[section] = {key: row for key, row in rows.items() if key not in change["del"]}
            self.topics[name] = data
        self.versions[name] = message["v"]


def session_row(world: World, session_id: str, owner: str = "ada", **columns: Any) -> None:
    """A session of that person's in the console's database: ready, begun five minutes ago."""
    now = int(time.time())
    row: dict[str, Any] = {
        "id": session_id, "owner": owner, "uid": UIDS[owner], "cluster": "local", "title": "",
        "request": LaunchRequest(app="jupyterlab").to_dict(), "state": "ready", "secret": b"", "tls_fingerprint": "",
        "job_id": 7, "confirmed": True, "node": "a1", "apps": {"jupyterlab": "ready"}, "created_s": now - 310,
        "not_after_s": now, "start_s": now - 300, "ready_s": now - 290, "limit_end_s": now + 3300,
    }  # fmt: skip
    with world.services.db.begin() as rows:
        rows.add(models.Session(**(row | columns)))
