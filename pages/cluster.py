"""Cluster: totals, node map and table, partitions with limits and load, reservations, one node's detail."""

from __future__ import annotations

from typing import Any

from backend.cluster.views import jobs_on_node, node_kind, partition_loads
from backend.identity import Viewer, policy
from backend.services import Services
from pages.parts.desk import Action, Desk, Refused, text
from pages.parts.jobrows import job_row
from pages.parts.topics import Message, Topic

MAP_COLUMNS = (
    "name", "state", "flags", "partitions", "cpus", "cpus_allocated", "memory_mb", "memory_allocated_mb",
    "gpus", "gpus_allocated", "gpu_type",
)  # fmt: skip
PARTITION_FACTS = (
    "max_time_s", "default_time_s", "max_nodes", "allow_accounts", "deny_accounts", "allow_groups",
    "allow_qos", "qos", "priority_tier", "preempt_mode", "oversubscribe",
)  # fmt: skip
MOST_JOBS_OF_NODE = 200


def build(services: Services, viewer: Viewer) -> Any:
    """The page at `/cluster`."""
    from pages.shell import page  # the shell knows every page, so it comes last

    return page(services, viewer, "cluster")


def cluster(services: Services, _viewer: Viewer | None) -> Message:
    """Nodes as compact rows: [kind, state, partitions (numbers), cpus, used, mb, used, gpus, used, model]."""
    snapshot = services.snapshots.current
    partitions = partition_loads(snapshot)
    numbers = {load.name: index for index, load in enumerate(partitions)}
    columns = snapshot.nodes.table.select(list(MAP_COLUMNS)).to_pydict()
    nodes = {}
    for name, state, flags, members, *figures in zip(*(columns[key] for key in MAP_COLUMNS), strict=True):
        inside = [numbers[member] for member in members or () if member in numbers]
        nodes[name] = [node_kind(state, flags), "+".join([state, *flags]), inside, *figures]
    return {
        "nodes": nodes,
        "partitions": [
            {
                "name": load.name,
                "state": load.state,
                "default": load.default,
                "nodes": load.nodes,
                "nodes_available": load.nodes_available,
                "nodes_idle": load.nodes_idle,
                "cpus": load.cpus,
                "cpus_allocated": load.cpus_allocated,
                "gpus": load.gpus,
                "gpus_allocated": load.gpus_allocated,
                "running": load.running,
                "pending": load.pending,
                **{name: load.facts[name] for name in PARTITION_FACTS},
            }
            for load in partitions
        ],
        "reservations": [
            {key: value for key, value in row.items() if key != "node_names"} for row in snapshot.reservations.rows()
        ],
    }


async def node(desk: Desk, args: dict[str, Any]) -> Message:
    """One node: its facts, who drained it, and its jobs as far as the viewer may see them."""
    return await desk.run(node_detail, desk.services, desk.viewer, text(args, "name"))


def node_detail(services: Services, viewer: Viewer, name: str) -> Message:
    """Raises Refused when there is no such node."""
    snapshot = services.snapshots.current
    names = snapshot.nodes.table["name"].to_pylist()
    if name not in names:
        raise Refused(f"There is no node {name}.")
    row = snapshot.nodes.table.slice(names.index(name), 1).to_pylist()[0]
    jobs = jobs_on_node(snapshot, name).slice(0, MOST_JOBS_OF_NODE).to_pylist()
    seen = [job for job in jobs if policy.allowed(viewer, "job.see", job)]
    load = row["cpu_load"]
    return {
        **{key: value for key, value in row.items() if key != "cpu_load"},
        "cpu_load": round(load, 2) if load is not None else None,
        "kind": node_kind(row["state"], row["flags"]),
        "jobs": [job_row(job, snapshot) for job in seen],
        "hidden_jobs": len(jobs) - len(seen),
    }


TOPICS = (Topic("cluster", cluster, ("nodes", "partitions", "reservations", "jobs"), keyed=frozenset({"nodes"})),)
ACTIONS: dict[str, Action] = {"cluster.node": node}
