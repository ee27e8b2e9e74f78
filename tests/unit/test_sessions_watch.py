"""From registration to ready: the gateway is asked, by its pinned certificate and with the secret, and answers."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.agent.registration import signed
from backend.agent.spec import AgentSpec
from backend.sessions.apps import base_path
from backend.sessions.certs import make_certificate
from backend.sessions.life import probe as probing
from backend.sessions.life.probe import Gateway, probe
from tests.unit.agent_kit import StartedAgent, console, echo_app, fingerprint, spec_for
from tests.unit.sessions_kit import Desk, gpu_node, job, site

APP = "code-server"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AgentSpec, int]]:
    """A real agent with a real gateway; its spec and port."""
    folder = tmp_path_factory.mktemp("agent")
    with console() as record:
        spec = spec_for(record.url, echo_app(folder))
        record.secret = spec.secret
        with StartedAgent(folder, spec):
            message = record.wait_for(lambda each: each["apps"][APP] == "ready")
            yield spec, message["port"]


def test_the_right_gateway_is_ready(agent: tuple[AgentSpec, int]) -> None:
    spec, port = agent
    gateway = Gateway("127.0.0.1", port, fingerprint(spec), spec.secret)
    assert probe(gateway, APP, base_path(spec.session_id, APP)) == "ready"
    assert spec.secret not in repr(gateway)


def test_a_wrong_secret_is_a_stranger(agent: tuple[AgentSpec, int]) -> None:
    spec, port = agent
    gateway = Gateway("127.0.0.1", port, fingerprint(spec), "x" * 43)
    assert probe(gateway, APP, base_path(spec.session_id, APP)) == "stranger"


def test_to_another_certificate_the_secret_is_never_shown(agent: tuple[AgentSpec, int]) -> None:
    spec, port = agent
    assert probe(Gateway("127.0.0.1", port, "0" * 64, spec.secret), APP, "/") == "stranger"


@pytest.mark.parametrize("words", [b"HTTP/1.1 100 Continue\r\n\r\n", b"X: y\r\n", b"x"])
def test_a_persons_own_gateway_that_never_ends_its_answer_holds_nobody_up(
    tmp_path: Path, words: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "TIMEOUT_S", 0.5)
    certificate, key, shown = make_certificate("sdrip000001")
    (tmp_path / "pem").write_text(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")

    def drip(listener: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True) as connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n" if words.startswith(b"X") else b"")
            for _ in range(100):
                connection.sendall(words)
                time.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        began = time.monotonic()
        answer = probe(Gateway("127.0.0.1", listener.getsockname()[1], shown, "x"), APP, "/")
        assert (answer, time.monotonic() - began < 2) == ("unreachable", True)


def test_nobody_there_is_unreachable() -> None:
    assert probe(Gateway("127.0.0.1", 1, "0" * 64, "x"), APP, "/") == "unreachable"


def eventually(holds: Callable[[], bool], within_s: float = 10) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A console whose watching thread runs."""
    running = Desk(tmp_path)
    running.sessions.start()
    yield running
    running.sessions.close()


def sent_spec(desk: Desk) -> AgentSpec:
    files = desk.launcher.of("submit")[-1]["files"]
    return AgentSpec.from_json(base64.b64decode(files["session.json"]).decode())


def message(spec: AgentSpec, port: int, state: str = "ready") -> dict[str, Any]:
    told = {"session": spec.session_id, "port": port, "node": "x", "time_s": int(time.time()),
            "apps": {app.name: state for app in spec.apps}}  # fmt: skip
    return signed(spec.secret, told)


async def test_a_session_is_ready_at_once_after_registration(desk: Desk, tmp_path: Path) -> None:
    session_id = await desk.launch(gpus=1)
    nodes = [gpu_node("a1", address="127.0.0.1")]
    desk.publish(**site(nodes=nodes, jobs=[job(session_id, 7)]))
    assert eventually(lambda: desk.row(session_id).state == "starting")
    folder = tmp_path / "job"
    folder.mkdir()
    spec = sent_spec(desk)
    app = echo_app(folder)
    with console() as record:
        record.secret = spec.secret
        running = AgentSpec(**{
            **vars(spec), "console_url": record.url,
            "apps": (type(app)("code-server", base_path(session_id, "code-server"), app.options),),
        })  # fmt: skip
        with StartedAgent(folder, running):
            told = record.wait_for(lambda each: "ready" in each["apps"].values())
            desk.rows.change(session_id, lambda row: {"apps": {"code-server": "starting"}})
            began = time.monotonic()
            assert desk.sessions.registered(told).status == 204
            assert eventually(lambda: desk.row(session_id).state == "ready")
            assert time.monotonic() - began < 5  # a look at all jobs comes every ten
            assert desk.row(session_id).ready_s is not None


async def test_an_agents_word_alone_makes_nothing_ready(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    desk.publish(**site(nodes=[gpu_node("a1", address="127.0.0.1")], jobs=[job(session_id, 7)]))
    assert eventually(lambda: desk.row(session_id).state == "starting")
    desk.sessions.registered(message(sent_spec(desk), 1024))
    time.sleep(1)
    assert desk.row(session_id).state == "starting"


async def test_a_new_look_is_taken_in_by_itself(desk: Desk) -> None:
    session_id = await desk.launch(gpus=1)
    desk.publish(**site(jobs=[job(session_id, 7)]))
    assert eventually(lambda: desk.row(session_id).state == "starting", 3)
    desk.publish(**site(jobs=[job(session_id, 7, "TIMEOUT")]))
    assert eventually(lambda: desk.row(session_id).state == "ended", 3)
