"""Every test here needs the real cluster: see the fixtures `cluster` and `quiet_cluster` in tests/conftest.py."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/cluster/" in str(item.path):
            item.add_marker("cluster")
