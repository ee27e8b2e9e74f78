"""How fast pages come: Home against plain HTML with BokehJS, in-page navigation, and what a page costs the server."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import bokeh
from playwright.sync_api import Browser, BrowserContext, Page

from tests.bench import Figure
from tests.bench._console import cpu_s, embedded, person, visitor
from tests.browser.person import SignedUp, sign_in
from tests.harness.browser import chromium
from tests.harness.console import Console

ROUNDS = 9
BUILDS = 25  # a person may have 200 documents in memory
PATHS = ("/", "/cluster", "/jobs", "/launch", "/sessions")
# Complete: everything is loaded and Home shows figures, not skeletons.
COMPLETE = """() => {
    if (document.readyState !== "complete") return false
    const deep = (root, css) => {
        const hit = root.querySelector(css)
        if (hit) return hit
        for (const node of root.querySelectorAll("*")) if (node.shadowRoot) {
            const inner = deep(node.shadowRoot, css)
            if (inner) return inner
        }
        return null
    }
    return deep(document, ".stat-value") && !deep(document, ".skeleton") ? performance.now() : false
}"""
# Home draws its content before BokehJS is there; what it takes until pushes arrive as well is a figure of its own.
LIVE = COMPLETE.replace(
    'deep(document, ".stat-value") &&', 'deep(document, ".stat-value") && deep(document, "[data-live]") &&'
)
CONTENT = """() => {
    const find = (root) => {
        for (const node of root.querySelectorAll("*")) {
            if (node.matches(".figure-grid")) return node.getRootNode()
            if (node.shadowRoot) { const inner = find(node.shadowRoot); if (inner) return inner }
        }
        return null
    }
    const root = find(document)
    const sheets = [...(root.adoptedStyleSheets || []), ...root.styleSheets]
    const css = sheets.flatMap((sheet) => [...sheet.cssRules].map((rule) => rule.cssText)).join("\\n")
    const shadow = root instanceof ShadowRoot
    const top = shadow ? [...root.children].map((node) => node.outerHTML).join("") : document.body.innerHTML
    return `<style>${css}</style>${top}`
}"""


@contextlib.contextmanager
def plain_server(content: str) -> Iterator[str]:
    """The same content as one static page that loads BokehJS, served from memory."""
    script = Path(bokeh.__file__).parent.joinpath("server/static/js/bokeh.min.js").read_bytes()
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Home</title>'
        f'<script src="/bokeh.min.js"></script></head><body>{content}</body></html>'
    ).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            is_script = self.path == "/bokeh.min.js"
            body = script if is_script else page
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if is_script else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "max-age=3600" if is_script else "no-cache")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet: figures are printed on the same terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def complete_ms(context: BrowserContext, url: str, condition: str = COMPLETE) -> float:
    """From the start of the navigation until the page is complete, in a new tab."""
    page = context.new_page()
    page.goto(url, wait_until="commit")
    taken: float = page.wait_for_function(condition, polling="raf", timeout=30_000).json_value()
    page.close()
    return taken


def against_plain(browser: Browser) -> Iterator[Figure]:
    with embedded() as console:
        me = person(console, "ada")
        context = browser.new_context()
        page = context.new_page()
        sign_in(page, console, me)
        page.wait_for_function(COMPLETE, polling="raf")
        with plain_server(page.evaluate(CONTENT)) as plain:
            home_ms, live_ms, plain_ms = [], [], []
            for number in range(ROUNDS + 1):
                url = console.url + "/"
                times = complete_ms(context, url), complete_ms(context, url, LIVE), complete_ms(context, plain)
                if number:  # the first fills the cache
                    for taken, kept in zip(times, (home_ms, live_ms, plain_ms), strict=True):
                        kept.append(taken)

        def ratio(ours: list[float]) -> float:
            return statistics.median(mine / theirs for mine, theirs in zip(ours, plain_ms, strict=True))

        against = "the same content as plain HTML with BokehJS, same run"
        yield Figure("home_warm_ms", statistics.median(home_ms), "ms", "", "all its figures shown")
        yield Figure("home_warm_live_ms", statistics.median(live_ms), "ms", "", "its websocket up as well")
        yield Figure("plain_html_bokehjs_warm_ms", statistics.median(plain_ms), "ms")
        yield Figure("home_warm_ratio", ratio(home_ms), "x", "<= 1.4", against)
        yield Figure("home_warm_live_ratio", ratio(live_ms), "x", "", f"{against}, which has no websocket")
        yield from navigation(page)
        yield from build_cost(console, me)


def navigation(page: Page) -> Iterator[Figure]:
    """Click in the menu until the page's heading stands and nothing is a skeleton."""
    settled = COMPLETE.replace('deep(document, ".stat-value")', 'deep(document, "h1")?.textContent === TITLE')
    taken: list[float] = []
    for _ in range(3):
        for name in ("Cluster", "Jobs", "Launch", "Sessions", "Home"):
            began = time.perf_counter()
            page.get_by_role("link", name=name, exact=True).first.click()
            heading = {"Jobs": "Jobs", "Launch": "Launch"}.get(name, name)
            page.wait_for_function(settled.replace("TITLE", repr(heading)), polling="raf", timeout=10_000)
            taken.append(time.perf_counter() - began)
    yield Figure("in_page_navigation_s", statistics.median(taken), "s", "<= 0.6")
    yield Figure("in_page_navigation_worst_s", max(taken), "s")


def build_cost(console: Console, me: SignedUp) -> Iterator[Figure]:

    browser = visitor(console, me)
    (web,) = console.role_pids("web")
    for path in PATHS:
        for _ in range(3):
            browser.get(path)
        idle = cpu_s(web)
        time.sleep(2)
        idle_per_s = (cpu_s(web) - idle) / 2
        before, began = cpu_s(web), time.monotonic()
        for _ in range(BUILDS):
            answer = browser.get(path)
            assert answer.status_code == 200, answer.status_code
        used = cpu_s(web) - before - idle_per_s * (time.monotonic() - began)
        yield Figure(f"build_cpu_{path.strip('/') or 'home'}_ms", used / BUILDS * 1000, "ms", "<= 150")


def figures() -> Iterator[Figure]:
    with chromium() as browser:
        yield from against_plain(browser)
