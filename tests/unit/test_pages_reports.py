"""The reports page without a browser: what it lists, what it keeps of the usage page, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from backend.accounting.reports import read_saved
from backend.services import Services
from pages.parts.charts.look import Look
from pages.parts.desk import Refused
from pages.parts.usage.view import View
from pages.reports import listed, opened, question_of
from tests.unit.reports_kit import DRAFT, MONTHLY, Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def services(desk: Desk) -> Services:
    return cast(Services, SimpleNamespace(reports=desk.reports, settings=desk.settings, usage=desk.reports.usage))


def test_the_list_tells_what_one_may_do(desk: Desk) -> None:
    report = desk.sent_at(MONTHLY, draft=replace(DRAFT, visibility="everyone"))
    own, others, admins = (listed(services(desk), desk.who(name)) for name in ("ada", "bob", "root"))
    assert own["reports"][0]["words"] == "CPU hours by user"
    assert [each["words"] for each in own["reports"][0]["schedules"]] == ["On the 1st of each month at 06:00"]
    assert (others["reports"][0]["schedules"], others["reports"][0]["may_delete"]) == ([], False)
    assert (admins["reports"][0]["id"], admins["reports"][0]["may_delete"]) == (report.id, True)
    assert (own["may_file"], own["folder"], admins["may_file"]) == (False, "", True)
    assert own["accounts"] == ["lasers", "physics"]


def test_an_opened_report_holds_rows_of_the_readers_scope(desk: Desk) -> None:
    report = desk.reports.save(desk.who("olga"), replace(DRAFT, visibility="everyone"))
    seen = opened(services(desk), desk.who("bob"), report.id, Look())
    assert seen["table"]["rows"] == [["bob", "14.00"]]
    assert seen["totals"] == [["CPU hours", "14.00"]]
    assert seen["scope"] == "Jobs of bob"
    assert seen["picture"]["item"]


def test_a_report_one_may_not_see_is_not_there(desk: Desk) -> None:
    report = desk.reports.save(desk.who("ada"), DRAFT)
    for report_id in (report.id, "nonsense"):
        with pytest.raises(Refused, match="no such report"):
            opened(services(desk), desk.who("bob"), report_id, Look())


@pytest.mark.parametrize(
    ("shown", "by", "metric"),
    [
        (View(chart="time", by="user", grain="week"), ["week", "user"], "cpu_hours"),
        (View(chart="rank", by="account"), ["account"], "cpu_hours"),
        (View(chart="week"), ["hour"], "cpu_hours"),
        (View(chart="tree"), ["account"], "cpu_hours"),
        (View(chart="wait", by="job_size"), ["job_size"], "wait_median_s"),
        (View(chart="time", by=""), ["day"], "cpu_hours"),
    ],
)
def test_what_usage_shows_becomes_a_question_that_can_be_kept(shown: View, by: list[str], metric: str) -> None:
    view = replace(shown, where=(("partition", ("gpu", "")),), who="mine")
    kept: dict[str, Any] = read_saved(question_of(view), "UTC")
    assert (kept["by"], kept["metrics"], kept["who"]) == (by, [metric], "mine")
    assert (kept["where"], kept["window"]) == ({"partition": ["gpu", ""]}, "30d")
