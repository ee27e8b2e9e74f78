"""The pages in Chromium: readable for everybody, on every screen, live without flicker, and safe from what they show.

A web process of its own over a snapshot that the test publishes (tests/unit/pages_kit.py): the cluster is what the
test says, to the node.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from backend.store.models import Session
from pages import PAGES
from tests.browser.barriers import barriers
from tests.unit.gatehouse import House, Person, running
from tests.unit.pages_kit import World, job
from tests.unit.sessions_kit import association, cpu_node, gpu_node, partition

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
PHONE = {"width": 390, "height": 844}
PLACES = [
    *(page.path for page in PAGES), "/cluster?node=a1", "/cluster?view=table", "/jobs?who=all", "/jobs?job=3",
    "/launch?cpus=4", "/sessions?log=none",
]  # fmt: skip


def nodes(used: int = 1) -> list[dict[str, Any]]:
    down = gpu_node("a7", state="DOWN", available=False, reason=HOSTILE, reason_user="root", reason_s=1_700_000_000)
    return [gpu_node(f"a{n}", used=used if n == 1 else 0) for n in range(1, 7)] + [down, *map(cpu_node, ("c1", "c2"))]


def queue() -> list[dict[str, Any]]:
    return [
        job(1), job(2, "bob", state="PENDING", reason="Resources"), job(3, name=HOSTILE), job(4, state="FAILED"),
        *(job(n, "bob", label=f"20_{n}", array_job_id=20, array_task_id=str(n)) for n in range(21, 25)),
    ]  # fmt: skip


def card(state: str, number: int, **more: Any) -> Session:
    now = int(time.time())
    return Session(
        id=f"s{number:031d}", owner="olga", uid=50004, cluster="local", state=state, secret=b"",
        request={"app": "jupyterlab", "account": "physics", "gpus": 1, "gpu_type": "a100", "cpus": 8},
        tls_fingerprint="", job_id=number, confirmed=True, exit_code="",
        created_s=now - 900, not_after_s=now, version=1,
        **{
            "title": "", "apps": {"jupyterlab": "ready"}, "start_s": now - 600, "limit_end_s": now + 3000, "node": "a1",
            "reason": "", **more,
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(
        tmp_path_factory.mktemp("pages"),
        nodes=nodes(),
        partitions=[
            partition("gpu", [f"a{n}" for n in range(1, 8)], default=True, max_time_s=86400),
            partition("cpu", ["c1", "c2"]),
        ],
        jobs=queue(),
        qos=[{"name": "normal"}],
        accounts=[{"name": "physics"}],
        associations=[association("olga", "physics", default_account=True)],
        reservations=[{"name": "course", "state": "ACTIVE", "start_s": 1, "end_s": 2**33, "nodes": 1}],
    )
    news = made.services.settings.instance.news_file
    news.parent.mkdir(parents=True, exist_ok=True)
    news.write_text("**Welcome** to [the wiki](https://wiki.example.org)")
    with made.services.db.begin() as rows:
        rows.add(card("ready", 31))
        idle = {"idle_since_s": int(time.time()) - 1500, "idle_timeout_s": 3000, "apps": {}}
        rows.add(card("ready", 33, title="Left alone", **idle))
        rows.add(card("failed", 32, reason=HOSTILE, end_s=int(time.time()) - 60))
    return made


@pytest.fixture(scope="module")
def house(world: World) -> Iterator[House]:
    folder: Path = world.services.settings.instance.data_dir
    with running(folder, PAGES) as up:
        yield up


@pytest.fixture(scope="module")
def olga(house: House) -> Person:
    """An operator: sees every job."""
    return house.person("olga", roles=("operator",))


@pytest.fixture
def context(browser: Browser, house: House, olga: Person) -> Iterator[BrowserContext]:
    """A browser in which Olga is signed in."""
    signed_in = browser.new_context(color_scheme="light")
    enter(signed_in, house, olga)
    yield signed_in
    signed_in.close()


def enter(context: BrowserContext, house: House, person: Person) -> None:
    visitor = house.browser()
    visitor.enter(person)
    context.add_cookies([{"name": name, "value": value, "url": house.url} for name, value in visitor.cookies.items()])


def visit(context: BrowserContext, house: House, path: str = "/") -> tuple[Page, list[str]]:
    """A page when it is live, and what its console complains of."""
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(house.url + path)
    expect(page.locator(".console[data-live]")).to_be_visible(timeout=30_000)
    expect(page.locator(".skeleton")).to_have_count(0, timeout=15_000)
    return page, complaints


@pytest.mark.parametrize("size", [PHONE, {"width": 1360, "height": 900}], ids=["phone", "wide"])
def test_every_page_is_accessible_and_breaks_no_rule_of_its_policy(
    browser: Browser, house: House, olga: Person, size: dict[str, int]
) -> None:
    context = browser.new_context(color_scheme="light", viewport=size)  # type: ignore[arg-type]
    enter(context, house, olga)
    for place in PLACES:
        page, complaints = visit(context, house, place)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            expect(page.locator("html")).to_have_attribute("data-theme", scheme)
            assert barriers(page) == [], (place, scheme)
        assert complaints == [], place
        assert page.locator("h1").count() == 1, place
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), place
        page.close()
    context.close()


def test_a_message_over_the_page_is_in_a_landmark(context: BrowserContext, house: House) -> None:
    page, complaints = visit(context, house, "/job")
    page.get_by_label("Job number").fill("x")
    page.get_by_role("button", name="Show", exact=True).click()
    message = page.get_by_role("region", name="Messages").get_by_text("A job’s number is wanted")
    expect(message).to_be_visible()
    assert barriers(page) == []
    if folder := os.environ.get("CARME_PICTURES"):
        page.screenshot(path=f"{folder}/message.png")
    assert complaints == []


def test_names_are_text_and_run_nothing(context: BrowserContext, house: House) -> None:
    for place in ("/jobs?who=all", "/jobs?job=3", "/cluster?node=a7", "/sessions", "/"):
        page, _ = visit(context, house, place)
        expect(page.get_by_text("<script>document.title='owned'</script>").first).to_be_visible()
        assert page.title() != "owned"
        assert page.locator("img[src='x']").count() == 0
        page.close()


def test_going_to_another_page_keeps_the_document_and_has_a_real_address(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house)
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    page.evaluate("window.still = true")
    for title, path in (("Cluster", "/cluster"), ("Jobs", "/jobs"), ("Launch", "/launch"), ("Sessions", "/sessions")):
        page.get_by_role("navigation").get_by_role("link", name=title).click()
        expect(page.get_by_role("heading", level=1, name=title)).to_be_visible()
        assert page.evaluate("location.pathname") == path
        assert page.title().startswith(title)
    page.go_back()
    expect(page.get_by_role("heading", level=1, name="Launch")).to_be_visible()
    assert page.evaluate("window.still") is True
    assert sockets == []
    page.reload()
    expect(page.get_by_role("heading", level=1, name="Launch")).to_be_visible()


def test_a_page_asks_for_its_own_scripts_at_once_and_for_the_others_when_it_is_drawn(
    context: BrowserContext, house: House
) -> None:
    page, _ = visit(context, house)
    at_once = page.evaluate("[...document.querySelectorAll('link[rel=modulepreload]')].map(link => link.href)")
    assert [address for address in at_once if address.endswith("/home.js")]
    assert not [address for address in at_once if address.endswith(("/waste.js", "/job/charts.js"))]
    before_drawn = """() => performance.getEntriesByType("resource")
        .filter(one => one.startTime < performance.getEntriesByName("carme-complete")[0].startTime)
        .map(one => one.name).filter(name => name.includes("/console/") && name.endsWith(".js"))"""
    assert sorted(page.evaluate(before_drawn)) == sorted(at_once)  # none was found by another's import only
    page.wait_for_function("() => performance.getEntriesByType('resource').some(one => one.name.endsWith('/truth.js'))")
    page.context.set_offline(True)
    page.get_by_role("navigation").get_by_role("link", name="Waste").click()
    expect(page.get_by_role("heading", level=1, name="Waste")).to_be_visible()
    expect(page.get_by_role("button", name="30 min")).to_be_visible()


def test_a_page_whose_script_does_not_come_says_so_and_is_loaded_again(context: BrowserContext, house: House) -> None:
    context.route("**/waste.js", lambda route: route.abort())
    page, _ = visit(context, house)
    page.get_by_role("navigation").get_by_role("link", name="Waste").click()
    expect(page.get_by_text("This page could not be loaded")).to_be_visible()
    assert barriers(page) == []
    if folder := os.environ.get("CARME_PICTURES"):
        page.screenshot(path=f"{folder}/script-missing.png")
    page.get_by_role("navigation").get_by_role("link", name="Jobs").click()
    expect(page.get_by_role("heading", level=1, name="Jobs")).to_be_visible()
    page.go_back()
    context.unroute("**/waste.js")
    page.get_by_role("button", name="Load again").click()
    expect(page.get_by_text("This page could not be loaded")).to_have_count(0)
    expect(page.get_by_role("heading", level=1, name="Waste")).to_be_visible()


def test_what_changed_shows_without_losing_place_selection_or_element(
    context: BrowserContext, house: House, world: World
) -> None:
    world.publish(nodes=nodes(used=1))
    page, _ = visit(context, house, "/cluster")
    page.set_viewport_size({"width": 1000, "height": 420})
    tile = page.locator("[data-node=a1]")
    expect(tile).to_have_attribute("aria-label", "a1: Free, 0 of 64 CPUs, 1 of 4 GPUs in use")
    page.evaluate(
        """() => {
            const tile = document.querySelector("[data-node=a1]")
            tile.mark = "the same"
            document.querySelector("#content").scrollTop = 150
            getSelection().selectAllChildren(document.querySelector("h1"))
        }"""
    )
    world.publish(nodes=nodes(used=3))
    expect(tile).to_have_attribute("aria-label", "a1: Free, 0 of 64 CPUs, 3 of 4 GPUs in use", timeout=10_000)
    assert page.evaluate("document.querySelector('[data-node=a1]').mark") == "the same"
    assert page.evaluate("document.querySelector('#content').scrollTop") == 150
    assert page.evaluate("String(getSelection())") == "Cluster"


def test_a_page_opened_when_nothing_has_been_new_for_a_while_knows_the_time(
    context: BrowserContext, house: House
) -> None:
    """Else what is old is called new by whoever opens a page after the collector has died."""
    visit(context, house)  # what it is told is kept for the next
    time.sleep(5)
    page, _ = visit(context, house)
    left = page.locator("[data-until]").first
    until_s, text = left.evaluate("element => [Number(element.dataset.until), element.textContent]")
    left_s = sum(int(part) * 60**power for power, part in enumerate(reversed(text.split(":"))))
    assert abs(until_s - left_s - time.time()) < 3


def test_a_scheduler_that_is_away_is_told_and_so_is_its_return(
    context: BrowserContext, house: House, world: World
) -> None:
    page, _ = visit(context, house)
    world.fail("jobs", "slurmctld does not answer: Connection refused")
    banner = page.get_by_text("slurmctld does not answer: Connection refused")
    expect(banner).to_be_visible(timeout=10_000)
    world.publish(jobs=queue())
    expect(banner).to_have_count(0, timeout=10_000)


def test_the_node_map_is_walked_with_the_keyboard(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "/cluster")
    page.locator("[data-node][tabindex='0']").focus()
    page.keyboard.press("End")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    focused = page.evaluate("document.activeElement.dataset.node")
    assert focused == "a2"
    page.keyboard.press("Enter")
    drawer = page.get_by_role("dialog", name="a2")
    expect(drawer).to_be_visible()
    assert "node=a2" in page.url
    page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)
    expect(page.locator("[data-node=a2]")).to_be_focused()


def test_filters_stand_in_the_address_and_come_back_from_it(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "/jobs?who=all")
    page.get_by_role("button", name="Pending").click()
    expect(page.locator(".jobs tbody tr")).to_have_count(1)
    again, _ = visit(context, house, page.url.removeprefix(house.url))
    expect(again.locator(".jobs tbody tr")).to_have_count(1)
    expect(again.get_by_role("button", name="Pending")).to_have_attribute("aria-pressed", "true")


def test_an_array_opens_into_its_tasks(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "/jobs?who=all")
    page.get_by_role("button", name="Tasks of 20_[…]").click()
    expect(page.get_by_role("link", name="20_23", exact=True)).to_be_visible()


def test_on_a_phone_the_navigation_is_closed_until_asked_for(browser: Browser, house: House, olga: Person) -> None:
    context = browser.new_context(viewport=PHONE)
    enter(context, house, olga)
    page, _ = visit(context, house)
    link = page.get_by_role("link", name="Cluster", exact=True)
    expect(link).to_be_hidden()
    page.get_by_role("button", name="Navigation").click()
    link.click()
    expect(page.get_by_role("heading", level=1, name="Cluster")).to_be_visible()
    expect(link).to_be_hidden()
    context.close()


def test_on_a_phone_launch_comes_right_after_ones_sessions(browser: Browser, house: House, olga: Person) -> None:
    context = browser.new_context(viewport=PHONE)
    enter(context, house, olga)
    page, _ = visit(context, house)
    assert page.get_by_role("heading", level=2).all_inner_texts()[:2] == ["Your sessions", "Launch"]
    context.close()


def test_the_node_map_groups_by_place_whatever_the_names(context: BrowserContext, house: House, world: World) -> None:
    page, _ = visit(context, house, "/cluster")
    titles = page.locator(".map-title strong")
    cabinets = [f"x{1000 + n // 64}c{n // 16 % 4}s{n // 2 % 8}n{n % 2}" for n in range(256)]
    for names, places in (
        (["a100-01", "a100-02", "h100-01", "cpu-01"], ["a100", "cpu", "h100"]),
        ([f"r{n // 40:02d}n{n % 40:03d}" for n in range(400)], [f"r{n:02d}n" for n in range(10)]),
        (cabinets, [f"x{1000 + n // 4}c{n % 4}s" for n in range(16)]),
    ):
        world.publish(nodes=[cpu_node(name) for name in names])
        expect(titles).to_have_text(places, timeout=10_000)
    world.publish(nodes=nodes())


def test_the_theme_is_the_systems_until_one_chooses_and_then_stays(
    browser: Browser, house: House, olga: Person
) -> None:
    context = browser.new_context(color_scheme="dark")
    enter(context, house, olga)
    page, _ = visit(context, house)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.get_by_role("button", name="Switch to the light theme").click()
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    context.close()


def test_stopping_asks_first_and_no_is_the_way_out(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "/sessions")
    page.get_by_role("button", name="Stop JupyterLab").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("button", name="Stop JupyterLab")).to_be_focused()


def test_a_ready_session_opens_by_a_post_in_a_tab_of_its_own(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "/sessions")
    form = page.locator("form", has=page.get_by_role("button", name="Open JupyterLab"))
    assert form.get_attribute("method") == "post"
    assert form.get_attribute("target") == "_blank"
    assert form.locator("input[name=csrf]").get_attribute("value")


def test_an_ended_session_is_launched_again_from_a_filled_form(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "/sessions")
    page.get_by_role("link", name="Relaunch").first.click()
    expect(page.get_by_role("heading", level=1, name="Launch")).to_be_visible()
    assert "gpu_type=a100" in page.url


def test_one_sees_no_jobs_of_others(browser: Browser, house: House, olga: Person) -> None:
    context = browser.new_context()
    enter(context, house, house.person("bob"))
    page, _ = visit(context, house, "/jobs?who=all&job=3")
    expect(page.get_by_text("not yours to see")).to_be_visible()
    expect(page.get_by_text("document.title='owned'")).to_have_count(0)
    context.close()


def test_an_idle_session_says_when_it_will_end_and_one_click_keeps_it(context: BrowserContext, house: House) -> None:
    page, complaints = visit(context, house, "/sessions")
    left = page.get_by_role("article", name="Left alone")
    expect(left.get_by_role("status")).to_contain_text(re.compile(r"Idle for \d+ min; it will end at .*\d\d:\d\d\."))
    assert barriers(page) == []
    if folder := os.environ.get("CARME_PICTURES"):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=f"{folder}/idle-{scheme}.png")
        page.set_viewport_size(PHONE)
        page.screenshot(path=f"{folder}/idle-phone.png")
    left.get_by_role("button", name="Keep Left alone").click()
    expect(page.get_by_text("Idle for")).to_have_count(0, timeout=20_000)
    assert not complaints
