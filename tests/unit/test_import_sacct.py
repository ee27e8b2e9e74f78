"""Listings of sacct: every form of its values, and what is no line of it."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backend.accounting.sacct import Bad, Imported, NoCluster, UnknownColumns, columns_of, import_sacct
from backend.accounting.sacct.lines import blocks
from backend.accounting.sacct.rows import rows_of
from tests.unit.warehouse_kit import T0, job, put, read

WORDS = [
    "jobid", "jobidraw", "cluster", "user", "uid", "group", "account", "partition", "qos", "state", "exitcode",
    "submit", "eligible", "start", "end", "elapsed", "nnodes", "ncpus", "reqcpus", "reqmem", "reqtres", "alloctres",
    "timelimit", "nodelist", "jobname",
]  # fmt: skip
LINE = {
    "jobid": "7", "jobidraw": "7", "cluster": "c1", "user": "ada", "uid": "1001", "group": "g", "account": "physics",
    "partition": "short", "qos": "normal", "state": "COMPLETED", "exitcode": "0:0", "submit": "2026-01-01T00:00:00",
    "eligible": "2026-01-01T00:00:00", "start": "2026-01-01T00:00:10", "end": "2026-01-01T00:01:50",
    "elapsed": "00:01:40", "nnodes": "1", "ncpus": "2", "reqcpus": "2", "reqmem": "4000M",
    "reqtres": "billing=2,cpu=2,mem=4000M,node=1", "alloctres": "billing=2,cpu=2,mem=4000M,node=1",
    "timelimit": "01:00:00", "nodelist": "n1", "jobname": "run",
}  # fmt: skip
REAL = Path(__file__).parents[3] / "shared/data/xdmod-pozidriv"
REAL_COLUMNS = [
    "jobid", "jobidraw", "cluster", "partition", "qos", "account", "group", "gid", "user", "uid", "submit", "eligible",
    "start", "end", "elapsed", "exitcode", "state", "nnodes", "ncpus", "reqcpus", "reqmem", "reqtres", "alloctres",
    "timelimit", "nodelist", "jobname",
]  # fmt: skip


def line(**changes: str) -> str:
    return "|".join((LINE | changes)[word] for word in WORDS)


def parsed(*lines: str, zone: str = "UTC", words: list[str] = WORDS) -> tuple[list[dict[str, Any]], list[Bad]]:
    rows, bad = [], []
    text = "\n".join(lines) + "\n"
    for _, block in blocks(io.BytesIO(text.encode()), columns_of(words)):
        found = rows_of(block, zone, "c1")
        rows += found.ended.to_pylist() + found.open.to_pylist()
        bad += found.bad
    return rows, bad


def one(zone: str = "UTC", **changes: str) -> dict[str, Any]:
    rows, bad = parsed(line(**changes), zone=zone)
    assert not bad
    return rows[0]


def load(folder: Path, text: str, **options: Any) -> tuple[Imported, list[Bad]]:
    bad: list[Bad] = []
    options = {"zone": "UTC", "site_zone": "UTC", **options}
    return import_sacct(io.BytesIO(text.encode()), folder, on_bad=bad.append, **options), bad


HEADER = "|".join(WORDS)


# Values


def test_a_line_becomes_a_row() -> None:
    row = one()
    assert (row["job_id"], row["submit_s"], row["start_s"], row["end_s"]) == (7, T0, T0 + 10, T0 + 110)
    assert (row["cpus"], row["nodes"], row["mem_mb"], row["billing"]) == (2, 1, 4000, 2)
    assert (row["state"], row["user"], row["uid"], row["account"]) == ("COMPLETED", "ada", 1001, "physics")
    assert (row["time_limit_s"], row["exit_status"], row["suspended_s"], row["source"]) == (3600, 0, 0, "sacct")


@pytest.mark.parametrize(
    ("text", "mb"),
    [
        ("48000Mn", 96_000),  # for each of two nodes
        ("2800Mc", 22_400),  # for each of eight CPUs
        ("2147486448Mn", 22_400),  # for each CPU, by the highest of 32 bits
        ("4G", 4096),
        ("1.50G", 1536),
        ("0n", None),
        ("?", None),
    ],
)
def test_requested_memory_is_of_the_whole_job(text: str, mb: int | None) -> None:
    assert one(reqmem=text, reqtres="", nnodes="2", reqcpus="8")["req_mem_mb"] == mb


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("125-00:00:00", 10_800_000), ("UNLIMITED", None), ("Partition_Limit", None), ("INVALID", None), ("", None)],
)
def test_time_limits(text: str, seconds: int | None) -> None:
    assert one(timelimit=text)["time_limit_s"] == seconds


@pytest.mark.parametrize(("text", "state"), [("CANCELLED by 1234", "CANCELLED"), ("OUT_OF_MEMORY", "OUT_OF_MEMORY")])
def test_states(text: str, state: str) -> None:
    assert one(state=text)["state"] == state


def test_exit_codes_are_status_and_signal() -> None:
    row = one(exitcode="1:9")
    assert (row["exit_status"], row["exit_signal"]) == (1, 9)


@pytest.mark.parametrize(
    ("alloc", "gpus", "kind"),
    [
        ("cpu=2,gres/gpu:a100=2,gres/gpu=2", 2, "a100"),
        ("cpu=2,gres/gpu:a100=2,gres/gpu:h100=1", 3, "a100=2,h100=1"),
        ("cpu=2,gres/gpu=4", 4, None),
        ("cpu=2", 0, None),
    ],
)
def test_gpus_are_never_added_to_their_types(alloc: str, gpus: int, kind: str | None) -> None:
    row = one(alloctres=alloc)
    assert (row["gpus"], row["gpu_type"]) == (gpus, kind)


def test_a_job_cancelled_while_it_waited_has_used_nothing() -> None:
    at = "2026-01-01T00:01:50"
    row = one(state="CANCELLED by 5", start=at, end=at, elapsed="00:00:00", nodelist="None assigned")
    assert (row["start_s"], row["cpus"], row["nodes"], row["mem_mb"], row["tres"]) == (None, 0, 0, 0, "")
    assert row["end_s"] == T0 + 110


def test_what_the_run_lacks_to_its_length_was_suspended() -> None:
    assert one(elapsed="00:01:10")["suspended_s"] == 30


def test_array_tasks_and_het_jobs_have_their_raw_ids() -> None:
    row = one(jobid="123_4", jobidraw="127")
    assert (row["job_id"], row["array_job_id"], row["array_task_id"]) == (127, 123, 4)
    row = one(jobid="123+1", jobidraw="124")
    assert (row["job_id"], row["het_job_id"], row["het_offset"]) == (124, 123, 1)


def test_tasks_that_wait_are_counted() -> None:
    row = one(
        jobid="123_[5-9%2]", jobidraw="123", state="PENDING", start="Unknown", end="Unknown", elapsed="00:00:00",
        nodelist="None assigned", alloctres="",
    )  # fmt: skip
    assert (row["job_id"], row["array_job_id"], row["array_task_id"], row["array_pending"]) == (123, 123, None, 5)
    assert (row["start_s"], row["end_s"]) == (None, None)


def test_a_running_job_is_known_until_the_listing_was_made() -> None:
    row = one(state="RUNNING", end="Unknown", elapsed="00:20:00")
    assert (row["end_s"], row["seen_s"]) == (None, T0 + 10 + 1200)


def test_the_largest_memory_of_the_steps_is_their_jobs() -> None:
    words = [*WORDS[:-1], "maxrss", "totalcpu", "jobname"]
    first, rest = line().rsplit("|", 1)
    lines = [f"{first}||01:02.500|{rest}"]
    for step, rss in (("7.batch", "1024K"), ("7.0", "3.5G"), ("7.extern", "")):
        lines.append(f"{line(jobid=step, jobidraw=step).rsplit('|', 1)[0]}|{rss}|00:01|step")
    rows, bad = parsed(*lines, words=words)
    assert not bad
    assert [(row["mem_peak_mb"], row["cpu_used_s"]) for row in rows] == [(3584, 62.5)]


def test_a_name_in_the_last_column_may_hold_anything() -> None:
    name = "a|b <i>\u202e=1+1' \"|"
    assert one(jobname=name)["job_name"] == name


@given(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=30))
@example("|")
def test_every_name_comes_back_as_it_was(name: str) -> None:
    rows, bad = parsed(line(jobname=name), line(jobid="2", jobidraw="2"))
    assert not bad
    assert [row["job_name"] for row in rows if row["job_id"] != 2] == [name]


# Times


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1)).map(lambda at: at.replace(microsecond=0)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
)
def test_any_zone_is_read_as_python_reads_it(at: datetime, zone: str) -> None:
    text = at.isoformat()
    rows, bad = parsed(line(submit=text, eligible=text, start=text, end=text, elapsed="00:00:00"), zone=zone)
    there = at.replace(tzinfo=ZoneInfo(zone))
    if there.astimezone(ZoneInfo("UTC")).astimezone(ZoneInfo(zone)).replace(tzinfo=None) != at:  # skipped
        assert not rows
        assert "skips" in bad[0].why
    else:
        assert rows[0]["submit_s"] == int(there.timestamp())


def test_seconds_and_times_with_an_offset_are_read_too() -> None:
    row = one(
        "Asia/Tokyo", submit=str(T0), start="2026-01-01T01:00:10+01:00", end="2026-01-01T00:01:50Z", eligible="Unknown"
    )
    assert (row["submit_s"], row["eligible_s"], row["start_s"], row["end_s"]) == (T0, None, T0 + 10, T0 + 110)


@pytest.mark.parametrize(
    ("start", "end", "elapsed", "hours"),
    [  # summer time ends at 03:00 CEST on 2026-10-25: 02:00 to 03:00 comes twice
        ("02:30:00", "04:00:00", "02:30:00", (0.5, 3.0)),
        ("02:30:00", "04:00:00", "01:30:00", (1.5, 3.0)),
        ("02:30:00", "02:10:00", "00:40:00", (0.5, 1.1667)),
        ("02:30:00", "02:40:00", "00:10:00", (0.5, 0.6667)),  # either would do: the earlier
        ("02:30:00", "02:40:00", "01:10:00", (0.5, 1.6667)),
        ("01:50:00", "02:10:00", "01:20:00", (-0.1667, 1.1667)),
    ],
)
def test_the_hour_that_comes_twice_is_the_one_that_fits(
    start: str, end: str, elapsed: str, hours: tuple[float, float]
) -> None:
    two = int(datetime(2026, 10, 25, 0, 0, tzinfo=ZoneInfo("UTC")).timestamp())  # 02:00 CEST
    day = "2026-10-25T"
    row = one("Europe/Berlin", submit=f"{day}01:00:00", eligible=f"{day}01:00:00", start=day + start, end=day + end, elapsed=elapsed)  # fmt: skip  # noqa: E501
    found = ((row["start_s"] - two) / 3600, (row["end_s"] - two) / 3600)
    assert found == pytest.approx(hours, abs=0.001)
    assert row["suspended_s"] == 0


# What is wrong


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"submit": "Unknown"}, "Submit: none"),
        ({"submit": "yesterday"}, "Submit: no time"),
        ({"start": "2026-02-30T00:00:00"}, "Start: no time"),
        ({"end": "Unknown"}, "End: none, although the state says that it ended"),
        ({"end": "2026-01-01T00:00:05"}, "End: before Start"),
        ({"state": "DANCING"}, "State: not one of Slurm's"),
        ({"jobid": "x", "jobidraw": "x"}, "JobID: no job id"),
        ({"jobidraw": "99999999999"}, "JobIDRaw: no job id"),
        ({"cluster": ""}, "Cluster: none"),
        ({"user": "", "uid": ""}, "User: none"),
    ],
)
def test_a_line_without_sense_is_named_and_left_out(changes: dict[str, str], why: str) -> None:
    rows, bad = parsed(line(), line(**changes), line(jobid="8", jobidraw="8"))
    assert bad == [Bad(2, why)]
    assert [row["job_id"] for row in rows] == [7, 8]


def test_lines_of_another_shape_are_named() -> None:
    rows, bad = parsed(line(), "", "7|7", line(jobid="8.batch"), line(jobid="9", jobidraw="9"))
    assert [one.line for one in bad] == [3]
    assert len(rows) == 2


def test_a_pipe_in_a_name_that_is_not_last_is_named() -> None:
    words = ["jobname", *WORDS[:-1]]
    body = line().rsplit("|", 1)[0]
    rows, bad = parsed(f"a|b|{body}", f"run|{body}", words=words)
    assert [one.line for one in bad] == [1]
    assert "JobName last" in bad[0].why
    assert len(rows) == 1


def test_an_array_task_without_its_raw_id_is_named() -> None:
    words = [word for word in WORDS if word != "jobidraw"]
    text = "|".join((LINE | {"jobid": "5_1"})[word] for word in words)
    assert "JobIDRaw" in parsed(text, words=words)[1][0].why


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=5))
def test_no_text_breaks_the_reader(lines: list[str]) -> None:
    rows, _ = parsed(line(), *lines)
    assert rows[0]["job_id"] == 7
    assert len(rows) == 1


# Listings


def test_a_header_names_the_columns_with_or_without_a_last_pipe(tmp_path: Path) -> None:
    for end in ("", "|"):
        done, bad = load(tmp_path, f"{HEADER.upper()}{end}\n{line()}{end}\n")
        assert not bad
        assert done.lines == 1
    assert read(tmp_path, "select count(*), any_value(job_name) from jobs") == [(1, "run")]


def test_windows_line_ends_and_a_last_line_without_one_are_fine(tmp_path: Path) -> None:
    done, bad = load(tmp_path, f"{HEADER}\r\n{line()}\r\n{line(jobid='8', jobidraw='8')}")
    assert (done.lines, bad) == (2, [])


def test_without_columns_nothing_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(UnknownColumns):
        load(tmp_path, line() + "\n")
    with pytest.raises(UnknownColumns, match="submit"):
        columns_of(["jobid", "user", "start", "end", "state"])


def test_a_listing_without_cluster_needs_one(tmp_path: Path) -> None:
    words = [word for word in WORDS if word != "cluster"]
    text = "|".join(words) + "\n" + "|".join(LINE[word] for word in words) + "\n"
    with pytest.raises(NoCluster):
        load(tmp_path, text)
    load(tmp_path, text, cluster="c9")
    load(tmp_path, text)  # there is only one it can be
    assert read(tmp_path, "select cluster from jobs") == [("c9",)]


def test_twice_is_the_same_as_once(tmp_path: Path) -> None:
    text = "\n".join([HEADER, *(line(jobid=str(n), jobidraw=str(n)) for n in range(1, 50))])
    load(tmp_path, text)
    done, _ = load(tmp_path, text)
    assert (done.rows.new, done.rows.changed, done.rows.unchanged) == (0, 0, 49)
    assert read(tmp_path, "select count(*), count(distinct job_id) from jobs") == [(49, 49)]


def test_a_running_job_of_an_earlier_listing_ends_with_a_later_one(tmp_path: Path) -> None:
    load(tmp_path, f"{HEADER}\n{line(state='RUNNING', end='Unknown')}\n")
    assert read(tmp_path, "select state, end_s from jobs") == [("RUNNING", None)]
    load(tmp_path, f"{HEADER}\n{line()}\n")
    assert read(tmp_path, "select state, end_s from jobs") == [("COMPLETED", T0 + 110)]


def test_requeued_attempts_are_one_job(tmp_path: Path) -> None:
    again = {"submit": "2026-01-01T00:01:50", "eligible": "2026-01-01T00:01:50", "start": "2026-01-01T00:02:00"}
    last = line(**again, end="2026-01-01T00:03:00", elapsed="00:01:00")
    load(tmp_path, f"{HEADER}\n{line(state='REQUEUED')}\n{last}\n")
    assert read(tmp_path, "select attempt, last_attempt from jobs order by 1") == [(1, False), (2, True)]


def test_jobs_the_database_told_of_are_not_counted_twice(tmp_path: Path) -> None:
    put(tmp_path, job(7, cpus=4))
    done, _ = load(tmp_path, f"{HEADER}\n{line()}\n{line(jobid='8', jobidraw='8')}\n")
    assert (done.rows.outranked, done.rows.new) == (1, 1)
    assert read(tmp_path, "select job_id, cpus from jobs order by 1") == [(7, 4), (8, 2)]


def test_a_wrong_zone_does_not_count_the_databases_jobs_twice(tmp_path: Path) -> None:
    put(tmp_path, job(7))
    load(tmp_path, f"{HEADER}\n{line()}\n", zone="Europe/Berlin")
    assert read(tmp_path, "select submit_s, source from jobs") == [(T0, "slurmdbd")]


# A real cluster's accounts


def test_a_real_clusters_accounts_are_read_to_the_last_line(tmp_path: Path) -> None:
    if not REAL.is_dir():
        pytest.skip(f"no real accounts in {REAL}")
    bad: list[Bad] = []
    with (REAL / "jobs.sacct").open("rb") as stream:
        done = import_sacct(
            stream, tmp_path, zone="UTC", site_zone="UTC", columns=columns_of(REAL_COLUMNS), on_bad=bad.append
        )
    assert (done.lines, done.rows.new, bad) == (11_704, 11_704, [])
    expected = [row.split(",") for row in (REAL / "expected.csv").read_text().splitlines()[1:]]
    for day, ended, started, cpu_h, wall_h, node_h, wait_h in expected:
        since = int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp())
        ran = f"greatest(0, least(end_s, {since + 86400}) - greatest(start_s, {since})) / 3600"
        here = f">= {since} and {{0}} < {since + 86400}"
        (found,) = read(
            tmp_path,
            f"select count(*) filter (end_s {here.format('end_s')}), "
            f"count(*) filter (start_s {here.format('start_s')}), sum(cpus * {ran}), sum({ran}), sum(nodes * {ran}), "
            f"sum((start_s - submit_s) / 3600) filter (start_s {here.format('start_s')}) "
            "from jobs where start_s is not null",
        )
        assert found[:2] == (int(ended), int(started))
        assert [f"{value or 0:.4f}" for value in found[2:]] == [cpu_h, wall_h, node_h, wait_h]
