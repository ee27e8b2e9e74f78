"""Whose batch it is: a session's agent proves it with its session's secret, a node's service with a key of its own."""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from backend.agent.spec import SESSION_ID
from backend.agent.telemetry.batch import is_signed, node_key
from backend.sessions.life.registration import secret_of
from backend.sessions.life.rows import Rows
from backend.sessions.model import LIVE_STATES
from backend.store import NotDecrypted, SecretBox
from backend.telemetry.intake.wire import NODE

MASTER_FILE = "telemetry-node.key"
KEEP_S = 10.0  # how long a session's row is believed: its agent sends every ten seconds or more
KEEP_MOST = 20_000
_NOBODY = "x" * 43  # a message of no sender costs the same as one of a sender


class KeyUnusable(Exception):
    """The master key can't be read or made; the message says what to do."""


@dataclass(frozen=True)
class Known:
    """A session whose agent may send: its job, and whether it is over (since `end_s`)."""

    key: str
    cluster: str
    job_id: int | None
    over: bool
    end_s: int | None


def signed_by(key: str | None, sender: str, body: bytes, mac: str) -> bool:
    """Whether the mac is this key's; never for None. Takes the same time either way."""
    return is_signed(key or _NOBODY, sender, body, mac) and key is not None


def master_key(path: Path) -> str:
    """The site's master key, made where there is none. Raises KeyUnusable."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        if not path.exists():
            handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as out:
                out.write(secrets.token_hex(32) + "\n")
                out.flush()
                os.fsync(out.fileno())
            try:
                path.hardlink_to(made)  # of two that make one, one wins
            except FileExistsError:
                pass
            finally:
                made.unlink()
        with path.open() as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(4096).strip()
    except OSError as error:
        raise KeyUnusable(f"{path}: {error.strerror or error}") from error
    if mode & 0o077:
        raise KeyUnusable(f"{path} is open to others (mode {mode:04o}): chmod 600 {path}")
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise KeyUnusable(f"{path} holds no key: 64 hexadecimal digits are wanted")
    return text


class Keys:
    """The keys of all senders. Safe in several threads; blocks on the database."""

    def __init__(self, rows: Rows, box: SecretBox, master_file: Path, clock: Callable[[], float] = time.monotonic):
        self._rows, self._box, self._master_file, self._clock = rows, box, master_file, clock
        self._lock = Lock()
        self._sessions: dict[str, tuple[float, Known | None]] = {}
        self._master: str | None = None

    def recent(self, session_id: str) -> tuple[bool, Known | None]:
        """What was found of a session a moment ago; whether that is still to be believed. Never blocks."""
        with self._lock:
            found = self._sessions.get(session_id)
        return (False, None) if found is None or found[0] < self._clock() - KEEP_S else (True, found[1])

    def session(self, session_id: str) -> Known | None:
        """A session by its id; None where there is none."""
        if not SESSION_ID.fullmatch(session_id):
            return None
        fresh, known = self.recent(session_id)
        if fresh:
            return known
        row = self._rows.get(session_id)
        try:
            # Until the scheduler has confirmed it the number is only what the person's own submission said.
            job_id = row.job_id if row is not None and row.confirmed else None
            known = None if row is None else Known(
                secret_of(self._box, row), row.cluster, job_id, row.state not in LIVE_STATES, row.end_s
            )  # fmt: skip
        except NotDecrypted:
            known = None
        with self._lock:
            if len(self._sessions) > KEEP_MOST:
                self._sessions.clear()
            self._sessions[session_id] = (self._clock(), known)
        return known

    def node(self, name: str) -> str | None:
        """The key of a node's service; None for what is no node's name. Raises KeyUnusable."""
        if not NODE.fullmatch(name):
            return None
        if self._master is None:
            self._master = master_key(self._master_file)
        return node_key(self._master, name)
