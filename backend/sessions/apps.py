"""The apps a person can choose, as the console sees them. How they are run is `backend.agent.apps`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backend.agent.spec import AppSpec


class UnknownApp(LookupError):
    """There is no app of this name."""


@dataclass(frozen=True)
class App:
    """One app of the catalogue. `command` is looked up on PATH inside the image or on the node."""

    name: str
    title: str
    summary: str
    command: str
    start_path: str = ""
    """Appended to the base path when the app is opened."""


APPS: Mapping[str, App] = {
    app.name: app
    for app in (
        App("jupyterlab", "JupyterLab", "Notebooks, terminals and files", "jupyter-lab", "lab"),
        App("code-server", "VS Code", "The editor in the browser", "code-server"),
        App("tensorboard", "TensorBoard", "Training curves from a folder of logs", "python3"),
    )
}


def app_named(name: str) -> App:
    """The app. Raises UnknownApp."""
    try:
        return APPS[name]
    except KeyError:
        raise UnknownApp(f"no app {name!r}; known are {', '.join(APPS)}") from None


def base_path(session_id: str, app: str) -> str:
    """The path below which a session's app lives on the apps origin."""
    return f"/s/{session_id}/{app}/"


def app_spec(session_id: str, app: str, options: Mapping[str, str] | None = None) -> AppSpec:
    """What the agent is told about an app. Options: `command`; tensorboard: `logdir`. Raises UnknownApp."""
    return AppSpec(app_named(app).name, base_path(session_id, app), dict(options or {}))


def open_path(session_id: str, app: str) -> str:
    """The path that opens the app."""
    return base_path(session_id, app) + app_named(app).start_path
