"""The waste desk in Chromium, and what telemetry puts on Home, Sessions and Launch: readable for everybody."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from backend.accounting.warehouse import Warehouse
from backend.store.models import Person, Session
from backend.telemetry import JobRef, Spark
from pages import PAGES
from tests.browser.barriers import barriers
from tests.browser.test_pages import PHONE, enter, visit
from tests.unit import warehouse_kit
from tests.unit.gatehouse import House, running
from tests.unit.pages_kit import UIDS, session_row
from tests.unit.sessions_kit import association, gpu_node, partition
from tests.unit.verdict_kit import GB, HOUR, gpu_footprint
from tests.unit.waste_kit import CLUSTER, WasteSite

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
PROJECT = "<img src=x onerror=document.title=`owned`>"
PROJECTS = f'[[project]]\nname = "{PROJECT}"\naccounts = ["physics"]\n'
ME = pwd.getpwuid(os.geteuid())  # the instance's owner, for whom alone it launches
LOOKS = {"light": {"color_scheme": "light"}, "dark": {"color_scheme": "dark"}, "phone": {"viewport": PHONE}}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> WasteSite:
    made = WasteSite(tmp_path_factory.mktemp("waste"), name=HOSTILE, projects=PROJECTS)
    made.world.publish(
        nodes=[gpu_node("a1"), gpu_node("a2")],
        partitions=[partition("gpu", ["a1", "a2"], default=True, max_time_s=86400)],
        associations=[association(ME.pw_name, "physics", default_account=True)],
        qos=[{"name": "normal"}],
    )
    return made


@pytest.fixture(scope="module")
def house(site: WasteSite) -> Iterator[House]:
    folder: Path = site.services.settings.instance.data_dir
    with running(folder, PAGES, site.telemetry, accounting__projects_file=str(folder / "projects.toml")) as up:
        up.services.snapshots.refresh()
        yield up


def sound(page: Page) -> None:
    """No rule of accessibility is broken, and nothing is wider than the screen."""
    assert barriers(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.title() != "owned"


@pytest.mark.parametrize("look", LOOKS)
def test_the_desk_is_readable_in_every_look(browser: Browser, house: House, look: str) -> None:
    context = browser.new_context(**LOOKS[look])
    enter(context, house, house.person(f"reader{look}", roles=("operator",)))
    page, complaints = visit(context, house, "/waste")
    expect(page.get_by_role("link", name="11", exact=True)).to_be_visible()
    expect(page.get_by_text("7.7", exact=True)).to_be_visible()
    sound(page)
    if look == "phone":  # what has no name has no colon before it
        bar = page.locator(".waste-bar-cell").first
        assert bar.evaluate("cell => getComputedStyle(cell, '::before').content") == "none"
    page.goto(house.url + "/waste?row=ada")
    expect(page.get_by_role("dialog").get_by_text("4.0 h idle (67 %)")).to_be_visible()
    sound(page)
    assert complaints == []
    context.close()


@pytest.mark.parametrize("look", LOOKS)
def test_hours_are_by_project_where_the_site_has_any(browser: Browser, house: House, look: str) -> None:
    context = browser.new_context(**LOOKS[look])
    enter(context, house, house.person(f"planner{look}", roles=("operator",)))
    page, complaints = visit(context, house, "/waste")
    page.get_by_role("button", name="Projects", exact=True).click()
    expect(page.get_by_text("the projects that the site’s list puts them in today")).to_be_visible()
    expect(page.get_by_role("button", name=PROJECT)).to_be_visible()
    sound(page)
    page.get_by_role("button", name="no project").click()
    expect(page.get_by_role("dialog", name="Jobs of no project")).to_be_visible()
    expect(page.get_by_role("dialog").get_by_text("bob · biology").first).to_be_visible()
    sound(page)
    assert complaints == []
    context.close()


def test_a_notice_is_previewed_sent_once_and_read_by_its_person(browser: Browser, house: House) -> None:
    operator = browser.new_context()
    enter(operator, house, house.person("olga", roles=("operator",)))
    ada = house.person("ada")
    with house.services.db.begin() as rows:
        person = rows.get(Person, "ada")
        assert person is not None
        person.uid = UIDS["ada"]
    page, _ = visit(operator, house, "/waste")
    page.get_by_role("button", name="Send a notice about job 11").click()
    letter = page.get_by_role("region", name="What will be sent")
    expect(letter.get_by_text("holds 2 × NVIDIA A100-SXM4-80GB")).to_be_visible()
    sound(page)
    page.get_by_label("A line of your own").fill("The course needs them.")
    page.get_by_label("A line of your own").blur()
    expect(letter.get_by_text("The course needs them.")).to_be_visible()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("heading", name="Notices sent")).to_be_visible()
    expect(page.get_by_role("button", name="Send a notice about job 11")).to_have_count(0)
    reader = browser.new_context()
    enter(reader, house, ada)
    home, _ = visit(reader, house, "/")
    home.get_by_role("button", name="Read it").click()
    expect(home.get_by_role("dialog").get_by_text("The course needs them.")).to_be_visible()
    sound(home)
    home.get_by_role("button", name="Got it").click()
    expect(home.get_by_role("button", name="Read it")).to_have_count(0)
    operator.close()
    reader.close()


def test_one_who_is_no_operator_has_no_desk(browser: Browser, house: House) -> None:
    context = browser.new_context()
    enter(context, house, house.person("eve"))
    page, _ = visit(context, house, "/")
    expect(page.get_by_role("link", name="Waste")).to_have_count(0)
    answer = page.goto(house.url + "/waste")
    assert answer is not None and answer.status == 403
    context.close()


def test_a_running_sessions_lines_show_and_say_when_they_are_old(
    browser: Browser, house: House, site: WasteSite
) -> None:
    now = int(time.time())
    session_row(site.world, "s1", "olga", job_id=77, start_s=now - 640)
    job = JobRef(CLUSTER, 77, now - 640)
    line = Spark(now - 640, 20, tuple(float(n) for n in range(32)), (50.0,) * 32, (), now + 600, 10)
    site.telemetry.lines = {job: line}
    context = browser.new_context()
    enter(context, house, house.person("olga2", roles=("operator",)))
    with house.services.db.begin() as rows:
        row = rows.get(Session, "s1")
        assert row is not None
        row.owner = "olga2"
        row.version += 1
    page, _ = visit(context, house, "/")
    expect(page.get_by_role("img", name="GPU: 31 % now")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("img", name="CPU: 50 % now, 50 % on average")).to_be_visible()
    sound(page)
    site.telemetry.broken = "The telemetry process does not answer."
    expect(page.get_by_text("Not measured since")).to_be_visible(timeout=60_000)
    site.telemetry.broken = ""
    expect(page.get_by_text("Not measured since")).to_have_count(0, timeout=60_000)
    # Its agent fell silent a minute ago: no step of the line is over yet.
    site.telemetry.lines = {job: replace(line, step_s=3600, last_s=time.time() - 61)}
    expect(page.get_by_text("Not measured since")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("img", name="GPU: 16 % on average")).to_be_visible()
    context.close()


def test_the_suggestion_of_ones_own_jobs_is_taken_over_and_back(
    browser: Browser, house: House, site: WasteSite
) -> None:
    now = int(time.time())
    rows = [
        warehouse_kit.job(
            500 + n, now - n * 86400, cluster=CLUSTER, uid=ME.pw_uid, user=ME.pw_name, start_s=now - n * 86400,
            end_s=now - n * 86400 + 2 * HOUR, app="jupyterlab", gpus=2, gpu_type="a100", cpus=32, partition="gpu",
        )
        for n in range(1, 6)
    ]  # fmt: skip
    folder = site.services.settings.instance.data_dir / "accounting"
    with Warehouse.write(folder, "UTC") as writer:
        writer.upsert(warehouse_kit.jobs(*rows), cluster=CLUSTER)
        writer.commit()
    site.telemetry.rows += [
        gpu_footprint(
            cluster=CLUSTER, job_id=row["job_id"], start_s=row["start_s"], end_s=row["end_s"], cpus=32,
            cpu_cores_p95=2.4, memory_peak_bytes=int(9.2 * GB), gpus_used=1,
        )
        for row in rows
    ]  # fmt: skip
    context = browser.new_context()
    lena = house.person("lena")
    with house.services.db.begin() as tx:
        person = tx.get(Person, "lena")
        assert person is not None
        person.uid = ME.pw_uid
    enter(context, house, lena)
    page, complaints = visit(context, house, "/launch?gpus=2&gpu_type=a100")
    expect(page.get_by_text("Your last 5 JupyterLab sessions peaked at 9.2 GB")).to_be_visible()
    sound(page)
    page.get_by_role("button", name="Take over 1 GPU · 3 CPUs · 12 GB · 2 h 30 min").click()
    expect(page.get_by_text("Taken over from your own jobs")).to_be_visible()
    assert "memory_mb=12288" in page.url and "gpus=1" in page.url
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("button", name="Take over 1 GPU")).to_be_visible()
    assert page.url.endswith("/launch?gpus=2&gpu_type=a100")
    assert complaints == []
    context.close()
