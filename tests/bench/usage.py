"""Questions about usage at a million and ten million jobs: the console, SQL on slurmdbd's MariaDB, sreport, sacct.

The same synthetic jobs everywhere, in the same run. Each question of the console is another one each time (other
windows, other people), so that no answer is from memory; the databases' are repeated as they are, caches warm.
The warehouse is as a site's that has been followed for a while: the months of the past are settled, one or two files
each.
CARME_BENCH_USAGE: how many jobs, with commas. CARME_BENCH_USAGE_AGAINST: whom else to ask, with commas (default
sql,sreport,sacct); none: the console alone.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from backend.accounting.usage import Question, Scope, Usage
from backend.accounting.warehouse import Warehouse
from tests.bench import Figure, _jobs
from tests.bench._console import percentile
from tests.bench._slurmdbd import CACHE, NAME, connect, filled
from tests.harness import Cluster

SIZES = [int(rows) for rows in os.environ.get("CARME_BENCH_USAGE", "1000000,10000000").split(",")]
AGAINST = frozenset(os.environ.get("CARME_BENCH_USAGE_AGAINST", "sql,sreport,sacct").split(",")) - {"none"}
TIMES = 40  # of each question to the console
OTHERS = 3  # of each to the others
PATIENCE_S = 300.0  # what takes longer is not asked again
DAY_S = 86400
# What an index of MariaDB finds in some milliseconds isn't found a multiple faster by anyone.
INDEXED = {
    "last_100_of_user": "; an index gives the database these rows alone, the console counts and sums up all of theirs"
}
ALL = Scope(everything=True)

# In slurmdbd's own columns, as somebody who knows the tables would write them. CPUs are in a text: 1=8,2=...
_CPUS = "CAST(SUBSTRING_INDEX(SUBSTRING_INDEX(CONCAT(',', tres_alloc), ',1=', -1), ',', 1) AS UNSIGNED)"
_STRETCHES = "WITH RECURSIVE at (since, until) AS ({first} UNION ALL SELECT until, {next} FROM at WHERE until < {end})"
_JOBS = f"FROM `{NAME}_job_table` j JOIN `{NAME}_assoc_table` a USING (id_assoc)"
_WITHIN = "j.time_start > 0 AND j.time_start < {end} AND j.time_end > {start}"
_OVERLAP = f"SUM((LEAST(j.time_end, at.until) - GREATEST(j.time_start, at.since)) * {_CPUS}) / 3600"
_JOIN = "JOIN at ON at.since < j.time_end AND at.until > j.time_start"


def _sql(start_s: int, end_s: int, uid: int) -> dict[str, str]:
    days = _STRETCHES.format(first=f"SELECT {start_s}, {start_s + DAY_S}", next=f"until + {DAY_S}", end=end_s)
    month = "UNIX_TIMESTAMP(FROM_UNIXTIME({0}) + INTERVAL 1 MONTH)"
    months = _STRETCHES.format(
        first=f"SELECT {_jobs.SINCE_S}, {month.format(_jobs.SINCE_S)}", next=month.format("until"), end=_jobs.UNTIL_S
    )
    within = _WITHIN.format(start=start_s, end=end_s)
    ever = _WITHIN.format(start=_jobs.SINCE_S, end=_jobs.UNTIL_S)
    return {
        "user_day_90d": f"{days} SELECT a.user, at.since, {_OVERLAP} {_JOBS} {_JOIN} WHERE {within} GROUP BY 1, 2",
        "account_month_ever": (
            f"{months} SELECT a.acct, at.since, {_OVERLAP} {_JOBS} {_JOIN} WHERE {ever} GROUP BY 1, 2"
        ),
        "last_100_of_user": f"SELECT j.* {_JOBS} WHERE j.id_user = {uid} ORDER BY j.time_submit DESC LIMIT 100",
        "top_20_wasters": (
            f"SELECT a.user, SUM((j.time_end - j.time_start) * {_CPUS} - s.used) / 3600 AS wasted {_JOBS} JOIN "
            f"(SELECT job_db_inx, SUM(user_sec + sys_sec) AS used FROM `{NAME}_step_table` GROUP BY job_db_inx) s "
            f"USING (job_db_inx) WHERE j.time_end >= {start_s} AND j.time_end < {end_s} AND j.time_start > 0 "
            "GROUP BY 1 ORDER BY 2 DESC LIMIT 20"
        ),
    }  # fmt: skip


def _commands(start_s: int, end_s: int) -> dict[str, tuple[str, list[str]]]:
    """What a person would ask Slurm for; where it has no such listing, the nearest.

    None of one person's jobs: sacct takes only users that the machine knows, which the synthetic ones are not.
    """
    start, end = (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s)) for at_s in (start_s, end_s))
    ever = [f"start={time.strftime('%Y-%m-%dT00:00:00', time.gmtime(_jobs.SINCE_S))}", f"end={end}"]
    fields = "--format=jobid,user,account,submit,start,end,elapsedraw,alloccpus,totalcpu"
    listing = ["sacct", "-nP", fields, f"--starttime={start}", f"--endtime={end}"]
    by_user = ["sreport", "-nP", "-t", "seconds", "cluster", "AccountUtilizationByUser"]
    return {
        "user_day_90d": ("sacct", [*listing, "-aDTX"]),
        "account_month_ever": ("sreport", [*by_user, *ever]),
        "top_20_wasters": ("sacct", [*listing, "-aD"]),
    }


def _questions(usage: Usage, draw: random.Random) -> dict[str, Callable[[], Any]]:
    """Each a new one whenever it is called."""

    def window(days: int) -> tuple[int, int]:
        until_s = _jobs.UNTIL_S - DAY_S * draw.randrange(600)
        return until_s - days * DAY_S, until_s

    return {
        "user_day_90d": lambda: usage.ask(Question(("cpu_hours",), *window(90), by=("user", "day")), ALL),
        "account_month_ever": lambda: usage.ask(
            Question(("cpu_hours",), 0, _jobs.UNTIL_S + draw.randrange(2000) * DAY_S, by=("account", "month")), ALL
        ),
        "last_100_of_user": lambda: usage.jobs(
            Question(("cpu_hours",), 0, _jobs.UNTIL_S + DAY_S), Scope(user=f"user{draw.randrange(_jobs.PEOPLE):03d}"),
            order="-submit_s", limit=100,
        ),
        "top_20_wasters": lambda: usage.ask(
            Question(("cpu_hours_unused",), *window(90), by=("user",), order="-cpu_hours_unused", limit=20), ALL
        ),
        # Also: windows whose edges are no midnights, which the roll-up can't answer alone.
        "user_30d_to_now": lambda: usage.ask(
            Question(("cpu_hours",), *(at_s + draw.randrange(DAY_S) for at_s in window(30)), by=("user",)), ALL
        ),
    }  # fmt: skip


def warehouse_of(rows: int) -> Path:
    """A warehouse of so many synthetic jobs: from the cache, or made now and kept there."""
    code = Path(_jobs.__file__).parents[2] / "backend/accounting"
    sources = [Path(_jobs.__file__), *sorted((code / "warehouse").glob("*.py")), code / "usage/figures/rollup.py",
               code / "usage/figures/atoms.py", code / "model.py"]  # fmt: skip
    key = hashlib.sha256(b"settled\0" + b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    keep = CACHE / f"bench-warehouse-{rows}-{key}"
    if not keep.exists():
        making = keep.with_suffix(".making")
        shutil.rmtree(making, ignore_errors=True)
        making.parent.mkdir(parents=True, exist_ok=True)
        with Warehouse.write(making, zone="UTC") as writer:
            for number, table in enumerate(_jobs.job_tables(rows, cluster=NAME), 1):
                writer.upsert(table, None, cluster=NAME)
                if number % 10 == 0:
                    writer.commit()
            writer.put_table(NAME, "accounts", _jobs.accounts())
            writer.commit()
        with Warehouse.write(making, zone="UTC") as writer:
            writer.compact(everything=True)
        making.rename(keep)
    return keep


def figures() -> Iterator[Figure]:
    for rows in SIZES:
        size = f"{rows // 1_000_000}m" if rows >= 1_000_000 else str(rows)
        ours = {}
        for name, times in _console_times(rows).items():
            ours[name] = percentile(times, 50)
            against = f"{rows} jobs, {len(times)} different questions"
            yield Figure(f"usage_{name}_{size}_p50_ms", ours[name] * 1000, "ms", "", against)
            yield Figure(f"usage_{name}_{size}_p95_ms", percentile(times, 95) * 1000, "ms", "<= 150", against)
        if AGAINST:
            with filled(rows) as cluster:
                yield from _against(cluster, size, ours)


def _console_times(rows: int) -> dict[str, list[float]]:
    warehouse = Warehouse(warehouse_of(rows))
    questions = _questions(Usage(warehouse, "UTC", cache_bytes=0), random.Random(7))
    found: dict[str, list[float]] = {}
    for name, ask in questions.items():
        ask()  # the files' footers are read once in a process
        found[name] = [_timed(ask) for _ in range(TIMES)]
    warehouse.close()
    return found


def _timed(ask: Callable[[], Any]) -> float:
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began


def _repeated(ask: Callable[[], Any]) -> list[float]:
    times: list[float] = []
    while len(times) < OTHERS and sum(times) < PATIENCE_S:
        times.append(_timed(ask))
    return times


def _against(cluster: Cluster, size: str, ours: dict[str, float]) -> Iterator[Figure]:
    end_s = _jobs.UNTIL_S
    start_s = end_s - 90 * DAY_S
    if "sql" in AGAINST:
        yield from _against_sql(cluster, size, ours, start_s, end_s)
    for name, (tool, command) in _commands(start_s, end_s).items():
        if tool in AGAINST:
            times = _repeated(lambda command=command: cluster.run(command, check=True, timeout=1800))  # type: ignore[misc]
            yield from _ratio(name, size, tool, times, ours[name], goal=">= 200" if tool == "sacct" else "")


def _against_sql(
    cluster: Cluster, size: str, ours: dict[str, float], start_s: int, end_s: int
) -> Iterator[Figure]:
    user = f"user{_jobs.PEOPLE // 2:03d}"
    with connect(cluster) as link, link.cursor() as ask:
        ask.execute("SET time_zone = '+00:00'")
        ask.execute(f"SELECT id_user FROM {NAME}_job_table j JOIN {NAME}_assoc_table a USING (id_assoc) "
                    "WHERE a.user = %s LIMIT 1", (user,))  # fmt: skip
        uid = int((ask.fetchone() or (0,))[0])

        def run(statement: str) -> None:
            ask.execute(statement)
            ask.fetchall()

        for name, statement in _sql(start_s, end_s, uid).items():
            times = _repeated(lambda statement=statement: run(statement))  # type: ignore[misc]
            yield from _ratio(name, size, "sql", times, ours[name], goal=">= 50")


def _ratio(name: str, size: str, other: str, times: list[float], ours_s: float, *, goal: str) -> Iterator[Figure]:
    theirs_s = percentile(times, 50)
    p95 = f"{percentile(times, 95):.3f}"
    yield Figure(f"usage_{name}_{size}_{other}_s", theirs_s, "s", "", f"{other}, median of {len(times)}, p95 {p95} s")
    indexed = INDEXED.get(name, "") if other == "sql" else ""
    against = f"{other} ÷ the console, medians{indexed}"
    yield Figure(f"usage_{name}_{size}_{other}_ratio", theirs_s / ours_s, "x", "" if indexed else goal, against)
