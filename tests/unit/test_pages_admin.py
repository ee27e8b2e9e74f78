"""The admin page without a browser: what is kept, what the console finds when it looks at itself, who changed what."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.accounting.warehouse import Warehouse
from backend.checks import CHECKS
from backend.identity import Viewer
from backend.store import Database, audit
from pages import admin
from pages.parts.desk import Desk, Refused
from pages.parts.live import Live
from tests.unit.pages_kit import ADA, COORDINATOR, OPERATOR, World

EVE = Viewer("eve", "Eve", 50005, frozenset({"user", "admin"}), "login-of-eve")
HOSTILE = "<img src=x onerror=alert(1)>%_\\"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def asked(world: World, viewer: Viewer, **args: Any) -> Any:
    """What the page's action answers."""
    desk = Desk(world.services, viewer, Live(world.services, ()), admin.ACTIONS)
    return asyncio.run(admin.audit_action(desk, args))


def written(world: World, *lines: tuple[str, str, str, str]) -> None:
    with world.services.db.begin() as rows:
        for actor, action, target, outcome in lines:
            audit(rows, actor, action, target, outcome, "10.0.0.1", why="x")  # type: ignore[arg-type]


# -- what is kept ----------------------------------------------------------------------------------------------


def test_what_is_kept_has_its_size_and_for_how_long_by_which_setting(world: World, tmp_path: Path) -> None:
    with Warehouse.write(tmp_path / "accounting", "UTC") as writer:
        writer.set_state("c", source="slurmdbd", synced_s=int(time.time()), error="No route to host", error_since_s=7)
        writer.commit()
    found = admin.look(world.services, OPERATOR)
    days = {each["tier"]: (each["days"], each["setting"]) for each in found["telemetry"]["kept"]}
    assert days == {
        "raw": (2, "telemetry.raw_days"), "minute": (14, "telemetry.minute_days"),
        "archive": (0, "telemetry.archive_days"), "jobs": (0, "telemetry.archive_days"), "log": (None, ""),
    }  # fmt: skip
    (cluster,) = found["accounts"]["clusters"]
    assert (cluster["name"], cluster["error"], cluster["error_since_s"]) == ("c", "No route to host", 7)
    on_disk = sum(file.stat().st_size for file in tmp_path.glob("carme.db*") if not file.name.endswith("-shm"))
    assert found["database"]["size_bytes"] >= on_disk > 0
    assert found["disk"]["free_bytes"] > 0


def test_what_another_server_keeps_is_not_told_as_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, environ={
        "CARME_TELEMETRY__SOURCE": "prometheus", "CARME_TELEMETRY__PROMETHEUS_URL": "http://127.0.0.1:9",
    })  # fmt: skip
    told = admin.look(world.services, OPERATOR)["telemetry"]
    assert (told["source"], told["url"], told["kept"]) == ("prometheus", "http://127.0.0.1:9", [])
    assert told["error"]


def test_accounts_that_cant_be_read_are_told(world: World, tmp_path: Path) -> None:
    (tmp_path / "accounting").mkdir(exist_ok=True)
    (tmp_path / "accounting/manifest.json").write_text("{")
    assert "manifest.json" in admin.look(world.services, OPERATOR)["accounts"]["error"]


def test_a_database_on_a_server_has_its_size_there_and_its_password_is_not_shown(world: World) -> None:
    db = Database("mysql+pymysql://carme:hunter2@db.example.org/carme")
    found = admin.look(replace(world.services, db=db), EVE)["database"]
    assert found["size_bytes"] is None
    assert "db.example.org" in found["address"] and "hunter2" not in found["address"]


def test_the_checks_are_those_of_the_doctor(world: World) -> None:
    found = admin.check(world.services)
    assert [each["check"] for each in found["findings"]] == [name for name, _ in CHECKS]
    assert {each["state"] for each in found["findings"]} <= {"ok", "warn", "fail"}
    assert found["at_s"] == pytest.approx(time.time(), abs=60)


# -- audit -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("viewer", [ADA, COORDINATOR, OPERATOR])
def test_the_audit_is_the_admins(world: World, viewer: Viewer) -> None:
    assert not admin.look(world.services, viewer)["may_audit"]
    with pytest.raises(Refused, match="admins only"):
        asked(world, viewer)


def test_the_audit_is_found_by_who_what_and_outcome(world: World) -> None:
    written(
        world,
        ("ada", "session.launch", "s1", "done"),
        ("olga", "session.stop", "s1", "refused"),
        ("eve", "person.lock", "ada", "done"),
        ("eve", "persons.all", HOSTILE, "failed"),
    )

    def found(**args: Any) -> list[tuple[str, str]]:
        lines = asked(world, EVE, **args)["lines"]
        return [(line["actor"], line["action"]) for line in lines if line["address"] == "10.0.0.1"]

    assert found() == [
        ("eve", "persons.all"), ("eve", "person.lock"), ("olga", "session.stop"), ("ada", "session.launch"),
    ]  # fmt: skip
    assert found(text="ada") == [("eve", "person.lock"), ("ada", "session.launch")]
    assert found(kind="person") == [("eve", "person.lock")]
    assert found(outcome="refused") == [("olga", "session.stop")]
    assert found(text="s1", kind="session", outcome="done") == [("ada", "session.launch")]
    assert found(text="%") == found(text="\\") == found(text="<img") == [("eve", "persons.all")]
    assert found(text="nobody") == []
    assert {"session", "person", "persons"} <= set(asked(world, EVE)["kinds"])


def test_older_lines_follow_without_a_gap_or_one_twice(world: World) -> None:
    written(world, *(("ada", "job.tag", f"{n}", "done") for n in range(2 * admin.LINES + 5)))
    seen: list[str] = []
    more, before = True, 0
    while more:
        answer = asked(world, EVE, kind="job", **({"before": before} if before else {}))
        seen += [line["target"] for line in answer["lines"]]
        more, before = answer["more"], answer["lines"][-1]["id"]
        written(world, ("bob", "job.tag", "new", "done"))  # while one reads
    assert seen == [f"{n}" for n in reversed(range(2 * admin.LINES + 5))]


@pytest.mark.parametrize("args", [{"outcome": "maybe"}, {"text": "x" * 300}, {"before": "7"}, {"kind": 7}])
def test_what_the_page_does_not_ask_is_refused(world: World, args: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        asked(world, EVE, **args)
