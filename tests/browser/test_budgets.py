"""The budgets page in Chromium: prices set, a budget made, looked at, changed and ended; accessible, on phones too."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from pages import PAGES
from tests.browser.barriers import barriers
from tests.browser.test_pages import PHONE, enter
from tests.browser.test_usage import fill
from tests.unit.gatehouse import House, Person, running
from tests.unit.pages_kit import World

DRAWN = ".chart-canvas[data-drawn]"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("budgets")
    World(folder)
    fill(folder, int(time.time()))
    with running(folder, PAGES, instance__time_zone="UTC") as up:
        yield up


@pytest.fixture(scope="module")
def people(house: House) -> dict[str, Person]:
    return {"olga": house.person("olga", ("operator",)), "ada": house.person("ada")}


def iso(days: int) -> str:
    return (datetime.now(timezone.utc) + timedelta(days=days)).date().isoformat()


def visit(context: BrowserContext, house: House, path: str = "/budgets") -> Page:
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"the page failed: {error}"))
    page.goto(house.url + path)
    expect(page.locator("#carme[data-live]")).to_be_attached(timeout=30_000)
    expect(page.locator(".skeleton")).to_have_count(0, timeout=30_000)
    return page


def accessible(page: Page) -> None:
    assert barriers(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_prices_and_a_budget_from_first_to_last(browser: Browser, house: House, people: dict[str, Person]) -> None:
    made = browser.new_context(viewport={"width": 1280, "height": 900})
    enter(made, house, people["olga"])
    page = visit(made, house, "/budgets?view=prices")
    accessible(page)
    page.get_by_role("button", name="Set the first price").click()
    page.get_by_label("Price", exact=True).fill("0,05")
    page.get_by_label("From", exact=True).fill(iso(-60))
    page.get_by_role("button", name="Set it").click()
    expect(page.get_by_text("Write it like 0.05")).to_be_visible()
    accessible(page)
    page.get_by_label("Price", exact=True).fill("0.05")
    page.get_by_role("button", name="Set it").click()
    expect(page.get_by_role("row", name="CPU any any 0.05")).to_contain_text("In force")
    page.get_by_role("button", name="Follow: CPU").click()
    page.get_by_label("From", exact=True).fill(iso(-1))
    page.get_by_role("button", name="Set it").click()
    expect(page.get_by_text("Only what never had a price may begin in the past")).to_be_visible()
    page.get_by_label("From", exact=True).fill(iso(10))
    page.get_by_label("Price", exact=True).fill("0.06")
    page.get_by_role("button", name="Set it").click()
    expect(page.get_by_role("row", name="0.06")).to_contain_text("To come")
    page.get_by_role("button", name="Take back").click()
    expect(page.get_by_role("row", name="0.06")).to_have_count(0)

    page.get_by_role("link", name="All budgets").click()
    page.get_by_role("button", name="Make the first one").click()
    page.get_by_label("Account", exact=True).select_option("physics")
    page.get_by_label("Amount").fill("plenty")
    page.get_by_label("First day").fill(iso(-40))
    page.get_by_label("Last day").fill(iso(30))
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_text("Write a number with a point")).to_be_visible()
    page.get_by_label("Amount").fill("60")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("heading", name="physics")).to_be_visible()
    expect(page.locator(DRAWN)).to_be_visible(timeout=30_000)
    expect(page.get_by_role("region", name="The chart’s figures as a table").locator("tbody tr")).to_have_count(71)
    accessible(page)
    page.get_by_role("link", name="Usage behind it").click()
    expect(page.locator(DRAWN)).to_be_visible(timeout=30_000)
    page.go_back()

    page.get_by_role("button", name="Change", exact=True).click()
    page.get_by_label("Amount").fill("61")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("of 61").first).to_be_visible()
    page.get_by_role("button", name="End", exact=True).click()
    expect(page.get_by_role("dialog", name="End the budget of physics?")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_text("Ended", exact=True)).to_have_count(0)
    page.get_by_role("button", name="End", exact=True).click()
    page.get_by_role("button", name="End it").click()
    expect(page.get_by_text("The budget was ended.").first).to_be_visible()
    made.close()


@pytest.mark.parametrize(("scheme", "size"), [("dark", PHONE), ("light", PHONE), ("dark", None)])
def test_every_view_is_accessible(
    browser: Browser, house: House, people: dict[str, Person], scheme: str, size: dict[str, int] | None
) -> None:
    made = browser.new_context(viewport=size or {"width": 1280, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    enter(made, house, people["olga"])
    page = visit(made, house)
    page.get_by_role("button", name="New budget").click()
    page.get_by_label("Account", exact=True).select_option("bio")
    page.get_by_label("In", exact=True).select_option("cpu_hours")
    page.get_by_label("Amount").fill("200")
    page.get_by_label("First day").fill(iso(-30))
    page.get_by_label("Last day").fill(iso(30))
    accessible(page)
    page.get_by_role("button", name="Make it").click()
    expect(page.locator(DRAWN)).to_be_visible(timeout=30_000)
    accessible(page)
    page.get_by_role("link", name="All budgets").click()
    expect(page.get_by_role("link", name="bio").first).to_be_visible()
    accessible(page)
    page.get_by_role("link", name="Prices").click()
    expect(page.get_by_role("heading", name="How costs are made")).to_be_visible()
    accessible(page)
    made.close()


def test_who_has_no_part_in_an_account_is_told_that_there_is_nothing(
    browser: Browser, house: House, people: dict[str, Person]
) -> None:
    made = browser.new_context()
    enter(made, house, people["ada"])
    page = visit(made, house)
    expect(page.get_by_text("No budgets for your accounts")).to_be_visible()
    expect(page.get_by_role("button", name="New budget")).to_have_count(0)
    accessible(page)
    made.close()
