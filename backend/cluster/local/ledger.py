"""The supervisor's memory: all jobs in one file, replaced atomically, and a folder for each job's runner."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from backend.cluster.local.jobs import Job

KEEP_S = 7 * 86_400.0  # how long a job that ended is remembered
KEEP_MOST = 1000


class Ledger:
    """Every job that is known. Not for several threads at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = folder / "jobs.json"
        self.jobs: dict[int, Job] = {}
        self.last_id = 0
        if self.path.exists():
            content = json.loads(self.path.read_text(encoding="utf-8"))
            self.last_id = content["last_id"]
            self.jobs = {raw["id"]: Job.from_dict(raw) for raw in content["jobs"]}

    def next_id(self) -> int:
        self.last_id += 1
        return self.last_id

    def named(self, name: str) -> Job | None:
        """The newest job of a name."""
        found = [job for job in self.jobs.values() if job.name == name]
        return max(found, key=lambda job: job.id) if found else None

    def save(self) -> None:
        """Write all of it; after a crash there is the old or the new content, never less."""
        self._forget()
        content = {"last_id": self.last_id, "jobs": [job.to_dict() for job in self.jobs.values()]}
        temporary = self.path.with_name(".jobs.json")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)

    def _forget(self) -> None:
        over = sorted((job for job in self.jobs.values() if job.over), key=lambda job: job.end_s or 0.0)
        oldest_s = time.time() - KEEP_S
        for position, job in enumerate(over):
            if (job.end_s or 0.0) < oldest_s or len(over) - position > KEEP_MOST:
                del self.jobs[job.id]
                shutil.rmtree(self.job_folder(job), ignore_errors=True)

    def job_folder(self, job: Job) -> Path:
        return self.folder / "jobs" / str(job.id)

    def write_spec(self, job: Job, spec: dict[str, Any]) -> Path:
        """The folder of a job with the runner's instructions in it."""
        folder = self.job_folder(job)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(folder / "spec.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(spec, file)
        return folder

    def exit_note(self, job: Job) -> dict[str, Any] | None:
        """How the runner says the job ended; None while it has not."""
        try:
            note = json.loads((self.job_folder(job) / "exit.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return note if isinstance(note, dict) else None

    def start_note(self, job: Job) -> list[int] | None:
        """The runner that took the job on: its process number and start; None while none has."""
        try:
            words = (self.job_folder(job) / "started").read_text(encoding="ascii").split()
        except FileNotFoundError:
            return None
        return [int(word) for word in words] if len(words) == 2 else None
