"""The history of jobs in Chromium: from a question to a kept one, by mouse and keyboard, on every screen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from pages import PAGES
from tests.browser.barriers import barriers
from tests.browser.history_world import made
from tests.browser.test_pages import PHONE, enter, visit
from tests.unit.gatehouse import House, Person, running


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("history")
    _, telemetry = made(folder)
    with running(folder, PAGES, telemetry) as up:
        yield up


@pytest.fixture(scope="module")
def olga(house: House) -> Person:
    """An operator: sees every job."""
    return house.person("olga", roles=("operator",))


def test_a_question_is_asked_kept_and_begun_with(browser: Browser, house: House, olga: Person) -> None:
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    enter(context, house, olga)
    page, complaints = visit(context, house, "/jobs?who=all")
    page.get_by_role("button", name="History", exact=True).click()
    expect(page.locator(".history tbody tr")).to_have_count(50)
    expect(page.get_by_text("<script>alert(1)</script>").first).to_be_visible()

    page.get_by_label("Add a filter").select_option("state")
    page.get_by_role("form", name="Filter by State").get_by_role("button", name="Failed", exact=True).click()
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_role("button", name="Remove filter State: Failed")).to_be_visible()
    expect(page.locator(".history .badge").first).to_have_text("✕Failed")
    assert "state=FAILED" in page.url
    expect(page.locator('.use-bar[aria-label*="of 16 GB at its peak"]').first).to_be_visible()

    page.get_by_role("button", name="Tags and note of job 5002").click()
    page.locator("#marks-tag").fill("paper")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("button", name="Take off tag paper")).to_be_visible()
    page.get_by_role("button", name="Close").last.click()
    page.get_by_role("button", name="paper", exact=True).click()
    expect(page.locator(".history tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Remove filter Tag: paper").click()

    page.get_by_role("button", name="Save these filters").click()
    page.get_by_label("Name", exact=True).fill("Broken")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("button", name="Change filter Broken").click()
    page.get_by_role("button", name="Begin with it").click()
    expect(page.get_by_text("The Jobs page begins with Broken.").first).to_be_visible()
    again, _ = visit(context, house, "/jobs")
    expect(again.get_by_role("button", name="Remove filter State: Failed")).to_be_visible()

    again.locator(".job-link").first.focus()
    again.keyboard.press("ArrowDown")
    second = again.locator(".job-link").nth(1)
    expect(second).to_be_focused()
    href = second.get_attribute("href") or ""
    again.keyboard.press("Enter")
    again.wait_for_url(f"**{href}")
    assert complaints == []
    context.close()


def test_a_question_that_can_not_be_asked_is_begun_anew(browser: Browser, house: House, olga: Person) -> None:
    context = browser.new_context()
    enter(context, house, olga)
    page, complaints = visit(context, house, "/jobs?view=history&who=all&since=now-never&gpus=few")
    expect(page.get_by_text("This can’t be asked")).to_be_visible()
    page.get_by_role("region", name="History").get_by_role("button", name="Clear filters").click()
    expect(page.locator(".history tbody tr").first).to_be_visible()
    assert page.url.endswith("/jobs?view=history&who=all")
    assert complaints == []
    context.close()


def test_a_time_that_is_no_day_is_shown_in_its_words(browser: Browser, house: House, olga: Person) -> None:
    context = browser.new_context()
    enter(context, house, olga)
    page, complaints = visit(context, house, "/jobs?view=history&who=all&since=now-30days")
    expect(page.get_by_role("group", name="Ended").get_by_text("now-30days")).to_be_visible()
    assert complaints == []
    context.close()


def test_the_keyboard_comes_back_to_where_filters_are_chosen(browser: Browser, house: House, olga: Person) -> None:
    context = browser.new_context()
    enter(context, house, olga)
    page, _ = visit(context, house, "/jobs?view=history&who=all")
    picker = page.get_by_label("Add a filter")
    picker.select_option("gpus")
    expect(page.get_by_label("GPUs, at least")).to_be_focused()
    page.keyboard.press("Escape")
    expect(picker).to_be_focused()
    picker.select_option("gpus")
    page.get_by_label("GPUs, at least").fill("1")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Remove filter GPUs").click()
    expect(picker).to_be_focused()
    context.close()


@pytest.mark.parametrize("look", ["dark", "phone"])
def test_the_history_is_accessible_and_fits(browser: Browser, house: House, olga: Person, look: str) -> None:
    size = PHONE if look == "phone" else {"width": 1360, "height": 900}
    context = browser.new_context(color_scheme="dark" if look == "dark" else "light", viewport=size)
    enter(context, house, olga)
    for place in ("/jobs?view=history&who=all&gpus=1..", "/jobs?view=history&who=all&name=nothing"):
        page, complaints = visit(context, house, place)
        assert barriers(page) == [], place
        assert complaints == [], place
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), place
    context.close()
