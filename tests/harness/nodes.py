"""The node service on the cluster's pretend nodes, as root, each with its node's key."""

from __future__ import annotations

import subprocess
from typing import Any

from backend.sessions.job import agent_zipapp
from tests.harness.cluster import Cluster

PYTHON = "/usr/bin/python3"


def start_node_service(
    cluster: Cluster, node: str, *, console: str = "", key: str = "", every_s: float = 10.0
) -> subprocess.Popen[Any]:
    """Start it on one node. It ends with the cluster; its output is in the cluster's log folder."""
    folder = cluster.folder / "node-services"
    if not folder.is_dir():
        folder.mkdir(mode=0o755)
        (folder / "agent.pyz").write_bytes(agent_zipapp())
    arguments = ["--node", node, "--cluster", cluster.name, "--every", str(every_s)]
    if console:
        file = folder / f"{node}.key"
        file.touch(mode=0o600)
        file.write_text(key)
        arguments += ["--console", console, "--key-file", str(file)]
    with (cluster.folder / "log" / f"node-service-{node}.log").open("ab") as log:
        return cluster.popen(
            [PYTHON, "-I", str(folder / "agent.pyz"), "node", *arguments],
            env={"SLURMD_NODENAME": node}, stdout=log, stderr=log,
        )  # fmt: skip
