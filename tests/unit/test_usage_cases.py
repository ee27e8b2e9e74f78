"""Slurm's accounts as they really are: the cases that a figure must get right, one by one."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from backend.accounting.usage import Question, Scope, Usage
from backend.accounting.warehouse import ClusterState
from tests.unit.usage_kit import Accounts, at, job, suspended

HOUR_S, DAY_S = 3600, 86400
ALL = Scope(everything=True)
NAME = 'a"b|c\n<img src=x onerror=alert(1)>\u202e\u05d0\u05d1\u05d2'


def totals(accounts: Accounts, *metrics: str, since_s: int = 0, until_s: int = DAY_S, **said: Any) -> Any:
    """The figures over a day, from the roll-up where it reaches."""
    found = Usage(accounts, "UTC").ask(Question(metrics, since_s, until_s, **said), ALL).totals
    return found[metrics[0]] if len(metrics) == 1 else found


def rows(
    accounts: Accounts, *metrics: str, since_s: int = 0, until_s: int = DAY_S, **said: Any
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        Usage(accounts, "UTC").ask(Question(metrics, since_s, until_s, **said), ALL).table.to_pylist()
    )
    return found


def test_01_a_requeued_job_is_one_job_of_several_attempts_whose_usage_adds_up() -> None:
    first = job(7, 0, 1 * HOUR_S, state="REQUEUED", last_attempt=False)
    second = job(7, 2 * HOUR_S, 5 * HOUR_S, submit_s=HOUR_S, origin_s=0, attempt=2)
    found = totals(Accounts([first, second]), "cpu_hours", "jobs", "attempts", "jobs_started", "jobs_ended")
    assert found == {"cpu_hours": 4.0, "jobs": 1, "attempts": 2, "jobs_started": 1, "jobs_ended": 1}


def test_02_a_resized_job_counts_each_size_for_its_time() -> None:
    before = job(7, 0, 2 * HOUR_S, state="RESIZING", nodes=4, cpus=40, last_attempt=False)
    after = job(7, 2 * HOUR_S, 3 * HOUR_S, submit_s=2 * HOUR_S, origin_s=0, attempt=2, nodes=1, cpus=10)
    found = totals(Accounts([before, after]), "cpu_hours", "node_hours", "jobs")
    assert found == {"cpu_hours": 90.0, "node_hours": 9.0, "jobs": 1}


def test_03_a_revoked_row_is_no_usage_and_no_job() -> None:
    accounts = Accounts([job(1), job(2, state="REVOKED")])
    assert totals(accounts, "cpu_hours", "jobs", "jobs_ended") == {"cpu_hours": 1.0, "jobs": 1, "jobs_ended": 1}


def test_04_a_pending_array_counts_its_tasks_and_started_tasks_count_themselves() -> None:
    master = job(10, None, None, submit_s=0, seen_s=HOUR_S, array_job_id=10, array_pending=97)
    tasks = [job(11 + n, 0, HOUR_S, submit_s=0, array_job_id=10, array_task_id=n) for n in range(3)]
    found = totals(Accounts([master, *tasks]), "jobs", "jobs_submitted", "jobs_started", "cpu_hours")
    assert found == {"jobs": 100, "jobs_submitted": 100, "jobs_started": 3, "cpu_hours": 3.0}


def test_05_a_heterogeneous_job_is_one_job_with_the_usage_of_all_its_components() -> None:
    parts = [job(20 + n, het_job_id=20, het_offset=n, cpus=4, partition=f"p{n}") for n in range(3)]
    accounts = Accounts(parts)
    assert totals(accounts, "jobs", "attempts", "cpu_hours") == {"jobs": 1, "attempts": 3, "cpu_hours": 12.0}
    assert [row["jobs"] for row in rows(accounts, "jobs", by=("partition",))] == [1, 1, 1]


def test_06_a_job_cancelled_while_pending_used_nothing_and_its_wait_is_undefined() -> None:
    found = totals(
        Accounts([job(1, None, 500, submit_s=0, state="CANCELLED")]),
        "cpu_hours", "jobs", "jobs_started", "jobs_ended", "wait_mean_s", "wait_median_s",
    )  # fmt: skip
    assert found == {
        "cpu_hours": 0.0, "jobs": 1, "jobs_started": 0, "jobs_ended": 1, "wait_mean_s": None, "wait_median_s": None,
    }  # fmt: skip


def test_07_a_job_that_starts_after_it_ended_is_clipped_to_nothing() -> None:
    found = totals(Accounts([job(1, 7200, 3600, submit_s=0)]), "cpu_hours", "wall_hours", "jobs")
    assert found == {"cpu_hours": 0.0, "wall_hours": 0.0, "jobs": 1}


def test_08_a_running_job_counts_until_it_was_last_seen_and_the_answer_says_so_far() -> None:
    answer = Usage(Accounts([job(1, HOUR_S, None, seen_s=3 * HOUR_S)]), "UTC").ask(
        Question(("cpu_hours",), 0, DAY_S), ALL
    )
    assert answer.totals["cpu_hours"] == 2.0
    assert any("so far" in note for note in answer.notes)


def test_08_a_running_job_is_clipped_to_the_window_too() -> None:
    accounts = Accounts([job(1, HOUR_S, None, seen_s=3 * HOUR_S)])
    assert totals(accounts, "cpu_hours", since_s=2 * HOUR_S - 60, until_s=2 * HOUR_S) == pytest.approx(1 / 60, abs=0)


def test_09_a_runaway_row_counts_no_longer_than_it_was_seen() -> None:
    # slurmdbd holds it as running for ever; the controller knew it last after an hour.
    accounts = Accounts([job(1, 0, None, seen_s=HOUR_S)])
    assert totals(accounts, "cpu_hours", until_s=365 * DAY_S) == 1.0


def test_10_suspended_time_is_cut_from_cpu_and_wall_where_it_lies_and_from_nothing_else() -> None:
    row = job(1, 0, 4 * HOUR_S, suspended_s=HOUR_S, cpus=2, gpus=1, gpu_type="a100", mem_mb=1024)
    accounts = Accounts([row], suspended(row, (HOUR_S, 2 * HOUR_S)))
    metrics = ("cpu_hours", "wall_hours", "node_hours", "gpu_hours", "mem_gb_hours", "billing_hours")
    by_hour = rows(accounts, *metrics, by=("hour",))
    assert [row["cpu_hours"] for row in by_hour] == [2.0, 0.0, 2.0, 2.0]
    assert list(totals(accounts, *metrics).values()) == [6.0, 3.0, 4.0, 4.0, 4.0, 4.0]


def test_10_a_job_suspended_now_gathers_no_cpu_time() -> None:
    row = job(1, 0, None, seen_s=4 * HOUR_S, state="SUSPENDED", suspended_s=3 * HOUR_S)
    assert totals(Accounts([row], suspended(row, (HOUR_S, None))), "cpu_hours", "node_hours") == {
        "cpu_hours": 1.0, "node_hours": 4.0,
    }  # fmt: skip


def test_10_suspended_time_of_which_only_the_sum_is_known_is_cut_whole() -> None:
    accounts = Accounts([job(1, 0, 30 * HOUR_S, suspended_s=HOUR_S)])
    assert totals(accounts, "cpu_hours", until_s=2 * DAY_S) == 29.0


def test_11_the_window_holds_its_first_second_and_not_its_last() -> None:
    accounts = Accounts([job(1, 0, HOUR_S), job(2, HOUR_S, 2 * HOUR_S)])
    metrics = ("jobs", "jobs_started", "jobs_ended", "cpu_hours")
    first = totals(accounts, *metrics, since_s=0, until_s=HOUR_S)
    assert first == {"jobs": 1, "jobs_started": 1, "jobs_ended": 0, "cpu_hours": 1.0}
    second = totals(accounts, *metrics, since_s=HOUR_S, until_s=2 * HOUR_S)
    assert second == {"jobs": 1, "jobs_started": 1, "jobs_ended": 1, "cpu_hours": 1.0}


@pytest.mark.parametrize("rollup_zone", ["Europe/Berlin", "UTC", None])
@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23.0), ("2026-10-25", 25.0), ("2026-07-01", 24.0)])
def test_12_a_day_has_as_many_hours_as_its_clock_makes_it(day: str, hours: float, rollup_zone: str | None) -> None:
    midday_s = at(f"{day}T12:00")
    accounts = Accounts([job(1, midday_s - 5 * DAY_S, midday_s + 5 * DAY_S)], rollup_zone=rollup_zone)
    found = rows(
        accounts, "cpu_hours",
        since_s=midday_s - 2 * DAY_S, until_s=midday_s + 2 * DAY_S, by=("day",), zone="Europe/Berlin",
    )  # fmt: skip
    assert {row["day"]: row["cpu_hours"] for row in found}[day] == hours


def test_12_the_hour_that_comes_twice_is_two_hours() -> None:
    since_s = int(datetime(2026, 10, 25, tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
    accounts = Accounts([job(1, since_s, since_s + 5 * HOUR_S)])
    found = rows(accounts, "cpu_hours", since_s=since_s, until_s=since_s + DAY_S, by=("hour",), zone="Europe/Berlin")
    assert [row["hour"] for row in found][2:4] == ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]
    assert [row["cpu_hours"] for row in found] == [1.0] * 5


def test_12_where_the_clock_skips_midnight_the_day_begins_an_hour_late() -> None:
    change_s = at("2018-11-04T03:00")  # 00:00 becomes 01:00 in Brazil
    accounts = Accounts([job(1, change_s - DAY_S, change_s + DAY_S)], rollup_zone="America/Sao_Paulo")
    window = {"since_s": change_s - DAY_S, "until_s": change_s + 2 * DAY_S}
    found = rows(accounts, "cpu_hours", by=("day",), zone="America/Sao_Paulo", **window)
    assert {row["day"]: row["cpu_hours"] for row in found} == {
        "2018-11-03": 24.0, "2018-11-04": 23.0, "2018-11-05": 1.0,
    }  # fmt: skip


def test_13_jobs_of_deleted_accounts_users_and_qos_still_count_and_stay_in_their_tree() -> None:
    tree = [{"cluster": "c", "name": "old", "parent": "physics", "deleted": True}]
    accounts = Accounts([job(1, account="old", user="gone", qos="dropped", assoc_id=None)], accounts=tree)
    assert totals(accounts, "cpu_hours", where=(("account", ("physics",)),)) == 1.0
    assert [row["user"] for row in rows(accounts, "cpu_hours", by=("user", "qos"))] == ["gone"]


def test_14_a_user_in_several_accounts_is_split_by_account_and_whole_by_user() -> None:
    accounts = Accounts([job(1, account="physics"), job(2, account="chemistry", cpus=3)])
    assert [row["cpu_hours"] for row in rows(accounts, "cpu_hours", by=("account",))] == [3.0, 1.0]
    assert [row["cpu_hours"] for row in rows(accounts, "cpu_hours", by=("user",))] == [4.0]


def test_15_a_row_without_any_allocation_counts_as_nothing_but_a_job() -> None:
    empty = dict.fromkeys(("nodes", "cpus", "mem_mb", "gpus", "billing", "tres"))
    found = totals(Accounts([job(1, **empty)]), "cpu_hours", "gpu_hours", "mem_gb_hours", "billing_hours", "jobs")
    assert found == {"cpu_hours": 0.0, "gpu_hours": 0.0, "mem_gb_hours": 0.0, "billing_hours": 0.0, "jobs": 1}


def test_16_typed_and_untyped_gpus_are_never_added_and_a_mix_is_split_by_type() -> None:
    accounts = Accounts(
        [job(1, gpus=2, gpu_type="a100"), job(2, gpus=3, gpu_type="a100=2,h100=1"), job(3, gpus=1, gpu_type=None)]
    )
    by_type = {row["gpu_type"]: row["gpu_hours"] for row in rows(accounts, "gpu_hours", by=("gpu_type",))}
    assert by_type == {"a100": 4.0, "h100": 1.0, "a100=2,h100=1": 0.0, None: 1.0}
    assert totals(accounts, "gpu_hours") == 6.0
    assert totals(accounts, "gpu_hours", where=(("gpu_type", ("a100",)),)) == 4.0


def test_17_unknown_energy_is_not_zero() -> None:
    assert totals(Accounts([job(1, energy_j=None)]), "energy_kwh") is None
    assert totals(Accounts([job(1, energy_j=None), job(2, energy_j=7_200_000)]), "energy_kwh") == 2.0


def test_17_energy_is_split_over_days_without_losing_a_joule() -> None:
    accounts = Accounts([job(1, DAY_S - 1000, 2 * DAY_S + 777, energy_j=1_000_003)])
    by_day = rows(accounts, "energy_kwh", until_s=4 * DAY_S, by=("day",))
    assert sum(round(row["energy_kwh"] * 3_600_000) for row in by_day) == 1_000_003


def test_18_a_job_pending_in_several_partitions_keeps_their_names_together() -> None:
    accounts = Accounts([job(1, None, None, submit_s=0, seen_s=HOUR_S, partition="debug,high")])
    assert rows(accounts, "jobs", by=("partition",)) == [{"partition": "debug,high", "jobs": 1}]


def test_19_any_state_counts_the_newest_too() -> None:
    states = ["DEADLINE", "OUT_OF_MEMORY", "STATE_OF_A_LATER_SLURM"]
    accounts = Accounts([job(n, state=state) for n, state in enumerate(states)])
    assert [row["state"] for row in rows(accounts, "cpu_hours", by=("state",))] == states


def test_20_a_job_id_that_came_round_again_is_another_job() -> None:
    accounts = Accounts([job(5, 0, HOUR_S), job(5, 30 * DAY_S, 30 * DAY_S + HOUR_S)])
    assert totals(accounts, "jobs", "attempts", until_s=60 * DAY_S) == {"jobs": 2, "attempts": 2}


def test_21_detail_that_slurm_has_purged_is_said_to_be_so() -> None:
    clusters = {"c": ClusterState(source="slurmdbd", purged_before_s=5 * DAY_S)}
    usage = Usage(Accounts([job(1)], clusters=clusters), "UTC")
    assert any("purged" in note for note in usage.ask(Question(("cpu_hours",), 0, DAY_S), ALL).notes)
    later = Question(("cpu_hours",), 6 * DAY_S, 7 * DAY_S)
    assert not any("purged" in note for note in usage.ask(later, ALL).notes)


def test_22_idle_time_of_a_reservation_is_nobodys_usage() -> None:
    # slurmdbd charges it to the reservation's associations; here only what jobs had counts.
    accounts = Accounts([job(1, 0, HOUR_S, reservation="course", cpus=2)])
    assert rows(accounts, "cpu_hours", by=("reservation",)) == [{"reservation": "course", "cpu_hours": 2.0}]


def test_23_exit_status_and_signal_are_apart() -> None:
    accounts = Accounts([job(1, exit_status=1, exit_signal=0), job(2, exit_status=0, exit_signal=9)])
    assert [row["exit"] for row in rows(accounts, "jobs", by=("exit",))] == ["0:9", "1:0"]


@pytest.mark.parametrize("eligible_s", [None, 0])
def test_24_a_job_that_was_never_eligible_has_no_wait(eligible_s: int | None) -> None:
    found = totals(Accounts([job(1, 500, 600, submit_s=0, eligible_s=eligible_s)]), "wait_mean_s", "wait_hours", "jobs")
    assert found == {"wait_mean_s": None, "wait_hours": 0.0, "jobs": 1}


def test_25_a_usage_factor_of_the_qos_changes_nothing() -> None:
    # It weighs fair share only; slurmdbd's usage tables and sacct don't know it, nor do the rows.
    assert totals(Accounts([job(1, qos="double"), job(2, qos="free")]), "cpu_hours") == 2.0


def test_26_a_job_counts_its_allocation_once_however_many_steps_it_had() -> None:
    assert totals(Accounts([job(1, cpus=8, cpu_used_s=8 * 3600.0)]), "cpu_hours", "cpu_efficiency") == {
        "cpu_hours": 8.0, "cpu_efficiency": 1.0,
    }  # fmt: skip


def test_27_a_hostile_name_comes_back_as_it_was() -> None:
    accounts = Accounts([job(1, job_name=NAME, account=NAME)])
    assert rows(accounts, "jobs", by=("account",), where=(("account", (NAME,)),)) == [{"account": NAME, "jobs": 1}]
    found = Usage(accounts, "UTC").jobs(Question(("cpu_hours",), 0, DAY_S, by=("account",)), ALL, {"account": NAME})
    assert found.table["job_name"].to_pylist() == [NAME]


def test_28_a_database_index_of_19_digits_stays_whole() -> None:
    accounts = Accounts([job(1, db_inx=9_223_372_036_854_775_809)])
    found = Usage(accounts, "UTC").jobs(Question(("cpu_hours",), 0, DAY_S), ALL)
    assert found.table["db_inx"].to_pylist() == [9_223_372_036_854_775_809]


def test_29_a_compressed_list_of_nodes_is_one_job_of_its_node_count() -> None:
    accounts = Accounts([job(1, node_list="n[001-003,017]", nodes=4)])
    assert rows(accounts, "node_hours", by=("job_size",)) == [{"job_size": "3-4", "node_hours": 4.0}]


def test_30_a_job_of_no_length_is_a_job_that_used_nothing() -> None:
    found = totals(Accounts([job(1, 600, 600, submit_s=0)]), "cpu_hours", "jobs", "jobs_started", "jobs_ended")
    assert found == {"cpu_hours": 0.0, "jobs": 1, "jobs_started": 1, "jobs_ended": 1}
