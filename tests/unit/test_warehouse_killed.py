"""Killed (-9) at any point of a commit, compaction or import: what is read is whole, and once more completes it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from backend.accounting.warehouse import Warehouse
from tests.unit.warehouse_kit import T0, ZONE, job, put, read

# A process that forks a writer for each line it reads; the writer kills itself when it has touched the disk so many
# times. (Forked, since starting Python anew for each point would take most of the time.)
NURSERY = """
import os, signal, sys
from pathlib import Path
from backend.accounting.sacct import import_sacct, lines
from backend.accounting.usage.figures import rollup
from backend.accounting.warehouse import Warehouse
from tests.unit.warehouse_kit import T0, ZONE, job, jobs, suspensions, waiting

left = 0

def dying(act):
    def touch(*args, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return act(*args, **options)
    return touch

def commit(folder):
    with Warehouse.write(folder, ZONE, wait_s=0) as writer:
        rows = [job(n, T0 + n, state="FAILED") for n in range(1, 5)] + [job(9, T0 + 40 * 86400, suspended_s=5)]
        writer.upsert(jobs(*rows), suspensions((9, T0 + 40 * 86400, T0 + 40 * 86400 + 20, None)), cluster="c1")
        writer.replace_open("c1", jobs(waiting(10)))
        writer.set_state("c1", cursor={"at": 2})
        writer.commit()

def compact(folder):
    with Warehouse.write(folder, ZONE, wait_s=0) as writer:
        writer.compact(everything=True)

def imports(folder):
    lines.CHUNK_BYTES = 3000
    with open(folder.with_suffix(".sacct"), "rb") as stream:
        import_sacct(stream, folder, zone="UTC", site_zone=ZONE)

for order in sys.stdin:
    what, touches, folder = order.split(" ", 2)
    child = os.fork()
    if child == 0:
        left = int(touches)
        os.fsync, Path.replace, Path.unlink = dying(os.fsync), dying(Path.replace), dying(Path.unlink)
        try:
            globals()[what](Path(folder.strip()))
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
ALL = "select job_id, submit_s, state, end_s, suspended_s from jobs order by 1, 2"
ROOT = Path(__file__).parents[2]


Run = Callable[[str, int, Path], bool]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Run a writer that dies at a point (0: never); whether it lived to its end."""
    words = [sys.executable, "-c", NURSERY]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:
        assert nursery.stdin
        assert nursery.stdout
        orders, results = nursery.stdin, nursery.stdout

        def one(what: str, touches: int, folder: Path) -> bool:
            print(what, touches, folder, file=orders, flush=True)
            status = int(results.readline())
            assert status in (0, -signal.SIGKILL)
            return status == 0

        yield one
        orders.close()


def sums(folder: Path) -> None:
    """What is read fits together."""
    (found,) = read(folder, "select count(*), count(distinct (cluster, job_id, submit_s)) from jobs")
    assert found[0] == found[1]
    rolled = read(folder, "select coalesce(sum(ended), 0) from usage_day where level = 'full'")
    if rolled != [(0,)]:  # else it is for later, and the detail counts
        assert rolled == read(folder, "select count(*) from jobs where end_s is not null")


@pytest.mark.parametrize("what", ["commit", "compact"])
def test_a_writer_killed_at_any_point_leaves_the_old_or_the_new(tmp_path: Path, run: Run, what: str) -> None:
    whole = tmp_path / "whole"
    for folder in (whole, tmp_path / "killed"):
        with Warehouse.write(folder, ZONE) as writer:
            writer.set_state("c1", progress=0.5)  # so that small files stay apart
            writer.commit()
        put(folder, *(job(n, T0 + n) for n in range(1, 4)))
        put(folder, *(job(n, T0 + n) for n in range(4, 8)))
    before = read(whole, ALL)
    assert run(what, 0, whole)
    after = read(whole, ALL)
    for touches in count(1):
        finished = run(what, touches, tmp_path / "killed")
        sums(tmp_path / "killed")
        if finished:
            break
        assert read(tmp_path / "killed", ALL) in (before, after)
    assert touches > 5
    assert read(tmp_path / "killed", ALL) == after
    left = {path.relative_to(tmp_path / "killed").parts[0] for path in (tmp_path / "killed").rglob("*.new")}
    assert not left


def test_an_import_killed_again_and_again_ends_complete(tmp_path: Path, run: Run) -> None:
    names = "jobid|cluster|user|submit|start|end|state|ncpus|jobname"
    day = "2026-01-{:02d}T{:02d}:00:00"
    folder = tmp_path / "accounting"
    times = {n: "|".join(day.format(n % 28 + 1, hour) for hour in (1, 2, 5)) for n in range(1, 151)}
    rows = [f"{n}|c1|ada|{three}|COMPLETED|2|j|{n}" for n, three in times.items()]
    folder.with_suffix(".sacct").write_text("\n".join([names, *rows]))
    seen = 0
    for touches in (3, 7, 12, 16, 21, 30, 0):
        assert run("imports", touches, folder) == (touches == 0)
        sums(folder)
        (now,) = read(folder, "select count(*) from jobs")[0]
        assert now >= seen
        seen = now
    assert seen == 150
    assert read(folder, "select sum(cpu_s) from usage_day where level = 'user'") == [(150 * 2 * 3 * 3600,)]


def test_a_dead_writers_lock_is_free(tmp_path: Path, run: Run) -> None:
    assert not run("commit", 1, tmp_path)
    put(tmp_path, job(1))
    assert read(tmp_path, "select job_id from jobs") == [(1,)]
