"""The usage page without a browser: its address, whose jobs it shows, and that every mark is the sum of its jobs."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.accounting.usage import CATALOGUE, BadQuestion, Scope, Usage
from pages import truth
from pages.parts import charts
from pages.parts.charts.look import Look
from pages.parts.desk import Desk
from pages.parts.live import Live
from pages.parts.usage import drill, picture, view, windows
from pages.parts.usage.picture import Asker
from pages.parts.usage.view import FILTERS, Defaults, View, read, write
from pages.usage import ACTIONS, accounts, asked, asker_of, defaults_of
from tests.unit.pages_kit import ADA, COORDINATOR, OPERATOR, World
from tests.unit.usage_kit import Accounts, Declared, at, job

NOW = at("2026-03-18T15:30")  # a Wednesday
TREE = [
    {"cluster": "c", "name": name, "parent": parent, "deleted": False, "coordinators": []}
    for name, parent in (("root", None), ("physics", "root"), ("astro", "physics"), ("bio", "root"))
]


def rows() -> list[dict[str, Any]]:
    """Jobs of twelve people in three accounts, most days of March, one still running."""
    found = []
    for n in range(120):
        start = at("2026-03-01T06:00") + n * 11_777
        user = f"user{n % 12:02d}"
        account = ("physics", "astro", "bio", None)[n % 4]
        found.append(
            job(n + 1, start, start + 1000 * (n % 12 + 1), user=user, uid=2000 + n % 12, account=account,
                cpus=n % 5 + 1, nodes=n % 3 + 1,
                eligible_s=start - 60 * (n % 7), submit_s=start - 60 * (n % 7), seen_s=start + 9000)
        )  # fmt: skip
    found.append(job(999, NOW - 7200, None, user="user03", uid=2003, seen_s=NOW, cpus=4))
    return found


@pytest.fixture(scope="module")
def usage() -> Usage:
    return Usage(Accounts(rows(), accounts=TREE), "UTC")


def asker(usage: Usage, scope: Scope | None = None, **given: Any) -> Asker:
    asked = View(**{"zone": "UTC", "who": "all", **given})
    return Asker(
        usage=usage,
        scope=scope or Scope(everything=True),
        view=asked,
        window=asked.stretch(NOW, at("2026-03-01T00:00")),
        seen_s=NOW,
    )


# -- the address ---------------------------------------------------------------------------------------------

_NAMES = st.sampled_from([each.name for each in CATALOGUE.metrics])
_VIEWS = st.builds(
    View,
    metric=_NAMES,
    by=st.sampled_from(["", *FILTERS]),
    chart=st.sampled_from(view.CHARTS),
    window=st.sampled_from(list(windows.NAMES)),
    grain=st.sampled_from(["", *view.GRAINS]),
    who=st.sampled_from(view.WHOSE),
    compare=st.booleans(),
    definitions=st.sampled_from(["carme", "xdmod"]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]),
    where=st.dictionaries(
        st.sampled_from(FILTERS),
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20), min_size=1, max_size=3,
                 unique=True).map(tuple),
        max_size=3,
    ).map(lambda found: tuple(sorted(found.items(), key=lambda item: FILTERS.index(item[0])))),
    sort=st.sampled_from(["", "-jobs", "user"]),
    every=st.booleans(),
)  # fmt: skip


@given(_VIEWS)
def test_an_address_is_the_whole_state(asked: View) -> None:
    defaults = Defaults(metric="gpu_hours", zone="Europe/Berlin", who="all")
    assert read(write(asked, defaults), defaults) == asked


def test_dates_stand_in_the_address_too() -> None:
    asked = read("since=2026-01-01&until=2026-02-01", Defaults())
    assert asked.window == ""
    assert asked.stretch(NOW, None).words() == "1 – 31 Jan 2026"
    assert read(write(asked, Defaults()), Defaults()) == asked


@given(st.text(max_size=200))
def test_any_address_is_read_or_refused_in_words(query: str) -> None:
    try:
        read(query, Defaults())
    except BadQuestion as error:
        assert str(error)


@pytest.mark.parametrize(
    "query",
    ["metric=money", "by=day", "by=jobs", "chart=pie", "window=tomorrow", "since=2026-02-30&until=2026-03-01",
     "since=2026-03-01&until=2026-03-01", "since=0001-01-01&until=9999-01-01", "tz=Mars/Olympus", "grain=second",
     "who=root", "user=" + "x" * 300, "x" * 9000],
)  # fmt: skip
def test_an_address_that_asks_nothing_is_refused(query: str) -> None:
    with pytest.raises(BadQuestion):
        read(query, Defaults())


def test_what_other_pages_put_into_an_address_is_left_alone() -> None:
    assert read("utm_source=mail&metric=jobs", Defaults()).metric == "jobs"


# -- whose ---------------------------------------------------------------------------------------------------


def test_nobody_sees_more_by_asking() -> None:
    assert view.scope(ADA, "all") == view.scope(ADA, "accounts") == Scope(user="ada", uid=50001)
    assert view.scope(COORDINATOR, "all").accounts == frozenset({"physics"})
    assert not view.scope(COORDINATOR, "all").everything
    assert view.scope(OPERATOR, "all") == Scope(everything=True)
    assert view.scope(OPERATOR, "mine") == Scope(user="olga", uid=50004)


def test_each_may_choose_what_they_may_see() -> None:
    assert [view.whose(who) for who in (ADA, COORDINATOR, OPERATOR)] == [
        ("mine",),
        ("mine", "accounts"),
        ("mine", "all"),
    ]


def test_a_person_without_rights_finds_no_mark_of_others(usage: Usage) -> None:
    own = asker(usage, Scope(user="user03", uid=2003), window="month")
    shown = picture.picture(own, Look())
    assert {row["name"] for row in shown["breakdown"]["rows"]} == {"user03"}
    with_others = drill.drill(own, {"user": "user04"}, 0)
    assert with_others["rows"] == []


# -- windows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("today", "18 Mar 2026"), ("yesterday", "17 Mar 2026"), ("7d", "12 – 18 Mar 2026"),
        ("30d", "17 Feb – 18 Mar 2026"), ("month", "1 – 31 Mar 2026"), ("last_month", "1 – 28 Feb 2026"),
        ("quarter", "1 Jan – 31 Mar 2026"), ("last_quarter", "1 Oct – 31 Dec 2025"), ("year", "1 Jan – 31 Dec 2026"),
        ("last_year", "1 Jan – 31 Dec 2025"),
    ],
)  # fmt: skip
def test_windows_are_what_people_mean(name: str, words: str) -> None:
    assert windows.named(name, "UTC", NOW).words() == words


def test_a_month_under_way_is_compared_with_as_much_of_the_one_before() -> None:
    since, until = windows.before(windows.named("month", "UTC", NOW), NOW)
    assert (since, until) == (at("2026-02-01T00:00"), at("2026-02-18T15:30"))
    assert windows.before(windows.named("last_month", "UTC", NOW), NOW) == (
        at("2026-01-01T00:00"),
        at("2026-02-01T00:00"),
    )


def test_days_begin_at_midnight_where_the_clock_changes() -> None:
    found = windows.between("2026-03-29", "2026-03-30", "Europe/Berlin")
    assert found.until_s - found.since_s == 23 * 3600


def test_a_comparison_never_reaches_into_the_window() -> None:
    window = windows.between("2026-03-01", "2026-04-01", "UTC")
    for seen in range(window.since_s - 86400, window.until_s + 86400, 43_210):
        since, until = windows.before(window, seen)
        assert since < until <= window.since_s


# -- figures and the jobs behind them ------------------------------------------------------------------------


def contributions(found: dict[str, Any], asked: Asker, cell: dict[str, Any]) -> float:
    """The sum over all pages of a cell's jobs, or of its parts' jobs."""
    if found["kind"] == "parts":
        return sum(
            contributions(drill.drill(asked, json.loads(part[2]), 0), asked, json.loads(part[2]))
            for part in found["rows"]
        )
    total, offset = 0.0, 0
    while offset < found["count"]:
        page = drill.drill(asked, cell, offset)
        total += sum(float(row["exact"]) for row in page["rows"])
        offset += len(page["rows"])
    return total


@pytest.mark.parametrize("metric", ["cpu_hours", "wall_hours", "jobs_started", "wait_hours"])
@pytest.mark.parametrize(
    ("chart", "by"), [("time", "user"), ("time", ""), ("time", "account"), ("rank", "user"), ("tree", "")]
)
def test_every_mark_is_the_sum_of_its_jobs(usage: Usage, metric: str, chart: str, by: str) -> None:
    asked = asker(usage, metric=metric, chart=chart, by=by, window="month", grain="week")
    rows_of = picture.picture(asked, Look())["chart"]["twin"]["rows"]
    marks = [(cell, value) for row in rows_of for _, value, cell in row if cell and isinstance(value, float | int)]
    assert marks
    for cell, value in marks[::3]:
        place = drill.read_cell(cell)
        found = drill.drill(asked, place, 0)
        assert contributions(found, asked, place) == pytest.approx(value, rel=1e-12)


def test_an_hour_of_the_week_opens_into_its_days(usage: Usage) -> None:
    asked = asker(usage, metric="cpu_hours", chart="week", window="month")
    chart = picture.picture(asked, Look())["chart"]
    cell = next(cell for row in chart["twin"]["rows"] for _, value, cell in row[1:] if value)
    found = drill.drill(asked, drill.read_cell(cell), 0)
    assert found["kind"] == "parts"
    assert contributions(found, asked, {}) == pytest.approx(float(found["exact"]), rel=1e-12)


def test_jobs_without_an_account_are_a_mark_like_others(usage: Usage) -> None:
    asked = asker(usage, metric="jobs", chart="rank", by="account", window="month")
    names = {row["name"]: row for row in picture.breakdown(asked)["rows"]}
    assert drill.drill(asked, drill.read_cell(names["no account"]["cell"]), 0)["count"] == 30


@pytest.mark.parametrize(
    "cell", ["{", "[]", '{"password": "x"}', '{"user": 5}', '{"user": ["a"]}', '{"weekday": 99}', '{"weekday": true}',
             json.dumps({"user": "x" * 400}), "null",
             json.dumps({"user": "\ud800"}), '{"user": "a\\u0000"}', "[" * 100_000],
)  # fmt: skip
def test_a_cell_that_no_chart_has_is_refused(cell: str) -> None:
    with pytest.raises(BadQuestion):
        drill.read_cell(cell)


def test_a_cell_outside_the_picture_is_refused_in_words(usage: Usage) -> None:
    asked = asker(usage, window="month", grain="day")
    for cell in ({"day": "1999-01-01"}, {"account": "nowhere", charts.BELOW: 1}):
        with pytest.raises(BadQuestion):
            drill.drill(asked, cell, 0)  # type: ignore[arg-type]


def test_the_breakdown_is_sorted_and_cut_as_asked(usage: Usage) -> None:
    table = picture.breakdown(asker(usage, metric="cpu_hours", window="month", by="user", sort="user"))
    assert [row["name"] for row in table["rows"]] == sorted(row["name"] for row in table["rows"])
    assert (table["count"], table["hidden"]) == (12, 0)
    largest = picture.breakdown(asker(usage, metric="cpu_hours", window="month", by="user"))
    values = [float(row["cells"][0].replace(",", "")) for row in largest["rows"]]
    assert values == sorted(values, reverse=True)


def test_running_jobs_are_told_as_so_far(usage: Usage) -> None:
    assert picture.figures(asker(usage, window="month"))["so_far"] is True
    assert picture.figures(asker(usage, window="last_month"))["so_far"] is False


def test_without_a_whole_period_before_nothing_is_compared(usage: Usage) -> None:
    asked = asker(usage, window="month")
    begun = Asker(asked.usage, asked.scope, asked.view, asked.window, NOW, oldest_s=at("2026-02-20T00:00"))
    shown = picture.figures(begun)
    assert all(figure["change"] is None for figure in shown["figures"])
    assert "begin on 20 Feb 2026" in shown["against"]


def test_the_words_of_a_picture_ask_the_same_elsewhere(usage: Usage) -> None:
    asked = asker(usage, window="month", grain="week", by="account", where=(("user", ("user01", "user02")),))
    words = picture.words(asked)
    assert ["by", "week,account"] in words
    assert words.count(["where", "user=user01"]) == 1
    assert ["since", f"@{at('2026-03-01T00:00')}"] in words


def test_every_chart_of_every_metric_draws_or_says_why_not(usage: Usage) -> None:
    for metric in CATALOGUE.metrics:
        for chart in view.CHARTS:
            asked = asker(usage, metric=metric.name, chart=chart, window="7d", by="account", compare=True)
            shown = picture.picture(asked, Look())
            json.dumps(shown, allow_nan=False)
            assert shown["chart"].get("refused") or shown["chart"]["name"]


# -- the page ------------------------------------------------------------------------------------------------


def test_an_empty_console_has_a_page_that_knows_it_is_empty(tmp_path: Path) -> None:
    world = World(tmp_path)
    known = accounts(world.services, None)
    assert (known["rows"], known["clusters"]) == (0, [])
    asked = asker_of(world.services, ADA, read("", defaults_of(world.services, ADA)))
    assert "refused" in picture.picture(asked, Look())["chart"]
    assert asked.window.until_s > time.time()


def test_every_part_of_the_address_is_documented() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs/usage.md").read_text()
    everything = View(grain="day", compare=True, definitions="xdmod", zone="Asia/Tokyo", sort="-jobs", every=True,
                      window="year", chart="tree", metric="jobs", by="qos", who="all")  # fmt: skip
    dates = View(window="", since="2026-01-01", until="2026-02-01")
    parts = f"{write(everything, Defaults())}&{write(dates, Defaults())}".split("&")
    for name in {part.split("=")[0] for part in parts}:
        assert f"`{name}`" in text, name
    for word in (*windows.NAMES, *view.CHARTS, *view.WHOSE, *view.GRAINS):
        assert f"`{word}`" in text, word


def test_a_metric_that_nobody_measures_says_so(usage: Usage) -> None:
    shown = picture.picture(asker(usage, metric="gpu_efficiency", window="month"), Look())
    assert "does not hold how busy GPUs were" in shown["chart"]["refused"]


async def test_one_who_asks_a_lot_lets_others_through(tmp_path: Path) -> None:
    world = World(tmp_path)
    live = Live(world.services, ())
    desks = [Desk(world.services, who, live, ACTIONS) for who in (*[ADA] * 6, OPERATOR)]
    running: list[str] = []
    most = 0

    def slow(name: str) -> Any:
        def answer(_asker: Asker) -> dict[str, Any]:
            nonlocal most
            running.append(name)
            most = max(most, running.count("ada"))
            time.sleep(0.2)
            running.remove(name)
            return {}

        return answer

    await asyncio.gather(*(asked(desk, {"query": ""}, slow(desk.viewer.name)) for desk in desks))
    assert most == 2


# -- projects ------------------------------------------------------------------------------------------------


def test_jobs_of_no_project_are_one_row_and_one_cell() -> None:
    by_project = Usage(Accounts(rows(), accounts=TREE), "UTC", projects=Declared(P=["physics"]))
    asked = asker(by_project, by="project", window="30d", chart="rank")
    found = {row["name"]: row for row in picture.breakdown(asked)["rows"]}
    assert set(found) == {"P", "no project"}
    for row in found.values():
        opened = drill.drill(asked, drill.read_cell(row["cell"]), 0)
        assert {each["account"] in ("physics", "astro") for each in opened["rows"]} == {row["value"] == "P"}


def test_by_project_is_offered_once_projects_are_set_up_and_operators_hear_of_a_file_gone_bad(tmp_path: Path) -> None:
    file = tmp_path / "projects.toml"
    file.write_text("")
    world = World(tmp_path, environ={"CARME_ACCOUNTING__PROJECTS_FILE": str(file)})
    assert "project" not in dict(accounts(world.services, None)["dimensions"])
    file.write_text('[[project]]\nname = "P"\naccounts = ["physics"]\n')
    assert dict(accounts(world.services, None)["dimensions"])["project"] == "Project"
    assert accounts(world.services, None)["projects"] == 2
    file.write_text("[[project]]")
    assert dict(accounts(world.services, None)["dimensions"])["project"] == "Project"
    assert "project 1.name" in truth.notice(world.services, OPERATOR)["projects"]
    assert truth.notice(world.services, ADA)["projects"] == ""
