"""The accounts of jobs on this machine: from the supervisor's ledger, which remembers a job for a week."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from backend.accounting.dbd import SourceError
from backend.accounting.model import ACCOUNTS, JOBS
from backend.accounting.rounds import Round
from config import Settings

NAME = "local"
ACCOUNT = PARTITION = "local"
QOS = "normal"


class LocalSource:
    """Asks the supervisor. Everything it remembers is put in each turn: the warehouse keeps what is new."""

    name = NAME

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cluster = settings.scheduler.cluster or "local"
        me = pwd.getpwuid(os.getuid())
        self._user, self._uid = me.pw_name, me.pw_uid

    def clusters(self) -> Sequence[str]:
        """There is one."""
        return (self._cluster,)

    def close(self) -> None:
        """Nothing is held."""

    def bring(self, cluster: str, turn: Round) -> None:
        """Raises SourceError when the supervisor does not answer."""
        # Only where it is used: the scheduler's package starts this one.
        from backend.cluster import SchedulerError
        from backend.cluster.local import ask_supervisor, socket_path

        try:
            answer = ask_supervisor(socket_path(self._settings), {"action": "list"})
        except SchedulerError as error:
            raise SourceError(str(error)) from error
        now_s = int(time.time())
        rows = [self.row(job, answer["machine"], now_s) for job in answer["jobs"]]
        table = turn.with_apps(pa.Table.from_pylist(rows, schema=JOBS), cluster)
        ended = table.filter(pa.compute.is_valid(table["end_s"]))
        waiting = table.filter(pa.compute.is_null(table["end_s"]))
        account: dict[str, Any] = {
            "name": ACCOUNT, "parent": None, "description": "This machine", "organization": "", "deleted": False,
            "coordinators": [],
        }  # fmt: skip
        with turn.writer() as writer:
            if turn.rebuild:
                writer.rebuild()
            writer.upsert(ended, cluster=cluster)
            writer.replace_open(cluster, waiting)
            writer.put_table(cluster, "accounts", pa.Table.from_pylist([account], schema=ACCOUNTS))
            writer.set_state(
                cluster, source=NAME, zone=turn.zone, synced_s=now_s, error="", error_since_s=None, progress=None
            )
            writer.commit()
        turn.progress(cluster, 1.0, len(rows))

    def row(self, job: Mapping[str, Any], machine: Mapping[str, Any], now_s: int) -> dict[str, Any]:
        """One job of the ledger as a row of JOBS."""
        wanted = job["wanted"]
        submit_s = int(job["submit_s"])
        start_s = int(job["start_s"]) if job["start_s"] else None
        end_s = max(int(job["end_s"]), start_s or 0) if job["end_s"] else None
        began = start_s is not None
        types = {gpu["index"]: gpu["type"] for gpu in machine["gpus"]}
        given = [types.get(index, "") for index in job["gpus"]] if began else []
        asked = [wanted["gpu_type"]] * wanted["gpus"]
        status, _, signal = (job["exit_code"] or "0:0").partition(":")
        memory_mb = wanted["memory_mb"]
        return {
            "cluster": self._cluster,
            "job_id": job["id"],
            "submit_s": submit_s,
            "origin_s": submit_s,
            "attempt": 1,
            "last_attempt": True,
            "eligible_s": submit_s,
            "start_s": start_s,
            "end_s": end_s,
            "seen_s": now_s if end_s is None else None,
            "suspended_s": 0,
            "state": job["state"],
            "user": self._user,
            "uid": self._uid,
            "account": ACCOUNT,
            "partition": PARTITION,
            "qos": QOS,
            "job_name": job["name"],
            "nodes": int(began),
            "cpus": wanted["cpus"] if began else 0,
            "mem_mb": memory_mb if began else 0,
            "gpus": len(given),
            "gpu_type": _types(given),
            "billing": wanted["cpus"] if began else 0,
            "tres": tres(wanted["cpus"], memory_mb, given) if began else "",
            "req_tres": tres(wanted["cpus"], memory_mb, asked),
            "req_cpus": wanted["cpus"],
            "req_mem_mb": memory_mb,
            "req_gpus": wanted["gpus"],
            "time_limit_s": wanted["time_s"],
            "exit_status": int(status or 0),
            "exit_signal": int(signal or 0),
            "node_list": machine["name"] if began else "",
            "array_pending": 0,
            "cpu_used_s": job["cpu_used_s"] if end_s else None,
            "mem_peak_mb": (job["memory_peak_mb"] or None) if end_s else None,
            "work_dir": job["cwd"],
            "source": NAME,
            "gone": False,
        }


def tres(cpus: int, memory_mb: int, gpus: Sequence[str]) -> str:
    """As sacct prints it: a typed count beside the count of all."""
    counts = [f"gres/gpu:{kind}={list(gpus).count(kind)}" for kind in sorted({kind for kind in gpus if kind})]
    total = [f"gres/gpu={len(gpus)}"] if gpus else []
    return ",".join([f"billing={cpus}", f"cpu={cpus}", *counts, *total, f"mem={memory_mb}M", "node=1"])


def _types(gpus: Sequence[str]) -> str | None:
    kinds = sorted({kind for kind in gpus if kind})
    if len(kinds) < 2:
        return kinds[0] if kinds else None
    return ",".join(f"{kind}={list(gpus).count(kind)}" for kind in kinds)
