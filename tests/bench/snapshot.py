"""A queue of 100,000 jobs taken in: what the collector needs for it, and how long the web process stops answering.

The rows come from stand-ins of Slurm's commands that print what a large site's would, a hundredth of it new each
time; from there on all is the console's own: collector, snapshot, web process with open pages. The stall is seen
from outside, as the longest time `/healthz` needs on a connection that is asked without pause.
"""

from __future__ import annotations

import http.client
import os
import random
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from backend.cluster import SnapshotReader
from backend.cluster.slurm.command import Marks
from backend.cluster.slurm.job_table import FIELDS
from backend.cluster.slurm.jobs import parse_jobs
from backend.cluster.views import JobFilter, queue_page
from tests.bench import Figure
from tests.bench._console import percentile, person, rss_mb, visitor
from tests.bench._pages_client import open_pages
from tests.harness.console import Console

JOBS = int(os.environ.get("CARME_BENCH_JOBS", "100000"))
SECONDS = float(os.environ.get("CARME_BENCH_SNAPSHOT_SECONDS", "60"))
NODES = 500
EVERY_S = 5
PAGES = 20
MARKS = Marks("<field>", "<row>\n")

SQUEUE = """#!{python}
import random, re, sys
form = next((a for a in sys.argv if a.startswith("--Format=")), "")
if not form or any(a.startswith("--jobs") for a in sys.argv):
    sys.exit(0)
field, row = re.search("JobID::(<[^>]+>)", form)[1].encode(), form.rsplit("::", 1)[1].encode()
rows = open("{rows}", "rb").read().replace(b"<field>", field).split(b"<row>\\n")[:-1]
for _ in range(len(rows) // 100):
    place = random.randrange(len(rows))
    rows[place] = rows[place].replace(b"Priority", b"Resources")
sys.stdout.buffer.write((row + b"\\n").join(rows) + row + b"\\n")
"""
SCONTROL = """#!/bin/sh
case "$*" in
*node*) cat {nodes} ;;
*partition*) echo 'PartitionName=gpu Default=YES MaxTime=2-00:00:00 Nodes=n[1-{count}] State=UP TotalNodes={count}' ;;
*reservation*) echo 'No reservations in the system' ;;
esac
"""


def queue_rows(jobs: int) -> str:
    """squeue's answer for a queue of a busy site: a tenth runs, a third are array tasks, half want GPUs."""
    draw = random.Random(1)
    rows = []
    for number in range(jobs):
        runs, array = draw.random() < 0.1, draw.random() < 0.3
        gpus = draw.choice(["", ",gres/gpu=1,gres/gpu:a100=1", ",gres/gpu=4,gres/gpu:h100=4"])
        values = dict.fromkeys(FIELDS, "N/A") | {
            "JobID": str(100_000 + number),
            "JobArrayID": f"{100_000 + number - number % 50}_{number % 50}" if array else str(100_000 + number),
            "ArrayTaskID": str(number % 50) if array else "N/A",
            "Name": f"train_{number % 977}_seed{number}",
            "UserName": f"user{number % 500}",
            "UserID": str(20_000 + number % 500),
            "Account": f"account{number % 60}",
            "Partition": "gpu",
            "QOS": "normal",
            "Reservation": "(null)",
            "State": "RUNNING" if runs else "PENDING",
            "Reason": "None" if runs else "Priority",
            "PriorityLong": str(draw.randrange(10**6)),
            "SubmitTime": str(1_795_000_000 + number),
            "StartTime": str(1_795_300_000) if runs else "N/A",
            "TimeLimit": "1-00:00:00",
            "NumNodes": "1",
            "NodeList": f"n{number % NODES + 1}" if runs else "",
            "NumCPUs": "8",
            "MinMemory": "4000M",
            "tres-alloc": f"cpu=8,mem=32000M,node=1,billing=8{gpus}",
            "Dependency": "(null)",
            "Feature": "(null)",
            "WorkDir": f"/home/user{number % 500}/project",
            "Command": f"/home/user{number % 500}/project/job.sh",
            "Comment": "(null)",
            "exit_code": "0",
            "RestartCnt": "0",
        }
        rows.append(f":{MARKS.field}".join(values[name] for name in FIELDS) + f":{MARKS.row}")
    return "".join(rows)


def stand_ins(folder: Path, rows: str) -> Path:
    """Slurm's commands for the console, which print these rows."""
    folder.mkdir()
    (folder / "rows").write_text(rows, encoding="utf-8")
    nodes = (
        f"NodeName=n{number} CPUAlloc=8 CPUTot=64 CPULoad=1.0 Gres=gpu:a100:4 NodeAddr=n{number} RealMemory=256000 "
        f"AllocMem=32000 State=MIXED Partitions=gpu CfgTRES=cpu=64,mem=250G,gres/gpu=4 AllocTRES=cpu=8,gres/gpu=1"
        for number in range(1, NODES + 1)
    )
    (folder / "nodes").write_text("\n".join(nodes) + "\n", encoding="utf-8")
    texts = {
        "squeue": SQUEUE.format(python=sys.executable, rows=folder / "rows"),
        "scontrol": SCONTROL.format(nodes=folder / "nodes", count=NODES),
        "sacctmgr": "#!/bin/sh\nexit 0\n",
        "sacct": "#!/bin/sh\nexit 0\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(stat.S_IRWXU)
    return folder


def answer_times_s(console: Console, seconds: float) -> list[float]:
    """How long each answer of the web process took, asked one after the other on one connection."""
    connection = http.client.HTTPConnection("localhost", console.port, timeout=30)
    times = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        began = time.monotonic()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        times.append(time.monotonic() - began)
        time.sleep(0.002)
    connection.close()
    return times


def peak_mb(pid: int) -> float:
    """The most memory a process has held so far."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def figures() -> Iterator[Figure]:
    rows = queue_rows(JOBS)
    began = time.monotonic()
    table = parse_jobs((rows[at : at + 65_536].encode() for at in range(0, len(rows), 65_536)), MARKS).table
    yield Figure("snapshot_parse_s", time.monotonic() - began, "s", "", f"{JOBS} jobs, {len(rows) / 1e6:.0f} MB")
    times = []
    for _ in range(20):
        began = time.monotonic()
        queue_page(table, JobFilter(states=("PENDING",), text="seed9"), sort="submit_s", fold=True)
        times.append(time.monotonic() - began)
    yield Figure("snapshot_queue_page_ms", percentile(times, 50) * 1000, "ms", "<= 30", "filter, fold, sort")
    del table
    with tempfile.TemporaryDirectory(prefix="carme-bench-") as place:
        folder = Path(place)
        slurm = {
            "scheduler": {"kind": "slurm", "cluster": "bench"},
            "slurm": {
                "bin_dir": str(stand_ins(folder / "bin", rows)),
                "jobs_every_s": EVERY_S,
                "nodes_every_s": EVERY_S,
            },
        }
        del rows
        console = Console.embedded(folder / "console", slurm)
        try:
            yield from _taken_in(console)
        finally:
            console.stop()


def _taken_in(console: Console) -> Iterator[Figure]:
    reader = SnapshotReader(console.data_dir / "snapshot")
    deadline = time.monotonic() + 60
    while reader.current.jobs.table.num_rows < JOBS:
        assert time.monotonic() < deadline, f"the snapshot never came:\n{console.log[-3000:]}"
        time.sleep(0.2)
        reader.refresh()
    signed_in = visitor(console, person(console, "ada"))
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in signed_in.http.cookies)
    with open_pages(console, [cookies], PAGES):
        time.sleep(5)
        seen = reader.current.version
        times = answer_times_s(console, SECONDS)
        reader.refresh()
        assert reader.current.version > seen, "no snapshot was taken in meanwhile"
    (collector,), (web,) = console.role_pids("collector"), console.role_pids("web")
    against = f"{JOBS} jobs every {EVERY_S} s, {PAGES} open pages, {len(times)} answers"
    yield Figure("snapshot_loop_stall_ms", max(times) * 1000, "ms", "<= 50", against)
    yield Figure("snapshot_answer_p99_ms", percentile(times, 99) * 1000, "ms", "", against)
    yield Figure("snapshot_collector_look_s", reader.current.jobs.duration_s or 0.0, "s", "", f"{JOBS} jobs")
    yield Figure("snapshot_collector_peak_mb", peak_mb(collector), "MB", "", f"{JOBS} jobs")
    yield Figure("snapshot_web_mb", rss_mb(web), "MB", "", f"{JOBS} jobs, {PAGES} open pages")
