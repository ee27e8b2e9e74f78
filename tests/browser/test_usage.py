"""The usage page in Chromium, over accounts that the test has written: drawn, opened, shared by its address.

A web process of its own (tests/unit/gatehouse.py) over a warehouse of a few hundred jobs.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from backend.accounting.model import ACCOUNTS, CAPACITY, JOBS
from backend.accounting.warehouse import Warehouse
from pages import PAGES
from tests.browser.barriers import barriers
from tests.browser.test_pages import HOSTILE, PHONE, enter
from tests.unit.gatehouse import House, Person, running
from tests.unit.pages_kit import World
from tests.unit.sessions_kit import cpu_node, partition
from tests.unit.usage_kit import job

DAY_S = 86400
CHARTS = ("time", "rank", "tree", "week", "wait", "capacity")
DRAWN = ".chart-canvas[data-drawn]"


def jobs(now: int) -> list[dict[str, Any]]:
    """Twelve people and one with a hostile name, over 60 days, one job running."""
    found = []
    for n in range(400):
        start = now - 59 * DAY_S + n * 12_600
        who = HOSTILE if n % 13 == 12 else f"user{n % 13:02d}"
        found.append(
            job(n + 1, start, start + 900 * (n % 9 + 1), user=who, uid=3000 + n % 13, submit_s=start - 40 * (n % 11),
                eligible_s=start - 40 * (n % 11), account=("physics", "astro", "bio")[n % 3], cpus=2 ** (n % 5),
                nodes=n % 4 + 1, seen_s=start + 9000, job_name=f"run {n}", cpu_used_s=700.0)
        )  # fmt: skip
    found.append(job(9001, now - 5400, None, user="user01", uid=3001, cpus=16, seen_s=now))
    return [row for row in found if row["end_s"] is None or row["end_s"] < now]


def fill(folder: Path, now: int) -> None:
    rows = jobs(now)
    table = pa.Table.from_pylist(rows, schema=pa.schema([pa.field(f.name, _plain(f.type)) for f in JOBS])).cast(JOBS)
    ended = pa.compute.is_valid(table["end_s"])
    tree = [("root", None), ("physics", "root"), ("astro", "physics"), ("bio", "root")]
    accounts = [
        {"name": name, "parent": parent, "description": "", "organization": "", "deleted": False, "coordinators": []}
        for name, parent in tree
    ]
    hours = [
        {"hour_s": at, "tres": "cpu", "count": 64, "alloc_s": 100_000, "down_s": 30_400, "planned_down_s": 0,
         "idle_s": 100_000, "planned_s": 0, "over_s": 0}
        for at in range(now // 3600 * 3600 - 60 * DAY_S, now // 3600 * 3600, 3600)
    ]  # fmt: skip
    with Warehouse.write(folder / "accounting", zone="UTC") as writer:
        writer.upsert(table.filter(ended), cluster="c")
        writer.replace_open("c", table.filter(pa.compute.invert(ended)))
        writer.put_table("c", "accounts", pa.Table.from_pylist(accounts, schema=ACCOUNTS))
        writer.put_table("c", "capacity", pa.Table.from_pylist(hours, schema=CAPACITY))
        writer.set_state("c", source="slurmdbd", synced_s=now, zone="UTC")
        writer.commit()


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


PROJECT = "<img src=x onerror=document.title=`owned`>"
PROJECTS = f'[[project]]\nname = "{PROJECT}"\naccounts = ["physics"]\n'


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    world = World(
        tmp_path_factory.mktemp("usage"), nodes=[cpu_node("c1")], partitions=[partition("cpu", ["c1"])], jobs=[]
    )
    folder = world.services.settings.instance.data_dir
    fill(folder, int(time.time()))
    (folder / "projects.toml").write_text(PROJECTS)
    projects = str(folder / "projects.toml")
    with running(folder, PAGES, instance__time_zone="UTC", accounting__projects_file=projects) as up:
        yield up


@pytest.fixture(scope="module")
def olga(house: House) -> Person:
    return house.person("olga", roles=("operator",))


@pytest.fixture
def context(browser: Browser, house: House, olga: Person) -> Iterator[BrowserContext]:
    signed_in = browser.new_context(color_scheme="light", viewport={"width": 1360, "height": 900})
    enter(signed_in, house, olga)
    yield signed_in
    signed_in.close()


def visit(context: BrowserContext, house: House, query: str = "") -> tuple[Page, list[str]]:
    """The page when its picture stands, and what the browser complains of."""
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(house.url + "/usage" + query)
    standing(page)
    return page, complaints


def standing(page: Page) -> None:
    expect(page.locator(f"{DRAWN}, .tall-twin, .usage-picture .empty").first).to_be_visible(timeout=30_000)
    expect(page.locator(".big-figures")).to_be_visible(timeout=15_000)
    expect(page.locator(".skeleton")).to_have_count(0, timeout=15_000)


def stage(page: Page) -> Locator:
    return page.locator(".chart-stage")


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_every_chart_is_accessible_named_and_within_its_place(
    browser: Browser, house: House, olga: Person, look: str
) -> None:
    size = PHONE if look == "phone" else {"width": 1360, "height": 900}
    context = browser.new_context(color_scheme="dark" if look == "dark" else "light", viewport=size)  # type: ignore[arg-type]
    enter(context, house, olga)
    for query in (*(f"?chart={chart}&window=30d" for chart in CHARTS), "?table=1", "?metric=cpu_efficiency&compare=1"):
        page, complaints = visit(context, house, query)
        assert barriers(page) == [], query
        assert complaints == [], query
        if "table" not in query:
            assert "table holds every figure" in (stage(page).get_attribute("aria-label") or ""), query
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), query
        page.close()
    context.close()


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_usage_is_by_project_down_to_the_jobs_of_none(browser: Browser, house: House, olga: Person, look: str) -> None:
    size = PHONE if look == "phone" else {"width": 1360, "height": 900}
    context = browser.new_context(color_scheme="dark" if look == "dark" else "light", viewport=size)  # type: ignore[arg-type]
    enter(context, house, olga)
    page, complaints = visit(context, house, "?by=project&window=30d")
    breakdown = page.get_by_role("region", name="By Project", exact=True)
    expect(breakdown.get_by_text(PROJECT)).to_be_visible()
    breakdown.locator("tr", has_text="no project").get_by_title("Jobs behind it").click()
    expect(page.get_by_role("dialog", name="no project")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert complaints == [] and page.title() != "owned"
    context.close()


def test_a_mark_that_is_tapped_opens_its_jobs_and_their_sum(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "?chart=rank&metric=cpu_hours&by=user&window=30d")
    box = stage(page).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 26)
    expect(page.locator(".chart-tip strong")).to_be_visible()
    name, figure = page.locator(".chart-tip strong").inner_text().split(" · ")
    page.mouse.click(box["x"] + 200, box["y"] + 26)
    drawer = page.get_by_role("dialog", name=name)
    expect(drawer).to_be_visible()
    expect(drawer.locator(".drill-sum")).to_contain_text(figure)
    exact = [
        float(text)
        for text in drawer.locator(".drill-head > strong:last-child").evaluate_all("all => all.map((el) => el.title)")
    ]
    whole = drawer.locator(".drill-sum strong").get_attribute("title")
    assert sum(exact) == pytest.approx(float(whole or 0), rel=1e-9)
    page.go_back()
    expect(drawer).to_have_count(0)
    page.go_forward()
    expect(page.get_by_role("dialog", name=name)).to_be_visible()


def test_the_same_jobs_are_reached_by_the_keyboard(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "?chart=rank&metric=cpu_hours&by=user&window=30d&table=1")
    cell = page.locator(".tall-twin tbody button").first
    cell.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(cell).to_be_focused()


def test_the_address_brings_the_picture_back(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house)
    page.get_by_label("Metric").select_option("wall_hours")
    page.get_by_label("Split by").select_option("account")
    page.get_by_label("Window").select_option("90d")
    page.get_by_role("button", name="With the period before").click()
    page.get_by_role("button", name="Ranking").click()
    expect(page.locator(".head .sub")).to_contain_text("Wall hours by account")
    again, _ = visit(context, house, page.url.split("/usage")[1])
    expect(again.locator(".head .sub")).to_have_text(page.locator(".head .sub").inner_text())
    expect(again.get_by_role("button", name="With the period before")).to_have_attribute("aria-pressed", "true")
    page.go_back()
    expect(page.get_by_role("button", name="Over time")).to_have_attribute("aria-pressed", "true")


def test_a_filter_is_a_pill_that_comes_off(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "?metric=cpu_hours&by=account")
    before = page.locator(".big-figure.main .big").inner_text()
    page.get_by_role("button", name="+ Filter").click()
    page.get_by_label("Filter by").select_option("user")
    page.get_by_label("Value").fill("user03")
    page.get_by_label("Value").press("Enter")
    pill = page.get_by_role("button", name="Remove filter User user03")
    expect(pill).to_be_visible()
    assert "user=user03" in page.url
    expect(page.locator(".big-figure.main .big")).not_to_have_text(before)
    pill.click()
    expect(page.locator(".big-figure.main .big")).to_have_text(before)


def test_dates_of_ones_own_are_a_window(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "?metric=cpu_hours")
    page.get_by_label("Window").select_option("dates")
    first = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 9 * DAY_S))
    last = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 3 * DAY_S))
    page.get_by_label("First day").fill(first)
    page.get_by_label("Last day").fill(last)
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page).to_have_url(re.compile(f"since={first}"))
    page.get_by_role("button", name="Table", exact=True).click()
    expect(page.locator(".tall-twin tbody tr")).to_have_count(7)


def test_a_hostile_name_is_text_everywhere(context: BrowserContext, house: House) -> None:
    cell = quote(json.dumps({"user": HOSTILE}))
    for query in (
        "?metric=cpu_hours&window=90d&by=user&rows=all",
        "?chart=rank&metric=cpu_hours&by=user&window=90d&table=1",
        f"?metric=cpu_hours&window=90d&cell={cell}",
        f"?metric=cpu_hours&user={quote(HOSTILE)}",
    ):
        page, _ = visit(context, house, query)
        expect(page.get_by_text("<script>document.title='owned'</script>").first).to_be_visible()
        assert page.title() != "owned"
        assert page.locator("img[src='x']").count() == 0
        page.close()


def test_each_figure_says_how_it_is_counted(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "?metric=cpu_hours")
    page.get_by_role("button", name="How this is counted").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Allocated CPUs × time")
    expect(dialog).to_contain_text("still runs")
    expect(page.locator(".usage-figures .tag")).to_have_text("so far")


def test_the_theme_changes_the_chart_with_the_page(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "?metric=cpu_hours")
    first = page.locator(".chart-swatch").first.get_attribute("style")
    page.get_by_role("button", name="Switch to the dark theme").click()
    expect(page.locator(".chart-swatch").first).not_to_have_attribute("style", first or "")
    expect(page.locator(DRAWN)).to_have_count(1)


def test_new_jobs_show_by_themselves_without_an_empty_moment(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "?metric=jobs&by=none&window=today")
    before = page.locator(".big-figure.main .big").inner_text()
    page.evaluate(
        """() => {
            window.empty = 0
            const look = () => {
                if (!document.querySelector(".chart-canvas:not(.coming)")) window.empty += 1
                requestAnimationFrame(look)
            }
            look()
        }"""
    )
    now = int(time.time())
    more = pa.Table.from_pylist(
        [job(20_000 + n, now - 1, now, user="late", uid=3999) for n in range(7)],
        schema=pa.schema([pa.field(f.name, _plain(f.type)) for f in JOBS]),
    ).cast(JOBS)  # fmt: skip
    with Warehouse.write(house.settings.instance.data_dir / "accounting", zone="UTC") as writer:
        writer.upsert(more, cluster="c")
        writer.set_state("c", synced_s=now)
        writer.commit()
    expect(page.locator(".big-figure.main .big")).not_to_have_text(before, timeout=15_000)
    assert page.evaluate("window.empty") == 0


def test_one_sees_ones_own_and_has_no_switch(browser: Browser, house: House) -> None:
    context = browser.new_context()
    enter(context, house, house.person("user03"))
    page, _ = visit(context, house, "?who=all&by=user&metric=cpu_hours&window=90d")
    expect(page.get_by_role("group", name="Whose usage")).to_have_count(0)
    names = page.locator(".table-block tbody th").all_inner_texts()
    assert set(names) == {"user03"}
    context.close()


def test_an_empty_console_says_what_to_do(browser: Browser, tmp_path: Path) -> None:
    world = World(tmp_path, nodes=[], partitions=[], jobs=[])
    with running(world.services.settings.instance.data_dir, PAGES) as up:
        context = browser.new_context()
        enter(context, up, up.person("olga", roles=("operator",)))
        page = context.new_page()
        page.goto(up.url + "/usage")
        expect(page.locator(".page-usage .empty")).to_contain_text("No jobs yet", timeout=30_000)
        assert barriers(page) == []
        context.close()


def test_what_is_seen_is_taken_away_as_a_file(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "?chart=rank&metric=cpu_hours&by=user&window=30d")
    page.get_by_role("button", name="Download").click()
    with page.expect_download() as saved:
        page.get_by_role("link", name=re.compile("^CSV")).click()
    lines = Path(saved.value.path()).read_text(encoding="utf-8-sig").splitlines()
    at = next(place for place, line in enumerate(lines) if line.startswith("user,cpu_hours"))
    total = sum(float(line.rsplit(",", 1)[1]) for line in lines[at + 1 :] if line)
    assert total == pytest.approx(float(page.locator(".big-figure.main .big").get_attribute("title") or 0), rel=1e-9)


def test_pictures_that_are_gone_leave_nothing_behind(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "?metric=cpu_hours")
    documents = page.evaluate("Bokeh.documents.length")
    for metric in ("wall_hours", "node_hours", "jobs", "wait_hours", "cpu_hours"):
        page.get_by_label("Metric").select_option(metric)
        expect(page.locator(".usage-picture")).to_have_attribute("aria-busy", "false")
        expect(page.locator(".chart-canvas")).to_have_count(1)
    assert page.evaluate("Bokeh.documents.length") == documents
