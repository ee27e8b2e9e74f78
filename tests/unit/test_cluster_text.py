"""Slurm's ways to write times, sizes, TRES and hosts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cluster.slurm import text


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30", 1800),
        ("1:00", 60),
        ("1:00:00", 3600),
        ("2-00:00:00", 172_800),
        ("1-12", 129_600),
        ("1-12:30", 131_400),
        ("00:00.123", 0),
        ("UNLIMITED", None),
        ("NOT_SET", None),
        ("INVALID", None),
        ("Partition_Limit", None),
        ("N/A", None),
        ("", None),
        ("-1:00", None),
        ("9" * 30, None),
    ],
)
def test_duration(written: str, seconds: int | None) -> None:
    assert text.duration(written) == seconds


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1795351135", 1_795_351_135),
        ("2026-11-22T12:38:55", 1_795_351_135),
        ("Unknown", None),
        ("N/A", None),
        ("NONE", None),
        ("None", None),
        ("(null)", None),
        ("0", None),
        ("4294967294", None),  # NO_VAL
        ("4294967295", None),  # INFINITE
        ("18446744073709551615", None),
        ("0001-01-01T00:00:00", None),  # a year-1 timestamp
        ("1969-12-31T23:59:59", None),
        ("2026-13-45T99:99:99", None),
        ("²", None),
    ],
)
def test_moment(written: str, seconds: int | None) -> None:
    assert text.moment(written) == seconds


@pytest.mark.parametrize(
    ("written", "mb"),
    [
        ("1000M", 1000),
        ("125G", 128_000),
        ("1.5G", 1536),
        ("2T", 2_097_152),
        ("500", 500),
        ("4Gn", 4096),
        ("", None),
        ("?", None),
    ],
)
def test_megabytes(written: str, mb: int | None) -> None:
    assert text.megabytes(written) == mb


def test_tres_total_counts_the_untyped_entry_once() -> None:
    amounts = text.tres("cpu=8,mem=32G,node=1,billing=8,gres/gpu=3,gres/gpu:a100=2,gres/gpu:h100=1")
    assert amounts["mem"] == 32_768
    assert text.tres_gpus(amounts) == (3, {"a100": 2, "h100": 1})


def test_tres_total_of_typed_entries_alone() -> None:
    assert text.tres_gpus(text.tres("gres/gpu:a100=2")) == (2, {"a100": 2})


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("gpu:a100:4", {"a100": 4}),
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:4", {"": 4}),
        ("gpu", {"": 1}),
        ("gres:gpu:a100:2", {"a100": 2}),
        ("gres/gpu:a100:2", {"a100": 2}),
        ("gres/gpu=2", {"": 2}),
        ("gpu:h100:2,gpu:a100:2", {"h100": 2, "a100": 2}),
        ("gpu:h100:0(IDX:N/A),gpu:a100:2(IDX:0,3)", {"h100": 0, "a100": 2}),
        ("gpu:a100_1g.5gb:7", {"a100_1g.5gb": 7}),
        ("craynetwork:4,shard:8", {}),
        ("mygpu:4", {}),
        ("(null)", {}),
        ("N/A", {}),
    ],
)
def test_gres_gpus(written: str, found: dict[str, int]) -> None:
    assert text.gres_gpus(written) == found


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("node1", ["node1"]),
        ("node[1-3]", ["node1", "node2", "node3"]),
        ("node[01-03,7],login", ["node01", "node02", "node03", "node7", "login"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("gpu[1-2].site", ["gpu1.site", "gpu2.site"]),
        ("(null)", []),
        ("", []),
        ("n[1", ["n[1"]),
    ],
)
def test_hosts(written: str, names: list[str]) -> None:
    assert text.hosts(written) == names


def test_hosts_of_a_giant_range_are_bounded() -> None:
    assert len(text.hosts("n[1-999999999]")) == text.MOST_HOSTS
    assert len(text.hosts("n[1-99999]m[1-99999]")) == text.MOST_HOSTS


@pytest.mark.parametrize(
    ("written", "tasks"),
    [("4-9%2", 6), ("1,3,5-7", 5), ("0-20:4", 6), ("[0-20%2]", 21), ("7", 1), ("", 1), ("x", 1), ("9-1", 1)],
)
def test_count_tasks(written: str, tasks: int) -> None:
    assert text.count_tasks(written) == tasks


@given(st.text(max_size=60))
def test_no_text_makes_a_reader_raise(anything: str) -> None:
    for read in (
        text.duration,
        text.moment,
        text.megabytes,
        text.whole,
        text.tres,
        text.gres_gpus,
        text.hosts,
    ):
        read(anything)
    assert text.count_tasks(anything) >= 1


@given(st.lists(st.integers(0, 9999), min_size=1, max_size=30))
def test_hosts_undoes_a_compressed_list(numbers: list[int]) -> None:
    written = "n[" + ",".join(f"{number:04}" for number in numbers) + "]"
    assert text.hosts(written) == [f"n{number:04}" for number in numbers]
