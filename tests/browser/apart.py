"""A whole console on the cluster whose processes a test kills, and what its people do meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.cluster.web import PLAIN
from tests.harness.console import Console
from tests.harness.visitor import Visitor

SUBMIT_TIMEOUT_S = 5
SETTLED_S = SUBMIT_TIMEOUT_S + 20 + 20  # not_after, the margin for clocks, and the next looks
SOON_S = 30
OVER = ("ended", "failed")
SETTINGS: dict[str, dict[str, Any]] = {
    "sessions": {**PLAIN["sessions"], "submit_timeout_s": SUBMIT_TIMEOUT_S, "max_active_per_person": 100},
    "slurm": {
        "jobs_every_s": 1, "nodes_every_s": 2, "waiting_every_s": 1, "accounts_every_s": 5, "timeout_s": 4,
    },
}  # fmt: skip


def until(claim: Callable[[], Any], within_s: float = SOON_S, every_s: float = 0.1) -> Any:
    """Wait until `claim` gives something true, and give that. Raises AssertionError."""
    deadline = time.monotonic() + within_s
    while True:
        found = claim()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within_s} s: {found!r}"
        time.sleep(every_s)


class Apart(Console):
    """Each process under a watcher of its own, so that the web process can be killed often and is up again at once."""

    def start(self) -> None:
        self._spawn("launcher", self.folder / "launcher.toml", "--only", "launcher", user="carme-launch")
        self._spawn("serve", self.config, "--only", "collector,proxy", user="carme")
        self._spawn("web", self.config, "--only", "web", user="carme")
        self.wait_up()

    def pid(self, role: str) -> int:
        """The process of this role, waited for."""
        found: list[int] = until(lambda: self.role_pids(role))
        return found[0]

    def web_again(self) -> None:
        """After a kill: a new watcher starts at once where the old one waits ever longer."""
        watcher = self.processes.pop()
        watcher.kill()
        watcher.wait()
        until(lambda: not self.role_pids("web"))
        self._spawn("web", self.config, "--only", "web", user="carme")
        self.wait_up()


@dataclass
class Launch:
    """One click on Start, and what came of it."""

    person: Visitor
    key: str
    answer: requests.Response | None = None
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._headers = {
            "Origin": self.person.console.url, "X-CSRF-Token": self.person.csrf(), "Idempotency-Key": self.key,
        }  # fmt: skip
        self._cookies = self.person.http.cookies.get_dict()
        self.thread = threading.Thread(target=self.click)

    def click(self, **request: Any) -> None:
        """Ask for a session on a CPU; no answer when the console is gone."""
        body = {"gpus": 0, "partition": "cpu", "title": self.key, **request}
        try:
            self.answer = requests.post(
                self.person.url("/api/v1/sessions"), json=body, headers=self._headers, cookies=self._cookies, timeout=60
            )
        except requests.ConnectionError:
            self.answer = None


def sessions_of(person: Visitor) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = person.api("GET", "/sessions?limit=1000").json()["sessions"]
    return found


def part(person: Visitor, name: str) -> dict[str, Any]:
    """How fresh a part of the snapshot is, as REST tells it."""
    found: dict[str, Any] = person.api("GET", "/cluster").json()["parts"][name]
    return found


def cpu_session(person: Visitor, state: str = "starting") -> str:
    """A session on a CPU, in this state or ready."""
    answer = person.api("POST", "/sessions", json={"gpus": 0, "partition": "cpu"})
    assert answer.status_code == 201, answer.text
    session: str = answer.json()["id"]
    until(lambda: person.api("GET", f"/sessions/{session}").json()["state"] in (state, "ready"))
    return session


def stopped(person: Visitor, session: str) -> dict[str, Any]:
    """Ask for the end of a session and wait for it."""
    assert person.api("POST", f"/sessions/{session}/stop").status_code == 202

    def over() -> dict[str, Any] | None:
        found: dict[str, Any] = person.api("GET", f"/sessions/{session}").json()
        return found if found["state"] in OVER else None

    ended: dict[str, Any] = until(over)
    return ended
