"""A session on real Slurm: launched as the person, ready at once, stopped, and nobody else's business."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator

import pytest

from tests.cluster.web import PLAIN, WebProcess, all_session_jobs, home_file, jobs_named
from tests.harness import Cluster
from tests.harness.console import Console

OVER = ("ended", "failed")


@pytest.fixture(scope="module")
def console(cluster: Cluster) -> Iterator[Console]:
    """A whole console on the cluster, sessions without a container."""
    running = Console.on(cluster, PLAIN, name="launch")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def process(cluster: Cluster, console: Console) -> Iterator[WebProcess]:
    with WebProcess(cluster, console) as running:
        yield running


@pytest.fixture
def web(cluster: Cluster, process: WebProcess) -> Iterator[WebProcess]:
    """A web process; the queue is empty again after the test."""
    yield process
    if all_session_jobs(cluster):
        cluster.cancel_all_jobs()


def accounted(cluster: Cluster, job_id: int) -> str:
    """uid|account|jobname|alloctres, once slurmdbd knows whose it is: of a short job it may hear the end first."""
    command = ["sacct", "-X", "-n", "-P", "-j", str(job_id), "-o", "uid,account,jobname,alloctres"]
    deadline = time.monotonic() + 20
    while True:
        facts = cluster.run(command, check=True).stdout.strip()
        if (facts and not facts.startswith("0|")) or time.monotonic() > deadline:
            return facts
        time.sleep(0.5)


def test_two_clicks_give_jupyterlab_on_a_gpu_under_the_persons_uid(cluster: Cluster, web: WebProcess) -> None:
    began = time.monotonic()
    session = web.launch("ada", gpu_type="a100")
    assert (session["state"], session["uid"]) == ("pending", cluster.people["ada"].uid)
    ready = web.until("ada", session["id"], lambda each: each["state"] == "ready")
    assert time.monotonic() - began < 20
    assert ready["node"].startswith("a100-")
    assert ready["apps"] == {"jupyterlab": "ready"}

    assert web.ask("stop", "ada", id=session["id"])["state"] == "stopping"
    over = web.until("ada", session["id"], lambda each: each["state"] in OVER)
    assert (over["state"], over["reason"]) == ("ended", "You stopped it.")
    facts = accounted(cluster, session["job_id"])
    uid, account, name, tres = facts.split("|")
    assert (int(uid), account, name) == (cluster.people["ada"].uid, "astro", f"carme-{session['id']}")
    assert "gres/gpu=1" in tres
    assert "gres/gpu:a100=1" in tres


def test_the_sessions_files_are_the_persons_alone(cluster: Cluster, web: WebProcess) -> None:
    session = web.launch("ada")
    uid = cluster.people["ada"].uid
    for name, mode in (("", 0o700), ("session.json", 0o600), ("agent.pyz", 0o600), ("job.sh", 0o700)):
        facts = home_file(cluster, "ada", session["id"], name)
        assert (facts.st_uid, stat.S_IMODE(facts.st_mode)) == (uid, mode)


def test_the_secret_is_in_no_command_line_and_no_environment_of_the_job(
    cluster: Cluster, web: WebProcess
) -> None:
    session = web.launch("ada")
    web.until("ada", session["id"], lambda each: each["state"] == "ready")
    spec = cluster.outside(f"/home/ada/.local/share/carme/sessions/{session['id']}/session.json").read_text()
    import json

    secret = json.loads(spec)["secret"]
    shown = cluster.run(
        ["sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"]
    )
    assert session["id"] in shown.stdout
    assert secret not in shown.stdout
    job = cluster.run(["scontrol", "-d", "show", "job", str(session["job_id"])], check=True).stdout
    assert secret not in job


@pytest.mark.parametrize(
    "value", ["/tmp/$(touch /tmp/ran)", "/tmp/`id`;touch /tmp/ran", "/tmp/'\"<b>%j", "/tmp/--uid=0"]
)
def test_a_hostile_folder_and_title_arrive_unchanged_and_run_nothing(
    cluster: Cluster, web: WebProcess, value: str
) -> None:
    session = web.launch("ada", work_dir=value, title=value, gpus=0, gpu_type="")
    web.until("ada", session["id"], lambda each: each["state"] in OVER)
    assert f"{value!r} is no folder on this node" in web.ask("log", "ada", id=session["id"])
    assert not cluster.outside("/tmp/ran").exists()


@pytest.mark.parametrize(
    "field", ["work_dir", "title", "image", "account", "partition", "qos", "reservation"]
)
@pytest.mark.parametrize("value", ["/a\nb", "/a\0b", "/" + "x" * 10_000])
def test_newlines_zeros_and_ten_kilobytes_are_refused(web: WebProcess, field: str, value: str) -> None:
    assert web.ask("check", "ada", request={field: value})[0]["field"] == field


@pytest.mark.parametrize(
    ("person", "request_", "words"),
    [
        ("eve", {}, "You have no account on this cluster"),
        ("bob", {"account": "astro"}, "You are not a member of account astro."),
        ("ada", {"gpus": 5, "gpu_type": "a100"}, "the most is 4 a100 GPUs"),
        ("ada", {"gpus": 1, "partition": "debug", "time_s": 7200}, "Partition debug allows 1 h at most."),
        ("ada", {"gpus": 4, "gpu_type": "a100", "nodes": 3}, "QOS normal allows one person 8 GPUs at a time"),
        ("ada", {"qos": "debug", "time_s": 7200, "gpus": 1}, "QOS debug allows 1 h at most."),
        ("ada", {"partition": "cpu", "gpus": 1}, "No node of partition cpu has 1 GPU"),
    ],
)
def test_limits_are_told_in_words_before_anything_is_submitted(
    web: WebProcess, person: str, request_: dict[str, object], words: str
) -> None:
    (problem,) = web.raw("launch", person, request=request_)["refused"]
    assert words in problem["message"]


def test_what_only_slurm_knows_is_passed_on_in_its_words(cluster: Cluster, web: WebProcess) -> None:
    cluster.run(["sacctmgr", "-i", "modify", "user", "bob", "set", "MaxSubmitJobs=0"], check=True)
    try:
        (problem,) = web.raw("launch", "bob", request={"gpus": 1})["refused"]
        assert "The scheduler says:" in problem["message"] or "at a time" in problem["message"]
    finally:
        cluster.run(["sacctmgr", "-i", "modify", "user", "bob", "set", "MaxSubmitJobs=-1"], check=True)


def test_another_person_has_no_such_session(web: WebProcess) -> None:
    session = web.launch("ada")
    for do in ("get", "stop", "log"):
        assert web.raw(do, "bob", id=session["id"]) == {"error": "SessionNotFound: There is no such session."}
    assert web.ask("list", "bob", owner="*") == []
    assert web.raw("log", "dora", id=session["id"])["error"].startswith("SessionNotFound")
    assert web.ask("stop", "dora", id=session["id"])["state"] == "stopping"
    over = web.until("ada", session["id"], lambda each: each["state"] in OVER)
    assert over["reason"] == "dora stopped it."


def test_a_pending_session_says_why_and_goes_when_it_is_stopped(cluster: Cluster, web: WebProcess) -> None:
    blocker = web.launch("ada", gpus=8, gpu_type="h100", cpus=128, memory_mb=64_000)
    web.until("ada", blocker["id"], lambda each: each["confirmed"])
    waiting = web.launch("ada", gpus=1, gpu_type="h100")
    seen = web.until("ada", waiting["id"], lambda each: each["confirmed"] and "GPU" in each["reason"])
    assert seen["state"] == "pending"
    web.ask("stop", "ada", id=waiting["id"])
    over = web.until("ada", waiting["id"], lambda each: each["state"] in OVER)
    assert over["reason"] == "You stopped it."
    assert over["start_s"] is None


def test_a_session_cancelled_with_slurms_own_command_says_so(cluster: Cluster, web: WebProcess) -> None:
    session = web.launch("ada")
    web.until("ada", session["id"], lambda each: each["confirmed"])
    cluster.run(["scancel", str(session["job_id"])], user="ada", check=True)
    over = web.until("ada", session["id"], lambda each: each["state"] in OVER)
    assert over["state"] == "ended"
    assert over["reason"].startswith("It was cancelled")


def test_the_start_is_estimated_by_the_scheduler(web: WebProcess) -> None:
    estimate = web.ask("estimate", "ada", request={"gpus": 1, "gpu_type": "a100"})
    assert abs(estimate["start_s"] - time.time()) < 120
    assert web.ask("list", "ada") is not None


def test_a_double_click_is_one_job(cluster: Cluster, web: WebProcess) -> None:
    defaults = web.ask("options", "ada")["defaults"]
    first = web.ask("launch", "ada", request=defaults, key="one-click")
    again = web.ask("launch", "ada", request=defaults, key="one-click")
    assert first["id"] == again["id"]
    assert len(jobs_named(cluster, f"carme-{first['id']}")) == 1


def test_only_the_consoles_account_reaches_the_launcher(cluster: Cluster, console: Console) -> None:
    socket = console.folder / "run/launcher.sock"
    code = "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    for person, reached in (("carme", True), ("ada", False)):
        done = cluster.run(["/usr/bin/python3", "-I", "-c", code, str(socket)], user=person)
        assert (done.returncode == 0) is reached
        assert reached or "PermissionError" in done.stderr


@pytest.mark.parametrize(
    ("account", "target", "command"),
    [
        ("carme", "ada", ["/usr/local/libexec/carme-as-user"]),
        ("carme-launch", "root", ["/usr/local/libexec/carme-as-user"]),
        ("carme-launch", "slurm", ["/usr/local/libexec/carme-as-user"]),
        ("carme-launch", "carme", ["/usr/local/libexec/carme-as-user"]),
        ("carme-launch", "ada", ["/bin/sh", "-c", "id"]),
        ("carme-launch", "ada", ["/usr/local/libexec/carme-as-user", "--own", "/tmp/x"]),
    ],
)
def test_sudo_allows_one_command_for_people_only(
    cluster: Cluster, console: Console, account: str, target: str, command: list[str]
) -> None:
    done = cluster.run(["sudo", "-n", "-u", target, "--", *command], user=account, input="{}")
    assert done.returncode != 0
    assert done.stdout == ""


def test_nobody_cancels_anothers_job_through_the_console(cluster: Cluster, web: WebProcess) -> None:
    session = web.launch("ada")
    done = cluster.run(
        ["sudo", "-n", "-u", "bob", "--", "/usr/local/libexec/carme-as-user"],
        user="carme-launch", input=f'{{"action": "cancel", "job_id": {session["job_id"]}}}',
    )  # fmt: skip
    assert '"kind": "refused"' in done.stdout
    assert len(jobs_named(cluster, f"carme-{session['id']}")) == 1


def test_the_as_user_program_answers_as_the_person(cluster: Cluster, console: Console) -> None:
    done = cluster.run(
        ["sudo", "-n", "-u", "ada", "--", "/usr/local/libexec/carme-as-user"],
        user="carme-launch", input='{"action": "tail", "session": "snobodynobodyno2", "max_bytes": 10}',
    )  # fmt: skip
    assert '"kind": "not_found"' in done.stdout
