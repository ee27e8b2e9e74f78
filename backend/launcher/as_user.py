#!/usr/bin/python3 -I
"""Acts as the person who runs it: submits, cancels and reads for the console. One file, standard library.

Installed root-owned (say, /usr/local/libexec/carme-as-user) and started by `sudo -n -u USER --`, or by the
launcher as its own child. It reads its configuration, takes one JSON request on stdin and answers one JSON
line on stdout: {"ok": true, ...} or {"ok": false, "error": {"kind", "message"}}. Commands are argument lists
in a clean environment; what a person typed never reaches a command line, except names that match `NAME`.

Kinds of errors: bad_request, config, exists, refused (the scheduler said no), too_late, unavailable (the
scheduler can't be reached), unknown (ended half-way: it may have happened), not_found.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import json
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from typing import Any

CONFIG_FILE = "/etc/carme/as-user.json"
REQUEST_LIMIT_BYTES = 8 * 2**20
TAIL_LIMIT_BYTES = 256 * 2**10
READ_LIMIT_BYTES = 128 * 2**10  # of a job's log or script: JSON may take six times that
COMMAND_TIMEOUT_S = 30.0
LONGEST_SUBMIT_S = 600.0

SESSION = re.compile(r"[a-z][a-z0-9]{7,62}")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]{0,127}")
JOB = re.compile(r"[1-9][0-9]{0,18}(?:[_+][0-9]{1,9})?")
FOLDER = (".local", "share", "carme", "sessions")
FILES = {"session.json": 0o600, "agent.pyz": 0o600, "job.sh": 0o700}
NAME_OPTIONS = ("account", "partition", "qos", "reservation")
COUNT_OPTIONS = ("nodes", "cpus", "memory_mb", "gpus", "time_s")
UNREACHABLE = (
    "unable to contact slurm controller",
    "connection refused",
    "connection timed out",
    "socket timed out",
    "zero bytes were transmitted",
    "communication connection failure",
    "transport endpoint is not connected",
    "protocol authentication error",
)


class Failure(Exception):
    """What is answered instead of a result."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def read_config(path: str, owner: int) -> dict[str, Any]:
    """The configuration; refused unless `owner` (a uid) owns it and nobody else can write it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise Failure("config", f"{path}: {error.strerror}") from error
    with os.fdopen(fd, "rb") as file:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != owner or facts.st_mode & 0o022:
            raise Failure("config", f"{path} must belong to uid {owner} and be writable by nobody else")
        try:
            config = json.loads(file.read(65536))
        except ValueError as error:
            raise Failure("config", f"{path} is no JSON") from error
    kinds = {"scheduler": str, "slurm_conf": str, "path": str, "socket": str, "min_uid": int}
    if not isinstance(config, dict) or not set(config) <= set(kinds):
        raise Failure("config", f"{path}: the keys are {', '.join(sorted(kinds))}")
    for key, value in config.items():
        if type(value) is not kinds[key]:
            raise Failure("config", f"{path}: {key} has the wrong type")
    if config.get("scheduler", "slurm") not in ("slurm", "local"):
        raise Failure("config", f'{path}: scheduler is "slurm" or "local"')
    return config


def person(config: dict[str, Any], own: bool) -> pwd.struct_passwd:
    """Who this process is. Refuses root and system users; `own`: the launcher said to use its own account."""
    uid = os.getuid()
    if uid != os.geteuid() or os.getgid() != os.getegid():
        raise Failure("config", "this program must not be set-uid")
    if own and config.get("scheduler") == "local":
        return pwd.getpwuid(uid)  # jobs on this machine by whoever started the console here
    if uid == 0 or uid < config.get("min_uid", 1000):
        raise Failure("config", "never as root or a system user")
    return pwd.getpwuid(uid)


def clean_environment(config: dict[str, Any], me: pwd.struct_passwd) -> dict[str, str]:
    """All that a command gets to see."""
    environment = {
        "PATH": config.get("path") or "/usr/local/bin:/usr/bin:/bin",
        "HOME": me.pw_dir,
        "USER": me.pw_name,
        "LOGNAME": me.pw_name,
        "SHELL": me.pw_shell or "/bin/sh",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "SLURM_TIME_FORMAT": "%s",
    }
    if config.get("slurm_conf"):
        environment["SLURM_CONF"] = config["slurm_conf"]
    return environment


def text_of(request: dict[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    value = request.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Failure("bad_request", f"{key}: not a value this program takes")
    return value


def count_of(request: dict[str, Any], key: str, least: int, most: int) -> int:
    value = request.get(key)
    if type(value) is not int or not least <= value <= most:
        raise Failure("bad_request", f"{key}: a whole number from {least} to {most} is wanted")
    return value


def job_options(request: dict[str, Any]) -> dict[str, Any]:
    """The checked options of a job: names and counts only."""
    raw = request.get("options")
    known = (*NAME_OPTIONS, *COUNT_OPTIONS, "gpu_type")
    if not isinstance(raw, dict) or not set(raw) <= set(known):
        raise Failure("bad_request", "options: unknown keys")
    options: dict[str, Any] = {}
    for key in (*NAME_OPTIONS, "gpu_type"):
        if raw.get(key, "") != "":
            options[key] = text_of(raw, key, NAME)
    for key in COUNT_OPTIONS:
        if raw.get(key, 0) != 0:
            options[key] = count_of(raw, key, 1, 2**40)
    if "gpu_type" in options and "gpus" not in options:
        raise Failure("bad_request", "gpu_type: without gpus")
    return options


def minutes(seconds: int) -> int:
    """Slurm's limits are whole minutes: never less than what was asked for."""
    return max(1, -(-seconds // 60))


def sbatch_options(options: dict[str, Any]) -> list[str]:
    """Options of sbatch, each one argument, so that no value can become an option of its own."""
    argv = [f"--{key}={options[key]}" for key in NAME_OPTIONS if key in options]
    argv.append(f"--nodes={options.get('nodes', 1)}")
    argv.append("--ntasks-per-node=1")
    if "cpus" in options:
        argv.append(f"--cpus-per-task={options['cpus']}")
    if "memory_mb" in options:
        argv.append(f"--mem={options['memory_mb']}M")
    if "gpus" in options:
        kind = options["gpu_type"] + ":" if "gpu_type" in options else ""
        argv.append(f"--gres=gpu:{kind}{options['gpus']}")
    if "time_s" in options:
        argv.append(f"--time={minutes(options['time_s'])}")
    return argv


def open_sessions(home: str, create: bool) -> int:
    """A descriptor of the folder that holds the person's session folders. Raises Failure."""
    fd = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    for name in FOLDER:
        if create:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=fd)
        last = name == FOLDER[-1]
        flags = os.O_RDONLY | os.O_DIRECTORY | (os.O_NOFOLLOW if last else 0)
        try:
            below = os.open(name, flags, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    if os.fstat(fd).st_uid != os.getuid():
        os.close(fd)
        raise Failure("refused", f"~/{'/'.join(FOLDER)} does not belong to you")
    return fd


def write_session(home: str, session: str, files: dict[str, bytes]) -> str:
    """Make the session's folder, which must not be there yet, and its files. Returns its path."""
    parent = open_sessions(home, create=True)
    try:
        os.mkdir(session, 0o700, dir_fd=parent)
        folder = os.open(session, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except FileExistsError as error:
        raise Failure("exists", "the session was submitted before") from error
    finally:
        os.close(parent)
    try:
        for name, content in files.items():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            fd = os.open(name, flags, FILES[name], dir_fd=folder)
            with os.fdopen(fd, "wb") as file:
                file.write(content)
            os.chmod(name, FILES[name], dir_fd=folder)
    except OSError:
        remove_session(home, session)
        raise
    finally:
        os.close(folder)
    return "/".join((home, *FOLDER, session))


def remove_session(home: str, session: str) -> bool:
    """Remove a session's folder with what this program and its job put there; anything else makes it stay."""
    try:
        parent = open_sessions(home, create=False)
    except OSError:
        return False
    try:
        folder = os.open(session, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        for name in (*FILES, "log"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
        os.close(folder)
        os.rmdir(session, dir_fd=parent)
    except OSError:
        return False
    finally:
        os.close(parent)
    return True


def decoded_files(request: dict[str, Any]) -> dict[str, bytes]:
    raw = request.get("files")
    if not isinstance(raw, dict) or set(raw) != set(FILES):
        raise Failure("bad_request", f"files: {', '.join(FILES)}")
    try:
        return {name: base64.b64decode(content, validate=True) for name, content in raw.items()}
    except (TypeError, ValueError, binascii.Error) as error:
        raise Failure("bad_request", "files: base64 is wanted") from error


def run(argv: list[str], environment: dict[str, str], timeout_s: float, stdin: str = "") -> tuple[int, str, str]:
    """Run one command: (status, output, errors). Raises Failure when it is absent or too slow."""
    status, output, errors = run_whole(argv, environment, timeout_s, stdin)
    return status, plain(output), plain(errors)


def run_whole(
    argv: list[str], environment: dict[str, str], timeout_s: float, stdin: str = ""
) -> tuple[int, bytes, bytes]:
    """The same, with all that it wrote."""
    program = shutil.which(argv[0], path=environment["PATH"])
    if program is None:
        raise Failure("config", f"{argv[0]} is not installed where this program looks for it")
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            env=environment,
            cwd="/",
            input=stdin.encode(),
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Failure("unknown", f"{argv[0]} did not answer in time") from error
    return done.returncode, done.stdout, done.stderr


def plain(raw: bytes) -> str:
    """A command's output as text of one screen at most, without control characters."""
    text = raw[-4096:].decode("utf-8", "replace")
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text).strip()


def refusal(errors: str) -> Failure:
    """The scheduler's own words as a failure."""
    lines = [re.sub(r"^[a-z]+: (?:error: )?", "", line).strip() for line in errors.splitlines()]
    message = "; ".join(line for line in lines if line) or "no reason was given"
    unreachable = any(mark in message.lower() for mark in UNREACHABLE)
    return Failure("unavailable" if unreachable else "refused", message)


class Slurm:
    """Slurm's own commands."""

    def __init__(self, config: dict[str, Any], me: pwd.struct_passwd) -> None:
        self.me = me
        self.environment = clean_environment(config, me)

    def submit(self, session: str, folder: str, options: dict[str, Any], timeout_s: float) -> int:
        argv = [
            "sbatch",
            "--parsable",
            "--no-requeue",
            "--export=HOME,USER,LOGNAME,SHELL,PATH,LANG",
            "--job-name=carme-" + session,
            "--comment=carme",
            "--chdir=" + folder,
            "--output=" + folder.replace("%", "%%") + "/log",
            *sbatch_options(options),
            folder + "/job.sh",
            folder,
        ]
        status, output, errors = run(argv, self.environment, timeout_s)
        if status != 0:
            raise refusal(errors)
        match = re.match(r"([0-9]+)", output.splitlines()[-1] if output else "")
        if match is None:
            raise Failure("unknown", "sbatch gave no job number")
        return int(match.group(1))

    def estimate(self, options: dict[str, Any]) -> int | None:
        argv = [
            "sbatch",
            "--test-only",
            "--no-requeue",
            "--job-name=carme-estimate",
            *sbatch_options(options),
        ]
        status, output, errors = run(argv, self.environment, COMMAND_TIMEOUT_S, "#!/bin/sh\nexit 0\n")
        match = re.search(r"to start at ([0-9]{9,12})\b", errors + "\n" + output)
        if match is None and status != 0:
            raise refusal(errors)
        return int(match.group(1)) if match else None

    def cancel(self, job: str | None, session: str) -> None:
        """By number, or every job of mine that carries the session's name."""
        target = [job] if job else ["--user=" + self.me.pw_name, "--name=carme-" + session]
        self._command(["scancel", *target])

    def update(self, job: str, time_s: int) -> None:
        self._command(["scontrol", "update", f"JobId={job}", f"TimeLimit={minutes(time_s)}"])

    def hold(self, job: str) -> None:
        self._command(["scontrol", "hold", job])

    def release(self, job: str) -> None:
        self._command(["scontrol", "release", job])

    def requeue(self, job: str) -> None:
        self._command(["scontrol", "requeue", job])

    def log_path(self, job: str, which: str, gone: bool, window: list[str]) -> str:
        """Where the job's output goes; "" when Slurm doesn't know (any more). Raises Failure."""
        name = "StdErr" if which == "err" else "StdOut"
        if not gone:
            status, output, errors = run_whole(["scontrol", "show", "job", job], self.environment, COMMAND_TIMEOUT_S)
            if status == 0:
                facts = job_facts(output, os.getuid())
                return facts.get(name) or facts.get("StdOut", "")
            self._absent(errors)
        # Slurm keeps it in its accounts since 24.05; an older sacct knows no such field.
        argv = ["sacct", "--noheader", "--parsable2", "--allocations", "--expand-patterns", *window]
        status, output, _ = run_whole(
            [*argv, f"--jobs={job}", f"--format={name}"], self.environment, COMMAND_TIMEOUT_S
        )
        lines = output.decode("utf-8", "replace").splitlines() if status == 0 else []
        return next((line for line in reversed(lines) if line.startswith("/")), "")

    def script(self, job: str, kind: str, gone: bool, window: list[str]) -> bytes:
        """The batch script or the environment of a job; b"" when Slurm doesn't keep it. Raises Failure."""
        if kind == "script" and not gone:
            argv = ["scontrol", "write", "batch_script", job, "-"]
            status, output, errors = run_whole(argv, self.environment, COMMAND_TIMEOUT_S)
            if status == 0:
                return output
            if b"batch script" not in errors.lower() and b"non-batch" not in errors.lower():
                self._absent(errors)
        option = "--batch-script" if kind == "script" else "--env-vars"
        argv = ["sacct", *window, f"--jobs={job}", option]
        status, output, _ = run_whole(argv, self.environment, COMMAND_TIMEOUT_S)
        return kept_text(output) if status == 0 else b""

    def _absent(self, errors: bytes) -> None:
        """A job that the controller has forgotten is no failure; anything else is."""
        words = plain(errors)
        if "invalid job id" not in words.lower():
            raise refusal(words)

    def _command(self, argv: list[str]) -> None:
        status, output, errors = run(argv, self.environment, COMMAND_TIMEOUT_S)
        if status != 0 or "error:" in errors:  # scancel exits 0 for a job that is not there
            raise refusal(errors or output)


class Local:
    """The supervisor of jobs on this machine, by its Unix socket: one JSON line each way."""

    def __init__(self, config: dict[str, Any], me: pwd.struct_passwd) -> None:
        self.me = me
        self.config = config
        self.environment = clean_environment(config, me)

    def submit(self, session: str, folder: str, options: dict[str, Any], timeout_s: float) -> int:
        environment = {key: value for key, value in self.environment.items() if not key.startswith("SLURM_")}
        answer = self._ask(
            {
                "action": "submit",
                "name": "carme-" + session,
                "argv": [folder + "/job.sh", folder],
                "cwd": folder,
                "env": environment,
                "output": folder + "/log",
                **options,
            },
            timeout_s,
        )
        return answer["job_id"]

    def estimate(self, options: dict[str, Any]) -> int | None:
        return self._ask({"action": "estimate", **options}).get("start_s")

    def cancel(self, job: str | None, session: str) -> None:
        self._ask(
            {"action": "cancel", "job_id": _number(job)} if job else {"action": "cancel", "name": "carme-" + session}
        )

    def update(self, job: str, time_s: int) -> None:
        self._ask({"action": "update", "job_id": _number(job), "time_s": time_s})

    def hold(self, job: str) -> None:
        self._ask({"action": "hold", "job_id": _number(job)})

    def release(self, job: str) -> None:
        self._ask({"action": "release", "job_id": _number(job)})

    def requeue(self, job: str) -> None:
        raise Failure("refused", "jobs on this machine are not put back in the queue")

    def log_path(self, job: str, which: str, gone: bool, window: list[str]) -> str:
        return str(self._job(job).get("output", ""))

    def script(self, job: str, kind: str, gone: bool, window: list[str]) -> bytes:
        if kind != "script":
            return b""
        argv = self._job(job).get("argv") or [""]
        try:
            return read_part(argv[0], READ_LIMIT_BYTES, end=False)[0]
        except OSError:
            return b""

    def _job(self, job: str) -> dict[str, Any]:
        number = _number(job)
        found = [row for row in self._ask({"action": "list"})["jobs"] if row["id"] == number]
        if not found:
            raise Failure("not_found", "This machine's scheduler has forgotten the job.")
        return found[0]

    def _ask(self, request: dict[str, Any], timeout_s: float = COMMAND_TIMEOUT_S) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            try:
                connection.connect(self.config.get("socket", ""))
            except OSError as error:
                raise Failure("unavailable", "the supervisor of local jobs is not running") from error
            try:
                connection.sendall(json.dumps(request).encode() + b"\n")
                with connection.makefile("rb") as lines:
                    answer = json.loads(lines.readline(REQUEST_LIMIT_BYTES))
            except (OSError, ValueError) as error:
                raise Failure("unknown", "the supervisor of local jobs gave no answer") from error
        if not answer.get("ok"):
            why = answer.get("error") or {}
            raise Failure(why.get("kind", "refused"), why.get("message", "no reason was given"))
        return answer


def _number(job: str) -> int:
    """A local job's number; int() alone would read 12_3 as 123."""
    if not job.isdigit():
        raise Failure("bad_request", "job_id: local jobs are plain numbers")
    return int(job)


def submit(request: dict[str, Any], scheduler: Slurm | Local) -> dict[str, Any]:
    session = text_of(request, "session", SESSION)
    files = decoded_files(request)
    options = job_options(request)
    not_after = request.get("not_after_s")
    if not isinstance(not_after, (int, float)):
        raise Failure("bad_request", "not_after_s: a number is wanted")
    left_s = min(not_after - time.time(), LONGEST_SUBMIT_S)
    if left_s <= 0:
        raise Failure("too_late", "the time to submit this had passed")
    home = scheduler.me.pw_dir
    if not home.startswith("/") or any(not char.isprintable() or char == "\\" for char in home):
        raise Failure("config", "the home folder's path can't be used")
    folder = write_session(home, session, files)
    left_s = min(not_after - time.time(), LONGEST_SUBMIT_S)
    try:
        if left_s <= 0:
            raise Failure("too_late", "the time to submit this had passed")
        return {"job_id": scheduler.submit(session, folder, options, left_s)}
    except Failure as failure:
        if failure.kind != "unknown":
            remove_session(home, session)
        raise


def estimate(request: dict[str, Any], scheduler: Slurm | Local) -> dict[str, Any]:
    return {"start_s": scheduler.estimate(job_options(request))}


def cancel(request: dict[str, Any], scheduler: Slurm | Local) -> dict[str, Any]:
    if request.get("job_id") is not None:
        scheduler.cancel(job_of(request), "")
    else:
        scheduler.cancel(None, text_of(request, "session", SESSION))
    return {}


def update(request: dict[str, Any], scheduler: Slurm | Local) -> dict[str, Any]:
    scheduler.update(job_of(request), count_of(request, "time_s", 60, 10**9))
    return {}


def hold(request: dict[str, Any], scheduler: Slurm | Local) -> dict[str, Any]:
    scheduler.hold(job_of(request))
    return {}


def release(request: dict[str, Any], scheduler: Slurm | Local) -> dict[str, Any]:
    scheduler.release(job_of(request))
    return {}


def job_of(request: dict[str, Any]) -> str:
    value = request.get("job_id")
    return text_of({"job_id": str(value) if type(value) is int else value}, "job_id", JOB)


def tail(request: dict[str, Any], scheduler: Slurm | Local) -> dict[str, Any]:
    """The end of a session's log. Links and anything but the person's own regular file are refused."""
    session = text_of(request, "session", SESSION)
    limit = count_of(request, "max_bytes", 1, TAIL_LIMIT_BYTES)
    try:
        parent = open_sessions(scheduler.me.pw_dir, create=False)
        folder = os.open(session, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        fd = os.open("log", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        raise Failure("not_found", "there is no log yet") from error
    with os.fdopen(fd, "rb") as file:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.getuid():
            raise Failure("not_found", "the log is no file of yours")
        file.seek(max(0, facts.st_size - limit))
        content = file.read(limit)
    return {"text": content.decode("utf-8", "replace"), "size_bytes": facts.st_size}


def requeue(request: dict[str, Any], scheduler: Slurm | Local) -> dict[str, Any]:
    scheduler.requeue(job_of(request))
    return {}


def job_log(request: dict[str, Any], scheduler: Slurm | Local) -> dict[str, Any]:
    """The end of what a job printed, as far as the person may read it. `which`: "out" or "err".

    Where Slurm has forgotten the path, the file sbatch writes by default in `folder`, the job's working folder.
    """
    which = text_of(request, "which", re.compile("out|err"))
    limit = count_of(request, "max_bytes", 1, READ_LIMIT_BYTES)
    job = job_of(request)
    path = scheduler.log_path(job, which, request.get("gone") is True, window_of(request))
    note = ""
    if not path and request.get("folder") is not None and which == "out":
        folder = text_of(request, "folder", FOLDER_PATH)
        path = f"{folder.rstrip('/')}/slurm-{job}.out"
        note = "Slurm has forgotten where the output went; this is the file it writes where a script names none."
    if not path.startswith("/"):
        raise Failure("not_found", "Slurm has forgotten where the job's output went.")
    if path == "/dev/null":
        raise Failure("not_found", "The job's output is thrown away: it goes to /dev/null.")
    try:
        content, size = read_part(path, limit, end=True)
    except OSError as error:
        where = f" The default file would be {path}." if note else f" It goes to {path}."
        raise Failure("not_found", f"The output can't be read: {error.strerror}.{where}") from error
    return {"text": content.decode("utf-8", "replace"), "size_bytes": size, "path": path, "note": note}


def job_script(request: dict[str, Any], scheduler: Slurm | Local) -> dict[str, Any]:
    """The batch script of a job of the person's, or (`kind`: "environment") what it was submitted with."""
    kind = text_of(request, "kind", re.compile("script|environment"))
    content = scheduler.script(job_of(request), kind, request.get("gone") is True, window_of(request))
    if not content.strip():
        what = "the script" if kind == "script" else "the environment"
        raise Failure("not_found", f"Slurm doesn't keep {what} of this job.")
    text = content[:READ_LIMIT_BYTES].decode("utf-8", "replace")
    return {"text": text, "size_bytes": len(content), "path": "", "note": ""}


FOLDER_PATH = re.compile(r"/[^\x00-\x1f]{0,4000}")


def window_of(request: dict[str, Any]) -> list[str]:
    """Options of sacct for the stretch in which the job was submitted and ended: its number may have come again."""
    if request.get("since_s") is None:
        return []
    since_s, until_s = (count_of(request, name, 0, 2**33) for name in ("since_s", "until_s"))
    return [f"--starttime=uts{since_s}", f"--endtime=uts{until_s}"]


def job_facts(output: bytes, uid: int) -> dict[str, str]:
    """What `scontrol show job` says in lines of one fact, of the first job that is this uid's. Raises Failure."""
    for record in output.decode("utf-8", "replace").split("\n\n"):
        if re.search(r"^   UserId=[^\s(]*\(" + str(uid) + r"\)\s", record, re.MULTILINE):
            return dict(re.findall(r"^   (StdOut|StdErr)=(.*)$", record, re.MULTILINE))
    raise Failure("not_found", "This is no job of yours.")


def kept_text(output: bytes) -> bytes:
    """Of `sacct --batch-script` or `--env-vars`: what stands below its heading; b"" where it keeps none."""
    heading, _, rest = output.partition(b"\n")
    line, _, text = rest.partition(b"\n")
    if b" for " not in heading or not line.startswith(b"---") or text.strip() in (b"", b"NONE"):
        return b""
    return text


def read_part(path: str, limit: int, end: bool) -> tuple[bytes, int]:
    """The end or the beginning of a regular file, and its size. Raises OSError, also for what is no file."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        file.seek(max(0, facts.st_size - limit) if end else 0)
        return file.read(limit), facts.st_size


def forget(request: dict[str, Any], scheduler: Slurm | Local) -> dict[str, Any]:
    """Remove the folder of a session that is over."""
    return {"removed": remove_session(scheduler.me.pw_dir, text_of(request, "session", SESSION))}


ACTIONS = {
    "submit": submit,
    "estimate": estimate,
    "cancel": cancel,
    "update": update,
    "hold": hold,
    "release": release,
    "requeue": requeue,
    "job_log": job_log,
    "job_script": job_script,
    "tail": tail,
    "forget": forget,
}


def handle(argv: list[str]) -> dict[str, Any]:
    """Read the configuration and the request, act, and return the answer."""
    own = len(argv) == 3 and argv[1] == "--own"
    if len(argv) > 1 and not own:
        raise Failure("config", "this program takes no arguments")
    if own and "SUDO_UID" in os.environ:
        raise Failure("config", "--own is for the launcher's own account, not through sudo")
    config = read_config(argv[2], os.getuid()) if own else read_config(CONFIG_FILE, 0)
    me = person(config, own)
    raw = sys.stdin.buffer.read(REQUEST_LIMIT_BYTES + 1)
    if len(raw) > REQUEST_LIMIT_BYTES:
        raise Failure("bad_request", "the request is too large")
    try:
        request = json.loads(raw)
    except ValueError as error:
        raise Failure("bad_request", "the request is no JSON") from error
    action = ACTIONS.get(str(request.get("action"))) if isinstance(request, dict) else None
    if action is None:
        raise Failure("bad_request", f"the actions are {', '.join(ACTIONS)}")
    scheduler = Local(config, me) if config.get("scheduler") == "local" else Slurm(config, me)
    return action(request, scheduler)


def main() -> None:
    os.umask(0o077)
    os.chdir("/")
    signal.alarm(int(LONGEST_SUBMIT_S) + 60)  # whatever hangs, this process ends
    try:
        answer = {"ok": True, **handle(sys.argv)}
    except Failure as failure:
        answer = {"ok": False, "error": {"kind": failure.kind, "message": failure.message[:2000]}}
    except OSError as error:  # a full disk, an unreadable home: the person can act on these words
        where = f" ({error.filename})" if isinstance(error.filename, str) else ""
        answer = {"ok": False, "error": {"kind": "refused", "message": f"{error.strerror}{where}"}}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
