"""What tests of one job share: a world whose launcher only remembers, and jobs that ended.

- `Desk(world, viewer)`: what a page's action gets; `desk.launcher.calls` is what would reach the scheduler.
- `past(job_id, …)`: an attempt that ended, of ada's; `keep(world, *rows)` puts such in the accounts.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pyarrow as pa

from backend.accounting.model import JOBS
from backend.accounting.warehouse import Warehouse
from backend.identity import Viewer
from backend.launcher import LauncherError
from tests.unit.gatehouse import House
from tests.unit.pages_kit import UIDS, World

CLUSTER = "local"


class Launcher:
    """Takes what it is asked and remembers it; `answer` is given to all, `error` raised instead."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.answer: dict[str, Any] = {}
        self.error: LauncherError | None = None

    async def call(self, user: str, action: str, **arguments: Any) -> dict[str, Any]:
        self.calls.append((user, action, arguments))
        if self.error is not None:
            raise self.error
        return {"ok": True, **self.answer}


class Services:
    """The world's, with this launcher and people who are Unix users of the same name, on a cluster of this kind."""

    def __init__(self, services: Any, launcher: Launcher, **replaced: Any) -> None:
        self._services = services
        self._replaced = {"launcher": launcher, "sessions": _Names(services.sessions), **replaced}

    def __getattr__(self, name: str) -> Any:
        return self._replaced[name] if name in self._replaced else getattr(self._services, name)


class _Names:
    def __init__(self, sessions: Any) -> None:
        self._sessions = sessions

    def unix_user(self, viewer: Viewer) -> str:
        return viewer.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sessions, name)


class Desk:
    def __init__(self, world: World, viewer: Viewer, kind: str = "slurm", **replaced: Any) -> None:
        settings = world.services.settings
        settings = replace(settings, scheduler=replace(settings.scheduler, kind=kind))
        self.launcher = Launcher()
        self.viewer = viewer
        self.services: Any = Services(world.services, self.launcher, settings=settings, **replaced)

    async def run(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    ask = run


def past(job_id: int, user: str = "ada", **more: Any) -> dict[str, Any]:
    """A row of accounting JOBS: ended an hour ago after an hour on one GPU."""
    end_s = int(time.time()) - 3600
    row: dict[str, Any] = dict.fromkeys(JOBS.names)
    row |= {
        "cluster": CLUSTER, "job_id": job_id, "submit_s": end_s - 4000, "eligible_s": end_s - 4000,
        "start_s": end_s - 3600, "end_s": end_s, "state": "COMPLETED", "user": user, "uid": UIDS[user],
        "account": "physics", "partition": "gpu", "qos": "normal", "job_name": f"past {job_id}", "nodes": 1, "cpus": 8,
        "mem_mb": 32768, "gpus": 1, "gpu_type": "a100", "billing": 8, "suspended_s": 0, "array_pending": 0,
        "exit_status": 0, "exit_signal": 0, "node_list": "a1", "req_cpus": 8, "req_gpus": 1, "req_mem_mb": 32768,
        "time_limit_s": 7200, "tres": "billing=8,cpu=8,gres/gpu:a100=1,gres/gpu=1,mem=32G,node=1",
        "cpu_used_s": 9000.0, "mem_peak_mb": 9000, "work_dir": f"/home/{user}", "source": "slurmdbd", "gone": False,
    }  # fmt: skip
    return row | more


def keep(world: World | House, *rows: dict[str, Any]) -> None:
    """In the accounts of the world."""
    folder, cluster = world.services.settings.instance.data_dir / "accounting", rows[0]["cluster"]
    with Warehouse.write(folder, "UTC") as writer:
        writer.upsert(pa.Table.from_pylist(list(rows), schema=JOBS), cluster=cluster)
        writer.set_state(cluster, source="slurmdbd", synced_s=int(time.time()), zone="UTC")
        writer.commit()
