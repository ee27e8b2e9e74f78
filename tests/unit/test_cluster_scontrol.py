"""Nodes, partitions, reservations: free text holds anything and changes nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cluster import NODES
from backend.cluster.slurm.node_states import FLAG_ALIASES, NODE_STATES, SUFFIXES, node_state
from backend.cluster.slurm.nodes import parse_nodes, parse_partitions, parse_reservations, reason_parts
from tests.unit.cluster_kit import captured

NODE = (
    "NodeName={name} Arch=x86_64 CPUAlloc=6 CPUTot=64 CPULoad=0.36 ActiveFeatures=a100,ib Gres=gpu:a100:4 "
    "GresUsed=gpu:a100:2(IDX:0-1) NodeAddr=10.0.0.1 OS=Linux 6.1 #1 SMP  RealMemory=256000 AllocMem=6024 "
    "State={state} Partitions=gpu  BootTime=1795350293 "
    "CfgTRES=cpu=64,mem=250G,gres/gpu=4 AllocTRES=cpu=6,gres/gpu=2"
)


def test_the_captured_nodes() -> None:
    reading = parse_nodes(captured("nodes"))
    assert reading.problems == ()
    assert reading.table.schema == NODES
    nodes = {row["name"]: row for row in reading.table.to_pylist()}
    assert list(nodes) == ["node1", "node2", "node3", "node4"]
    assert nodes["node1"]["gpu_types"] == [{"type": "a100", "total": 4, "allocated": nodes["node1"]["gpus_allocated"]}]
    assert [entry["type"] for entry in nodes["node3"]["gpu_types"]] == ["a100", "h100"]
    drained = nodes["node4"]
    assert (drained["state"], drained["flags"], drained["available"]) == ("IDLE", ["DRAIN"], False)
    assert drained["reason"] == "bad | fan NodeName=node1 State=IDLE Reason=x OS=Linux <b>"
    assert (drained["reason_user"], drained["reason_s"]) == ("root", 1_795_351_135)
    down = nodes["node3"]
    assert down["state"] == "DOWN"
    assert down["reason"] == "RAM error <b>bold</b> [root@1] x"
    assert down["reason_user"] == "root"


def test_the_captured_partitions_and_reservations() -> None:
    partitions = {row["name"]: row for row in parse_partitions(captured("partitions")).table.to_pylist()}
    assert partitions["gpu"]["default"] and partitions["gpu"]["max_time_s"] == 172_800
    assert partitions["gpu"]["allow_accounts"] is None
    assert partitions["cpu"]["allow_accounts"] == ["physics"]
    assert (partitions["cpu"]["max_time_s"], partitions["cpu"]["qos"]) == (None, "partq")
    reservations = {row["name"]: row for row in parse_reservations(captured("reservations")).table.to_pylist()}
    assert "MAINT" in reservations["maint"]["flags"]
    assert reservations["course"]["accounts"] == ["chem"]


@given(reason=st.text(max_size=120), comment=st.text(max_size=60))
def test_free_text_changes_no_other_fact(reason: str, comment: str) -> None:
    clean = NODE.format(name="n1", state="IDLE+DRAIN")
    nasty = f"{clean} Reason={reason} [root@1795351135] Comment={comment}"
    after = NODE.format(name="n2", state="MIXED")
    rows = parse_nodes(f"{nasty}\n{after}\n").table.to_pylist()
    plain = parse_nodes(f"{clean}\n{after}\n").table.to_pylist()
    free = ("reason", "reason_user", "reason_s")
    assert [{k: v for k, v in row.items() if k not in free} for row in rows] == plain_facts(plain, free)


def plain_facts(rows: list[dict[str, object]], free: tuple[str, ...]) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if k not in free} for row in rows]


@pytest.mark.parametrize("line", ["NodeName=n2 State=IDLE CPUTot=9999", "NodeName=n1 State=DOWN"])
def test_a_comment_with_a_line_like_a_node_is_named(line: str) -> None:
    output = f"{NODE.format(name='n1', state='IDLE')} Comment=x\n{line}\n{NODE.format(name='n2', state='IDLE')}\n"
    reading = parse_nodes(output)
    assert any("told twice" in problem for problem in reading.problems)


@given(st.text(max_size=200))
def test_garbage_never_raises(garbage: str) -> None:
    for parse in (parse_nodes, parse_partitions, parse_reservations):
        reading = parse(garbage)
        assert reading.table.num_rows == 0 or not reading.problems
        assert reading.table.num_rows or reading.problems or not garbage.strip()


def test_no_reservations_is_no_problem() -> None:
    assert parse_reservations("No reservations in the system\n").problems == ()


bases = st.sampled_from(sorted(NODE_STATES))
words = st.lists(
    st.sampled_from(["DRAIN", "COMPLETING", "PLANNED", "RESERVED", "CLOUD", "POWERED_DOWN", *FLAG_ALIASES]),
    max_size=4,
)


@given(bases, words, st.lists(st.sampled_from(sorted(SUFFIXES.keys() - {"+"})), max_size=2))
def test_every_base_with_all_flags_and_marks(base: str, flags: list[str], marks: list[str]) -> None:
    shown = "+".join([base + "".join(marks), *flags])
    state, found = node_state(shown)
    assert state == base
    assert {SUFFIXES[mark] for mark in marks} <= set(found)
    assert {FLAG_ALIASES.get(flag, flag) for flag in flags} <= set(found)


@pytest.mark.parametrize(
    ("shown", "state", "flags"),
    [
        ("IDLE", "IDLE", []),
        ("MIXED*", "MIXED", ["NOT_RESPONDING"]),
        ("DOWN~", "DOWN", ["POWERED_DOWN"]),
        ("IDLE+DRAIN", "IDLE", ["DRAIN"]),
        ("DRAINED*", "IDLE", ["DRAIN", "NOT_RESPONDING"]),
        ("DRAINING", "MIXED", ["DRAIN"]),
        ("MIXED+DRAIN+MAINT", "MIXED", ["DRAIN", "MAINTENANCE"]),
        ("IDLE+CLOUD+POWERED_DOWN", "IDLE", ["CLOUD", "POWERED_DOWN"]),
        ("ALLOCATED+", "ALLOCATED", ["COMPLETING"]),
        ("ALLOCATED+COMPLETING", "ALLOCATED", ["COMPLETING"]),
        ("DOWN*+DRAIN+INVALID_REG", "DOWN", ["NOT_RESPONDING", "DRAIN", "INVALID_REG"]),
        ("UNKNOWN*", "UNKNOWN", ["NOT_RESPONDING"]),
        ("SOMETHING_NEW", "UNKNOWN", ["SOMETHING_NEW"]),
    ],
)
def test_node_state(shown: str, state: str, flags: list[str]) -> None:
    assert node_state(shown) == (state, flags)


@pytest.mark.parametrize("flag", ["DRAIN", "MAINTENANCE", "NOT_RESPONDING", "FAIL", "INVALID_REG", "REBOOT_ISSUED"])
def test_a_node_that_takes_no_jobs_is_not_available(flag: str) -> None:
    row = parse_nodes(NODE.format(name="n1", state=f"IDLE+{flag}")).table.to_pylist()[0]
    assert not row["available"]


def test_types_without_typed_tres_come_from_gres() -> None:
    row = parse_nodes(NODE.format(name="n1", state="MIXED")).table.to_pylist()[0]
    assert row["gpu_types"] == [{"type": "a100", "total": 4, "allocated": 2}]
    assert (row["gpus"], row["gpus_allocated"]) == (4, 2)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("bad fan [ada@1795351135]", ("bad fan", "ada", 1_795_351_135)),
        ("x [eve@1795000000] [root@1795351135]", ("x [eve@1795000000]", "root", 1_795_351_135)),
        ("one [ada@1795351135]        two", ("one two", "ada", 1_795_351_135)),
        ("Not responding", ("Not responding", "", None)),
        ("", ("", "", None)),
    ],
)
def test_reason_parts(text: str, parts: tuple[str, str, int | None]) -> None:
    assert reason_parts(text) == parts
