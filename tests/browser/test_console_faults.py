"""A whole console on the real cluster while parts of it, of Slurm and of the directory die.

Nothing is lost or doubled, pages stay up and say what is away, and everything recovers by itself.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from tests.browser.apart import (
    OVER,
    SETTINGS,
    SETTLED_S,
    SOON_S,
    SUBMIT_TIMEOUT_S,
    Apart,
    Launch,
    cpu_session,
    part,
    sessions_of,
    stopped,
    until,
)
from tests.cluster.test_isolation import apps_request, enter
from tests.cluster.web import all_session_jobs
from tests.harness import Cluster
from tests.harness.visitor import Visitor

CONTROLLER_AWAY_S = 20
# How old launches are when the web process is killed under them
AGES_S = ((0.0, 0.05, 0.1, 0.2, 0.3), (0.15, 0.25, 0.4, 0.6, 0.9))


@pytest.fixture(scope="module")
def console(cluster: Cluster) -> Iterator[Apart]:
    cluster.settle()
    running = Apart.on(cluster, SETTINGS, name="console-faults")
    assert isinstance(running, Apart)
    yield running
    running.stop()
    cluster.settle()


@pytest.fixture(scope="module")
def people(cluster: Cluster, console: Apart) -> dict[str, Visitor]:
    return {
        name: Visitor(console).sign_in(name, cluster.people[name].password, console.enrol(name))
        for name in ("ada", "bob")
    }


@pytest.fixture(scope="module")
def ada(people: dict[str, Visitor]) -> Visitor:
    return people["ada"]


@pytest.fixture(scope="module")
def home(browser: Browser, console: Apart, ada: Visitor) -> Iterator[Page]:
    """Ada's Home in Chromium, left open through everything that happens."""
    context = browser.new_context()
    context.add_cookies(
        [{"name": name, "value": value, "url": console.url} for name, value in ada.http.cookies.get_dict().items()]
    )
    page = context.new_page()
    page.goto(console.url + "/")
    expect(page.locator(".chip.good")).to_be_visible(timeout=SOON_S * 1000)
    yield page
    context.close()


# The web process, killed while people launch


def asked(console: Apart, cluster: Cluster, launch: Launch) -> None:
    """Killed after the row was stored and the launcher asked, before the launcher has read it."""
    launcher = console.pid("launcher")
    os.kill(launcher, signal.SIGSTOP)
    try:
        launch.thread.start()
        until(lambda: any(each["title"] == launch.key for each in sessions_of(launch.person)))
        console.kill("web")
    finally:
        os.kill(launcher, signal.SIGCONT)


def submitted(console: Apart, cluster: Cluster, launch: Launch) -> None:
    """Killed after the job is in the queue, before the launcher has answered."""
    launcher = console.pid("launcher")
    folders = cluster.outside(f"/home/{launch.person.name}/.local/share/carme/sessions")
    known, before = set(folders.glob("*")), Counter(all_session_jobs(cluster))
    launch.thread.start()
    until(lambda: set(folders.glob("*")) - known, every_s=0.005)  # written just before sbatch is run
    os.kill(launcher, signal.SIGSTOP)
    try:
        until(lambda: Counter(all_session_jobs(cluster)) - before)
        console.kill("web")
    finally:
        os.kill(launcher, signal.SIGCONT)


def too_late(console: Apart, cluster: Cluster, launch: Launch) -> None:
    """Killed as in `asked`; the launcher goes on after the launch's time is over."""
    launcher = console.pid("launcher")
    os.kill(launcher, signal.SIGSTOP)
    try:
        launch.thread.start()
        until(lambda: any(each["title"] == launch.key for each in sessions_of(launch.person)))
        console.kill("web")
        time.sleep(SUBMIT_TIMEOUT_S + 1)
    finally:
        os.kill(launcher, signal.SIGCONT)


def test_the_web_process_killed_at_every_step_of_a_launch_leaves_one_job_or_none(
    cluster: Cluster, console: Apart, people: dict[str, Visitor]
) -> None:
    # No node takes a job, so every job that was ever submitted is still in the queue at the end.
    for node in cluster.nodes:
        cluster.drain(node, "the launches are counted")
    everyone = list(people.values())
    launches: list[Launch] = []
    try:
        for number, kill in enumerate((too_late, asked, submitted)):
            launch = Launch(everyone[number % 2], kill.__name__)
            kill(console, cluster, launch)
            launch.thread.join()
            assert launch.answer is None
            launches.append(launch)
            console.web_again()
        for number, ages in enumerate(AGES_S):
            clicks = [Launch(everyone[at % 2], f"swept {number}.{at}") for at in range(len(ages))]
            killed_at = time.monotonic() + max(ages) + 0.05
            for click, age in sorted(zip(clicks, ages, strict=True), key=lambda pair: -pair[1]):
                time.sleep(max(0.0, killed_at - age - time.monotonic()))
                click.thread.start()
            time.sleep(max(0.0, killed_at - time.monotonic()))
            console.kill("web")
            launches += clicks
            for click in clicks:
                click.thread.join()
            console.web_again()

        # Half of the people click again: the browser repeats the request with the same key.
        for launch in launches[::2]:
            launch.click()
            assert launch.answer is not None
            assert launch.answer.status_code == 201, launch.answer.text

        def settled() -> list[dict[str, Any]]:
            rows = [row for person in everyone for row in sessions_of(person)]
            return [] if any(row["state"] == "submitting" or not (row["confirmed"] or row["state"] in OVER)
                             for row in rows) else rows  # fmt: skip

        rows = until(settled, SETTLED_S)
        titles = Counter(row["title"] for row in rows)
        assert titles.keys() <= {launch.key for launch in launches}
        assert set(titles.values()) <= {1}, titles  # never a double
        assert {launch.key for launch in launches[::2]} <= titles.keys()
        living = [row for row in rows if row["state"] not in OVER]
        # Exactly the jobs of the sessions that are not over: no ghost, no double, none lost
        assert Counter(all_session_jobs(cluster)) == Counter(f"carme-{row['id']}" for row in living)
        by_title = {row["title"]: row for row in rows}
        assert by_title["submitted"]["state"] == "pending"
        assert by_title["too_late"]["state"] == "failed"
        assert "never accepted" in by_title["too_late"]["reason"]
        for launch in launches:
            if launch.answer is not None and launch.key in by_title:
                assert launch.answer.json()["id"] == by_title[launch.key]["id"]
        for person in everyone:
            for row in sessions_of(person):
                if row["state"] not in OVER:
                    assert person.api("POST", f"/sessions/{row['id']}/stop").status_code == 202
        until(lambda: all(row["state"] in OVER for person in everyone for row in sessions_of(person)), SETTLED_S)
        assert all_session_jobs(cluster) == []
    finally:
        cluster.settle()


# Each process, killed


def test_each_process_that_is_killed_comes_back_and_goes_on(console: Apart, ada: Visitor, home: Page) -> None:
    session = cpu_session(ada, "ready")
    app, cookies = enter(ada, session)
    status = app.split("/jupyterlab/")[0] + "/jupyterlab/api/status"
    assert apps_request(cookies, "GET", status).status_code == 200
    for role in ("collector", "proxy", "launcher"):
        old, killed_s = console.pid(role), time.time()
        console.kill(role)
        assert ada.get("/").status_code == 200
        assert ada.api("GET", "/cluster").status_code == 200
        until(lambda role=role, old=old: console.role_pids(role) not in ([], [old]))
        if role == "collector":
            until(lambda killed_s=killed_s: part(ada, "jobs")["taken_s"] > killed_s)
        elif role == "proxy":

            def answers() -> bool:
                try:
                    return apps_request(cookies, "GET", status).status_code == 200
                except requests.ConnectionError:
                    return False

            until(answers)  # the same browser, without entering again
        else:
            until(lambda: ada.api("GET", f"/sessions/{session}/log").status_code == 200)
    console.kill("web")
    expect(home.get_by_text("The connection to the console is lost")).to_be_visible(timeout=SOON_S * 1000)
    console.wait_up()  # its own watcher started it again
    expect(home.get_by_text("The connection to the console is lost")).to_be_hidden(timeout=SOON_S * 1000)
    expect(home.locator(".chip.good")).to_be_visible(timeout=SOON_S * 1000)
    assert ada.api("GET", "/login").json()["name"] == "ada"  # still signed in
    assert apps_request(cookies, "GET", status).status_code == 200
    assert stopped(ada, session)["reason"] == "You stopped it."


# What the console leans on, away


def test_the_controller_away_pages_say_since_when_and_why_and_a_stop_is_done_afterwards(
    cluster: Cluster, ada: Visitor, home: Page
) -> None:
    session = cpu_session(ada)
    gone_s = time.time()
    cluster.stop("slurmctld")
    began = time.monotonic()
    try:
        jobs = until(lambda: part(ada, "jobs")["error"] and part(ada, "jobs"))
        assert gone_s - 2 <= jobs["failing_since_s"] <= time.time()
        assert jobs["taken_s"] <= jobs["failing_since_s"]
        assert "squeue" in jobs["error"]
        assert "\n" not in jobs["error"] and "Traceback" not in jobs["error"]
        banner = home.get_by_role("status").filter(has_text="has not answered since")
        expect(banner).to_be_visible(timeout=SOON_S * 1000)
        expect(banner).to_contain_text(jobs["error"])
        answer = ada.api("POST", f"/sessions/{session}/stop")
        assert (answer.status_code, answer.json()["state"]) == (202, "stopping")
        began_launch = time.monotonic()
        refused = ada.api("POST", "/sessions", json={"gpus": 0, "partition": "cpu", "title": "meanwhile"})
        assert time.monotonic() - began_launch < SUBMIT_TIMEOUT_S + 15
        assert refused.status_code in (201, 422, 503), refused.text
        for path in ("/", "/cluster", "/jobs", "/sessions", "/launch", "/account"):
            assert ada.get(path).status_code == 200, path
        time.sleep(max(0.0, CONTROLLER_AWAY_S - (time.monotonic() - began)))
        assert ada.api("GET", f"/sessions/{session}").json()["state"] == "stopping"
    finally:
        cluster.start("slurmctld")
    until(lambda: part(ada, "jobs")["error"] is None)
    expect(banner).to_be_hidden(timeout=SOON_S * 1000)
    expect(home.locator(".chip.good")).to_be_visible(timeout=SOON_S * 1000)
    until(lambda: ada.api("GET", f"/sessions/{session}").json()["state"] == "ended", SETTLED_S)
    meanwhile = [row["id"] for row in sessions_of(ada) if row["title"] == "meanwhile"]

    def settled() -> bool:
        rows = [ada.api("GET", f"/sessions/{each}").json() for each in meanwhile]
        return all(row["confirmed"] or row["state"] in OVER for row in rows)

    until(settled, SETTLED_S)
    for each in meanwhile:
        if ada.api("GET", f"/sessions/{each}").json()["state"] not in OVER:
            stopped(ada, each)
    assert all_session_jobs(cluster) == []


def test_accounting_away_only_its_own_parts_are_old_and_say_so(cluster: Cluster, ada: Visitor) -> None:
    cluster.stop("slurmdbd")
    try:
        old = until(lambda: part(ada, "associations")["error"] and part(ada, "associations"))
        assert old["failing_since_s"]
        assert "\n" not in old["error"]
        assert part(ada, "jobs")["error"] is None
        options = ada.api("GET", "/sessions/options").json()
        assert [each["name"] for each in options["accounts"]] == ["astro", "biology"]  # as last known
        session = cpu_session(ada)
        stopped(ada, session)
    finally:
        cluster.start("slurmdbd")
    until(lambda: part(ada, "associations")["error"] is None)


def test_the_directory_away_who_is_in_stays_in_and_sign_in_says_since_when(
    cluster: Cluster, console: Apart, ada: Visitor
) -> None:
    password = cluster.people["cleo"].password
    cluster.stop("slapd")
    try:
        answer = Visitor(console).give_password("cleo", password)
        assert answer.status_code == 503
        assert "directory" in answer.text
        assert "since" in answer.text
        assert ada.get("/").status_code == 200
        assert stopped(ada, cpu_session(ada))["state"] == "ended"
    finally:
        cluster.start("slapd")
    assert Visitor(console).give_password("cleo", password).status_code == 303
    assert "since" not in Visitor(console).get("/login").text


def test_the_sign_in_page_learns_by_itself_that_the_directory_is_back(cluster: Cluster, console: Apart) -> None:
    cluster.stop("slapd")
    try:
        assert Visitor(console).give_password("cleo", "whatever it is").status_code == 503
        assert "since" in Visitor(console).get("/login").text
    finally:
        cluster.start("slapd")
    until(lambda: "since" not in Visitor(console).get("/login").text)


def test_the_database_locked_for_a_while_delays_and_loses_nothing(
    cluster: Cluster, console: Apart, ada: Visitor
) -> None:
    script = (
        "import sqlite3, sys, time\n"
        "held = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "held.execute('BEGIN IMMEDIATE')\n"
        "print('locked', flush=True)\n"
        "time.sleep(4)\n"
    )
    locking = cluster.popen(
        ["/usr/bin/python3", "-c", script, str(console.data_dir / "carme.db")], user="carme", text=True, stdout=-1
    )
    assert locking.stdout is not None
    assert locking.stdout.readline() == "locked\n"
    launch = Launch(ada, "behind the lock")
    launch.thread.start()
    for path in ("/", "/api/v1/login", "/api/v1/sessions", "/api/v1/cluster"):
        began = time.monotonic()
        assert ada.get(path).status_code == 200
        assert time.monotonic() - began < 2, path  # reading waits for nobody
    assert locking.poll() is None, "the lock was gone before all was read"
    locking.wait()
    locking.stdout.close()
    launch.thread.join()
    assert launch.answer is not None
    assert launch.answer.status_code == 201, launch.answer.text
    stopped(ada, launch.answer.json()["id"])
    assert [row["title"] for row in sessions_of(ada)].count("behind the lock") == 1
