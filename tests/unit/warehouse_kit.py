"""Rows of accounts for tests, in few words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from backend.accounting.model import JOBS, SUSPENDS
from backend.accounting.warehouse import Warehouse

T0 = 1_767_225_600  # 2026-01-01 UTC
ZONE = "Europe/Berlin"


def job(job_id: int, submit_s: int = T0, **changes: Any) -> dict[str, Any]:
    """One attempt that ran for 100 s on 2 CPUs, as slurmdbd tells it, with changes."""
    row: dict[str, Any] = dict.fromkeys(JOBS.names)
    row.update(
        cluster="c1", job_id=job_id, submit_s=submit_s, eligible_s=submit_s, start_s=submit_s + 10,
        end_s=submit_s + 110, state="COMPLETED", user="ada", uid=1001, account="physics", partition="short",
        job_name="run", nodes=1, cpus=2, mem_mb=4000, gpus=0, billing=2, suspended_s=0, array_pending=0,
        source="slurmdbd", gone=False,
    )  # fmt: skip
    row.update(changes)
    return row


def waiting(job_id: int, submit_s: int = T0, **changes: Any) -> dict[str, Any]:
    """One that waits."""
    open_row = {"start_s": None, "end_s": None, "seen_s": submit_s + 5, "state": "PENDING", "nodes": 0, "cpus": 0}
    return job(job_id, submit_s, **{**open_row, **changes})


def jobs(*rows: Mapping[str, Any]) -> pa.Table:
    """Rows as a table, schema JOBS."""
    return pa.Table.from_pylist(list(rows), schema=JOBS)


def suspensions(*rows: tuple[int, int, int, int | None]) -> pa.Table:
    """(job_id, submit_s, from_s, to_s) of cluster c1."""
    names = ("job_id", "submit_s", "from_s", "to_s")
    found = [{"cluster": "c1", **dict(zip(names, row, strict=True))} for row in rows]
    return pa.Table.from_pylist(found, schema=SUSPENDS)


def read(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask a warehouse."""
    warehouse = Warehouse(folder, memory_mb=256)
    try:
        with warehouse.cursor() as cursor:
            found: list[tuple[Any, ...]] = cursor.sql(sql).fetchall()
            return found
    finally:
        warehouse.close()


def put(folder: Path, *rows: Mapping[str, Any], **options: Any) -> None:
    """Put rows of cluster c1 in, and commit."""
    with Warehouse.write(folder, ZONE) as writer:
        writer.upsert(jobs(*rows), cluster="c1", **options)
        writer.commit()
