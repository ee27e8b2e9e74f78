"""The pages, in the order of the navigation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backend.identity import Viewer
from backend.services import Services
from pages import admin, budgets, cluster, compare, home, job, jobs, launch, reports, sessions, truth, usage, waste

Build = Callable[[Services, Viewer], Any]


@dataclass(frozen=True)
class Page:
    """A page at `path`. `roles`: one of them is needed; `build` runs once for each document. One that is `hidden` is
    not in the navigation: others lead to it."""

    path: str
    title: str
    icon: str
    roles: frozenset[str]
    build: Build
    hidden: bool = False

    @property
    def name(self) -> str:
        """As the policy's `page:<name>` and the browser's scripts have it."""
        return self.path.strip("/") or "home"


_ALL = frozenset({"user"})

PAGES: tuple[Page, ...] = (
    Page("/", "Home", "home", _ALL, home.build),
    Page("/cluster", "Cluster", "cluster", _ALL, cluster.build),
    Page("/jobs", "Jobs", "jobs", _ALL, jobs.build),
    Page("/job", "Job", "jobs", _ALL, job.build, hidden=True),
    Page("/compare", "Compare jobs", "jobs", _ALL, compare.build, hidden=True),
    Page("/launch", "Launch", "launch", _ALL, launch.build),
    Page("/sessions", "Sessions", "sessions", _ALL, sessions.build),
    Page("/usage", "Usage", "usage", _ALL, usage.build),
    Page("/budgets", "Budgets", "budget", _ALL, budgets.build),
    Page("/reports", "Reports", "report", _ALL, reports.build),
    Page("/waste", "Waste", "waste", frozenset({"coordinator", "operator", "admin"}), waste.build),
    Page("/truth", "Truth", "truth", frozenset({"operator", "admin"}), truth.build),
    Page("/admin", "Admin", "admin", frozenset({"operator", "admin"}), admin.build),
)
