"""The queue's page: who sees and cancels what, and how it is filtered, folded and paged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.identity import Viewer
from pages.jobs import cancel_action, job_detail, list_jobs, list_tasks, read_query
from pages.parts.desk import Refused
from tests.unit.pages_kit import ADA, BOB, COORDINATOR, OPERATOR, World, job

EVIL = "<img src=x onerror=alert(1)>\"'`$(id)\u2028"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    array = [
        job(21, label="20_1", array_job_id=20, array_task_id="1"),
        job(22, label="20_2", array_job_id=20, array_task_id="2"),
        job(20, state="PENDING", label="20_[3-9]", array_job_id=20, array_task_id="3-9", array_pending=7),
    ]
    return World(
        tmp_path_factory.mktemp("world"),
        jobs=[
            job(1, name=EVIL),
            job(2, "bob", account="bio"),
            job(3, "bob", state="PENDING"),
            job(4, "ada", state="FAILED"),
            *array,
        ],
    )


def numbers(world: World, viewer: Viewer, **args: Any) -> set[int]:
    answer = list_jobs(world.services, viewer, read_query({"fold": False, **args}))
    return {row["job_id"] for row in answer["rows"]}


def test_one_sees_ones_own_jobs_by_default(world: World) -> None:
    assert numbers(world, ADA) == {1, 20, 21, 22}
    assert numbers(world, OPERATOR) == set()


def test_who_may_not_see_all_sees_ones_own_whatever_is_asked(world: World) -> None:
    assert numbers(world, BOB, who="all") == {2, 3}
    assert numbers(world, BOB, who="all", user=["ada"]) == set()


def test_a_coordinator_sees_the_jobs_of_the_account(world: World) -> None:
    assert numbers(world, COORDINATOR, who="all") == {1, 3, 20, 21, 22}


def test_an_operator_sees_all(world: World) -> None:
    assert numbers(world, OPERATOR, who="all") == {1, 2, 3, 20, 21, 22}


def test_ended_jobs_show_when_asked_for(world: World) -> None:
    assert numbers(world, ADA, state=["ended"]) == {4}
    assert numbers(world, ADA, state=["FAILED", "PENDING"]) == {4, 20}


def test_an_array_is_one_row_that_opens_into_its_tasks(world: World) -> None:
    query = read_query({})
    answer = list_jobs(world.services, ADA, query)
    row = next(row for row in answer["rows"] if row["array_job_id"] == 20)
    assert (row["folded"], row["tasks_running"], row["tasks_pending"]) == (True, 2, 7)
    assert (answer["total"], answer["jobs"], answer["states"]["PENDING"]) == (2, 10, 7)
    tasks = list_tasks(world.services, ADA, query, 20)
    assert [task["label"] for task in tasks["rows"]] == ["20_[3-9]", "20_1", "20_2"]


def test_the_tasks_of_anothers_array_stay_hidden(world: World) -> None:
    assert list_tasks(world.services, BOB, read_query({"who": "all"}), 20)["rows"] == []


def test_the_queue_comes_in_pages(tmp_path: Path) -> None:
    world = World(tmp_path, jobs=[job(number) for number in range(1, 251)])
    last = list_jobs(world.services, ADA, read_query({"offset": 200}))
    assert [row["job_id"] for row in last["rows"]] == list(range(50, 0, -1))
    assert last["total"] == 250


def test_a_job_name_arrives_unchanged(world: World) -> None:
    assert job_detail(world.services, ADA, 1)["name"] == EVIL


def test_a_job_of_another_and_one_that_is_not_are_refused_alike(world: World) -> None:
    with pytest.raises(Refused) as others:
        job_detail(world.services, BOB, 1)
    with pytest.raises(Refused) as none:
        job_detail(world.services, BOB, 999)
    assert str(others.value).replace("1", "N") == str(none.value).replace("999", "N")


@pytest.mark.parametrize(
    "args",
    [
        {"sort": "work_dir; drop"}, {"state": ["NO_SUCH"]}, {"state": "RUNNING"}, {"user": [1]},
        {"offset": "1"}, {"offset": True}, {"text": "x" * 400}, {"who": 1},
    ],
)  # fmt: skip
def test_a_question_the_page_does_not_ask_is_refused(args: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        read_query(args)


class Launcher:
    """Takes every cancellation and remembers it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, Any]]] = []

    async def call(self, user: str, action: str, **arguments: Any) -> dict[str, Any]:
        self.calls.append((user, action, arguments))
        return {"ok": True}


class AtDesk:
    """A desk whose launcher only remembers: what it is asked is what would reach the scheduler."""

    def __init__(self, world: World, viewer: Viewer) -> None:
        self.launcher = Launcher()
        self.viewer = viewer
        self.services = _Replaced(world.services, self.launcher)

    async def run(self, function: Any, *args: Any) -> Any:
        return function(*args)

    ask = run


class _Replaced:
    def __init__(self, services: Any, launcher: Launcher) -> None:
        self._services = services
        self.launcher = launcher
        self.sessions = _Names(services.sessions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._services, name)


class _Names:
    """Sessions whose people are Unix users of the same name."""

    def __init__(self, sessions: Any) -> None:
        self._sessions = sessions

    def unix_user(self, viewer: Viewer) -> str:
        return viewer.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sessions, name)


async def test_cancelling_runs_as_the_person(world: World) -> None:
    desk = AtDesk(world, ADA)
    await cancel_action(desk, {"job_id": 1})  # type: ignore[arg-type]
    assert desk.launcher.calls == [("ada", "cancel", {"job_id": "1"})]


async def test_cancelling_a_task_never_takes_its_array_along(world: World) -> None:
    desk = AtDesk(world, ADA)
    await cancel_action(desk, {"job_id": 22})  # type: ignore[arg-type]
    assert desk.launcher.calls[0][2] == {"job_id": "20_2"}


@pytest.mark.parametrize(("viewer", "job_id"), [(BOB, 1), (BOB, 999), (ADA, 4), (COORDINATOR, 2)])
async def test_what_one_may_not_cancel_never_reaches_the_launcher(world: World, viewer: Viewer, job_id: int) -> None:
    desk = AtDesk(world, viewer)
    with pytest.raises(Refused):
        await cancel_action(desk, {"job_id": job_id})  # type: ignore[arg-type]
    assert desk.launcher.calls == []
