"""slurmdbd's accounts taken in: the first load, a round at steady state, and a job's end to its figure.

The jobs are synthetic, MariaDB, slurmdbd and all the console does are real. CARME_BENCH_LOAD: how many jobs the
large database has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench import Figure, _jobs
from tests.bench._slurmdbd import NAME, connect, filled
from tests.harness import Cluster
from tests.harness.console import ROOT, Console, clean_environment, toml

FIRST = int(os.environ.get("CARME_BENCH_FIRST_LOAD", "1000000"))
LARGE = int(os.environ.get("CARME_BENCH_LOAD", "10000000"))
NEW = 1000
VISIBLE_WITHIN_S = 180.0

# A sync in a process of its own, so that its peak of memory is its own
SYNC = """
import itertools, json, resource, sys, time
from pathlib import Path
from backend.accounting.sync import sync_once, warehouse_folder
from backend.accounting.warehouse import Warehouse
from backend.store import Database
from config import load_settings
settings = load_settings(Path(sys.argv[1]), {})
db = Database(settings.store.url)
db.upgrade()
loaded_s = 0.0
def progress(cluster, done, rows):
    global loaded_s
    if done == 1.0:
        loaded_s = time.monotonic() - began
for _ in itertools.chain([""], iter(sys.stdin.readline, "")):
    began = time.monotonic()
    errors = sync_once(settings, db, progress=progress)
    took_s = time.monotonic() - began
    warehouse = Warehouse(warehouse_folder(settings))
    rows = sum(state.rows for state in warehouse.state.clusters.values())
    warehouse.close()
    files = len(json.loads((warehouse_folder(settings) / "manifest.json").read_text())["jobs"])
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told = {"took_s": took_s, "loaded_s": loaded_s, "rows": rows, "errors": errors, "peak_mb": peak_mb, "files": files}
    print(json.dumps(told), flush=True)
"""


class Sync:
    """A process that brings the accounts up to date, once at its start and once for each `again()`."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        folder.mkdir()
        access = cluster.database
        password = folder / "password"
        password.touch(mode=0o600)
        password.write_text(access.password)
        self.config = folder / "carme.toml"
        self.config.write_text(
            toml(
                {
                    "instance": {"data_dir": str(folder / "data"), "time_zone": "UTC"},
                    "scheduler": {"kind": "slurm", "cluster": NAME},
                    "slurmdbd": {
                        "host": access.host, "port": access.port, "user": access.user, "password_file": str(password),
                    },
                }
            )
        )  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-c", SYNC, str(self.config)],
            cwd=ROOT, env=clean_environment() | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert not found["errors"], found["errors"]
        return found

    def again(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def add_ended(cluster: Cluster, first_id: int) -> None:
    """1,000 jobs that have just ended."""
    now_s = int(time.time())
    jobs = _jobs.jobs_between(now_s - 5000, now_s - 4000, NEW, first_id=first_id, seed=first_id, cluster=NAME)
    rows = [
        (row["db_inx"], row["account"], row["req_cpus"], row["job_name"], row["assoc_id"], row["job_id"], row["uid"],
         row["node_list"], row["nodes"], row["partition"], row["submit_s"], row["submit_s"], row["submit_s"] + 5,
         now_s - 1, "1=8,2=16000,4=1,5=8", "1=8,2=16000,4=1,5=8")
        for row in jobs.to_pylist()
    ]  # fmt: skip
    with connect(cluster) as link, link.cursor() as ask:
        ask.execute("SET sql_mode = ''")
        ask.executemany(
            f"INSERT INTO `{NAME}_job_table` (job_db_inx, account, cpus_req, job_name, id_assoc, id_job, id_user, "
            "nodelist, nodes_alloc, `partition`, time_submit, time_eligible, time_start, time_end, tres_alloc, "
            "tres_req, state, id_qos) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 3, 1)",
            rows,
        )


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="carme-bench-", dir="/var/tmp") as place:
        with filled(FIRST) as cluster:
            yield from _first_load(cluster, Path(place))
            yield from _visible(cluster)
        with filled(LARGE) as cluster:
            yield from _steady(cluster, Path(place))


def _first_load(cluster: Cluster, place: Path) -> Iterator[Figure]:
    sync = Sync(place / "first", cluster)
    done = sync.answer()
    sync.end()
    told = f"{done['rows']} jobs from MariaDB"
    asked = f"{told}, until every question is answered, from the detail"
    yield Figure("accounting_first_load_s", done["loaded_s"], "s", "<= 10", asked)
    yield Figure("accounting_first_load_rows_s", done["rows"] / done["loaded_s"], "rows/s", "", asked)
    yield Figure("accounting_first_load_rolled_up_s", done["took_s"], "s", "", f"{told}, with all roll-ups")
    yield Figure("accounting_first_load_peak_mb", done["peak_mb"], "MB", "<= 500", told)
    size = folder_bytes(place / "first/data/accounting")
    yield Figure("accounting_disk_mb", size / done["rows"], "MB per million jobs", "<= 60", told)


def _steady(cluster: Cluster, place: Path) -> Iterator[Figure]:
    sync = Sync(place / "large", cluster)
    loaded = sync.answer()
    rate = loaded["rows"] / loaded["took_s"]
    yield Figure("accounting_large_load_rows_s", rate, "rows/s", "", f"{loaded['rows']} jobs")
    yield Figure("accounting_large_load_peak_mb", loaded["peak_mb"], "MB", "", f"{loaded['rows']} jobs")
    settling = _settled(sync, loaded["files"])
    against = f"rounds in which the months of a first load of {loaded['rows']} become one or two files each, median"
    yield Figure("accounting_settling_rounds", len(settling), "rounds", "", "until the months of a first load are so")
    yield Figure("accounting_settling_round_s", sorted(settling)[len(settling) // 2], "s", "", against)
    times = []
    for turn in range(7):
        add_ended(cluster, 50_000_000 + turn * NEW)
        done = sync.again()
        times.append(done["took_s"])
    idle = [sync.again()["took_s"] for _ in range(3)]
    sync.end()
    against = f"{NEW} new jobs beside {loaded['rows']}, median of {len(times)}"
    assert done["rows"] == loaded["rows"] + len(times) * NEW
    yield Figure("accounting_round_s", sorted(times)[len(times) // 2], "s", "<= 1", against)
    yield Figure("accounting_round_worst_s", max(times), "s", "", against)
    yield Figure("accounting_idle_round_s", sorted(idle)[1], "s", "", f"nothing new beside {loaded['rows']} jobs")


def _settled(sync: Sync, files: int) -> list[float]:
    """Rounds without anything new until no more files are put together; how long each took."""
    times = []
    while True:
        done = sync.again()
        times.append(done["took_s"])
        if done["files"] == files:
            return times
        files = done["files"]


def _visible(cluster: Cluster) -> Iterator[Figure]:
    """A job of the cluster's end, by its own clock, until the warehouse has its figure."""
    from backend.accounting.warehouse import Warehouse

    console = Console.on(cluster, name="bench-accounting")
    try:
        folder = console.data_dir / "accounting"
        deadline = time.monotonic() + 120
        while not _loaded(folder):
            assert time.monotonic() < deadline, console.log[-3000:]
            time.sleep(0.5)
        job = cluster.run(["sbatch", "--parsable", "--wrap=sleep 2", "--output=/dev/null"], user="ada", check=True)
        job_id = int(job.stdout)
        deadline = time.monotonic() + VISIBLE_WITHIN_S
        warehouse = Warehouse(folder)
        while True:
            warehouse.refresh()
            with warehouse.cursor() as look:
                found = look.execute(
                    "select end_s from jobs where job_id = ? and end_s > ?", [job_id, int(time.time()) - 3600]
                ).fetchone()
            if found:
                break
            assert time.monotonic() < deadline, console.log[-3000:]
            time.sleep(0.25)
        warehouse.close()
        against = f"accounting.sync_every_s = 60, {FIRST} jobs"
        yield Figure("accounting_visible_s", time.time() - found[0], "s", "<= 90", against)
    finally:
        console.stop()


def _loaded(folder: Path) -> bool:
    from backend.accounting.warehouse import Warehouse, WarehouseUnusable

    try:
        warehouse = Warehouse(folder)
        warehouse.refresh()
    except WarehouseUnusable:
        return False
    state = warehouse.state.clusters.get(NAME)
    warehouse.close()
    return state is not None and state.synced_s is not None and state.progress is None
