"""What happens to local jobs: queued, started, watched, ended, and found again after a crash."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backend.cluster.local import runner
from backend.cluster.local.jobs import ACCOUNT, PARTITION, QOS, Job, Refused, Wanted, check_wanted
from backend.cluster.local.ledger import Ledger
from backend.cluster.local.machine import Machine, boot_id
from backend.cluster.local.plan import Held, pick_types, plan

log = logging.getLogger(__name__)

GRACE_S = 5.0  # between the request to end and the kill
STARTING_S = 10.0  # a runner that has not taken its job on by then never will
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Engine:
    """All jobs of this machine. Every method is called by one thread at a time."""

    def __init__(self, ledger: Ledger, machine: Machine, max_time_s: int) -> None:
        self.ledger = ledger
        self.machine = machine
        self.max_time_s = max_time_s
        self._boot = boot_id()
        self._adopt()

    # -- what is asked of it -----------------------------------------------------------------------

    def submit(self, request: Mapping[str, Any]) -> int:
        """The job's number; the same again for a name that was submitted before. Raises Refused."""
        name, cwd, output = (_text(request, key) for key in ("name", "cwd", "output"))
        argv, env = request.get("argv"), request.get("env")
        if not isinstance(argv, list) or not argv or not all(_safe(word) for word in argv):
            raise Refused("bad_request", "argv: a list of texts is wanted")
        if not isinstance(env, dict) or not all(_safe(key) and _safe(value) for key, value in env.items()):
            raise Refused("bad_request", "env: texts by name are wanted")
        known = self.ledger.named(name)
        if known is not None:
            return known.id
        not_after_s = request.get("not_after_s")
        if not_after_s is not None and time.time() > float(not_after_s):
            raise Refused("too_late", "The time to submit this had passed.")
        wanted = check_wanted(request, self.machine, self.max_time_s)
        job = Job(
            id=self.ledger.next_id(),
            name=name,
            argv=argv,
            cwd=cwd,
            env=env,
            output=output,
            wanted=asdict(wanted),
            submit_s=time.time(),
        )
        self.ledger.jobs[job.id] = job
        self.ledger.save()
        return job.id

    def cancel(self, job: Job) -> None:
        if job.over:
            return
        if job.state == "PENDING":
            self._over(job, "CANCELLED", "0:0")
            self.ledger.save()
        else:
            self._ask_to_end(job, "CANCELLED", "It was cancelled.")

    def update(self, job: Job, time_s: int) -> None:
        """Another time limit. Raises Refused."""
        if job.over:
            raise Refused("refused", "The job is over.")
        if not 60 <= time_s <= self.max_time_s:
            raise Refused("refused", f"A time limit here is 60 to {self.max_time_s} s.")
        job.wanted = {**job.wanted, "time_s": time_s}
        self.ledger.save()

    def hold(self, job: Job, *, held: bool) -> None:
        if job.state != "PENDING":
            raise Refused("refused", "Only a job that waits can be held or released.")
        job.held = held
        self.ledger.save()

    def estimate(self, options: Mapping[str, Any]) -> int:
        """When such a job would begin, if it were submitted now. Raises Refused."""
        wanted = check_wanted(options, self.machine, self.max_time_s)
        waiting = [job.request for job in self._queue()]
        now_s = time.time()
        return int(plan(self.machine, self._held(), [*waiting, wanted], now_s)[-1])

    def find(self, request: Mapping[str, Any]) -> Job:
        """The job a request names by number or by name. Raises Refused."""
        number, name = request.get("job_id"), request.get("name")
        found = self.ledger.jobs.get(number) if isinstance(number, int) else None
        if found is None and isinstance(name, str):
            found = self.ledger.named(name)
        if found is None:
            raise Refused("not_found", "There is no such job.")
        return found

    def listing(self) -> list[dict[str, Any]]:
        """Every job with what the planner says of it; without its environment."""
        now_s = time.time()
        queue = self._queue()
        starts = dict(
            zip(
                (job.id for job in queue),
                plan(self.machine, self._held(), [job.request for job in queue], now_s),
                strict=True,
            )
        )
        rows = []
        for job in self.ledger.jobs.values():
            row = job.to_dict()
            del row["env"]
            row["planned_s"] = starts.get(job.id)
            row["first"] = bool(queue) and queue[0].id == job.id
            rows.append(row)
        return rows

    # -- the course of things ----------------------------------------------------------------------

    def tick(self) -> None:
        """Notice what ended, end what must, start what fits."""
        changed = False
        for job in self.ledger.jobs.values():
            if job.state == "RUNNING":
                changed = self._watch(job) or changed
        changed = self._start_next() or changed
        if changed:
            self.ledger.save()

    def end_all(self) -> None:
        """Ask every job to end and wait until all are gone: the console is being stopped."""
        for job in list(self.ledger.jobs.values()):
            if job.state == "PENDING":
                self._over(job, "CANCELLED", "0:0", "The console was stopped.")
            elif job.state == "RUNNING":
                self._ask_to_end(job, "CANCELLED", "The console was stopped.")
        self.ledger.save()
        deadline = time.monotonic() + 2 * GRACE_S
        while any(job.state == "RUNNING" for job in self.ledger.jobs.values()) and time.monotonic() < deadline:
            for job in self.ledger.jobs.values():
                if job.state == "RUNNING":
                    self._watch(job)
            time.sleep(0.05)
        self.ledger.save()

    def _queue(self) -> list[Job]:
        waiting = [job for job in self.ledger.jobs.values() if job.state == "PENDING" and not job.held]
        return sorted(waiting, key=lambda job: job.id)

    def _running(self) -> list[Job]:
        return [job for job in self.ledger.jobs.values() if job.state == "RUNNING"]

    def _held(self) -> list[Held]:
        types = {gpu.index: gpu.type for gpu in self.machine.gpus}
        return [
            Held(
                job.request,
                tuple(types.get(index, "") for index in job.gpus),
                (job.start_s or 0.0) + job.request.time_s,
            )
            for job in self._running()
        ]

    def _start_next(self) -> bool:
        queue = self._queue()
        if not queue:
            return False
        now_s = time.time()
        starts = plan(self.machine, self._held(), [job.request for job in queue], now_s)
        begin = [job for job, start_s in zip(queue, starts, strict=True) if start_s <= now_s]
        for job in begin:
            self._start(job)
        return bool(begin)

    def _start(self, job: Job) -> None:
        """Give the job its share and start its runner; noted first, so that a crash in between finds it."""
        wanted = job.request
        job.cpus = self._free_cpus()[: wanted.cpus]
        job.gpus = self._free_gpus(wanted)
        job.state, job.start_s, job.boot = "RUNNING", time.time(), self._boot
        folder = self.ledger.write_spec(
            job,
            {
                "argv": job.argv,
                "cwd": job.cwd,
                "env": job.env | job_environment(job, self.machine),
                "output": job.output,
                "cpus": job.cpus,
                "grace_s": GRACE_S,
            },
        )
        self.ledger.save()
        start_runner(folder)

    def _free_cpus(self) -> list[int]:
        taken = {cpu for job in self._running() for cpu in job.cpus}
        return [cpu for cpu in self.machine.cpus if cpu not in taken]

    def _free_gpus(self, wanted: Wanted) -> list[int]:
        taken = {index for job in self._running() for index in job.gpus}
        free = [gpu for gpu in self.machine.gpus if gpu.index not in taken]
        counts: dict[str, int] = {}
        for gpu in free:
            counts[gpu.type] = counts.get(gpu.type, 0) + 1
        picked = []
        for kind in pick_types(wanted, counts):
            gpu = next(gpu for gpu in free if gpu.type == kind)
            free.remove(gpu)
            picked.append(gpu.index)
        return picked

    def _watch(self, job: Job) -> bool:
        """Look after one running job; True when something about it changed."""
        note = self.ledger.exit_note(job)
        if note is not None:
            self._take_note(job, note)
            return True
        if job.runner is None:
            job.runner = self.ledger.start_note(job)
            if job.runner is None:
                return self._never_started(job)
            return True
        pid, ticks = job.runner
        if job.boot != self._boot or runner.start_ticks(pid) != ticks:
            return self._lost(job)
        now_s = time.time()
        if job.asked_to_end_s is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)  # again: it may have been asked before it could hear
            if now_s - job.asked_to_end_s > 3 * GRACE_S:
                self._kill_below(pid)
            return False
        memory_mb = memory_of(runner.below(pid)) >> 20
        job.memory_peak_mb = max(job.memory_peak_mb, memory_mb)
        if memory_mb > job.request.memory_mb:
            words = f"It used more memory than it had asked for ({job.request.memory_mb} MB)."
            self._ask_to_end(job, "OUT_OF_MEMORY", words)
            self._kill_below(pid)
        elif now_s > (job.start_s or 0.0) + job.request.time_s:
            self._ask_to_end(job, "TIMEOUT", "It reached its time limit.")
        return False

    def _ask_to_end(self, job: Job, ending: str, why: str) -> None:
        if job.asked_to_end_s is None:
            job.asked_to_end_s, job.ending, job.why = time.time(), ending, why
            self.ledger.save()
        runner_note = job.runner or self.ledger.start_note(job)
        if runner_note and runner.start_ticks(runner_note[0]) == runner_note[1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(runner_note[0], signal.SIGTERM)

    def _take_note(self, job: Job, note: Mapping[str, Any]) -> None:
        code, number = int(note["exit"]), int(note["signal"])
        state = job.ending or ("COMPLETED" if code == 0 and number == 0 else "FAILED")
        job.cpu_used_s = note.get("cpu_used_s")
        job.memory_peak_mb = max(job.memory_peak_mb, int(note.get("memory_peak_mb") or 0))
        self._over(job, state, f"{code}:{number}", job.why or note.get("error", ""), note.get("end_s"))

    def _never_started(self, job: Job) -> bool:
        if time.time() - (job.start_s or 0.0) < STARTING_S:
            return False
        self._over(job, job.ending or "FAILED", "1:0", job.why or "It could not be started.")
        return True

    def _lost(self, job: Job) -> bool:
        """The runner is gone without a note: killed, or the machine was started anew."""
        note = self.ledger.exit_note(job)  # written between two looks
        if note is not None:
            self._take_note(job, note)
            return True
        for pid in strays(job.id, str(self.ledger.job_folder(job))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        why = "This machine was started anew." if job.boot != self._boot else "Its processes were killed."
        self._over(job, job.ending or "NODE_FAIL", "0:9", job.why or why)
        return True

    @staticmethod
    def _kill_below(pid: int) -> None:
        for below in runner.below(pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(below, signal.SIGKILL)

    def _over(self, job: Job, state: str, exit_code: str, why: str = "", end_s: float | None = None) -> None:
        job.state, job.exit_code, job.why = state, exit_code, why
        job.end_s = end_s or time.time()
        job.env = {}
        shutil.rmtree(self.ledger.job_folder(job), ignore_errors=True)
        log.info("job %s (%s) ended: %s %s", job.id, job.name, state, why)

    def _adopt(self) -> None:
        """After a start: running jobs are watched again; one whose runner never began gets its runner now."""
        for job in self.ledger.jobs.values():
            if job.state == "RUNNING" and job.boot == self._boot and job.runner is None:
                folder = self.ledger.job_folder(job)
                if self.ledger.start_note(job) is None and (folder / "spec.json").exists():
                    job.start_s = time.time()
                    start_runner(folder)
        self.ledger.save()


def start_runner(folder: Path) -> None:
    """Start a job's runner in a session of its own, so that nothing that happens to us reaches it."""
    subprocess.Popen(
        [sys.executable, "-I", "-S", str(Path(runner.__file__).resolve()), str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        env={"LC_ALL": "C.UTF-8"},
    )


def job_environment(job: Job, machine: Machine) -> dict[str, str]:
    """What a job is told about itself, in Slurm's names."""
    return {
        "CARME_JOB_ID": str(job.id),
        "SLURM_JOB_ID": str(job.id),
        "SLURM_JOBID": str(job.id),
        "SLURM_JOB_NAME": job.name,
        "SLURM_JOB_ACCOUNT": ACCOUNT,
        "SLURM_JOB_PARTITION": PARTITION,
        "SLURM_JOB_QOS": QOS,
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_JOB_NODELIST": machine.name,
        "SLURMD_NODENAME": machine.name,
        "SLURM_NODEID": "0",
        "SLURM_PROCID": "0",
        "SLURM_CPUS_ON_NODE": str(len(job.cpus)),
        "SLURM_CPUS_PER_TASK": str(len(job.cpus)),
        "SLURM_MEM_PER_NODE": str(job.request.memory_mb),
        "OMP_NUM_THREADS": str(len(job.cpus)),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(str(index) for index in job.gpus),
    }


def memory_of(pids: list[int]) -> int:
    """Bytes that processes hold for themselves (resident, without what they share)."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if len(fields) > 2:
            total += max(0, int(fields[1]) - int(fields[2])) * PAGE_BYTES
    return total


def strays(job_id: int, folder: str) -> list[int]:
    """Processes of ours that carry a job's number and outlived its runner."""
    mark = f"CARME_JOB_ID={job_id}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            ours = entry.stat().st_uid == os.getuid()
        except OSError:
            continue
        if ours and mark in environment:
            found.append(int(entry.name))
    return found


def _text(request: Mapping[str, Any], key: str) -> str:
    value = request.get(key)
    if not _safe(value) or not value:
        raise Refused("bad_request", f"{key}: a text is wanted")
    return str(value)


def _safe(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value
