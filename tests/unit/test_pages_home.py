"""Home: the figures, one's own, the news."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.notices.news import News
from pages.home import fresh, mine, overview, own_jobs
from pages.parts.news import news_html
from tests.unit.pages_kit import ADA, World, job
from tests.unit.sessions_kit import cpu_node, gpu_node


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    down = gpu_node("a2", available=False, state="DOWN")
    return World(
        tmp_path_factory.mktemp("world"),
        nodes=[gpu_node("a1", used=1), down, cpu_node("c1", cpus_allocated=8, state="MIXED")],
        jobs=[job(1), job(2, "bob", state="PENDING", reason="QOSMaxGRESPerUser"), job(3, state="PENDING")],
    )


def test_gpus_are_free_allocated_or_down(world: World) -> None:
    (gpu,) = overview(world.services, None)["gpus"]
    assert (gpu["type"], gpu["total"], gpu["allocated"], gpu["free"], gpu["down"]) == ("a100", 8, 1, 3, 4)


def test_figures_add_up(world: World) -> None:
    totals = overview(world.services, None)["totals"]
    assert totals["cpus"] == totals["cpus_allocated"] + totals["cpus_free"] + totals["cpus_down"]
    assert totals["nodes"] == totals["nodes_busy"] + totals["nodes_idle"] + totals["nodes_down"]


def test_the_queue_says_why_jobs_wait_in_words(world: World) -> None:
    queue = overview(world.services, None)["queue"]
    assert (queue["running"], queue["pending"]) == (1, 2)
    assert dict(queue["reasons"]) == {"others go first": 1, "at a limit of their QOS": 1}


def test_an_array_counts_as_its_tasks(tmp_path: Path) -> None:
    world = World(tmp_path, jobs=[job(1, state="PENDING", array_pending=40), job(2)])
    assert own_jobs(world.services.snapshots.current, "ada") == (1, 40)


def test_nothing_known_yet_is_told_as_such(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.services.snapshots.current = type(world.services.snapshots)(tmp_path / "empty").current
    assert fresh(world.services, None)["taken_s"] is None
    assert overview(world.services, None)["totals"]["nodes"] == 0


def test_ones_own_topic_is_empty_for_a_newcomer(world: World) -> None:
    assert mine(world.services, ADA)["sessions"] == {}


def html(markdown: str) -> str:
    return news_html(News(markdown=markdown, changed_s=1))


def test_news_are_markdown() -> None:
    assert html("**Now** on [the wiki](https://wiki.example.org)") == (
        '<p><strong>Now</strong> on <a href="https://wiki.example.org">the wiki</a></p>\n'
    )


@pytest.mark.parametrize(
    "markdown",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "![x](https://tracker.example.org/pixel)",
        '[x](https://a.example "\\"><script>alert(1)</script>")',
        "<javascript:alert(1)>",
        "| a |\n|---|\n| <b onclick=alert(1)>x</b> |",
    ],
)
def test_news_can_run_nothing(markdown: str) -> None:
    made = html(markdown).lower()
    for tag in ("<script", "<img", "<b ", 'href="javascript', 'href="data'):
        assert tag not in made
