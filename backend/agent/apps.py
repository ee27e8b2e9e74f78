"""The apps a session can run: how each is started on a unix socket, and how it says that it is well.

| app | ready when | busy until |
|---|---|---|
| jupyterlab | `/api` answers | its last activity; now, while a kernel is busy |
| code-server | `/healthz` answers | its last heartbeat |
| tensorboard | its page answers | the last byte through the gateway |
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from .spec import AppSpec


class AppUnknown(Exception):
    """There is no such app, or its options are wrong; the message says which."""


@dataclass(frozen=True)
class AppPlan:
    """How one app is run. Paths are as the app sees them (inside its container)."""

    argv: tuple[str, ...]
    ready_path: str
    activity_paths: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    strip_prefix: bool = False


def plan(app: AppSpec, *, socket_path: str, runtime_dir: str, work_dir: str, as_root: bool) -> AppPlan:
    """The plan of an app. `runtime_dir` is a short private folder for the app's own sockets.

    Raises AppUnknown.
    """
    known = {"command", "logdir"} if app.name == "tensorboard" else {"command"}
    if set(app.options) - known or not all(isinstance(value, str) for value in app.options.values()):
        raise AppUnknown(f"{app.name}: only the options {sorted(known)}, each a text, are known")
    if app.name == "jupyterlab":
        return _jupyterlab(app, socket_path, runtime_dir, work_dir, as_root)
    if app.name == "code-server":
        return _code_server(app, socket_path, work_dir, runtime_dir)
    if app.name == "tensorboard":
        return _tensorboard(app, socket_path, app.options.get("logdir") or work_dir)
    raise AppUnknown(f"no app {app.name!r} is known")


def _jupyterlab(app: AppSpec, socket_path: str, runtime_dir: str, work_dir: str, as_root: bool) -> AppPlan:
    argv = [
        app.options.get("command") or "jupyter-lab",
        f"--ServerApp.sock={socket_path}",
        "--ServerApp.sock_mode=0600",
        f"--ServerApp.base_url={app.base_path}",
        f"--ServerApp.root_dir={work_dir}",
        "--ServerApp.open_browser=False",
        # the gateway is the lock: a token added by the proxy would let forged cross-site posts pass
        "--IdentityProvider.token=",
        "--PasswordIdentityProvider.hashed_password=",
        "--PasswordIdentityProvider.password_required=False",
        "--ServerApp.allow_remote_access=True",
        "--KernelManager.transport=ipc",
        "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate",
    ]
    if as_root:
        argv.append("--allow-root")
    base = app.base_path
    return AppPlan(
        tuple(argv),
        ready_path=f"{base}api",
        # jupyter_server counts a question for kernels as use, unless it is told not to
        activity_paths=(f"{base}api/status", f"{base}api/kernels?no_track_activity=1"),
        env={"JUPYTER_RUNTIME_DIR": runtime_dir},
    )


def _code_server(app: AppSpec, socket_path: str, work_dir: str, runtime_dir: str) -> AppPlan:
    argv = [
        app.options.get("command") or "code-server",
        "--auth=none",
        f"--socket={socket_path}",
        "--socket-mode=600",
        "--disable-telemetry",
        "--disable-update-check",
        f"--session-socket={runtime_dir}/code-server-ipc.sock",
        "--",
        work_dir,
    ]
    return AppPlan(tuple(argv), ready_path="/healthz", activity_paths=("/healthz",), strip_prefix=True)


TENSORBOARD = """\
import sys
from tensorboard import default, program
class Server(program.WerkzeugServer):
    def get_url(self):
        return "http://unix-socket:1/"
board = program.TensorBoard(default.get_plugins(), server_class=Server)
board.configure(argv=["tensorboard", "--host", "unix://" + sys.argv[1], "--port", "0",
                      "--path_prefix", sys.argv[2], "--logdir", sys.argv[3]])
sys.exit(board.main())
"""
"""TensorBoard binds a unix socket and then crashes for want of an address with a port: it is given one."""


def _tensorboard(app: AppSpec, socket_path: str, logdir: str) -> AppPlan:
    python = app.options.get("command") or "python3"
    prefix = app.base_path.rstrip("/")
    return AppPlan(
        (python, "-c", TENSORBOARD, socket_path, prefix, logdir),
        ready_path=f"{app.base_path}data/environment",
    )


def last_activity_s(app: str, answers: Mapping[str, bytes]) -> float | None:
    """When the app was last used, by what it answered on its activity paths; None when it doesn't say.

    Bytes that are not what the app is known to answer count as no word, never as idleness.
    """
    try:
        parsed = [json.loads(body) for body in answers.values()]
        if app == "jupyterlab" and len(parsed) == 2:
            status, kernels = parsed
            if any(kernel["execution_state"] == "busy" for kernel in kernels):
                return time.time()
            return datetime.fromisoformat(status["last_activity"].replace("Z", "+00:00")).timestamp()
        if app == "code-server" and len(parsed) == 1:
            return float(parsed[0]["lastHeartbeat"]) / 1000
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return None
