"""The cluster's page: compact nodes, one node's detail as far as one may see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pages.cluster import cluster, node_detail
from pages.parts.desk import Refused
from tests.unit.pages_kit import ADA, OPERATOR, World, job
from tests.unit.sessions_kit import cpu_node, gpu_node, partition


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    drained = gpu_node("a1", used=3, flags=["DRAIN"], state="MIXED", available=False, reason="XID 79 <b>")
    return World(
        tmp_path_factory.mktemp("world"),
        nodes=[{**drained, "reason_user": "root", "reason_s": 1_700_000_000}, cpu_node("c1")],
        partitions=[partition("gpu", ["a1"]), partition("cpu", ["c1"], max_time_s=3600)],
        jobs=[job(1, node_list="a1"), job(2, "bob", node_list="a1"), job(3, "bob", node_list="c1")],
    )


def test_a_node_is_a_short_row(world: World) -> None:
    nodes = cluster(world.services, None)["nodes"]
    assert nodes["a1"] == ["draining", "MIXED+DRAIN", [0], 64, 0, 256_000, 0, 4, 3, "a100"]
    assert nodes["c1"][2] == [1]


def test_a_partition_tells_its_limits_and_its_load(world: World) -> None:
    gpu, cpu = cluster(world.services, None)["partitions"]
    assert (gpu["max_time_s"], cpu["max_time_s"]) == (None, 3600)
    assert (gpu["gpus"], gpu["gpus_allocated"], gpu["running"]) == (4, 3, 3)


def test_a_drained_node_says_who_why_and_since_when(world: World) -> None:
    detail = node_detail(world.services, ADA, "a1")
    assert (detail["kind"], detail["reason"]) == ("draining", "XID 79 <b>")
    assert (detail["reason_user"], detail["reason_s"]) == ("root", 1_700_000_000)


def test_others_jobs_on_a_node_are_counted_not_shown(world: World) -> None:
    detail = node_detail(world.services, ADA, "a1")
    assert [row["job_id"] for row in detail["jobs"]] == [1]
    assert detail["hidden_jobs"] == 1
    assert len(node_detail(world.services, OPERATOR, "a1")["jobs"]) == 2


def test_a_node_that_is_not_is_refused(world: World) -> None:
    with pytest.raises(Refused, match="no node zz9"):
        node_detail(world.services, ADA, "zz9")


def test_ten_thousand_nodes_are_a_message_of_a_megabyte(tmp_path: Path) -> None:
    from pages.parts.topics import to_json

    nodes = [cpu_node(f"node{number:05d}") for number in range(10_000)]
    world = World(tmp_path, nodes=nodes, partitions=[partition("cpu", [node["name"] for node in nodes])])
    assert len(to_json(cluster(world.services, None))) < 1_000_000
