"""Comparisons are asked for once, made one at a time, kept, and told to operators when the figures part."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from backend.accounting import truth
from backend.accounting.truth import checks
from backend.accounting.truth.comparison import Beside, Comparison, Line
from backend.accounting.usage import Usage
from backend.accounting.warehouse import Warehouse
from backend.identity import Viewer, policy
from backend.store import Database
from backend.store.models import Audit, TruthCheck
from config import load_settings
from pages import truth as page
from pages.parts.desk import Desk, Refused
from pages.shell import live_of
from tests.unit.pages_kit import ADA, COORDINATOR, OPERATOR, World

MONTH = "2026-03"


@pytest.fixture
def db(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path}/carme.db")
    database.upgrade()
    return database


def found(rest: int = 0, month: str = MONTH, problems: tuple[str, ...] = ()) -> Comparison:
    lines = tuple(
        Line("physics", user, 0, tres, 100, Beside(100 + rest, {}, rest), Beside(100), Beside(100))
        for user in ("", "ada")
        for tres in truth.TRES
    )
    return Comparison("c", month, "UTC", 0, 3600, 7200, lines, {}, {"cpu": 50}, 1, 0.1, problems=problems)


def made(db: Database, comparison: Comparison | None, error: str = "", month: str = MONTH) -> None:
    checks.ask(db, "c", month, "olga")
    taken = checks.next_asked(db)
    assert taken is not None
    checks.finish(db, taken, comparison, error)


def actions(db: Database) -> list[tuple[str, str, str]]:
    with db.read() as session:
        return [(row.actor, row.action, row.outcome) for row in session.query(Audit).order_by(Audit.id)]


def test_what_waits_is_not_asked_for_twice_and_taken_once(db: Database) -> None:
    first = truth.ask(db, "c", MONTH, "olga")
    assert truth.ask(db, "c", MONTH, "dora").id == first.id
    assert truth.ask(db, "c", "2026-02", "dora").id != first.id
    taken = [checks.next_asked(db), checks.next_asked(db), checks.next_asked(db)]
    assert [check.month for check in taken if check] == [MONTH, "2026-02"]
    assert actions(db) == [("olga", "accounting.compare", "done"), ("dora", "accounting.compare", "done")]


@pytest.mark.parametrize("month", ["", "2026-13", "2026-3", "x" * 500])
def test_what_is_no_month_is_not_asked_for(db: Database, month: str) -> None:
    with pytest.raises(truth.BadMonth):
        truth.ask(db, "c", month, "olga")
    assert actions(db) == []


def test_figures_that_part_are_told_until_they_meet(db: Database) -> None:
    made(db, found(rest=1))
    assert [(check.cluster, check.month) for check in truth.parted(db)] == [("c", MONTH)]
    assert actions(db)[-1] == ("console", "accounting.parted", "failed")
    made(db, None, "slurmdbd does not answer")
    assert truth.parted(db), "an attempt that failed says nothing about the figures"
    made(db, found())
    assert truth.parted(db) == []


def test_what_can_not_be_read_is_no_agreement(db: Database) -> None:
    made(db, found(problems=("a line of sreport makes no sense",)))
    assert len(truth.parted(db)) == 1


def test_the_newest_figures_of_a_month_are_kept_and_older_ones_forgotten(db: Database) -> None:
    made(db, found(rest=1))
    made(db, found())
    made(db, None, "away")
    figures, newest = truth.check_of(db, "c", MONTH)
    assert figures is not None
    assert figures.agrees is True
    assert figures.figures is not None
    assert newest is not None
    assert newest.error == "away"
    with db.read() as session:
        assert [row.figures is not None for row in session.query(TruthCheck).order_by(TruthCheck.id)] == [
            False, True, False,
        ]  # fmt: skip


def test_what_a_collector_left_is_given_up_at_the_next_start(db: Database) -> None:
    checks.ask(db, "c", MONTH, "olga")
    assert checks.next_asked(db) is not None
    checks.give_up_stale(db)
    _, newest = truth.check_of(db, "c", MONTH)
    assert newest is not None
    assert newest.ended_s is not None
    assert "stopped" in newest.error


# -- the night -----------------------------------------------------------------------------------------------


def self_check(tmp_path: Path, db: Database, **settings: str) -> truth.SelfCheck:
    read = load_settings(
        None,
        {"CARME_DATA": str(tmp_path), "CARME_INSTANCE__TIME_ZONE": "Europe/Berlin", "CARME_SCHEDULER__KIND": "slurm",
         "CARME_SLURMDBD__USER": "reader", "CARME_SLURMDBD__PASSWORD": "secret", **settings},
    )  # fmt: skip
    warehouse = Warehouse(tmp_path / "accounting")
    return truth.SelfCheck(read, warehouse, Usage(warehouse, "Europe/Berlin"), db)


def local(year: int, month: int, day: int, hour: int, minute: int = 0) -> float:
    return datetime(year, month, day, hour, minute, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()


def test_the_night_is_the_zones_and_comes_once_a_day(tmp_path: Path, db: Database) -> None:
    check = self_check(tmp_path, db)
    assert check.next_night(local(2026, 3, 10, 3, 59)) == local(2026, 3, 10, 4)
    assert check.next_night(local(2026, 3, 10, 4)) == local(2026, 3, 11, 4)
    assert check.next_night(local(2026, 3, 28, 12)) == local(2026, 3, 29, 4)  # 23 hours long


def test_there_is_no_night_where_it_is_switched_off_or_there_is_no_slurmdbd(tmp_path: Path, db: Database) -> None:
    assert self_check(tmp_path, db, CARME_ACCOUNTING__SELF_CHECK_HOUR="-1").next_night(0) is None
    assert self_check(tmp_path, db, CARME_ACCOUNTING__SOURCE="import").next_night(0) is None


def test_early_in_a_month_the_one_before_is_compared_too(tmp_path: Path, db: Database) -> None:
    with Warehouse.write(tmp_path / "accounting", "UTC") as writer:
        writer.set_state("c", source="slurmdbd", synced_s=1)
        writer.set_state("imported", source="sacct", synced_s=1)
        writer.commit()
    check = self_check(tmp_path, db)
    check.ask_nightly(local(2026, 3, 3, 4))
    check.ask_nightly(local(2026, 4, 10, 4))
    assert [(each.cluster, each.month, each.asked_by) for each in reversed(truth.last_checks(db))] == [
        ("c", "2026-03", "console"), ("c", "2026-02", "console"), ("c", "2026-04", "console"),
    ]  # fmt: skip


def test_a_night_that_could_not_be_asked_for_is_tried_again_and_logged_once(
    tmp_path: Path, db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    check, stop, tries = self_check(tmp_path, db), threading.Event(), []

    def ask(_now_s: float) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("the database is away")
        stop.set()

    monkeypatch.setattr(check, "ask_nightly", ask)
    monkeypatch.setattr(check, "next_night", lambda _now_s: time.time() - 1 if len(tries) < 3 else None)
    monkeypatch.setattr(stop, "wait", lambda _s: len(tries) > 4 or stop.is_set())
    check.run(stop)
    assert len(tries) == 3
    assert [record.getMessage() for record in caplog.records] == ["the comparison with Slurm's tools failed"]


def test_a_comparison_that_can_not_be_made_says_why(tmp_path: Path, db: Database) -> None:
    check = self_check(tmp_path, db)
    truth.ask(db, "c", MONTH, "olga")
    assert check.make_next()
    _, newest = truth.check_of(db, "c", MONTH)
    assert newest is not None
    assert (newest.agrees, newest.error) == (None, "The accounts of c do not come from slurmdbd.")


# -- the page ------------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    with Warehouse.write(tmp_path / "accounting", "UTC") as writer:
        writer.set_state("c", source="slurmdbd", synced_s=int(time.time()))
        writer.set_state("imported", source="sacct", synced_s=1)
        writer.commit()
    return World(tmp_path)


def test_the_page_is_operators_alone(world: World) -> None:
    assert policy.allowed(OPERATOR, "page:truth")
    for viewer in (ADA, COORDINATOR, None):
        assert not policy.allowed(viewer, "page:truth")
    made(world.services.db, found(rest=1))
    assert page.notice(world.services, OPERATOR) == {"parted": [{"cluster": "c", "month": MONTH}], "projects": ""}
    for viewer in (ADA, COORDINATOR, None):
        assert page.notice(world.services, viewer) == {"parted": [], "projects": ""}


def test_a_month_is_shown_one_tres_at_a_time(world: World) -> None:
    made(world.services.db, found(rest=1))
    shown = page.look(world.services, "c", MONTH, "mem")
    assert shown["clusters"] == ["c"]
    assert [(line["account"], line["user"]) for line in shown["made"]["lines"]] == [("physics", ""), ("physics", "ada")]
    assert shown["made"]["parted"] == dict.fromkeys(truth.TRES, 2)
    assert shown["made"]["agrees"] is False


def test_the_page_opens_at_this_month_with_nothing_made_yet(world: World) -> None:
    shown = page.look(world.services, "", "", "")
    assert (shown["cluster"], shown["made"], shown["newest"]) == ("c", None, None)
    assert shown["months"][0] == shown["month"]


@pytest.mark.parametrize(
    ("cluster", "month", "tres"), [("imported", "", ""), ("else", "", ""), ("c", "2026-3", ""), ("c", "", "energy")]
)
def test_what_the_page_does_not_ask_is_refused(world: World, cluster: str, month: str, tres: str) -> None:
    with pytest.raises(Refused):
        page.look(world.services, cluster, month, tres)


@pytest.mark.parametrize(("cluster", "month"), [("imported", MONTH), ("c", "2999-01"), ("c", "nonsense"), ("c", "")])
def test_what_can_not_be_compared_is_not_asked_for(world: World, cluster: str, month: str) -> None:
    with pytest.raises(Refused):
        page.ask(world.services, OPERATOR, cluster, month)
    assert truth.last_checks(world.services.db) == []


@pytest.mark.parametrize("action", list(page.ACTIONS))
@pytest.mark.parametrize("viewer", [ADA, COORDINATOR, OPERATOR])
async def test_each_action_is_answered_to_operators_alone(
    world: World, monkeypatch: pytest.MonkeyPatch, viewer: Viewer, action: str
) -> None:
    monkeypatch.setattr(world.services.identity, "viewer_of", {viewer.login_id: viewer}.get)
    desk = Desk(world.services, viewer, live_of(world.services), page.ACTIONS)
    if viewer is OPERATOR:
        assert await desk._admitted(action) is page.ACTIONS[action]
    else:
        with pytest.raises(Refused, match="not open to you"):
            await desk._admitted(action)
