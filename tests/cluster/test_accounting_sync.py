"""slurmdbd's accounts in the warehouse: complete, fresh, nothing twice, whatever happens to either side."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.accounting.sync import SyncBusy, sync_once, warehouse_folder
from backend.accounting.usage import Usage
from backend.accounting.usage.terms.question import Question, Scope
from backend.accounting.warehouse import ClusterState, Warehouse
from backend.cluster import SnapshotWriter
from backend.cluster.model import JOBS as QUEUE
from backend.cluster.model import SCHEMAS
from backend.store import Database as Store
from backend.store.models import Session
from config import Settings, load_settings
from tests.cluster.slurmdbd import RELEASES, Database, database
from tests.cluster.test_accounting_schemas import fill
from tests.harness import Cluster, kinds
from tests.harness.console import ROOT, clean_environment, toml
from tests.unit.cluster_kit import job_row

NAME = "my-cluster"
MONTH_S = 31 * 86_400


class Books:
    """An instance whose accounts come from a database: what a sync brings, and what is then known."""

    def __init__(self, folder: Path, db: Database, **accounting: object) -> None:
        password = folder / "password"
        password.touch(mode=0o600)
        password.write_text(db.settings.password)
        self.config = folder / "carme.toml"
        self.config.write_text(
            toml(
                {
                    "instance": {"data_dir": str(folder / "data"), "time_zone": "Europe/Berlin"},
                    "scheduler": {"kind": "slurm", "cluster": NAME},
                    "accounting": {"trailing_every_s": 10**6, **accounting},
                    "slurmdbd": {
                        "host": db.settings.host, "port": db.settings.port, "user": db.settings.user,
                        "password_file": str(password), "database": db.name,
                    },
                }
            )
        )  # fmt: skip
        self.db = db
        self.settings: Settings = load_settings(self.config, {})
        self.store = Store(self.settings.store.url)
        self.store.upgrade()

    def sync(self, **how: Any) -> dict[str, str]:
        return dict(sync_once(self.settings, self.store, **how))

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        warehouse = Warehouse(warehouse_folder(self.settings))
        with warehouse.cursor() as look:
            found = look.execute(sql).fetchall()
        warehouse.close()
        return found

    @property
    def state(self) -> ClusterState:
        warehouse = Warehouse(warehouse_folder(self.settings))
        found = warehouse.state.clusters[NAME]
        warehouse.close()
        return found

    def job(self, key: int, *, ended_s: int, **row: object) -> None:
        """A job of ten minutes that ended then."""
        told = {"time_submit": ended_s - 700, "time_eligible": ended_s - 700, "time_start": ended_s - 600}
        self.db.job(key, **{**told, "time_end": ended_s, **row})

    def open_job(self, key: int, **row: object) -> None:
        start_s = int(time.time()) - 500
        self.db.job(key, **{"time_submit": start_s, "time_eligible": start_s, "time_start": start_s, "state": 1, **row})


@pytest.fixture
def db(cluster: Cluster) -> Iterator[Database]:
    with database(cluster) as made:
        yield made


@pytest.fixture
def books(tmp_path: Path, db: Database) -> Iterator[Books]:
    made = Books(tmp_path, db)
    yield made
    made.store.close()


@pytest.fixture
def comparing(tmp_path: Path, db: Database) -> Iterator[Books]:
    """The same, looking for late changes at every round."""
    made = Books(tmp_path, db, trailing_every_s=1)
    yield made
    made.store.close()


def now_s() -> int:
    return int(time.time())


def test_the_first_round_brings_everything(books: Books) -> None:
    for key in range(1, 30):
        books.job(key, ended_s=now_s() - key * MONTH_S // 4)
    books.open_job(40)
    assert books.sync() == {}
    assert books.ask("select count(*), count(end_s), count(distinct job_id) from jobs") == [(30, 29, 30)]
    state = books.state
    assert (state.source, state.progress, state.rows, state.open_rows) == ("slurmdbd", None, 29, 1)
    assert books.ask("select name, parent, coordinators from accounts where name = 'physics'") == [
        ("physics", "root", ["cleo"])
    ]


def test_a_job_that_ends_is_no_longer_open(books: Books) -> None:
    books.open_job(1)
    books.sync()
    books.db.run(f"UPDATE `{NAME}_job_table` SET time_end = %s, state = 6 WHERE job_db_inx = 1", (now_s(),))
    books.open_job(2)
    books.sync()
    assert books.ask("select job_id, state, end_s is null, seen_s is null from jobs order by job_id") == [
        (1, "TIMEOUT", False, True), (2, "RUNNING", True, False),
    ]  # fmt: skip


def test_a_job_that_was_open_is_found_however_long_ago_it_ended(books: Books) -> None:
    books.open_job(1)
    books.sync()
    books.db.run(f"UPDATE `{NAME}_job_table` SET time_end = time_start + 5, state = 3 WHERE job_db_inx = 1")
    books.sync()
    assert books.ask("select end_s - start_s from jobs") == [(5,)]


def test_a_row_that_arrives_long_after_its_end_is_found_by_its_key(books: Books) -> None:
    books.job(1, ended_s=now_s())
    books.sync()
    books.job(2, ended_s=now_s() - 40_000)
    books.sync()
    assert books.ask("select count(*) from jobs") == [(2,)]


def test_an_open_row_that_slurmdbd_deleted_is_gone(books: Books) -> None:
    books.open_job(1)
    books.open_job(2)
    books.sync()
    books.db.run(f"DELETE FROM `{NAME}_job_table` WHERE job_db_inx = 1")
    books.sync()
    assert books.ask("select job_id from jobs") == [(2,)]


def test_running_jobs_are_seen_until_now(books: Books) -> None:
    books.open_job(1)
    books.sync()
    assert abs(books.ask("select seen_s from jobs")[0][0] - now_s()) <= 2


def test_a_requeued_job_is_one_job_of_two_attempts(books: Books) -> None:
    end_s = now_s()
    books.job(1, id_job=7, ended_s=end_s, state=1024)
    books.sync()
    books.open_job(2, id_job=7, time_submit=end_s, time_eligible=end_s + 120, time_start=0, state=0)
    books.sync()
    assert books.ask("select attempt, last_attempt, count(distinct origin_s) over () from jobs order by attempt") == [
        (1, False, 1), (2, True, 1),
    ]  # fmt: skip


def test_new_names_are_known_at_once(books: Books) -> None:
    books.job(1, ended_s=now_s())
    books.sync()
    books.db.write(f"{NAME}_assoc_table", id_assoc=50, user="zoe", acct="astro", lineage="/", lft=8, rgt=9)
    books.db.write("tres_table", id=1010, type="gres", name="gpu:b200")
    books.db.write("qos_table", id=9, name="new")
    books.job(2, ended_s=now_s(), id_assoc=50, id_qos=9, tres_alloc="1=1,4=1,1001=1,1010=1")
    books.sync()
    assert books.ask('select "user", account, qos, gpu_type from jobs where job_id = 2') == [
        ("zoe", "astro", "new", "b200")
    ]


@pytest.fixture(scope="module")
def figures() -> dict[str, dict[str, Any]]:
    """Figures by release, as they are found."""
    return {}


@pytest.mark.parametrize("release", RELEASES)
def test_the_same_jobs_in_the_schema_of_each_release_give_the_same_figures(
    cluster: Cluster, tmp_path: Path, release: str, figures: dict[str, dict[str, Any]]
) -> None:
    with database(cluster, release) as db:
        fill(db)
        books = Books(tmp_path, db)
        assert books.sync() == {}
        metrics = ("cpu_hours", "gpu_hours", "node_hours", "mem_gb_hours", "billing_hours", "jobs", "attempts")
        question = Question(metrics, since_s=0, until_s=4000, by=("user", "account", "state"))
        warehouse = Warehouse(warehouse_folder(books.settings))
        answer = Usage(warehouse, "Europe/Berlin").ask(question, Scope(everything=True))
        figures[release] = {"totals": answer.totals, "rows": answer.table.to_pylist()}
        warehouse.close()
        books.store.close()
    first = next(iter(figures.values()))
    assert first["totals"]["cpu_hours"] and first["totals"]["gpu_hours"]
    assert figures[release] == first


# What changes later


def compared_again(books: Books) -> None:
    time.sleep(1.1)
    assert books.sync() == {}


def test_a_late_edit_within_the_window_is_taken_over(comparing: Books) -> None:
    comparing.job(1, ended_s=now_s() - 40_000)
    comparing.sync()
    comparing.db.run(f"UPDATE `{NAME}_job_table` SET derived_es = 'x', wckey = 'thesis', time_end = time_end + 9")
    compared_again(comparing)
    assert comparing.ask("select wckey, end_s - start_s, count(*) over () from jobs") == [("thesis", 609, 1)]


def test_a_deleted_row_is_marked_and_kept(comparing: Books) -> None:
    for key in (1, 2, 3):
        comparing.job(key, ended_s=now_s() - 40_000 - key)
    comparing.sync()
    comparing.db.run(f"DELETE FROM `{NAME}_job_table` WHERE job_db_inx = 2")
    compared_again(comparing)
    assert comparing.ask("select job_id from jobs where gone") == [(2,)]


def test_a_purge_is_noticed_marked_and_told(comparing: Books) -> None:
    for key in range(1, 13):
        comparing.job(key, ended_s=now_s() - (13 - key) * MONTH_S)
    comparing.sync()
    comparing.db.run(f"DELETE FROM `{NAME}_job_table` WHERE job_db_inx <= 6")
    compared_again(comparing)
    assert comparing.ask("select job_id from jobs where gone order by 1") == [(key,) for key in range(1, 7)]
    kept_s = comparing.db.run(f"SELECT MIN(time_end) FROM `{NAME}_job_table`")[0][0]
    assert comparing.state.purged_before_s == kept_s


def test_rows_missing_in_the_midst_of_old_months_are_found_month_by_month(comparing: Books) -> None:
    for key in range(1, 9):
        comparing.job(key, ended_s=now_s() - (9 - key) * MONTH_S)
    comparing.sync()
    comparing.db.run(f"DELETE FROM `{NAME}_job_table` WHERE job_db_inx IN (3, 5)")
    for _ in range(8):
        compared_again(comparing)
    assert comparing.ask("select job_id from jobs where gone order by 1") == [(3,), (5,)]


def test_an_archive_that_is_loaded_again_counts_again(comparing: Books) -> None:
    ended_s = now_s() - 4 * MONTH_S
    comparing.job(1, ended_s=ended_s)
    comparing.job(2, ended_s=ended_s + 5)
    comparing.sync()
    comparing.db.run(f"DELETE FROM `{NAME}_job_table` WHERE job_db_inx = 2")
    compared_again(comparing)
    assert comparing.ask("select job_id from jobs where gone") == [(2,)]
    comparing.job(2, ended_s=ended_s + 5)
    compared_again(comparing)
    assert comparing.ask("select job_id, gone from jobs order by 1") == [(1, False), (2, False)]


def test_jobs_purged_before_the_first_load_are_told_of(books: Books) -> None:
    books.job(1, ended_s=now_s())
    books.db.write(f"{NAME}_usage_month_table", id_tres=1, time_start=now_s() - 20 * MONTH_S, alloc_secs=5)
    books.sync()
    assert books.state.purged_before_s == books.ask("select end_s from jobs")[0][0]


def test_a_rebuild_reads_all_again_and_keeps_what_slurmdbd_has_purged(comparing: Books) -> None:
    for key in (1, 2):
        comparing.job(key, ended_s=now_s() - (3 - key) * MONTH_S)
    comparing.sync()
    comparing.db.run(f"DELETE FROM `{NAME}_job_table` WHERE job_db_inx = 1")
    comparing.db.run(f"UPDATE `{NAME}_job_table` SET wckey = 'late'")
    assert comparing.sync(rebuild=True) == {}
    assert comparing.ask("select job_id, gone, wckey from jobs order by 1") == [(1, True, None), (2, False, "late")]


# What the scheduler says


def queue_of(books: Books, ids: list[int], taken_s: float) -> None:
    """Publish a picture of the queue."""
    import pyarrow as pa

    writer = SnapshotWriter(books.settings.instance.data_dir / "snapshot", NAME, dict.fromkeys(SCHEMAS, 1.0))
    rows = [job_row(number) for number in ids]
    writer.publish("jobs", pa.Table.from_pylist(rows, schema=QUEUE), taken_s=taken_s, duration_s=0.1)


def test_a_runaway_job_runs_no_further(books: Books) -> None:
    books.open_job(1)
    books.open_job(2)
    queue_of(books, [1, 2], time.time())
    books.sync()
    seen = dict(books.ask("select job_id, seen_s from jobs"))
    time.sleep(1.1)
    queue_of(books, [2], time.time())
    books.sync()
    again = dict(books.ask("select job_id, seen_s from jobs"))
    assert (again[1], again[2] > seen[2]) == (seen[1], True)
    assert (books.state.cursor["runaways"], books.state.cursor["runaway_jobs"]) == (1, [1])


def test_without_a_picture_of_the_queue_no_job_is_a_runaway(books: Books) -> None:
    books.open_job(1)
    queue_of(books, [], time.time() - 3600)
    books.sync()
    assert books.state.cursor["runaways"] == 0


def test_jobs_of_the_consoles_sessions_have_their_app(books: Books) -> None:
    with books.store.begin() as change:
        change.add(
            Session(id="abc", owner="ada", uid=4001, cluster=NAME, request={"app": "jupyterlab"}, state="ended",
                    secret=b"", tls_fingerprint="", apps={}, created_s=1, not_after_s=2)
        )  # fmt: skip
    books.job(1, ended_s=now_s(), job_name="carme-abc")
    books.job(2, ended_s=now_s(), job_name="carme-abc", id_user=4002)  # somebody else's, under our name
    books.job(3, ended_s=now_s(), job_name="carme-other")
    books.sync()
    assert books.ask("select job_id, app from jobs order by 1") == [(1, "jupyterlab"), (2, None), (3, None)]


# When things break


def test_an_outage_says_why_and_since_when_and_ends(books: Books) -> None:
    books.job(1, ended_s=now_s())
    books.sync()
    books.db.run(f"RENAME TABLE `{NAME}_step_table` TO away")
    first = books.sync()[NAME]
    since_s = books.state.error_since_s
    assert "step_table" in first and books.state.error == first
    time.sleep(1.1)
    books.sync()
    assert books.state.error_since_s == since_s
    books.db.run(f"RENAME TABLE away TO `{NAME}_step_table`")
    assert books.sync() == {}
    assert (books.state.error, books.state.error_since_s) == ("", None)


def test_two_rounds_at_once_do_not_mix(books: Books) -> None:
    import fcntl

    books.sync()
    with (warehouse_folder(books.settings) / "sync.lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SyncBusy):
            books.sync()


KILLABLE = """
import sys
from pathlib import Path
from backend.accounting.dbd.rows import reader
from backend.accounting.dbd import source
from backend.accounting.sync import sync_once
from backend.store import Database
from config import load_settings
reader.SPAN_ROWS, source.UPSERT_ROWS, source.COMMIT_ROWS = 40, 80, 160
settings = load_settings(Path(sys.argv[1]), {})
print("begun", flush=True)
sync_once(settings, Database(settings.store.url))
"""


def test_killed_at_any_moment_it_ends_complete_and_nothing_is_there_twice(books: Books) -> None:
    count = 1200
    for key in range(1, count + 1):
        books.job(key, ended_s=now_s() - key * 9000)
    books.open_job(5000)
    draw = random.Random(7)
    command = [sys.executable, "-c", KILLABLE, str(books.config)]
    reached = []
    for _ in range(12):
        with subprocess.Popen(
            command, cwd=ROOT, env=clean_environment() | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
        ) as doomed:
            assert doomed.stdout is not None
            doomed.stdout.readline()
            time.sleep(draw.uniform(0.05, 0.9))
            doomed.send_signal(signal.SIGKILL)
        (there,) = books.ask("select count(*), count(distinct job_id) from jobs")
        assert there[0] == there[1]
        reached.append(there[0])
    assert reached == sorted(reached)
    assert books.sync() == {}
    assert books.ask("select count(*), count(distinct job_id), count(end_s) from jobs") == [
        (count + 1, count + 1, count)
    ]


# On the real cluster


def test_real_jobs_arrive_as_sacct_tells_them(quiet_cluster: Cluster, tmp_path: Path) -> None:
    cluster = quiet_cluster
    submit = ["sbatch", "--parsable", "--output=/dev/null"]
    ids = [
        cluster.run([*submit, *options], user="ada", check=True).stdout.strip()
        for options in (
            ["-n2", "--mem=1000", "--wrap=srun sleep 1"],
            ["--gres=gpu:a100:2", "--wrap=exit 3"],
            ["--array=1-3", "--wrap=sleep 1"],
        )
    ]
    cluster.wait_idle()
    kinds.wait_accounted(cluster, first=int(ids[0]))

    class Real:
        """The cluster's own database."""

        settings = cluster.database
        name = cluster.database.name

    books = Books(tmp_path, Real())  # type: ignore[arg-type]
    assert books.sync() == {}
    fields = "JobIDRaw,State,User,Account,AllocTRES,ElapsedRaw,ExitCode,Partition,QOS,NodeList"
    shown = cluster.run(["sacct", "-XDnP", f"--jobs={','.join(ids)}", f"--format={fields}"], check=True).stdout
    rows = books.ask(
        'select job_id, state, "user", account, tres, end_s - start_s, '
        "exit_status || ':' || exit_signal, partition, "
        # sacct's word for a job that has none
        "coalesce(qos, 'Unknown'), node_list from jobs "
        f"where job_id in ({','.join(ids)}) or array_job_id in ({','.join(ids)})"
    )
    assert sorted("|".join(str(value) for value in row) for row in rows) == sorted(shown.split())
    books.store.close()
