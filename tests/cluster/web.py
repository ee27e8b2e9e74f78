"""A console's processes on the real cluster for tests of sessions, and web processes that can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tests.harness import Cluster
from tests.harness.console import ROOT, START_S, Console

JUPYTER = ROOT / ".venv-apps/bin/jupyter-lab"
PLAIN = {"sessions": {"runtime": "none", "jupyter_command": str(JUPYTER)}}


class Killed(Exception):
    """The web process ended before it answered."""


class BareConsole(Console):
    """Collector and launcher only: the tests are the web processes."""

    def start(self) -> None:
        self._spawn("launcher", self.folder / "launcher.toml", "--only", "launcher", user="carme-launch")
        self._spawn("serve", self.config, "--only", "collector", user="carme")
        until = time.monotonic() + START_S
        while not (self.launcher_answers() and list(self.data_dir.glob("snapshot/*/jobs.arrow"))):
            if time.monotonic() > until:
                raise AssertionError(self.log)
            time.sleep(0.1)


class WebProcess:
    """A web process of a console, as the account `carme` inside the cluster."""

    def __init__(self, cluster: Cluster, console: Console, *options: str) -> None:
        self.process: subprocess.Popen[str] = cluster.popen(
            [sys.executable, "-m", "tests.cluster.web_process", str(console.config), *options],
            user="carme", cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=(console.folder / "web.log").open("ab"),
        )  # fmt: skip

    def raw(self, do: str, person: str, **more: Any) -> dict[str, Any]:
        """One request, its whole answer. Raises Killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, "as": person, **more}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Killed(do)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, do: str, person: str, **more: Any) -> Any:
        """One request that must work."""
        answer = self.raw(do, person, **more)
        assert "ok" in answer, answer
        return answer["ok"]

    def launch(self, person: str, **request: Any) -> dict[str, Any]:
        """Launch with the person's defaults and these changes."""
        defaults = self.ask("options", person)["defaults"]
        session: dict[str, Any] = self.ask("launch", person, request={**defaults, **request})
        return session

    def until(
        self, person: str, session_id: str, wanted: Callable[[dict[str, Any]], bool], within_s: float = 30
    ) -> dict[str, Any]:
        """The session once `wanted` holds of it."""
        end = time.monotonic() + within_s
        while True:
            session: dict[str, Any] = self.ask("get", person, id=session_id)
            if wanted(session):
                return session
            assert time.monotonic() < end, session
            time.sleep(0.1)

    def close(self) -> None:
        """End it properly."""
        assert self.process.stdin is not None
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(20)

    def __enter__(self) -> WebProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def jobs_named(cluster: Cluster, name: str) -> list[str]:
    """Job numbers of this name that wait or run."""
    shown = cluster.run(["squeue", "-h", "-t", "PD,R,CG,S", "-n", name, "-o", "%i"], check=True)
    return shown.stdout.split()


def all_session_jobs(cluster: Cluster) -> list[str]:
    """Names of the jobs that wait or run and belong to sessions."""
    shown = cluster.run(["squeue", "-h", "-t", "PD,R,S", "-o", "%j"], check=True).stdout.split()
    return [name for name in shown if name.startswith("carme-")]


def home_file(cluster: Cluster, person: str, session_id: str, name: str = "") -> os.stat_result:
    """Facts of a file of a session's folder, or of the folder itself."""
    path = f"/home/{person}/.local/share/carme/sessions/{session_id}/{name}"
    return cluster.outside(path).stat()
