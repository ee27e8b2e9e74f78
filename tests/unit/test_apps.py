"""How each app is started, and when it counts as used."""

from __future__ import annotations

import json
import time

import pytest

from backend.agent.apps import AppUnknown, last_activity_s, plan
from backend.agent.spec import AppSpec
from backend.sessions.apps import APPS, UnknownApp, app_spec, base_path, open_path

HERE = {
    "socket_path": "/run/carme/a",
    "runtime_dir": "/run/carme/a.d",
    "work_dir": "/home/anna",
    "as_root": False,
}
SID = "s0123456789abcdef012345678"


def test_every_app_of_the_catalogue_has_a_plan() -> None:
    for name in APPS:
        planned = plan(app_spec(SID, name), **HERE)  # type: ignore[arg-type]
        assert any("/run/carme/a" in word for word in planned.argv)
        assert planned.ready_path.startswith("/")


def test_jupyterlab_has_an_empty_token_its_socket_and_ipc_kernels() -> None:
    planned = plan(app_spec(SID, "jupyterlab"), **HERE)  # type: ignore[arg-type]
    assert planned.argv[0] == "jupyter-lab"
    assert {
        "--IdentityProvider.token=",
        "--ServerApp.sock=/run/carme/a",
        "--ServerApp.sock_mode=0600",
        "--KernelManager.transport=ipc",
        f"--ServerApp.base_url=/s/{SID}/jupyterlab/",
    } <= set(planned.argv)
    assert planned.env == {"JUPYTER_RUNTIME_DIR": "/run/carme/a.d"}
    assert "--allow-root" not in planned.argv
    assert "--allow-root" in plan(app_spec(SID, "jupyterlab"), **{**HERE, "as_root": True}).argv  # type: ignore[arg-type]


def test_the_command_may_be_given_and_nothing_else() -> None:
    given = app_spec(SID, "jupyterlab", {"command": "/opt/bin/jupyter-lab"})
    assert plan(given, **HERE).argv[0] == "/opt/bin/jupyter-lab"  # type: ignore[arg-type]
    for options in ({"flags": "--x"}, {"command": 5}, {"command": ["x"]}):
        with pytest.raises(AppUnknown):
            plan(AppSpec("jupyterlab", "/", options), **HERE)  # type: ignore[arg-type]
    with pytest.raises(AppUnknown):
        plan(AppSpec("rstudio", "/"), **HERE)  # type: ignore[arg-type]


def test_a_hostile_folder_is_one_argument() -> None:
    folder = "/home/anna/--x $(id) `id` \n;'\""
    for name in APPS:
        argv = plan(app_spec(SID, name), **{**HERE, "work_dir": folder}).argv  # type: ignore[arg-type]
        assert sum(folder in word for word in argv) == 1


def test_the_catalogue_answers_in_words() -> None:
    assert base_path(SID, "jupyterlab") == f"/s/{SID}/jupyterlab/"
    assert open_path(SID, "jupyterlab") == f"/s/{SID}/jupyterlab/lab"
    with pytest.raises(UnknownApp, match="jupyterlab"):
        app_spec(SID, "nosuch")


def test_a_busy_kernel_is_use() -> None:
    status = json.dumps({"last_activity": "2020-01-01T00:00:00.000000Z"}).encode()
    idle, busy = (json.dumps([{"execution_state": state}]).encode() for state in ("idle", "busy"))
    assert last_activity_s("jupyterlab", {"status": status, "kernels": idle}) == 1577836800
    used_s = last_activity_s("jupyterlab", {"status": status, "kernels": busy})
    assert used_s is not None
    assert abs(used_s - time.time()) < 5


def test_a_heartbeat_is_use() -> None:
    assert last_activity_s("code-server", {"h": b'{"lastHeartbeat": 1577836800000}'}) == 1577836800


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[1]", b"{}", b'{"lastHeartbeat": "x"}', b"5"])
def test_an_app_that_does_not_say_is_not_idle(body: bytes) -> None:
    assert last_activity_s("code-server", {"h": body}) is None
    assert last_activity_s("jupyterlab", {"s": body, "k": body}) is None
    assert last_activity_s("tensorboard", {}) is None
