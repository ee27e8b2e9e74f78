"""This machine as a cluster of one node and one partition, behind the `Scheduler` protocol."""

from __future__ import annotations

import json
import os
import pwd
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from backend.cluster.local.jobs import ACCOUNT, OVER, PARTITION, QOS
from backend.cluster.local.supervisor import socket_path
from backend.cluster.model import (
    ACCOUNTS,
    ASSOCIATIONS,
    ENDED,
    JOBS,
    NODES,
    PARTITIONS,
    RESERVATIONS,
)
from backend.cluster.model import QOS as QOS_SCHEMA
from backend.cluster.protocol import Intervals, LimitsReading, Reading, SchedulerAway, SchedulerError
from config import Settings

ANSWER_S = 10.0
REMEMBER_S = 300  # an ended job stays in the queue's table this long, as in Slurm (MinJobAge)
INTERVALS = Intervals(jobs_s=2.0, nodes_s=5.0, partitions_s=60.0, reservations_s=60.0, limits_s=60.0, waiting_s=1.0)


def ask_supervisor(path: Path, request: Mapping[str, Any], timeout_s: float = ANSWER_S) -> dict[str, Any]:
    """The supervisor's answer. Raises SchedulerAway without one, SchedulerError when it refuses."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline())
    except (OSError, ValueError) as error:
        raise SchedulerAway("The supervisor of local jobs does not answer.") from error
    if not answer.get("ok"):
        raise SchedulerError(str((answer.get("error") or {}).get("message", "no reason was given")))
    return dict(answer)


class LocalScheduler:
    """Asks the supervisor for jobs, and the machine for the rest."""

    intervals = INTERVALS

    def __init__(self, settings: Settings) -> None:
        self._socket = socket_path(settings)
        self._cluster = settings.scheduler.cluster or "local"
        me = pwd.getpwuid(os.getuid())
        self._user, self._uid = me.pw_name, me.pw_uid

    def cluster(self) -> str:
        return self._cluster

    def read_jobs(self) -> Reading:
        answer = self._ask()
        oldest_s = time.time() - REMEMBER_S
        jobs = [job for job in answer["jobs"] if job["state"] not in OVER or (job["end_s"] or 0) > oldest_s]
        return self._jobs(jobs, answer["machine"])

    def read_waiting(self, job_ids: Iterable[int]) -> Reading:
        wanted = set(job_ids)
        answer = self._ask()
        return self._jobs([job for job in answer["jobs"] if job["id"] in wanted], answer["machine"])

    def read_ended(self, job_ids: Iterable[int]) -> Reading:
        wanted = set(job_ids)
        answer = self._ask()
        rows = [self._ended(job, answer["machine"]) for job in answer["jobs"] if job["id"] in wanted]
        return Reading(pa.Table.from_pylist(rows, schema=ENDED))

    def read_nodes(self) -> Reading:
        answer = self._ask()
        machine, running = answer["machine"], [job for job in answer["jobs"] if job["state"] == "RUNNING"]
        used = sum(job["wanted"]["cpus"] for job in running)
        taken = {index for job in running for index in job["gpus"]}
        types: dict[str, list[int]] = {}
        for gpu in machine["gpus"]:
            entry = types.setdefault(gpu["type"], [0, 0])
            entry[0] += 1
            entry[1] += gpu["index"] in taken
        state = "IDLE" if not running else "ALLOCATED" if used >= machine["cpus"] else "MIXED"
        row = {
            "name": machine["name"],
            "address": "127.0.0.1",
            "state": state,
            "flags": [],
            "available": True,
            "partitions": [PARTITION],
            "cpus": machine["cpus"],
            "cpus_allocated": used,
            "cpu_load": psutil.getloadavg()[0],
            "memory_mb": machine["memory_mb"],
            "memory_allocated_mb": sum(job["wanted"]["memory_mb"] for job in running),
            "gpus": len(machine["gpus"]),
            "gpus_allocated": len(taken),
            "gpu_type": max(types, key=lambda kind: types[kind][0], default=""),
            "gpu_types": [
                {"type": kind, "total": total, "allocated": allocated}
                for kind, (total, allocated) in sorted(types.items())
            ],
            "features": [],
            "reason": "",
            "reason_user": "",
            "boot_s": machine["boot_s"],
            "version": "",
        }
        return Reading(pa.Table.from_pylist([row], schema=NODES))

    def read_partitions(self) -> Reading:
        answer = self._ask()
        machine = answer["machine"]
        tres = _tres(machine["cpus"], machine["memory_mb"], [gpu["type"] for gpu in machine["gpus"]])
        row = {
            "name": PARTITION,
            "state": "UP",
            "default": True,
            "node_names": [machine["name"]],
            "nodes": 1,
            "cpus": machine["cpus"],
            "max_time_s": answer["max_time_s"],
            "max_nodes": 1,
            "qos": "",
            "priority_tier": 1,
            "oversubscribe": "NO",
            "preempt_mode": "OFF",
            "tres": tres,
        }
        return Reading(pa.Table.from_pylist([row], schema=PARTITIONS))

    def read_reservations(self) -> Reading:
        return Reading(RESERVATIONS.empty_table())

    def read_limits(self) -> LimitsReading:
        """One account, whose only member is the Unix user that jobs run as, and one QOS without limits."""
        own = {
            "id": 1,
            "account": ACCOUNT,
            "user": "",
            "parent": "",
            "partition": "",
            "default_account": False,
        }
        common = {"admin_level": "None", "qos": [QOS], "default_qos": QOS}
        member = own | {"id": 2, "user": self._user, "default_account": True}
        qos = {"name": QOS, "description": "This machine", "priority": 0, "flags": []}
        account = {
            "name": ACCOUNT,
            "description": "This machine",
            "organization": "",
            "parent": "",
            "coordinators": [],
        }
        return LimitsReading(
            qos=Reading(pa.Table.from_pylist([qos], schema=QOS_SCHEMA)),
            associations=Reading(pa.Table.from_pylist([own | common, member | common], schema=ASSOCIATIONS)),
            accounts=Reading(pa.Table.from_pylist([account], schema=ACCOUNTS)),
        )

    def _ask(self) -> dict[str, Any]:
        return ask_supervisor(self._socket, {"action": "list"})

    def _jobs(self, jobs: list[dict[str, Any]], machine: Mapping[str, Any]) -> Reading:
        return Reading(pa.Table.from_pylist([self._row(job, machine) for job in jobs], schema=JOBS))

    def _common(self, job: Mapping[str, Any], machine: Mapping[str, Any]) -> dict[str, Any]:
        """What both tables, of the queue and of ended jobs, say alike."""
        wanted = job["wanted"]
        types = {gpu["index"]: gpu["type"] for gpu in machine["gpus"]}
        given = [types.get(index, "") for index in job["gpus"]] or [wanted["gpu_type"]] * wanted["gpus"]
        return {
            "job_id": job["id"],
            "name": job["name"],
            "user": self._user,
            "uid": self._uid,
            "account": ACCOUNT,
            "partition": PARTITION,
            "qos": QOS,
            "submit_s": int(job["submit_s"]),
            "time_limit_s": wanted["time_s"],
            "nodes": 1,
            "node_list": machine["name"] if job["start_s"] else "",
            "cpus": wanted["cpus"],
            "memory_mb": wanted["memory_mb"],
            "gpus": wanted["gpus"],
            "gpu_type": ",".join(sorted({kind for kind in given if kind})),
            "tres": _tres(wanted["cpus"], wanted["memory_mb"], given),
            "exit_code": job["exit_code"],
        }

    def _row(self, job: Mapping[str, Any], machine: Mapping[str, Any]) -> dict[str, Any]:
        pending, running = job["state"] == "PENDING", job["state"] == "RUNNING"
        start_s = job["planned_s"] if pending else job["start_s"]
        limit_s = (job["start_s"] or 0) + job["wanted"]["time_s"]
        end_s = job["end_s"] or (limit_s if running else None)
        return self._common(job, machine) | {
            "label": str(job["id"]),
            "array_pending": 1,
            "reservation": "",
            "state": job["state"],
            "flags": ["COMPLETING"] if running and job["asked_to_end_s"] else [],
            "reason": _reason(job),
            "priority": 0 if job["held"] else 1,
            "eligible_s": int(job["submit_s"]),
            "start_s": int(start_s) if start_s else None,
            "start_expected": pending and start_s is not None,
            "end_s": int(end_s) if end_s else None,
            "dependency": "",
            "features": "",
            "work_dir": job["cwd"],
            "command": job["argv"][0],
            "comment": "",
            "restarts": 0,
        }

    def _ended(self, job: Mapping[str, Any], machine: Mapping[str, Any]) -> dict[str, Any]:
        return self._common(job, machine) | {
            "state": job["state"],
            "cancelled_by": "",
            "start_s": int(job["start_s"]) if job["start_s"] else None,
            "end_s": int(job["end_s"]) if job["end_s"] else None,
            "cpu_used_s": job["cpu_used_s"],
            "memory_peak_mb": job["memory_peak_mb"] or None,
        }


def _reason(job: Mapping[str, Any]) -> str:
    """Slurm's word for why a job waits or ended."""
    if job["state"] == "PENDING":
        return "JobHeldUser" if job["held"] else "Resources" if job["first"] else "Priority"
    ended = {"TIMEOUT": "TimeLimit", "OUT_OF_MEMORY": "OutOfMemory", "NODE_FAIL": "NodeDown"}
    if job["state"] == "FAILED":
        return "NonZeroExitCode" if job["exit_code"].endswith(":0") else "RaisedSignal"
    return ended.get(job["state"], "")


def _tres(cpus: int, memory_mb: int, gpu_types: list[str]) -> str:
    parts = [f"cpu={cpus}", f"mem={memory_mb}M", "node=1"]
    if gpu_types:
        parts.append(f"gres/gpu={len(gpu_types)}")
    parts.extend(f"gres/gpu:{kind}={gpu_types.count(kind)}" for kind in sorted(set(gpu_types)) if kind)
    return ",".join(parts)
