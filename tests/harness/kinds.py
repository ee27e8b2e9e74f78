"""Jobs of every kind made to happen on a real cluster, and their rows moved into hours that slurmdbd has closed.

slurmdbd rolls up whole hours only, and no daemon's clock can be turned. So the jobs run for seconds, and afterwards
every time in slurmdbd's tables is stretched and moved: the rows stay what slurmctld made them, and last for hours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.harness.cluster import Cluster
from tests.harness.errors import HarnessError

# Slurm's own way to kill what takes too much memory where there are no cgroups.
SLURM_CONF = "JobAcctGatherParams=OverMemoryKill"
HOSTILE_NAME = "1|ada|\n999999:<x>RUNNING\n<script>alert(1)</script> \u202eltr\t\"'`$(id)` ✓"
RESIZING = 0x2000  # slurm.h; the attempt before a resize keeps its steps open
REAL_TIMES = 1_000_000_000, 4_000_000_000  # what is outside is Slurm's word for none


@dataclass
class Kinds:
    """Job ids by kind, and when it began."""

    began_s: int
    jobs: dict[str, int] = field(default_factory=dict)


def submit(cluster: Cluster, user: str, *arguments: str) -> int:
    """sbatch as the person; the job's id."""
    done = cluster.run(["sbatch", "--parsable", "--output=/dev/null", *arguments], user=user, check=True)
    return int(done.stdout.strip().split(";")[0])


def make(cluster: Cluster) -> Kinds:
    """Jobs of every kind, three of them left: one runs, one is suspended, one is held.

    Takes most of a minute, for the one that times out. What is done to a job waits until the job is so far, however
    slow the machine is.
    """
    kinds = Kinds(began_s=int(time.time()))
    jobs = kinds.jobs

    def root(*argv: str) -> None:
        cluster.run(list(argv), check=True)

    def run(*names: str) -> None:
        _until(lambda: all(_queue(cluster, jobs[name]) == ["RUNNING"] for name in names), 60, f"{names} don't run")

    def over(*names: str) -> None:
        _until(lambda: not any(_queue(cluster, jobs[name]) for name in names), 120, f"{names} aren't over")

    root("scontrol", "create", "reservation", "reservationname=lab", "starttime=now", "duration=60",
         "nodes=cpu-01", "accounts=astro,particle")  # fmt: skip
    root("scontrol", "create", "reservation", "reservationname=own", "starttime=now", "duration=60",
         "nodes=a100-03", "users=dora")  # fmt: skip
    jobs["timed out"] = submit(cluster, "ada", "-n1", "--time=1", "--wrap=sleep 300")
    jobs["requeued"] = submit(cluster, "ada", "-n2", "--gres=gpu:a100:1", "--requeue", "--wrap=sleep 300")
    jobs["out of memory"] = submit(
        cluster,
        "dora",
        "-n1",
        "--mem=50",
        "--wrap=exec python3 -c 'b = b\"a\" * 400000000; import time; time.sleep(99)'",
    )
    jobs["heterogeneous"] = submit(cluster, "ada", "-n1", "-Abiology", ":", "-n3", "--wrap=sleep 3")
    jobs["array"] = submit(cluster, "bob", "-n1", "--array=0-7%2", "--wrap=sleep 4")
    jobs["cancelled pending"] = submit(cluster, "ada", "-n1", "--hold", "--wrap=true")
    jobs["reserved"] = submit(cluster, "ada", "-n8", "-pcpu", "--reservation=lab", "--wrap=sleep 5")
    jobs["failed"] = submit(cluster, "cleo", "-n1", "--wrap=sleep 1; exit 3")
    jobs["killed"] = submit(cluster, "cleo", "-n1", "--wrap=sleep 2; kill -9 $$")
    jobs["zero length"] = submit(cluster, "dora", "-n1", "--qos=debug", f"--job-name={HOSTILE_NAME}", "--wrap=true")
    jobs["resized"] = submit(cluster, "ada", "-N2", "-n2", "--gres=gpu:1", "--wrap=sleep 300")
    jobs["node failed"] = submit(cluster, "bob", "-n1", "-wh100-02", "--no-requeue", "--wrap=sleep 300")
    jobs["whole node"] = submit(cluster, "bob", "-n64", "-wa100-02", "--mem=1000", "--qos=long", "--wrap=sleep 7")
    jobs["waited"] = submit(cluster, "dora", "-n64", "-wa100-02", "--mem=1000", "--wrap=sleep 3")
    jobs["running"] = submit(cluster, "ada", "-n3", "-pgpu", "--gres=gpu:a100:1", "--wrap=sleep 3000")
    jobs["suspended now"] = submit(cluster, "bob", "-n5", "-wh100-01", "--gres=gpu:h100:1", "--wrap=sleep 3000")
    jobs["pending"] = submit(cluster, "ada", "-n1", "--hold", "--wrap=true")
    jobs["suspended"] = submit(cluster, "bob", "-n4", "-wh100-01", "--gres=gpu:h100:2", "--wrap=sleep 14")

    run("timed out", "requeued", "resized", "node failed", "running", "suspended now", "suspended")
    time.sleep(1)  # a job that was changed in the second of its start would have an attempt of no length
    root("scontrol", "suspend", str(jobs["suspended"]))
    root("scontrol", "update", f"jobid={jobs['resized']}", "numnodes=1")
    root("scontrol", "requeue", str(jobs["requeued"]))
    root("scancel", str(jobs["cancelled pending"]))
    # A minute is the shortest limit; Slurm looks for jobs above theirs twice a minute
    root("scontrol", "update", f"jobid={jobs['timed out']}", "timelimit=0")
    time.sleep(3)
    root("scontrol", "resume", str(jobs["suspended"]))
    root("scontrol", "update", "nodename=h100-02", "state=down", "reason=test")
    jobs["reserved later"] = submit(cluster, "bob", "-n2", "-pcpu", "--reservation=lab", "--wrap=sleep 4")
    time.sleep(2)
    root("scontrol", "suspend", str(jobs["suspended"]))
    _until(lambda: _queue(cluster, jobs["array"]).count("PENDING") <= 4, 60, "half of the array has not begun")
    root("scancel", "--state=PENDING", str(jobs["array"]))
    time.sleep(2)
    root("scontrol", "resume", str(jobs["suspended"]))
    root("scontrol", "suspend", str(jobs["suspended now"]))
    over("reserved", "reserved later")
    root("scancel", str(jobs["requeued"]), str(jobs["resized"]))
    root("scontrol", "delete", "reservationname=lab")
    root("scontrol", "delete", "reservationname=own")
    over(*(jobs.keys() - {"running", "suspended now", "pending"}))
    wait_accounted(cluster, left=3)
    # Whether a job that does nothing ends in the second of its start is chance
    zero = jobs["zero length"]
    sql(
        cluster,
        f"UPDATE `{cluster.name}_job_table` SET time_end = time_start WHERE id_job = {zero}",
        f"UPDATE `{cluster.name}_step_table` s JOIN `{cluster.name}_job_table` j USING (job_db_inx) "
        f"SET s.time_start = j.time_start, s.time_end = j.time_start WHERE j.id_job = {zero}",
    )
    return kinds


def wait_accounted(cluster: Cluster, left: int = 0, first: int = 0) -> None:
    """Wait until slurmdbd has taken in all that happened to jobs from `first` on; `left` of them are not over.

    slurmctld tells of starts every five seconds: of a short job slurmdbd hears the end first, and only later whose it
    was and since when it was eligible.
    """
    prefix = cluster.name

    def known() -> bool:
        asked = cluster.run(["sdiag"], check=True).stdout
        jobs = sql(
            cluster,
            f"SELECT COUNT(*) FROM `{prefix}_job_table` WHERE id_job >= {first} AND (time_end = 0 OR id_user = 0)",
        )
        steps = sql(
            cluster,
            f"SELECT COUNT(*) FROM `{prefix}_step_table` s JOIN `{prefix}_job_table` j USING (job_db_inx) "
            f"WHERE id_job >= {first} AND s.time_end = 0 AND j.time_end != 0 AND NOT j.state & {RESIZING}",
        )
        return "DBD Agent queue size: 0" in asked and (int(jobs), int(steps)) == (left, 0)

    _until(known, 60, "slurmdbd doesn't know all that happened")


def _queue(cluster: Cluster, job_id: int) -> list[str]:
    """States of a job's parts that are in the queue; none when it is over."""
    shown = cluster.run(["squeue", "-h", "-r", "-j", str(job_id), "-o", "%T"]).stdout  # fails for one long forgotten
    return shown.split()


def _until(true: Callable[[], object], within_s: float, words: str) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            raise HarnessError(f"After {within_s:.0f} s {words}.")
        time.sleep(0.5)


def sql(cluster: Cluster, *statements: str) -> str:
    """Run statements as the database's root; what they print, without headers."""
    argv = ["mariadb", "-NB", "-uroot", f"--socket={cluster.database.socket}", cluster.database.name]
    return cluster.run([*argv, "-e", ";\n".join(statements)], check=True).stdout


def stretch(cluster: Cluster, began_s: int, to_s: int, factor: int) -> None:
    """Move slurmdbd's rows so that what happened at `began_s` happened at `to_s`, and all lasts `factor` as long.

    The cluster itself was registered two days before.
    """
    prefix = cluster.name

    def moved(column: str) -> str:
        low, high = REAL_TIMES
        new = f"{to_s} + (CAST({column} AS SIGNED) - {began_s}) * {factor}"
        return f"{column} = IF({column} BETWEEN {low} AND {high}, {new}, {column})"

    suspended = moved("time_suspended").replace(", time_suspended)", f", time_suspended * {factor})")
    times = {
        "job_table": ["time_submit", "time_eligible", "time_start", "time_end"],
        "step_table": ["time_start", "time_end"],
        "suspend_table": ["time_start", "time_end"],
        "resv_table": ["time_start", "time_end"],
    }
    statements = [
        f"UPDATE `{prefix}_{table}` SET {', '.join(moved(column) for column in columns)}"
        for table, columns in times.items()
    ]
    statements += [f"UPDATE `{prefix}_{table}` SET {suspended}" for table in ("job_table", "step_table")]
    statements.append(f"UPDATE `{prefix}_event_table` SET time_start = {to_s - 2 * 86_400} WHERE node_name = ''")
    sql(cluster, *statements)


def roll_up(cluster: Cluster, since_s: int) -> None:
    """Let slurmdbd roll up hours, days and months from the hour of `since_s` on, again."""
    hour_s = since_s - since_s % 3600
    prefix = cluster.name
    tables = [
        f"`{prefix}_{name}_{every}_table`" for name in ("assoc_usage", "usage") for every in ("hour", "day", "month")
    ]
    month = datetime.fromtimestamp(hour_s, UTC).replace(day=1, hour=0)
    sql(
        cluster,
        *(f"DELETE FROM {table}" for table in tables),
        f"UPDATE `{prefix}_last_ran_table` SET hourly_rollup = {hour_s}, daily_rollup = {hour_s - hour_s % 86_400}, "
        f"monthly_rollup = {int(month.timestamp())}",
    )
    cluster.run(["sacctmgr", "-i", "roll", f"{month:%Y-%m-%dT%H:%M:%S}"], check=True, timeout=120)
