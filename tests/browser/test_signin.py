"""Signing in and the account page as a person meets them: keyboard, phone, both themes, no barrier."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest
import segno
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy import update

from backend.store.models import Login
from tests.browser.barriers import WCAG_22_AA, barriers
from tests.unit.gatehouse import PASSWORD, House, Person, running

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 800}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport=DESK)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def password(page: Page, house: House, name: str, path: str = "/") -> None:
    page.goto(house.url + path)
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def sign_in(page: Page, house: House, person: Person, path: str = "/") -> None:
    password(page, house, person.name, path)
    page.get_by_label("Code").fill(person.code())
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(house.url + path)


def connected(page: Page) -> None:
    """Wait until the page's socket is open. (Playwright's own waiting for a function needs eval.)"""
    for _ in range(100):
        if page.evaluate("Boolean(window.Bokeh && Bokeh.documents.length)"):
            page.wait_for_timeout(500)
            return
        page.wait_for_timeout(100)
    raise AssertionError("the page did not connect")


def test_one_signs_in_by_keyboard_alone(page: Page, house: House) -> None:
    kim = house.person("kim")
    page.goto(house.url + "/cluster")
    page.keyboard.type("kim")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Code")).to_be_focused()
    page.keyboard.type(kim.code())
    page.keyboard.press("Enter")
    page.wait_for_url(house.url + "/cluster")
    expect(page.locator("body")).not_to_contain_text("Sign in")


def test_browsers_and_password_managers_know_the_fields(page: Page, house: House) -> None:
    house.person("kira")
    page.goto(house.url)
    expect(page.get_by_label("User name")).to_have_attribute("autocomplete", "username")
    expect(page.get_by_label("Password", exact=True)).to_have_attribute("autocomplete", "current-password")
    password(page, house, "kira")
    expect(page.get_by_label("Code")).to_have_attribute("autocomplete", "one-time-code")
    expect(page.get_by_label("Code")).to_have_attribute("inputmode", "numeric")


def test_the_picture_to_scan_is_the_key_and_sets_up_the_second_step(page: Page, house: House, tmp_path: Path) -> None:
    house.services.identity.add_person("console", "nils", PASSWORD)
    password(page, house, "nils")
    key = page.locator(".key").inner_text().replace(" ", "")
    page.locator(".qr svg").screenshot(path=str(tmp_path / "qr.png"))
    uri = page.get_by_role("link", name="Open in an app").get_attribute("href")
    assert uri and f"secret={key}" in uri
    assert shown_modules(tmp_path / "qr.png", len(segno.make(uri, error="m").matrix)) == [
        [bool(module) for module in row] for row in segno.make(uri, error="m").matrix
    ]
    page.get_by_label("Code").fill(pyotp.TOTP(key).now())
    page.get_by_role("button", name="Confirm").click()
    expect(page.locator("#codes li")).to_have_count(10)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    codes = page.locator("#codes li").all_inner_texts()
    assert all(code in Path(download.value.path()).read_text() for code in codes)
    page.get_by_role("link", name="I have kept them").click()
    page.wait_for_url(house.url + "/")


def shown_modules(picture: Path, modules: int) -> list[list[bool]]:
    """The dark modules in a picture of a QR code with its quiet zone of four."""
    image = Image.open(picture).convert("L")
    step = image.width / (modules + 8)
    return [
        [image.getpixel((int((x + 4.5) * step), int((y + 4.5) * step))) < 128 for x in range(modules)]  # type: ignore[operator]
        for y in range(modules)
    ]


def test_recovery_codes_can_be_copied(context: BrowserContext, house: House) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    sign_in(page, house, house.person("kora"))
    page.goto(house.url + "/account")
    page.get_by_role("button", name="New recovery codes").click()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.split() == page.locator("#codes li").all_inner_texts()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_no_page_of_it_has_a_barrier_or_runs_over_the_edge(
    browser: Browser, house: House, scheme: str, size: dict[str, int]
) -> None:
    name = f"una{scheme[0]}{size['width']}"
    house.services.identity.add_person("console", name, PASSWORD)
    context = browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))

    def look(what: str) -> None:
        page.evaluate("document.activeElement.blur()")
        page.wait_for_timeout(200)  # colours of buttons fade
        assert barriers(page, WCAG_22_AA) == [], what
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"], f"{what} is {width} wide"
        assert page.locator("h1").count() == 1, what

    page.goto(house.url)
    look("password")
    password(page, house, name)
    look("enrolment")
    key = page.locator(".key").inner_text().replace(" ", "")
    page.get_by_label("Code").fill(pyotp.TOTP(key).now())
    page.get_by_role("button", name="Confirm").click()
    look("recovery codes")
    page.goto(house.url + "/account")
    look("account")
    page.goto(house.url + "/account/again")
    look("again")
    page.goto(house.url + "/logout")
    look("sign out")
    page.get_by_role("button", name="Sign out").click()
    look("signed out")
    password(page, house, name)
    look("code")
    page.get_by_role("link", name="Use a recovery code").click()
    look("recovery code")
    page.goto(house.url + "/login/password")
    look("new password")
    assert said == []
    page.goto(house.url + "/nothing-here")
    look("not found")
    context.close()


def test_the_consoles_choice_of_theme_holds_here_too(page: Page, house: House) -> None:
    page.goto(house.url)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.evaluate("localStorage.setItem('carme-theme', 'dark')")
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


def test_signing_in_needs_no_script(browser: Browser, house: House) -> None:
    kurt = house.person("kurt")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, house, kurt, "/account")
    expect(page.get_by_role("heading", name="Account")).to_be_visible()
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    context.close()


def test_a_page_script_can_neither_read_the_cookie_nor_run_text_as_code(page: Page, house: House) -> None:
    sign_in(page, house, house.person("kaya"))
    assert page.evaluate("document.cookie") == ""
    assert "unsafe-eval" in page.evaluate(
        """new Promise((done) => setTimeout(() => {
          const inline = document.createElement("script")
          inline.textContent = "window.ran = 1"
          document.body.append(inline)
          try { Function("1")(); done("ran") } catch (error) { done(String(error)) }
        }))"""
    )
    assert page.evaluate("window.ran") is None


def test_an_open_page_goes_to_sign_in_when_its_login_ends(context: BrowserContext, house: House) -> None:
    kaja = house.person("kaja")
    page = context.new_page()
    sign_in(page, house, kaja, "/cluster")
    connected(page)
    house.services.identity.sign_out_person("console", "kaja")
    page.wait_for_url(house.url + "/login?next=%2Fcluster", timeout=5000)


# The warning before a login ends


def test_the_page_warns_and_staying_is_one_click(browser: Browser, tmp_path: Path) -> None:
    # Seconds enough for signing in before the end, on a slow machine too; the warning comes soon all the same.
    with running(tmp_path, login__idle_s=16, login__warn_s=14) as house:
        context = browser.new_context()
        page = context.new_page()
        sign_in(page, house, house.person("lara"))
        dialog = page.get_by_role("dialog", name="Are you still there?")
        expect(dialog).to_be_visible(timeout=15_000)
        assert [each for each in barriers(page, WCAG_22_AA) if "carme-watch" in each] == []
        page.get_by_role("button", name="Stay signed in").click()
        expect(dialog).to_be_hidden()
        page.wait_for_timeout(500)
        expect(dialog).to_be_visible(timeout=15_000)  # no input after that: it comes again,
        page.wait_for_url(re.compile("/login"), timeout=30_000)  # and then it is over
        context.close()


def test_signing_in_again_happens_in_place(browser: Browser, tmp_path: Path) -> None:
    with running(tmp_path, login__idle_s=3500, login__warn_s=3400, login__absolute_s=3500) as house:
        context = browser.new_context()
        page = context.new_page()
        lisa = house.person("lisa")
        sign_in(page, house, lisa)
        connected(page)
        page.evaluate("window.mark = 'the same page'")
        with house.services.db.begin() as rows:  # the end comes near
            rows.execute(update(Login).values(expires_s=Login.expires_s - 3000))
        page.wait_for_timeout(1200)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        dialog = page.get_by_role("dialog", name="Sign in again")
        expect(dialog).to_be_visible(timeout=6000)
        dialog.get_by_label("Password").fill("wrong")
        dialog.get_by_label("Code").fill("000000")
        dialog.get_by_role("button", name="Stay signed in").click()
        expect(dialog.get_by_role("alert")).to_contain_text("wrong")
        dialog.get_by_label("Password").fill(PASSWORD)
        dialog.get_by_label("Code").fill(lisa.code())
        dialog.get_by_role("button", name="Stay signed in").click()
        page.wait_for_timeout(1000)
        assert page.evaluate("window.mark") == "the same page"
        assert page.evaluate("fetch('/api/session').then(a => a.json()).then(s => s.absolute_s)") > 3400
        context.close()
