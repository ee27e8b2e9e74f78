"""The agent as a job runs it: its own process, real sockets, real ends."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from backend.agent import supervisor
from backend.agent.spec import AgentSpec, AppSpec
from backend.sessions.apps import base_path
from backend.sessions.job import agent_zipapp
from tests.harness.ports import free_port
from tests.unit.agent_kit import (
    JUPYTER,
    PYTHON,
    SESSION,
    Console,
    StartedAgent,
    ask,
    console,
    echo_app,
    fingerprint,
    spec_for,
)

ECHO = "code-server"
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another Unix user")


def ready(message: dict[str, Any]) -> bool:
    return set(message["apps"].values()) == {"ready"}


def failed(message: dict[str, Any]) -> bool:
    return "failed" in message["apps"].values()


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def session(tmp_path: Path, door: Console, *apps: AppSpec, **changes: Any) -> AgentSpec:
    spec = spec_for(door.url, *(apps or (echo_app(tmp_path),)), **changes)
    door.secret = spec.secret
    return spec


def test_it_registers_its_port_then_each_change_and_passes_requests_on(tmp_path: Path) -> None:
    with console() as door:
        spec = session(tmp_path, door)
        with StartedAgent(tmp_path, spec, SLURMD_NODENAME="gpu7"):
            first = door.wait_for(lambda message: True)
            message = door.wait_for(ready)
            assert first["session"] == SESSION
            assert first["node"] == "gpu7"
            assert message["port"] == first["port"] >= 1024
            answer = ask(message["port"], spec, base_path(SESSION, ECHO) + "x", ECHO)
            assert b"GET /x HTTP/1.1" in answer
            assert spec.secret.encode() not in answer


def test_sigterm_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    with console() as door, StartedAgent(tmp_path, session(tmp_path, door)) as agent:
        door.wait_for(ready)
        pids = agent.descendants()
        assert pids
        assert agent.terminate() == 0
        assert not alive(pids)
        assert not list(agent.tmp.iterdir())


def test_an_agent_that_is_killed_leaves_no_app(tmp_path: Path) -> None:
    with console() as door, StartedAgent(tmp_path, session(tmp_path, door)) as agent:
        door.wait_for(ready)
        apps = agent.descendants()
        assert apps
        agent.process.kill()
        until = time.monotonic() + 10
        while alive(apps):
            assert time.monotonic() < until, alive(apps)
            time.sleep(0.05)


def test_an_app_that_crashes_leaves_no_core_in_the_persons_home(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    if before[1] == 0:
        pytest.skip("nothing can leave a core here")
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        with console() as door, StartedAgent(tmp_path, session(tmp_path, door)) as agent:
            door.wait_for(ready)
            pids = agent.descendants()
            assert pids
            for pid in pids:
                assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def test_what_apps_leave_running_is_ended_too(tmp_path: Path) -> None:
    command = tmp_path / "daemon"
    command.write_text(
        f"#!{sys.executable}\nimport subprocess, sys\n"
        "subprocess.Popen(['sleep', '3217'], start_new_session=True)\n"
        "deaf = 'import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); '\n"
        "command = [sys.executable, '-c', deaf + 'time.sleep(3217)']\n"
        "subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE).stdout.read(1)\n"
        f"import os; os.execv({str(tmp_path / 'echo-app')!r}, sys.argv)\n"
    )
    command.chmod(0o700)
    with console() as door:
        echo_app(tmp_path)
        app = AppSpec(ECHO, base_path(SESSION, ECHO), {"command": str(command)})
        with StartedAgent(tmp_path, session(tmp_path, door, app)) as agent:
            door.wait_for(ready)
            pids = agent.descendants()
            assert len(pids) == 3
            assert agent.terminate() == 0
            assert not alive(pids)


def test_the_secret_is_in_no_environment_and_no_argument(tmp_path: Path) -> None:
    with console() as door:
        spec = session(tmp_path, door)
        with StartedAgent(tmp_path, spec) as agent:
            door.wait_for(ready)
            for pid in [agent.process.pid, *agent.descendants()]:
                for name in ("environ", "cmdline"):
                    assert spec.secret.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
            app_env = Path(f"/proc/{agent.descendants()[0]}/environ").read_bytes()
            assert b"CUDA_VISIBLE_DEVICES=0,1\0" in app_env
            assert not list(agent.tmp.glob("carme-*/*.pem"))
        assert spec.secret not in agent.log.read_text()


def test_the_console_says_over_and_the_job_ends(tmp_path: Path) -> None:
    with console() as door:
        spec = session(tmp_path, door)
        door.answer = 410
        with StartedAgent(tmp_path, spec) as agent:
            assert agent.process.wait(15) == 0
            assert any("over" in line for line in agent.lines())


def test_an_unsigned_over_ends_nothing(tmp_path: Path) -> None:
    with console() as door:
        door.answer = 4100
        with StartedAgent(tmp_path, session(tmp_path, door)) as agent:
            door.wait_for(lambda message: True)
            time.sleep(1)
            assert agent.process.poll() is None


def test_a_console_that_is_down_harms_no_job_and_learns_the_port_when_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    spec = spec_for(f"http://127.0.0.1:{port}", echo_app(tmp_path))
    with StartedAgent(tmp_path, spec) as agent:
        time.sleep(1.5)
        assert agent.process.poll() is None
        with console(port) as door:
            message = door.wait_for(ready)
            assert b"200 OK" in ask(message["port"], spec, base_path(SESSION, ECHO), ECHO)
        assert sum("can't be reached" in line for line in agent.lines()) == 1


def test_an_app_that_dies_is_said_with_its_last_lines_and_not_started_again(tmp_path: Path) -> None:
    command = tmp_path / "dies"
    command.write_text("#!/bin/sh\necho started >>\"$HOME/starts\"\necho 'no licence for you'\nexit 3\n")
    command.chmod(0o700)
    dying = AppSpec("tensorboard", base_path(SESSION, "tensorboard"), {"command": str(command)})
    with console() as door:
        spec = session(tmp_path, door, dying, echo_app(tmp_path))
        with StartedAgent(tmp_path, spec, HOME=str(tmp_path)) as agent:
            message = door.wait_for(lambda m: m["apps"] == {"tensorboard": "failed", ECHO: "ready"})
            assert ask(message["port"], spec, "/", "tensorboard").startswith(b"HTTP/1.1 502 ")
            assert agent.process.poll() is None
            assert "carme:   no licence for you" in agent.lines()
            assert (tmp_path / "starts").read_text() == "started\n"


def test_an_app_that_dies_while_its_children_live_on_is_noticed(tmp_path: Path) -> None:
    command = tmp_path / "dies"
    command.write_text("#!/bin/sh\nsleep 3217 &\nexit 3\n")
    command.chmod(0o700)
    app = AppSpec(ECHO, base_path(SESSION, ECHO), {"command": str(command)})
    with console() as door, StartedAgent(tmp_path, session(tmp_path, door, app)) as agent:
        assert agent.process.wait(10) == 1
        assert not agent.descendants()


@pytest.mark.parametrize("command", ["/nonexistent/app", "/bin/false"])
def test_when_no_app_is_left_the_job_fails(tmp_path: Path, command: str) -> None:
    app = AppSpec(ECHO, base_path(SESSION, ECHO), {"command": command})
    with console() as door, StartedAgent(tmp_path, session(tmp_path, door, app)) as agent:
        assert agent.process.wait(15) == 1
        # Not the newest of them: the first one, slow on its way, may come in after it.
        assert any(failed(message) for message in door.messages)
        assert not list(agent.tmp.iterdir())


def test_a_console_that_never_answers_holds_no_end_up(tmp_path: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        spec = spec_for(f"http://127.0.0.1:{deaf.getsockname()[1]}", echo_app(tmp_path))
        with StartedAgent(tmp_path, spec) as agent:
            time.sleep(1)
            assert agent.terminate(timeout_s=3) == 0


def test_an_idle_session_ends_by_itself(tmp_path: Path) -> None:
    with console() as door:
        spec = session(tmp_path, door, idle_timeout_s=2)  # the echo app's last heartbeat was in 1970
        with StartedAgent(tmp_path, spec) as agent:
            assert agent.process.wait(15) == 0
            assert any("idle" in line for line in agent.lines())


def test_its_time_ends_it_unless_the_console_moved_the_end(tmp_path: Path) -> None:
    with console() as door:
        first_s = int(time.time()) + 6
        spec = session(tmp_path, door, end_s=first_s)
        with StartedAgent(tmp_path, spec) as agent:
            door.wait_for(lambda message: True)
            later = replace(spec, end_s=first_s + 4)
            agent.spec_file.write_text(later.to_json())
            time.sleep(max(0.0, first_s + 1.5 - time.time()))
            assert agent.process.poll() is None
            assert agent.process.wait(15) == 0
            assert any("time is over" in line for line in agent.lines())


@pytest.mark.parametrize("mode", [0o644, 0o640])
def test_a_session_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    with console() as door, StartedAgent(tmp_path, session(tmp_path, door)) as agent:
        door.wait_for(ready)
        agent.spec_file.chmod(mode)
        agent.terminate()
        again = subprocess.run(
            [sys.executable, "-I", str(tmp_path / "agent.pyz"), "run", str(agent.spec_file)],
            capture_output=True,
            check=False,
            timeout=20,
        )
        assert again.returncode == 2
        assert b"0600" in again.stdout


def test_a_title_and_folder_of_shell_characters_run_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "a $(touch owned) `touch owned`;touch owned\n'\""
    folder.mkdir()
    with console() as door:
        spec = session(tmp_path, door, title="$(touch owned)\n#SBATCH --x", work_dir=str(folder))
        with StartedAgent(tmp_path, spec) as agent:
            door.wait_for(ready)
            assert Path(f"/proc/{agent.descendants()[0]}/cwd").readlink() == folder
        assert not list(tmp_path.rglob("owned"))


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with console() as door:
        spec = session(tmp_path, door, work_dir="/nonexistent/folder")
        with StartedAgent(tmp_path, spec) as agent:
            assert agent.process.wait(15) == 2
            assert any("/nonexistent/folder" in line for line in agent.lines())


def test_on_further_nodes_it_stands_by(tmp_path: Path) -> None:
    (tmp_path / "agent.pyz").write_bytes(agent_zipapp())
    waiting = subprocess.Popen([PYTHON, "-I", str(tmp_path / "agent.pyz"), "stand-by"])
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(3)
    waiting.terminate()
    assert waiting.wait(5) == 0


@as_root
def test_another_unix_user_can_neither_open_the_socket_nor_pass_the_port(tmp_path: Path) -> None:
    program = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "try: s.connect(sys.argv[1]); print('open')\n"
        "except PermissionError: print('refused')\n"
        "import ssl\n"
        "c = ssl._create_unverified_context()\n"
        "t = c.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[2]))))\n"
        "t.sendall(b'GET / HTTP/1.1\\r\\nX-Carme-Secret: x\\r\\nX-Carme-App: code-server\\r\\n\\r\\n')\n"
        "print(t.recv(100).split()[1].decode())\n"
    )
    with console() as door, StartedAgent(tmp_path, session(tmp_path, door)) as agent:
        message = door.wait_for(ready)
        path = agent.socket_of(ECHO)
        agent.tmp.chmod(0o755)  # what /tmp is like: only the agent's own folder protects
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.parent.stat().st_mode & 0o777 == 0o700
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", program, str(path), str(message["port"])],
            user=65534,
            group=65534,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
            cwd="/",
        )
        assert done.stdout.split() == ["refused", "403"], done.stderr


async def test_it_registers_again_though_nothing_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "REGISTER_EVERY_S", 0.2)
    with console() as door:
        spec = session(tmp_path, door)
        file = tmp_path / "session.json"
        file.write_text(spec.to_json())
        file.chmod(0o600)
        run = supervisor.Session(file, {**os.environ, "SLURM_TMPDIR": ""})
        task = asyncio.ensure_future(run.run())
        while len([message for message in list(door.messages) if ready(message)]) < 4:
            await asyncio.sleep(0.05)
        run.end("enough")
        assert await asyncio.wait_for(task, 10) == 0


needs_jupyter = pytest.mark.skipif(not JUPYTER.exists(), reason="the embedded JupyterLab isn't installed")


@needs_jupyter
async def test_jupyterlab_runs_a_cell_and_sees_its_gpus(tmp_path: Path) -> None:
    with console() as door:
        app = AppSpec("jupyterlab", base_path(SESSION, "jupyterlab"), {"command": str(JUPYTER)})
        spec = session(tmp_path, door, app, work_dir=str(tmp_path))
        with StartedAgent(tmp_path, spec, HOME=str(tmp_path)) as agent:
            message = await asyncio.to_thread(door.wait_for, ready, 40)
            base = f"https://127.0.0.1:{message['port']}{base_path(SESSION, 'jupyterlab')}"
            own = {"Host": "x.localhost:5007", "Origin": "http://x.localhost:5007"}
            proof = {"X-Carme-Secret": spec.secret, "X-Carme-App": "jupyterlab"}
            pin = aiohttp.Fingerprint(bytes.fromhex(fingerprint(spec)))
            async with aiohttp.ClientSession(headers={**own, **proof}) as client:
                async with client.get(base + "lab", ssl=pin) as page:
                    assert page.status == 200
                    xsrf = page.cookies["_xsrf"].value
                forged = {**proof, "Host": own["Host"], "Origin": "https://evil.example.org"}
                async with (
                    aiohttp.ClientSession(headers=forged) as evil,
                    evil.post(base + "api/kernels", ssl=pin, json={}) as answer,
                ):
                    assert answer.status in (403, 404)
                headers = {"X-XSRFToken": xsrf, "Cookie": f"_xsrf={xsrf}"}
                async with client.post(base + "api/kernels", ssl=pin, json={}, headers=headers) as answer:
                    assert answer.status == 201
                    kernel = (await answer.json())["id"]
                printed = await _execute(
                    client,
                    f"{base}api/kernels/{kernel}/channels",
                    pin,
                    "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ.get('CARME_SECRET'))",
                )
                assert printed == "0,1 None\n"
                bad = {**proof, "Origin": "https://evil.example.org", "Host": own["Host"]}
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    async with aiohttp.ClientSession(headers=bad) as evil:
                        await evil.ws_connect(f"{base}api/kernels/{kernel}/channels", ssl=pin)
            pids = agent.descendants()
            assert len(pids) >= 2
            assert agent.terminate() == 0
            assert not alive(pids)


async def _execute(client: aiohttp.ClientSession, url: str, pin: aiohttp.Fingerprint, code: str) -> str:
    """What a cell prints, by the kernel's websocket."""
    header = {
        "msg_id": "m1",
        "msg_type": "execute_request",
        "username": "",
        "session": "t",
        "version": "5.3",
        "date": "",
    }
    content = {
        "code": code,
        "silent": False,
        "store_history": False,
        "user_expressions": {},
        "allow_stdin": False,
    }
    request = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    async with client.ws_connect(url, ssl=pin) as kernel:
        await kernel.send_str(json.dumps({**request, "buffers": []}))
        while True:
            message = json.loads((await asyncio.wait_for(kernel.receive(), 30)).data)
            if message["msg_type"] == "stream":
                return str(message["content"]["text"])
