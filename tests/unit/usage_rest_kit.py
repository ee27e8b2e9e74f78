"""A few jobs of three people in the warehouse of a data folder.

ada coordinates `physics`, which has a part `lasers`. In November 2026: ada 2 h, eve (physics) 3 h, leo (lasers) 5 h,
bob (biology) 7 h, each on 2 CPUs, on the 3rd; and ada 1 h on the 4th.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from backend.accounting.model import ACCOUNTS, JOBS
from backend.accounting.warehouse import Warehouse
from tests.unit.usage_kit import at, job

HOSTILE = 'a"b|c\n<b>\u202egnp,=1+1'
HOUR_S = 3600
DAY_S = at("2026-11-03")
UIDS = {"ada": 1001, "eve": 1002, "leo": 1003, "bob": 1004}


def row(number: int, user: str, account: str, hours: int, day: int = 0, **more: Any) -> dict[str, Any]:
    start_s = DAY_S + day * 86400 + 3600
    return job(
        number, start_s, start_s + hours * HOUR_S, submit_s=start_s - 600, user=user, uid=UIDS[user], account=account,
        cpus=2, db_inx=9_000_000_000_000_000_001 + number, cluster="tiny", job_name=HOSTILE, **more,
    )  # fmt: skip


def fill(data_dir: Path, zone: str = "UTC") -> None:
    rows = [
        row(1, "ada", "physics", 2),
        row(2, "eve", "physics", 3),
        row(3, "leo", "lasers", 5),
        row(4, "bob", "biology", 7),
        row(5, "ada", "physics", 1, day=1),
    ]
    accounts = [
        {"name": name, "parent": parent, "description": "", "organization": "", "deleted": False, "coordinators": []}
        for name, parent in (("root", None), ("physics", "root"), ("lasers", "physics"), ("biology", "root"))
    ]
    with Warehouse.write(data_dir / "accounting", zone=zone) as writer:
        writer.upsert(pa.Table.from_pylist(rows, schema=_plain(JOBS)).cast(JOBS), None, cluster="tiny")
        writer.put_table("tiny", "accounts", pa.Table.from_pylist(accounts, schema=ACCOUNTS))
        writer.set_state("tiny", source="sacct", synced_s=at("2026-11-05"))
        writer.commit()


def _plain(schema: pa.Schema) -> pa.Schema:
    return pa.schema([(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in schema])
