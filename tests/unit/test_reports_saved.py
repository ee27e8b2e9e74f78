"""Saved reports: kept, shown to those their owner says, and never more in them than the reader may see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.accounting.reports import (
    WINDOWS,
    Draft,
    ReportNotFound,
    ReportRefused,
    ScheduleDraft,
    read_saved,
    resolve,
    window_words,
)
from backend.accounting.usage import BadQuestion
from tests.unit.reports_kit import DAILY, DRAFT, MONTHLY, NOW_S, QUESTION, Desk
from tests.unit.usage_kit import at


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def users(desk: Desk, reader: str, report_id: str) -> dict[str, float]:
    reports = desk.reports
    answer = reports.ask(desk.who(reader), reports.get(desk.who(reader), report_id))
    return dict(zip(answer.table["user"].to_pylist(), answer.table["cpu_hours"].to_pylist(), strict=True))


def test_each_reader_sees_rows_of_their_own_scope(desk: Desk) -> None:
    report = desk.reports.save(desk.who("olga"), replace(DRAFT, visibility="everyone"))
    assert users(desk, "olga", report.id) == {"ada": 6.0, "bob": 14.0, "eve": 6.0, "leo": 10.0}
    assert users(desk, "ada", report.id) == {"ada": 6.0, "eve": 6.0, "leo": 10.0}
    assert users(desk, "bob", report.id) == {"bob": 14.0}


def test_mine_means_the_readers_own(desk: Desk) -> None:
    report = desk.reports.save(desk.who("ada"), Draft("Mine", QUESTION | {"who": "mine"}, visibility="everyone"))
    assert users(desk, "ada", report.id) == {"ada": 6.0}
    assert users(desk, "bob", report.id) == {"bob": 14.0}


@pytest.mark.parametrize(
    ("visibility", "account", "seen_by"),
    [("private", "", {"ada"}), ("account", "physics", {"ada", "eve"}), ("everyone", "", {"ada", "bob", "eve", "olga"})],
)
def test_a_report_is_seen_by_those_it_is_shown_to(desk: Desk, visibility: str, account: str, seen_by: set[str]) -> None:
    desk.identity.add_person("console", "eve", "correct horse battery")
    desk.members["eve"] = frozenset({"physics"})
    report = desk.reports.save(desk.who("ada"), replace(DRAFT, visibility=visibility, account=account))
    for name in ("ada", "bob", "eve", "olga"):
        assert bool(desk.reports.shown(desk.who(name))) == (name in seen_by)
        if name not in seen_by:
            with pytest.raises(ReportNotFound):
                desk.reports.get(desk.who(name), report.id)


def test_only_the_owner_changes_it_and_an_admin_may_end_it(desk: Desk) -> None:
    report = desk.reports.save(desk.who("ada"), replace(DRAFT, visibility="everyone"))
    for name in ("bob", "olga", "root"):
        with pytest.raises(ReportNotFound):
            desk.reports.change(desk.who(name), report.id, DRAFT)
        with pytest.raises(ReportNotFound):
            desk.reports.schedule(desk.who(name), report.id, MONTHLY)
    with pytest.raises(ReportNotFound):
        desk.reports.delete(desk.who("bob"), report.id)
    desk.reports.delete(desk.who("root"), report.id)
    assert desk.reports.shown(desk.who("ada")) == []


def test_what_was_deleted_can_be_brought_back_with_its_schedule(desk: Desk) -> None:
    report = desk.sent_at(DAILY)
    desk.reports.delete(desk.who("ada"), report.id)
    desk.clock.forward(3 * 86400)
    assert desk.look() == 0
    with pytest.raises(ReportNotFound):
        desk.reports.restore(desk.who("bob"), report.id)
    back = desk.reports.restore(desk.who("ada"), report.id)
    assert back.name == report.name
    assert back.schedules[0].due_s > desk.clock()  # what was missed meanwhile is not made up
    assert [action for action, _, _ in desk.lines("report.delete")] == ["ada"]


def test_schedules_are_told_to_the_owner_alone(desk: Desk) -> None:
    report = desk.sent_at(MONTHLY, draft=replace(DRAFT, visibility="everyone"))
    assert desk.reports.get(desk.who("ada"), report.id).schedules[0].words == "On the 1st of each month at 06:00"
    assert desk.reports.get(desk.who("bob"), report.id).schedules == ()


@pytest.mark.parametrize(
    "draft",
    [
        replace(DRAFT, name="  "), replace(DRAFT, name="x" * 121), replace(DRAFT, name="a\0b"),
        replace(DRAFT, visibility="world"), replace(DRAFT, visibility="account", account="biology"),
        replace(DRAFT, visibility="account"), replace(DRAFT, chart="javascript"),
    ],
)  # fmt: skip
def test_what_can_be_no_report_is_refused(desk: Desk, draft: Draft) -> None:
    with pytest.raises(ReportRefused):
        desk.reports.save(desk.who("ada"), draft)


def test_a_name_is_one_line(desk: Desk) -> None:
    assert desk.reports.save(desk.who("ada"), replace(DRAFT, name=" a\r\nBcc: x ")).name == "a Bcc: x"


@pytest.mark.parametrize(
    ("owner", "schedule"),
    [
        ("ada", ScheduleDraft("month", 6, "csv", "mail", addresses=("bob@example.org",))),
        ("ada", ScheduleDraft("month", 6, "csv", "mail", addresses=("ada@example.org\nBcc: eve@example.org",))),
        ("ada", ScheduleDraft("month", 6, "csv", "folder")),
        ("ada", ScheduleDraft("month", 24, "csv", "mail")),
        ("ada", ScheduleDraft("hour", 6, "csv", "mail")),
        ("ada", ScheduleDraft("week", 6, "csv", "mail", weekday=7)),
        ("ada", ScheduleDraft("month", 6, "exe", "mail")),
        ("ada", ScheduleDraft("month", 6, "csv", "fax")),
        ("olga", ScheduleDraft("month", 6, "csv", "mail", addresses=("nobody",))),
    ],
)
def test_what_may_not_be_sent_is_refused(desk: Desk, owner: str, schedule: ScheduleDraft) -> None:
    with pytest.raises(ReportRefused):
        desk.sent_at(schedule, owner)


def test_operators_may_mail_others(desk: Desk) -> None:
    wanted = ScheduleDraft("month", 6, "csv", "mail", addresses=("head@example.org", "ada@example.org"))
    assert desk.schedule(desk.sent_at(wanted, "olga")).addresses == ("head@example.org", "ada@example.org")


def test_a_schedule_can_be_switched_off_and_on(desk: Desk) -> None:
    report = desk.sent_at(DAILY)
    schedule = desk.schedule(report)
    desk.reports.switch(desk.who("ada"), report.id, schedule.id, active=False)
    desk.clock.forward(2 * 86400)
    assert desk.look() == 0
    desk.reports.switch(desk.who("ada"), report.id, schedule.id, active=True)
    assert desk.schedule(report).due_s > desk.clock()


# -- questions -----------------------------------------------------------------------------------------------


def test_a_window_moves_with_the_calendar_of_its_zone() -> None:
    saved = read_saved(QUESTION | {"window": "last_month", "zone": "Europe/Berlin"}, "UTC")
    question = resolve(saved, at("2026-04-01T00:30+02:00"))
    assert (question.since_s, question.until_s) == (at("2026-03-01T00:00+01:00"), at("2026-04-01T00:00+02:00"))
    assert window_words(saved) == "Last month"


@pytest.mark.parametrize(
    ("window", "since", "until"),
    [
        ("today", "2026-11-20", "2026-11-21"), ("yesterday", "2026-11-19", "2026-11-20"),
        ("7d", "2026-11-14", "2026-11-21"), ("30d", "2026-10-22", "2026-11-21"),
        ("week", "2026-11-16", "2026-11-23"), ("last_week", "2026-11-09", "2026-11-16"),
        ("month", "2026-11-01", "2026-12-01"), ("last_month", "2026-10-01", "2026-11-01"),
        ("quarter", "2026-10-01", "2027-01-01"), ("last_quarter", "2026-07-01", "2026-10-01"),
        ("year", "2026-01-01", "2027-01-01"), ("last_year", "2025-01-01", "2026-01-01"),
    ],
)  # fmt: skip
def test_windows_by_name(window: str, since: str, until: str) -> None:
    question = resolve(read_saved(QUESTION | {"window": window}, "UTC"), NOW_S)
    assert (question.since_s, question.until_s) == (at(since), at(until))


@pytest.mark.parametrize(
    "wrong",
    [
        {"metrics": []}, {"metrics": "cpu_hours"}, {"metrics": ["nonsense"]}, {"by": ["nonsense"]}, {"window": "soon"},
        {"window": ""}, {"window": "", "since": "2026-11-02", "until": "2026-11-01"}, {"zone": "../../etc/passwd"},
        {"where": {"nonsense": ["x"]}}, {"where": {"user": []}}, {"where": {"user": "ada"}}, {"where": {"day": ["x"]}},
        {"where": {"user": ["a\0"]}}, {"where": [1]}, {"order": "; drop"}, {"limit": 0}, {"limit": True},
        {"who": "them"}, {"definitions": "mine"}, {"scope": {"everything": True}}, {"where": {"user": ["\ud800"]}},
    ],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_not_kept(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadQuestion):
        read_saved(QUESTION | wrong, "UTC")


@pytest.mark.parametrize(
    "window", [*({"window": name} for name in WINDOWS), {"window": "", "since": "2001-01-01", "until": "now"}]
)
def test_every_window_can_be_kept(window: dict[str, str]) -> None:
    kept = read_saved(QUESTION | window, "UTC")
    asked = resolve(kept, NOW_S)
    assert asked.since_s < asked.until_s


def test_a_kept_question_is_whole_and_reads_back_as_itself() -> None:
    saved = read_saved(QUESTION | {"where": [["user", ["ada"]], ["user", ["bob"]]]}, "Europe/Berlin")
    assert saved == {
        "metrics": ["cpu_hours"], "by": ["user"], "where": {"user": ["ada", "bob"]}, "window": "month",
        "zone": "Europe/Berlin", "definitions": "carme", "order": "", "limit": None, "who": "all",
    }  # fmt: skip
    assert read_saved(saved, "UTC") == saved
