"""The admin page in Chromium: readable for everybody, and what is found, kept and written down stands on it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from backend.accounting.warehouse import Warehouse
from backend.store import audit
from pages import PAGES, admin
from tests.browser.test_pages import PHONE, enter, visit
from tests.browser.test_waste import sound
from tests.unit import warehouse_kit
from tests.unit.gatehouse import House, running
from tests.unit.pages_kit import World
from tests.unit.telemetry_kit import TelemetrySite

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
LOOKS = {"light": {"color_scheme": "light"}, "dark": {"color_scheme": "dark"}, "phone": {"viewport": PHONE}}
MORE = 20  # lines than are shown at once


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder: Path = tmp_path_factory.mktemp("admin")
    site = TelemetrySite(folder / "telemetry")
    site.job(7, hours=1, ended_ago_s=300)
    site.settle()
    with Warehouse.write(folder / "accounting", "UTC") as writer:
        writer.upsert(warehouse_kit.jobs(*(warehouse_kit.job(n, cluster="c1") for n in range(1, 1235))), cluster="c1")
        writer.set_state("c1", source="slurmdbd", synced_s=int(time.time()))
        writer.commit()
    World(folder)
    with running(folder, PAGES) as up:
        with up.services.db.begin() as rows:
            for n in range(admin.LINES + MORE):
                audit(rows, "ada", "session.launch", f"s{n}", "done", "10.0.0.7", gpus=n)
            audit(rows, "bob", "person.lock", HOSTILE, "refused", "10.0.0.8", why=HOSTILE)
        yield up


def open_as(browser: Browser, house: House, role: str, look: str, query: str = "") -> tuple[Page, list[str]]:
    context = browser.new_context(**LOOKS[look])
    enter(context, house, house.person(f"{role}-{look}{len(query)}", roles=(role,)))
    return visit(context, house, "/admin" + query)


@pytest.mark.parametrize("look", LOOKS)
def test_the_page_is_readable_in_every_look(browser: Browser, house: House, look: str) -> None:
    page, complaints = open_as(browser, house, "admin", look)
    telemetry = page.get_by_role("row", name=re.compile("telemetry.*", re.I)).filter(has_text="carme serve")
    expect(telemetry.get_by_text("Look at this")).to_be_visible()  # its process does not run here
    kept = page.get_by_role("region", name="Table of what is kept")
    samples = kept.get_by_role("row", name=re.compile("^Every sample"))
    expect(samples).to_contain_text(re.compile(r"\d+ KB"))
    expect(samples).to_contain_text("2 days")
    expect(kept.get_by_role("row", name=re.compile("^Mean, low"))).to_contain_text("14 days more")
    expect(kept.get_by_role("row", name=re.compile("^Footprints"))).to_contain_text("1 job")
    expect(kept.get_by_role("row", name=re.compile("^c1"))).to_contain_text("1,234 jobs")
    expect(page.get_by_role("region", name="Table of the audit").get_by_text(HOSTILE).first).to_be_visible()
    sound(page)
    if folder := os.environ.get("CARME_PICTURES"):
        page.set_viewport_size({"width": page.viewport_size["width"], "height": 2400})
        page.screenshot(path=f"{folder}/admin-{look}.png")
    assert complaints == []
    page.context.close()


def test_lines_are_filtered_and_the_address_says_how(browser: Browser, house: House) -> None:
    page, _ = open_as(browser, house, "admin", "light", "?outcome=refused")
    lines = page.get_by_role("region", name="Table of the audit").locator("tbody tr")
    expect(lines).to_have_count(1)
    expect(lines).to_contain_text("person.lock")
    page.locator("#admin-outcome").select_option("")
    page.get_by_label("Find lines by").fill("ada")
    expect(lines).to_have_count(admin.LINES)
    expect(page).to_have_url(re.compile(r"/admin\?text=ada$"))
    page.get_by_role("button", name="Show older ones").click()
    expect(lines).to_have_count(admin.LINES + MORE)
    expect(page.get_by_role("button", name="Show older ones")).to_have_count(0)
    page.get_by_label("Find lines by").fill("nobody there")
    page.get_by_role("button", name="Clear filters").click()
    expect(lines).to_have_count(admin.LINES)
    expect(page.get_by_label("Find lines by")).to_have_value("")
    page.context.close()


def test_checks_are_made_again_when_asked(browser: Browser, house: House) -> None:
    page, _ = open_as(browser, house, "operator", "light")
    again = page.get_by_role("button", name="Look again")
    expect(again).to_be_enabled()
    row = page.get_by_role("row", name=re.compile("data folder"))
    expect(row).to_have_count(0)  # it is as it should be
    page.get_by_role("button", name=re.compile("checks: fine$")).click()
    expect(row.get_by_text("Fine")).to_be_visible()
    folder = house.services.settings.instance.data_dir
    folder.chmod(0o755)
    try:
        again.click()
        expect(row.get_by_text("Failed")).to_be_visible()
        expect(row.get_by_text(f"chmod 700 {folder}")).to_be_visible()
        expect(page.get_by_text("1 failed")).to_be_visible()
    finally:
        folder.chmod(0o700)
    page.context.close()


def test_the_audit_is_not_an_operators_and_the_page_nobody_elses(browser: Browser, house: House) -> None:
    page, _ = open_as(browser, house, "operator", "light", "?kind=person")
    expect(page.get_by_role("heading", name="What is kept")).to_be_visible()
    expect(page.get_by_role("heading", name="Audit")).to_have_count(0)
    page.context.close()
    context = browser.new_context()
    enter(context, house, house.person("bob"))
    page, _ = visit(context, house, "/jobs")
    expect(page.get_by_role("link", name="Admin")).to_have_count(0)
    answer = page.goto(house.url + "/admin")
    assert answer is not None
    assert answer.status == 403
    context.close()
