"""The life of a session on its node: apps up, gateway bound, console told, everything gone at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import random
import resource
import shutil
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from . import apps, registration, runtimes
from .gateway import Gateway, Route
from .heap import give_back_freed_memory
from .idle import IdleClock
from .log import log
from .process import AppProcess, adopt_orphans, end_descendants
from .spec import AgentSpec, AppSpec, read_spec
from .step import ENDING, node_name
from .telemetry.of_session import session_watch

SOCKET_PATH_LIMIT_BYTES = 107
REGISTER_EVERY_S = 60.0
REFUSED_EVERY_S = 30.0
BACKOFF_MAX_S = 20.0
HEALTH_EVERY_S = 0.1
HEALTH_TIMEOUT_S = 5.0
LAST_WORD_S = 2.0
LAST_SAMPLES_S = 1.0
IDLE_CHECK_S = 30.0


T = TypeVar("T")


class CannotRun(Exception):
    """The session can't be run on this node; the message says why."""


class Session:
    """One session's run. `states` holds `starting`, `ready` or `failed` for each app."""

    def __init__(self, spec_path: Path, env: Mapping[str, str]) -> None:
        """Read the spec. Raises SpecError, CannotRun."""
        self._spec_path = spec_path
        self.spec = read_spec(spec_path)
        self._env = dict(env)
        account = pwd.getpwuid(os.getuid())
        self._env.setdefault("HOME", account.pw_dir)
        self._env.setdefault("USER", account.pw_name)
        self._env.pop("XDG_RUNTIME_DIR", None)  # the login node's, if any
        self._home = self._env["HOME"]
        self._work_dir = self.spec.work_dir or self._home
        if not Path(self._work_dir).is_dir():
            raise CannotRun(f"the working folder {self._work_dir!r} is no folder on this node")
        self.states = {app.name: "starting" for app in self.spec.apps}
        self._changed = asyncio.Event()
        self._over = asyncio.Event()
        self._exit_status = 0
        self._port = 0
        self._activity_paths: dict[str, tuple[str, ...]] = {}
        self._running: dict[str, AppProcess] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._idle = IdleClock(spec_path.parent)
        self._unasked = False
        self._watch = session_watch(self.spec, self._env, log, self._idle.busy)

    def end(self, reason: str, exit_status: int = 0) -> None:
        """End the session; the first reason counts."""
        if not self._over.is_set():
            log(f"ending: {reason}")
            self._exit_status = exit_status
            self._over.set()

    async def run(self) -> int:
        """Run until the end and return the exit status. Leaves no process and no file behind."""
        loop = asyncio.get_running_loop()
        for number in ENDING:
            loop.add_signal_handler(number, self.end, f"signal {number.name}")
        adopt_orphans()
        _allow_many_files()
        _leave_no_core()
        scratch = make_scratch(self._env, [app.name for app in self.spec.apps])
        try:
            await self._start(scratch)
            await self._over.wait()
        finally:
            await self._stop()
            shutil.rmtree(scratch, ignore_errors=True)
        log("ended")
        return self._exit_status

    async def _start(self, scratch: Path) -> None:
        around = runtimes.Surroundings(self._home, self._work_dir, str(scratch))
        inside = runtimes.socket_folder_inside(self.spec.runtime.kind, around)
        routes: dict[str, Route] = {}
        for app in self.spec.apps:
            try:
                plan = apps.plan(
                    app,
                    socket_path=f"{inside}/{app.name}",
                    runtime_dir=f"{inside}/{app.name}.d",
                    work_dir=self._work_dir,
                    as_root=os.getuid() == 0,
                )
                command = runtimes.wrap(self.spec.runtime, plan.argv, plan.env, self._env, around)
            except (apps.AppUnknown, runtimes.RuntimeRefused) as error:
                raise CannotRun(str(error)) from error
            self._activity_paths[app.name] = plan.activity_paths
            path = f"{around.sockets}/{app.name}"
            routes[app.name] = Route(path, app.base_path, plan.strip_prefix)
            self._spawn(self._run_app(app, command, plan, path))
        self._gateway = Gateway(self.spec.secret, routes, lambda name: self.states[name] == "failed")
        self._port = await self._gateway.start(self.spec.bind_host, server_context(self.spec, scratch))
        log(f"gateway on port {self._port} of {node_name(self._env)}")
        if self._watch is not None:
            self._watch.start()
        self._spawn(self._register(self._port))
        self._spawn(self._keep_end())
        self._spawn(self._keep_idle(routes))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        task.add_done_callback(self._task_ended)
        self._tasks.append(task)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.end(f"internal error: {task.exception()!r}", 1)

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._port and "failed" in self.states.values():
            await self._say_failed()
        if self._port:
            await self._gateway.close()
        await asyncio.gather(self._end_watch(), *(process.stop() for process in self._running.values()))
        await end_descendants()

    def _set_state(self, name: str, state: str) -> None:
        self.states[name] = state
        log(f"{name} is {state}")
        self._changed.set()

    async def _run_app(self, app: AppSpec, command: runtimes.Command, plan: apps.AppPlan, path: str) -> None:
        """Start an app, see it ready, see it end. It is never started again by itself."""
        try:
            process = await AppProcess.start(app.name, command)
        except OSError as error:
            log(f"{app.name} can't be started: {error}")
            self._ended(app.name, None)
            return
        self._running[app.name] = process
        health = asyncio.ensure_future(self._until_ready(app.name, path, plan.ready_path))
        try:
            status = await process.wait()
        finally:
            health.cancel()
        if self._over.is_set():
            return
        log(f"{app.name} ended with status {status}; its last lines:")
        for line in process.last_lines:
            log(f"  {line}")
        self._ended(app.name, status)

    def _ended(self, name: str, status: int | None) -> None:
        was_ready = self.states[name] == "ready"
        self._set_state(name, "failed")
        if all(state == "failed" for state in self.states.values()):
            shut_down = was_ready and status == 0
            self.end("the last app was shut down" if shut_down else "no app is left", 0 if shut_down else 1)

    async def _until_ready(self, name: str, path: str, ready_path: str) -> None:
        while True:
            status, _ = await ask(path, ready_path)
            if status == 200:
                os.chmod(path, 0o600)  # noqa: PTH101 - quick, and no file system is waited for
                self._set_state(name, "ready")
                return
            await asyncio.sleep(HEALTH_EVERY_S)

    async def _register(self, port: int) -> None:
        """Tell the console: at once, at each change, every minute; for ever, whatever it answers."""
        backoff_s, said = 0.5, ""
        while True:
            self._changed.clear()
            try:
                standing = await self._register_once(port)
            except registration.Unreachable as error:
                note, wait_s = f"the console can't be reached, trying on: {error}", backoff_s
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
            except registration.Refused as error:
                note, wait_s = f"the console refuses, trying on: {error}", REFUSED_EVERY_S
            else:
                note, wait_s, backoff_s = "", REGISTER_EVERY_S, 0.5
                if standing.over:
                    self.end("the console says that the session is over")
                    return
            if note != said:
                log(note or "registered with the console again")
                said = note
            await within(self._changed.wait(), wait_s * random.uniform(0.8, 1))  # noqa: S311

    async def _register_once(self, port: int) -> registration.Standing:
        message = {
            "session": self.spec.session_id,
            "port": port,
            "node": node_name(self._env),
            "time_s": int(time.time()),
            "apps": dict(self.states),
            "idle_s": self._idle.idle_s,
            "idle_timeout_s": self.spec.idle_timeout_s or 0,
        }
        spec = self.spec
        args = (spec.secret, spec.console_url, spec.register_path, message, spec.console_ca_pem)
        standing = await in_thread(lambda: registration.register(*args))
        if standing.kept_ago_s is not None:
            self._idle.used(time.time() - standing.kept_ago_s)
        return standing

    async def _say_failed(self) -> None:
        """Tell the console once that apps have failed, so that the card says so before the job has ended."""
        with contextlib.suppress(registration.Unreachable, registration.Refused):
            await within(self._register_once(self._port), LAST_WORD_S)

    async def _end_watch(self) -> None:
        """Let what was seen last arrive too, as long as that is quick."""
        watch = self._watch
        if watch is not None:
            await within(in_thread(lambda: watch.end(LAST_SAMPLES_S)), 2 * LAST_SAMPLES_S)

    async def _keep_end(self) -> None:
        """End at `end_s`. The console may have moved it in the file meanwhile."""
        end_s = self.spec.end_s
        while end_s is not None:
            left_s = end_s - time.time()
            if left_s > 0:
                await asyncio.sleep(min(left_s, 60.0))
                continue
            now = read_spec(self._spec_path).end_s
            if now is not None and now <= end_s:
                self.end("its time is over")
                return
            end_s = now

    async def _keep_idle(self, routes: Mapping[str, Route]) -> None:
        """End when the session was idle for longer than the site allows. An app that doesn't say counts as used."""
        limit_s = self.spec.idle_timeout_s
        while True:
            await asyncio.sleep(min(IDLE_CHECK_S, limit_s / 4) if limit_s else IDLE_CHECK_S)
            before_s = self._idle.idle_s
            for app in self.spec.apps:
                if self.states[app.name] != "failed":
                    self._idle.used(await self._last_used_s(app, routes[app.name]))
            await in_thread(self._idle.look)
            give_back_freed_memory()
            if limit_s and before_s and not self._idle.idle_s:
                self._changed.set()  # the console may be warning of an end that won't come
            if limit_s and self._idle.over(limit_s):
                await self._end_idle(limit_s)

    async def _end_idle(self, limit_s: int) -> None:
        """Ask the console first: the person may have chosen to keep the session. While it is away nobody can use the
        session or choose anything, so the clock starts anew when it is back."""
        try:
            await self._register_once(self._port)
        except (registration.Unreachable, registration.Refused):
            self._unasked = True
            return
        if self._unasked:
            self._unasked = False
            self._idle.used(time.time())
        elif self._idle.over(limit_s):
            self.end(f"idle for {limit_s} s")

    async def _last_used_s(self, app: AppSpec, route: Route) -> float:
        paths = self._activity_paths[app.name]
        if not paths:
            return self._gateway.last_traffic_s
        answers = {path: (await ask(route.socket_path, path))[1] for path in paths}
        used_s = apps.last_activity_s(app.name, answers)
        return time.time() if used_s is None else used_s


async def ask(socket_path: str, path: str) -> tuple[int, bytes]:
    """GET a path from an app's socket: status and body; (0, b"") when it doesn't answer."""
    try:
        answer = await within(_ask(socket_path, path), HEALTH_TIMEOUT_S)
    except (OSError, ValueError, IndexError):
        return 0, b""
    return answer or (0, b"")


async def in_thread(work: Callable[[], T]) -> T:
    """The result of blocking work, in a thread that the agent's end doesn't wait for."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if result.done():
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(cast(T, value))

    def run() -> None:
        value, problem = None, None
        try:
            value = work()
        except Exception as error:  # noqa: BLE001 - handed to who awaits
            problem = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, value, problem)

    threading.Thread(target=run, daemon=True).start()
    return await result


async def within(work: Coroutine[Any, Any, T], limit_s: float) -> T | None:
    """The result, or None when it takes longer.

    Unlike `asyncio.wait_for` before Python 3.12 it swallows no cancellation that comes with the result.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait([task], timeout=limit_s)
        return task.result() if done else None
    finally:
        task.cancel()


async def _ask(socket_path: str, path: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_unix_connection(socket_path)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read(1 << 20)
        while b"\r\n\r\n" not in answer or not reader.at_eof():
            more = await reader.read(1 << 20)
            if not more:
                break
            answer += more
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(None, 2)[1]), body
    finally:
        writer.close()


def make_scratch(env: Mapping[str, str], names: list[str]) -> Path:
    """A fresh 0700 folder on node-local disk whose socket paths fit. The caller removes it."""
    longest = max(len(name) for name in names) + len("/carme-XXXXXXXX/sockets/.d/kernel--ipc-5") + 36
    for base in (env.get("SLURM_TMPDIR", ""), env.get("TMPDIR", ""), "/tmp"):  # noqa: S108 - mkdtemp in it
        fits = len(os.fsencode(base)) + longest <= SOCKET_PATH_LIMIT_BYTES
        if base.startswith("/") and fits and os.access(base, os.W_OK | os.X_OK):
            scratch = Path(tempfile.mkdtemp(prefix="carme-", dir=base))
            for name in names:
                (scratch / "sockets" / f"{name}.d").mkdir(parents=True, mode=0o700)
            (scratch / "sockets").chmod(0o700)
            (scratch / "container").mkdir(mode=0o700)
            return scratch
    raise CannotRun("no writable temporary folder with a short path on this node")


def server_context(spec: AgentSpec, scratch: Path) -> ssl.SSLContext:
    """TLS with the session's certificate. Python reads keys from files only: a short-lived one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    pem = scratch / "tls.pem"
    try:
        with os.fdopen(os.open(pem, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(spec.tls_key_pem + "\n" + spec.tls_cert_pem)
        context.load_cert_chain(pem)
    except ssl.SSLError as error:
        raise CannotRun(f"the session's certificate can't be used: {error}") from error
    finally:
        pem.unlink(missing_ok=True)
    return context


def _allow_many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _leave_no_core() -> None:
    """At a stop the image may be unmounted under an app that still runs: its core would fill the person's home.

    Only the soft limit: who wants cores of programs of their own can raise it again (`ulimit -c`).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
