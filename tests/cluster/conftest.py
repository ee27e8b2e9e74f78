"""Fixtures of the cluster tests.

- `cluster`: one real Slurm cluster with its directory for the whole run; skipped without root.
- `quiet_cluster`: the same with no job in the queue, every daemon up and nobody locked out, before and after.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness import Cluster, NeedsRoot


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/cluster/" in str(item.path):
            item.add_marker("cluster")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    try:
        running = Cluster.up()
    except NeedsRoot as error:
        pytest.skip(str(error))
    with running:
        yield running


@pytest.fixture
def quiet_cluster(cluster: Cluster) -> Iterator[Cluster]:
    cluster.settle()
    yield cluster
    cluster.settle()
