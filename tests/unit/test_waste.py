"""The waste desk: hours are what was measured and no more, each sees their scope, nobody is told twice a day."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from backend.accounting.rights import scope_of
from backend.accounting.usage import Scope
from backend.identity import Viewer
from backend.notices import MailError, NotSureSent
from backend.store.models import Audit, IdleNotice, Person
from backend.waste import WINDOWS, BadWaste, IdleNotices, NoticeRefused, Sender, Waste, window
from pages.parts.desk import Refused
from pages.waste import draft, idle, jobs_of, look, send, told
from tests.unit.pages_kit import ADA, BOB, OPERATOR, UIDS
from tests.unit.waste_kit import WasteSite

SCIENCE = frozenset({"science", "physics"})
SUE = Viewer("sue", "Sue", 50009, frozenset({"user", "coordinator"}), "s", coordinates=SCIENCE)
EVERYTHING = Scope(everything=True)
HOUR = 3600


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> WasteSite:
    """For tests that change nothing."""
    return WasteSite(tmp_path_factory.mktemp("waste"))


@pytest.fixture
def site(tmp_path: Path) -> WasteSite:
    return WasteSite(tmp_path)


def figures(site: WasteSite, viewer: Viewer = OPERATOR, window_name: str = "week") -> dict[str, Any]:
    return look(site.services, viewer, window_name)


def table(answer: dict[str, Any], by: str) -> dict[str, dict[str, Any]]:
    (found,) = [each for each in answer["tables"] if each["by"] == by]
    return {row["name"]: row for row in found["rows"]}


# -- hours ---------------------------------------------------------------------------------------------------


def test_hours_are_those_of_whole_jobs_ended_in_the_window_and_running(shared: WasteSite) -> None:
    total = figures(shared)["total"]
    assert total["jobs"] == 5 and total["measured_jobs"] == 4
    assert total["allocated"] == pytest.approx(2 * 2 + 1 + 2 * 3 + 40 / 60 + 2 * 3, abs=0.02)
    assert total["idle"] == pytest.approx(3 + 4 + 40 / 60)


def test_what_was_not_measured_is_neither_idle_nor_measured(shared: WasteSite) -> None:
    bob = table(figures(shared), "user")["bob"]
    assert (bob["jobs"], bob["measured_jobs"]) == (2, 1)
    assert bob["allocated"] == pytest.approx(1 + 40 / 60, abs=0.02)
    assert bob["measured"] == pytest.approx(40 / 60, abs=0.02)


@pytest.mark.parametrize("by", ["user", "account", "partition", "gpu_type"])
def test_the_rows_of_every_table_sum_to_the_total_and_to_their_jobs(shared: WasteSite, by: str) -> None:
    answer = figures(shared)
    rows = table(answer, by)
    for metric in ("allocated", "measured", "idle"):
        assert sum(row[metric] for row in rows.values()) == pytest.approx(answer["total"][metric])
    for name, row in rows.items():
        behind = jobs_of(shared.services, OPERATOR, "week", by, name)["jobs"]
        assert sum(job["idle"] for job in behind) == pytest.approx(row["idle"])
        assert len(behind) == row["jobs"]


def test_the_most_idle_come_first(shared: WasteSite) -> None:
    assert list(table(figures(shared), "user")) == ["ada", "bob"]


def test_where_jobs_can_not_be_listed_those_that_held_gpus_are_looked_up(site: WasteSite) -> None:
    listed = figures(site)
    site.telemetry.lists_jobs = False
    site.telemetry.asked.clear()
    named = figures(site)
    assert [what for what, _ in site.telemetry.asked if what.startswith("footprints")] == ["footprints"]
    for metric in ("jobs", "measured_jobs", "measured", "idle"):
        assert named["total"][metric] == pytest.approx(listed["total"][metric], abs=0.02)


def test_more_jobs_than_can_be_looked_up_are_said_to_be_too_many(
    site: WasteSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.telemetry.lists_jobs = False
    monkeypatch.setattr("backend.waste.figures.MOST_NAMED", 4)
    answer = figures(site)
    assert "choose a shorter window" in answer["away"]
    assert (answer["total"]["jobs"], answer["total"]["measured_jobs"]) == (5, 0)


def test_a_coordinator_sees_the_accounts_below_and_no_others(shared: WasteSite) -> None:
    answer = figures(shared, SUE)
    assert set(table(answer, "account")) == {"physics"} and set(table(answer, "user")) == {"ada"}
    assert answer["everybody"] is False
    assert jobs_of(shared.services, SUE, "week", "user", "bob")["jobs"] == []
    assert {job["user"] for job in idle(shared.services, SUE, 30)["jobs"]} == {"ada"}


PROJECTS = """
[[project]]
name = "lasers"
accounts = ["physics"]
"""


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> WasteSite:
    return WasteSite(tmp_path_factory.mktemp("projects"), projects=PROJECTS)


def test_hours_by_project_are_those_of_its_accounts(projects: WasteSite) -> None:
    answer = figures(projects)
    by_account, by_project = table(answer, "account"), table(answer, "project")
    assert set(by_project) == {"lasers", ""}
    for metric in ("allocated", "measured", "idle", "jobs"):
        assert by_project["lasers"][metric] == by_account["physics"][metric]
        assert by_project[""][metric] == by_account["biology"][metric]
    for name, account in (("lasers", "physics"), ("", "biology")):
        behind = jobs_of(projects.services, OPERATOR, "week", "project", name)["jobs"]
        assert {job["account"] for job in behind} == {account}
        assert sum(job["idle"] for job in behind) == pytest.approx(by_project[name]["idle"])


def test_by_project_a_coordinator_sees_no_more_than_their_accounts(projects: WasteSite) -> None:
    assert set(table(figures(projects, SUE), "project")) == {"lasers"}
    assert jobs_of(projects.services, SUE, "week", "project", "")["jobs"] == []


def test_without_projects_there_is_no_table_by_project(shared: WasteSite) -> None:
    assert "project" not in {each["by"] for each in figures(shared)["tables"]}
    with pytest.raises(Refused):
        jobs_of(shared.services, OPERATOR, "week", "project", "")
    now = int(time.time())
    waste = Waste(shared.services.warehouse, shared.services.telemetry)
    assert waste.figures(EVERYTHING, now - 86400, now, now).groups["project"] == ()
    with pytest.raises(BadWaste):
        waste.jobs(EVERYTHING, now - 86400, now, now, by="project", name=None)


def test_a_scope_without_anything_sees_nothing(shared: WasteSite) -> None:
    waste = Waste(shared.services.warehouse, shared.services.telemetry)
    now = int(time.time())
    assert waste.figures(Scope(), now - 86400, now + 1, now).total.jobs == 0


def test_a_window_of_the_past_has_no_running_jobs(shared: WasteSite) -> None:
    waste = Waste(shared.services.warehouse, shared.services.telemetry)
    now = int(time.time())
    found = waste.figures(EVERYTHING, now - 86400, now - 500, now)
    assert found.total.jobs == 2
    with pytest.raises(BadWaste):
        waste.figures(EVERYTHING, now, now, now)


def test_while_telemetry_is_away_hours_are_shown_without_what_was_measured(site: WasteSite) -> None:
    site.telemetry.broken = "The telemetry process does not answer."
    answer = figures(site)
    assert answer["away"] == "The telemetry process does not answer."
    assert answer["total"]["jobs"] == 5 and answer["total"]["measured"] == 0
    assert idle(site.services, OPERATOR, 30)["away"] == "The telemetry process does not answer."


@pytest.mark.parametrize("name", ["", "year", "week'; drop table jobs"])
def test_another_window_is_refused(shared: WasteSite, name: str) -> None:
    with pytest.raises(Refused):
        figures(shared, window_name=name)
    with pytest.raises(Refused):
        jobs_of(shared.services, OPERATOR, "week", name, "x")


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_begin_at_days_of_the_sites_zone(name: str) -> None:
    zone = ZoneInfo("Europe/Berlin")
    now = datetime(2026, 3, 30, 14, 0, tzinfo=zone).timestamp()  # the clocks changed the day before
    since_s, until_s = window(name, "Europe/Berlin", now)
    assert since_s < until_s <= now + 1
    if name in ("day", "this-month", "last-month"):
        first = datetime.fromtimestamp(since_s, zone)
        assert (first.hour, first.minute) == (0, 0)
        assert first.day == (30 if name == "day" else 1)


# -- now -----------------------------------------------------------------------------------------------------


def test_idle_now_are_running_jobs_whose_gpus_did_nothing_for_so_long(shared: WasteSite) -> None:
    found = idle(shared.services, OPERATOR, 30)["jobs"]
    assert [(job["job_id"], job["user"], job["never"], job["is_session"]) for job in found] == [
        (11, "ada", False, False), (12, "bob", True, True),
    ]  # fmt: skip
    assert [job["job_id"] for job in idle(shared.services, OPERATOR, 60)["jobs"]] == [11]


def test_a_job_that_left_the_queue_is_not_idle_now(site: WasteSite) -> None:
    site.world.publish(jobs=[])
    assert idle(site.services, OPERATOR, 30)["jobs"] == []


def test_another_job_of_the_same_number_is_not_the_measured_one(site: WasteSite) -> None:
    site.telemetry.rows = [row | {"start_s": row["start_s"] - HOUR} for row in site.telemetry.rows]
    assert idle(site.services, OPERATOR, 30)["jobs"] == []


def test_a_job_whose_beginning_is_not_shown_any_more_is_idle_all_the_same(site: WasteSite) -> None:
    site.telemetry.rows = [row | {"start_s": row["start_s"] + 300} for row in site.telemetry.rows]
    assert idle(site.services, OPERATOR, 30)["jobs"] == []
    site.telemetry.lists_jobs = False
    found = idle(site.services, OPERATOR, 30)["jobs"]
    assert [(job["job_id"], job["never"]) for job in found] == [(11, False), (12, False)]
    site.telemetry.rows = [row | {"start_s": row["start_s"] - HOUR} for row in site.telemetry.rows]
    assert idle(site.services, OPERATOR, 30)["jobs"] == []


def test_of_a_job_that_was_requeued_the_attempt_that_runs_is_looked_up(site: WasteSite) -> None:
    site.telemetry.lists_jobs = False
    site.telemetry.rows += [row | {"start_s": row["start_s"] - HOUR} for row in site.telemetry.rows]
    found = idle(site.services, OPERATOR, 30)["jobs"]
    assert [(job["job_id"], job["never"]) for job in found] == [(11, False), (12, True)]


def test_what_was_not_measured_for_a_while_is_not_known_to_be_idle(site: WasteSite) -> None:
    for row in site.telemetry.rows:
        row["last_s"] = (row["last_active_s"] or row["first_s"]) + 60
    assert idle(site.services, OPERATOR, 30)["jobs"] == []


@pytest.mark.parametrize("minutes", [0, 4, 10**6, -1])
def test_senseless_minutes_are_refused(shared: WasteSite, minutes: int) -> None:
    with pytest.raises(Refused):
        idle(shared.services, OPERATOR, minutes)


# -- notices -------------------------------------------------------------------------------------------------


class Mails:
    """A mail server that takes everything, or fails as it is told."""

    def __init__(self, able: bool = True, error: MailError | None = None) -> None:
        self.able = able
        self.error = error
        self.sent: list[tuple[tuple[str, ...], str, str]] = []

    def send(self, to: Any, subject: str, text: str) -> None:
        if self.error:
            raise self.error
        self.sent.append((tuple(to), subject, text))


def with_mail(site: WasteSite, mails: Mails, now_s: float | None = None) -> Any:
    """Services whose notices go through `mails`; ada has an address."""
    with site.services.db.begin() as rows:
        if rows.get(Person, "ada") is None:
            rows.add(Person(name="ada", source="local", mail="ada@example.org", uid=UIDS["ada"], created_s=1))
    sender = Sender("Carme", "https://carme.example.org", "UTC")
    notices = IdleNotices(site.services.db, mails, sender, clock=lambda: time.time() if now_s is None else now_s)
    return replace(site.services, idle_notices=notices)


def test_a_notice_is_previewed_and_goes_out_as_it_was_shown(site: WasteSite) -> None:
    mails = Mails()
    services = with_mail(site, mails)
    shown = draft(services, OPERATOR, 11, "Please  free\nthem.")
    assert shown["ways"] == "in the console and by mail"
    assert "holds 2 × NVIDIA A100-SXM4-80GB, 16 CPUs, 64 GB." in shown["text"]
    assert "for 2 h." in shown["text"] and "Please free them." in shown["text"]
    sent = send(services, OPERATOR, 11, "Please  free\nthem.")
    assert (sent["mail"], sent["sent_by"], sent["person"]) == ("sent", "olga", "ada")
    ((to, subject, text),) = mails.sent
    assert (to, subject) == (("ada@example.org",), "Carme: job 11 leaves 2 GPUs idle")
    assert text == sent["text"]
    with services.db.read() as rows:
        lines = rows.scalars(select(Audit).where(Audit.action == "waste.notice")).all()
    assert [(line.actor, line.target, line.outcome, line.detail["person"]) for line in lines] == [
        ("olga", "local 11", "done", "ada")
    ]


def test_the_person_finds_it_in_the_console_until_it_is_put_away(site: WasteSite) -> None:
    services = with_mail(site, Mails())
    send(services, OPERATOR, 11, "")
    (notice,) = told(services, ADA)["notices"]
    assert notice["job_id"] == 11
    assert told(services, BOB)["notices"] == []
    before = services.idle_notices.version()
    services.idle_notices.put_away(BOB, notice["id"])
    assert told(services, ADA)["notices"] == [notice] and services.idle_notices.version() == before
    services.idle_notices.put_away(ADA, notice["id"])
    assert told(services, ADA)["notices"] == [] and services.idle_notices.version() != before
    (record,) = idle(services, OPERATOR, 30)["sent"]
    assert record["seen_s"] is not None


def test_the_same_job_is_not_asked_about_twice_within_a_day(site: WasteSite) -> None:
    services = with_mail(site, Mails())
    send(services, OPERATOR, 11, "")
    with pytest.raises(Refused, match="olga sent a notice about this job"):
        draft(services, SUE, 11, "")
    with pytest.raises(Refused, match="olga sent a notice about this job"):
        send(services, SUE, 11, "")
    assert idle(services, OPERATOR, 30)["jobs"][0]["told"]["by"] == "olga"
    later = with_mail(site, Mails(), now_s=time.time() + 86401)
    assert send(later, OPERATOR, 11, "")["mail"] == "sent"


def test_of_two_who_send_at_the_same_moment_one_does(site: WasteSite) -> None:
    mails = Mails()
    services = with_mail(site, mails)
    gate = threading.Barrier(4)
    came: list[str] = []

    def go(viewer: Viewer) -> None:
        gate.wait()
        try:
            came.append(send(services, viewer, 11, "")["sent_by"])
        except Refused:
            came.append("")

    threads = [threading.Thread(target=go, args=(viewer,)) for viewer in (OPERATOR, SUE, OPERATOR, SUE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([name for name in came if name]) == 1 and len(mails.sent) == 1
    with services.db.read() as rows:
        assert len(rows.scalars(select(IdleNotice)).all()) == 1


@pytest.mark.parametrize("viewer", [ADA, BOB])
def test_a_user_sends_nobody_a_notice(site: WasteSite, viewer: Viewer) -> None:
    with pytest.raises(Refused):
        send(site.services, viewer, 11, "")
    with site.services.db.read() as rows:
        assert rows.scalars(select(IdleNotice)).all() == []


def test_a_coordinator_tells_people_of_their_accounts_alone(site: WasteSite) -> None:
    services = with_mail(site, Mails())
    with pytest.raises(Refused):
        send(services, SUE, 12, "")
    assert send(services, SUE, 11, "")["sent_by"] == "sue"
    assert [row["job_id"] for row in idle(services, SUE, 30)["sent"]] == [11]
    send(services, OPERATOR, 12, "")
    assert [row["job_id"] for row in idle(services, SUE, 30)["sent"]] == [11]


def test_a_job_that_is_busy_again_is_not_asked_about(site: WasteSite) -> None:
    with pytest.raises(Refused, match="not idle any more"):
        send(site.services, OPERATOR, 13, "")


@pytest.mark.parametrize(
    ("mails", "state", "why"),
    [
        (Mails(able=False), "none", "This console sends no mail."),
        (Mails(error=MailError("The mail server said no.")), "failed", "The mail server said no."),
        (Mails(error=NotSureSent("It went away.")), "unsure", "may have gone out"),
    ],
)
def test_how_the_mail_went_is_kept_and_the_console_shows_it_all_the_same(
    site: WasteSite, mails: Mails, state: str, why: str
) -> None:
    services = with_mail(site, mails)
    sent = send(services, OPERATOR, 11, "")
    assert sent["mail"] == state and why in sent["mail_why"]
    assert len(told(services, ADA)["notices"]) == 1


def test_a_name_that_breaks_lines_breaks_no_mail(site: WasteSite) -> None:
    mails = Mails()
    services = with_mail(site, mails)
    jobs = services.snapshots.current.jobs.table.to_pylist()
    site.world.publish(jobs=[row | {"name": "a\r\nBcc: all@example.org"} for row in jobs])
    send(services, OPERATOR, 11, "x\r\ny")
    ((_, subject, text),) = mails.sent
    assert "\n" not in subject and "\nBcc" not in text and "x y" in text


def test_a_long_note_is_refused(site: WasteSite) -> None:
    with pytest.raises(Refused, match="1000"):
        draft(with_mail(site, Mails()), OPERATOR, 11, "x" * 1001)


def test_refusals_have_a_name(site: WasteSite) -> None:
    services = with_mail(site, Mails())
    (job, *_) = idle_jobs(services)
    with pytest.raises(NoticeRefused):
        services.idle_notices.send(ADA, job)


def idle_jobs(services: Any) -> Iterator[Any]:
    from backend import jobs
    from backend.waste import idle_now

    seen = jobs.seen_by(OPERATOR, services.snapshots.current, "all")
    yield from idle_now(services.telemetry, "local", seen, 30, time.time())


def test_the_scope_of_the_desk_is_that_of_usage() -> None:
    assert scope_of(SUE) == Scope(user="sue", uid=50009, accounts=SCIENCE)
