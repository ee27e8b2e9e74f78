"""Asking the launcher process: one JSON line each way over its Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from pathlib import Path
from typing import Any

from config import Settings

ANSWER_LIMIT_BYTES = 2**20
ANSWER_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 5.0
SUBMIT_GRACE_S = 15.0  # after not_after_s: the launcher has answered by then, or never will


class LauncherError(Exception):
    """What was asked for did not happen, or is not known to have happened.

    `kind`: `down` (the launcher isn't running), `not_allowed` (the launcher doesn't act for this person),
    `busy`, or one of the as-user program's (see as_user.py). Only `unknown` leaves open whether it happened.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Launcher:
    """The console's side. Holds no connection; safe from any thread or event loop."""

    def __init__(self, settings: Settings) -> None:
        self._socket: Path = settings.launcher.socket

    async def call(self, user: str, action: str, **arguments: Any) -> dict[str, Any]:
        """Have one action done as `user`, a Unix user. Raises LauncherError."""
        request = _request(user, action, arguments)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=ANSWER_LIMIT_BYTES)
        except (OSError, TimeoutError) as error:
            raise _down() from error
        try:
            async with asyncio.timeout(_patience_s(arguments)):
                writer.write(request)
                await writer.drain()
                line = await reader.readline()
        except (OSError, TimeoutError, ValueError) as error:
            raise _silent() from error
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        return _answer(line)

    def call_blocking(self, user: str, action: str, **arguments: Any) -> dict[str, Any]:
        """The same for threads and commands."""
        request = _request(user, action, arguments)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(CONNECT_TIMEOUT_S)
            try:
                connection.connect(str(self._socket))
            except OSError as error:
                raise _down() from error
            connection.settimeout(_patience_s(arguments))
            try:
                connection.sendall(request)
                with connection.makefile("rb") as lines:
                    line = lines.readline(ANSWER_LIMIT_BYTES)
            except OSError as error:
                raise _silent() from error
        return _answer(line)


def _request(user: str, action: str, arguments: dict[str, Any]) -> bytes:
    return json.dumps({"user": user, "action": action, **arguments}).encode() + b"\n"


def _patience_s(arguments: dict[str, Any]) -> float:
    not_after = arguments.get("not_after_s")
    if isinstance(not_after, (int, float)):
        return max(1.0, not_after - time.time() + SUBMIT_GRACE_S)
    return ANSWER_TIMEOUT_S


def _down() -> LauncherError:
    return LauncherError("down", "The console can't act for you at the moment: its launcher is not running.")


def _silent() -> LauncherError:
    return LauncherError("unknown", "The launcher gave no answer.")


def _answer(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise _silent() from error
    if not isinstance(answer, dict):
        raise _silent()
    if answer.get("ok") is not True:
        why = answer.get("error")
        why = why if isinstance(why, dict) else {}
        raise LauncherError(str(why.get("kind", "unknown")), str(why.get("message", "No reason was given.")))
    return answer
