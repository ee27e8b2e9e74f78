"""slurmdbd's database of every release, read into the same rows. The schemas: tests/data/slurmdbd-schemas."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.accounting.dbd import DatabaseRefuses, NotSlurmdbd
from backend.accounting.dbd.rows.bulk import ChunkTooLarge
from backend.accounting.dbd.rows.jobs import Window, read_raw
from tests.cluster.slurmdbd import RELEASES, Database, by_key, database, read_all
from tests.harness import Cluster
from tests.harness.slurm import version

SLUID = 5_000_000_000_000_000_123  # 19 digits, beyond 2**53
UNKNOWN_ENERGY = (2**64 - 1, 2**64 - 2, 2**64 - 3)
STEP = {"nodelist": "n1", "nodes_alloc": 1, "state": 3, "step_name": "x", "task_cnt": 1}


def fill(db: Database) -> None:
    """Jobs of every kind, each under the number its test knows it by."""
    db.job(1, time_submit=1000, time_eligible=1010, time_start=1100, time_end=1700, wckey="", id_wckey=7, id_resv=9,
           state_reason_prev=3, exit_code=256)  # fmt: skip
    for step, (user_s, peak) in {-5: (5, 3 << 20), -4: (0, 1 << 20), 0: (100, (9 << 20) + 1)}.items():
        db.write("my-cluster_step_table", job_db_inx=1, id_step=step, user_sec=user_s, user_usec=250_000, sys_sec=1,
                 tres_usage_in_max=f"1=0,2={peak},6=12,7=99", **STEP)  # fmt: skip
    db.write("my-cluster_step_table", job_db_inx=1, id_step=1, tres_usage_in_max=f"2={2**64 - 1}", **STEP)
    # Requeued: two rows of one job
    db.job(2, id_job=20, time_submit=1000, time_eligible=1000, time_start=1100, time_end=1200, state=1024)
    db.job(3, id_job=20, time_submit=1200, time_eligible=1320, time_start=1400, time_end=1500)
    db.job(4, time_submit=1000, time_eligible=1000, time_start=1100, time_end=1200, state=8192)
    db.job(5, time_submit=1000, time_eligible=1000, time_end=1200, state=524288 | 4, tres_alloc="", nodelist="")
    # Cancelled while it waited: slurmdbd writes its end as its start
    db.job(6, time_submit=1000, time_start=1300, time_end=1300, state=4, tres_alloc="", nodelist="None assigned",
           nodes_alloc=0)  # fmt: skip
    db.job(7, time_submit=1000, time_eligible=1000, time_start=1100, time_end=1200, id_array_job=70, id_array_task=3)
    db.job(70, time_submit=1000, time_eligible=1000, state=0, id_array_job=70, array_task_pending=12, tres_alloc="",
           nodelist="None assigned", partition="debug,high")  # fmt: skip
    db.job(8, time_submit=1000, time_eligible=1000, time_start=1100, time_end=1200, het_job_id=8, het_job_offset=0)
    db.job(9, time_submit=1000, time_eligible=1000, time_start=1100, time_end=1200, het_job_id=8, het_job_offset=1,
           tres_alloc="1=2,2=100,4=1,1002=2,1003=1,3=512")  # fmt: skip
    db.job(10, time_submit=1000, time_eligible=1000, time_start=1100, time_end=2000, time_suspended=300)
    for begin, end in ((1200, 1400), (1500, 1600)):
        db.write("my-cluster_suspend_table", job_db_inx=10, id_assoc=3, time_start=begin, time_end=end)
    db.job(11, time_submit=1000, time_eligible=1000, time_start=1100, state=2, time_suspended=1900)
    db.write("my-cluster_suspend_table", job_db_inx=11, id_assoc=3, time_start=1900, time_end=0)
    db.job(12, time_submit=1000, time_eligible=1000, time_start=1100, state=1,
           tres_alloc="1=4,2=8000,4=1,1001=2,1002=2")  # fmt: skip
    for place, joules in enumerate(UNKNOWN_ENERGY):
        db.job(20 + place, time_submit=1, time_start=2, time_end=3, tres_alloc=f"1=4,2=8,3={joules},4=1,5=4")
    # Removed associations, users and QOS; no association at all
    db.job(30, time_submit=1, time_start=2, time_end=3, id_assoc=5, account="astro", id_qos=2)
    db.job(31, time_submit=1, time_start=2, time_end=3, id_assoc=99, account="gone", id_user=987_654, id_qos=77)
    db.job(32, time_submit=1, time_start=2, time_end=3, tres_req="", mem_req=(1 << 63) | 500, cpus_req=4)
    db.job(33, time_submit=1, time_start=2, time_end=3, tres_req="", mem_req=700, nodes_alloc=2, tres_alloc="")
    db.job(34, time_submit=1, time_eligible=2**64 - 1, time_start=0, time_end=50, state=4, timelimit=2**32 - 1,
           tres_alloc="", nodelist="", exit_code=9)  # fmt: skip
    db.job(35, time_submit=1, time_start=60, time_end=50)
    db.job(36, time_submit=1, time_start=50, time_end=50)
    db.job(SLUID, id_job=99, time_submit=1, time_start=2, time_end=3, job_name=HOSTILE, work_dir=HOSTILE[::-1])


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
HOSTILE = 'a\nb|c"d""e,\'f\\n\t<script>&amp;\r\n\u202eright-to-left\u0000 \x1b[2J ✓ 🚀 =1+1'


@pytest.fixture(scope="module")
def expected(cluster: Cluster) -> dict[int, dict[str, Any]]:
    with database(cluster, "22.05") as db:
        fill(db)
        return dict(by_key(read_all(db.reader())[0]))


@pytest.mark.parametrize("release", RELEASES)
def test_the_same_jobs_in_the_schema_of_each_release_are_the_same_rows(
    cluster: Cluster, release: str, expected: dict[int, dict[str, Any]]
) -> None:
    with database(cluster, release) as db:
        fill(db)
        reader = db.reader()
        assert reader.clusters() == ("my-cluster",)
        jobs, suspends = read_all(reader)
        assert by_key(jobs) == expected
        assert sorted((row["job_id"], row["from_s"], row["to_s"]) for row in suspends.to_pylist()) == [
            (10, 1200, 1400), (10, 1500, 1600), (11, 1900, None),
        ]  # fmt: skip
        assert reader.reservations("my-cluster").to_pylist()[0]["unused_wall_s"] == 12.5
        assert {row["name"]: row["parent"] for row in reader.accounts("my-cluster").to_pylist()} == {
            "root": None, "physics": "root", "astro": "physics",
        }  # fmt: skip


def test_a_row_says_what_slurm_says(expected: dict[int, dict[str, Any]]) -> None:
    row = expected[1]
    told = {name: row[name] for name in (
        "state", "user", "account", "qos", "reservation", "wckey", "exit_status", "exit_signal", "reason",
        "time_limit_s", "tres", "cpus", "mem_mb", "nodes", "node_list", "seen_s", "array_job_id",
        "het_job_id", "req_mem_mb",
    )}  # fmt: skip
    assert told == {
        "state": "COMPLETED", "user": "ada", "account": "physics", "qos": "normal", "reservation": "course",
        "wckey": "paper", "exit_status": 1, "exit_signal": 0, "reason": "Resources", "time_limit_s": 3600,
        "tres": "billing=4,cpu=4,mem=8000M,node=1", "cpus": 4, "mem_mb": 8000, "nodes": 1, "node_list": "n1",
        "seen_s": None, "array_job_id": None, "het_job_id": None, "req_mem_mb": 8000,
    }  # fmt: skip


def test_steps_sum_up_once_each_and_unknown_peaks_are_left_out(expected: dict[int, dict[str, Any]]) -> None:
    assert (expected[1]["cpu_used_s"], expected[1]["mem_peak_mb"]) == (5.25 + 0.25 + 100.25 + 3, 10)
    assert (expected[3]["cpu_used_s"], expected[3]["mem_peak_mb"]) == (None, None)


def test_attempts_that_ended_by_requeue_resize_or_revocation_say_so(expected: dict[int, dict[str, Any]]) -> None:
    assert [expected[key]["state"] for key in (2, 4, 5)] == ["REQUEUED", "RESIZING", "REVOKED"]


def test_a_job_cancelled_in_the_queue_never_started(expected: dict[int, dict[str, Any]]) -> None:
    row = expected[6]
    assert (row["start_s"], row["end_s"], row["nodes"], row["cpus"], row["node_list"]) == (None, 1300, 0, 0, "")


def test_a_pending_array_stands_for_its_tasks(expected: dict[int, dict[str, Any]]) -> None:
    assert (expected[70]["array_pending"], expected[70]["array_task_id"], expected[70]["seen_s"]) == (12, None, 5000)
    assert expected[70]["partition"] == "debug,high"
    assert (expected[7]["array_job_id"], expected[7]["array_task_id"], expected[7]["array_pending"]) == (70, 3, 0)


def test_the_first_part_of_a_het_job_has_offset_0(expected: dict[int, dict[str, Any]]) -> None:
    assert [(expected[key]["het_job_id"], expected[key]["het_offset"]) for key in (8, 9)] == [(8, 0), (8, 1)]


def test_typed_gpus_without_the_untyped_count_add_up(expected: dict[int, dict[str, Any]]) -> None:
    assert (expected[9]["gpus"], expected[9]["gpu_type"], expected[9]["energy_j"]) == (3, "a100=2,h100=1", 512)
    assert (expected[12]["gpus"], expected[12]["gpu_type"]) == (2, "a100")


def test_suspended_time_is_that_of_the_intervals(expected: dict[int, dict[str, Any]]) -> None:
    assert expected[10]["suspended_s"] == 300
    assert (expected[11]["suspended_s"], expected[11]["state"]) == (5000 - 1900, "SUSPENDED")


def test_unknown_energy_is_null(expected: dict[int, dict[str, Any]]) -> None:
    assert [expected[20 + place]["energy_j"] for place in range(3)] == [None, None, None]


def test_what_was_deleted_still_has_its_name(expected: dict[int, dict[str, Any]]) -> None:
    assert (expected[30]["user"], expected[30]["account"], expected[30]["qos"]) == ("bob", "astro", "high")
    assert (expected[31]["user"], expected[31]["account"], expected[31]["qos"]) == ("987654", "gone", "77")


def test_memory_asked_for_by_cpu_is_multiplied(expected: dict[int, dict[str, Any]]) -> None:
    assert (expected[32]["req_mem_mb"], expected[33]["req_mem_mb"]) == (2000, 1400)


def test_times_that_are_none_are_null(expected: dict[int, dict[str, Any]]) -> None:
    row = expected[34]
    assert (row["eligible_s"], row["start_s"], row["time_limit_s"], row["exit_signal"]) == (None, None, None, 9)


def test_hostile_names_and_19_digit_keys_arrive_unchanged(expected: dict[int, dict[str, Any]]) -> None:
    assert (expected[SLUID]["job_name"], expected[SLUID]["work_dir"]) == (HOSTILE, HOSTILE[::-1])
    assert expected[SLUID]["db_inx"] == SLUID


def test_any_text_arrives_unchanged(cluster: Cluster) -> None:
    with database(cluster) as db:
        reader = db.reader()
        keys = iter(range(1, 10**9))

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(TEXTS, min_size=1, max_size=30))
        def arrives(names: list[str]) -> None:
            wanted = dict(zip(keys, names, strict=False))
            for key, name in wanted.items():
                db.job(key, job_name=name, time_submit=1, time_start=2, time_end=3)
            found = by_key(pa_of(reader, list(wanted)))
            assert {key: row["job_name"] for key, row in found.items()} == wanted

        arrives()


def pa_of(reader: Any, keys: list[int]) -> Any:
    (batch,) = reader.rows("my-cluster", keys, 0)
    return batch.jobs


def test_bytes_of_an_old_latin1_table_are_read_as_what_they_are(cluster: Cluster) -> None:
    with database(cluster) as db:
        db.run("ALTER TABLE `my-cluster_job_table` MODIFY job_name tinytext CHARACTER SET latin1")
        for key, name in {1: b"caf\xe9", 2: "café ✓".encode()}.items():
            db.job(key, time_submit=1, time_start=2, time_end=3)
            db.run("UPDATE `my-cluster_job_table` SET job_name = X'" + name.hex() + f"' WHERE job_db_inx = {key}")
        names = {key: row["job_name"] for key, row in by_key(read_all(db.reader())[0]).items()}
        assert names == {1: "café", 2: "café ✓"}


def test_several_clusters_of_one_database_stay_apart(cluster: Cluster) -> None:
    with database(cluster, clusters=("a-1", "b")) as db:
        db.job(1, cluster="a-1", time_submit=1, time_start=2, time_end=3)
        db.job(1, cluster="b", time_submit=1, time_start=2, time_end=3, id_job=5)
        reader = db.reader()
        assert reader.clusters() == ("a-1", "b")
        assert read_all(reader, "b")[0]["job_id"].to_pylist() == [5]
        assert read_all(reader, "a-1")[0]["cluster"].to_pylist() == ["a-1"]


def test_rows_that_do_not_fit_into_a_packet_come_in_pieces(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with database(cluster) as db:
        for key in range(1, 400):
            db.job(key, time_submit=key, time_start=2, time_end=3 + key, work_dir="/x" * 400)
        reader = db.reader()
        plain = {key: row["submit_s"] for key, row in by_key(read_all(reader)[0]).items()}
        reader.connection.rows("SET SESSION group_concat_max_len = 20000")
        reader._ahead.rows("SET SESSION group_concat_max_len = 20000")
        reader.connection.max_packet_bytes = reader._ahead.max_packet_bytes = 20000
        pieces = list(reader.load("my-cluster", 0, 500, 0))
        assert len(pieces) > 20
        assert {key: row["submit_s"] for piece in pieces for key, row in by_key(piece.jobs).items()} == plain
        assert reader.ended_keys("my-cluster", 0) == sorted(plain)
        found = [key for batch in reader.rows("my-cluster", sorted(plain), 0) for key in by_key(batch.jobs)]
        assert found == sorted(plain)
        with pytest.raises(ChunkTooLarge):
            read_raw(reader.connection, reader.schema, "my-cluster", Window.keys(sorted(plain)))


def test_a_database_that_is_not_slurmdbds_is_refused(cluster: Cluster) -> None:
    with database(cluster) as db:
        db.run("ALTER TABLE `my-cluster_job_table` DROP COLUMN tres_alloc")
        with pytest.raises(NotSlurmdbd, match=r"my-cluster_job_table .* lacks tres_alloc"):
            db.reader().clusters()
        db.run("DROP TABLE tres_table")
        with pytest.raises(DatabaseRefuses, match="GRANT SELECT"):
            db.reader().clusters()


def test_the_schema_of_the_installed_release_is_what_slurmdbd_makes(cluster: Cluster) -> None:
    release = "{:02}.{:02}".format(*version())
    if release not in RELEASES:
        pytest.skip(f"no schema of {release}")
    with database(cluster, release, clusters=(cluster.name,)) as db:
        query = (
            "SELECT table_name, column_name, column_type, is_nullable FROM information_schema.columns "
            "WHERE table_schema = %s"
        )
        derived = set(db.run(query, (db.name,)))
        tables = {row[0] for row in derived}
        real = {row for row in db.run(query, (cluster.database.name,)) if row[0] in tables}
        assert derived == real


@pytest.mark.parametrize("release", RELEASES)
def test_the_steady_state_reads_by_indexes_only(
    cluster: Cluster, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database(cluster, release) as db:
        for key in range(1, 60):
            db.job(key, time_submit=key, time_eligible=key, time_start=2, time_end=(3 + key) * (key % 7 > 0))
            db.write("my-cluster_step_table", job_db_inx=key, id_step=0, tres_usage_in_max="2=5", **STEP)
        reader = db.reader()
        reader.clusters()
        said: list[tuple[str, tuple[object, ...]]] = []
        ask = reader.connection.rows

        def listening(sql: str, arguments: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
            said.append((sql, tuple(arguments)))
            return ask(sql, arguments)

        monkeypatch.setattr(reader.connection, "rows", listening)
        keys = {*reader.ended_keys("my-cluster", 20), *reader.newer_keys("my-cluster", 50)}
        keys.update(reader.open_keys("my-cluster"))
        list(reader.rows("my-cluster", sorted(keys), 0))
        reader.count_ended("my-cluster", 5, 50)
        reader.oldest_end_s("my-cluster")
        reader.last_key("my-cluster")
        reader.capacity("my-cluster", 100)
        large = re.compile(r"_(job|step|suspend|usage_hour)_table")
        for sql, arguments in said:
            if not large.search(sql):
                continue
            for row in db.run(f"EXPLAIN {sql}", arguments):
                kind, table, key = row[3], row[2], row[5]
                if table and not str(table).startswith("<"):
                    assert kind not in ("ALL", "index"), f"{sql}\n{row}"
                    assert key, f"{sql}\n{row}"

