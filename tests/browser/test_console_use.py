"""A person at work on the embedded console: told when a session is ready, its log, its address, its second life.

One session runs while the tests of this module look at it from all sides; the last one stops it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy import update

from backend.store.models import Login
from pages import PAGES
from tests.browser.notebook import READY_MS
from tests.browser.person import SignedUp, sign_in
from tests.harness.console import Console
from tests.unit.gatehouse import PASSWORD, running

# A browser that was not asked yet and says yes, whose page is in the background when the test says so.
RECORDER = """() => {
    window.notes = []
    window.Notification = class {
        static permission = "default"
        static async requestPermission() { return this.permission = "granted" }
        constructor(title, options) { window.notes.push([title, options.tag]) }
    }
    window.away = false
    Object.defineProperty(Document.prototype, "hidden", {get: () => window.away})
}"""


@dataclass
class Told:
    """A ready session, the page on which its person waited for it, and what that page said and notified."""

    page: Page
    session: str
    job: str
    asked: bool


@pytest.fixture(scope="module")
def context(browser: Browser, console: Console, ada: SignedUp) -> Iterator[BrowserContext]:
    made = browser.new_context()
    page = made.new_page()
    sign_in(page, console, ada)
    page.close()
    yield made
    made.close()


@pytest.fixture(scope="module")
def told(context: BrowserContext, console: Console) -> Told:
    """Launched from an address of the form; the person asks to be notified and goes to another tab."""
    page = context.new_page()
    page.add_init_script(f"({RECORDER})()")
    page.goto(console.url + "/launch?gpus=0&time_s=1800&cpus=1&title=Night+run")
    expect(page.get_by_role("radio", name="30 min")).to_be_checked()
    page.get_by_role("button", name="Start", exact=True).click()
    ask = page.get_by_role("button", name="Notify me when ready")
    ask.click()
    expect(ask).to_have_count(0)
    asked = page.evaluate("Notification.permission") == "granted"
    page.evaluate("window.away = true")
    page.get_by_role("button", name="Open JupyterLab").wait_for(timeout=READY_MS)
    link = page.get_by_role("article", name="Night run").get_by_role("link", name=re.compile(r"^\d+$"))
    return Told(page, page.url.partition("session=")[2], link.inner_text(), asked)


def opened(context: BrowserContext, console: Console, path: str) -> Page:
    page = context.new_page()
    page.goto(console.url + path)
    expect(page.locator(".console[data-live]")).to_be_visible(timeout=30_000)
    return page


def test_readiness_is_spoken_and_notified_once(told: Told) -> None:
    assert told.asked
    assert told.page.evaluate("notes") == [["Night run is ready", told.session]]
    expect(told.page.locator("[aria-live].said")).to_have_text(re.compile("Night run: Ready"))


def test_every_drawer_has_an_address_that_works_alone_and_with_back_and_forward(
    told: Told, context: BrowserContext, console: Console
) -> None:
    page = opened(context, console, f"/jobs?job={told.job}")
    job = page.get_by_role("dialog", name=f"Job {told.job}")
    expect(job.get_by_text("carme-" + told.session)).to_be_visible()
    job.get_by_role("link", name="Its session").click()
    expect(page.get_by_role("article", name="Night run")).to_be_visible()
    expect(job).to_have_count(0)
    page.go_back()
    expect(job).to_be_visible()
    page.go_forward()
    expect(page.get_by_role("heading", level=1, name="Sessions")).to_be_visible()
    expect(job).to_have_count(0)
    node = page.get_by_role("article", name="Night run").locator("dd").first.inner_text()
    page.goto(f"{console.url}/cluster?node={node}")
    expect(page.get_by_role("dialog", name=node).get_by_text("Night run").or_(
        page.get_by_role("dialog", name=node).get_by_role("link", name=told.job, exact=True)
    ).first).to_be_visible()  # fmt: skip
    page.close()


def test_the_jobs_page_calls_the_job_of_a_session_by_the_sessions_name(
    told: Told, context: BrowserContext, console: Console
) -> None:
    page = opened(context, console, "/jobs")
    page.get_by_role("link", name="Night run: to its card").click()
    expect(page.get_by_role("article", name="Night run")).to_be_visible()
    assert page.url.endswith("/sessions?session=" + told.session)
    page.close()


def test_the_log_opens_keeps_the_focus_and_gives_it_back(told: Told, context: BrowserContext, console: Console) -> None:
    page = opened(context, console, "/sessions")
    page.get_by_role("article", name="Night run").get_by_role("button", name="Log").click()
    drawer = page.get_by_role("dialog", name="Log of Night run")
    expect(drawer.locator(".log")).to_contain_text(re.compile("jupyter", re.IGNORECASE), timeout=15_000)
    assert f"log={told.session}" in page.url
    for key in ("Tab", "Tab", "Tab", "Tab", "Shift+Tab", "Shift+Tab", "Shift+Tab"):
        page.keyboard.press(key)
        assert page.evaluate("!!document.activeElement.closest('[role=dialog]')"), key
    page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)
    expect(page.get_by_role("article", name="Night run").get_by_role("button", name="Log")).to_be_focused()
    page.close()


def test_the_first_tab_stop_leads_to_the_content(context: BrowserContext, console: Console) -> None:
    page = opened(context, console, "/cluster")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page.close()


@contextlib.contextmanager
def without_collector(console: Console) -> Iterator[None]:
    """The collector is dead, and what would start it again is held."""
    keeper = console.processes[0].pid
    os.kill(keeper, signal.SIGSTOP)
    console.kill("collector")
    try:
        yield
    finally:
        os.kill(keeper, signal.SIGCONT)


def test_without_news_the_page_says_how_old_it_is_until_they_come_again(
    context: BrowserContext, console: Console
) -> None:
    page = context.new_page()
    page.clock.install()
    page.goto(console.url + "/")
    expect(page.locator(".console[data-live]")).to_be_visible(timeout=30_000)
    stale = page.get_by_text(
        re.compile(r"Shown as of \d\d:\d\d:\d\d\. Nothing new for \d+ min; sessions go on meanwhile\.")
    )
    with without_collector(console):
        for _ in range(10):  # what was on its way still sets the page's clock
            page.wait_for_timeout(500)
            page.clock.fast_forward(120_000)
            with contextlib.suppress(AssertionError):
                expect(stale).to_be_visible(timeout=500)
                break
        expect(stale).to_be_visible()
    expect(stale).to_have_count(0, timeout=20_000)
    page.close()


def test_signing_in_again_in_place_leaves_the_console_at_work(browser: Browser, tmp_path: Path) -> None:
    times = {"login__idle_s": 3500, "login__warn_s": 3400, "login__absolute_s": 3500}
    with running(tmp_path, PAGES, **times) as house:
        mona = house.person("mona")
        visitor = house.browser()
        visitor.enter(mona)
        context = browser.new_context()
        context.add_cookies([{"name": key, "value": value, "url": house.url} for key, value in visitor.cookies.items()])
        page = context.new_page()
        page.goto(house.url + "/launch?title=kept")
        expect(page.locator(".console[data-live]")).to_be_visible(timeout=30_000)
        page.evaluate("window.mark = 'the same page'")
        with house.services.db.begin() as rows:  # the end comes near
            rows.execute(update(Login).values(expires_s=Login.expires_s - 3000))
        page.wait_for_timeout(1200)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        dialog = page.get_by_role("dialog", name="Sign in again")
        dialog.get_by_label("Password").fill(PASSWORD)
        dialog.get_by_label("Code").fill(mona.code())
        dialog.get_by_role("button", name="Stay signed in").click()
        expect(dialog).to_be_hidden()
        page.get_by_role("navigation").get_by_role("link", name="Jobs").click()
        expect(page.get_by_text("No jobs of yours in the queue")).to_be_visible()
        assert page.evaluate("window.mark") == "the same page"
        context.close()


def test_a_session_that_is_over_is_launched_again_from_its_card_and_leaves_the_list(told: Told) -> None:
    page = told.page
    card = page.get_by_role("article", name="Night run")
    card.get_by_role("button", name="Stop Night run").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop", exact=True).click()
    card.get_by_role("link", name="Relaunch").click(timeout=READY_MS)
    expect(page.get_by_role("radio", name="30 min")).to_be_checked()
    expect(page.get_by_label("Title")).to_have_value("Night run")
    assert page.evaluate("new URLSearchParams(location.search).get('gpus')") == "0"
    page.go_back()
    card.get_by_role("button", name="Remove Night run from the list").click()
    expect(card).to_have_count(0)
    assert len(page.evaluate("notes")) == 1
    page.reload()
    expect(page.get_by_role("heading", level=1, name="Sessions")).to_be_visible()
    expect(page.locator(".skeleton")).to_have_count(0)
    expect(card).to_have_count(0)
