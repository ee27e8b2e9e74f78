"""The queue: what a hostile name can't do, and what each field means."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cluster import ENDED_STATES, JOB_STATES, JOBS
from backend.cluster.slurm.command import Marks
from backend.cluster.slurm.job_table import FIELDS, FLAG_BASE, exit_code, job_state
from backend.cluster.slurm.jobs import job_format, parse_jobs
from tests.unit.cluster_kit import captured, captured_marks

MARKS = Marks("<field>", "<row>\n")
PLAIN = dict.fromkeys(FIELDS, "N/A") | {
    "JobID": "7",
    "JobArrayID": "7",
    "Name": "job",
    "UserName": "ada",
    "UserID": "1001",
    "State": "PENDING",
    "Reason": "Priority",
    "NumNodes": "1",
    "NumCPUs": "2",
    "tres-alloc": "cpu=2,mem=2G,node=1",
    "exit_code": "0",
    "RestartCnt": "0",
}


def squeue(*rows: dict[str, str], marks: Marks = MARKS) -> str:
    """What squeue prints for jobs with these fields: as `--Format=name::mark` does, every value as it is."""
    lines = []
    for row in rows:
        values = PLAIN | row
        lines.append(f":{marks.field}".join(values[name] for name in FIELDS) + f":{marks.row}")
    return "".join(lines)


hostile = st.one_of(
    st.text(max_size=80),
    st.lists(
        st.sampled_from(
            [
                "\n",
                ":",
                "|",
                "<field",
                "row>",
                "<row>",
                "<b>",
                "\u202e",
                "\t",
                "\x1b[2J",
                "PENDING",
                "8",
                ",",
                '"',
                "'",
                "$(id)",
            ]
        ),
        max_size=20,
    ).map("".join),
).filter(
    lambda text: ":<field>" not in text and ":<row>\n" not in text and not text.endswith((":", ":<row", ":<field"))
)


@given(name=hostile, comment=hostile, folder=hostile)
def test_a_hostile_text_arrives_unchanged_and_forges_nothing(name: str, comment: str, folder: str) -> None:
    name, comment, folder = (text.encode("utf-8", "replace").decode() for text in (name, comment, folder))
    output = squeue({"Name": name, "Comment": comment, "WorkDir": folder}, {"JobID": "8", "Name": "after"})
    reading = parse_jobs([output.encode()], MARKS)
    assert reading.problems == ()
    first, second = reading.table.to_pylist()
    assert first["job_id"] == 7
    assert first["name"] == name
    assert first["comment"] == ("" if comment == "(null)" else comment)
    assert first["work_dir"] == ("" if folder == "(null)" else folder)
    assert (second["job_id"], second["name"]) == (8, "after")


def test_a_name_that_imitates_a_row_of_another_poll_is_only_a_name() -> None:
    old = Marks.draw()
    forged = squeue({"JobID": "666", "UserName": "root"}, marks=old)
    new = Marks.draw()
    table = parse_jobs([squeue({"Name": forged}, marks=new).encode()], new).table
    assert table["job_id"].to_pylist() == [7]
    assert table["name"].to_pylist() == [forged]


def test_marks_are_drawn_anew_for_each_poll() -> None:
    assert len({Marks.draw().field for _ in range(100)}) == 100
    assert Marks.draw().row in job_format(marks := Marks.draw()) + "\n" or marks.row.strip() in job_format(marks)


@given(st.text(max_size=300))
def test_garbage_is_named_and_never_raises(garbage: str) -> None:
    reading = parse_jobs([(garbage + f":{MARKS.row}" + squeue({})).encode("utf-8", "replace")], MARKS)
    assert reading.table["job_id"].to_pylist() == [7]
    assert len(reading.problems) >= 1
    assert "row 1 of squeue" in reading.problems[0]


@given(st.lists(st.integers(0, 400), max_size=12))
def test_it_does_not_matter_where_the_answer_is_cut_into_pieces(cuts: list[int]) -> None:
    output = squeue({"Name": "é✓"}, {"JobID": "8"}).encode()
    places = [0, *sorted(cuts), len(output)]
    pieces = [output[begin:end] for begin, end in pairwise(places)]
    reading = parse_jobs(pieces, MARKS)
    assert reading.problems == ()
    assert reading.table["name"].to_pylist() == ["é✓", "job"]


def test_an_answer_that_breaks_off_is_told() -> None:
    reading = parse_jobs([squeue({}, {"JobID": "8"}).encode()[:-40]], MARKS)
    assert reading.table["job_id"].to_pylist() == [7]
    assert "ends in the middle" in reading.problems[0]


@given(
    st.lists(st.sampled_from([*JOB_STATES, *FLAG_BASE, "COMPLETING"]), min_size=1, max_size=8),
    st.integers(0, 70000),
)
def test_every_state_with_every_flag_has_a_base(states: list[str], code: int) -> None:
    rows = [{"JobID": str(n), "State": state, "exit_code": str(code)} for n, state in enumerate(states, 1)]
    for row, shown in zip(parse_jobs([squeue(*rows).encode()], MARKS).table.to_pylist(), states, strict=True):
        assert row["state"] in JOB_STATES
        assert row["flags"] == ([] if shown in JOB_STATES else [shown])


@given(st.text(max_size=30))
def test_an_unknown_state_is_shown_not_lost(shown: str) -> None:
    state, flags = job_state(shown, "None", "0")
    assert state in JOB_STATES
    assert state == shown or flags


@pytest.mark.parametrize(
    ("reason", "code", "state"),
    [
        ("TimeLimit", "0", "TIMEOUT"),
        ("OutOfMemory", "9", "OUT_OF_MEMORY"),
        ("NonZeroExitCode", "256", "FAILED"),
        ("None", "768", "FAILED"),
        ("None", "15", "CANCELLED"),
        ("None", "0", "COMPLETED"),
    ],
)
def test_the_state_under_completing_is_told_by_reason_and_exit_code(reason: str, code: str, state: str) -> None:
    assert job_state("COMPLETING", reason, code) == (state, ["COMPLETING"])


@pytest.mark.parametrize(
    ("raw", "written"),
    [("0", "0:0"), ("768", "3:0"), ("256", "1:0"), ("9", "0:9"), ("3:0", "3:0"), ("x", "")],
)
def test_exit_code(raw: str, written: str) -> None:
    assert exit_code(raw) == written


@pytest.mark.parametrize(
    ("fields", "gpus", "kind"),
    [
        ({"tres-alloc": "cpu=1,gres/gpu=2,gres/gpu:a100=2"}, 2, "a100"),
        ({"tres-alloc": "cpu=1,gres/gpu=2"}, 2, ""),
        ({"tres-alloc": "cpu=1", "tres-per-job": "gres:gpu:a100:3", "NumNodes": "2"}, 3, "a100"),
        ({"tres-alloc": "cpu=1", "tres-per-node": "gres/gpu:2", "NumNodes": "3"}, 6, ""),
        ({"tres-alloc": "cpu=1", "tres-per-task": "gpu:h100:1", "NumTasks": "4"}, 4, "h100"),
        ({"tres-alloc": "cpu=1,gres/gpu=2", "tres-per-node": "gres:gpu:a100:2"}, 2, "a100"),
        ({"tres-alloc": "cpu=1,gres/gpu=3,gres/gpu:a100=1,gres/gpu:h100=2"}, 3, "h100,a100"),
        ({"tres-alloc": "cpu=1"}, 0, ""),
    ],
)
def test_gpus_however_they_were_asked_for(fields: dict[str, str], gpus: int, kind: str) -> None:
    row = parse_jobs([squeue(fields).encode()], MARKS).table.to_pylist()[0]
    assert (row["gpus"], row["gpu_type"]) == (gpus, kind)


def test_the_captured_queue_is_read_whole() -> None:
    reading = parse_jobs([captured("squeue").encode()], captured_marks())
    assert reading.problems == ()
    assert reading.table.schema == JOBS
    jobs = {row["label"]: row for row in reading.table.to_pylist()}
    assert jobs["2"]["name"] == 'evil\n1234|x|<script>alert(1)</script>\t "q" \u202e rtl ✓'
    assert jobs["2"]["comment"] == "c|d\ne"
    assert (jobs["1"]["state"], jobs["1"]["gpus"], jobs["1"]["gpu_type"]) == ("SUSPENDED", 1, "a100")
    assert (jobs["17"]["state"], jobs["17"]["exit_code"]) == ("CANCELLED", "0:15")
    assert (jobs["4"]["state"], jobs["4"]["restarts"], jobs["4"]["priority"]) == ("PENDING", 1, 0)
    assert (jobs["3"]["nodes"], jobs["3"]["gpus"], jobs["3"]["node_list"]) == (2, 2, "node[1-2]")
    assert (jobs["6+1"]["het_job_id"], jobs["6+1"]["het_offset"], jobs["6+1"]["job_id"]) == (6, 1, 7)
    folded = jobs["5_[2-20%2]"]
    assert (folded["array_job_id"], folded["array_task_id"], folded["array_pending"]) == (5, "2-20%2", 19)
    assert jobs["5_1"]["array_task_id"] == "1"
    assert jobs["11"]["partition"] == "gpu,cpu"
    assert jobs["11"]["start_expected"]
    assert jobs["9"]["time_limit_s"] is None
    assert jobs["1"]["end_s"] is not None and not jobs["1"]["start_expected"]
    assert any(row["name"] == "latin-\ufffd" for row in jobs.values())
    assert any(row["state"] in ENDED_STATES for row in jobs.values())
    sparse = next(row for row in jobs.values() if row["name"] == "sparse")
    assert sparse["array_pending"] == 25
    assert len(sparse["label"]) <= 80
