"""Whether a request would find room at this moment: a look at the nodes, not the scheduler's promise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backend.cluster.model import Snapshot


@dataclass(frozen=True)
class FitRequest:
    """Room that is looked for. `gpus`, `cpus` and `memory_mb` are for each node; "" and 0 ask for nothing."""

    partition: str = ""  # "" : any that is up; several with commas
    gpus: int = 0
    gpu_type: str = ""
    cpus: int = 1
    memory_mb: int = 0
    nodes: int = 1
    reservation: str = ""


@dataclass(frozen=True)
class Fit:
    """`nodes_now`: nodes with room now, of the best partition; `partitions`: those where all of it fits."""

    nodes_now: int
    partitions: tuple[str, ...]
    nodes_ever: int = 0  # nodes large enough when empty, whatever their state

    @property
    def fits(self) -> bool:
        return bool(self.partitions)


def fits_now(snapshot: Snapshot, request: FitRequest) -> Fit:
    """Count the nodes with room. Reserved ones count only for a request that names the reservation."""
    wanted = {name for name in request.partition.split(",") if name}
    inside = _reserved_for(snapshot, request.reservation)
    nodes = {node["name"]: node for node in snapshot.nodes.rows()}
    roomy = {name for name, node in nodes.items() if _open(node, inside) and _has_room(node, request)}
    large = {name for name, node in nodes.items() if _is_large(node, request)}
    best = ever = 0
    partitions = []
    for partition in snapshot.partitions.rows():
        if wanted and partition["name"] not in wanted:
            continue
        members = set(partition["node_names"] or [])
        ever = max(ever, len(members & large))
        if partition["state"] != "UP":
            continue
        count = len(members & roomy)
        best = max(best, count)
        limit = partition["max_nodes"]
        if count >= max(1, request.nodes) and (limit is None or request.nodes <= limit):
            partitions.append(partition["name"])
    return Fit(nodes_now=best, partitions=tuple(partitions), nodes_ever=ever)


def _reserved_for(snapshot: Snapshot, reservation: str) -> set[str] | None:
    """The nodes of the named reservation; None when none is named."""
    if not reservation:
        return None
    for row in snapshot.reservations.rows():
        if row["name"] == reservation:
            return set(row["node_names"] or []) if row["state"] == "ACTIVE" else set()
    return set()


def _open(node: dict[str, Any], inside: set[str] | None) -> bool:
    if inside is not None:
        return node["available"] and node["name"] in inside
    return node["available"] and "RESERVED" not in node["flags"]


def _has_room(node: dict[str, Any], request: FitRequest) -> bool:
    return (
        node["cpus"] - node["cpus_allocated"] >= max(1, request.cpus)
        and node["memory_mb"] - node["memory_allocated_mb"] >= request.memory_mb
        and _gpus(node, request.gpu_type, free=True) >= request.gpus
    )


def _is_large(node: dict[str, Any], request: FitRequest) -> bool:
    return (
        node["cpus"] >= max(1, request.cpus)
        and node["memory_mb"] >= request.memory_mb
        and _gpus(node, request.gpu_type, free=False) >= request.gpus
    )


def _gpus(node: dict[str, Any], kind: str, *, free: bool) -> int:
    if not kind:
        return int(node["gpus"] - (node["gpus_allocated"] if free else 0))
    return sum(
        entry["total"] - (entry["allocated"] if free else 0) for entry in node["gpu_types"] if entry["type"] == kind
    )
