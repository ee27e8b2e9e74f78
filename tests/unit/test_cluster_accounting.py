"""Accounts, limits and what became of jobs: sacctmgr, assoc_mgr, sacct."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cluster.slurm import limits
from backend.cluster.slurm.command import Marks
from backend.cluster.slurm.ended import FIELDS, cpu_seconds, ended_state, parse_ended
from tests.unit.cluster_kit import CAPTURED, captured, captured_marks

MARKS = Marks("<field>", "<row>\n")


def test_the_captured_associations() -> None:
    rows = limits.parse_rows(captured("association"), "association", limits.ASSOCIATION_FIELDS)
    assert rows.problems == []
    physics = next(row for row in rows if row["Account"] == "physics" and not row["User"])
    assert physics["GrpTRES"] == "gres/gpu=8"
    assert {row["User"] for row in rows if row["Account"] == "physics"} == {"", "daemon", "games"}


def test_the_captured_use_of_limits() -> None:
    use = limits.parse_use(captured("assoc_mgr"))
    rows = limits.parse_rows(captured("association"), "association", limits.ASSOCIATION_FIELDS)
    number = next(int(row["ID"]) for row in rows if row["Account"] == "chem" and not row["User"])
    held, jobs = use.associations[number]
    assert "gres/gpu=" not in held.replace("gres/gpu:a100=", "") or jobs is not None
    assert set(use.qos) == {"normal", "partq", "high"}
    assert all("N(" not in text for text, _ in use.qos.values())


def test_a_description_like_a_row_stays_a_description() -> None:
    content = (CAPTURED / "account_texts.txt").read_bytes()
    rows = limits.parse_columns(content, "account", limits.DESCRIPTION_COLUMNS)
    assert rows.problems == []
    assert {row["Account"]: row["Description"] for row in rows}["chem"] == "chem|pipe\nphysics|forged|x|"
    assert [row["Account"] for row in rows] == ["chem", "physics", "qcd", "root"]


@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=5), st.text(max_size=25)), max_size=5))
def test_columns_of_bytes_hold_any_text(rows: list[tuple[str, str]]) -> None:
    columns = (("Account", 8), ("Description", 30))
    output = b""
    for name, text in rows:
        cut = text.encode("utf-8", "replace").replace(b"\0", b"?")[:30]
        output += name.encode().rjust(8) + b" " + cut.rjust(30) + b" \n"
    found = limits.parse_columns(output, "account", columns)
    assert found.problems == []
    assert [row["Account"] for row in found] == [name for name, _ in rows]


@given(st.binary(max_size=200), st.text(max_size=200))
def test_garbage_never_raises(raw: bytes, text: str) -> None:
    limits.parse_columns(raw, "account", limits.DESCRIPTION_COLUMNS)
    limits.parse_rows(text, "qos", limits.QOS_FIELDS)
    limits.parse_use(text)
    parse_ended(text, MARKS)


def test_a_line_of_another_shape_is_named() -> None:
    rows = limits.parse_rows("ada|physics|None\nx|y\n", "user", limits.USER_FIELDS)
    assert [row["User"] for row in rows] == ["ada"]
    assert "line 2 of sacctmgr show user" in rows.problems[0]


def sacct(*rows: dict[str, str]) -> str:
    plain = dict.fromkeys(FIELDS, "") | {
        "JobIDRaw": "7",
        "JobName": "job",
        "State": "COMPLETED",
        "ExitCode": "0:0",
    }
    return "".join("".join(f"{(plain | row)[name]}{MARKS.field}" for name in FIELDS) + "\n" for row in rows)


@given(st.text(max_size=60).filter(lambda text: "<field>" not in text))
def test_a_hostile_name_forges_no_row_of_sacct(name: str) -> None:
    forged = name + "\n8|root|COMPLETED|"
    reading = parse_ended(sacct({"JobName": forged}, {"JobIDRaw": "9"}), MARKS)
    assert reading.problems == ()
    assert reading.table["job_id"].to_pylist() == [7, 9]
    assert reading.table["name"][0].as_py() == forged


def test_steps_are_folded_into_their_attempt() -> None:
    rows = (
        {"Submit": "1795351135", "Start": "1795351150", "End": "1795351200", "TotalCPU": "01:02.500"},
        {"JobIDRaw": "7.batch", "MaxRSS": "2048K"},
        {"JobIDRaw": "7.0", "MaxRSS": "3G"},
    )
    table = parse_ended(sacct(*rows), MARKS).table.to_pylist()
    assert len(table) == 1
    assert table[0]["memory_peak_mb"] == 3072
    assert table[0]["cpu_used_s"] == 62.5


def test_every_attempt_is_told_the_newest_last() -> None:
    rows = (
        {"Submit": "1795351135", "Start": "1795351300", "State": "COMPLETED"},
        {"Submit": "1795351135", "Start": "1795351150", "State": "REQUEUED"},
    )
    assert parse_ended(sacct(*rows), MARKS).table["state"].to_pylist() == ["REQUEUED", "COMPLETED"]


def test_the_captured_sacct() -> None:
    reading = parse_ended(captured("sacct"), captured_marks())
    assert reading.problems == ()
    rows = reading.table.to_pylist()
    jobs = {row["job_id"]: row for row in rows}
    assert (jobs[13]["state"], jobs[13]["exit_code"]) == ("FAILED", "3:0")
    assert (jobs[17]["state"], jobs[17]["cancelled_by"]) == ("CANCELLED", "0")
    assert [row["state"] for row in rows if row["job_id"] == 4] == ["REQUEUED"]
    assert (jobs[2]["gpus"], jobs[2]["gpu_type"], jobs[2]["end_s"]) == (2, "a100", None)
    assert jobs[9]["time_limit_s"] is None


@pytest.mark.parametrize(
    ("shown", "state", "by"),
    [
        ("COMPLETED", "COMPLETED", ""),
        ("CANCELLED by 1001", "CANCELLED", "1001"),
        ("OUT_OF_MEMORY", "OUT_OF_MEMORY", ""),
        ("REQUEUED", "REQUEUED", ""),
        ("CANCELLED+", "CANCELLED", ""),
        ("", "FAILED", ""),
    ],
)
def test_ended_state(shown: str, state: str, by: str) -> None:
    assert ended_state(shown) == (state, by)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:00.001", 0.001), ("1-02:03:04", 93_784.0), ("02:03:04", 7384.0), ("", None), ("INVALID", None)],
)
def test_cpu_seconds(text: str, seconds: float | None) -> None:
    assert cpu_seconds(text) == seconds
