"""Secrets from files, and from no file that others can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from config.errors import SettingsError

MAX_SECRET_BYTES = 64 * 1024


def open_to_others(path: Path) -> str:
    """Why `path` is no place for a secret (`can be read by its group`), or an empty text. Raises OSError."""
    return _why_open(path.stat().st_mode)


def _why_open(mode: int) -> str:
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        return f"everybody can read or write (mode {stat.S_IMODE(mode):04o})"
    if mode & (stat.S_IRGRP | stat.S_IWGRP):
        return f"its group can read or write (mode {stat.S_IMODE(mode):04o})"
    return ""


def read_secret_file(path: Path, source: str, key: str) -> str:
    """The secret in `path`, without a final line end. Raises SettingsError when it is open to others, or
    empty."""
    try:
        with path.open("rb") as file:
            why = _why_open(os.fstat(file.fileno()).st_mode)
            if why:
                raise SettingsError(
                    source, key, f"{path}, which {why}", f"a file of mode 0600 (chmod 600 {path})"
                )
            text = file.read(MAX_SECRET_BYTES).decode("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            source, key, f"{path} ({error})", "a readable file of mode 0600 with the secret"
        ) from error
    if not text:
        raise SettingsError(source, key, f"{path}, which is empty", "a file with the secret")
    return text
