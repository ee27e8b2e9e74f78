"""Nodes, partitions and reservations, from `scontrol --oneliner show`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from backend.cluster.model import NODES, PARTITIONS, RESERVATIONS
from backend.cluster.protocol import Reading
from backend.cluster.slurm.command import Commands
from backend.cluster.slurm.node_states import UNAVAILABLE_FLAGS, UNAVAILABLE_STATES, node_state
from backend.cluster.slurm.records import KeyValues, records
from backend.cluster.slurm.text import (
    NO_LIMIT,
    NOTHING,
    duration,
    gres_gpus,
    hosts,
    moment,
    plain,
    tres,
    tres_gpus,
    whole,
)

_NODE_KEYS = KeyValues(
    [
        "NodeName",
        "Arch",
        "CoresPerSocket",
        "CPUAlloc",
        "CPUEfctv",
        "CPUTot",
        "CPULoad",
        "AvailableFeatures",
        "ActiveFeatures",
        "Gres",
        "GresDrain",
        "GresUsed",
        "NodeAddr",
        "NodeHostName",
        "Port",
        "Version",
        "OS",
        "RealMemory",
        "AllocMem",
        "FreeMem",
        "Sockets",
        "Boards",
        "MemSpecLimit",
        "CoreSpecCount",
        "CPUSpecList",
        "State",
        "ThreadsPerCore",
        "TmpDisk",
        "Weight",
        "Owner",
        "MCS_label",
        "Partitions",
        "BootTime",
        "SlurmdStartTime",
        "LastBusyTime",
        "ResumeAfterTime",
        "CfgTRES",
        "AllocTRES",
        "CapWatts",
        "CurrentWatts",
        "AveWatts",
        "ExtSensorsJoules",
        "ExtSensorsWatts",
        "ExtSensorsTemp",
        "NextState",
        "InstanceId",
        "InstanceType",
        "ReservationName",
        "Topology",
        "BcastAddr",
        "TLSCertLastRenewal",
        "CertFlags",
    ]
)
_PARTITION_KEYS = KeyValues(
    [
        "PartitionName",
        "AllowGroups",
        "AllowAccounts",
        "DenyAccounts",
        "AllowQos",
        "DenyQos",
        "AllocNodes",
        "Alternate",
        "Default",
        "QoS",
        "DefaultTime",
        "DisableRootJobs",
        "ExclusiveUser",
        "ExclusiveTopo",
        "GraceTime",
        "Hidden",
        "MaxNodes",
        "MaxTime",
        "MinNodes",
        "LLN",
        "MaxCPUsPerNode",
        "MaxCPUsPerSocket",
        "NodeSets",
        "Nodes",
        "PriorityJobFactor",
        "PriorityTier",
        "RootOnly",
        "ReqResv",
        "OverSubscribe",
        "OverTimeLimit",
        "PreemptMode",
        "State",
        "TotalCPUs",
        "TotalNodes",
        "SelectTypeParameters",
        "JobDefaults",
        "DefMemPerCPU",
        "DefMemPerNode",
        "MaxMemPerCPU",
        "MaxMemPerNode",
        "TRES",
        "TRESBillingWeights",
        "ResumeTimeout",
        "SuspendTimeout",
        "SuspendTime",
        "PowerDownOnIdle",
        "Topology",
    ]
)
_RESERVATION_KEYS = KeyValues(
    [
        "ReservationName",
        "StartTime",
        "EndTime",
        "Duration",
        "Nodes",
        "NodeCnt",
        "CoreCnt",
        "Features",
        "PartitionName",
        "Flags",
        "TRES",
        "AllowedPartitions",
        "QOS",
        "Users",
        "Groups",
        "Accounts",
        "Licenses",
        "State",
        "BurstBuffer",
        "Watts",
        "MaxStartDelay",
        "NodeName",
        "CoreIDs",
    ]
)


def read_nodes(commands: Commands) -> Reading:
    """Every node, hidden and FUTURE ones included. Raises SchedulerError."""
    return parse_nodes(commands.run("scontrol", "--all", "--details", "--oneliner", "show", "node"))


def read_partitions(commands: Commands) -> Reading:
    """Every partition, hidden ones included. Raises SchedulerError."""
    return parse_partitions(commands.run("scontrol", "--all", "--oneliner", "show", "partition"))


def read_reservations(commands: Commands) -> Reading:
    """Every reservation. Raises SchedulerError."""
    return parse_reservations(commands.run("scontrol", "--all", "--oneliner", "show", "reservation"))


def parse_nodes(output: str) -> Reading:
    """The table (schema NODES) of `scontrol --oneliner show node`."""
    return _parse(output, _Kind("NodeName", "No nodes in the system", _NODE_KEYS, _node, NODES))


def parse_partitions(output: str) -> Reading:
    """The table (schema PARTITIONS) of `scontrol --oneliner show partition`."""
    none = "No partitions in the system"
    return _parse(output, _Kind("PartitionName", none, _PARTITION_KEYS, _partition, PARTITIONS))


def parse_reservations(output: str) -> Reading:
    """The table (schema RESERVATIONS) of `scontrol --oneliner show reservation`."""
    none = "No reservations in the system"
    return _parse(output, _Kind("ReservationName", none, _RESERVATION_KEYS, _reservation, RESERVATIONS))


@dataclass(frozen=True)
class _Kind:
    """One kind of record: its first key, what scontrol says when there are none, and how it becomes a row."""

    first_key: str
    none: str
    keys: KeyValues
    convert: Callable[[dict[str, str]], dict[str, Any]]
    schema: pa.Schema


def _parse(output: str, kind: _Kind) -> Reading:
    first_key = kind.first_key
    rows: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    found = records(output, first_key)
    if not found and output.strip() and not output.strip().startswith(kind.none):
        problems.append(f"scontrol's answer holds no {first_key}: {output.strip()[:80]!r}")
    for record in found:
        values = kind.keys.read(record)
        name = values.get(first_key, "")
        if not name or any(char.isspace() for char in name) or not plain(values.get("State", "")):
            problems.append(f"a record of scontrol makes no sense: {record[:80]!r}")
        elif name in rows:
            problems.append(f"{first_key} {name[:80]!r} is told twice by scontrol; the first is kept")
        else:
            rows[name] = kind.convert(values)
    return Reading(pa.Table.from_pylist(list(rows.values()), schema=kind.schema), tuple(problems))


_STAMP = re.compile(r"\s*\[([^\[\]@\n]*)@([^\[\]\n]*)\]")


def reason_parts(text: str) -> tuple[str, str, int | None]:
    """Why, who and when of `Reason=bad fan [root@1795351135]`, where further lines follow the stamp."""
    stamps = [match for match in _STAMP.finditer(text) if moment(match[2]) is not None]
    if not stamps:
        return " ".join(plain(text).split()), "", None
    # Slurm stamps the first line: the end of a text of one line, before the rest of a longer one
    stamp = stamps[-1] if not text[stamps[-1].end() :].strip() else stamps[0]
    words = f"{text[: stamp.start()]} {text[stamp.end() :]}"
    return " ".join(words.split()), stamp[1], moment(stamp[2])


def _node(values: dict[str, str]) -> dict[str, Any]:
    state, flags = node_state(values["State"])
    configured, allocated = tres(values.get("CfgTRES", "")), tres(values.get("AllocTRES", ""))
    gpus, used, types = _node_gpus(values, configured, allocated)
    reason, user, since = reason_parts(values.get("Reason", ""))
    cpus = configured.get("cpu") or whole(values.get("CPUTot", "")) or 0
    return {
        "name": values["NodeName"],
        "address": plain(values.get("NodeAddr", "")) or values["NodeName"],
        "state": state,
        "flags": flags,
        "available": state not in UNAVAILABLE_STATES and not UNAVAILABLE_FLAGS.intersection(flags),
        "partitions": _names(values.get("Partitions", "")) or [],
        "cpus": cpus,
        "cpus_allocated": whole(values.get("CPUAlloc", "")) or 0,
        "cpu_load": _load(values.get("CPULoad", "")),
        "memory_mb": configured.get("mem") or whole(values.get("RealMemory", "")) or 0,
        "memory_allocated_mb": whole(values.get("AllocMem", "")) or allocated.get("mem", 0),
        "gpus": gpus,
        "gpus_allocated": used,
        "gpu_type": max(types, key=lambda entry: entry["total"])["type"] if types else "",
        "gpu_types": types,
        "features": _names(values.get("ActiveFeatures", "")) or [],
        "reason": reason,
        "reason_user": user,
        "reason_s": since,
        "boot_s": moment(values.get("BootTime", "")),
        "slurmd_s": moment(values.get("SlurmdStartTime", "")),
        "version": plain(values.get("Version", "")),
    }


def _node_gpus(
    values: dict[str, str], configured: dict[str, int], allocated: dict[str, int]
) -> tuple[int, int, list[dict[str, Any]]]:
    """GPUs, those in use, and both by type. GRES tell the types where the site accounts no typed TRES."""
    by_gres, used_gres = gres_gpus(values.get("Gres", "")), gres_gpus(values.get("GresUsed", ""))
    total, typed = tres_gpus(configured)
    used, typed_used = tres_gpus(allocated)
    totals = by_gres or ({**typed} if typed else ({"": total} if total else {}))
    in_use = used_gres if used_gres else (typed_used or ({} if len(totals) != 1 else dict.fromkeys(totals, used)))
    types = [
        {"type": kind, "total": count, "allocated": min(count, in_use.get(kind, 0))}
        for kind, count in sorted(totals.items())
        if count
    ]
    return sum(totals.values()), max(used, sum(in_use.values())), types


def _load(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _names(text: str) -> list[str] | None:
    """A comma list; None where Slurm says ALL or nothing."""
    return None if text in NOTHING or text == "ALL" else [name for name in text.split(",") if name]


def _limit(text: str) -> int | None:
    return None if text in NO_LIMIT else whole(text)


def _partition(values: dict[str, str]) -> dict[str, Any]:
    names = hosts(values.get("Nodes", ""))
    return {
        "name": values["PartitionName"],
        "state": values["State"],
        "default": values.get("Default") == "YES",
        "node_names": names,
        "nodes": whole(values.get("TotalNodes", "")) or len(names),
        "cpus": whole(values.get("TotalCPUs", "")) or 0,
        "max_time_s": duration(values.get("MaxTime", "")),
        "default_time_s": duration(values.get("DefaultTime", "")),
        "max_nodes": _limit(values.get("MaxNodes", "")),
        "allow_accounts": _names(values.get("AllowAccounts", "ALL")),
        "deny_accounts": _names(values.get("DenyAccounts", "")),
        "allow_groups": _names(values.get("AllowGroups", "ALL")),
        "allow_qos": _names(values.get("AllowQos", "ALL")),
        "qos": plain(values.get("QoS", "")),
        "priority_tier": whole(values.get("PriorityTier", "")),
        "oversubscribe": values.get("OverSubscribe", ""),
        "preempt_mode": values.get("PreemptMode", ""),
        "tres": plain(values.get("TRES", "")),
    }


def _reservation(values: dict[str, str]) -> dict[str, Any]:
    names = hosts(values.get("Nodes", ""))
    return {
        "name": values["ReservationName"],
        "state": values["State"],
        "start_s": moment(values.get("StartTime", "")),
        "end_s": moment(values.get("EndTime", "")),
        "node_list": plain(values.get("Nodes", "")),
        "node_names": names,
        "nodes": whole(values.get("NodeCnt", "")) or len(names),
        "partition": plain(values.get("PartitionName", "")),
        "users": _names(values.get("Users", "")) or [],
        "accounts": _names(values.get("Accounts", "")) or [],
        "flags": _names(values.get("Flags", "")) or [],
        "tres": plain(values.get("TRES", "")),
    }
