"""The synthetic accounts in a real slurmdbd's database: jobs, steps, associations and the roll-ups for sreport.

Filling takes minutes, so the tables' files are kept in the cache and put into each new cluster's MariaDB whole
(`FLUSH TABLES … FOR EXPORT`, `IMPORT TABLESPACE`).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pymysql

from tests.bench import _jobs
from tests.harness import Cluster

NAME = "bench"
DATABASE = "slurm_acct_db"
FORMAT = 1  # rises with every change of what is filled in here
CACHE = Path(os.environ.get("CARME_CACHE", "/var/cache/carme"))
QOS = {"normal": 1, "high": 2, "low": 3}
STATES = {
    "COMPLETED": 3, "CANCELLED": 4, "FAILED": 5, "TIMEOUT": 6, "NODE_FAIL": 7, "PREEMPTED": 8, "OUT_OF_MEMORY": 11,
    "REQUEUED": 1024,
}  # fmt: skip
BILLED = {1: "cpus", 2: "mem_mb", 4: "nodes", 5: "billing", 1001: "gpus"}  # TRES of the roll-ups
HOURS_BACK_S = 120 * 86_400  # how far back the hourly roll-up is filled, as a site's would be
FILLED = (
    "job_table", "step_table", "assoc_usage_hour_table", "assoc_usage_day_table", "assoc_usage_month_table",
    "usage_hour_table", "usage_day_table", "usage_month_table",
)  # fmt: skip
CLUSTER_CPUS = 40_000

# Columns of the job table and where they come from, over JOBS rows `j`
JOB_COLUMNS = {
    "job_db_inx": "db_inx", "mod_time": "end_s", "account": "account", "cpus_req": "req_cpus",
    "exit_code": "exit_status * 256 + exit_signal", "job_name": "job_name", "id_assoc": "assoc_id",
    "id_array_job": "coalesce(array_job_id, 0)", "id_array_task": "coalesce(array_task_id, 4294967294)",
    "id_job": "job_id", "id_qos": "qos_id", "id_resv": "0", "id_wckey": "0", "id_user": "uid", "id_group": "uid",
    "het_job_id": "0", "het_job_offset": "4294967294", "state_reason_prev": "1", "mem_req": "req_mem_mb",
    "nodelist": "if(node_list = '', 'None assigned', node_list)", "nodes_alloc": "nodes", '"partition"': '"partition"',
    "priority": "1", "state": "state_id", "timelimit": "time_limit_s // 60", "time_submit": "submit_s",
    "time_eligible": "eligible_s", "time_start": "coalesce(start_s, end_s)", "time_end": "end_s",
    "tres_alloc": "coalesce(alloc.ids || if(energy_j is null, '', ',3=' || energy_j), '')", "tres_req": "asked.ids",
    "work_dir": "work_dir", "submit_line": "'sbatch ' || job_name || '.sh'",
}  # fmt: skip
STEP_COLUMNS = {
    "job_db_inx": "db_inx", "exit_code": "0", "id_step": "-5", "nodelist": "node_list", "nodes_alloc": "nodes",
    "state": "3", "step_name": "'batch'", "task_cnt": "1", "time_start": "start_s", "time_end": "end_s",
    "user_sec": "floor(cpu_used_s * 0.95)::bigint", "sys_sec": "floor(cpu_used_s * 0.05)::bigint",
    "tres_alloc": "alloc.ids", "tres_usage_in_max": "'1=0,2=' || (mem_peak_mb * 1048576) || ',6=0,7=0'",
    "tres_usage_in_tot": "'1=0,2=' || (mem_peak_mb * 1048576) || ',6=0,7=0'",
}  # fmt: skip


@contextmanager
def filled(rows: int) -> Iterator[Cluster]:
    """A cluster called `bench` whose slurmdbd holds so many synthetic jobs."""
    with Cluster.up(name=NAME) as cluster:
        fill(cluster, rows)
        yield cluster


def connect(cluster: Cluster) -> Any:
    """The database as its root; `with` it to close it."""
    return pymysql.connect(
        unix_socket=str(cluster.database.socket), user="root", database=DATABASE, autocommit=True, local_infile=True,
        charset="utf8mb4",
    )  # fmt: skip


def fill(cluster: Cluster, rows: int) -> None:
    """Put the accounts in: from the cache, or made now and kept there."""
    with connect(cluster) as link, link.cursor() as ask:
        ask.execute("SET GLOBAL innodb_buffer_pool_size = %s", (2 << 30,))
        ask.execute("SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'")
        keep = CACHE / f"bench-slurmdbd-{rows}-{_key(ask, rows)}"
        data = cluster.folder / "mariadb" / DATABASE
        if not (keep / "complete").exists():
            shutil.rmtree(keep, ignore_errors=True)
            keep.mkdir(parents=True)
            _make(ask, rows)
            _export(ask, data, keep)
        else:
            _import(ask, data, keep, cluster.account("mysql"))
        _associations(ask)
        for table in FILLED:
            ask.execute(f"ANALYZE TABLE `{NAME}_{table}`")


def _key(ask: Any, rows: int) -> str:
    ask.execute("SELECT VERSION()")
    parts = [str(rows), ask.fetchone()[0], Path(_jobs.__file__).read_text(), str(FORMAT)]
    for table in FILLED:
        ask.execute(f"SHOW CREATE TABLE `{NAME}_{table}`")
        parts.append(re.sub(r"AUTO_INCREMENT=\d+", "", ask.fetchone()[1]))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _export(ask: Any, data: Path, keep: Path) -> None:
    ask.execute("FLUSH TABLES " + ", ".join(f"`{NAME}_{table}`" for table in FILLED) + " FOR EXPORT")
    for table in FILLED:
        for ending in ("ibd", "cfg"):
            shutil.copy(data / f"{NAME}_{table}.{ending}", keep)
    ask.execute("UNLOCK TABLES")
    (keep / "complete").touch()


def _import(ask: Any, data: Path, keep: Path, owner: Any) -> None:
    for table in FILLED:
        ask.execute(f"ALTER TABLE `{NAME}_{table}` DISCARD TABLESPACE")
        for ending in ("ibd", "cfg"):
            target = data / f"{NAME}_{table}.{ending}"
            subprocess.run(["cp", "--reflink=auto", keep / target.name, target], check=True)
            os.chown(target, owner.uid, owner.gid)
        ask.execute(f"ALTER TABLE `{NAME}_{table}` IMPORT TABLESPACE")


def _associations(ask: Any) -> None:
    """The tree of accounts and each person in the groups of their jobs, as nested sets.

    Every person in every group would be 26,000 of them: sreport joins all with all and takes minutes.
    """
    ask.execute(f"SELECT DISTINCT id_assoc FROM `{NAME}_job_table`")
    used = {number for (number,) in ask.fetchall()}
    tree = _jobs.accounts().to_pylist()
    below: dict[str | None, list[str]] = {}
    for row in tree:
        below.setdefault(row["parent"], []).append(row["name"])
    people = {
        name: [
            (person * 100 + group, f"user{person:03d}")
            for person in range(_jobs.PEOPLE)
            if person * 100 + group in used
        ]
        for group, name in enumerate(_jobs.account_names())
    }
    rows: list[tuple[object, ...]] = []
    counter = 0

    def visit(account: str, parent: str) -> None:
        nonlocal counter
        counter += 1
        left = counter
        for name in below.get(account, []):
            visit(name, account)
        for number, user in people.get(account, []):
            rows.append((number, user, account, "", counter + 1, counter + 2))
            counter += 2
        counter += 1
        rows.append((10_000_000 + left, "", account, parent, left, counter))

    visit("root", "")
    ask.execute(f"DELETE FROM `{NAME}_assoc_table`")
    ask.executemany(
        f"INSERT INTO `{NAME}_assoc_table` (id_assoc, user, acct, parent_acct, lft, rgt, creation_time, mod_time) "
        "VALUES (%s, %s, %s, %s, %s, %s, 1, 1)",
        rows,
    )
    ask.executemany(
        "REPLACE INTO acct_table (name, description, organization, creation_time) VALUES (%s, %s, %s, 1)",
        [(row["name"], row["description"], row["organization"]) for row in tree],
    )
    ask.executemany(
        "REPLACE INTO user_table (name, admin_level, creation_time) VALUES (%s, 1, 1)",
        [(f"user{person:03d}",) for person in range(_jobs.PEOPLE)],
    )
    ask.executemany(
        "REPLACE INTO qos_table (id, name, creation_time) VALUES (%s, %s, 1)",
        [(number, name) for name, number in QOS.items()],
    )


def _make(ask: Any, rows: int) -> None:
    """Load all tables; their keys are made at the end, at once."""
    with tempfile.TemporaryDirectory(prefix="carme-bench-", dir="/var/tmp") as place:
        folder = Path(place)
        db = duckdb.connect(str(folder / "work.duckdb"), config={"memory_limit": "3GB"})
        db.execute("create table usage_base (assoc_id bigint, start_s bigint, end_s bigint, cpus int, mem_mb bigint, "
                   "nodes int, billing bigint, gpus int)")  # fmt: skip
        keys = {table: _without_keys(ask, f"{NAME}_{table}") for table in ("job_table", "step_table")}
        for jobs in _jobs.job_tables(rows, cluster=NAME):
            _load_jobs(ask, db, jobs, folder)
        for table, made in keys.items():
            ask.execute(f"ALTER TABLE `{NAME}_{table}` {', '.join(f'ADD {key}' for key in made)}")
        for unit in ("month", "day", "hour"):
            _load_usage(ask, db, unit, folder)
        db.close()


def _without_keys(ask: Any, table: str) -> list[str]:
    """Drop a table's secondary keys; gives what makes them again."""
    ask.execute(f"SHOW CREATE TABLE `{table}`")
    keys = [line.strip().rstrip(",") for line in ask.fetchone()[1].splitlines() if re.match(r"\s+(UNIQUE )?KEY ", line)]
    names = [re.search(r"KEY `(\w+)`", key)[1] for key in keys]  # type: ignore[index]
    ask.execute(f"ALTER TABLE `{table}` {', '.join(f'DROP KEY `{name}`' for name in names)}")
    return keys


def _load_jobs(ask: Any, db: duckdb.DuckDBPyConnection, jobs: pa.Table, folder: Path) -> None:
    texts = set(jobs["tres"].unique().to_pylist()) | set(jobs["req_tres"].unique().to_pylist())
    ids = pa.table({"text": list(texts), "ids": [tres_ids(text or "") for text in texts]})
    db.register("rows", jobs)
    db.register("ids", ids)
    db.register("states", pa.table({"name": list(STATES), "state_id": list(STATES.values())}))
    db.register("quality", pa.table({"name": list(QOS), "qos_id": list(QOS.values())}))
    joined = (
        "rows j join states on states.name = j.state join quality on quality.name = j.qos "
        "left join ids alloc on alloc.text = j.tres left join ids asked on asked.text = j.req_tres"
    )
    for table, columns, where in (
        ("job_table", JOB_COLUMNS, "true"),
        ("step_table", STEP_COLUMNS, "start_s is not null"),
    ):
        _copy(ask, db, table=table, columns=columns, source=f"{joined} where {where} order by db_inx", folder=folder)
    db.execute(
        "insert into usage_base select assoc_id, start_s, end_s, cpus, mem_mb, nodes, billing, gpus from rows "
        "where start_s is not null and end_s > start_s"
    )


def _copy(
    ask: Any, db: duckdb.DuckDBPyConnection, *, table: str, columns: dict[str, str], source: str, folder: Path
) -> None:
    path = folder / f"{table}.tsv"
    values = ", ".join(f"{value} as {name}" for name, value in columns.items())
    db.execute(f"copy (select {values} from {source}) to '{path}' (format csv, delimiter '\t', header false)")
    names = ", ".join(f"`{name.strip(chr(34))}`" for name in columns)
    ask.execute(
        f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE `{NAME}_{table}` FIELDS TERMINATED BY '\\t' "
        f"OPTIONALLY ENCLOSED BY '\"' ({names})"
    )
    path.unlink()


def _load_usage(ask: Any, db: duckdb.DuckDBPyConnection, unit: str, folder: Path) -> None:
    """slurmdbd's own sums by association, and the cluster's, as its roll-up would have made them (days in UTC)."""
    since = f"greatest(start_s, {_jobs.UNTIL_S - HOURS_BACK_S})" if unit == "hour" else "start_s"
    sums = ", ".join(
        f"sum({column} * (least(end_s, epoch(begins + interval 1 {unit})::bigint) - "
        f"greatest(start_s, epoch(begins)::bigint)))::bigint as t{number}"
        for number, column in BILLED.items()
    )
    db.execute(
        f"create or replace table part as select assoc_id, epoch(begins)::bigint as time_start, {sums} from (select *, "
        f"unnest(generate_series(date_trunc('{unit}', make_timestamp({since} * 1000000)), "
        f"make_timestamp((end_s - 1) * 1000000), interval 1 {unit})) as begins from usage_base where end_s > {since}) "
        "group by all"
    )
    long = " union all ".join(f"select assoc_id, time_start, {n} as id_tres, t{n} as used from part" for n in BILLED)
    own = {"creation_time": "1", "mod_time": "1", "id": "assoc_id", "id_tres": "id_tres", "time_start": "time_start",
           "alloc_secs": "used"}  # fmt: skip
    source = f"({long}) where used > 0"
    _copy(ask, db, table=f"assoc_usage_{unit}_table", columns=own, source=source, folder=folder)
    length = f"epoch(make_timestamp(time_start * 1000000) + interval 1 {unit})::bigint - time_start"
    whole = {
        "creation_time": "1", "mod_time": "1", "id_tres": "id_tres", "time_start": "time_start",
        "count": str(CLUSTER_CPUS), "alloc_secs": "used",
        "idle_secs": f"greatest(0, {CLUSTER_CPUS} * ({length}) - used)",
    }  # fmt: skip
    total = f"(select id_tres, time_start, sum(used)::bigint as used from ({long}) group by all)"
    _copy(ask, db, table=f"usage_{unit}_table", columns=whole, source=total, folder=folder)


def tres_ids(text: str) -> str:
    """`cpu=8,mem=16G,gres/gpu=1` as slurmdbd keeps it: `1=8,2=16384,1001=1`."""
    numbers = {
        "cpu": 1, "mem": 2, "node": 4, "billing": 5, "gres/gpu": 1001, "gres/gpu:a100": 1002, "gres/gpu:h100": 1003,
    }  # fmt: skip
    parts = []
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        scale = {"M": 1, "G": 1024, "T": 1024**2}.get(value[-1:], 0)
        parts.append((numbers[name], int(value[:-1]) * scale if scale else int(value)))
    return ",".join(f"{number}={count}" for number, count in sorted(parts))
