"""From a request to a row and a job: everything the person's folder and the scheduler are told."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from backend.agent.spec import AgentSpec
from backend.sessions.apps import app_spec
from backend.sessions.certs import make_certificate
from backend.sessions.job import agent_zipapp, batch_script
from backend.sessions.model import ImageChoice, LaunchRequest, Problem
from backend.sessions.person import UnixPerson
from backend.sessions.runtimes import NoRuntime, Runtime, named
from backend.store import SecretBox, models
from config import Settings

ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
ID_LENGTH = 16
TITLE_LIMIT = 200
PATH_LIMIT = 4096
CHECKOUT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Submission:
    """A row to be stored before anything is submitted, and what the launcher is then asked for."""

    row: models.Session  # its two times are those of its storing
    user: str
    options: dict[str, Any]
    files: dict[str, str]

    @property
    def arguments(self) -> dict[str, Any]:
        """Of the launcher's `submit`, once the row is stored."""
        return {
            "session": self.row.id,
            "not_after_s": self.row.not_after_s,
            "options": self.options,
            "files": self.files,
        }


def new_session_id() -> str:
    """75 random bits as one DNS label that begins with a letter."""
    return "s" + "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH - 1))


def secret_purpose(session_id: str) -> str:
    """What a session's secret is encrypted for: another row's can't be put in its place."""
    return f"session:{session_id}"


def shape_problems(request: LaunchRequest, apps: tuple[str, ...]) -> list[Problem]:
    """What is wrong with a request whatever the scheduler says: hostile or impossible values."""
    found = []
    if request.app and request.app not in apps:
        found.append(Problem("app", "There is no such app."))
    if len(request.title) > TITLE_LIMIT or not _one_line(request.title):
        found.append(Problem("title", f"A title is one line of at most {TITLE_LIMIT} characters."))
    path = request.work_dir
    if path and (not path.startswith("/") or len(path) > PATH_LIMIT or not _one_line(path)):
        found.append(Problem("work_dir", "A working folder is an absolute path without control characters."))
    for field in ("account", "cluster", "partition", "qos", "gpu_type", "reservation"):
        value = getattr(request, field)
        if value and not _is_name(value):
            found.append(Problem(field, "This is no name the scheduler could know."))
    for field, most in (("gpus", 1024), ("cpus", 65536), ("memory_mb", 2**32), ("time_s", 10**8)):
        if not 0 <= getattr(request, field) <= most:
            found.append(Problem(field, f"A number from 0 to {most} is wanted."))
    if not 1 <= request.nodes <= 65536:
        found.append(Problem("nodes", "At least one node is wanted."))
    if 0 < request.time_s < 60:
        found.append(Problem("time_s", "A minute is the shortest time."))
    if request.gpu_type and not request.gpus:
        found.append(Problem("gpus", "Choose how many GPUs of this model."))
    return found


def _one_line(text: str) -> bool:
    return all(char.isprintable() for char in text)


def _is_name(text: str) -> bool:
    safe = all(char.isascii() and (char.isalnum() or char in "_.+@-") for char in text)
    return safe and len(text) <= 128 and text[0] not in ".+@-"


def image_problem(request: LaunchRequest, images: tuple[ImageChoice, ...], folders: tuple[str, ...]) -> Problem | None:
    """Why this image can't be used; None when it can."""
    if not request.image:
        return None
    chosen = next((image for image in images if image.name == request.image), None)
    if chosen is not None:
        if chosen.apps and request.app not in chosen.apps:
            return Problem("image", f"Image {chosen.name} doesn't carry this app.")
        return None
    path = PurePosixPath(request.image)
    inside = any(path.is_relative_to(folder) and path != PurePosixPath(folder) for folder in folders)
    if not inside or ".." in path.parts or not _one_line(request.image) or len(request.image) > PATH_LIMIT:
        return Problem("image", "This image is not one of those the site offers.")
    return None


def image_path(request: LaunchRequest, images: tuple[ImageChoice, ...]) -> str:
    """The image's path on the nodes; "" for none."""
    chosen = next((image for image in images if image.name == request.image), None)
    return chosen.path if chosen is not None else request.image


def find_runtime(settings: Settings) -> Runtime:
    """The runtime of this site's sessions. Raises NoRuntime. Starts a program: ask once."""
    kind, command = settings.sessions.runtime, settings.sessions.runtime_command
    if kind == "none" or (kind == "auto" and not settings.sessions.images and not settings.sessions.image_folders):
        return Runtime("none")
    if kind != "auto" and command is not None:
        return Runtime(kind, str(command))  # as it is on the nodes; this machine need not have it
    return named(kind)


def prepare(
    *,
    settings: Settings,
    box: SecretBox,
    runtime: Runtime,
    images: tuple[ImageChoice, ...],
    request: LaunchRequest,
    owner: str,
    person: UnixPerson,
    key: str,
) -> Submission:
    """Draw the id, the secret and the certificate. Raises NoRuntime when the image can't be run."""
    session_id = new_session_id()
    secret = secrets.token_urlsafe(32)
    certificate, private_key, fingerprint = make_certificate(session_id)
    spec = AgentSpec(
        session_id=session_id,
        secret=secret,
        tls_cert_pem=certificate,
        tls_key_pem=private_key,
        console_url=settings.agent.console_url,
        apps=(app_spec(session_id, request.app, _app_options(settings, request, runtime)),),
        runtime=_runtime_spec(settings, runtime, request, images),
        work_dir=request.work_dir,
        bind_host="127.0.0.1" if settings.scheduler.kind == "local" else settings.agent.bind_host,
        title=request.title,
        idle_timeout_s=settings.sessions.idle_timeout_s or None,
        sample_every_s=settings.agent.sample_every_s,
    )
    row = models.Session(
        id=session_id,
        owner=owner,
        uid=person.uid,
        cluster=request.cluster,
        title=request.title,
        request=request.to_dict(),
        state="submitting",
        secret=box.encrypt(secret.encode(), purpose=secret_purpose(session_id)),
        tls_fingerprint=fingerprint,
        confirmed=False,
        apps={app.name: "starting" for app in spec.apps},
        reason="",
        exit_code="",
        start_expected=False,
        account=request.account,
        launch_key=key[:64] or None,
        removed=False,
        version=0,
    )
    return Submission(row, person.name, job_options(request), _encoded(spec))


def job_options(request: LaunchRequest) -> dict[str, Any]:
    """What the as-user program is told of the job."""
    fields = ("account", "partition", "qos", "reservation", "gpu_type")
    counts = ("nodes", "cpus", "memory_mb", "gpus", "time_s")
    options: dict[str, Any] = {name: getattr(request, name) for name in fields if getattr(request, name)}
    options.update({name: getattr(request, name) for name in counts if getattr(request, name)})
    if not request.gpus:
        options.pop("gpu_type", None)
    return options


def _app_options(settings: Settings, request: LaunchRequest, runtime: Runtime) -> dict[str, str]:
    if request.app != "jupyterlab" or (request.image and runtime.kind != "none"):
        return {}
    command = settings.sessions.jupyter_command or CHECKOUT / ".venv-apps" / "bin" / "jupyter-lab"
    given = settings.sessions.jupyter_command is not None
    return {"command": str(command)} if given or command.is_file() else {}


def _runtime_spec(settings: Settings, runtime: Runtime, request: LaunchRequest, images: tuple[ImageChoice, ...]) -> Any:
    if not request.image:
        return Runtime("none").spec()
    if runtime.kind == "none":
        raise NoRuntime("There is no container runtime here to run an image with.")
    return runtime.spec(image_path(request, images), settings.sessions.binds, nv=request.gpus > 0)


def _encoded(spec: AgentSpec) -> dict[str, str]:
    files = {
        "session.json": spec.to_json().encode(),
        "agent.pyz": agent_zipapp(),
        "job.sh": batch_script().encode(),
    }
    return {name: base64.b64encode(content).decode("ascii") for name, content in files.items()}
