"""Whatever is killed or away, and whenever: a launch is one job or none, never two, never a ghost."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.cluster.web import PLAIN, BareConsole, Killed, WebProcess, all_session_jobs, jobs_named
from tests.harness import Cluster
from tests.harness.console import Console

OVER = ("ended", "failed")
SUBMIT_TIMEOUT_S = 8
AWAY_S = 60
GIVEN_UP_S = SUBMIT_TIMEOUT_S + 20 + 15  # not_after, the margin for clocks, and the next look at all jobs


@pytest.fixture(scope="module")
def console(cluster: Cluster) -> Iterator[Console]:
    """Collector and launcher; the tests are the web processes."""
    sessions = {**PLAIN["sessions"], "submit_timeout_s": SUBMIT_TIMEOUT_S}
    running = BareConsole.on(cluster, {"sessions": sessions, "slurm": {"jobs_every_s": 2}}, name="faults")
    yield running
    running.stop()


@pytest.fixture
def web(cluster: Cluster, console: Console) -> Iterator[WebProcess]:
    """A web process that reconciles."""
    cluster.settle()
    with WebProcess(cluster, console, "--watch") as process:
        yield process
    cluster.settle()


def killed_while_launching(cluster: Cluster, console: Console, step: str) -> None:
    """A web process is killed (-9) at this step of Ada's launch."""
    doomed = WebProcess(cluster, console, "--die", step)
    with pytest.raises(Killed):
        doomed.launch("ada")
    assert doomed.process.wait(10) == -9


def newest(web: WebProcess) -> dict:  # type: ignore[type-arg]
    return dict(web.ask("list", "ada")[0])


def test_killed_before_the_row_there_is_nothing(cluster: Cluster, console: Console) -> None:
    with WebProcess(cluster, console) as looking:
        before = looking.ask("list", "ada")
        killed_while_launching(cluster, console, "before-row")
        assert looking.ask("list", "ada") == before
    assert all_session_jobs(cluster) == []


def test_killed_after_the_row_it_fails_and_no_job_ever_comes(
    cluster: Cluster, console: Console, web: WebProcess
) -> None:
    killed_while_launching(cluster, console, "after-row")
    session = newest(web)
    assert session["state"] == "submitting"
    over = web.until("ada", session["id"], lambda each: each["state"] in OVER, GIVEN_UP_S)
    assert over["state"] == "failed"
    assert "never accepted" in over["reason"]
    assert all_session_jobs(cluster) == []


@pytest.mark.parametrize("step", ["asked", "answered"])
def test_killed_with_the_job_on_its_way_the_next_web_process_finds_that_one_job(
    cluster: Cluster, console: Console, web: WebProcess, step: str
) -> None:
    killed_while_launching(cluster, console, step)
    session = newest(web)
    known = web.until("ada", session["id"], lambda each: each["confirmed"], GIVEN_UP_S)
    assert jobs_named(cluster, f"carme-{session['id']}") == [str(known["job_id"])]
    assert all_session_jobs(cluster) == [f"carme-{session['id']}"]
    web.ask("stop", "ada", id=session["id"])
    web.until("ada", session["id"], lambda each: each["state"] == "ended")
    assert all_session_jobs(cluster) == []


def test_the_launcher_killed_in_the_middle_leaves_one_job_or_none(
    cluster: Cluster, console: Console, web: WebProcess
) -> None:
    import threading

    answers: list[dict] = []  # type: ignore[type-arg]
    with WebProcess(cluster, console) as launching:
        defaults = launching.ask("options", "ada")["defaults"]
        thread = threading.Thread(
            target=lambda: answers.append(launching.raw("launch", "ada", request=defaults))
        )
        thread.start()
        time.sleep(0.05)
        console.kill("launcher")
        thread.join(30)
    jobs = all_session_jobs(cluster)
    assert len(jobs) <= 1
    if "ok" in answers[0]:
        session_id = answers[0]["ok"]["id"]
        settled = web.until(
            "ada", session_id, lambda each: each["confirmed"] or each["state"] in OVER, GIVEN_UP_S
        )
        assert [f"carme-{session_id}"] * int(settled["confirmed"]) == all_session_jobs(cluster)
    else:
        assert jobs == []
    until = time.monotonic() + 30
    while not console.launcher_answers():
        assert time.monotonic() < until, "it doesn't come back"
        time.sleep(0.1)


def test_a_job_that_comes_after_its_session_was_given_up_is_cancelled(
    cluster: Cluster, console: Console, web: WebProcess
) -> None:
    with WebProcess(cluster, console) as forgetful:
        session = forgetful.launch("ada")
        gone = {"state": "failed", "job_id": None, "confirmed": False, "end_s": int(time.time()) - 60}
        forgetful.ask("change", "ada", id=session["id"], values=gone)
    until = time.monotonic() + 30
    while all_session_jobs(cluster):
        assert time.monotonic() < until, "the ghost is still there"
        time.sleep(0.3)


def test_the_controller_away_for_a_minute_changes_nothing_that_runs(
    cluster: Cluster, console: Console, web: WebProcess
) -> None:
    session = web.launch("ada")
    running = web.until("ada", session["id"], lambda each: each["state"] == "starting")
    cluster.stop("slurmctld")
    away = time.monotonic()
    try:
        began = time.monotonic()
        refused = web.raw("launch", "ada", request={"gpus": 1})
        assert time.monotonic() - began < SUBMIT_TIMEOUT_S + 20
        time.sleep(max(0.0, AWAY_S - (time.monotonic() - away)))
        during = web.ask("get", "ada", id=session["id"])
        assert (during["state"], during["job_id"]) == (running["state"], running["job_id"])
    finally:
        cluster.start("slurmctld")
    if "ok" in refused:  # not known then; known now
        other = refused["ok"]["id"]
        web.until("ada", other, lambda each: each["confirmed"] or each["state"] in OVER, GIVEN_UP_S + 30)
    assert all_session_jobs(cluster).count(f"carme-{session['id']}") == 1
    assert len(all_session_jobs(cluster)) == len(set(all_session_jobs(cluster))) <= 2
    web.ask("stop", "ada", id=session["id"])
    web.until("ada", session["id"], lambda each: each["state"] == "ended", 60)


def test_a_stop_while_the_controller_is_away_is_carried_out_when_it_is_back(
    cluster: Cluster, console: Console, web: WebProcess
) -> None:
    session = web.launch("ada")
    web.until("ada", session["id"], lambda each: each["confirmed"])
    cluster.stop("slurmctld", kill=True)
    try:
        assert web.ask("stop", "ada", id=session["id"])["state"] == "stopping"
    finally:
        cluster.start("slurmctld")
    web.until("ada", session["id"], lambda each: each["state"] == "ended", 90)
    assert all_session_jobs(cluster) == []


def test_the_collector_killed_comes_back_and_sessions_go_on(
    cluster: Cluster, console: Console, web: WebProcess
) -> None:
    console.kill("collector")
    session = web.launch("ada")
    web.until("ada", session["id"], lambda each: each["state"] == "starting", 40)


def test_jobs_that_pretend_to_be_a_session_have_no_effect(
    cluster: Cluster, console: Console, web: WebProcess
) -> None:
    session = web.launch("ada")
    before = web.until("ada", session["id"], lambda each: each["state"] == "starting")
    name = f"carme-{session['id']}"
    forged = [name, f"x\n{name}", f"{name}\n99999|{name}|ada|42001", f"{name}|RUNNING"]
    jobs = []
    for each in forged:
        done = cluster.run(
            ["sbatch", "--parsable", "-p", "cpu", f"--job-name={each}", "--wrap", "sleep 60"], user="bob"
        )
        if done.returncode == 0:
            jobs.append(done.stdout.strip())
    assert jobs
    time.sleep(6)
    after = web.ask("get", "ada", id=session["id"])
    for key in ("state", "job_id", "node", "uid"):
        assert after[key] == before[key]
    web.ask("stop", "ada", id=session["id"])
    web.until("ada", session["id"], lambda each: each["state"] == "ended", 60)
    time.sleep(4)
    left = cluster.run(["squeue", "-h", "-u", "bob", "-t", "PD,R", "-o", "%i"], check=True).stdout.split()
    assert sorted(left) == sorted(jobs)  # and they are not cancelled for their names


def test_two_web_processes_at_once_do_everything_once(
    cluster: Cluster, console: Console, web: WebProcess
) -> None:
    with WebProcess(cluster, console, "--watch") as second:
        defaults = web.ask("options", "ada")["defaults"]
        first = web.ask("launch", "ada", request=defaults, key="same-click")
        again = second.ask("launch", "ada", request=defaults, key="same-click")
        assert first["id"] == again["id"]
        second.ask("stop", "ada", id=first["id"])
        over = web.until("ada", first["id"], lambda each: each["state"] in OVER)
        assert over["reason"] == "You stopped it."
    assert all_session_jobs(cluster) == []
