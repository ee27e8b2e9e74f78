"""The launch form's server side: what it takes, and what Home offers for two clicks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from backend.sessions import AccountChoice, GpuChoice, LaunchOptions, LaunchRequest
from pages.launch import _entry, _projects, look, query_of, read_request
from pages.parts.desk import Refused
from tests.unit.pages_kit import ADA, World

DEFAULTS = LaunchRequest(
    app="jupyterlab", account="physics", partition="gpu", gpus=1, gpu_type="a100", cpus=8, memory_mb=65536,
    time_s=14400, image="lab",
)  # fmt: skip
OPTIONS = LaunchOptions(
    refusal="", cluster="c", accounts=(), partitions=(), qos=(),
    gpus=(GpuChoice("a100", 8, 2, 4, ("gpu",)), GpuChoice("h100", 4, 4, 4, ("gpu",))),
    images=(), apps=(), reservations=(), times_s=(), max_time_s=None, max_nodes=1, max_cpus=64,
    max_memory_mb=256_000, image_paths=False, defaults=DEFAULTS,
)  # fmt: skip


@pytest.mark.parametrize(
    "request_",
    [None, [], {"gpus": "1"}, {"gpus": True}, {"gpus": 1.5}, {"uid": 0}, {"app": None}, {"work_dir": ["/"]}],
)
def test_a_request_of_another_shape_is_refused(request_: Any) -> None:
    with pytest.raises(Refused):
        read_request({"request": request_})


def test_text_of_any_kind_arrives_unchanged_for_the_checks_to_judge() -> None:
    evil = "a\nb'; rm -rf /\"<script>" + "x" * 5000
    assert read_request({"request": {"work_dir": evil, "image": evil}}).work_dir == evil


def test_the_sites_default_is_offered_as_it_is() -> None:
    assert _entry(OPTIONS, "a100")["request"] == DEFAULTS.to_dict()


def test_another_model_leaves_to_the_console_what_hangs_on_it() -> None:
    request = _entry(OPTIONS, "h100")["request"]
    assert (request["gpu_type"], request["gpus"], request["partition"], request["cpus"]) == ("h100", 1, "", 0)
    assert (request["account"], request["time_s"], request["image"]) == ("physics", 14400, "lab")


def test_cpus_alone_are_offered_too() -> None:
    request = _entry(OPTIONS, "")["request"]
    assert (request["gpus"], request["gpu_type"]) == (0, "")


def test_the_forms_address_holds_the_request() -> None:
    query = parse_qs(query_of(DEFAULTS))
    assert {name: values[0] for name, values in query.items()} == {
        "app": "jupyterlab", "account": "physics", "partition": "gpu", "gpus": "1", "gpu_type": "a100",
        "cpus": "8", "memory_mb": "65536", "time_s": "14400", "image": "lab",
    }  # fmt: skip


def test_who_may_not_launch_is_told_why_and_not_how_much_room_there_is(tmp_path: Path) -> None:
    told = look(World(tmp_path).services, ADA, LaunchRequest(app="jupyterlab"))
    assert told["fit"] is None
    assert "for its owner only" in told["problems"][0]["message"]


def test_an_account_is_offered_with_the_title_of_its_project(tmp_path: Path) -> None:
    file = tmp_path / "projects.toml"
    file.write_text('[[project]]\nname = "p"\ntitle = "Light and matter"\naccounts = ["science", "other:bio"]\n')
    tree = [{"name": "science", "parent": "root"}, {"name": "physics", "parent": "science"}]
    world = World(tmp_path, environ={"CARME_ACCOUNTING__PROJECTS_FILE": str(file)}, accounts=tree)
    mine = tuple(AccountChoice(name, "", default=False, qos=(), default_qos="") for name in ("physics", "bio"))
    assert _projects(world.services, replace(OPTIONS, accounts=mine)) == {"physics": "Light and matter"}
