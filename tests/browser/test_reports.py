"""The reports page in Chromium: kept, opened, changed, sent, deleted and brought back; accessible, also on a phone."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from backend.store.models import ReportSchedule
from pages import PAGES
from tests.browser.barriers import barriers
from tests.browser.test_pages import PHONE, enter
from tests.browser.test_usage import fill
from tests.unit.gatehouse import House, Person, running
from tests.unit.pages_kit import World

HOSTILE = '<img src=x onerror="alert(1)"> "quoted" | \u202eabc'


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("reports")
    World(folder)
    fill(folder, int(time.time()))
    settings = {
        "instance__time_zone": "UTC",
        "mail__host": "localhost",
        "mail__port": 1,
        "mail__sender": "c@example.org",
    }
    with running(folder, PAGES, **settings) as up:
        yield up


@pytest.fixture(scope="module")
def people(house: House) -> dict[str, Person]:
    found = {"olga": house.person("olga", ("operator",)), "ada": house.person("ada")}
    house.services.identity.logins_kept.forget_person("olga")
    return found


@pytest.fixture
def context(browser: Browser, house: House, people: dict[str, Person]) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    enter(made, house, people["olga"])
    yield made
    made.close()


def visit(context: BrowserContext, house: House, path: str = "/reports") -> Page:
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"the page failed: {error}"))
    page.goto(house.url + path)
    expect(page.locator("#carme[data-live]")).to_be_attached(timeout=30_000)
    expect(page.locator(".skeleton")).to_have_count(0, timeout=30_000)
    return page


def new_report(page: Page, name: str) -> None:
    page.get_by_role("button", name="New report").click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Window").select_option("30d")
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def accessible(page: Page) -> None:
    assert barriers(page) == []


def test_a_report_is_kept_opened_and_taken_away(context: BrowserContext, house: House) -> None:
    page = visit(context, house)
    new_report(page, HOSTILE)
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.get_by_role("heading", name=HOSTILE)).to_be_visible()
    expect(page.locator(".chart-canvas[data-drawn]")).to_be_visible(timeout=30_000)
    rows = page.get_by_role("region", name="The report’s figures").locator("tbody tr")
    expect(rows).to_have_count(13)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as CSV").click()
    name = download.value.suggested_filename
    assert re.fullmatch(r"img-src-x-onerror-alert-1-quoted-abc-[\d-]+-to-[\d-]+\.csv", name)
    found = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    assert len(found) == 13


def test_a_report_is_changed_and_a_wrong_field_is_named(context: BrowserContext, house: House) -> None:
    page = visit(context, house)
    new_report(page, "Before")
    page.get_by_role("button", name="Change Before").click()
    page.get_by_label("Name").fill(" ")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("A report needs a name")).to_be_visible()
    page.get_by_label("Name").fill("After")
    page.get_by_role("group", name="Figures").get_by_role("button", name="Jobs", exact=True).click()
    page.get_by_role("button", name="Save").click()
    row = page.get_by_role("row", name="After")
    expect(row).to_contain_text("CPU hours and Jobs by user")


def test_what_was_deleted_comes_back(context: BrowserContext, house: House) -> None:
    page = visit(context, house)
    new_report(page, "Short-lived")
    page.get_by_role("button", name="Delete Short-lived").click()
    expect(page.get_by_role("link", name="Short-lived")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("link", name="Short-lived")).to_be_visible()


def test_a_schedule_is_made_switched_off_and_removed(context: BrowserContext, house: House) -> None:
    page = visit(context, house)
    new_report(page, "Monthly")
    page.get_by_role("link", name="Monthly").click()
    page.get_by_role("button", name="Schedule", exact=True).click()
    page.get_by_label("Mail addresses").fill("nonsense")
    page.get_by_role("button", name="Schedule it").click()
    expect(page.get_by_text("is no mail address")).to_be_visible()
    page.get_by_label("Mail addresses").fill("head@example.org")
    page.get_by_role("button", name="Schedule it").click()
    block = page.get_by_role("region", name="Goes out by itself")
    expect(block).to_contain_text("On the 1st of each month at 06:00, by mail")
    expect(block).to_contain_text("Excel to head@example.org")
    block.get_by_role("button", name="Switch off").click()
    expect(block).to_contain_text("Off")
    block.get_by_role("button", name=re.compile("Remove")).click()
    expect(block).not_to_contain_text("head@example.org")


def test_a_failure_shows_its_cause(context: BrowserContext, house: House) -> None:
    page = visit(context, house)
    new_report(page, "Failing")
    page.get_by_role("link", name="Failing").click()
    page.get_by_role("button", name="Schedule", exact=True).click()
    page.get_by_label("Mail addresses").fill("head@example.org")
    page.get_by_role("button", name="Schedule it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    with house.services.db.begin() as rows:
        for schedule in rows.query(ReportSchedule):
            schedule.error, schedule.error_s = "The mail server is away.", int(time.time()) - 60
    page.reload()
    expect(page.get_by_role("region", name="Goes out by itself")).to_contain_text("The mail server is away.")
    page.get_by_role("link", name="All reports").click()
    expect(page.get_by_role("row", name="Failing")).to_contain_text("Failed")


def test_what_usage_shows_is_kept_as_it_is(context: BrowserContext, house: House) -> None:
    page = visit(context, house, "/usage?metric=cpu_hours&by=account&chart=rank&window=last_month&partition=cpu")
    page.get_by_role("button", name="Download", exact=True).click()
    page.get_by_role("button", name="Report Keep it, mail it").click()
    page.get_by_label("Name").fill("From usage")
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("heading", name="From usage")).to_be_visible()
    expect(page.get_by_role("region", name="Report", exact=True)).to_contain_text(
        "CPU hours by account; partition: cpu"
    )
    expect(page.get_by_role("region", name="Report", exact=True)).to_contain_text("Last month")


def test_others_see_what_is_shown_to_them_and_may_not_change_it(
    browser: Browser, context: BrowserContext, house: House, people: dict[str, Person]
) -> None:
    page = visit(context, house)
    new_report(page, "Hidden")
    page.get_by_role("button", name="New report").click()
    page.get_by_label("Name").fill("Open to all")
    page.get_by_label("Shown to").select_option("everyone")
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    other = browser.new_context()
    enter(other, house, people["ada"])
    theirs = visit(other, house)
    expect(theirs.get_by_role("link", name="Open to all")).to_be_visible()
    expect(theirs.get_by_role("link", name="Hidden")).to_have_count(0)
    expect(theirs.get_by_role("button", name="Change Open to all")).to_have_count(0)
    theirs.get_by_role("link", name="Open to all").click()
    expect(theirs.get_by_text("No jobs in this window")).to_be_visible()
    other.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [{"width": 1280, "height": 900}, PHONE])
def test_every_view_is_accessible(
    browser: Browser, house: House, people: dict[str, Person], scheme: str, size: dict[str, int]
) -> None:
    made = browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    enter(made, house, people["olga"])
    page = visit(made, house)
    new_report(page, f"Seen {scheme} {size['width']}")
    accessible(page)
    page.get_by_role("button", name="New report").click()
    accessible(page)
    page.keyboard.press("Escape")
    page.get_by_role("link", name=f"Seen {scheme} {size['width']}").click()
    expect(page.locator(".chart-canvas[data-drawn]")).to_be_visible(timeout=30_000)
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Schedule", exact=True).click()
    accessible(page)
    made.close()
