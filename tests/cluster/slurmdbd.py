"""A database such as slurmdbd of any release makes, in the harness's MariaDB, filled by hand."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pymysql

from backend.accounting.dbd import Reader
from config.sections import Slurmdbd
from tests.harness import Cluster

SCHEMAS = Path(__file__).parents[1] / "data/slurmdbd-schemas"
RELEASES = tuple(sorted(path.stem for path in SCHEMAS.glob("*.sql")))
NO_VALUE = 0xFFFF_FFFE
TRES = {
    1: ("cpu", ""), 2: ("mem", ""), 3: ("energy", ""), 4: ("node", ""), 5: ("billing", ""), 6: ("fs", "disk"),
    7: ("vmem", ""), 8: ("pages", ""), 1001: ("gres", "gpu"), 1002: ("gres", "gpu:a100"), 1003: ("gres", "gpu:h100"),
}  # fmt: skip
JOB = {
    "account": "physics", "job_name": "job", "id_assoc": 3, "id_user": 4001, "id_group": 100, "id_qos": 1,
    "nodelist": "n1", "nodes_alloc": 1, "partition": "cpu", "state": 3, "timelimit": 60, "cpus_req": 4,
    "id_array_task": NO_VALUE, "het_job_offset": NO_VALUE, "tres_alloc": "1=4,2=8000,4=1,5=4",
    "tres_req": "1=4,2=8000,4=1,5=4", "work_dir": "/home/ada",
}  # fmt: skip


class Database:
    """One database with one or several clusters' tables. `write` fills in what a row leaves out."""

    def __init__(self, cluster: Cluster, release: str, clusters: tuple[str, ...] = ("my-cluster",)) -> None:
        self.name = f"dbd_{secrets.token_hex(4)}"
        self.clusters = clusters
        self.root = pymysql.connect(
            unix_socket=str(cluster.database.socket), user="root", autocommit=True, charset="utf8mb4", local_infile=True
        )
        self.run(f"CREATE DATABASE `{self.name}`")
        self.run(f"GRANT SELECT ON `{self.name}`.* TO '{cluster.database.user}'@'127.0.0.1'")
        self.root.select_db(self.name)
        self.run("SET sql_mode = ''")
        made: set[str] = set()
        for name in clusters:
            statements = (SCHEMAS / f"{release}.sql").read_text().replace("@c@", name).split(";\n")
            for statement in statements:
                table = statement.partition("CREATE TABLE `")[2].partition("`")[0]
                if table and table not in made:
                    made.add(table)
                    self.run(statement)
        self.settings = Slurmdbd(
            host=cluster.database.host, port=cluster.database.port, socket=None, user=cluster.database.user,
            password_file=None, database=self.name, tls_ca_file=None, clusters=(), password=cluster.database.password,
        )  # fmt: skip
        self._columns: dict[str, set[str]] = {}
        self._names()

    def run(self, sql: str, arguments: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self.root.cursor() as cursor:
            cursor.execute(sql, arguments or None)
            return list(cursor.fetchall())

    def write(self, table: str, **row: object) -> None:
        """Insert a row with the columns this release has."""
        if table not in self._columns:
            self._columns[table] = {str(found[0]) for found in self.run(f"SHOW COLUMNS FROM `{table}`")}
        kept = {name: value for name, value in row.items() if name in self._columns[table]}
        names = ", ".join(f"`{name}`" for name in kept)
        self.run(
            f"INSERT INTO `{table}` ({names}) VALUES ({', '.join(['%s'] * len(kept))})", tuple(kept.values())
        )

    def job(self, key: int, *, cluster: str = "my-cluster", **row: object) -> None:
        """A row of the job table; `key` is its job_db_inx, and its job id where none is given."""
        self.write(f"{cluster}_job_table", **{**JOB, "job_db_inx": key, "id_job": key, **row})

    def reader(self) -> Reader:
        """As the console reads it."""
        return Reader(self.settings)

    def _names(self) -> None:
        for number, (kind, name) in TRES.items():
            self.write("tres_table", id=number, type=kind, name=name)
        for name in ("root", "physics", "astro"):
            self.write("acct_table", name=name, description=f"about {name}", organization="science")
        self.write("acct_coord_table", acct="physics", user="cleo")
        self.write("qos_table", id=1, name="normal")
        self.write("qos_table", id=2, name="high", deleted=1)
        for cluster in self.clusters:
            rows = [(1, "", "root", "", 0), (2, "", "physics", "root", 0), (3, "ada", "physics", "", 0),
                    (4, "", "astro", "physics", 0), (5, "bob", "astro", "", 1)]  # fmt: skip
            for number, user, account, parent, deleted in rows:
                self.write(
                    f"{cluster}_assoc_table", id_assoc=number, user=user, acct=account, parent_acct=parent,
                    deleted=deleted, lineage="/", lft=number, rgt=number,
                )  # fmt: skip
            self.write(f"{cluster}_wckey_table", id_wckey=7, wckey_name="paper", user="ada")
            self.write(
                f"{cluster}_resv_table", id_resv=9, resv_name="course", time_start=1000, time_end=9000, tres="1=8",
                assoclist="3,5", nodelist="n[1-2]", unused_wall=12.5,
            )  # fmt: skip

    def drop(self) -> None:
        self.run(f"DROP DATABASE `{self.name}`")
        self.root.close()


@contextmanager
def database(
    cluster: Cluster, release: str = "22.05", clusters: tuple[str, ...] = ("my-cluster",)
) -> Iterator[Database]:
    """A database for the length of a `with`."""
    made = Database(cluster, release, clusters)
    try:
        yield made
    finally:
        made.drop()


def read_all(reader: Reader, cluster: str = "my-cluster", seen_s: int = 5000) -> tuple[pa.Table, pa.Table]:
    """Every row, ended and open, as the reader gives it."""
    batches = list(reader.load(cluster, 0, 2**64 - 1, seen_s))
    batches += list(reader.rows(cluster, reader.open_keys(cluster), seen_s))
    return (
        pa.concat_tables([batch.jobs for batch in batches]).unify_dictionaries().combine_chunks(),
        pa.concat_tables([batch.suspends for batch in batches]).unify_dictionaries().combine_chunks(),
    )


def by_key(jobs: pa.Table) -> Mapping[int, dict[str, Any]]:
    """Rows by db_inx."""
    return {row["db_inx"]: row for row in jobs.to_pylist()}
