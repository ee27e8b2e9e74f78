"""The console's figures are Slurm's own, to the second: jobs of every kind, held against sacct and sreport."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend.accounting import truth
from backend.accounting.sync import sync_once
from backend.accounting.truth import Comparison, Line, SelfCheck, privacy
from backend.accounting.usage import Question, Scope, Usage
from backend.accounting.warehouse import Warehouse
from backend.cluster.slurm import Commands
from backend.store import Database
from backend.store.models import Audit
from config import Settings, load_settings
from tests.cluster import slurmdbd
from tests.harness import Cluster, NeedsRoot, kinds

NAME = "truth-1"  # a hyphen, as many clusters have one: it must be quoted wherever SQL is made
FACTOR = 331  # half a minute becomes three hours, and no length is a round one
ALL = Scope(everything=True)
OF_JOBS = {
    "timed out": "TIMEOUT", "suspended": "COMPLETED", "heterogeneous": "COMPLETED", "cancelled pending": "CANCELLED",
    "reserved": "COMPLETED", "reserved later": "COMPLETED", "failed": "FAILED", "killed": "FAILED",
    "zero length": "COMPLETED", "node failed": "NODE_FAIL", "whole node": "COMPLETED", "waited": "COMPLETED",
    "running": "RUNNING", "suspended now": "SUSPENDED", "pending": "PENDING", "out of memory": "OUT_OF_MEMORY",
}  # fmt: skip


@dataclass(frozen=True)
class Inside(Commands):
    """The console's commands, run inside the cluster as its account."""

    cluster: Cluster | None = None

    def stream(self, name: str, *arguments: str) -> Iterator[bytes]:
        assert self.cluster is not None
        found = self.cluster.run([name, *arguments], "carme", env=self.environment(), check=True)
        yield found.stdout.encode()


@dataclass
class Lived:
    """A cluster on which everything has happened, in the night from the last day but one of last month to the last."""

    cluster: Cluster
    jobs: dict[str, int]
    began_s: int  # of what happened, as moved
    month: str  # in which it happened
    warehouse: Warehouse
    usage: Usage
    commands: Commands
    settings: Settings
    db: Database

    def compare(self, month: str) -> Comparison:
        return truth.compare(self.commands, self.warehouse, self.usage, NAME, month, "UTC")

    def sync(self) -> None:
        assert sync_once(self.settings, self.db, rebuild=True) == {}
        self.warehouse.refresh()


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    try:
        running = Cluster.up(name=NAME, extra_slurm_conf=kinds.SLURM_CONF)
    except NeedsRoot as error:
        pytest.skip(str(error))
    with running as cluster:
        made = kinds.make(cluster)
        month_s = int(datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp())
        began_s = month_s - 86_400 - 6000 + 17  # midnight passes while they run
        kinds.stretch(cluster, made.began_s, began_s, FACTOR)
        # The memory was really too much and the job really killed for it, yet Slurm has the word for it only where
        # cgroups saw it; here it says FAILED by signal 9.
        killed = made.jobs["out of memory"]
        assert kinds.sql(cluster, f"SELECT state, exit_code FROM `{NAME}_job_table` WHERE id_job={killed}") == "5\t9\n"
        kinds.sql(cluster, f"UPDATE `{NAME}_job_table` SET state = 11 WHERE id_job = {killed}")
        kinds.roll_up(cluster, began_s - 3600)
        access = cluster.database
        folder = tmp_path_factory.mktemp("truth")
        settings = load_settings(
            None,
            {"CARME_DATA": str(folder), "CARME_INSTANCE__TIME_ZONE": "UTC", "CARME_SCHEDULER__KIND": "slurm",
             "CARME_SCHEDULER__CLUSTER": NAME, "CARME_SLURMDBD__HOST": access.host,
             "CARME_SLURMDBD__PORT": str(access.port), "CARME_SLURMDBD__USER": access.user,
             "CARME_SLURMDBD__PASSWORD": access.password},
        )  # fmt: skip
        db = Database(settings.store.url)
        db.upgrade()
        assert sync_once(settings, db) == {}
        warehouse = Warehouse(folder / "accounting")
        yield Lived(
            cluster=cluster, jobs=made.jobs, began_s=began_s,
            month=f"{datetime.fromtimestamp(began_s, UTC):%Y-%m}", warehouse=warehouse,
            usage=Usage(warehouse, "UTC"), settings=settings, db=db,
            commands=Inside(None, cluster.slurm_conf, 60.0, cluster=cluster),
        )  # fmt: skip


def cpu_seconds(lived: Lived, since_s: int, until_s: int) -> dict[tuple[str, str], int]:
    """What the console shows, by account and user."""
    question = Question(("cpu_hours",), since_s, until_s, by=("account", "user"))
    rows = lived.usage.ask(question, ALL).table.to_pylist()
    return {(row["account"], row["user"]): round(row["cpu_hours"] * 3600) for row in rows if row["cpu_hours"]}


def sacct_rows(lived: Lived, since_s: int, until_s: int) -> list[dict[str, str]]:
    """`sacct -D -T` of the window, as a person would ask it."""
    fields = ("JobIDRaw", "Submit", "Account", "User", "State", "NCPUS", "Start", "End", "ElapsedRaw")
    asked = [f"{name}={datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S}" for name, at in
             (("--starttime", since_s), ("--endtime", until_s))]  # fmt: skip
    shown = lived.cluster.run(
        ["sacct", "-aDTXnP", *asked, "-o", ",".join(fields)],
        env={"SLURM_TIME_FORMAT": "%s", "TZ": "UTC"}, check=True,
    ).stdout  # fmt: skip
    return [dict(zip(fields, line.split("|"), strict=True)) for line in shown.splitlines()]


def suspensions(lived: Lived) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Suspended intervals by job and submission, out of slurmdbd's table."""
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for line in kinds.sql(
        lived.cluster,
        f"SELECT id_job, time_submit, s.time_start, s.time_end FROM `{NAME}_suspend_table` s "
        f"JOIN `{NAME}_job_table` j USING (job_db_inx)",
    ).splitlines():
        job, submit_s, from_s, to_s = (int(field) for field in line.split())
        found.setdefault((job, submit_s), []).append((from_s, to_s or 2**40))
    return found


def line_of(comparison: Comparison, account: str, user: str = "", tres: str = "cpu") -> Line:
    return next(line for line in comparison.lines if (line.account, line.user, line.tres) == (account, user, tres))


# -- what happened -------------------------------------------------------------------------------------------


def test_every_kind_of_job_has_happened(lived: Lived) -> None:
    rows = sacct_rows(lived, lived.began_s - 3600, int(time.time()))
    states: dict[int, list[str]] = {}
    for row in rows:
        states.setdefault(int(row["JobIDRaw"]), []).append(row["State"].split(" ")[0])
    never_eligible = {"cancelled pending", "pending"}  # held: sacct shows no job before it is eligible
    for kind, state in OF_JOBS.items():
        if kind not in never_eligible:
            assert states[lived.jobs[kind]][-1] == state, kind
    assert states[lived.jobs["requeued"]] == ["REQUEUED", "CANCELLED"]
    assert states[lived.jobs["resized"]] == ["RESIZING", "CANCELLED"]
    assert states[lived.jobs["heterogeneous"] + 1] == ["COMPLETED"]
    zero = next(row for row in rows if int(row["JobIDRaw"]) == lived.jobs["zero length"])
    assert zero["Start"] == zero["End"]
    array = kinds.sql(
        lived.cluster,
        f"SELECT COUNT(*) FROM `{NAME}_job_table` WHERE id_array_job = {lived.jobs['array']} AND time_start > 0",
    )
    assert int(array) >= 4


# -- sacct ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("since", "until"), [(-3600, 20_000), (1234, 4321), (2001, 2002), (5983, 5984), (0, 86_400), (3000, 2_000_000)]
)
def test_the_console_is_the_sum_of_sacct_rows_less_suspended_intervals(lived: Lived, since: int, until: int) -> None:
    since_s, until_s = lived.began_s + since, min(lived.began_s + until, int(time.time()) - 120)
    suspended = suspensions(lived)
    wanted: dict[tuple[str, str], int] = {}
    for row in sacct_rows(lived, since_s, until_s):
        if not row["Start"].isdigit():
            continue
        start_s = int(row["Start"])
        end_s = int(row["End"]) if row["End"].isdigit() else until_s
        held_s = sum(
            max(0, min(to_s, end_s) - max(from_s, start_s))
            for from_s, to_s in suspended.get((int(row["JobIDRaw"]), int(row["Submit"])), ())
        )
        cpu_s = max(0, end_s - start_s - held_s) * int(row["NCPUS"])
        if cpu_s:
            owner = row["Account"], row["User"]
            wanted[owner] = wanted.get(owner, 0) + cpu_s
    assert wanted
    assert cpu_seconds(lived, since_s, until_s) == wanted


def test_running_jobs_are_as_sacct_has_them(lived: Lived) -> None:
    month_s = lived.began_s + 2 * 86_400 - lived.began_s % 86_400
    until_s = int(time.time()) - 60
    rows = {int(row["JobIDRaw"]): row for row in sacct_rows(lived, month_s, until_s)}
    running = rows[lived.jobs["running"]]
    assert running["State"] == "RUNNING"
    assert int(running["ElapsedRaw"]) == until_s - month_s
    assert cpu_seconds(lived, month_s, until_s) == {("astro", "ada"): 3 * (until_s - month_s)}  # bob's is suspended


# -- sreport -------------------------------------------------------------------------------------------------


def this_month() -> str:
    """Skips in its first two hours, of which slurmdbd may not have rolled up any."""
    now = datetime.now(UTC)
    if now.day == 1 and now.hour < 2:
        pytest.skip("the month has just begun")
    return f"{now:%Y-%m}"


def agrees(comparison: Comparison) -> None:
    """Every line adds up, and nothing is left without a name."""
    assert comparison.problems == ()
    for line in comparison.lines:
        assert line.sreport.value == line.console + sum(line.sreport.parts.values()), line
        assert line.sacct.value == line.console + sum(line.sacct.parts.values()), line
        assert line.xdmod.value == line.console + sum(line.xdmod.parts.values()), line
    assert comparison.agrees


def test_a_closed_month_is_sreports_with_each_difference_named(lived: Lived) -> None:
    comparison = lived.compare(lived.month)
    agrees(comparison)
    assert comparison.until_s == comparison.month_until_s
    assert {line.tres for line in comparison.lines} == set(truth.TRES)
    # Nobody ran in dora's reservation: its whole node for as long as it stood is hers
    own = kinds.sql(lived.cluster, f"SELECT time_end - time_start FROM `{NAME}_resv_table` WHERE resv_name = 'own'")
    assert line_of(comparison, "biology", "dora").sreport.parts == {"reservation": 64 * int(own)}
    # The two accounts of the other one share what is left beside its jobs
    shared = {name: line_of(comparison, name).sreport.parts["reservation"] for name in ("astro", "particle", "physics")}
    assert shared["astro"] == shared["particle"] > 0
    assert shared["physics"] == shared["astro"] + shared["particle"]
    assert line_of(comparison, "root").sreport.value > line_of(comparison, "root").console
    # Suspended: CPUs agree everywhere, of GPUs sacct leaves the time out
    assert line_of(comparison, "particle", "bob", "gres/gpu").sacct.parts["suspended"] < 0
    assert "suspended" not in line_of(comparison, "particle", "bob").sacct.parts
    assert line_of(comparison, "particle", "bob").sacct.parts["suspended_now"] > 0
    # XDMoD: the requeued and the resized attempt, what still runs
    assert {"requeued", "running"} <= set(line_of(comparison, "astro", "ada").xdmod.parts)


def test_a_month_that_is_not_over_is_compared_as_far_as_it_is_rolled_up(lived: Lived) -> None:
    now_s = time.time()
    lived.sync()
    comparison = lived.compare(this_month())
    agrees(comparison)
    assert comparison.until_s % 3600 == 0
    assert now_s - 7300 < comparison.until_s <= now_s
    assert comparison.running["cpu"] == 3 * (comparison.until_s - comparison.since_s)
    assert comparison.later["cpu"] == 3 * (lived.warehouse.state.clusters[NAME].synced_s or 0) - 3 * comparison.until_s


def test_one_second_too_many_in_slurms_roll_up_is_found_and_told(lived: Lived) -> None:
    month = this_month()
    wrong = (
        f"UPDATE `{NAME}_assoc_usage_hour_table` SET alloc_secs = alloc_secs + (%d) "
        "WHERE id_tres = 1 AND alloc_secs > 0 ORDER BY time_start DESC LIMIT 1"
    )
    kinds.sql(lived.cluster, wrong % 1)
    try:
        db = lived.db
        check = SelfCheck(lived.settings, lived.warehouse, lived.usage, db)
        check.commands = lived.commands
        truth.ask(db, NAME, month, "dora")
        assert check.make_next()
        assert not check.make_next()
        made, _ = truth.check_of(db, NAME, month)
        assert made is not None
        assert made.figures is not None
        apart = {(line["account"], line["user"]): line["sreport"]["rest"] for line in made.figures["lines"]
                 if line["sreport"]["rest"]}  # fmt: skip
        assert apart == {("astro", "ada"): 1, ("astro", ""): 1, ("physics", ""): 1, ("root", ""): 1}
        assert [(found.cluster, found.month) for found in truth.parted(db)] == [(NAME, month)]
        with db.read() as session:
            lines = [(row.actor, row.action, row.outcome) for row in session.query(Audit).order_by(Audit.id)]
        assert lines == [("dora", "accounting.compare", "done"), ("console", "accounting.parted", "failed")]
    finally:
        kinds.sql(lived.cluster, wrong % -1)
    truth.ask(db, NAME, month, "dora")
    assert check.make_next()
    assert truth.parted(db) == []


def test_rows_purged_from_slurmdbd_stay_and_are_named(lived: Lived) -> None:
    job = lived.jobs["whole node"]
    row = kinds.sql(lived.cluster, f"SELECT job_db_inx, time_submit FROM `{NAME}_job_table` WHERE id_job = {job}")
    inx, submit_s = (int(field) for field in row.split())
    table = f"`{NAME}_job_table`"
    kinds.sql(
        lived.cluster,
        f"CREATE TABLE purged AS SELECT * FROM {table} WHERE job_db_inx = {inx}",
        f"DELETE FROM {table} WHERE job_db_inx = {inx}",
    )
    try:
        with Warehouse.write(lived.warehouse.folder, "UTC") as writer:
            assert writer.mark_gone(NAME, keys=[(job, submit_s)]) == 1
            writer.commit()
        comparison = lived.compare(lived.month)
        agrees(comparison)
        assert line_of(comparison, "particle", "bob").sacct.parts["gone"] < 0
    finally:
        kinds.sql(lived.cluster, f"INSERT INTO {table} SELECT * FROM purged", "DROP TABLE purged")
        lived.sync()


def test_usage_that_slurmdbd_keeps_private_is_not_held_against_the_console(
    lived: Lived, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privacy, "own_name", lambda: "carme")
    conf = lived.cluster.folder / "slurm/slurmdbd.conf"
    public = conf.read_text()
    conf.write_text(public + "PrivateData=jobs,usage,users\n")
    lived.cluster.stop("slurmdbd")
    lived.cluster.start("slurmdbd")
    try:
        with pytest.raises(truth.NothingToCompare, match=r"jobs, usage, users private .* adminlevel=Operator"):
            lived.compare(lived.month)
        allow = ["sacctmgr", "-i", "add", "user", "carme", "account=root", "adminlevel=Operator"]
        lived.cluster.run(allow, check=True)
        agrees(lived.compare(lived.month))
        lived.cluster.run(["sacctmgr", "-i", "delete", "user", "carme"], check=True)
    finally:
        conf.write_text(public)
        lived.cluster.stop("slurmdbd")
        lived.cluster.start("slurmdbd")


# -- releases ------------------------------------------------------------------------------------------------

QUESTIONS = (
    (("cpu_hours", "gpu_hours", "node_hours", "mem_gb_hours", "billing_hours", "wall_hours", "jobs", "attempts",
      "wait_hours"), ("account", "user")),
    (("cpu_hours", "gpu_hours"), ("day", "gpu_type", "partition", "qos")),
    (("jobs", "jobs_ended", "cpu_hours"), ("state", "exit", "reservation")),
)  # fmt: skip


def copy(lived: Lived, into: slurmdbd.Database) -> None:
    """Every row of the real database, in the columns that the other release has, too."""
    renamed = (
        {"resv_secs": "plan_secs"} if into.run(f"SHOW COLUMNS FROM `{NAME}_usage_hour_table` LIKE 'resv_secs'") else {}
    )
    source = lived.cluster.database.name
    for (table,) in into.run("SHOW TABLES"):
        into.run(f"DELETE FROM `{table}`")
        theirs = {str(row[0]) for row in into.run(f"SHOW COLUMNS FROM `{table}`")}
        if not into.run(f"SHOW TABLES FROM `{source}` LIKE %s", (table,)):
            continue
        ours = {str(row[0]) for row in into.run(f"SHOW COLUMNS FROM `{source}`.`{table}`")}
        pairs = {name: renamed.get(name, name) for name in theirs if renamed.get(name, name) in ours}
        into.run(
            f"INSERT INTO `{table}` ({', '.join(f'`{name}`' for name in pairs)}) "
            f"SELECT {', '.join(f'`{name}`' for name in pairs.values())} FROM `{source}`.`{table}`"
        )


@pytest.mark.parametrize("release", slurmdbd.RELEASES)
def test_the_same_jobs_in_the_schema_of_each_release_give_the_same_figures(
    lived: Lived, release: str, tmp_path: Path
) -> None:
    since_s, until_s = lived.began_s - 3600, lived.began_s + 6 * 86_400
    with slurmdbd.database(lived.cluster, release, (NAME,)) as other:
        copy(lived, other)
        settings = replace(
            lived.settings,
            instance=replace(lived.settings.instance, data_dir=tmp_path),
            slurmdbd=replace(lived.settings.slurmdbd, database=other.name),
        )
        assert sync_once(settings, lived.db) == {}
    warehouse = Warehouse(tmp_path / "accounting")
    for metrics, by in QUESTIONS:
        question = Question(metrics, since_s, until_s, by=by)
        wanted = lived.usage.ask(question, ALL)
        found = Usage(warehouse, "UTC").ask(question, ALL)
        assert found.table.num_rows > 3
        assert found.table.to_pylist() == wanted.table.to_pylist()
        assert found.totals == wanted.totals
