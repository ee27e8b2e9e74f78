"""Jobs of some years for the history: a real warehouse in a folder, and telemetry that knows what the test says.

- `fill(folder, rows)`: the warehouse, with the accounts root > physics > lasers, root > biology
- `Footprints(rows)`: telemetry that has these footprints, each a few columns of FOOTPRINTS
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from backend.accounting.model import ACCOUNTS, JOBS
from backend.accounting.warehouse import Warehouse
from backend.telemetry import FOOTPRINTS, JobRef, Spark, TelemetryUnusable
from tests.unit.usage_kit import at

HOSTILE = "a|b\nc<script>alert(1)</script>\u202egnp\t%_'\"\\"
GPU_LINE = (10.0, 20.0, 70.0, 90.0, 85.0, None, 92.0, 88.0, 40.0, 90.0)
UIDS = {"ada": 50001, "bob": 50002, "cleo": 50003, "eve": 50005, "leo": 50006}


def plain(schema: pa.Schema) -> pa.Schema:
    return pa.schema([(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in schema])


def fill(folder: Path, rows: Iterable[Mapping[str, Any]], cluster: str = "c", synced: str = "2026-11-05") -> None:
    """`folder`: of the accounts. Each batch of rows is one commit, so that there are several files."""
    accounts = [
        {"name": name, "parent": parent, "description": "", "organization": "", "deleted": False, "coordinators": []}
        for name, parent in (("root", None), ("physics", "root"), ("lasers", "physics"), ("biology", "root"))
    ]
    with Warehouse.write(folder, zone="UTC") as writer:
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=plain(JOBS)).cast(JOBS)
        writer.upsert(table, None, cluster=cluster)
        writer.put_table(cluster, "accounts", pa.Table.from_pylist(accounts, schema=ACCOUNTS))
        writer.set_state(cluster, source="slurmdbd", synced_s=at(synced))
        writer.commit()


class Footprints:
    """`down`: why nothing can be read. Counts in `asked` what it is asked, by name."""

    def __init__(self, rows: Iterable[Mapping[str, Any]] = (), down: str = "", lists_jobs: bool = True) -> None:
        self.down = down
        self.lists_jobs = lists_jobs
        self.asked: list[tuple[str, Any]] = []
        filled = [{**dict.fromkeys(FOOTPRINTS.names), "cluster": "c", **row} for row in rows]
        self.table = pa.Table.from_pylist(filled, schema=FOOTPRINTS)

    def footprints_of(
        self, clusters: Collection[str], since_s: int, until_s: int, columns: Sequence[str] = FOOTPRINTS.names
    ) -> pa.Table:
        self._look("footprints_of", (tuple(clusters), since_s, until_s))
        rows = [
            row
            for row in self.table.to_pylist()
            if row["cluster"] in clusters and (row["end_s"] is None or since_s <= row["end_s"] < until_s)
        ]
        return pa.Table.from_pylist(rows, schema=FOOTPRINTS).select(list(columns))

    def footprints(self, jobs: Sequence[JobRef]) -> pa.Table:
        self._look("footprints", tuple(jobs))
        wanted = {(job.cluster, job.job_id, job.start_s) for job in jobs}
        rows = [row for row in self.table.to_pylist() if (row["cluster"], row["job_id"], row["start_s"]) in wanted]
        return pa.Table.from_pylist(rows, schema=FOOTPRINTS)

    def sparks(self, jobs: Sequence[JobRef], points: int = 32) -> dict[JobRef, Spark]:
        self._look("sparks", tuple(jobs))
        known = {(row["cluster"], row["job_id"], row["start_s"]) for row in self.table.to_pylist()}
        return {
            job: Spark(job.start_s, 60, GPU_LINE, (50.0, 60.0, 70.0), (20.0, 20.0, 30.0), job.start_s + 180, 10)
            for job in jobs
            if (job.cluster, job.job_id, job.start_s) in known
        }

    def _look(self, what: str, of: Any) -> None:
        self.asked.append((what, of))
        if self.down:
            raise TelemetryUnusable(self.down)
