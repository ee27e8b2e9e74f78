"""What `carme doctor` looks at: one function a thing, each giving what it found and what to do.

`place` (settings, data folder, database, key), `people` (directory, clock, time zone), `work` (scheduler,
collector, launcher, runtime, apps), `accounts` (their source, the warehouse, projects), `telemetry`, `doors` (the
console's and the apps' addresses).
"""

from __future__ import annotations

from backend.checks.accounts import check_accounts, check_accounts_source, check_projects
from backend.checks.doors import check_apps_address, check_console
from backend.checks.finding import Finding, checked
from backend.checks.people import check_clock, check_directory, check_zone
from backend.checks.place import check_data, check_database, check_settings
from backend.checks.telemetry import check_telemetry
from backend.checks.work import (
    check_apps,
    check_as_user,
    check_collector,
    check_launcher,
    check_runtime,
    check_scheduler,
)
from config import Settings

CHECKS = (
    ("settings", check_settings),
    ("data folder", check_data),
    ("database", check_database),
    ("directory", check_directory),
    ("scheduler", check_scheduler),
    ("collector", check_collector),
    ("accounts' source", check_accounts_source),
    ("accounts", check_accounts),
    ("projects", check_projects),
    ("telemetry", check_telemetry),
    ("launcher", check_launcher),
    ("as-user program", check_as_user),
    ("runtime", check_runtime),
    ("apps", check_apps),
    ("console", check_console),
    ("apps' address", check_apps_address),
    ("time zone", check_zone),
    ("clock", check_clock),
)


def examine(settings: Settings) -> list[Finding]:
    """Everything, in the order in which one thing needs the other."""
    return [checked(name, check, settings) for name, check in CHECKS]


__all__ = ["CHECKS", "Finding", "examine"]
