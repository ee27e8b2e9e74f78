"""The history on the Jobs page: what each person is shown, what jobs used and why it is not known, bulk actions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.identity import Viewer
from pages.jobs import ACTIONS
from pages.parts.desk import Refused
from pages.parts.topics import to_json
from tests.unit.history_kit import GPU_LINE, HOSTILE, UIDS, Footprints, fill
from tests.unit.pages_kit import ADA, BOB, COORDINATOR, OPERATOR, World
from tests.unit.pages_kit import job as queued
from tests.unit.test_pages_jobs import AtDesk
from tests.unit.usage_kit import at, job

START_S = at("2026-11-01")
WHOLE = "window=all&who=all"


def row(number: int, user: str = "ada", **more: Any) -> dict[str, Any]:
    columns = {"user": user, "uid": UIDS[user], "cluster": "local", **more}
    start_s = START_S + number * 60
    return job(number, start_s, start_s + 3600, submit_s=start_s, **columns)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    world = World(folder, jobs=[queued(77), queued(78, state="PENDING"), queued(79, "bob", account="bio")])
    rows = [
        row(1, job_name=HOSTILE, gpus=2, gpu_type="a100", cpu_used_s=3600 * 0.5, mem_peak_mb=1000),
        row(2, "bob", account="biology"),
        row(3, "leo", account="lasers", state="REQUEUED"),
        row(4, gpus=1, gpu_type="h100"),
        *(row(number) for number in range(100, 170)),
    ]
    fill(folder / "accounting", rows, cluster="local")
    return world


async def ask(world: World, viewer: Viewer, action: str, **args: Any) -> Any:
    return await ACTIONS[f"jobs.{action}"](AtDesk(world, viewer), args)  # type: ignore[arg-type]


async def numbers(world: World, viewer: Viewer, query: str) -> list[int]:
    return [each["job_id"] for each in (await ask(world, viewer, "history", query=query))["rows"]]


@pytest.mark.parametrize(("viewer", "seen"), [(ADA, {1, 4}), (BOB, {2}), (COORDINATOR, {1, 4}), (OPERATOR, {1, 2, 4})])
async def test_each_role_sees_its_jobs(world: World, viewer: Viewer, seen: set[int]) -> None:
    assert set(await numbers(world, viewer, f"{WHOLE}&job=1,2,3,4")) == seen


async def test_mine_is_mine_whatever_one_may_see(world: World) -> None:
    assert await numbers(world, OPERATOR, "window=all") == []
    assert await numbers(world, ADA, "window=all&job=4") == [4]


async def test_the_address_is_the_whole_state(world: World) -> None:
    first = await ask(world, ADA, "history", query="window=all")
    assert (len(first["rows"]), first["before"]) == (50, None)
    second = await ask(world, ADA, "history", query=f"window=all&after={first['after']}")
    assert (len(second["rows"]), second["after"]) == (22, None)
    back = await ask(world, ADA, "history", query=f"window=all&before={second['before']}")
    assert back["rows"] == first["rows"]


async def test_a_hostile_name_arrives_unchanged(world: World) -> None:
    answer = await ask(world, ADA, "history", query=f"{WHOLE}&job=1")
    assert answer["rows"][0]["name"] == HOSTILE
    to_json(answer).encode()


@pytest.mark.parametrize(
    "query", ["state=ASLEEP", "gpus=x", "after=nowhere", "before=1", "sort=user", "window=2d", "&".join(["a=1"] * 200)]
)
async def test_an_address_that_asks_nothing_is_refused(world: World, query: str) -> None:
    with pytest.raises(Refused):
        await ask(world, ADA, "history", query=query)


def bars(answer: dict[str, Any]) -> dict[str, tuple[float | None, str]]:
    return {bar["name"]: (bar["percent"], bar["said"]) for bar in answer["bars"]}


async def test_without_measuring_slurm_s_accounts_are_shown_and_the_rest_is_said_to_be_unknown(world: World) -> None:
    [row] = (await ask(world, ADA, "history", query=f"{WHOLE}&job=1"))["rows"]
    assert bars(row) == {"GPU": (None, "not known"), "CPU": (50.0, "fair"), "Memory": (97.7, "near its limit")}
    [bare] = (await ask(world, ADA, "history", query=f"{WHOLE}&job=100"))["rows"]
    assert bars(bare) == {"CPU": (None, "not known"), "Memory": (None, "not known")}
    assert all(bar["words"] for bar in bare["bars"])


def key(number: int) -> list[Any]:
    return ["local", number, START_S + number * 60]


def watched(world: World, telemetry: Footprints) -> World:
    copy = World.__new__(World)
    copy.services = replace(world.services, telemetry=telemetry)  # type: ignore[arg-type]
    return copy


async def test_what_was_measured_comes_before_slurm_s_word(world: World) -> None:
    measured = Footprints([
        {"cluster": "local", "job_id": 1, "start_s": START_S + 60, "gpu_percent_mean": 2.0, "gpus": 2, "gpus_used": 1,
         "cpu_cores_mean": 0.9, "cpus": 1, "memory_peak_bytes": 2**30, "memory_limit_bytes": 2**32},
    ])  # fmt: skip
    answer = await ask(watched(world, measured), ADA, "bars", jobs=[key(1), key(2), key(4)])
    [found] = answer["jobs"]
    assert found["job"] == key(1)
    assert bars(found) == {"GPU": (2.0, "idle"), "CPU": (90.0, "good"), "Memory": (25.0, "fair")}
    assert found["spark"] == {"name": "GPU", "points": list(GPU_LINE), "mean": 65}


async def test_nobody_is_told_what_another_s_job_used(world: World) -> None:
    measured = Footprints([{"cluster": "local", "job_id": 1, "start_s": START_S + 60, "gpu_percent_mean": 50.0}])
    assert (await ask(watched(world, measured), BOB, "bars", jobs=[key(1)]))["jobs"] == []


async def test_telemetry_that_is_away_leaves_the_page_and_is_told(world: World) -> None:
    answer = await ask(watched(world, Footprints(down="no disk")), ADA, "bars", jobs=[key(1)])
    assert answer == {"jobs": [], "problem": "no disk"}


async def test_tags_are_put_on_each_job_that_one_may_write_on(world: World) -> None:
    answer = await ask(world, ADA, "tag", jobs=[key(1), key(2)], add=["Paper"])
    assert [(each["tags"], bool(each["problem"])) for each in answer["jobs"]] == [(["paper"], False), ([], True)]
    assert await numbers(world, ADA, f"{WHOLE}&tag=paper") == [1]
    assert (await ask(world, ADA, "choices", of="tag"))["values"] == ["paper"]


async def test_choices_are_of_jobs_that_one_may_see(world: World) -> None:
    assert (await ask(world, BOB, "choices", of="user"))["values"] == ["bob"]
    assert (await ask(world, ADA, "choices", of="gpu_type", text="h"))["values"] == ["h100"]
    with pytest.raises(Refused):
        await ask(world, ADA, "choices", of="job_name")


async def test_a_filter_is_kept_renamed_begun_with_and_deleted(world: World) -> None:
    kept = await ask(world, ADA, "filter-save", name="Failed", query="state=FAILED")
    await ask(world, ADA, "filter-rename", id=kept["id"], name="Broken")
    await ask(world, ADA, "filter-start", id=kept["id"], start=True)
    assert (await ask(world, ADA, "filters"))["filters"] == [
        {"id": kept["id"], "name": "Broken", "query": "state=FAILED", "start": True}
    ]
    with pytest.raises(Refused):
        await ask(world, BOB, "filter-delete", id=kept["id"])
    await ask(world, ADA, "filter-delete", id=kept["id"])
    assert (await ask(world, ADA, "filters"))["filters"] == []


async def test_a_bulk_action_has_a_result_for_each_job(world: World) -> None:
    desk = AtDesk(world, ADA)
    answer = await ACTIONS["jobs.bulk"](desk, {"what": "cancel", "ids": [77, 78, 79, 999]})  # type: ignore[arg-type]
    assert [bool(each["problem"]) for each in answer["jobs"]] == [False, False, True, True]
    assert sorted(call[2]["job_id"] for call in desk.launcher.calls) == ["77", "78"]
    held = await ACTIONS["jobs.bulk"](desk, {"what": "hold", "ids": [77]})  # type: ignore[arg-type]
    assert held["jobs"][0]["problem"]


@pytest.mark.parametrize(
    ("action", "args"),
    [
        ("bulk", {"what": "drain", "ids": [1]}), ("bulk", {"what": "cancel", "ids": []}),
        ("bulk", {"what": "cancel", "ids": [True]}), ("bulk", {"what": "cancel", "ids": list(range(1, 12))}),
        ("bars", {"jobs": []}), ("bars", {"jobs": [["local", "1", 2]]}), ("bars", {"jobs": [["local", 1]]}),
        ("tag", {"jobs": [["local", 1, 2]], "add": "a"}), ("tag", {"jobs": [["local", 1, 2]], "add": ["a b"]}),
        ("note", {"jobs": [["local", 999, 2]], "note": "x"}),
    ],
)  # fmt: skip
async def test_a_request_the_page_does_not_make_is_refused(world: World, action: str, args: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        await ask(world, ADA, action, **args)


async def test_without_accounts_the_history_is_empty(tmp_path: Path) -> None:
    answer = await ask(World(tmp_path), ADA, "history", query="")
    assert (answer["rows"], answer["total"], answer["as_of_s"]) == ([], 0, None)
