"""The file of projects: [[project]] with name, title and accounts."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from backend.accounting.projects.model import Project
from backend.starting import CantStart

LONGEST_NAME = 128
LONGEST_TITLE = 200
KEYS = ("name", "title", "accounts")


class ProjectsUnusable(CantStart):
    """A file of projects that can't be used: the file, the key in it, what was found and what is allowed."""

    def __init__(self, source: str, key: str, found: str, allowed: str) -> None:
        place = f"{source}: {key}" if key else source
        super().__init__(f"{place}: found {found}; allowed: {allowed}")
        self.key = key


def read_file(file: Path) -> tuple[Project, ...]:
    """Raises ProjectsUnusable."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        allowed = "a readable TOML file in UTF-8 (accounting.projects_file names it)"
        raise ProjectsUnusable(str(file), "", str(error), allowed) from error
    return read_projects(text, str(file))


def read_projects(text: str, source: str) -> tuple[Project, ...]:
    """What stands in the file, in its order. Raises ProjectsUnusable."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProjectsUnusable(source, "", str(error), "a TOML file") from error
    tables = document.pop("project", [])
    if document:
        raise ProjectsUnusable(source, min(document), "an unknown key", "[[project]], one after the other")
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise ProjectsUnusable(source, "project", _shown(tables), "[[project]], one after the other")
    projects: list[Project] = []
    said_at: dict[str, str] = {}  # by account: the key under which it was named first
    for number, table in enumerate(tables, 1):
        where = f"project {number}"
        project = _project(table, source, where)
        if any(each.name == project.name for each in projects):
            raise ProjectsUnusable(source, f"{where}.name", _shown(project.name), "a name that no other project has")
        for place, account in enumerate(project.accounts):
            key = f"{where} ({project.name}).accounts[{place}]"
            if account in said_at:
                allowed = f"an account that is named once; it stands in {said_at[account]} too"
                raise ProjectsUnusable(source, key, _shown(account), allowed)
            said_at[account] = key
        projects.append(project)
    return tuple(projects)


def _project(table: dict[str, Any], source: str, where: str) -> Project:
    if unknown := sorted(set(table) - set(KEYS)):
        raise ProjectsUnusable(source, f"{where}.{unknown[0]}", "an unknown key", f"the keys {', '.join(KEYS)}")
    name = table.get("name")
    if not _usable(name, LONGEST_NAME):
        allowed = f"a text of 1 to {LONGEST_NAME} characters that can be shown, without space around it"
        raise ProjectsUnusable(source, f"{where}.name", _shown(name), allowed)
    title = table.get("title", name)
    if not _usable(title, LONGEST_TITLE):
        allowed = f"a text of 1 to {LONGEST_TITLE} characters that can be shown, or no title"
        raise ProjectsUnusable(source, f"{where} ({name}).title", _shown(title), allowed)
    accounts = table.get("accounts")
    if not isinstance(accounts, list) or not accounts:
        allowed = 'a list of accounts, such as ["bio", "alpha:chem"]'
        raise ProjectsUnusable(source, f"{where} ({name}).accounts", _shown(accounts), allowed)
    for place, account in enumerate(accounts):
        if not _usable(account, 2 * LONGEST_NAME) or not all(account.split(":")) or account.count(":") > 1:
            key = f"{where} ({name}).accounts[{place}]"
            raise ProjectsUnusable(source, key, _shown(account), "an account, or cluster:account")
    return Project(str(name), str(title), tuple(accounts))


def _usable(text: Any, longest: int) -> bool:
    return isinstance(text, str) and 1 <= len(text) <= longest and text.isprintable() and text == text.strip()


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = json.dumps(value, default=str)  # what can't be shown is escaped
    return text if len(text) <= 120 else text[:117] + "..."
