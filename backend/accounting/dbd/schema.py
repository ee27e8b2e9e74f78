"""Which clusters a database holds and which columns their tables have: asked of the database, never guessed.

slurmdbd's `convert_version` does not tell: it stays the same over several releases.
"""

from __future__ import annotations

from dataclasses import dataclass

from backend.accounting.dbd.connection import Connection, DatabaseRefuses, SourceError

# What every release from 20.11 on has of the tables that are read; anything less is another program's database.
NEEDED = {
    "job_table": frozenset(
        {
            "job_db_inx",
            "account",
            "array_task_pending",
            "cpus_req",
            "exit_code",
            "job_name",
            "id_assoc",
            "id_array_job",
            "id_array_task",
            "id_job",
            "id_qos",
            "id_resv",
            "id_wckey",
            "id_user",
            "id_group",
            "het_job_id",
            "het_job_offset",
            "state_reason_prev",
            "mem_req",
            "nodelist",
            "nodes_alloc",
            "partition",
            "state",
            "timelimit",
            "time_submit",
            "time_eligible",
            "time_start",
            "time_end",
            "time_suspended",
            "wckey",
            "work_dir",
            "tres_alloc",
            "tres_req",
        }
    ),
    "step_table": frozenset(
        {
            "job_db_inx",
            "id_step",
            "user_sec",
            "user_usec",
            "sys_sec",
            "sys_usec",
            "tres_usage_in_max",
        }
    ),
    "assoc_table": frozenset({"id_assoc", "user", "acct", "parent_acct", "deleted"}),
    "suspend_table": frozenset({"job_db_inx", "time_start", "time_end"}),
    "resv_table": frozenset(
        {
            "id_resv",
            "resv_name",
            "assoclist",
            "nodelist",
            "time_start",
            "time_end",
            "tres",
            "unused_wall",
        }
    ),
    "event_table": frozenset({"node_name", "time_start", "time_end", "state", "reason", "tres"}),
    "usage_hour_table": frozenset(
        {
            "id_tres",
            "time_start",
            "count",
            "alloc_secs",
            "down_secs",
            "idle_secs",
        }
    ),
    "last_ran_table": frozenset({"hourly_rollup"}),
    "wckey_table": frozenset({"id_wckey", "wckey_name"}),
}
GLOBAL = {
    "acct_table": frozenset({"name", "description", "organization", "deleted"}),
    "acct_coord_table": frozenset({"acct", "user", "deleted"}),
    "qos_table": frozenset({"id", "name"}),
    "tres_table": frozenset({"id", "type", "name"}),
}


class NotSlurmdbd(SourceError):
    """The database lacks what slurmdbd of release 20.11 or later makes."""


def quoted(name: str) -> str:
    """An identifier, quoted: names of clusters may hold `-`."""
    return "`" + name.replace("`", "``") + "`"


@dataclass(frozen=True)
class Schema:
    """Tables and their columns, by name."""

    database: str
    columns: dict[str, frozenset[str]]

    def table(self, cluster: str, name: str) -> str:
        """A cluster's table, quoted."""
        return quoted(f"{cluster}_{name}")

    def has(self, cluster: str, name: str, column: str) -> bool:
        """Whether a cluster's table has a column."""
        return column in self.columns.get(f"{cluster}_{name}", frozenset())

    def clusters(self) -> tuple[str, ...]:
        """The clusters with accounts, in order of name."""
        suffix = "_job_table"
        found = [name.removesuffix(suffix) for name in self.columns if name.endswith(suffix)]
        return tuple(sorted(name for name in found if f"{name}_assoc_table" in self.columns))

    def check(self, cluster: str) -> None:
        """Raises NotSlurmdbd with what is missing."""
        tables = {f"{cluster}_{name}": needed for name, needed in NEEDED.items()} | GLOBAL
        for table, needed in tables.items():
            missing = needed - self.columns.get(table, frozenset())
            if missing:
                raise NotSlurmdbd(
                    f"The table {table} of {self.database} lacks {', '.join(sorted(missing))}: "
                    "a slurmdbd of release 20.11 or later is needed."
                )


def read_schema(connection: Connection) -> Schema:
    """Raises SourceError, DatabaseRefuses when nothing of slurmdbd is to be seen."""
    found: dict[str, set[str]] = {}
    for table, column in connection.rows(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()"
    ):
        found.setdefault(str(table), set()).add(str(column))
    database = connection.settings.database
    if "tres_table" not in found:
        raise DatabaseRefuses(
            f"In the database {database} nothing of slurmdbd is to be seen: "
            f"GRANT SELECT ON {database}.* to {connection.settings.user}."
        )
    return Schema(database, {table: frozenset(columns) for table, columns in found.items()})
