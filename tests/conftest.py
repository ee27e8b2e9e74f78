"""Fixtures of every level; each starts real parts and ends them.

- `cluster`: one real Slurm cluster with its directory for the whole run; skipped without root.
- `quiet_cluster`: the same with no job in the queue, every daemon up and nobody locked out, before and after.
- `images`: Apptainer and the JupyterLab image, from the cache or built.
- `cluster_console`: a console on that cluster, sessions in Apptainer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Cluster, NeedsRoot
from tests.harness.console import Console
from tests.harness.images import Provided, provide

# Files of minutes, mostly of waiting. First, so that when files are handed out one by one none is left for the end.
LONG = (
    "test_faults.py",
    "test_console_faults.py",
    "test_accounting_truth.py",
    "test_usage.py",
    "test_pages.py",
    "test_truth.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(Path(item.path).name, len(LONG)))


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


@pytest.fixture(scope="session")
def images() -> Provided:
    return provide()


def apptainer_sessions(images: Provided) -> dict[str, Any]:
    """The settings' `sessions` table for JupyterLab from the image."""
    return {
        "runtime": "apptainer",
        "runtime_command": images.apptainer,
        "images": [{"name": "JupyterLab", "path": images.image, "apps": ["jupyterlab"]}],
    }


@pytest.fixture(scope="session")
def cluster_console(cluster: Cluster, images: Provided) -> Iterator[Console]:
    console = Console.on(cluster, {"sessions": apptainer_sessions(images)})
    yield console
    console.stop()
