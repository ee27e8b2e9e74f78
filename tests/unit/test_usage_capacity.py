"""What the cluster had, and the share of it that was used."""

from __future__ import annotations

from typing import Any

import pytest

from backend.accounting.usage import BadQuestion, Question, Scope, Usage
from backend.accounting.warehouse import ClusterState
from tests.unit.usage_kit import Accounts, job

HOUR_S, DAY_S = 3600, 86400
ALL = Scope(everything=True)


def hours(
    first: int, after: int, count: int, tres: str = "cpu", cluster: str = "c", **split: int
) -> list[dict[str, Any]]:
    """Hours of the cluster's roll-up; `split` in TRES-hours."""
    names = ("alloc", "down", "planned_down", "idle", "planned", "over")
    seconds = {f"{name}_s": split.get(name, 0) * HOUR_S for name in names}
    return [
        {"cluster": cluster, "hour_s": hour * HOUR_S, "tres": tres, "count": count, **seconds}
        for hour in range(first, after)
    ]


def utilisation(accounts: Accounts, metric: str = "utilisation", **said: Any) -> Any:
    question = Question((metric,), said.pop("since_s", 0), said.pop("until_s", DAY_S), **said)
    return Usage(accounts, "UTC").ask(question, ALL)


def test_utilisation_is_what_was_used_of_what_there_was() -> None:
    accounts = Accounts([job(1, 0, 6 * HOUR_S, cpus=10)], capacity=hours(0, 24, 20))
    assert utilisation(accounts).totals["utilisation"] == 60 / 480


def test_a_cluster_that_grew_is_counted_at_each_size() -> None:
    accounts = Accounts([job(1, 0, 24 * HOUR_S, cpus=10)], capacity=hours(0, 12, 10) + hours(12, 24, 30))
    assert utilisation(accounts).totals["utilisation"] == 240 / 480
    by_hour = utilisation(accounts, by=("hour",)).table["utilisation"].to_pylist()
    assert by_hour == [1.0] * 12 + [1 / 3] * 12


def test_hours_not_rolled_up_yet_have_the_last_known_size_until_now() -> None:
    clusters = {"c": ClusterState(synced_s=6 * HOUR_S)}
    accounts = Accounts([job(1, 0, 6 * HOUR_S, cpus=10)], capacity=hours(0, 2, 20), clusters=clusters)
    assert utilisation(accounts).totals["utilisation"] == 60 / 120


def test_part_of_an_hour_has_its_part_of_the_capacity() -> None:
    accounts = Accounts([job(1, 0, HOUR_S, cpus=10)], capacity=hours(0, 24, 20))
    assert utilisation(accounts, since_s=900, until_s=2700).totals["utilisation"] == 0.5


def test_utilisation_is_unknown_before_the_cluster_was_measured_and_says_so() -> None:
    accounts = Accounts([job(1, 0, 6 * HOUR_S)], capacity=hours(3, 24, 20))
    answer = utilisation(accounts)
    assert answer.totals["utilisation"] is None
    assert any("How large c was" in note for note in answer.notes)


def test_shares_of_several_clusters_are_of_each_or_of_all_together() -> None:
    rows = [job(1, 0, DAY_S, cpus=5), job(2, 0, DAY_S, cpus=30, cluster="d")]
    clusters = {"c": ClusterState(), "d": ClusterState()}
    accounts = Accounts(rows, capacity=hours(0, 24, 10) + hours(0, 24, 60, cluster="d"), clusters=clusters)
    assert utilisation(accounts).totals["utilisation"] == 35 / 70
    assert utilisation(accounts, by=("cluster",)).table["utilisation"].to_pylist() == [0.5, 0.5]
    assert utilisation(accounts, where=(("cluster", ("c",)),)).totals["utilisation"] == 0.5


def test_a_users_share_is_of_the_whole_cluster() -> None:
    accounts = Accounts([job(1, 0, DAY_S, cpus=5), job(2, 0, DAY_S, cpus=5, user="bob")], capacity=hours(0, 24, 10))
    assert utilisation(accounts, by=("user",)).table["utilisation"].to_pylist() == [0.5, 0.5]
    assert utilisation(accounts, by=("user",)).totals["utilisation"] == 1.0


@pytest.mark.parametrize("untyped", [True, False])
def test_gpus_are_counted_untyped_or_else_by_all_types(untyped: bool) -> None:
    capacity = hours(0, 24, 3, "gres/gpu:a100") + hours(0, 24, 1, "gres/gpu:h100")
    if untyped:
        capacity += hours(0, 24, 8, "gres/gpu")
    accounts = Accounts([job(1, 0, DAY_S, gpus=2, gpu_type="a100")], capacity=capacity)
    assert utilisation(accounts, "gpu_utilisation").totals["gpu_utilisation"] == (0.25 if untyped else 0.5)
    series = Usage(accounts, "UTC").capacity(0, DAY_S, "day", tres="gres/gpu")
    assert series["had"].to_pylist() == [192.0 if untyped else 96.0]


def test_the_clusters_hours_are_a_series_of_how_they_split_up() -> None:
    capacity = hours(0, 24, 10, alloc=6, down=1, idle=3) + hours(24, 30, 10, alloc=2, idle=8)
    found = Usage(Accounts([], capacity=capacity), "UTC").capacity(0, 2 * DAY_S, "day")
    assert found.select(["day", "hours_known", "had", "allocated", "down", "idle"]).to_pylist() == [
        {"day": "1970-01-01", "hours_known": 24, "had": 240.0, "allocated": 144.0, "down": 24.0, "idle": 72.0},
        {"day": "1970-01-02", "hours_known": 6, "had": 60.0, "allocated": 12.0, "down": 0.0, "idle": 48.0},
    ]


def test_a_series_needs_a_stretch_of_time() -> None:
    with pytest.raises(BadQuestion):
        Usage(Accounts([]), "UTC").capacity(0, DAY_S, "user")
