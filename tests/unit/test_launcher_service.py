"""The launcher process: who may speak to it, what it passes on, how it fails.

`launcher` runs the service in this event loop with the strategy `self` and local jobs; `supervisor` is a
socket that answers as the supervisor of local jobs does, and keeps what it was asked.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import pwd
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.launcher import Launcher, LauncherError, LauncherStartError, supervisor_socket
from backend.launcher.service import listen, serve
from backend.launcher.strategies import NotAllowed, Sudo
from config import Settings, load_settings

ME = pwd.getpwuid(os.getuid()).pw_name
SESSION = "sabcdefgh2345672"
SECRET = "the-secret-of-a-session-file-000000"


@pytest.fixture
def settings() -> Iterator[Settings]:
    with tempfile.TemporaryDirectory(prefix="carme-launcher-", dir="/tmp") as folder:  # short: a Unix socket's path
        yield load_settings(None, {}, {"instance.data_dir": Path(folder)})


class Supervisor:
    """Answers every request with the next job number."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.delay_s = 0.0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(json.loads(await reader.readline()))
        await asyncio.sleep(self.delay_s)
        writer.write(json.dumps({"ok": True, "job_id": len(self.asked)}).encode() + b"\n")
        await writer.drain()
        writer.close()


@pytest.fixture
async def supervisor(settings: Settings) -> AsyncIterator[Supervisor]:
    path = supervisor_socket(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    answering = Supervisor()
    server = await asyncio.start_unix_server(answering.connected, str(path))
    yield answering
    server.close()


@pytest.fixture
async def launcher(settings: Settings) -> AsyncIterator[Launcher]:
    stop = asyncio.Event()
    running = asyncio.ensure_future(serve(settings, stop))
    while not settings.launcher.socket.exists():
        await asyncio.sleep(0.01)
        if running.done():
            running.result()
    yield Launcher(settings)
    stop.set()
    await running


def submission() -> dict[str, Any]:
    files = {"session.json": SECRET, "agent.pyz": "PK", "job.sh": "#!/bin/sh\n"}
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in files.items()}
    return {"session": SESSION, "files": encoded, "options": {"cpus": 1}, "not_after_s": time.time() + 20}


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The real home folder gets a session folder of a fixed name: taken away afterwards."""
    folder = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".local/share/carme/sessions" / SESSION
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


async def test_the_owner_submits_through_it(launcher: Launcher, supervisor: Supervisor, home: Path) -> None:
    assert await launcher.call(ME, "submit", **submission()) == {"ok": True, "job_id": 1}
    (asked,) = supervisor.asked
    assert asked["argv"] == [f"{home}/job.sh", str(home)]
    assert asked["name"] == f"carme-{SESSION}"
    assert (home / "session.json").read_text() == SECRET


async def test_the_blocking_client_asks_the_same(launcher: Launcher, supervisor: Supervisor) -> None:
    answer = await asyncio.to_thread(launcher.call_blocking, ME, "cancel", job_id=4)
    assert answer["ok"] is True
    assert supervisor.asked == [{"action": "cancel", "job_id": 4}]


@pytest.mark.parametrize("user", ["nobody", "root2", "daemon"])
async def test_nobody_but_the_owner_is_acted_for(launcher: Launcher, supervisor: Supervisor, user: str) -> None:
    with pytest.raises(LauncherError) as error:
        await launcher.call(user, "cancel", job_id=1)
    assert error.value.kind == "not_allowed"
    assert ME in error.value.message
    assert supervisor.asked == []


@pytest.mark.parametrize("user", ["", "#0", "-u root", "a b", "root\n", "%wheel", "x" * 200, None, 0])
async def test_a_user_is_a_name(launcher: Launcher, user: Any) -> None:
    with pytest.raises(LauncherError) as error:
        await launcher.call(user, "cancel", job_id=1)
    assert error.value.kind == "bad_request"


@pytest.mark.parametrize("action", ["shell", "", "__class__", None, ["submit"]])
async def test_only_listed_actions_are_done(launcher: Launcher, action: Any) -> None:
    with pytest.raises(LauncherError) as error:
        await launcher.call(ME, action)
    assert error.value.kind == "bad_request"


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"{\n", b"\xff\xfe\n", b"9" * 1000 + b"\n"])
async def test_nonsense_is_refused_and_the_service_lives_on(
    launcher: Launcher, settings: Settings, supervisor: Supervisor, line: bytes
) -> None:
    reader, writer = await asyncio.open_unix_connection(str(settings.launcher.socket))
    writer.write(line)
    assert json.loads(await reader.readline())["error"]["kind"] == "bad_request"
    writer.close()
    assert (await launcher.call(ME, "cancel", job_id=1))["ok"] is True


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
async def test_another_account_is_refused_whatever_it_says(
    launcher: Launcher, settings: Settings, supervisor: Supervisor
) -> None:
    path = settings.launcher.socket
    for each in (path, path.parent, settings.instance.data_dir):
        each.chmod(0o777)  # even where the folder would let it through
    code = (
        "import contextlib,socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "with contextlib.suppress(BrokenPipeError):  # it may be refused before it has asked\n"
        "    s.sendall(sys.argv[2].encode()+b'\\n')\n"
        "print(s.makefile().readline())"
    )
    request = json.dumps({"user": ME, "action": "cancel", "job_id": 1, "uid": 0})
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/python3", "-I", "-c", code, str(path), request, stdout=asyncio.subprocess.PIPE, user=65534
    )
    output, _ = await process.communicate()
    assert json.loads(output)["error"]["kind"] == "not_allowed"
    assert supervisor.asked == []


async def test_the_socket_is_the_accounts_own(launcher: Launcher, settings: Settings) -> None:
    assert settings.launcher.socket.stat().st_mode & 0o777 == 0o600


async def test_no_secret_reaches_a_log_or_a_command_line(
    launcher: Launcher, supervisor: Supervisor, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    supervisor.delay_s = 0.5
    asked = asyncio.ensure_future(launcher.call(ME, "submit", **submission()))
    while not supervisor.asked:
        await asyncio.sleep(0.02)
    encoded = base64.b64encode(SECRET.encode()).decode()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        assert SECRET not in line
        assert encoded not in line
    await asked
    assert SECRET not in caplog.text
    assert encoded not in caplog.text
    assert "submit for" in caplog.text


async def test_one_person_cannot_fill_the_launcher(launcher: Launcher, supervisor: Supervisor) -> None:
    supervisor.delay_s = 1.0
    calls = [asyncio.ensure_future(launcher.call(ME, "cancel", job_id=n)) for n in range(1, 13)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    kinds = [answer.kind for answer in answers if isinstance(answer, LauncherError)]
    assert kinds == ["busy"] * 8


async def test_a_launcher_that_is_not_there_is_told_as_such(settings: Settings) -> None:
    with pytest.raises(LauncherError) as error:
        await Launcher(settings).call(ME, "cancel", job_id=1)
    assert error.value.kind == "down"


async def test_a_second_launcher_does_not_take_the_socket_away(launcher: Launcher, settings: Settings) -> None:
    with pytest.raises(LauncherStartError, match="running already"):
        await asyncio.to_thread(listen, settings)


def test_the_socket_of_a_killed_launcher_is_replaced(settings: Settings) -> None:
    first, _ = listen(settings)
    first.close()
    second, uid = listen(settings)
    second.close()
    assert uid == os.getuid()


def test_a_path_too_long_for_a_socket_is_refused_at_start(tmp_path: Path) -> None:
    long = load_settings(None, {}, {"instance.data_dir": tmp_path, "launcher.socket": tmp_path / ("x" * 120)})
    with pytest.raises(LauncherStartError, match="too long"):
        listen(long)


def test_sudo_is_asked_for_one_command_as_one_person(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = pwd.struct_passwd(("ada", "x", 2001, 2001, "", "/home/ada", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: entry)
    assert Sudo(settings).command("ada") == [
        "sudo",
        "-n",
        "-u",
        "ada",
        "--",
        "/usr/local/libexec/carme-as-user",
    ]


@pytest.mark.parametrize("user", ["root", "daemon", "nobody-of-that-name", "#2001"])
def test_sudo_is_never_asked_for_root_or_system_accounts(settings: Settings, user: str) -> None:
    with pytest.raises(NotAllowed):
        Sudo(settings).command(user)


def test_a_name_that_nss_folds_into_another_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = pwd.struct_passwd(("ada", "x", 2001, 2001, "", "/home/ada", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: entry)
    with pytest.raises(NotAllowed):
        Sudo(settings).command("ADA")


async def test_an_array_tasks_number_is_not_taken_for_another_job(launcher: Launcher, supervisor: Supervisor) -> None:
    with pytest.raises(LauncherError) as error:
        await launcher.call(ME, "cancel", job_id="12_3")
    assert error.value.kind == "bad_request"
    assert supervisor.asked == []


def test_launcher_and_supervisor_mean_the_same_socket(settings: Settings) -> None:
    from backend.cluster.local.supervisor import socket_path

    assert supervisor_socket(settings) == socket_path(settings)
