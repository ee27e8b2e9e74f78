"""What may be asked for: each limit that bites says so and where it stands; defaults can be launched."""

from __future__ import annotations

from typing import Any

import pytest

from backend.sessions import LaunchRequest
from backend.sessions.limits import Site, choices, completed, facts_of, person_facts, problems
from backend.sessions.limits.tres import amount, parse_tres
from backend.sessions.model import AppChoice
from tests.unit.sessions_kit import ME, association, cpu_node, gpu_node, job, partition, site, snapshot

HERE = Site(
    apps=(AppChoice("jupyterlab", "JupyterLab"),),
    default_app="jupyterlab",
    images=(),
    image_folders=(),
    default_time_s=4 * 3600,
    default_gpus=1,
)


def against(request: LaunchRequest, groups: tuple[str, ...] = (), **changes: Any) -> list[tuple[str, str]]:
    look = snapshot(**site(**changes))
    facts, person = facts_of(look), person_facts(look, ME, groups)
    found = problems(completed(request, HERE, facts, person), facts, person)
    return [(each.field, each.message) for each in found]


def only(request: LaunchRequest, **changes: Any) -> tuple[str, str]:
    (found,) = against(request, **changes)
    return found


def options(**changes: Any) -> Any:
    look = snapshot(**site(**changes))
    return choices(HERE, facts_of(look), person_facts(look, ME, ()))


def test_the_defaults_can_be_launched_as_they_are() -> None:
    found = options()
    assert found.refusal == ""
    assert (found.defaults.app, found.defaults.account) == ("jupyterlab", "physics")
    assert (found.defaults.gpus, found.defaults.gpu_type) == (1, "a100")
    assert against(found.defaults) == []


def test_the_default_model_is_the_one_with_most_free() -> None:
    nodes = [gpu_node("a1", used=4), gpu_node("a22", used=3), gpu_node("h333", "h100", gpus=2)]
    assert options(nodes=nodes).defaults.gpu_type == "h100"


def test_without_gpus_the_defaults_ask_for_none() -> None:
    found = options(nodes=[cpu_node("c1")], partitions=[partition("cpu", ["c1"], default=True)])
    assert found.defaults.gpus == 0
    assert against(found.defaults, nodes=[cpu_node("c1")], partitions=[partition("cpu", ["c1"])]) == []


def test_a_person_without_an_account_is_told_so() -> None:
    nobody = [association("someone", "physics")]
    assert "no account on this cluster" in options(associations=nobody).refusal
    assert "no account on this cluster" in only(LaunchRequest(gpus=1), associations=nobody)[1]


def test_anothers_account_is_refused() -> None:
    field, words = only(LaunchRequest(account="chemistry"), associations=[
        association(ME, "physics", default_account=True), association("bob", "chemistry"),
    ])  # fmt: skip
    assert (field, words) == ("account", "You are not a member of account chemistry.")


def test_a_qos_that_the_association_lacks_is_refused() -> None:
    qos = [{"name": "normal"}, {"name": "vip"}]
    assert only(LaunchRequest(qos="vip"), qos=qos)[0] == "qos"


def test_a_cpu_job_stays_out_of_the_gpu_partition() -> None:
    look = snapshot(**site())
    full = completed(LaunchRequest(), HERE, facts_of(look), person_facts(look, ME, ()))
    assert (full.partition, full.cpus) == ("cpu", 2)


def test_cpus_and_memory_left_open_are_the_gpus_share() -> None:
    look = snapshot(**site(nodes=[gpu_node("a1", gpus=8, cpus=32)]))
    full = completed(LaunchRequest(gpus=1), HERE, facts_of(look), person_facts(look, ME, ()))
    assert (full.partition, full.cpus, full.memory_mb) == ("gpu", 4, 16384)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"state": "DRAIN"}, "Partition gpu takes no new jobs at the moment."),
        (
            {"allow_accounts": ["chemistry"]},
            "Partition gpu is not open to account physics, only to chemistry.",
        ),
        ({"deny_accounts": ["physics"]}, "Partition gpu is closed to account physics."),
        ({"allow_groups": ["gpuusers"]}, "Partition gpu is open to the group gpuusers only."),
        ({"allow_qos": ["vip"]}, "Partition gpu takes the QOS vip only, not normal."),
    ],
)
def test_a_closed_partition_says_why(limits: dict[str, Any], words: str) -> None:
    closed = [partition("gpu", ["a1"], **limits), partition("cpu", ["c1"])]
    assert only(LaunchRequest(gpus=1, partition="gpu"), partitions=closed) == ("partition", words)
    assert [row.name for row in options(partitions=closed).partitions] == ["cpu"]


def test_the_right_group_opens_a_partition() -> None:
    closed = [partition("gpu", ["a1"], allow_groups=["gpuusers"])]
    assert against(LaunchRequest(gpus=1, partition="gpu"), groups=("gpuusers",), partitions=closed) == []


@pytest.mark.parametrize(
    ("changes", "who"),
    [
        ({"partitions": [partition("gpu", ["a1"], max_time_s=3600)]}, "Partition gpu allows 1 h at most."),
        ({"qos": [{"name": "normal", "max_wall_s": 5400}]}, "QOS normal allows 1 h 30 min at most."),
        (
            {"associations": [association(ME, "physics", max_wall_s=3600)]},
            "Your association allows 1 h at most.",
        ),
        (
            {"associations": [association(ME, "physics", parent=""),
                              association("", "physics", max_wall_s=3600)]},
            "Account physics allows 1 h at most.",
        ),
    ],
)  # fmt: skip
def test_the_longest_time_names_where_it_stands(changes: dict[str, Any], who: str) -> None:
    request = LaunchRequest(gpus=1, partition="gpu", time_s=2 * 3600)
    assert only(request, **changes) == ("time_s", who)


def test_a_limit_of_the_qos_goes_before_the_associations() -> None:
    changes = {
        "qos": [{"name": "normal", "max_wall_s": 86400}],
        "associations": [association(ME, "physics", max_wall_s=60)],
    }
    assert against(LaunchRequest(gpus=1, time_s=7200), **changes) == []


def test_the_partitions_own_qos_goes_before_the_jobs() -> None:
    changes = {
        "qos": [{"name": "normal", "max_wall_s": 86400}, {"name": "part_gpu", "max_wall_s": 3600}],
        "partitions": [partition("gpu", ["a1", "a22"], qos="part_gpu")],
    }
    assert only(LaunchRequest(gpus=1, time_s=7200), **changes) == (
        "time_s",
        "QOS part_gpu allows 1 h at most.",
    )


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("max_tres_per_job", "QOS normal allows 2 GPUs a job at most; this asks for 4 GPUs."),
        ("max_tres_per_user", "QOS normal allows one person 2 GPUs at a time; this asks for 4 GPUs."),
        ("group_tres", "QOS normal allows 2 GPUs for all together; this asks for 4 GPUs."),
    ],
)
def test_more_than_a_limit_of_the_qos_is_refused_in_words(key: str, words: str) -> None:
    found = only(LaunchRequest(gpus=4), qos=[{"name": "normal", key: "cpu=1000,gres/gpu=2"}])
    assert found == ("gpus", words)


def test_a_limit_on_one_model_is_seen() -> None:
    qos = [{"name": "normal", "max_tres_per_job": "gres/gpu:a100=1"}]
    assert only(LaunchRequest(gpus=2, gpu_type="a100"), qos=qos)[1].startswith("QOS normal allows 1 a100 GPU a job")


def test_a_group_limit_of_any_account_above_counts() -> None:
    associations = [
        association(ME, "astro", default_account=True),
        association("", "astro", parent="physics"),
        association("", "physics", group_tres="gres/gpu=1"),
    ]
    found = only(LaunchRequest(gpus=2), associations=associations, qos=[])
    assert found == ("gpus", "Account physics allows 1 GPU for all together; this asks for 2 GPUs.")


def test_a_full_list_of_jobs_is_told_before_submitting() -> None:
    jobs = [job("sabcdefgh", 1, qos="normal"), job("sabcdefgi", 2, "PENDING", qos="normal")]
    found = only(LaunchRequest(gpus=1), qos=[{"name": "normal", "max_submit_per_user": 2}], jobs=jobs)
    assert found[1] == "QOS normal lets 2 of your jobs wait or run at a time, and 2 do."


def test_others_jobs_and_ended_ones_do_not_count() -> None:
    jobs = [job("sabcdefgh", 1, qos="normal", user="bob"), job("sabcdefgi", 2, "COMPLETED", qos="normal")]
    assert against(LaunchRequest(gpus=1), qos=[{"name": "normal", "max_submit_per_user": 1}], jobs=jobs) == []


@pytest.mark.parametrize(
    ("request_", "field", "part"),
    [
        (
            LaunchRequest(gpus=1, gpu_type="h100", partition="gpu"),
            "gpu_type",
            "no h100 in partition gpu; it has a100",
        ),
        (
            LaunchRequest(gpus=9, partition="gpu"),
            "gpus",
            "No node of partition gpu has 9 GPUs; the most is 4 GPUs.",
        ),
        (LaunchRequest(cpus=999, partition="gpu"), "cpus", "the most is 64 CPUs."),
        (
            LaunchRequest(memory_mb=10**6, partition="gpu", cpus=1),
            "memory_mb",
            "the most is 250 GB of memory.",
        ),
        (
            LaunchRequest(gpus=1, nodes=3, partition="gpu"),
            "nodes",
            "Only 2 nodes of partition gpu can hold this",
        ),
        (LaunchRequest(partition="nope"), "partition", "There is no partition nope."),
        (LaunchRequest(reservation="nope"), "reservation", "There is no reservation nope."),
    ],
)
def test_what_no_node_can_hold_is_refused(request_: LaunchRequest, field: str, part: str) -> None:
    found = only(request_, qos=[])
    assert found[0] == field
    assert part in found[1]


def test_a_reservation_of_others_is_refused_and_not_offered() -> None:
    rows = [{"name": "course", "users": ["bob"]}, {"name": "mine", "users": [ME]}]
    assert only(LaunchRequest(gpus=1, reservation="course"), reservations=rows)[0] == "reservation"
    assert options(reservations=rows).reservations == ("mine",)


def test_a_scheduler_without_accounts_asks_for_none() -> None:
    changes: dict[str, Any] = {"associations": [], "qos": [], "accounts": []}
    assert against(LaunchRequest(gpus=1), **changes) == []
    assert options(**changes).accounts == ()


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("cpu=8,mem=32G,node=1,gres/gpu:a100=2", {"cpu": 8, "mem": 32768, "node": 1, "gres/gpu:a100": 2}),
        ("cpu=1.50K,mem=2T", {"cpu": 1500, "mem": 2 * 1024 * 1024}),
        ("", {}), (None, {}), ("cpu", {}), ("cpu=,mem=x,=3", {}), ("cpu=-1", {}),
    ],
)  # fmt: skip
def test_tres_text_is_read(text: str | None, counts: dict[str, float]) -> None:
    assert parse_tres(text) == counts


def test_amounts_are_words() -> None:
    assert amount("gres/gpu:a100", 1) == "1 a100 GPU"
    assert amount("mem", 512) == "512 MB of memory"
