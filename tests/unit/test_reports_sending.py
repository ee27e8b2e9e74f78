"""Reports at their hours: in the owner's scope of that day, once, and what goes wrong is told and tried again."""

from __future__ import annotations

import csv
import io
import os
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.accounting.reports import Draft, ReportRunner, ScheduleDraft
from backend.accounting.reports.runner import CLAIM_S, MOST_TRIES
from backend.accounting.reports.times import Times
from backend.notices import BadMail, Mailer, NotSureSent
from backend.store.models import ReportSchedule, SavedReport
from tests.unit.identity_kit import Clock
from tests.unit.reports_kit import DAILY, DRAFT, MONTHLY, NO_SERVER, QUESTION, Desk
from tests.unit.usage_kit import at

LAST_MONTH = Draft("Last month", QUESTION | {"window": "last_month"})
FOLDER = ScheduleDraft("month", 6, "csv", "folder")
DECEMBER_S = at("2026-12-01T06:00")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def users(text: str) -> dict[str, float]:
    return {row["user"]: float(row["cpu_hours"]) for row in csv.DictReader(io.StringIO(text))}


def test_nothing_goes_out_before_its_hour(desk: Desk) -> None:
    report = desk.sent_at(MONTHLY, draft=LAST_MONTH)
    assert desk.schedule(report).due_s == DECEMBER_S
    desk.clock.now_s = DECEMBER_S - 1
    assert (desk.look(), desk.inbox.mails) == (0, [])


def test_the_previous_month_goes_out_on_the_first_in_the_owners_scope(desk: Desk) -> None:
    report = desk.sent_at(MONTHLY, draft=LAST_MONTH)
    desk.clock.now_s = DECEMBER_S + 5
    assert desk.look() == 1
    to, subject, text, files = desk.inbox.mails[0]
    assert (to, subject) == (("ada@example.org",), "Carme: Last month")
    assert files[0].name == "Last-month-2026-11-01-to-2026-11-30.csv"
    assert users(desk.inbox.attached[0]) == {"ada": 6.0, "eve": 6.0, "leo": 10.0}
    assert "CPU hours: 22.00" in text
    assert f"https://c.example.org/reports?report={report.id}" in text
    assert desk.schedule(report).due_s == at("2027-01-01T06:00")
    assert desk.schedule(report).done_s == DECEMBER_S + 5
    assert desk.lines("report.send") == [("console", report.id, "done")]
    assert (desk.look(), len(desk.inbox.mails)) == (0, 1)


def test_missed_occurrences_are_made_up_once(desk: Desk) -> None:
    report = desk.sent_at(DAILY)
    desk.clock.forward(10 * 86400)
    assert desk.look() == 1
    assert len(desk.inbox.mails) == 1
    assert desk.schedule(report).due_s == at("2026-12-01T06:00")


def test_a_late_run_still_tells_of_the_month_it_was_due_for(desk: Desk) -> None:
    desk.sent_at(MONTHLY, draft=LAST_MONTH)
    desk.clock.now_s = at("2026-12-24")
    desk.look()
    assert desk.inbox.mails[0][3][0].name.endswith("2026-11-01-to-2026-11-30.csv")


def test_rights_are_those_of_the_day(desk: Desk) -> None:
    desk.sent_at(DAILY)
    desk.identity.coordinates_by(lambda _name: frozenset())
    desk.clock.forward(86400)
    desk.look()
    assert users(desk.inbox.attached[0]) == {"ada": 6.0}


def test_a_locked_owners_report_stops_and_says_so(desk: Desk) -> None:
    report = desk.sent_at(DAILY)
    desk.identity.lock_person("console", "ada")
    desk.clock.forward(86400)
    desk.look()
    assert desk.inbox.mails == []
    desk.identity.unlock_person("console", "ada")
    stopped = desk.schedule(report)
    assert not stopped.active
    assert "locked" in stopped.stopped
    assert desk.lines("report.send") == [("console", report.id, "refused")]
    desk.clock.forward(86400)
    assert desk.look() == 0


def test_an_operator_who_is_none_any_more_mails_nobody_else_and_fills_no_folder(desk: Desk) -> None:
    mailed = desk.sent_at(ScheduleDraft("day", 6, "csv", "mail", addresses=("head@example.org",)), "olga")
    filed = desk.sent_at(replace(FOLDER, every="day"), "olga")
    desk.identity.set_roles("console", "olga", ())
    desk.clock.forward(86400)
    desk.look()
    assert desk.inbox.mails == []
    assert not desk.settings.reports.folder.exists()
    assert "only operators" in desk.schedule(mailed).stopped
    assert "Only operators" in desk.schedule(filed).stopped


# -- failures ------------------------------------------------------------------------------------------------


def test_a_failure_is_told_and_tried_again_ever_more_slowly(desk: Desk) -> None:
    report = desk.sent_at(MONTHLY, draft=LAST_MONTH)
    desk.inbox.wrong = NO_SERVER
    desk.clock.now_s = DECEMBER_S
    waits = []
    for _ in range(5):
        assert desk.look() == 1
        failed = desk.schedule(report)
        assert failed.error == "The mail server is away."
        assert failed.retry_s is not None
        waits.append(failed.retry_s - int(desk.clock()))
        desk.clock.forward(failed.retry_s - desk.clock() - 1)
        assert desk.look() == 0
        desk.clock.forward(1)
    assert waits == [60, 300, 900, 3600, 3600]
    desk.inbox.wrong = None
    assert desk.look() == 1
    assert len(desk.inbox.mails) == 1
    assert (desk.schedule(report).error, desk.schedule(report).tries) == ("", 0)


def test_after_many_tries_it_waits_for_its_next_hour(desk: Desk) -> None:
    report = desk.sent_at(MONTHLY)
    desk.inbox.wrong = NO_SERVER
    desk.clock.now_s = DECEMBER_S
    tries = 0
    while desk.look():
        tries += 1
        desk.clock.now_s = desk.schedule(report).retry_s or desk.clock.now_s
    assert tries == MOST_TRIES
    given_up = desk.schedule(report)
    assert (given_up.retry_s, given_up.due_s) == (None, at("2027-01-01T06:00"))
    assert given_up.error == "The mail server is away."


def test_what_can_never_work_is_not_tried_again(desk: Desk) -> None:
    report = desk.sent_at(MONTHLY)
    desk.inbox.wrong = BadMail("no such address")
    desk.clock.now_s = DECEMBER_S
    assert (desk.look(), desk.look()) == (1, 0)
    assert (desk.schedule(report).retry_s, desk.schedule(report).error) == (None, "no such address")


def test_a_mistake_in_one_report_does_not_end_the_others(desk: Desk) -> None:
    bad = desk.sent_at(DAILY, draft=replace(DRAFT, name="bad"))
    with desk.db.begin() as rows:
        row = rows.get(SavedReport, bad.id)
        assert row is not None
        row.question = {"nonsense": 1}
    desk.sent_at(DAILY, draft=replace(DRAFT, name="good"))
    desk.clock.forward(86400)
    desk.look()
    assert [mail[1] for mail in desk.inbox.mails] == ["Carme: good"]
    with desk.db.read() as rows:
        errors = [row.error for row in rows.query(ReportSchedule).filter(ReportSchedule.report_id == bad.id)]
    assert "its log has it" in errors[0]


# -- never twice ---------------------------------------------------------------------------------------------


def test_two_processes_send_one_mail(desk: Desk) -> None:
    for number in range(4):
        desk.sent_at(DAILY, draft=replace(DRAFT, name=f"r{number}"))
    desk.clock.forward(86400)
    runners = [desk.process()[1] for _ in range(4)]
    barrier = threading.Barrier(len(runners))

    def work(runner: object) -> None:
        barrier.wait()
        runner.look()  # type: ignore[attr-defined]

    threads = [threading.Thread(target=work, args=(runner,)) for runner in runners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(mail[1] for mail in desk.inbox.mails) == [f"Carme: r{number}" for number in range(4)]


def test_a_mail_that_may_have_gone_out_is_not_sent_again(desk: Desk) -> None:
    report = desk.sent_at(DAILY)
    desk.inbox.wrong = NotSureSent("The connection broke.")
    desk.clock.forward(86400)
    desk.look()
    desk.inbox.wrong = None
    unsure = desk.schedule(report)
    assert "not sent again" in unsure.error
    assert (unsure.retry_s, desk.look(), desk.inbox.mails) == (None, 0, [])


class Killed(BaseException):
    """The process ends here, as by kill -9."""


def die() -> None:
    raise Killed


def test_a_process_that_dies_while_it_hands_a_mail_over_leaves_it_at_that(desk: Desk) -> None:
    report = desk.sent_at(DAILY)
    desk.clock.forward(86400)
    desk.inbox.on_send = die
    with pytest.raises(Killed):
        desk.look()
    desk.inbox.on_send = lambda: None
    assert desk.look() == 0  # the claim still holds
    desk.clock.forward(CLAIM_S + 1)
    assert desk.look() == 1
    assert desk.inbox.mails == []
    assert "may have gone out" in desk.schedule(report).error


def test_a_process_that_dies_earlier_is_made_good(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    report = desk.sent_at(DAILY)
    desk.clock.forward(86400)
    with monkeypatch.context() as patch:
        patch.setattr("backend.accounting.reports.runner.make", lambda *_args: die())
        with pytest.raises(Killed):
            desk.look()
    desk.clock.forward(CLAIM_S + 1)
    assert desk.look() == 1
    assert len(desk.inbox.mails) == 1
    assert desk.schedule(report).error == ""


def test_a_process_that_was_too_slow_does_not_send(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lost its claim while it made the file; another has sent it since."""
    from backend.accounting.reports import runner

    desk.sent_at(DAILY)
    desk.clock.forward(86400)
    slow_make = runner.make

    def slow(*args: object) -> object:
        made = slow_make(*args)  # type: ignore[arg-type]
        monkeypatch.setattr(runner, "make", slow_make)
        desk.clock.forward(CLAIM_S + 1)
        desk.look()
        return made

    monkeypatch.setattr(runner, "make", slow)
    desk.look()
    assert len(desk.inbox.mails) == 1


# -- the folder ----------------------------------------------------------------------------------------------


def test_a_file_is_put_whole_and_readable_by_the_group(desk: Desk) -> None:
    report = desk.sent_at(FOLDER, "olga", replace(LAST_MONTH, name="../../etc/cron.d/x"))
    desk.clock.now_s = DECEMBER_S
    desk.look()
    folder = desk.settings.reports.folder / "olga"
    (path,) = folder.iterdir()
    assert path.name == f"etc-cron-d-x-2026-11-01-to-2026-11-30-{report.id}.csv"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert users(path.read_text()) == {"ada": 6.0, "bob": 14.0, "eve": 6.0, "leo": 10.0}


def test_a_link_in_its_place_is_replaced_not_followed(desk: Desk, tmp_path: Path) -> None:
    report = desk.sent_at(FOLDER, "olga", LAST_MONTH)
    other = tmp_path / "other"
    other.write_text("precious")
    place = desk.settings.reports.folder / "olga"
    place.mkdir(parents=True)
    link = place / f"Last-month-2026-11-01-to-2026-11-30-{report.id}.csv"
    link.symlink_to(other)
    desk.clock.now_s = DECEMBER_S
    desk.look()
    assert other.read_text() == "precious"
    assert not link.is_symlink()


def test_a_folder_that_cannot_be_written_is_told_and_tried_again(desk: Desk) -> None:
    report = desk.sent_at(FOLDER, "olga")
    desk.settings.reports.folder.parent.mkdir(parents=True, exist_ok=True)
    desk.settings.reports.folder.write_text("a file where the folder should be")
    desk.clock.now_s = DECEMBER_S
    desk.look()
    failed = desk.schedule(report)
    assert "can't be put into" in failed.error
    assert failed.retry_s is not None
    desk.settings.reports.folder.unlink()
    desk.clock.now_s = failed.retry_s
    desk.look()
    assert desk.schedule(report).error == ""


def test_no_file_of_a_run_stays_behind(desk: Desk) -> None:
    desk.sent_at(DAILY)
    desk.inbox.wrong = NO_SERVER
    desk.clock.forward(86400)
    desk.look()
    assert list((desk.settings.instance.data_dir / "tmp").iterdir()) == []


def test_files_of_a_killed_run_are_removed_when_they_are_old(desk: Desk) -> None:
    folder = desk.settings.instance.data_dir / "tmp"
    (folder / "xlsx").mkdir(parents=True)
    for name, age_s in (("report-old", 2 * 86400), ("xlsx/part", 2 * 86400), ("report-now", 60)):
        (folder / name).write_text("ada,12")
        os.utime(folder / name, (time.time() - age_s,) * 2)
    desk.look()
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["report-now"]


def test_whatever_a_look_meets_the_next_one_comes_and_it_is_logged_once(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[int] = []
    stop = threading.Event()

    def refresh() -> None:
        looks.append(1)
        if len(looks) == 4:
            stop.set()
        raise OSError("the snapshot can't be read")

    runner = ReportRunner(desk.reports, desk.identity, Mailer(desk.settings.mail), refresh=refresh)
    stop.wait = lambda _timeout=None: False  # type: ignore[method-assign]
    runner.run(stop)
    assert len(looks) == 4
    assert len([record for record in caplog.records if record.name == "carme.reports"]) == 1


# -- when ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "after", "due"),
    [
        (Times("month", 6), "2026-11-01T05:59", "2026-11-01T06:00"),
        (Times("month", 6), "2026-11-01T06:00", "2026-12-01T06:00"),
        (Times("month", 0), "2026-12-31T23:59", "2027-01-01T00:00"),
        (Times("week", 6, weekday=0), "2026-11-20T12:00", "2026-11-23T06:00"),
        (Times("week", 6, weekday=4), "2026-11-20T05:00", "2026-11-20T06:00"),
        (Times("day", 23), "2026-11-20T23:00", "2026-11-21T23:00"),
    ],
)
def test_when_it_is_due_next(times: Times, after: str, due: str) -> None:
    assert times.after(at(after), ZoneInfo("UTC")) == at(due)


def test_hours_are_those_of_the_zones_clock() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert Times("day", 6).after(at("2026-03-28T12:00+01:00"), berlin) == at("2026-03-29T06:00+02:00")
    # 02:00 is left out that night: the same moment is called 03:00.
    assert Times("day", 2).after(at("2026-03-28T12:00+01:00"), berlin) == at("2026-03-29T03:00+02:00")
    assert Times("day", 2).after(at("2026-03-29T03:00+02:00"), berlin) == at("2026-03-30T02:00+02:00")


@given(
    st.sampled_from(["month", "week", "day"]), st.integers(0, 23), st.integers(0, 6),
    st.integers(at("2025-01-01"), at("2028-01-01")), st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns"]),
)  # fmt: skip
def test_the_next_is_later_and_no_further_than_its_period(
    every: str, hour: int, weekday: int, now_s: int, zone: str
) -> None:
    times = Times(every, hour, weekday)  # type: ignore[arg-type]
    due_s = times.after(now_s, ZoneInfo(zone))
    longest_s = {"month": 32, "week": 8, "day": 2}[every] * 86400
    assert now_s < due_s <= now_s + longest_s
    assert times.latest(due_s, due_s + longest_s * 3, ZoneInfo(zone)) <= due_s + longest_s * 3
    assert Clock(due_s)() == due_s
