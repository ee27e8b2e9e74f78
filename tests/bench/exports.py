"""A million jobs as a file, in each format: how long, how large, and how much memory the process held.

The warehouse is made once from synthetic jobs; each file is made in a process of its own, as the web process does it,
so that its peak is its own. "jobs" is the billing export, 37 columns, a row a job; "attempts" the rows behind a figure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from backend.accounting.warehouse import Warehouse
from tests.bench import Figure
from tests.bench._jobs import CLUSTER, accounts, job_tables

ROWS = int(os.environ.get("CARME_BENCH_EXPORT_ROWS", "1000000"))
FORMATS = ("csv", "xlsx", "parquet", "json")
GOALS = {"csv": ("<= 30", "<= 700"), "xlsx": ("<= 60", "<= 700")}

# Its own process: what it prints is seconds, peak MB, and the file's MB.
MAKE = """
import json, re, sys, time
from pathlib import Path
from backend.accounting.exports import billing_jobs, write
from backend.accounting.usage import Usage
from backend.accounting.warehouse import Warehouse
folder, kind, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
usage = Usage(Warehouse(folder, 512), "UTC")
def peak_mb():  # not ru_maxrss, which a child has from its parent
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before = peak_mb()
began = time.monotonic()
with billing_jobs(usage, 0, 4_000_000_000, "UTC") as sheet, out.open("wb") as file:
    write(sheet, kind, file, scratch=out.parent)
print(json.dumps([time.monotonic() - began, peak_mb(), before, out.stat().st_size / 1e6]))
"""


def fill(folder: Path) -> None:
    """A warehouse of ROWS jobs."""
    with Warehouse.write(folder, zone="UTC") as writer:
        for table in job_tables(ROWS):
            writer.upsert(table, cluster=CLUSTER)
        writer.put_table(CLUSTER, "accounts", accounts())
        writer.set_state(CLUSTER, source="slurmdbd", synced_s=1_800_000_000)
        writer.commit()


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="carme-bench-", dir=os.environ.get("CARME_BENCH_FOLDER")) as place:
        folder = Path(place)
        fill(folder / "accounting")
        for kind in FORMATS:
            out = folder / f"jobs.{kind}"
            command = [sys.executable, "-c", MAKE, str(folder / "accounting"), kind, str(out)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds, peak_mb, before_mb, file_mb = json.loads(done.stdout.splitlines()[-1])
            time_goal, memory_goal = GOALS.get(kind, ("", ""))
            against = f"{ROWS} jobs, {file_mb:.0f} MB"
            yield Figure(f"export_{kind}_s", seconds, "s", time_goal, against)
            yield Figure(f"export_{kind}_peak_mb", peak_mb, "MB", memory_goal, f"{against}; {before_mb:.0f} MB before")
            out.unlink()
