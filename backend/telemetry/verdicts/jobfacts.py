"""A job as rules want it, from a row of the accounts or of the queue; and how often its like has failed before."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from backend.accounting.warehouse import Warehouse

EARLY_S = 300  # a job that fails sooner has hardly begun
WINDOW_S = 7 * 86400
FAILURES = ("FAILED", "NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY")


def job_facts(
    row: Mapping[str, Any], *, similar_failures: int | None = None, now_s: float | None = None
) -> dict[str, Any]:
    """What rules ask of a job. `row`: of `accounting.model.JOBS`, or of `cluster.model.JOBS` or `ENDED`.

    A running job's time is until now. Suspended seconds count: it held its GPUs and memory all the while.
    """
    facts = {
        name: row.get(name)
        for name in (
            "req_mem_mb", "mem_mb", "cpus", "req_cpus", "gpus", "gpu_type", "time_limit_s", "state", "nodes",
            "partition", "exit_status",
        )
    }  # fmt: skip
    if "memory_mb" in row:
        facts["mem_mb"] = row["memory_mb"]
    if facts["exit_status"] is None:
        status = str(row.get("exit_code") or "").partition(":")[0]
        facts["exit_status"] = int(status) if status.isascii() and status.isdigit() else None
    start_s, end_s = row.get("start_s"), row.get("end_s")
    if row.get("state") in ("RUNNING", "SUSPENDED") or end_s is None:
        end_s = time.time() if now_s is None else now_s  # a running job's end in the queue is that of its limit
    begun = start_s is not None and not row.get("start_expected")
    facts["elapsed_s"] = max(0, end_s - start_s) if begun and start_s is not None else None
    facts["similar_failures"] = similar_failures
    return facts


def similar_failures(warehouse: Warehouse, row: Mapping[str, Any]) -> int:
    """How many earlier jobs of the same person, cluster and name failed early in the week before this one's start.

    An array counts once, and not against its own tasks. `row`: of `accounting.model.JOBS`. Raises WarehouseUnusable.
    """
    start_s = row.get("start_s") or row.get("submit_s")
    if not row.get("job_name") or start_s is None or row.get("uid") is None:
        return 0
    warehouse.refresh()
    with warehouse.cursor() as con:
        found = con.execute(
            "SELECT count(DISTINCT coalesce(array_job_id, job_id)) FROM ended_jobs WHERE cluster = $cluster "
            "AND uid = $uid AND job_name = $name AND submit_s >= $since_s AND end_s <= $until_s "
            "AND end_s - start_s < $early_s AND list_contains($failures, state::VARCHAR) "
            "AND coalesce(array_job_id, job_id) <> $itself",
            {
                "cluster": row["cluster"], "uid": row["uid"], "name": row["job_name"],
                "since_s": start_s - WINDOW_S, "until_s": start_s, "early_s": EARLY_S, "failures": list(FAILURES),
                "itself": row.get("array_job_id") or row["job_id"],
            },
        ).fetchone()  # fmt: skip
    return int(found[0]) if found else 0
