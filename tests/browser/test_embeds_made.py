"""The embeds dialog of the reports page in Chromium: made, copied, revoked; accessible, dark and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from backend.accounting.reports import Draft
from pages import PAGES
from tests.browser.barriers import WCAG_22_AA, barriers
from tests.browser.test_pages import PHONE, enter
from tests.unit.gatehouse import House, Person, running
from tests.unit.pages_kit import World
from tests.unit.usage_rest_kit import fill

pytestmark = pytest.mark.browser

QUESTION = {"metrics": ["cpu_hours"], "by": ["user"], "since": "2026-11-01", "until": "2026-12-01"}
NAME = "Hours <b>of all</b>"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("embeds")
    World(folder)
    fill(folder)
    with running(folder, PAGES, instance__time_zone="UTC") as up:
        yield up


@pytest.fixture(scope="module")
def olga(house: House) -> Person:
    return house.person("olga", ("operator",))


@pytest.fixture
def report(house: House, olga: Person) -> str:
    viewer = house.services.identity.standing(olga.name)
    assert viewer is not None
    return house.services.reports.save(viewer, Draft(NAME, QUESTION)).id


@pytest.fixture
def context(browser: Browser, house: House, olga: Person) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1280, "height": 900})
    made.grant_permissions(["clipboard-read", "clipboard-write"])
    enter(made, house, olga)
    yield made
    made.close()


def opened(context: BrowserContext, house: House, report: str) -> Page:
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"the page failed: {error}"))
    page.goto(f"{house.url}/reports?report={report}")
    expect(page.locator("#carme[data-live]")).to_be_attached(timeout=30_000)
    page.get_by_role("button", name="Embed", exact=True).click()
    expect(page.get_by_role("dialog").get_by_label("Sites that may show it")).to_be_focused()
    return page


def make(page: Page, sites: str = "https://wiki.example.org") -> None:
    page.get_by_label("Sites that may show it").fill(sites)
    page.get_by_role("button", name="Make an embed").click()


def test_an_embed_is_made_copied_and_revoked(context: BrowserContext, house: House, report: str) -> None:
    page = opened(context, house, report)
    dialog = page.get_by_role("dialog")
    make(page, "https://wiki.example.org, http://localhost:8080")
    entry = dialog.get_by_role("list", name="Embeds").get_by_role("listitem")
    expect(entry).to_have_count(1)
    expect(entry).to_contain_text("https://wiki.example.org, http://localhost:8080")
    page.get_by_role("button", name="Copy script tag").click()
    expect(page.get_by_text("The script tag is copied.").first).to_be_visible()
    copied = str(page.evaluate("navigator.clipboard.readText()"))
    assert copied.startswith("<script src=")
    assert "&lt;b&gt;of all" in copied
    (info,) = house.services.embeds.listed(_viewer(house))
    assert info.token is not None
    assert info.token in copied
    page.get_by_role("button", name="Revoke", exact=True).click()
    page.get_by_role("button", name="Revoke it").click()
    expect(entry).to_have_count(0)
    assert house.services.embeds.listed(_viewer(house))[0].revoked_s is not None


def _viewer(house: House) -> Any:
    viewer = house.services.identity.standing("olga")
    assert viewer is not None
    return viewer


def test_what_is_no_site_is_told_at_its_field(context: BrowserContext, house: House, report: str) -> None:
    page = opened(context, house, report)
    make(page, "wiki.example.org/page")
    expect(page.get_by_text("is no site’s origin").or_(page.get_by_text("is no site's origin"))).to_be_visible()
    expect(page.get_by_label("Sites that may show it")).to_have_attribute("aria-invalid", "true")


def test_a_snapshot_is_one(context: BrowserContext, house: House, report: str) -> None:
    page = opened(context, house, report)
    page.get_by_role("radio", name="As of now").click()
    page.get_by_label("Holds for").select_option("30")
    make(page)
    expect(page.get_by_role("list", name="Embeds").get_by_role("listitem").first).to_contain_text("As of")
    newest = house.services.embeds.listed(_viewer(house))[0]
    assert not newest.live
    assert newest.expires_s - newest.created_s == 30 * 86400


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
def test_there_is_no_barrier(context: BrowserContext, house: House, report: str, scheme: Any, phone: bool) -> None:
    page = opened(context, house, report)
    page.emulate_media(color_scheme=scheme)
    if phone:
        page.set_viewport_size(PHONE)
    make(page)
    expect(page.get_by_role("list", name="Embeds").get_by_role("listitem").first).to_be_visible()
    page.wait_for_timeout(300)
    assert barriers(page, WCAG_22_AA) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]  # type: ignore[index]


def test_all_embeds_are_listed_and_everybody_s_for_operators(
    context: BrowserContext, house: House, report: str
) -> None:
    page = opened(context, house, report)
    make(page)
    page.keyboard.press("Escape")
    page.goto(f"{house.url}/reports")
    page.get_by_role("button", name="Embeds", exact=True).click()
    page.get_by_role("radio", name="Everybody’s").click()
    expect(page.get_by_role("list", name="Embeds").get_by_role("listitem").first).to_contain_text(NAME)
