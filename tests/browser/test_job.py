"""The Job page in Chromium, over samples of known shape: the curves are what was measured, live, by device, for all.

A web process of its own over a store that the test fills (tests/unit/telemetry_kit.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from pages import PAGES
from tests.browser.barriers import barriers
from tests.browser.test_pages import HOSTILE, PHONE, enter
from tests.unit.gatehouse import House, Person
from tests.unit.jobs_kit import CLUSTER, keep, past
from tests.unit.pages_kit import World, job
from tests.unit.sessions_kit import gpu_node, partition
from tests.unit.telemetry_kit import TelemetrySite, ramp, square

SLOW = "was preloaded using link preload but not used"  # what Chromium says of a machine that has much to do
MINE = os.getuid()  # of the instance's owner, who is the person `ada` here


class Scene:
    """Job 1 runs on one node with two GPUs; 2 ran on three nodes with eight; 3 was measured by nobody, 5 once."""

    def __init__(self, folder: Path) -> None:
        self.site = TelemetrySite(folder / "site", cluster=CLUSTER)
        self.site.now_s = float(int(time.time()) - 300)  # its clock is late: there is room for what comes
        shape = {("gpu:0", "gpu_utilisation_percent"): ramp(0, 100), "cpu_cores": square(1, 7)}
        self.live = self.site.job(1, gpus=2, hours=1, shape=shape)
        self.wide = self.site.job(2, nodes=("n1", "n2", "n3"), gpus=8, hours=0.5, ended_ago_s=600)
        self.short = self.site.job(5, gpus=0, hours=15 / 3600, ended_ago_s=900)
        self.world = World(
            folder / "world",
            nodes=[gpu_node("n1")],
            partitions=[partition("gpu", ["n1"])],
            jobs=[
                job(1, name=HOSTILE, uid=MINE, start_s=self.live.start_s, submit_s=self.live.start_s - 600, gpus=2,
                    gpu_type="a100", node_list="n1"),
                job(3, uid=MINE),
                job(4, uid=MINE, state="PENDING", reason="JobHeldUser"),
            ],
        )  # fmt: skip
        wide = past(2, uid=MINE, submit_s=self.wide.start_s - 60, start_s=self.wide.start_s, end_s=self.wide.end_s,
                    gpus=28, gpu_type="a100=20,h100=8", nodes=3, node_list="n[1-3]")  # fmt: skip
        keep(
            self.world,
            wide,
            past(5, uid=MINE, submit_s=self.short.start_s, start_s=self.short.start_s, end_s=self.short.end_s, gpus=1),
            past(2, "bob", submit_s=self.wide.start_s - 10**8, start_s=None, end_s=self.wide.start_s - 10**8 + 5),
        )

    def go_on(self, seconds: int) -> None:
        """More samples of job 1: its GPU is full, its CPU busy."""
        times = np.arange(self.site.now_s + 10, self.site.now_s + seconds + 1, 10.0)
        self.site.now_s += seconds
        self.site._send(1, "n1", times, gpus=2, start_s=self.live.start_s, model="", node_wide=False,
                        shape={"gpu_utilisation_percent": 33.0})  # fmt: skip


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("job"))
    yield made
    made.site.store.close()


@pytest.fixture(scope="module")
def house(scene: Scene) -> Iterator[House]:
    folder = scene.world.services.settings.instance.data_dir
    made = House(folder, PAGES, instance__time_zone="UTC")
    made.services = replace(made.services, telemetry=scene.site.telemetry)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def ada(house: House) -> Person:
    return house.person("ada")


@pytest.fixture
def context(browser: Browser, house: House, ada: Person) -> Iterator[BrowserContext]:
    signed_in = browser.new_context(color_scheme="light", viewport={"width": 1360, "height": 900})
    enter(signed_in, house, ada)
    yield signed_in
    signed_in.close()


def visit(context: BrowserContext, house: House, path: str) -> tuple[Page, list[str]]:
    page = context.new_page()
    complaints: list[str] = []
    page.on(
        "console",
        lambda said: (
            complaints.append(said.text) if said.type in ("error", "warning") and SLOW not in said.text else None
        ),
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(house.url + path)
    expect(page.locator(".console[data-live]")).to_be_visible(timeout=30_000)
    expect(page.locator(".skeleton")).to_have_count(0, timeout=15_000)
    return page, complaints


def table(page: Page, title: str) -> tuple[list[str], list[list[float]]]:
    """The heads and figures of a chart's twin."""
    page.get_by_role("button", name=f"{title} as a table", exact=True).click()
    twin = page.get_by_role("region", name=f"{title} as a table", exact=True)
    expect(twin).to_be_visible()  # it is drawn with the next frame
    heads = twin.locator("thead th").all_inner_texts()[1:]
    rows = [row.split("\t")[1:] for row in twin.locator("tbody tr").all_inner_texts()]
    return heads, [[float(cell.split()[0].replace("–", "nan")) for cell in row] for row in rows]


def test_the_curves_are_what_was_measured_by_device(context: BrowserContext, house: House) -> None:
    page, complaints = visit(context, house, "/job?id=1")
    heads, rows = table(page, "GPU utilisation")
    assert heads == ["GPU 0", "GPU 1"]
    rising = [row[0] for row in rows if row[0] == row[0]]
    assert rising[0] < 5 and 45 < rising[len(rising) // 2] < 55 and rising[-1] > 94
    assert {row[1] for row in rows if row[1] == row[1]} == {90.0}
    _, cores = table(page, "CPU")
    assert (
        min(row[0] for row in cores if row[0] == row[0]) == 1 and max(row[0] for row in cores if row[0] == row[0]) == 7
    )
    assert complaints == []


def test_new_samples_are_added_without_drawing_the_page_anew(
    context: BrowserContext, house: House, scene: Scene
) -> None:
    page, _ = visit(context, house, "/job?id=1")
    stage = page.locator(".curve-stage").first
    stage.locator("canvas").first.evaluate("node => { node.mark = 'the same' }")
    scene.go_on(120)
    page.get_by_role("button", name="GPU utilisation as a table").click()
    twin = page.get_by_role("region", name="GPU utilisation as a table")
    expect(twin.locator("tbody tr").last).to_contain_text("33 %", timeout=25_000)
    assert stage.locator("canvas").first.evaluate("node => node.mark") == "the same"


def test_a_stretch_that_is_drawn_is_looked_at_closer_and_stands_in_the_address(
    context: BrowserContext, house: House
) -> None:
    page, _ = visit(context, house, "/job?id=1")
    stage = page.locator(".curve-stage").first
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 240, box["y"] + 60, steps=4)
    page.mouse.up()
    whole = page.get_by_role("button", name="Whole time")
    expect(whole).to_be_visible()
    assert "from=" in page.url and "to=" in page.url
    again, _ = visit(context, house, page.url.removeprefix(house.url))
    expect(again.get_by_role("button", name="Whole time")).to_be_visible()
    whole.click()
    expect(whole).to_have_count(0)
    assert "from=" not in page.url


def finger(context: BrowserContext, page: Page, *places: tuple[float, float]) -> None:
    """One finger goes down at the first place, over the others, and up."""
    touch = context.new_cdp_session(page)
    for at, (x, y) in enumerate(places):
        touch.send(
            "Input.dispatchTouchEvent",
            {"type": "touchMove" if at else "touchStart", "touchPoints": [{"x": x, "y": y}]},
        )
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_finger_draws_a_stretch_and_a_tap_does_not(browser: Browser, house: House, ada: Person) -> None:
    context = browser.new_context(viewport=PHONE, has_touch=True)
    enter(context, house, ada)
    page, _ = visit(context, house, "/job?id=1")
    stage = page.locator(".curve-stage").first
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box is not None
    x, y = box["x"] + 120, box["y"] + 60
    finger(context, page, (x, y), (x + 8, y))
    page.wait_for_timeout(300)
    assert "from=" not in page.url
    finger(context, page, (x, y), (x + 30, y), (x + 60, y), (x + 90, y))
    expect(page.get_by_role("button", name="Whole time")).to_be_visible()
    assert "from=" in page.url
    context.close()


def test_escape_gives_up_a_stretch_that_is_being_drawn(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "/job?id=1")
    stage = page.locator(".curve-stage").first
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 60, steps=4)
    page.keyboard.press("Escape")
    page.mouse.up()
    page.wait_for_timeout(300)
    assert "from=" not in page.url


def test_without_the_process_a_job_that_ended_is_not_said_to_go_on(
    context: BrowserContext, house: House, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "The telemetry process doesn’t answer."
    monkeypatch.setattr(scene.site.store, "trouble", (why, None), raising=False)
    running, _ = visit(context, house, "/job?id=1")
    expect(running.get_by_text(f"Nothing new is coming in: {why}")).to_be_visible()
    ended, _ = visit(context, house, "/job?id=2")
    expect(ended.get_by_text("Some of what was measured may be missing here")).to_be_visible()
    expect(ended.get_by_text("Nothing new is coming in")).to_have_count(0)


def test_gpus_are_told_by_model_and_those_that_were_not_measured(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "/job?id=2")
    row = page.get_by_role("region", name="Resources").get_by_role("row", name="GPUs")
    expect(row.get_by_text("20 × A100 + 8 × H100")).to_be_visible()
    expect(row.get_by_text("24 of 24 used, 4 not measured")).to_be_visible()


def test_of_a_job_that_was_looked_at_once_no_driver_is_blamed(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "/job?id=5")
    expect(page.get_by_text("GPUs are measured from the second look at a job on")).to_be_visible()
    expect(page.get_by_text("NVIDIA driver")).to_have_count(0)


def test_many_devices_are_a_map_whose_row_becomes_the_line(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "/job?id=2")
    rows = page.get_by_role("img", name="GPU utilisation, a row for each of 24 devices")
    expect(rows).to_be_visible()
    expect(page.locator(".map-scale").first).to_have_text("0 %100 %")
    rows.click(position={"x": 300, "y": 20})
    expect(page.get_by_label("Line:").first).to_have_value("n1|gpu:1")
    box = rows.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 40, steps=4)
    page.mouse.up()
    expect(page.get_by_role("button", name="Whole time")).to_be_visible()


def test_curves_follow_the_theme_also_of_a_job_that_ended(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "/job?id=2")
    lightest = page.locator(".map-scale i").first
    expect(lightest).to_have_css("background-color", "rgb(230, 235, 250)")
    page.get_by_role("button", name="Switch to the dark theme").click()
    expect(lightest).to_have_css("background-color", "rgb(30, 36, 51)")


def test_another_job_of_the_number_is_a_choice_for_whom_may_see_it(browser: Browser, house: House) -> None:
    context = browser.new_context()
    enter(context, house, house.person("olga", roles=("operator",)))
    page, _ = visit(context, house, "/job?id=2")
    expect(page.get_by_text("1 other job had the number 2")).to_be_visible()
    page.get_by_role("link", name="past 2").click()
    expect(page.get_by_text("It never started")).to_be_visible()
    context.close()


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_it_is_accessible_in_every_state(browser: Browser, house: House, ada: Person, look: str) -> None:
    size = PHONE if look == "phone" else {"width": 1360, "height": 900}
    context = browser.new_context(color_scheme="dark" if look == "dark" else "light", viewport=size)  # type: ignore[arg-type]
    enter(context, house, ada)
    for place in ("/job?id=1", "/job?id=2", "/job?id=3", "/job?id=4", "/job?id=999", "/compare?jobs=1,2,999"):
        page, complaints = visit(context, house, place)
        if place == "/job?id=1":
            table(page, "Memory")
            page.get_by_role("button", name="More about the job").click()
            expect(page.get_by_role("heading", name="Threads")).to_be_visible()
        assert barriers(page) == [], place
        assert complaints == [], place
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), place
        page.close()
    context.close()


def test_a_name_is_text_and_the_question_before_the_end_of_a_job_has_a_way_out(
    context: BrowserContext, house: House
) -> None:
    page, _ = visit(context, house, "/job?id=1")
    expect(page.get_by_text("<script>document.title='owned'</script>").first).to_be_visible()
    assert page.title() != "owned"
    page.get_by_role("button", name="Cancel job").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Back")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_nobody_sees_the_job_of_another(browser: Browser, house: House) -> None:
    context = browser.new_context()
    enter(context, house, house.person("eve"))
    page, _ = visit(context, house, "/job?id=1")
    expect(page.get_by_text("not yours to see")).to_be_visible()
    context.close()


def test_jobs_are_compared_from_their_starts_on_with_what_differs_marked(context: BrowserContext, house: House) -> None:
    page, _ = visit(context, house, "/compare?jobs=1")
    page.get_by_label("Add job").fill("2 4")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("columnheader", name="Job 2")).to_be_visible()
    assert "jobs=1%2C2%2C4" in page.url
    expect(page.get_by_role("row", name="Nodes (differs)")).to_be_visible()
    expect(page.get_by_role("row", name="QOS", exact=False)).not_to_have_class("differs")
    expect(page.get_by_text("Job 4: It has not started")).to_be_visible()
    page.get_by_role("button", name="Leave out job 4").click()
    expect(page.get_by_role("columnheader", name="Job 4")).to_have_count(0)
    page.get_by_role("button", name="GPU utilisation as a table", exact=True).click()
    twin = page.get_by_role("region", name="GPU utilisation as a table", exact=True)
    expect(twin.locator("tbody tr").first).to_contain_text("0 s after the start")
    heads = twin.locator("thead th").all_inner_texts()[1:]
    assert [head.split()[0] for head in heads] == ["1", "2"]
