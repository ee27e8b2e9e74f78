"""The truth page in Chromium: readable for everybody, and on a real cluster an operator sees the figures agree."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from backend.accounting.truth import checks
from backend.accounting.truth.comparison import Beside, Comparison, Line
from backend.accounting.warehouse import Warehouse
from pages import PAGES
from tests.browser.barriers import WCAG_22_AA, barriers
from tests.browser.person import SignedUp, sign_in
from tests.browser.test_pages import PHONE, enter, visit
from tests.harness import Cluster, NeedsRoot, kinds
from tests.harness.console import Console
from tests.unit.gatehouse import House, running
from tests.unit.pages_kit import World

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
LOOKS = {"light": {"color_scheme": "light"}, "dark": {"color_scheme": "dark"}, "phone": {"viewport": PHONE}}


def comparison(rest: int) -> Comparison:
    def line(account: str, user: str, depth: int, tres: str, console: int, parted: int = 0) -> Line:  # noqa: PLR0917
        idle = {"reservation": 432_000} if tres == "cpu" and account != "biology" else {}
        held = {} if tres == "cpu" else {"suspended": -9_000}
        return Line(
            account, user, depth, tres, console,
            Beside(console + sum(idle.values()) + parted, idle, parted),
            Beside(console + sum(held.values()), held),
            Beside(console - 72_000, {"requeued": -12_000, "running": -60_000}),
        )  # fmt: skip

    lines = [
        line(account, user, depth, tres, amount, rest if tres == "cpu" and account != "biology" else 0)
        for account, user, depth, amount in (
            ("root", "", 0, 87_654_321), ("biology", "", 1, 7_654_321), ("physics", "", 1, 80_000_000),
            ("astro", "", 2, 80_000_000), ("astro", "ada", 2, 79_000_000), ("astro", HOSTILE, 2, 1_000_000),
        )
        for tres in ("cpu", "gres/gpu", "node", "mem", "billing")
    ]  # fmt: skip
    now = int(time.time())
    since_s = now - now % 3600 - 20 * 86_400
    return Comparison(
        "c", "", "UTC", since_s, now - now % 3600, now + 86_400, tuple(lines), {"cpu": 60_000, "mem": 10**9},
        {"cpu": 5_000}, 4711, 3.2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder: Path = tmp_path_factory.mktemp("truth")
    with Warehouse.write(folder / "accounting", "UTC") as writer:
        writer.set_state("c", source="slurmdbd", synced_s=int(time.time()))
        writer.commit()
    world = World(folder)
    for month, rest in ((f"{datetime.now(UTC):%Y-%m}", 0), ("2026-02", 1)):
        checks.ask(world.services.db, "c", month, "console")
        taken = checks.next_asked(world.services.db)
        assert taken is not None
        checks.finish(world.services.db, taken, comparison(rest))
    with running(folder, PAGES) as up:
        yield up


@pytest.fixture(params=list(LOOKS))
def page(request: pytest.FixtureRequest, browser: Browser, house: House) -> Iterator[Page]:
    context = browser.new_context(**LOOKS[request.param])
    enter(context, house, house.person(f"olga{request.param}", roles=("operator",)))
    shown, complaints = visit(context, house, "/truth?users=1")
    yield shown
    assert complaints == []
    context.close()


def picture(page: Page, name: str) -> None:
    """For a person to look at, where CARME_PICTURES names a folder."""
    if folder := os.environ.get("CARME_PICTURES"):
        page.screenshot(path=f"{folder}/{name}.png")


def test_each_figure_stands_beside_slurms_and_is_readable_for_everybody(
    page: Page, house: House, request: pytest.FixtureRequest
) -> None:
    expect(page.get_by_text("Agrees to the second")).to_be_visible()
    row = page.get_by_role("row", name=re.compile("^astro"))
    expect(row.get_by_text("idle reservations")).to_be_visible()
    expect(page.get_by_text(HOSTILE)).to_be_visible()
    assert page.title() != "owned"
    picture(page, f"truth-{request.node.callspec.params['page']}")
    assert barriers(page, WCAG_22_AA) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name=re.compile("^Memory")).click()
    expect(page.get_by_text("in GB h")).to_be_visible()
    expect(page.get_by_text("suspended time").first).to_be_visible()


def test_a_second_without_a_reason_is_told_on_every_page_and_seen_here(browser: Browser, house: House) -> None:
    context = browser.new_context()
    enter(context, house, house.person("olga", roles=("operator",)))
    page, _ = visit(context, house, "/jobs")
    page.get_by_role("link", name="See what differs").click(timeout=15_000)
    expect(page.get_by_text("5 figures differ without a reason")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("^astro")).get_by_text("+1 s without a reason")).to_be_visible()
    picture(page, "truth-parted")
    context.close()


def test_who_is_no_operator_is_not_shown_the_page(browser: Browser, house: House) -> None:
    context = browser.new_context()
    enter(context, house, house.person("bob"))
    page, _ = visit(context, house, "/jobs")
    expect(page.get_by_role("link", name="Truth")).to_have_count(0)
    expect(page.get_by_role("link", name="See what differs")).to_have_count(0)
    answer = page.goto(house.url + "/truth")
    assert answer is not None
    assert answer.status == 403
    context.close()


def test_an_operator_of_a_real_cluster_compares_last_month(browser: Browser) -> None:
    try:
        running_cluster = Cluster.up(name="truth-2")
    except NeedsRoot as error:
        pytest.skip(str(error))
    with running_cluster as cluster:
        began_s = int(time.time())
        for user, cpus in (("ada", 2), ("bob", 3)):
            kinds.submit(cluster, user, f"-n{cpus}", "--gres=gpu:1", "--wrap=sleep 2")
        cluster.wait_idle()
        kinds.wait_accounted(cluster)
        month_s = int(datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp())
        kinds.stretch(cluster, began_s, month_s - 100_000, 1777)
        kinds.roll_up(cluster, month_s - 100_000)
        secrets = cluster.make_folder("secrets", "carme")
        password = secrets / "slurmdbd"
        password.touch(mode=0o600)
        password.write_text(cluster.database.password)
        os.chown(password, cluster.account("carme").uid, cluster.account("carme").gid)
        console = Console.on(
            cluster,
            {
                "instance": {"time_zone": "UTC"},
                "accounting": {"sync_every_s": 5},
                "slurmdbd": {
                    "host": cluster.database.host, "port": cluster.database.port, "user": cluster.database.user,
                    "password_file": str(password), "database": cluster.database.name,
                },
            },
        )  # fmt: skip
        try:
            page = browser.new_context().new_page()
            dora = SignedUp("dora", cluster.people["dora"].password, console.enrol("dora"))
            month = f"{datetime.fromtimestamp(month_s - 100_000, UTC):%Y-%m}"
            sign_in(page, console, dora, f"/truth?month={month}&users=1")
            # The accounts are read every few seconds, and the page opens before the first time
            for _ in range(10):
                if page.get_by_role("button", name="Compare now").count():
                    break
                page.wait_for_timeout(2000)
                page.reload()
            page.get_by_role("button", name="Compare now").click()
            expect(page.get_by_text("Agrees to the second")).to_be_visible(timeout=60_000)
            expect(page.get_by_role("row", name=re.compile("ada"))).to_be_visible()
            picture(page, "truth-real")
        finally:
            console.stop()
