"""A cluster with GPUs that stand idle: `WasteSite(folder)` has people, jobs that ended, jobs that run, and what was
measured of them. Times are real, so that the queue and the footprints are fresh.

Ended: 1 of ada (physics): 2 GPUs for 2 h, 3 h idle of 4; 2 of bob (biology): 1 GPU for 1 h, not measured; 3: none.
Running: 11 of ada (physics), idle for 2 h; 12 of bob (biology, a session), never busy for 40 min; 13 of ada, busy.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from backend.accounting.model import ACCOUNTS
from backend.accounting.warehouse import Warehouse
from tests.unit import warehouse_kit
from tests.unit.pages_kit import UIDS, World
from tests.unit.pages_kit import job as queued
from tests.unit.verdict_kit import HOUR, Measured, gpu_footprint

CLUSTER = "local"


def ended(number: int, user: str, account: str, hours: float, **columns: Any) -> dict[str, Any]:
    end_s = int(time.time()) - number * 1000
    start_s = end_s - int(hours * HOUR)
    row = {
        "cluster": CLUSTER, "user": user, "uid": UIDS.get(user, 60000), "account": account, "start_s": start_s,
        "end_s": end_s, "gpus": 2, "gpu_type": "a100", "partition": "gpu",
    } | columns  # fmt: skip
    return warehouse_kit.job(number, start_s - 60, **row)


def measured(row: dict[str, Any], idle_hours: float, **columns: Any) -> dict[str, Any]:
    """The footprint of a row of the accounts or of the queue, all of it measured."""
    end_s = row["end_s"] or int(time.time())
    held_s = float(row["gpus"] * (end_s - row["start_s"]))
    return gpu_footprint(
        **{
            "cluster": CLUSTER, "job_id": row["job_id"], "start_s": row["start_s"], "end_s": row["end_s"],
            "first_s": float(row["start_s"]), "last_s": float(end_s), "gpus": row["gpus"],
            "gpu_idle_s": idle_hours * HOUR, "gpu_measured_s": held_s, "last_active_s": float(end_s),
        } | columns
    )  # fmt: skip


def running(number: int, user: str, account: str, hours: float, **columns: Any) -> dict[str, Any]:
    start_s = int(time.time() - hours * HOUR)
    return queued(
        number, user,
        **{"account": account, "start_s": start_s, "gpus": 2, "gpu_type": "a100", "cpus": 16, "memory_mb": 65536,
           "end_s": start_s + 8 * HOUR} | columns,
    )  # fmt: skip


class WasteSite:
    def __init__(self, folder: Path, more: int = 0, name: str = "train.sh", projects: str = "") -> None:
        """`projects`: what their file says."""
        now_s = time.time()
        rows = [
            ended(1, "ada", "physics", 2), ended(2, "bob", "biology", 1, gpus=1), ended(3, "bob", "biology", 1, gpus=0),
            *(ended(100 + n, f"person{n}", "physics", 1, gpus=1, gpu_type="h100") for n in range(more)),
        ]  # fmt: skip
        jobs = [
            running(11, "ada", "physics", 3, name=name),
            running(12, "bob", "biology", 40 / 60, gpus=1, name="carme-0123"),
            running(13, "ada", "physics", 3),
        ]  # fmt: skip
        open_rows = [
            warehouse_kit.job(
                row["job_id"], row["submit_s"], cluster=CLUSTER, user=row["user"], uid=row["uid"],
                account=row["account"], start_s=row["start_s"], end_s=None, seen_s=int(now_s), state="RUNNING",
                gpus=row["gpus"], gpu_type="a100", partition="gpu",
            )
            for row in jobs
        ]  # fmt: skip
        never = {"last_active_s": None, "gpu_percent_mean": 0.0}
        self.telemetry = Measured(
            measured(rows[0], 3.0),
            measured(jobs[0] | {"end_s": None}, 4.0, last_active_s=now_s - 2 * HOUR),
            measured(jobs[1] | {"end_s": None}, 40 / 60, **never),
            measured(jobs[2] | {"end_s": None}, 0.0),
        )
        environ = {}
        if projects:
            (folder / "projects.toml").write_text(projects)
            environ["CARME_ACCOUNTING__PROJECTS_FILE"] = str(folder / "projects.toml")
        self.world = World(folder, self.telemetry, environ)
        self.world.publish(
            jobs=jobs,
            accounts=[{"name": "science", "coordinators": ["sue"]}, {"name": "physics", "parent": "science"}],
        )
        accounts = [
            dict.fromkeys(ACCOUNTS.names, "") | {"name": name, "parent": parent, "deleted": False, "coordinators": []}
            for name, parent in (("root", ""), ("science", "root"), ("physics", "science"), ("biology", "root"))
        ]
        with Warehouse.write(folder / "accounting", "UTC") as writer:
            writer.upsert(warehouse_kit.jobs(*rows, *open_rows), cluster=CLUSTER)
            writer.put_table(CLUSTER, "accounts", pa.Table.from_pylist(accounts, schema=ACCOUNTS))
            writer.set_state(CLUSTER, source="local", synced_s=int(now_s))
            writer.commit()

    @property
    def services(self) -> Any:
        return self.world.services
