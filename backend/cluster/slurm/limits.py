"""Accounts, associations and QOS from `sacctmgr`, with their use now from `scontrol show assoc_mgr`."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from backend.cluster.model import ACCOUNTS, ASSOCIATIONS, QOS
from backend.cluster.protocol import LimitsReading, Reading, SchedulerError
from backend.cluster.slurm.command import Commands
from backend.cluster.slurm.records import records
from backend.cluster.slurm.text import duration, plain, tres, whole

QOS_FIELDS = (
    "Name",
    "Priority",
    "Flags",
    "MaxWall",
    "MaxTRESPerJob",
    "MaxTRESPerNode",
    "MaxTRESPerUser",
    "MaxTRESPerAccount",
    "MaxJobsPerUser",
    "MaxSubmitJobsPerUser",
    "MaxJobsPerAccount",
    "MaxSubmitJobsPerAccount",
    "GrpTRES",
    "GrpJobs",
    "GrpSubmit",
    "GrpWall",
    "MinTRESPerJob",
)
ASSOCIATION_FIELDS = (
    "ID",
    "Account",
    "User",
    "ParentName",
    "Partition",
    "DefaultQOS",
    "QOS",
    "MaxWall",
    "MaxTRES",
    "MaxJobs",
    "MaxSubmit",
    "GrpTRES",
    "GrpJobs",
    "GrpSubmit",
)
USER_FIELDS = ("User", "DefaultAccount", "AdminLevel")
COORDINATOR_FIELDS = ("Account", "Coordinators")
# Free texts, so in columns of a fixed number of bytes: no text can then look like another column or row
DESCRIPTION_COLUMNS = (("Account", 100), ("Description", 200), ("Organization", 100))
QOS_DESCRIPTION_COLUMNS = (("Name", 100), ("Description", 200))

NO_ACCOUNTING = "not running a supported accounting_storage plugin"


def read_limits(commands: Commands, cluster: str) -> LimitsReading:
    """All three tables; empty ones where the site keeps no accounting. Raises SchedulerError."""
    try:
        associations = _rows(commands, "association", ASSOCIATION_FIELDS, f"cluster={cluster}")
    except SchedulerError as error:
        if NO_ACCOUNTING in str(error):
            empty = [Reading(schema.empty_table()) for schema in (QOS, ASSOCIATIONS, ACCOUNTS)]
            return LimitsReading(*empty)
        raise
    qos = _rows(commands, "qos", QOS_FIELDS)
    users = _rows(commands, "user", USER_FIELDS)
    coordinators = _rows(commands, "account", COORDINATOR_FIELDS, "withcoord")
    descriptions = _columns(commands, "account", DESCRIPTION_COLUMNS)
    qos_descriptions = _columns(commands, "qos", QOS_DESCRIPTION_COLUMNS)
    use = parse_use(commands.run("scontrol", "--oneliner", "show", "assoc_mgr", "flags=assoc,qos"))
    return LimitsReading(
        qos=_qos(qos, {row["Name"]: row["Description"] for row in qos_descriptions}, use),
        associations=_associations(associations, users, use),
        accounts=_accounts(descriptions, coordinators, associations),
    )


class Rows(list[dict[str, str]]):
    """Rows by field name, and the lines that were none."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []


def _rows(commands: Commands, what: str, fields: tuple[str, ...], *conditions: str) -> Rows:
    output = commands.run(
        "sacctmgr",
        "--noheader",
        "--parsable2",
        "--readonly",
        "show",
        what,
        *conditions,
        f"format={','.join(fields)}",
    )
    return parse_rows(output, what, fields)


def parse_rows(output: str, what: str, fields: tuple[str, ...]) -> Rows:
    """`sacctmgr --parsable2` of fields that are names, numbers and TRES; a line of another shape is named."""
    rows = Rows()
    for number, line in enumerate(output.split("\n"), start=1):
        if not line:
            continue
        values = line.split("|")
        if len(values) != len(fields) or any(char < " " for char in line):
            rows.problems.append(f"line {number} of sacctmgr show {what} has another shape: {line[:80]!r}")
        else:
            rows.append(dict(zip(fields, values, strict=True)))
    return rows


def _columns(commands: Commands, what: str, columns: tuple[tuple[str, int], ...]) -> Rows:
    wanted = ",".join(f"{name}%{width}" for name, width in columns)
    output = commands.run_bytes("sacctmgr", "--noheader", "--readonly", "show", what, f"format={wanted}")
    return parse_columns(output, what, columns)


def parse_columns(output: bytes, what: str, columns: tuple[tuple[str, int], ...]) -> Rows:
    """`sacctmgr` with `%width`: each row has the same number of bytes, whatever the texts hold."""
    rows = Rows()
    length = sum(width + 1 for _, width in columns) + 1
    for start in range(0, len(output), length):
        row = output[start : start + length]
        if len(row) != length or not row.endswith(b"\n"):
            rows.problems.append(f"sacctmgr show {what} is out of step at byte {start}: {row[:80]!r}")
            return rows
        values: dict[str, str] = {}
        at = 0
        for name, width in columns:
            values[name] = row[at : at + width].decode("utf-8", "replace").strip()
            at += width + 1
        rows.append(values)
    return rows


# -- use -------------------------------------------------------------------------------------------


_USED = re.compile(r"(?P<key>[^=,\s(]+)=(?:N|\d+)\((?P<used>\d+)\)")


class Use:
    """What is in use now: TRES text and running jobs, by association id and by QOS name."""

    def __init__(self) -> None:
        self.associations: dict[int, tuple[str, int | None]] = {}
        self.qos: dict[str, tuple[str, int | None]] = {}


def parse_use(output: str) -> Use:
    """`scontrol --oneliner show assoc_mgr`: `GrpTRES=cpu=N(13),gres/gpu=8(6)` holds limit and use."""
    use = Use()
    for record in records(output, "ClusterName"):
        number = re.search(r"\sID=(\d+)\s", record)
        if number:
            use.associations[int(number[1])] = _use_of(record.partition("\n")[0])
    for record in records(output, "QOS"):
        name = re.match(r"QOS=(\S+)\(\d+\)\s", record)
        if name:
            use.qos[name[1]] = _use_of(record.partition("\n")[0].partition("Account Limits=")[0])
    return use


def _use_of(record: str) -> tuple[str, int | None]:
    found = re.search(r"\sGrpTRES=(\S*)", record)
    used = [(match["key"], match["used"]) for match in _USED.finditer(found[1] if found else "")]
    text = ",".join(f"{key}={number}M" if key == "mem" else f"{key}={number}" for key, number in used if number != "0")
    jobs = re.search(r"\sGrpJobs=(?:N|\d+)\((\d+)\)", record)
    return text, int(jobs[1]) if jobs else None


# -- tables ----------------------------------------------------------------------------------------


def _qos(rows: Rows, descriptions: dict[str, str], use: Use) -> Reading:
    made = []
    for row in rows:
        used, jobs = use.qos.get(row["Name"], (None, None))
        made.append(
            {
                "name": row["Name"],
                "description": descriptions.get(row["Name"], ""),
                "priority": whole(row["Priority"]) or 0,
                "flags": _list(row["Flags"]),
                "max_wall_s": _wall(row["MaxWall"]),
                "max_tres_per_job": _tres(row["MaxTRESPerJob"]),
                "max_tres_per_node": _tres(row["MaxTRESPerNode"]),
                "max_tres_per_user": _tres(row["MaxTRESPerUser"]),
                "max_tres_per_account": _tres(row["MaxTRESPerAccount"]),
                "max_jobs_per_user": whole(row["MaxJobsPerUser"]),
                "max_submit_per_user": whole(row["MaxSubmitJobsPerUser"]),
                "max_jobs_per_account": whole(row["MaxJobsPerAccount"]),
                "max_submit_per_account": whole(row["MaxSubmitJobsPerAccount"]),
                "group_tres": _tres(row["GrpTRES"]),
                "group_jobs": whole(row["GrpJobs"]),
                "group_submit": whole(row["GrpSubmit"]),
                "group_wall_s": _wall(row["GrpWall"]),
                "min_tres_per_job": _tres(row["MinTRESPerJob"]),
                "usage_tres": used,
                "usage_jobs": jobs,
            }
        )
    return Reading(pa.Table.from_pylist(made, schema=QOS), tuple(rows.problems))


def _associations(rows: Rows, users: Rows, use: Use) -> Reading:
    people = {row["User"]: row for row in users}
    made = []
    for row in rows:
        number = whole(row["ID"])
        person = people.get(row["User"], {})
        used, jobs = use.associations.get(number or 0, (None, None))
        made.append(
            {
                "id": number,
                "account": row["Account"],
                "user": row["User"],
                "parent": row["ParentName"],
                "partition": row["Partition"],
                "default_account": bool(row["User"]) and person.get("DefaultAccount") == row["Account"],
                "admin_level": plain(person.get("AdminLevel", "")) or "None",
                "qos": _list(row["QOS"]),
                "default_qos": row["DefaultQOS"],
                "max_wall_s": _wall(row["MaxWall"]),
                "max_tres_per_job": _tres(row["MaxTRES"]),
                "max_jobs": whole(row["MaxJobs"]),
                "max_submit": whole(row["MaxSubmit"]),
                "group_tres": _tres(row["GrpTRES"]),
                "group_jobs": whole(row["GrpJobs"]),
                "group_submit": whole(row["GrpSubmit"]),
                "usage_tres": used,
                "usage_jobs": jobs,
            }
        )
    return Reading(pa.Table.from_pylist(made, schema=ASSOCIATIONS), (*rows.problems, *users.problems))


def _accounts(descriptions: Rows, coordinators: Rows, associations: Rows) -> Reading:
    """The accounts of this cluster: those with an association of their own here."""
    texts = {row["Account"]: row for row in descriptions}
    leaders = {row["Account"]: _list(row["Coordinators"]) for row in coordinators}
    made: list[dict[str, Any]] = [
        {
            "name": row["Account"],
            "description": texts.get(row["Account"], {}).get("Description", ""),
            "organization": texts.get(row["Account"], {}).get("Organization", ""),
            "parent": row["ParentName"],
            "coordinators": leaders.get(row["Account"], []),
        }
        for row in associations
        if not row["User"]
    ]
    return Reading(pa.Table.from_pylist(made, schema=ACCOUNTS), (*descriptions.problems, *coordinators.problems))


def _list(text: str) -> list[str]:
    return [item for item in text.split(",") if item]


def _tres(text: str) -> str | None:
    """A TRES limit as it stands; None when nothing is limited."""
    return text if tres(text) else None


def _wall(text: str) -> int | None:
    return duration(text)
