"""Fixtures of the browser tests.

- `browser`: one Chromium for all.
- `console`: the embedded default, started once, with the person `ada` and her second factor.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.person import SignedUp
from tests.harness.browser import chromium
from tests.harness.console import Console, embedded_console

# What must come within a time says so itself. Else five seconds are too few where several consoles share two cores.
expect.set_options(timeout=20_000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    folder: Path = tmp_path_factory.mktemp("console")
    with embedded_console(folder) as running:
        yield running


@pytest.fixture(scope="session")
def ada(console: Console) -> SignedUp:
    """A person of the embedded console, enrolled."""
    return SignedUp("ada", console.add_person("ada", roles=["admin"]), console.enrol("ada"))
