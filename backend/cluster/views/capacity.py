"""What the cluster has, what is in use and what is free: by GPU model, in all, by node and by partition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from backend.cluster.model import Snapshot

LIVE = pa.array(["PENDING", "RUNNING", "SUSPENDED"])
UNTYPED = "gpu"  # what GPUs without a type are called

# What a node is to a person who looks for room; `node_kind` gives one of these
KINDS = (
    "free",
    "mixed",
    "full",
    "reserved",
    "planned",
    "draining",
    "drained",
    "maintenance",
    "asleep",
    "down",
    "unknown",
)


@dataclass(frozen=True)
class GpuModel:
    """One model's GPUs: total = allocated + free + reserved + down (nodes that take no jobs now)."""

    type: str
    total: int
    allocated: int
    free: int
    down: int
    reserved: int = 0


@dataclass(frozen=True)
class Totals:
    """The whole cluster. `free` and `idle` leave out nodes that take no jobs or are reserved."""

    nodes: int
    nodes_available: int
    nodes_idle: int
    nodes_down: int  # down, not responding, drained, in maintenance, ...
    cpus: int
    cpus_allocated: int
    cpus_free: int
    memory_mb: int
    memory_allocated_mb: int
    gpus: int
    gpus_allocated: int
    gpus_free: int


@dataclass(frozen=True)
class GpuTile:
    """One GPU of a node, for the map."""

    type: str
    used: bool


@dataclass(frozen=True)
class NodeTile:
    """One node of the map. `kind` is one of KINDS; `label` is its state as Slurm writes it."""

    name: str
    kind: str
    label: str
    available: bool
    partitions: tuple[str, ...]
    cpus: int
    cpus_allocated: int
    memory_mb: int
    memory_allocated_mb: int
    gpus: tuple[GpuTile, ...]
    reason: str


@dataclass(frozen=True)
class PartitionLoad:
    """One partition's size, use and queue. `facts` is its row of the snapshot (limits, who may use it)."""

    name: str
    state: str
    default: bool
    nodes: int
    nodes_available: int
    nodes_idle: int
    cpus: int
    cpus_allocated: int
    gpus: int
    gpus_allocated: int
    running: int
    pending: int
    facts: Mapping[str, Any]


def node_kind(state: str, flags: list[str]) -> str:
    """A node's state in one of KINDS; what hinders most comes first."""
    has = set(flags)
    busy = state in ("MIXED", "ALLOCATED") or "COMPLETING" in has
    found = (
        (
            "down",
            state in ("DOWN", "ERROR") or bool(has & {"NOT_RESPONDING", "FAIL", "INVALID_REG", "BLOCKED"}),
        ),
        ("maintenance", "MAINTENANCE" in has),
        (
            "draining" if busy else "drained",
            bool(has & {"DRAIN", "REBOOT_ISSUED", "POWERING_DOWN", "POWER_DOWN"}),
        ),
        ("unknown", state not in ("IDLE", "MIXED", "ALLOCATED")),
        ("full", state == "ALLOCATED"),
        ("reserved", "RESERVED" in has),
        ("mixed", busy),
        ("asleep", bool(has & {"POWERED_DOWN", "POWERING_UP"})),
        ("planned", "PLANNED" in has),
    )
    return next((kind for kind, holds in found if holds), "free")


def gpus_by_model(snapshot: Snapshot) -> list[GpuModel]:
    """Every GPU model, the most numerous first."""
    counts: dict[str, Counter[str]] = {}
    for node in _columns(snapshot, "state", "flags", "available", "gpu_types"):
        for entry in node["gpu_types"]:
            count = counts.setdefault(entry["type"] or UNTYPED, Counter())
            rest = entry["total"] - entry["allocated"]
            place = "down" if not node["available"] else "reserved" if "RESERVED" in node["flags"] else "free"
            count.update({"total": entry["total"], "allocated": entry["allocated"], place: rest})
    models = [
        GpuModel(kind, count["total"], count["allocated"], count["free"], count["down"], count["reserved"])
        for kind, count in counts.items()
    ]
    return sorted(models, key=lambda model: (-model.total, model.type))


def totals(snapshot: Snapshot) -> Totals:
    """The sums over all nodes."""
    names = ("cpus", "cpus_allocated", "memory_mb", "memory_allocated_mb", "gpus", "gpus_allocated")
    sums: Counter[str] = Counter()
    for node in _columns(snapshot, "state", "flags", "available", *names):
        sums.update({name: node[name] or 0 for name in names})
        sums["nodes"] += 1
        if not node["available"]:
            sums["nodes_down"] += 1
            continue
        sums["nodes_available"] += 1
        if "RESERVED" in node["flags"]:
            continue
        sums["nodes_idle"] += node["state"] == "IDLE"
        sums["cpus_free"] += max(0, node["cpus"] - node["cpus_allocated"])
        sums["gpus_free"] += max(0, node["gpus"] - node["gpus_allocated"])
    return Totals(**{name: sums[name] for name in Totals.__dataclass_fields__})


def node_tiles(snapshot: Snapshot) -> list[NodeTile]:
    """The nodes as a map shows them, in the scheduler's order."""
    return [_tile(node) for node in snapshot.nodes.rows()]


def _tile(node: dict[str, Any]) -> NodeTile:
    gpus = [
        GpuTile(entry["type"] or UNTYPED, index < entry["allocated"])
        for entry in node["gpu_types"]
        for index in range(min(entry["total"], 256))
    ]
    return NodeTile(
        name=node["name"],
        kind=node_kind(node["state"], node["flags"]),
        label="+".join([node["state"], *node["flags"]]),
        available=node["available"],
        partitions=tuple(node["partitions"]),
        cpus=node["cpus"],
        cpus_allocated=node["cpus_allocated"],
        memory_mb=node["memory_mb"],
        memory_allocated_mb=node["memory_allocated_mb"],
        gpus=tuple(gpus),
        reason=node["reason"],
    )


def partition_loads(snapshot: Snapshot) -> list[PartitionLoad]:
    """Every partition with its use and its queue; a job pending in several counts in each."""
    nodes = {
        node["name"]: node
        for node in _columns(
            snapshot,
            "name",
            "state",
            "flags",
            "available",
            "cpus",
            "cpus_allocated",
            "gpus",
            "gpus_allocated",
        )
    }
    queue = _queue_by_partition(snapshot)
    return [_load(row, nodes, queue) for row in snapshot.partitions.rows()]


def _load(row: dict[str, Any], nodes: dict[str, dict[str, Any]], queue: dict[str, Counter[str]]) -> PartitionLoad:
    members = [nodes[name] for name in row["node_names"] or [] if name in nodes]
    here = queue.get(row["name"], Counter())
    up = [node for node in members if node["available"]]
    return PartitionLoad(
        name=row["name"],
        state=row["state"],
        default=row["default"],
        nodes=len(members),
        nodes_available=len(up),
        nodes_idle=sum(node["state"] == "IDLE" and "RESERVED" not in node["flags"] for node in up),
        cpus=sum(node["cpus"] for node in members),
        cpus_allocated=sum(node["cpus_allocated"] for node in members),
        gpus=sum(node["gpus"] for node in members),
        gpus_allocated=sum(node["gpus_allocated"] for node in members),
        running=here["RUNNING"],
        pending=here["PENDING"],
        facts=row,
    )


def _queue_by_partition(snapshot: Snapshot) -> dict[str, Counter[str]]:
    jobs = snapshot.jobs.table
    tasks = jobs.select(["partition", "state", "array_pending"]).filter(pc.is_in(jobs["state"], value_set=LIVE))
    queue: dict[str, Counter[str]] = {}
    for entry in tasks.group_by(["partition", "state"]).aggregate([("array_pending", "sum")]).to_pylist():
        state = "PENDING" if entry["state"] == "PENDING" else "RUNNING"
        for name in entry["partition"].split(","):
            queue.setdefault(name, Counter())[state] += entry["array_pending_sum"]
    return queue


def _columns(snapshot: Snapshot, *names: str) -> list[dict[str, Any]]:
    return snapshot.nodes.table.select(list(names)).to_pylist()
