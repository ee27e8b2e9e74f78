"""Embeds in pages of another site, in Chromium: a wiki on an origin of its own, with a script tag or a frame."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, FrameLocator, Page, expect

from backend.accounting.embeds import EmbedInfo, code_of
from backend.accounting.reports import read_saved
from tests.browser.barriers import WCAG_22_AA, barriers
from tests.unit.gatehouse import House, running
from tests.unit.usage_rest_kit import fill

pytestmark = pytest.mark.browser

QUESTION = {"metrics": ["cpu_hours"], "by": ["day", "user"], "since": "2026-11-01", "until": "2026-11-08"}
DESK = {"width": 1000, "height": 800}
PHONE = {"width": 390, "height": 844}


@dataclass
class Wiki:
    """Another site: pages of any HTML, at 127.0.0.1 while the console is at localhost."""

    port: int
    pages: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def elsewhere(self) -> str:
        """The same pages from an origin that no embed was made for."""
        return f"http://evil.localhost:{self.port}"

    def put(self, body: str, path: str = "/page") -> str:
        self.pages[path] = f"<!DOCTYPE html><html lang=en><title>Wiki</title><body><h1>Wiki</h1>{body}</body></html>"
        return path


@contextmanager
def a_wiki() -> Iterator[Wiki]:
    wiki = Wiki(0)

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = wiki.pages.get(self.path, "")
            self.send_response(200 if body else 204)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    wiki.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield wiki
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def wiki() -> Iterator[Wiki]:
    with a_wiki() as running_wiki:
        yield running_wiki


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("embeds")
    fill(folder)
    with running(folder) as house:
        house.services.identity.add_person("console", "olga", "correct horse battery staple", roles=["operator"])
        yield house


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport=DESK)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    page = context.new_page()
    page.context.set_default_timeout(15_000)
    return page


def make(house: House, wiki: Wiki, chart: str = "", live: bool = True, **question: Any) -> EmbedInfo:
    viewer = house.services.identity.standing("olga")
    assert viewer is not None
    saved = read_saved(QUESTION | question, "UTC")
    return house.services.embeds.make(
        viewer, title="Who uses what", question=saved, chart=chart, origins=[wiki.origin], live=live
    )


def script(house: House, info: EmbedInfo, theme: str = "auto") -> str:
    code = code_of(house.url, info)
    assert code is not None
    return code.script.replace(" async>", f' data-theme="{theme}" async>')


def shown(page: Page) -> FrameLocator:
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="Who uses what")).to_be_visible()
    expect(frame.get_by_text("As of 5 Nov 2026").or_(frame.get_by_text("Snapshot of"))).to_be_visible()
    return frame


def complaints(page: Page) -> list[str]:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    return said


def height(page: Page) -> float:
    box = page.locator("iframe").bounding_box()
    assert box is not None
    return box["height"]


def inner_height(page: Page) -> float:
    return float(page.frames[1].evaluate("document.getElementById('embed').getBoundingClientRect().height"))


def settled(page: Page) -> None:
    """Wait until the frame is as high as what it shows."""
    for _ in range(50):
        if abs(height(page) - inner_height(page)) < 2:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"the frame is {height(page)} high, its content {inner_height(page)}")


def test_one_script_tag_shows_the_figure_as_high_as_it_is(page: Page, house: House, wiki: Wiki) -> None:
    said = complaints(page)
    page.goto(wiki.origin + wiki.put(script(house, make(house, wiki, chart="table"))))
    frame = shown(page)
    expect(frame.get_by_role("cell", name="bob")).to_be_visible()
    settled(page)
    before = height(page)
    frame.get_by_text("How it is counted").click()
    page.wait_for_timeout(300)
    settled(page)
    assert height(page) > before
    assert said == []


def test_a_chart_is_drawn_without_any_socket(page: Page, house: House, wiki: Wiki) -> None:
    said = complaints(page)
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    page.goto(wiki.origin + wiki.put(script(house, make(house, wiki))))
    frame = shown(page)
    expect(frame.locator(".chart canvas").first).to_be_visible()
    settled(page)
    frame.get_by_text("The figures as a table").click()
    expect(frame.get_by_role("cell", name="bob")).to_be_visible()
    assert said == []
    assert sockets == []
    assert page.context.cookies() == []


def test_a_plain_frame_shows_it_too(page: Page, house: House, wiki: Wiki) -> None:
    code = code_of(house.url, make(house, wiki, live=False))
    assert code is not None
    page.goto(wiki.origin + wiki.put(code.iframe))
    expect(shown(page).get_by_text("Snapshot of")).to_be_visible()


def ground(page: Page) -> str:
    return str(page.frames[1].evaluate("getComputedStyle(document.body).backgroundColor"))


@pytest.mark.parametrize("look", [
    ("auto", "dark", True), ("auto", "light", False), ("dark", "light", True), ("light", "dark", False),
])  # fmt: skip
def test_its_look_is_the_reader_s_or_the_page_s(page: Page, house: House, wiki: Wiki, look: Any) -> None:
    theme, system, dark = look
    page.emulate_media(color_scheme=system)
    page.goto(wiki.origin + wiki.put(script(house, make(house, wiki), theme)))
    shown(page)
    assert ground(page) == ("rgb(24, 28, 36)" if dark else "rgb(255, 255, 255)")


def test_it_follows_the_reader_s_system_while_it_is_open(page: Page, house: House, wiki: Wiki) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(wiki.origin + wiki.put(script(house, make(house, wiki))))
    expect(shown(page).locator(".chart canvas").first).to_be_visible()
    frame = page.frame_locator("iframe")
    frame.get_by_text("How it is counted").click()
    kept = "[[...Bokeh.index].length, Bokeh.documents.length]"
    first = page.frames[1].evaluate(kept)
    for scheme in ("dark", "light", "dark"):
        with page.expect_response(lambda answer, scheme=scheme: f"theme={scheme}" in answer.url):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.wait_for_timeout(500)
        expect(frame.locator(".chart canvas").first).to_be_visible()
        expect(frame.get_by_text("Allocated CPUs")).to_be_visible()  # what was unfolded stays so
    assert page.frames[1].evaluate(kept) == first  # charts that were drawn before are gone


def test_another_site_gets_no_frame_and_reads_nothing(page: Page, house: House, wiki: Wiki) -> None:
    info = make(house, wiki)
    page.goto(wiki.elsewhere + wiki.put(script(house, info)))
    expect(page.locator("iframe")).to_be_attached()
    page.wait_for_timeout(1500)
    assert "Who uses what" not in page.frames[1].content()
    read = "async (url) => { try { return (await fetch(url)).status } catch { return 'refused' } }"
    figures = f"{house.url}/embed/{info.token}/figures"
    assert page.evaluate(read, figures) == "refused"
    page.goto(wiki.origin + wiki.put("", "/plain"))
    assert page.evaluate(read, figures) == 200


def test_only_the_frame_itself_is_believed_about_its_height(page: Page, house: House, wiki: Wiki) -> None:
    lie = "parent.postMessage({carme: &quot;height&quot;, height: 5555}, &quot;*&quot;)"
    other = f'<iframe srcdoc="<script>{lie}</script>"></iframe>'
    page.goto(wiki.origin + wiki.put(script(house, make(house, wiki, chart="table"))))
    shown(page)
    settled(page)
    before = height(page)
    page.evaluate("window.postMessage({carme: 'height', height: 7777}, '*')")
    page.evaluate("(html) => document.body.insertAdjacentHTML('beforeend', html)", other)
    page.wait_for_timeout(700)
    box = page.locator("iframe").first.bounding_box()
    assert box is not None
    assert box["height"] == before


def test_the_frame_tells_its_height_to_none_but_the_page_around_it(page: Page, house: House, wiki: Wiki) -> None:
    """A page of another site can open it in a window, greet it, and hears nothing."""
    info = make(house, wiki, chart="table")
    greet = """async (url) => {
      const opened = window.open(url)
      const heard = new Promise((done) => addEventListener('message', (event) => done(event.data)))
      const greeting = setInterval(() => opened.postMessage({carme: 'hello'}, '*'), 100)
      const said = await Promise.race([heard, new Promise((done) => setTimeout(() => done('nothing'), 2500))])
      clearInterval(greeting)
      return said
    }"""
    for site in (wiki.origin, wiki.elsewhere):
        page.goto(site + wiki.put("", "/plain"))
        assert page.evaluate(greet, f"{house.url}/embed/{info.token}") == "nothing"


def test_a_revoked_one_says_so_at_the_next_look(page: Page, house: House, wiki: Wiki) -> None:
    info = make(house, wiki)
    page.goto(wiki.origin + wiki.put(script(house, info)))
    shown(page)
    viewer = house.services.identity.standing("olga")
    assert viewer is not None
    house.services.embeds.revoke(viewer, info.id)
    page.reload()
    frame = page.frame_locator("iframe")
    expect(frame.get_by_text("This figure is no longer available.")).to_be_visible()
    settled(page)
    assert height(page) < 80


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_there_is_no_barrier(page: Page, house: House, wiki: Wiki, viewport: Any, theme: str) -> None:
    page.set_viewport_size(viewport)
    page.goto(f"{house.url}/embed/{make(house, wiki).token}?theme={theme}")
    expect(page.locator(".chart canvas").first).to_be_visible()
    page.get_by_text("The figures as a table").click()
    page.get_by_text("How it is counted").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    page.goto(f"{house.url}/embed/{make(house, wiki, chart='table').token}?theme={theme}")
    expect(page.get_by_role("cell", name="bob")).to_be_visible()
    assert barriers(page, WCAG_22_AA) == []


def test_hostile_names_are_only_text(page: Page, house: House, wiki: Wiki) -> None:
    viewer = house.services.identity.standing("olga")
    assert viewer is not None
    title = "</title><script>document.title='cracked'</script><img src=x onerror=alert(1)>\u202e"
    info = house.services.embeds.make(
        viewer, title=title, question=read_saved(QUESTION, "UTC"), chart="", origins=[wiki.origin], live=True
    )
    page.goto(f"{house.url}/embed/{info.token}")
    expect(page.get_by_role("heading")).to_contain_text("<script>document.title")
    assert page.title() != "cracked"
    assert page.locator("img").count() == 0
