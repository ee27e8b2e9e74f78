"""The launcher process: the only one of the console that can act as a person.

It listens on a Unix socket, believes only the one account that may connect (checked with the kernel, not by
what is said), takes a short list of actions, and runs the as-user program for each. It knows no browser, no
database and no secret of its own; requests are never logged, only who, what and how it went.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import pwd
import signal
import socket
import struct
import time
from pathlib import Path
from typing import Any

from backend.launcher.strategies import USER_NAME, NotAllowed, Strategy, strategy_of
from backend.starting import CantStart
from config import Settings

log = logging.getLogger("carme.launcher")

ACTIONS = frozenset(
    ("submit", "cancel", "update", "hold", "release", "requeue", "tail", "job_log", "job_script", "estimate", "forget")
)
REQUEST_LIMIT_BYTES = 8 * 2**20
READ_TIMEOUT_S = 10.0
ACTION_TIMEOUT_S = 45.0
SUBMIT_GRACE_S = 10.0
AT_ONCE = 64
AT_ONCE_A_PERSON = 4  # whose home is slow holds up nobody else
WAITING = 256
UNIX_PATH_LIMIT_BYTES = 107


class LauncherStartError(CantStart):
    """The launcher can't start; the message says what to change."""


class _Refused(Exception):
    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Service:
    """Answers requests of one peer account. Lives in one event loop."""

    def __init__(self, strategy: Strategy, peer_uid: int) -> None:
        self._strategy = strategy
        self._peer_uid = peer_uid
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._of_person: dict[str, int] = {}
        self._connections = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        self._connections += 1
        try:
            answer = await self._answer(reader, writer)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (OSError, TimeoutError):
            log.info("a connection was lost before it was answered")
        finally:
            self._connections -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[str, Any]:
        started = time.monotonic()
        user, action, outcome = "?", "?", "done"
        try:
            self._check_peer(writer)
            request = await self._read(reader)
            user, action = request["user"], request["action"]
            return await self._act(user, request)
        except _Refused as refused:
            outcome = refused.kind
            return {"ok": False, "error": {"kind": refused.kind, "message": refused.message}}
        finally:
            log.info("%s for %s: %s in %.2f s", action, user, outcome, time.monotonic() - started)

    def _check_peer(self, writer: asyncio.StreamWriter) -> None:
        uid = peer_uid(writer.get_extra_info("socket"))
        if uid not in (self._peer_uid, 0):  # root could become the peer anyway
            raise _Refused("not_allowed", "The launcher doesn't speak with this account.")
        if self._connections > WAITING:
            raise _Refused("busy", "Too much is being asked of the launcher at the moment; try again soon.")

    async def _read(self, reader: asyncio.StreamReader) -> dict[str, Any]:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                request = json.loads(await reader.readline())
        except (TimeoutError, ValueError) as error:  # ValueError: also a line above the limit
            raise _Refused("bad_request", "The request is too slow, too long or no JSON.") from error
        if not isinstance(request, dict):
            raise _Refused("bad_request", "The request is no object.")
        user, action = request.get("user"), request.get("action")
        if not isinstance(action, str) or action not in ACTIONS:
            raise _Refused("bad_request", f"The actions are {', '.join(sorted(ACTIONS))}.")
        if not isinstance(user, str) or not USER_NAME.fullmatch(user):
            raise _Refused("bad_request", "This is no name of a Unix user.")
        return request

    async def _act(self, user: str, request: dict[str, Any]) -> dict[str, Any]:
        if self._of_person.get(user, 0) >= AT_ONCE_A_PERSON:
            raise _Refused("busy", "Much is being done for you already; try again in a moment.")
        self._of_person[user] = self._of_person.get(user, 0) + 1
        try:
            async with self._slots:
                command = await asyncio.to_thread(self._strategy.command, user)
                return await self._run(command, request)
        except NotAllowed as refused:
            raise _Refused("not_allowed", str(refused)) from refused
        finally:
            self._of_person[user] -= 1
            if not self._of_person[user]:
                del self._of_person[user]

    async def _run(self, command: list[str], request: dict[str, Any]) -> dict[str, Any]:
        passed = {key: value for key, value in request.items() if key != "user"}
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={
                    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "LC_ALL": "C.UTF-8",
                },
                cwd="/",
                start_new_session=True,
                limit=REQUEST_LIMIT_BYTES,
            )
        except OSError as error:
            raise _Refused("config", f"The launcher can't run {Path(command[0]).name}.") from error
        try:
            async with asyncio.timeout(_patience_s(request)):
                output, errors = await process.communicate(json.dumps(passed).encode())
        except TimeoutError as error:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                process.kill()  # sudo runs as root and can't be killed: the as-user program ends by itself
            raise _Refused("unknown", "The scheduler did not answer in time.") from error
        return _result(output, errors, process.returncode)


def _patience_s(request: dict[str, Any]) -> float:
    not_after = request.get("not_after_s")
    if request["action"] == "submit" and isinstance(not_after, (int, float)):
        return max(0.0, not_after - time.time()) + SUBMIT_GRACE_S
    return ACTION_TIMEOUT_S


def _result(output: bytes, errors: bytes, status: int | None) -> dict[str, Any]:
    try:
        answer = json.loads(output)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and isinstance(answer.get("ok"), bool):
        return answer
    words = errors[-500:].decode("utf-8", "replace").strip()
    log.error("the as-user program ended with status %s: %s", status, words)
    if words.startswith("sudo:"):
        raise _Refused("not_allowed", "The console may not act for you: sudo refused. Ask the site's admins.")
    raise _Refused("unknown", "The as-user program broke off.")


def peer_uid(connection: socket.socket) -> int:
    """The uid of the process at the other end, as the kernel says."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", raw)[1])


def listen(settings: Settings) -> tuple[socket.socket, int]:
    """The listening socket, reachable by the web process's account alone, and that account's uid."""
    path = settings.launcher.socket
    if len(os.fsencode(path)) > UNIX_PATH_LIMIT_BYTES:
        raise LauncherStartError(f"launcher.socket: {path} is too long for a Unix socket; choose a shorter one.")
    me = os.getuid()
    group = -1
    uid = me
    if settings.launcher.allowed_peer:
        try:
            entry = pwd.getpwnam(settings.launcher.allowed_peer)
        except KeyError as error:
            raise LauncherStartError(
                f"launcher.allowed_peer: there is no Unix user {settings.launcher.allowed_peer}."
            ) from error
        uid, group = entry.pw_uid, entry.pw_gid
    shared = uid != me
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700, parents=True)
        if shared:
            _give(path.parent, group, 0o750)
    _remove_dead(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as error:
        raise LauncherStartError(f"launcher.socket: {path}: {error.strerror}") from error
    finally:
        os.umask(mask)
    if shared:
        _give(path, group, 0o660)
    listener.listen(64)
    return listener, uid


def _give(path: Path, group: int, mode: int) -> None:
    try:
        os.chown(path, -1, group)
        path.chmod(mode)
    except OSError as error:
        raise LauncherStartError(
            f"{path} can't be given to the group of launcher.allowed_peer: "
            f"make the launcher's account a member of that group ({error.strerror})."
        ) from error


def _remove_dead(path: Path) -> None:
    """Take away the socket of a launcher that is gone. Raises LauncherStartError when one still answers."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise LauncherStartError(f"A launcher is running already at {path}.")


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Raises LauncherStartError."""
    strategy = strategy_of(settings)
    listener, uid = listen(settings)
    service = Service(strategy, uid)
    server = await asyncio.start_unix_server(service.connected, sock=listener, limit=REQUEST_LIMIT_BYTES)
    log.info("listening at %s for uid %d, strategy %s", settings.launcher.socket, uid, settings.launcher.strategy)
    try:
        await stop.wait()
    finally:
        server.close()
        settings.launcher.socket.unlink(missing_ok=True)


def run_launcher(settings: Settings) -> None:
    """Run the launcher process until SIGTERM or SIGINT. Raises LauncherStartError."""

    async def until_told() -> None:
        stop = asyncio.Event()
        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(each, stop.set)
        await serve(settings, stop)

    asyncio.run(until_told())
