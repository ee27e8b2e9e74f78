"""Every attempt of the jobs that had one number: numbers come again when the scheduler's counter wraps."""

from __future__ import annotations

from typing import Any

from backend.accounting.warehouse import Warehouse

MOST = 1000  # a job that is put back again and again has so many attempts, not more that anyone reads


def attempts(warehouse: Warehouse, job_id: int, cluster: str | None = None) -> list[dict[str, Any]]:
    """Rows of `accounting.model.JOBS`, the newest first; at most MOST. Blocks. Raises WarehouseUnusable.

    `(cluster, origin_s)` tells the jobs apart that had the number.
    """
    warehouse.refresh()
    with warehouse.cursor() as rows:
        # Numbers and paths of our own; what was asked goes as parameters.
        text = (
            f"SELECT * FROM ({warehouse.rows_near(job_id, cluster)}) "  # noqa: S608
            f"WHERE job_id = $job_id AND ($cluster IS NULL OR cluster = $cluster) "
            f"ORDER BY submit_s DESC, start_s DESC NULLS FIRST LIMIT {MOST:d}"
        )
        table = rows.sql(text, params={"job_id": job_id, "cluster": cluster}).to_arrow_table()
        found: list[dict[str, Any]] = table.to_pylist()
        return found
