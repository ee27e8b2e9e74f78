"""What a notebook's code can do with its owner's browser: nothing to the console, nothing to another session.

The hostile page is served by the real app of a real session, so it has that app's origin and all of its rights;
the browser around it is signed in to the console and has another session of the same person open.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.person import SignedUp, sign_in
from tests.harness import Cluster
from tests.harness.console import Console

HOSTILE = Path(__file__).with_name("hostile.js")
PAGE = '<!doctype html><meta charset="utf-8"><title>evil</title><body><script src="hostile.js"></script>'
WORKER = """
self.addEventListener("install", () => self.skipWaiting())
self.addEventListener("activate", (event) => event.waitUntil(clients.claim()))
const headers = {"Content-Type": "text/html"}
self.addEventListener("fetch", (event) => event.respondWith(new Response("tampered", {headers})))
"""
READY_S = 60
READING = ["fetch", "fetchBlind", "xhr", "eventSource", "script", "module", "worker", "image", "frame"]


@dataclass
class Desk:
    """One person's browser: signed in, with two sessions, hostile code in the first."""

    console: Console
    context: BrowserContext
    home: Page  # the console
    evil: Page  # the first session's app
    beside: Page  # the second session's
    own: str
    other: str

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Ask REST from the console's own page, as its scripts do."""
        answer = self.home.evaluate(
            """async ([method, path, body]) => {
                 const login = await (await fetch("/api/v1/login")).json()
                 const headers = {"X-CSRF-Token": login.csrf_token, "Content-Type": "application/json"}
                 const init = method === "GET" ? {} : {method, headers, body: JSON.stringify(body)}
                 const answer = await fetch("/api/v1" + path, init)
                 return {status: answer.status, body: await answer.json().catch(() => null)}
               }""",
            [method, path, body],
        )
        assert answer["status"] < 300, answer
        return answer["body"]

    def base(self, session: str) -> str:
        """The first path of a session's JupyterLab."""
        return f"http://{session}.localhost:{self.console.apps_port}/s/{session}/jupyterlab/"

    def attempts(self, ways: list[str], urls: list[str], extra: str = "") -> dict[str, str]:
        """Everything these ways could read of these addresses."""
        found: dict[str, str] = self.evil.evaluate("(given) => attemptAll(...given)", [ways, urls, extra])
        return found

    def standing(self) -> dict[str, Any]:
        """What must not change: who is signed in, and how the sessions do."""
        sessions = self.api("GET", "/sessions?ended=false")["sessions"]
        return {
            "name": self.api("GET", "/login")["name"],
            "sessions": {each["id"]: (each["state"], each["stop_requested_s"]) for each in sessions},
            "started": self.beside.evaluate(
                """async () => Promise.all(["terminals", "kernels", "sessions"].map(
                     async (what) => (await (await fetch(`../../../api/${what}`)).json()).length))"""
            ),
        }


def enter(context: BrowserContext, console: Console, session: str) -> None:
    """Open a session's app as a typed address does; the app itself isn't needed, only the way into it."""
    page = context.new_page()
    page.route("**/static/**", lambda route: route.abort())
    page.goto(f"{console.url}/sessions/{session}/open/jupyterlab")
    page.get_by_role("button").first.click()
    page.wait_for_url(re.compile(rf"{session}\.localhost.*/jupyterlab/"), wait_until="commit")
    page.close()


@pytest.fixture(scope="module")
def desk(browser: Browser, cluster: Cluster, cluster_console: Console) -> Iterator[Desk]:
    ada = cluster.people["ada"]
    folder = cluster.outside("/home/ada/.local/share/jupyter/labextensions/evil")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("page.html", PAGE), ("hostile.js", HOSTILE.read_text()), ("worker.js", WORKER)):
        (folder / name).write_text(text)
    for part in (folder, *folder.parents[:4], *folder.iterdir()):
        os.chown(part, ada.uid, ada.gid)
    context = browser.new_context()
    home = context.new_page()
    sign_in(home, cluster_console, SignedUp("ada", ada.password, cluster_console.enrol("ada")))
    desk = Desk(cluster_console, context, home, context.new_page(), context.new_page(), "", "")
    defaults = desk.api("GET", "/sessions/options")["defaults"]
    wanted = {**defaults, "gpus": 0, "gpu_type": "", "partition": ""}
    desk.own, desk.other = (desk.api("POST", "/sessions", wanted)["id"] for _ in range(2))
    until = time.monotonic() + READY_S
    while any(desk.api("GET", f"/sessions/{each}")["state"] != "ready" for each in (desk.own, desk.other)):
        assert time.monotonic() < until, desk.api("GET", "/sessions")
        time.sleep(0.5)
    for session in (desk.own, desk.other):
        enter(context, cluster_console, session)
    for page, session in ((desk.evil, desk.own), (desk.beside, desk.other)):
        answer = page.goto(desk.base(session) + "lab/extensions/evil/page.html")
        assert answer is not None and answer.status == 200
    yield desk
    for session in (desk.own, desk.other):
        desk.api("POST", f"/sessions/{session}/stop", {})
    context.close()
    shutil.rmtree(folder)


def test_the_hostile_page_has_its_own_apps_rights(desk: Desk) -> None:
    """The other tests would prove nothing from a page that can do nothing."""
    own = desk.base(desk.own)
    found = desk.attempts(["fetch", "xhr", "frame", "script"], [own + "lab/extensions/evil/hostile.js"])
    assert len(found) == 4, found
    assert "kernels" in desk.evil.evaluate("(url) => attempt('fetch', url)", own + "api/status")
    with desk.evil.expect_popup():
        assert desk.evil.evaluate("(url) => attempt('opened', url)", own + "api/status")


def test_reads_of_the_console_give_nothing(desk: Desk) -> None:
    at = desk.console.url
    paths = ["/", "/sessions", "/account", "/autoload.js", "/metadata", "/login", "/logout", "/api/session",
             "/api/v1/login", "/api/v1/sessions", f"/api/v1/sessions/{desk.own}/log", "/api/v1/openapi.json",
             f"/sessions/{desk.own}/open/jupyterlab", "/assets/console/main.js"]  # fmt: skip
    assert desk.attempts(READING, [at + path for path in paths]) == {}


def test_the_websocket_of_a_page_refuses_an_app_even_with_the_pages_own_token(desk: Desk) -> None:
    at = desk.console.url
    page = desk.context.request.get(at + "/", headers={"Sec-Fetch-Site": "none"}).text()
    token = re.search(r'"token":"([^"]+)"', page)
    assert token
    sockets = [at + path for path in ("/ws", "/sessions/ws", "/cluster/ws")]
    assert desk.attempts(["socket"], sockets) == {}
    assert desk.attempts(["socket"], sockets, token[1]) == {}
    # and the same token works from where it belongs: the refusals are not for a broken one
    with_it = "([url, token]) => new Promise((done) => { const s = new WebSocket(url, ['bokeh', token]); s.onopen = () => done('open'); s.onerror = () => done('refused') })"  # noqa: E501
    assert desk.home.evaluate(with_it, [f"ws://localhost:{desk.console.port}/ws", token[1]]) == "open"


def test_changes_of_the_console_are_refused(desk: Desk) -> None:
    before = desk.standing()
    at = desk.console.url
    known = desk.api("GET", "/login")["csrf_token"]  # even if it leaked
    paths = [
        "/login", "/logout", "/logout/everywhere", f"/api/v1/sessions/{desk.other}/stop", "/api/v1/sessions",
        "/api/session/touch", "/api/session/again", f"/sessions/{desk.other}/open/jupyterlab",
    ]  # fmt: skip
    urls = [at + path for path in paths]
    assert desk.attempts(["fetchPost", "beacon", "form"], urls) == {}
    assert desk.attempts(["fetchHeader"], urls, known) == {}
    assert desk.standing() == before


def test_a_form_post_in_a_window_of_its_own_does_not_sign_out(desk: Desk) -> None:
    before = desk.standing()
    token = desk.api("GET", "/login")["csrf_token"]
    with desk.evil.expect_popup() as opened:
        desk.evil.evaluate(
            """([action, token]) => {
                 const form = document.createElement("form")
                 Object.assign(form, {method: "post", action, target: "_blank"})
                 form.innerHTML = `<input name="csrf" value="${token}">`
                 document.body.append(form)
                 form.submit()
               }""",
            [desk.console.url + "/logout", token],
        )
    opened.value.wait_for_load_state()
    opened.value.close()
    assert desk.standing() == before


def test_console_pages_are_not_framed(desk: Desk) -> None:
    for path in ("/", "/login", "/logout", f"/sessions/{desk.own}/open/jupyterlab"):
        url = desk.console.url + path
        desk.evil.evaluate("(url) => attempt('frame', url)", url)
        frame = desk.evil.frames[-1]
        assert frame.url.startswith("chrome-error://"), f"{path} was framed: {frame.url}"


def test_no_window_is_a_handle_on_the_console_or_on_another_session(desk: Desk) -> None:
    """Of a page it opens, and as a page that was opened."""
    for url in (desk.console.url + "/", desk.console.url + "/account", desk.base(desk.other) + "lab"):
        assert desk.evil.evaluate("(url) => attempt('opened', url)", url) == "", url
    page = desk.context.new_page()
    page.goto(desk.console.url + "/sessions")
    page.route("**/static/**", lambda route: route.abort())
    with page.expect_popup() as opened:
        page.get_by_role("button", name="Open JupyterLab").first.click()
    app = opened.value
    app.wait_for_url(re.compile(r"/s/s[a-z0-9]+/jupyterlab/"), wait_until="commit")
    assert app.evaluate("window.opener") is None
    assert app.evaluate("document.referrer").startswith(desk.console.url) or app.evaluate("document.referrer") == ""
    app.close()
    page.close()


def test_another_session_of_the_same_person_is_out_of_reach(desk: Desk) -> None:
    before = desk.standing()
    other = desk.base(desk.other)
    mixed = f"http://{desk.own}.localhost:{desk.console.apps_port}/s/{desk.other}/jupyterlab/"
    urls = [base + path for base in (other, mixed) for path in ("api/status", "lab", "api/contents", "tree")]
    # 404s of its own host may be read: they are its own
    found = desk.attempts(READING, urls)
    assert {key: text for key, text in found.items() if "404" not in text or other in key} == {}
    sockets = [base + path for base in (other, mixed) for path in ("api/events/subscribe", "terminals/websocket/1")]
    assert desk.attempts(["socket"], sockets) == {}
    changing = [other + "api/terminals", other + "api/kernels", other + "api/sessions", other + "logout"]
    assert desk.attempts(["fetchPost", "beacon", "form"], changing) == {}
    assert desk.attempts(["fetchHeader"], changing, "x") == {}
    enter_ = f"http://{desk.other}.localhost:{desk.console.apps_port}/_carme/enter"
    assert desk.attempts(["fetchPost", "form"], [enter_]) == {}
    assert desk.standing() == before


def test_cookies_tossed_from_an_app_change_nothing(desk: Desk) -> None:
    before = desk.standing()
    known = {each["name"] for each in desk.context.cookies()}
    names = sorted({*known, "carme", "carme-half", "__Host-carme", "_xsrf", f"carme-app-{desk.other}"})
    desk.evil.evaluate(
        """([names, paths]) => {
             const domains = ["", "; Domain=localhost", "; Domain=.localhost", "; Domain=" + location.hostname]
             for (const name of names) for (const domain of domains) for (const path of paths)
               document.cookie = `${name}=tossed; Path=${path}${domain}`
           }""",
        [names, ["/", "/api", "/api/v1/login", "/ws", f"/s/{desk.other}/", "/_carme"]],
    )
    at = [urlsplit(desk.console.url).hostname, f"{desk.other}.localhost"]
    tossed = [each for each in desk.context.cookies() if each["value"] == "tossed"]
    assert tossed, "not one cookie could be set: the test tests nothing"
    assert not [each for each in tossed if each["domain"].lstrip(".") in at]
    assert desk.standing() == before  # the token of the login still counts: reads and …
    assert desk.api("POST", "/sessions/estimate", {"gpus": 0})["problems"] == []  # … posts
    desk.home.reload()
    expect(desk.home.get_by_role("navigation").first).to_be_visible()
    login = desk.home.evaluate("async () => (await fetch('/api/session')).status")
    assert login == 200


def test_a_service_worker_of_an_app_stays_in_its_session(desk: Desk) -> None:
    scope = desk.evil.evaluate(
        """async () => {
             const worker = await navigator.serviceWorker.register("worker.js")
             for (let i = 0; i < 50 && !worker.active; i++) await new Promise((done) => setTimeout(done, 100))
             return worker.active ? worker.scope : ""
           }"""
    )
    assert scope.startswith(desk.base(desk.own))
    page = desk.context.new_page()
    try:
        page.goto(scope + "page.html")
        assert page.inner_text("body") == "tampered", "the worker doesn't work: the test tests nothing"
        page.goto(desk.base(desk.other) + "api/status")
        assert "kernels" in page.inner_text("body")
        page.goto(desk.console.url + "/")
        expect(page.get_by_role("navigation").first).to_be_visible()
        wider = page.context.new_page()
        wider.goto(desk.base(desk.own) + "api/status")
        assert "kernels" in wider.inner_text("body")
        wider.close()
    finally:
        page.close()
        desk.evil.evaluate("async () => { for (const each of await navigator.serviceWorker.getRegistrations()) await each.unregister() }")  # noqa: E501
