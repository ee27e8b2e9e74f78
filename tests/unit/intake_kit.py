"""The telemetry process in a test: sessions with secrets, a snapshot with their jobs, and agents that send.

    async with IntakeDesk(tmp_path) as desk:
        desk.session("s1234567", job_id=7, nodes="n[1-2]")
        agent = Agent("session:s1234567", desk.secret("s1234567"), node="n1")
        assert (await desk.send(agent.batch(7, t=[desk.now_s], cpu_cores=[1.5]))).status == 204
"""

from __future__ import annotations

import json
import secrets
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.agent.telemetry.batch import mac_of
from backend.cluster import SnapshotReader, SnapshotWriter
from backend.sessions.life.rows import Row, Rows
from backend.sessions.life.submission import secret_purpose
from backend.store import Database, SecretBox
from backend.telemetry.intake.committer import Committer
from backend.telemetry.intake.keys import Keys
from backend.telemetry.intake.rights import Rights
from backend.telemetry.intake.sight import JobsNow
from backend.telemetry.intake.taking import Taken, Taking
from backend.telemetry.store import Store, StoreReader
from tests.unit.sessions_kit import table

CLUSTER = "tiny"


@dataclass(frozen=True)
class Signed:
    """A batch as an agent sends it."""

    sender: str
    mac: str
    body: bytes


@dataclass
class Agent:
    """One process that sends: builds batches with rising numbers, signed by its key."""

    sender: str
    key: str
    node: str = "n1"
    boot: str = field(default_factory=lambda: secrets.token_hex(8))
    seq: int = 0

    def batch(self, job_id: int, t: list[float], device: str = "", model: str = "", **metrics: list[Any]) -> Signed:
        """The next batch, of one block."""
        block = {"job": job_id, "device": device, "model": model, "t": t, "m": metrics}
        return self.blocks([block], sent_s=t[-1])

    def blocks(self, blocks: list[dict[str, Any]], sent_s: float, seq: int | None = None, **more: Any) -> Signed:
        """The next batch."""
        self.seq = self.seq + 1 if seq is None else seq
        return self.raw(json.dumps(
            {"v": 1, "boot": self.boot, "seq": self.seq, "sent_s": sent_s, "mono_s": sent_s, "node": self.node,
             "blocks": blocks} | more
        ).encode())  # fmt: skip

    def raw(self, text: bytes) -> Signed:
        """Any bytes, deflated and signed."""
        body = zlib.compress(text)
        return Signed(self.sender, mac_of(self.key, self.sender, body), body)


class IntakeDesk:
    """All parts of the process on a folder of its own, without its socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = Database(f"sqlite:///{folder / 'carme.db'}")
        self.db.upgrade()
        self.box = SecretBox(folder)
        self.snapshot = SnapshotWriter(folder / "snapshot", CLUSTER, {})
        self.jobs: list[dict[str, Any]] = []
        self.store = Store(folder / "telemetry")
        self.sight = JobsNow(SnapshotReader(folder / "snapshot"), clock=_Always())
        self.rights = Rights(self.sight, self.store)
        self.committer = Committer(self.store)
        self.keys = Keys(Rows(self.db), self.box, folder / "node.key", clock=_Always(KEEP_JUMP_S))
        self.taking = Taking(self.store, self.keys, self.rights, self.committer)
        self.telemetry = StoreReader(folder / "telemetry", self.store)

    async def __aenter__(self) -> IntakeDesk:
        self.publish()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.committer.close()
        self.store.close()
        self.db.close()

    @property
    def now_s(self) -> float:
        return time.time()

    def publish(self, taken_s: float | None = None) -> None:
        """The collector's next look."""
        self.snapshot.publish("jobs", table("jobs", self.jobs), taken_s=taken_s or time.time(), duration_s=0.01)
        nodes = [{"name": f"n{number}"} for number in range(1, 5)]
        self.snapshot.publish("nodes", table("nodes", nodes), taken_s=taken_s or time.time(), duration_s=0.01)

    def job(self, job_id: int, nodes: str, state: str = "RUNNING", **more: Any) -> None:
        """A job of the cluster, or what has become of it."""
        now = int(time.time())
        self.jobs = [job for job in self.jobs if job["job_id"] != job_id]
        row = {"job_id": job_id, "state": state, "start_s": now - 600, "end_s": now + 3600, "node_list": nodes}
        self.jobs.append(row | more)
        self.publish()

    def session(self, session_id: str, job_id: int, nodes: str = "n1", **more: Any) -> str:
        """A running session with its job; returns its secret."""
        secret = f"secret of {session_id}"
        facts = {
            "id": session_id, "owner": "ada", "uid": 1000, "cluster": CLUSTER, "request": {}, "state": "ready",
            "secret": self.box.encrypt(secret.encode(), purpose=secret_purpose(session_id)), "tls_fingerprint": "",
            "job_id": job_id, "confirmed": True, "apps": {}, "created_s": 0, "not_after_s": 0,
        }  # fmt: skip
        with self.db.begin() as tx:
            tx.add(Row(**facts | more))
        self.job(job_id, nodes)
        return secret

    def over(self, session_id: str, end_s: int) -> None:
        """The session has ended."""
        Rows(self.db).change(session_id, lambda _: {"state": "ended", "end_s": end_s})

    async def send(self, batch: Signed, mac: str | None = None, sender: str | None = None) -> Taken:
        """Hand a batch to the process."""
        sender = batch.sender if sender is None else sender
        return await self.taking.take(sender, batch.mac if mac is None else mac, batch.body)

    def written(self) -> int:
        """Values the store has."""
        return self.store.live.samples


def publish_jobs(data_dir: Path, jobs: dict[int, str], taken_s: float | None = None) -> None:
    """A collector's look: these jobs run on these nodes."""
    now = int(time.time())
    rows = [
        {"job_id": job_id, "state": "RUNNING", "start_s": now - 600, "end_s": now + 3600, "node_list": nodes}
        for job_id, nodes in jobs.items()
    ]
    writer = SnapshotWriter(data_dir / "snapshot", CLUSTER, {})
    writer.publish("jobs", table("jobs", rows), taken_s=taken_s or time.time(), duration_s=0.01)


KEEP_JUMP_S = 60.0


class _Always:
    """A clock on which much time goes by between two looks: nothing is believed for long."""

    def __init__(self, jump_s: float = 10.0) -> None:
        self._now_s, self._jump_s = 0.0, jump_s

    def __call__(self) -> float:
        self._now_s += self._jump_s
        return self._now_s


