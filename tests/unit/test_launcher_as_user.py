"""The as-user program: what reaches the scheduler's commands, what it refuses, what it leaves behind.

`fake` is the program's Slurm side with commands that write down how they were called; `fake.call(action, …)`
runs one action on it, `fake.seen()` gives the calls so far.
"""

from __future__ import annotations

import base64
import json
import os
import pwd
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.launcher import as_user

SESSION = "sabcdefgh2345672"
RECORDER = """#!/usr/bin/python3 -I
import json, os, sys
with open({record!r}, "a") as file:
    file.write(json.dumps({{"argv": sys.argv, "env": dict(os.environ), "stdin": sys.stdin.read()}}) + "\\n")
name = os.path.basename(sys.argv[0])
plan = json.load(open({plan!r}))
sys.stdout.write(plan.get(name, {{}}).get("out", "77\\n" if name == "sbatch" else ""))
sys.stderr.write(plan.get(name, {{}}).get("err", ""))
sys.exit(plan.get(name, {{}}).get("status", 0))
"""


class Fake:
    """Slurm's commands, recorded."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.record, self.plan = folder / "record", folder / "plan"
        self.answers()
        for name in ("sbatch", "scancel", "scontrol", "sacct"):
            path = self.bin / name
            path.write_text(RECORDER.format(record=str(self.record), plan=str(self.plan)))
            path.chmod(0o755)
        me = pwd.struct_passwd(("ada", "x", os.getuid(), os.getgid(), "", str(self.home), "/bin/sh"))
        config = {
            "scheduler": "slurm",
            "path": f"{self.bin}:/usr/bin:/bin",
            "slurm_conf": "/etc/slurm/x.conf",
        }
        self.scheduler = as_user.Slurm(config, me)

    def answers(self, **plan: Any) -> None:
        self.plan.write_text(json.dumps(plan))

    def seen(self) -> list[dict[str, Any]]:
        if not self.record.exists():
            return []
        return [json.loads(line) for line in self.record.read_text().splitlines()]

    def call(self, action: str, **request: Any) -> dict[str, Any]:
        return as_user.ACTIONS[action](request, self.scheduler)

    @property
    def folder(self) -> Path:
        return self.home / ".local/share/carme/sessions" / SESSION


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


def files(**contents: bytes) -> dict[str, str]:
    known = {"session.json": b"{}", "agent.pyz": b"PK", "job.sh": b"#!/bin/sh\n", **contents}
    return {name: base64.b64encode(content).decode() for name, content in known.items()}


def submission(**changes: Any) -> dict[str, Any]:
    return {"session": SESSION, "files": files(), "options": {}, "not_after_s": time.time() + 30, **changes}


def test_a_submission_gives_the_job_number_and_passes_options_as_single_arguments(fake: Fake) -> None:
    options = {"account": "physics", "partition": "gpu", "gpus": 1, "gpu_type": "a100", "cpus": 4,
               "memory_mb": 8192, "time_s": 5400, "nodes": 2}  # fmt: skip
    assert fake.call("submit", **submission(options=options)) == {"job_id": 77}
    (call,) = fake.seen()
    folder = str(fake.folder)
    assert call["argv"][1:] == [
        "--parsable",
        "--no-requeue",
        "--export=HOME,USER,LOGNAME,SHELL,PATH,LANG",
        f"--job-name=carme-{SESSION}",
        "--comment=carme",
        f"--chdir={folder}",
        f"--output={folder}/log",
        "--account=physics",
        "--partition=gpu",
        "--nodes=2",
        "--ntasks-per-node=1",
        "--cpus-per-task=4",
        "--mem=8192M",
        "--gres=gpu:a100:1",
        "--time=90",
        f"{folder}/job.sh",
        folder,
    ]


def test_commands_see_a_clean_environment(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SBATCH_ACCOUNT", "stolen")
    monkeypatch.setenv("LD_PRELOAD", "/tmp/evil.so")
    fake.call("submit", **submission())
    env = fake.seen()[0]["env"]
    assert env["SLURM_CONF"] == "/etc/slurm/x.conf"
    assert not {"SBATCH_ACCOUNT", "LD_PRELOAD", "CARME_DATA"} & set(env)


def test_the_folder_and_its_files_are_the_persons_alone(fake: Fake) -> None:
    fake.call("submit", **submission(files=files(**{"session.json": b'{"secret": 1}'})))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in fake.folder.iterdir()}
    assert modes == {"session.json": 0o600, "agent.pyz": 0o600, "job.sh": 0o700}
    assert stat.S_IMODE(fake.folder.stat().st_mode) == 0o700
    assert (fake.folder / "session.json").read_bytes() == b'{"secret": 1}'


def test_the_same_session_is_never_submitted_twice(fake: Fake) -> None:
    fake.call("submit", **submission())
    with pytest.raises(as_user.Failure) as failure:
        fake.call("submit", **submission())
    assert failure.value.kind == "exists"
    assert len(fake.seen()) == 1


def test_after_not_after_nothing_is_submitted_and_nothing_stays(fake: Fake) -> None:
    with pytest.raises(as_user.Failure) as failure:
        fake.call("submit", **submission(not_after_s=time.time() - 1))
    assert failure.value.kind == "too_late"
    assert fake.seen() == []
    assert not fake.folder.exists()


def test_a_slow_sbatch_is_ended_at_not_after_and_the_outcome_is_open(fake: Fake) -> None:
    (fake.bin / "sbatch").write_text("#!/bin/sh\nsleep 60\n")
    started = time.monotonic()
    with pytest.raises(as_user.Failure) as failure:
        fake.call("submit", **submission(not_after_s=time.time() + 1))
    assert failure.value.kind == "unknown"
    assert time.monotonic() - started < 5
    assert fake.folder.exists()  # the job may have been taken: its files must be there


def test_a_refusal_is_passed_on_in_slurms_words_and_leaves_no_folder(fake: Fake) -> None:
    words = "Invalid account or account/partition combination specified"
    text = f"sbatch: error: Batch job submission failed: {words}\n"
    fake.answers(sbatch={"status": 1, "out": "", "err": text})
    with pytest.raises(as_user.Failure) as failure:
        fake.call("submit", **submission())
    assert failure.value.kind == "refused"
    assert "Invalid account or account/partition combination" in failure.value.message
    assert not fake.folder.exists()


def test_a_controller_that_is_away_is_told_from_a_refusal(fake: Fake) -> None:
    text = (
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)\n"
    )
    fake.answers(sbatch={"status": 1, "out": "", "err": text})
    with pytest.raises(as_user.Failure) as failure:
        fake.call("submit", **submission())
    assert failure.value.kind == "unavailable"


NASTY = st.one_of(
    st.text(min_size=1, max_size=200),
    st.sampled_from(
        [
            "$(touch {0})",
            "`touch {0}`",
            "; touch {0}",
            "a\n#SBATCH --uid=0",
            "--uid=0",
            "-n99",
            "../../etc",
            "' || touch {0} '",
            '"; touch {0}; "',
            "<script>alert(1)</script>",
            "x" * 10_000,
            "a b",
            "%j",
            "a,b",
            "é",
        ]
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(["account", "partition", "qos", "reservation", "gpu_type"]), value=NASTY)
def test_a_hostile_name_is_refused_or_is_one_argument_unchanged(fake: Fake, field: str, value: str) -> None:
    mark = fake.home.parent / "ran"
    fake.record.unlink(missing_ok=True)
    options: dict[str, Any] = {field: value.replace("{0}", str(mark))}
    if field == "gpu_type":
        options["gpus"] = 1
    try:
        fake.call("submit", **submission(options=options))
    except as_user.Failure as failure:
        assert failure.kind == "bad_request"
        assert fake.seen() == []
        assert not fake.folder.exists()
    else:
        wanted = f"--gres=gpu:{value}:1" if field == "gpu_type" else f"--{field}={value}"
        assert fake.seen()[0]["argv"].count(wanted) == 1
        assert fake.call("forget", session=SESSION) == {"removed": True}
    assert not mark.exists()


@pytest.mark.parametrize("home", ["h o%j m'e", "h$(id)e", 'h";e', "hé"])
def test_any_home_folder_arrives_unchanged(tmp_path: Path, home: str) -> None:
    fake = Fake(tmp_path)
    there = tmp_path / home
    there.mkdir()
    fake.scheduler.me = pwd.struct_passwd(("ada", "x", os.getuid(), os.getgid(), "", str(there), "/bin/sh"))
    fake.call("submit", **submission())
    argv = fake.seen()[0]["argv"]
    folder = f"{there}/.local/share/carme/sessions/{SESSION}"
    assert argv[-2:] == [f"{folder}/job.sh", folder]
    assert f"--output={folder.replace('%', '%%')}/log" in argv


@pytest.mark.parametrize("session", ["", "../x", "s/../../etc", "S" * 20, "s" * 80, "sabc\ndefgh", None, 5])
def test_a_session_id_is_one_label(fake: Fake, session: Any) -> None:
    for action in ("submit", "tail", "cancel", "forget"):
        with pytest.raises(as_user.Failure) as failure:
            fake.call(action, **{**submission(), "session": session, "max_bytes": 10})
        assert failure.value.kind == "bad_request"
    assert fake.seen() == []


@pytest.mark.parametrize(
    "options", [{"uid": "0"}, {"cpus": "4"}, {"cpus": -1}, {"cpus": True}, {"gpu_type": "a100"}, [], None]
)
def test_options_are_an_allow_list_of_names_and_counts(fake: Fake, options: Any) -> None:
    with pytest.raises(as_user.Failure) as failure:
        fake.call("submit", **submission(options=options))
    assert failure.value.kind == "bad_request"


def test_cancel_takes_a_number_or_all_jobs_of_the_sessions_name(fake: Fake) -> None:
    fake.call("cancel", job_id=12)
    fake.call("cancel", job_id="12_3")
    fake.call("cancel", session=SESSION)
    assert [call["argv"][1:] for call in fake.seen()] == [
        ["12"],
        ["12_3"],
        ["--user=ada", f"--name=carme-{SESSION}"],
    ]


@pytest.mark.parametrize("job", ["", "0", "-1", "1 2", "--user=root", "1;id", "1\n2", 0, -3, 1.5, ["1"]])
def test_a_job_is_a_number(fake: Fake, job: Any) -> None:
    with pytest.raises(as_user.Failure):
        fake.call("cancel", job_id=job)
    assert fake.seen() == []


def test_times_are_whole_minutes_rounded_up(fake: Fake) -> None:
    fake.call("update", job_id=5, time_s=61)
    assert fake.seen()[0]["argv"][1:] == ["update", "JobId=5", "TimeLimit=2"]


def test_an_estimate_reads_the_start_and_submits_nothing(fake: Fake) -> None:
    fake.answers(
        sbatch={"out": "", "err": "sbatch: Job 9 to start at 1790000000 using 4 processors on nodes n1\n"}
    )
    assert fake.call("estimate", options={"cpus": 4}) == {"start_s": 1790000000}
    call = fake.seen()[0]
    assert "--test-only" in call["argv"]
    assert call["env"]["SLURM_TIME_FORMAT"] == "%s"


def log_of(fake: Fake) -> Path:
    fake.call("submit", **submission())
    return fake.folder / "log"


def test_tail_gives_the_end_of_the_log(fake: Fake) -> None:
    log_of(fake).write_text("x" * 1000 + "the end")
    assert fake.call("tail", session=SESSION, max_bytes=7)["text"] == "the end"


def test_tail_follows_no_link_and_opens_no_pipe(fake: Fake) -> None:
    log = log_of(fake)
    log.symlink_to("/etc/hostname")
    refused: list[str] = []
    for make in (lambda: None, lambda: os.mkfifo(log)):
        make()
        with pytest.raises(as_user.Failure) as failure:
            fake.call("tail", session=SESSION, max_bytes=100)
        refused.append(failure.value.kind)
        log.unlink()
    assert refused == ["not_found", "not_found"]


def test_a_session_folder_that_is_a_link_is_not_entered(fake: Fake) -> None:
    log_of(fake).write_text("mine")
    elsewhere = fake.home / "elsewhere"
    fake.folder.rename(elsewhere)
    fake.folder.symlink_to(elsewhere)
    with pytest.raises(as_user.Failure):
        fake.call("tail", session=SESSION, max_bytes=100)


def test_forget_removes_only_what_the_console_put_there(fake: Fake) -> None:
    log_of(fake).write_text("bye")
    assert fake.call("forget", session=SESSION) == {"removed": True}
    assert not fake.folder.exists()


def test_forget_leaves_a_folder_with_files_of_the_persons(fake: Fake) -> None:
    log_of(fake)
    (fake.folder / "thesis.tex").write_text("years of work")
    assert fake.call("forget", session=SESSION) == {"removed": False}
    assert (fake.folder / "thesis.tex").exists()


Program = Callable[..., dict[str, Any]]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    def run(
        config: dict[str, Any] | None = None, request: bytes = b"{}", *, mode: int = 0o600, **env: str
    ) -> Any:
        path = tmp_path / "as-user.json"
        path.write_text(json.dumps(config if config is not None else {"scheduler": "local"}))
        path.chmod(mode)
        done = subprocess.run(
            [sys.executable, "-I", as_user.__file__, "--own", str(path)],
            input=request, capture_output=True, env=env, check=True, timeout=20,
        )  # fmt: skip
        return json.loads(done.stdout)

    return run


def test_a_configuration_that_others_can_write_is_refused(program: Program) -> None:
    assert program(mode=0o666)["error"]["kind"] == "config"


def test_a_configuration_of_ones_own_does_not_count_through_sudo(program: Program) -> None:
    answer = program(SUDO_UID="33")
    assert answer["error"]["kind"] == "config"
    assert "sudo" in answer["error"]["message"]


def test_unknown_keys_of_the_configuration_are_refused(program: Program) -> None:
    assert "keys are" in program({"sheduler": "slurm"})["error"]["message"]


def test_root_never_speaks_to_slurm(program: Program) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root to be refused as root")
    answer = program({"scheduler": "slurm"}, b'{"action": "cancel", "job_id": 1}')
    assert answer["error"] == {"kind": "config", "message": "never as root or a system user"}


@pytest.mark.parametrize("request_", [b"", b"[]", b"{", b'{"action": "shell"}', b"x" * (9 * 2**20)])
def test_nonsense_is_answered_and_nothing_else(program: Program, request_: bytes) -> None:
    assert program(None, request_)["error"]["kind"] == "bad_request"


def test_it_needs_nothing_but_its_one_file(tmp_path: Path) -> None:
    copy = tmp_path / "carme-as-user"
    copy.write_text(Path(as_user.__file__).read_text())
    done = subprocess.run(
        [sys.executable, "-I", str(copy)], input=b"{}", capture_output=True, check=True, cwd="/"
    )
    assert json.loads(done.stdout)["ok"] is False


# -- what a job printed, and its script


def shown(uid: int, **facts: str) -> str:
    lines = [f"JobId=12 JobName=x\n   UserId=ada({uid}) GroupId=ada(1) MCS_label=N/A", "   WorkDir=/w"]
    return "\n".join([*lines, *(f"   {name}={value}" for name, value in facts.items())]) + "\n"


def test_the_end_of_a_jobs_output_is_read_where_slurm_says_it_goes(fake: Fake, tmp_path: Path) -> None:
    log = tmp_path / "out.txt"
    log.write_text("first\nlast\n")
    fake.answers(scontrol={"out": shown(os.getuid(), StdErr=str(log), StdOut=str(log))})
    answer = fake.call("job_log", job_id="12", which="out", max_bytes=5)
    assert (answer["text"], answer["size_bytes"], answer["path"]) == ("last\n", 11, str(log))
    assert fake.seen()[0]["argv"][1:] == ["show", "job", "12"]


def test_a_job_of_another_is_not_looked_into(fake: Fake, tmp_path: Path) -> None:
    fake.answers(scontrol={"out": shown(os.getuid() + 1, StdOut="/etc/passwd")})
    with pytest.raises(as_user.Failure) as failure:
        fake.call("job_log", job_id="12", which="out", max_bytes=100)
    assert failure.value.kind == "not_found"


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/", "/nowhere/at/all", ""])
def test_what_is_no_file_is_said_and_never_read_for_ever(fake: Fake, path: str) -> None:
    fake.answers(scontrol={"out": shown(os.getuid(), StdOut=path)})
    with pytest.raises(as_user.Failure) as failure:
        fake.call("job_log", job_id="12", which="out", max_bytes=100)
    assert failure.value.kind == "not_found"


def test_a_forgotten_jobs_default_file_is_tried_and_said_to_be_a_guess(fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "slurm-12.out").write_text("kept")
    gone = {"status": 1, "err": "slurm_load_jobs error: Invalid job id specified\n"}
    fake.answers(scontrol=gone, sacct={"status": 1, "err": 'sacct: error: Invalid field requested: "StdOut"\n'})
    answer = fake.call("job_log", job_id="12", which="out", max_bytes=100, folder=str(tmp_path))
    assert answer["text"] == "kept" and "forgotten" in answer["note"]


def test_of_a_job_whose_number_may_have_come_again_only_the_accounts_are_asked(fake: Fake, tmp_path: Path) -> None:
    log = tmp_path / "o"
    log.write_text("x")
    fake.answers(sacct={"out": f"{log}\n"})
    request = {"job_id": "12", "which": "out", "max_bytes": 9, "gone": True, "since_s": 5, "until_s": 9}
    assert fake.call("job_log", **request)["text"] == "x"
    (call,) = fake.seen()
    assert "--starttime=uts5" in call["argv"] and "--endtime=uts9" in call["argv"]


def test_a_controller_that_is_away_is_told_apart_from_a_job_that_is_forgotten(fake: Fake) -> None:
    fake.answers(scontrol={"status": 1, "err": "Unable to contact slurm controller (connect failure)\n"})
    with pytest.raises(as_user.Failure) as failure:
        fake.call("job_log", job_id="12", which="out", max_bytes=100)
    assert failure.value.kind == "unavailable"


def test_a_script_comes_from_the_controller_else_from_the_accounts(fake: Fake) -> None:
    fake.answers(scontrol={"out": "#!/bin/sh\necho ü\n"})
    assert fake.call("job_script", job_id="12", kind="script")["text"] == "#!/bin/sh\necho ü\n"
    gone = {"status": 1, "err": "scontrol: error: job script retrieval failed: Invalid job id specified\n"}
    fake.answers(scontrol=gone, sacct={"out": "Batch Script for 12\n-----\n#!/bin/sh\nold\n"})
    assert fake.call("job_script", job_id="12", kind="script")["text"] == "#!/bin/sh\nold\n"


@pytest.mark.parametrize("kind", ["script", "environment"])
def test_what_slurm_keeps_no_copy_of_is_said(fake: Fake, kind: str) -> None:
    heading = "Batch Script" if kind == "script" else "Environment used"
    gone = {"status": 1, "err": "job script retrieval failed: Invalid job id specified\n"}
    fake.answers(scontrol=gone, sacct={"out": f"{heading} for 12\n-----\nNONE\n\n"})
    with pytest.raises(as_user.Failure) as failure:
        fake.call("job_script", job_id="12", kind=kind)
    assert (failure.value.kind, "keep" in failure.value.message) == ("not_found", True)


@pytest.mark.parametrize(
    "request_",
    [
        {"which": "both", "max_bytes": 1}, {"which": "out", "max_bytes": 10**9}, {"which": "out"},
        {"which": "out", "max_bytes": 1, "since_s": "now", "until_s": 1},
    ],
)  # fmt: skip
def test_a_wrong_question_for_a_log_runs_nothing(fake: Fake, request_: dict[str, Any]) -> None:
    with pytest.raises(as_user.Failure) as failure:
        fake.call("job_log", job_id="12", **request_)
    assert (failure.value.kind, fake.seen()) == ("bad_request", [])


@given(st.binary(max_size=2000))
@settings(max_examples=200)
def test_no_answer_of_scontrol_or_sacct_breaks_the_reading_of_it(raw: bytes) -> None:
    as_user.kept_text(raw)
    try:
        found = as_user.job_facts(raw, 1000)
    except as_user.Failure as failure:
        assert failure.kind == "not_found"
    else:
        assert set(found) <= {"StdOut", "StdErr"}


def test_requeue_names_the_job(fake: Fake) -> None:
    fake.call("requeue", job_id="12_3")
    assert fake.seen()[0]["argv"][1:] == ["requeue", "12_3"]


def test_of_a_job_of_this_machine_output_and_script_are_those_of_its_scheduler(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = as_user.Local({"scheduler": "local"}, fake.scheduler.me)
    (tmp_path / "log").write_text("hello\n")
    (tmp_path / "job.sh").write_text("#!/bin/sh\n")
    job = {"id": 3, "output": str(tmp_path / "log"), "argv": [str(tmp_path / "job.sh"), "x"]}
    monkeypatch.setattr(local, "_ask", lambda request, *_: {"jobs": [job]})
    assert as_user.job_log({"job_id": "3", "which": "out", "max_bytes": 99}, local)["text"] == "hello\n"
    assert as_user.job_script({"job_id": "3", "kind": "script"}, local)["text"] == "#!/bin/sh\n"
    for job_id in ("4", "3_1"):
        with pytest.raises(as_user.Failure):
            as_user.job_log({"job_id": job_id, "which": "out", "max_bytes": 99}, local)
    with pytest.raises(as_user.Failure, match="not put back"):
        as_user.requeue({"job_id": "3"}, local)
