"""The process that owns the jobs of the scheduler `local`, reached over a Unix socket.

One JSON request a connection, one JSON line back. Only the Unix user it runs as may ask (peer credentials).
Killing any other process of the console touches no job; nor does killing this one, for it finds them again.
SIGTERM ends all jobs.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from backend.cluster.local.engine import Engine
from backend.cluster.local.jobs import Refused
from backend.cluster.local.ledger import Ledger
from backend.cluster.local.machine import this_machine
from backend.starting import CantStart
from config import Settings

log = logging.getLogger(__name__)

TICK_S = 0.25
REQUEST_LIMIT_BYTES = 4 << 20
PATIENCE_S = 10.0  # for a client to say what it wants


class SupervisorRunning(CantStart):
    """Another supervisor already serves this data folder."""


def socket_path(settings: Settings) -> Path:
    """Where the supervisor listens."""
    return settings.instance.data_dir / "run" / "supervisor.sock"


def run_supervisor(settings: Settings) -> None:
    """The supervisor process: until SIGTERM or SIGINT, which end all jobs. Raises SupervisorRunning."""
    path = socket_path(settings)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise SupervisorRunning(f"Another console runs on this data folder: its supervisor holds {path}.") from error
    try:
        ledger = Ledger(settings.instance.data_dir / "local")
        engine = Engine(ledger, this_machine(settings.local), settings.local.max_time_s)
        Supervisor(engine, path).run()
    finally:
        os.close(lock)


class Supervisor:
    """Serves the socket and keeps the engine going."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self.engine = engine
        self.path = path
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._actions: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "submit": self._submit,
            "cancel": self._cancel,
            "update": self._update,
            "hold": self._hold,
            "release": self._release,
            "estimate": self._estimate,
            "list": self._list,
        }

    def run(self) -> None:
        """Until SIGTERM or SIGINT; the jobs are ended then."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # runners that end wake the loop up
        with self._listen() as server:
            threading.Thread(target=self._serve, args=(server,), daemon=True).start()
            while not self._stop.is_set():
                _reap()
                with self._lock:
                    self.engine.tick()
                self._wake.wait(TICK_S)
                self._wake.clear()
            with self._lock:
                self.engine.end_all()
            self.path.unlink(missing_ok=True)

    def _end(self, *_: object) -> None:
        self._stop.set()
        self._wake.set()

    @contextlib.contextmanager
    def _listen(self) -> Any:
        self.path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as server:
            mask = os.umask(0o177)
            try:
                server.bind(str(self.path))
            finally:
                os.umask(mask)
            server.listen(64)
            yield server

    def _serve(self, server: socket.socket) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(PATIENCE_S)
            try:
                if peer_uid(connection) not in (os.getuid(), 0):
                    return
                with connection.makefile("rb") as lines:
                    line = lines.readline(REQUEST_LIMIT_BYTES)
                connection.sendall(json.dumps(self.handle(line)).encode() + b"\n")
            except OSError:
                return

    def handle(self, line: bytes) -> dict[str, Any]:
        """The answer to one request: `{"ok": true, …}` or `{"ok": false, "error": {"kind", "message"}}`."""
        try:
            request = json.loads(line)
            action = self._actions.get(str(request.get("action"))) if isinstance(request, dict) else None
            if action is None:
                raise Refused("bad_request", f"The actions are {', '.join(self._actions)}.")
            with self._lock:
                if self._stop.is_set():
                    raise Refused("unavailable", "The console is being stopped.")
                answer = action(request)
        except ValueError:
            return _refusal("bad_request", "The request is no JSON.")
        except Refused as refusal:
            return _refusal(refusal.kind, str(refusal))
        except Exception:
            log.exception("a request failed")
            return _refusal("failed", "The supervisor of local jobs met an error; its log tells more.")
        self._wake.set()
        return {"ok": True, **answer}

    # -- actions -----------------------------------------------------------------------------------

    def _submit(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"job_id": self.engine.submit(request)}

    def _cancel(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.engine.cancel(self.engine.find(request))
        return {}

    def _update(self, request: Mapping[str, Any]) -> dict[str, Any]:
        time_s = request.get("time_s")
        if type(time_s) is not int:
            raise Refused("bad_request", "time_s: a whole number is wanted")
        self.engine.update(self.engine.find(request), time_s)
        return {}

    def _hold(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.engine.hold(self.engine.find(request), held=True)
        return {}

    def _release(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.engine.hold(self.engine.find(request), held=False)
        return {}

    def _estimate(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"start_s": self.engine.estimate(request)}

    def _list(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        machine = self.engine.machine
        return {
            "jobs": self.engine.listing(),
            "machine": {
                "name": machine.name,
                "cpus": len(machine.cpus),
                "memory_mb": machine.memory_mb,
                "boot_s": machine.boot_s,
                "gpus": [{"index": gpu.index, "type": gpu.type} for gpu in machine.gpus],
            },
            "max_time_s": self.engine.max_time_s,
        }


def _refusal(kind: str, message: str) -> dict[str, Any]:
    return {"ok": False, "error": {"kind": kind, "message": message}}


def peer_uid(connection: socket.socket) -> int:
    """The Unix user at the other end, as the kernel says."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", raw)[1])


def _reap() -> None:
    """Take leave of runners that ended; how their jobs ended stands in their notes."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
