"""The command line on a data folder of its own: what it prints, how it ends, what it leaves in the audit."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.cli import build_parser, main
from app.cli.common import duration_s, gpus, plain, remember_overrides, settings_of
from backend.checks import CHECKS
from backend.cluster import SnapshotWriter
from backend.services import open_services
from backend.store.models import Audit
from config import load_settings
from tests.unit.sessions_kit import UID, Desk, job, site, table

PASSWORD = "correct horse battery staple"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("CARME_", "SUDO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CARME_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_text(PASSWORD + "\n")
    return path


def carme(*arguments: str) -> int:
    return main(list(arguments))


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def audited(data: Path) -> list[tuple[str, str, str, str]]:
    services = open_services(load_settings(None, {"CARME_DATA": str(data)}))
    with services.db.read() as rows:
        return [(row.actor, row.action, row.target, row.outcome) for row in rows.scalars(select(Audit))]


def publish(data: Path) -> None:
    jobs = [
        job("x", 11, name="mine\n\x1b[2Jfake"),
        job("x", 12, state="PENDING", user="eve", uid=UID + 5, reason="Resources"),
    ]
    writer = SnapshotWriter(data / "snapshot", "tiny", {})
    for name, rows in ({"jobs": jobs} | site()).items():
        writer.publish(name, table(name, rows), taken_s=time.time(), duration_s=0.01)


# Its form


def test_every_command_has_help() -> None:
    def commands(parser: argparse.ArgumentParser, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                found = []
                for name, below in action.choices.items():
                    found += commands(below, (*path, name))
                return found
        return [path]

    found = commands(build_parser(), ())
    assert {" ".join(path) for path in found} == {
        "serve", "doctor", "session launch", "session list", "session stop", "jobs list", "jobs show",
        "jobs cancel", "jobs history", "user add", "user lock", "user unlock", "user reset-2fa", "user code",
        "user list", "sync", "usage", "import-sacct", "report list", "report run", "agent sample", "agent node",
        "agent node-key", "agent pack",
    }  # fmt: skip
    for path in found:
        assert main([*path, "--help"]) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["dance"],
        ["user"],
        ["user", "add"],
        ["session", "launch"],
        ["session", "launch", "--as", "ada", "--time", "soon"],
        ["session", "launch", "--as", "ada", "--gpus", "a100:many"],
        ["jobs", "show", "x"],
        ["jobs", "list", "--state", "happy"],
        ["serve", "--only", "barber"],
    ],
)
def test_wrong_use_is_status_2(wrong: list[str]) -> None:
    assert main(wrong) == 2


def test_it_is_a_command(data: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "user", "list", "--json"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("1h30m", 5400), ("2d", 172800), ("90", 5400), ("02:30:00", 9000), ("5:30", 330),
     ("1-02:03:04", 93784), ("1-2", 93600), ("45s", 45)],
)  # fmt: skip
def test_durations_are_read_as_people_and_slurm_write_them(text: str, seconds: int) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0m", "-5", "1x", "1h-2", "1:2:3:4", "٣m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        duration_s(text)


def test_gpus_are_a_count_or_a_type_and_a_count() -> None:
    assert gpus("2") == ("", 2)
    assert gpus("a100:1") == ("a100", 1)
    with pytest.raises(argparse.ArgumentTypeError):
        gpus("a100;rm:1")


def test_text_of_others_cannot_move_the_cursor() -> None:
    assert plain("a\n\x1b[2J\u202eb") == "a??[2J?b"


def test_a_settings_file_that_is_wrong_is_told_with_its_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "carme.toml"
    wrong.write_text("[web]\nport = 70000\n")
    assert carme("user", "list", "--config", str(wrong)) == 1
    assert "web.port" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_only_the_data_folders_owner_and_root_may(data: Path, tmp_path: Path) -> None:
    data.mkdir(mode=0o700)
    code = "import os, sys; os.setuid(65534); from app.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, "user", "list"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "can't be looked at" in done.stderr or "belongs to root" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_root_leaves_no_file_of_roots_in_anothers_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as reachable:
        folder = Path(reachable) / "data"
        Path(reachable).chmod(0o755)
        folder.mkdir(mode=0o700)
        os.chown(folder, 65534, 65534)
        monkeypatch.setenv("CARME_DATA", str(folder))
        assert carme("user", "list") == 0
        assert {path.stat().st_uid for path in folder.iterdir()} == {65534}
    assert os.geteuid() == 0


# People


def test_a_person_is_added_listed_locked_and_let_in_again(
    data: Path, password_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert carme("user", "add", "ada", "--password-file", str(password_file), "--role", "admin") == 0
    capsys.readouterr()
    assert carme("user", "list", "--json") == 0
    (ada,) = printed(capsys)
    assert (ada["name"], ada["roles"], ada["locked"], ada["has_factor"]) == ("ada", ["admin"], False, False)
    assert carme("user", "lock", "ada") == 0
    assert carme("user", "unlock", "ada") == 0
    assert carme("user", "reset-2fa", "ada") == 0
    capsys.readouterr()
    assert carme("user", "code", "ada") == 0
    assert len(capsys.readouterr().out.strip()) >= 12
    actions = [(action, target) for actor, action, target, _ in audited(data) if actor.startswith("cli:")]
    assert actions[:4] == [
        ("person.add", "ada"),
        ("person.lock", "ada"),
        ("person.unlock", "ada"),
        ("person.reset-factor", "ada"),
    ]


def test_nothing_it_prints_of_people_is_a_secret(
    data: Path, password_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    carme("user", "add", "ada", "--password-file", str(password_file))
    services = open_services(load_settings(None, {"CARME_DATA": str(data)}))
    secret = services.identity.enrol_directly("ada")
    carme("user", "list", "--json")
    carme("user", "list")
    shown = capsys.readouterr().out
    assert secret not in shown
    assert "argon2" not in shown


def test_a_password_file_that_others_can_read_is_refused(
    password_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    password_file.chmod(0o644)
    assert carme("user", "add", "ada", "--password-file", str(password_file)) == 1
    assert "chmod 600" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["lock", "unlock", "reset-2fa"])
def test_nobody_of_that_name_is_status_1(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert carme("user", command, "nobody-here") == 1
    assert "nobody-here" in capsys.readouterr().err


# The queue


def test_the_queue_is_shown_as_facts_and_as_a_safe_table(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(data)
    assert carme("jobs", "list", "--json") == 0
    facts = printed(capsys)
    assert sorted(row["job_id"] for row in facts["jobs"]) == [11, 12]
    assert facts["total"] == 2
    assert carme("jobs", "list", "--state", "pending", "--json") == 0
    assert [row["job_id"] for row in printed(capsys)["jobs"]] == [12]
    assert carme("jobs", "list") == 0
    table_ = capsys.readouterr().out
    assert "\x1b" not in table_
    assert len(table_.splitlines()) == 3
    assert carme("jobs", "show", "12", "--json") == 0
    assert printed(capsys)["words"]
    assert carme("jobs", "show", "99") == 1


def test_without_a_collector_the_queue_is_no_empty_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert carme("jobs", "list") == 1
    assert "never read" in capsys.readouterr().err


def test_a_cancel_that_failed_is_told_and_audited(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(data)
    assert carme("jobs", "cancel", "11") == 1
    assert "launcher is not running" in capsys.readouterr().err
    assert [line[1:] for line in audited(data)] == [("job.cancel", "11", "failed")]


# Sessions


def test_a_session_of_nobody_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert carme("session", "launch", "--as", "ada", "--app", "jupyterlab") == 1
    assert "carme user add ada" in capsys.readouterr().err


def test_a_launch_that_is_refused_says_why_and_is_audited(
    data: Path, password_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(data)
    carme("user", "add", "ada", "--password-file", str(password_file))
    assert carme("session", "launch", "--as", "ada", "--app", "nethack") == 1
    assert "no such app" in capsys.readouterr().err
    assert ("session.launch", "ada", "refused") in [line[1:] for line in audited(data)]


def test_a_session_is_listed_and_stopped(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = asyncio.run(Desk(data).launch(app="jupyterlab"))
    assert carme("session", "list", "--json") == 0
    assert [(row["id"], row["owner"]) for row in printed(capsys)] == [(session, "ada")]
    assert carme("session", "list", "--user", "bob", "--json") == 0
    assert printed(capsys) == []
    assert carme("session", "stop", session, "--json") == 0
    assert printed(capsys)["state"] == "stopping"
    assert carme("session", "stop", "snone0000001") == 1


# The doctor


def test_the_doctor_looks_at_everything_and_says_what_to_do(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = carme("doctor", "--json")
    findings = {each["check"]: each for each in printed(capsys)}
    assert list(findings) == [name for name, _ in CHECKS]
    assert {each["state"] for each in findings.values()} <= {"ok", "warn", "fail"}
    assert all(each["do"] for each in findings.values() if each["state"] != "ok")
    assert findings["database"]["state"] == "ok"
    assert findings["launcher"]["state"] == "warn"
    assert status == int(any(each["state"] == "fail" for each in findings.values()))


def test_the_doctor_fails_on_an_open_data_folder(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data.mkdir(mode=0o755)
    data.chmod(0o755)
    assert carme("doctor") == 1
    assert f"chmod 700 {data}" in capsys.readouterr().out


def test_the_doctor_fails_on_a_key_that_is_not_this_databases(
    data: Path, password_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    carme("user", "add", "ada", "--password-file", str(password_file))
    (data / "secret.key").write_text("not a key\n")
    capsys.readouterr()
    assert carme("doctor") == 1
    assert "its key can't be used" in capsys.readouterr().out


def test_the_doctor_says_when_addresses_are_not_safe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_site = tmp_path / "carme.toml"
    open_site.write_text(
        '[web]\npublic_url = "http://console.example.org"\n[apps]\nurl = "http://console.example.org"\n'
    )
    assert carme("doctor", "--json", "--config", str(open_site)) == 1
    findings = {each["check"]: each for each in printed(capsys)}
    assert "not HTTPS" in findings["console"]["found"]
    assert "the console's" in findings["apps' address"]["found"]


def test_a_command_beside_a_console_with_another_port_knows_that_port(data: Path) -> None:
    data.mkdir(mode=0o700)
    remember_overrides(data, {"web.port": 7001})
    assert settings_of(argparse.Namespace(config=None)).web.public_url == "http://localhost:7001"
    remember_overrides(data, {})
    assert settings_of(argparse.Namespace(config=None)).web.port == 5006
