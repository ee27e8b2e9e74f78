"""What the tests of the scheduler side share: captured answers, and small snapshots made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from backend.cluster import JOBS, SCHEMAS, Part, Snapshot
from backend.cluster.slurm.command import Marks

ANSWERS = Path(__file__).parents[1] / "data"
CAPTURED = ANSWERS / "slurm-22.05"
NOW_S = 1_795_353_000


def captured(name: str, of: Path = CAPTURED) -> str:
    """One recorded answer of a real cluster."""
    return (of / f"{name}.txt").read_bytes().decode("utf-8", "replace")


def captured_marks(of: Path = CAPTURED) -> Marks:
    facts = json.loads((of / "marks.json").read_text(encoding="utf-8"))
    return Marks(facts["field"], facts["row"])


def job_row(job_id: int = 1, **more: Any) -> dict[str, Any]:
    """A pending job; `more` overrides."""
    row: dict[str, Any] = {
        "job_id": job_id,
        "label": str(job_id),
        "array_pending": 1,
        "name": f"job{job_id}",
        "user": "ada",
        "uid": 1001,
        "account": "physics",
        "partition": "gpu",
        "qos": "normal",
        "reservation": "",
        "state": "PENDING",
        "flags": [],
        "reason": "Priority",
        "priority": 100,
        "submit_s": NOW_S - 100,
        "start_expected": False,
        "time_limit_s": 3600,
        "nodes": 1,
        "node_list": "",
        "cpus": 1,
        "memory_mb": 1000,
        "gpus": 0,
        "gpu_type": "",
        "tres": "cpu=1,mem=1000M,node=1,billing=1",
        "dependency": "",
        "exit_code": "",
    }
    return dict.fromkeys(JOBS.names) | row | more


def running(job_id: int, **more: Any) -> dict[str, Any]:
    return job_row(job_id, state="RUNNING", reason="", start_s=NOW_S - 50, node_list="n1", **more)


def node_row(name: str = "n1", **more: Any) -> dict[str, Any]:
    """An idle node with 64 CPUs, 256 GB and four A100."""
    row: dict[str, Any] = {
        "name": name,
        "address": name,
        "state": "IDLE",
        "flags": [],
        "available": True,
        "partitions": ["gpu"],
        "cpus": 64,
        "cpus_allocated": 0,
        "memory_mb": 256_000,
        "memory_allocated_mb": 0,
        "gpus": 4,
        "gpus_allocated": 0,
        "gpu_type": "a100",
        "gpu_types": [{"type": "a100", "total": 4, "allocated": 0}],
        "features": [],
        "reason": "",
    }
    return row | more


def partition_row(name: str = "gpu", nodes: tuple[str, ...] = ("n1",), **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": name,
        "state": "UP",
        "default": name == "gpu",
        "node_names": list(nodes),
        "nodes": len(nodes),
        "max_time_s": 86_400,
        "qos": "",
    }
    return row | more


def association_row(account: str, user: str = "", **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "account": account,
        "user": user,
        "parent": "root",
        "partition": "",
        "qos": ["normal"],
    }
    return row | more


def snapshot(**parts: list[dict[str, Any]]) -> Snapshot:
    """A snapshot of these rows, taken at NOW_S."""
    made = {
        name: Part(pa.Table.from_pylist(parts.get(name, []), schema=schema), float(NOW_S), 0.01, 10.0)
        for name, schema in SCHEMAS.items()
    }
    return Snapshot(cluster="test", version=1, **made)
