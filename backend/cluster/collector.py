"""The one process that looks at the scheduler, whatever the number of viewers, and publishes what it sees.

A part that can't be read keeps its rows and says why and since when. The process may die at any moment: the
snapshot is whole, its age shows, and the next collector goes on.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from backend.accounting.budgets import PriceBook, open_watch
from backend.accounting.projects import ProjectBook
from backend.accounting.reports import open_runner
from backend.accounting.sync import Accountant, warehouse_folder
from backend.accounting.truth import SelfCheck
from backend.accounting.usage import Usage
from backend.accounting.warehouse import Warehouse
from backend.cluster.clock import Clock, Kicks, Task
from backend.cluster.local import LocalScheduler
from backend.cluster.looks import Looks
from backend.cluster.model import SCHEMAS
from backend.cluster.needs import SessionJobs, session_jobs
from backend.cluster.protocol import Intervals, Scheduler, SchedulerError
from backend.cluster.slurm import SlurmScheduler
from backend.cluster.snapshot import KICK, SnapshotReader, SnapshotWriter
from backend.starting import CantStart
from backend.store import Database
from config import Settings

log = logging.getLogger(__name__)

ASK_NAME_EVERY_S = 2.0
TRUTH_ENDS_S = 3.0
NICE = 5  # pages come first where there are few CPUs


class CollectorRunning(CantStart):
    """Another collector already serves this data folder."""


class Collector:
    """Keeps one cluster's snapshot. `jobs_of_sessions` tells which jobs sessions want to know of."""

    def __init__(self, scheduler: Scheduler, folder: Path, jobs_of_sessions: SessionJobs) -> None:
        every = scheduler.intervals
        writer = SnapshotWriter(folder, scheduler.cluster(), _intervals_by_part(every))
        looks = Looks(scheduler, writer, jobs_of_sessions)
        tasks = [
            Task("jobs", every.jobs_s, looks.jobs),
            Task("nodes", every.nodes_s, looks.nodes),
            Task("partitions", every.partitions_s, looks.partitions),
            Task("reservations", every.reservations_s, looks.reservations),
            Task("limits", every.limits_s, looks.limits),
            Task("waiting", min(0.5, every.waiting_s), looks.waiting),
            Task("ended", min(1.0, every.waiting_s), looks.ended),
        ]
        self.clock = Clock(tasks, Kicks(folder / KICK), kicked="jobs")

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop. What a look meets is published, and never the end of the collector."""
        self.clock.run(stop)


def _intervals_by_part(every: Intervals) -> dict[str, float]:
    known = {
        "jobs": every.jobs_s,
        "nodes": every.nodes_s,
        "partitions": every.partitions_s,
        "reservations": every.reservations_s,
        "waiting": every.waiting_s,
        "ended": every.waiting_s,
    }
    return {part: known.get(part, every.limits_s) for part in SCHEMAS}


def open_scheduler(settings: Settings) -> Scheduler:
    """The scheduler that the settings name."""
    return SlurmScheduler(settings) if settings.scheduler.kind == "slurm" else LocalScheduler(settings)


def snapshot_folder(settings: Settings) -> Path:
    """Where the snapshot of this instance is published."""
    return settings.instance.data_dir / "snapshot"


def run_collector(settings: Settings) -> None:
    """The collector process: until SIGTERM or SIGINT. Raises CollectorRunning, CantStart."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    os.nice(NICE)
    folder = snapshot_folder(settings)
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    projects = ProjectBook(settings.accounting.projects_file)
    with _only_one(settings.instance.data_dir / "run" / "collector.lock"):
        scheduler = open_scheduler(settings)
        cluster = _cluster_name(scheduler, folder, stop)
        if cluster is None:
            return
        db = Database(settings.store.url)
        db.upgrade()
        accountant = Accountant(settings, SnapshotReader(folder), db)
        accounts = threading.Thread(target=accountant.run, args=(stop,), name="accounts")
        accounts.start()
        warehouse = Warehouse(warehouse_folder(settings), settings.accounting.memory_mb)
        check = SelfCheck(settings, warehouse, Usage(warehouse, settings.instance.time_zone), db)
        # A daemon: what it waits for may take minutes, and what it had begun is given up at the next start.
        truth = threading.Thread(target=check.run, args=(stop,), name="truth", daemon=True)
        truth.start()
        # As with the truth: a mail server may take its time, and what was begun is told apart at the next start.
        zone = settings.instance.time_zone
        usage = Usage(warehouse, zone, prices=PriceBook(db, zone), projects=projects)
        runner = open_runner(settings, db, usage, SnapshotReader(folder))
        threading.Thread(target=runner.run, args=(stop,), name="reports", daemon=True).start()
        watch = open_watch(settings, db, usage, SnapshotReader(folder))
        threading.Thread(target=watch.run, args=(stop,), name="budgets", daemon=True).start()
        try:
            Collector(scheduler, folder, partial(session_jobs, db, cluster)).run(stop)
        finally:
            stop.set()
            accounts.join()
            truth.join(TRUTH_ENDS_S)
            db.close()


def _cluster_name(scheduler: Scheduler, folder: Path, stop: threading.Event) -> str | None:
    """Wait until the scheduler tells its name, saying meanwhile why nothing is known; None when stopped."""
    blame: SnapshotWriter | None = None
    while not stop.is_set():
        try:
            cluster = scheduler.cluster()
        except SchedulerError as error:
            log.warning("the cluster's name is not known yet: %s", error)
            blame = blame or SnapshotWriter(folder, _known_name(folder), _intervals_by_part(scheduler.intervals))
            for part in SCHEMAS:
                blame.fail(part, str(error), time.time())
            stop.wait(ASK_NAME_EVERY_S)
            continue
        if blame is not None and blame.cluster != cluster:
            blame.remove()
        return cluster
    return None


def _known_name(folder: Path) -> str:
    """The name of an earlier run's snapshot, whose rows stay up meanwhile; "" when there is none."""
    reader = SnapshotReader(folder)
    reader.refresh()
    return reader.current.cluster


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CollectorRunning(f"Another console runs on this data folder: its collector holds {path}.") from error
        yield
    finally:
        os.close(fd)
