"""What runs on nodes and as other people imports nothing of the rest: the linter's lists name all there is."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {"app", "pages", "backend", "config"}


def everything() -> set[str]:
    """The rooms, each part of the backend, and each package of others that anything here imports."""
    graph = grimp.build_graph(*sorted(ROOMS), include_external_packages=True)
    others = {name.partition(".")[0] for name in graph.modules} - ROOMS - set(sys.stdlib_module_names)
    return (ROOMS - {"backend"}) | graph.find_children("backend") | graph.find_children("backend.launcher") | others


@pytest.mark.parametrize(
    ("contract", "own"),
    [
        ("The agent stands alone", {"backend.agent"}),
        ("The as-user program stands alone", {"backend.launcher", "backend.launcher.as_user"}),
    ],
)
def test_the_contract_forbids_everything_but_its_own(contract: str, own: set[str]) -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (found,) = [each for each in told if each["name"] == contract]
    told_of = set(found["forbidden_modules"])
    assert {name for name in everything() - own if not {name, name.rpartition(".")[0]} & told_of} == set()
