"""The whole accounting as a file: a row a job or an account and month, with columns that are promised."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest

from backend.accounting.exports import (
    Made,
    TooManyRows,
    billing_jobs,
    billing_months,
    job_columns,
    job_rows,
    month_columns,
    unguard,
    write,
)
from backend.accounting.usage import Question, Scope, Usage
from tests.unit.usage_kit import Accounts, at, job

DOCS = Path(__file__).parents[2] / "docs" / "exports.md"
SINCE_S, UNTIL_S = at("2026-11-01"), at("2026-12-01")
START_S = at("2026-11-03")


def attempts() -> list[dict[str, Any]]:
    """Job 1 ran twice, with a stop between; job 2 began in October; job 3 runs; job 4 is of December."""
    first = job(1, START_S, START_S + 3600, state="REQUEUED", last_attempt=False, cpus=2)
    again = job(
        1, START_S + 7200, START_S + 10_800, submit_s=START_S + 3600, origin_s=first["submit_s"], attempt=2, cpus=4,
        job_name="=1+1\n|\"<b>", partition="gpu",
    )  # fmt: skip
    october = job(2, SINCE_S - 3600, SINCE_S + 7200, account="biology", user="bob", db_inx=2**63 + 5)
    running = job(3, UNTIL_S - 7200, None, seen_s=UNTIL_S - 3600)
    december = job(4, UNTIL_S + 60, UNTIL_S + 3600)
    return [first, again, october, running, december]


def usage() -> Usage:
    return Usage(Accounts(attempts()), "UTC")


def rows(sheet: Any) -> list[dict[str, str]]:
    out = io.BytesIO()
    write(sheet, "csv", out)
    return list(csv.DictReader(io.StringIO(out.getvalue().decode(), newline="")))


def test_a_job_is_one_row_with_its_usage_in_the_window() -> None:
    with billing_jobs(usage(), SINCE_S, UNTIL_S, "UTC") as sheet:
        found = {row["job_id"]: row for row in rows(sheet)}
    assert list(found) == ["2", "1", "3"]
    one = found["1"]
    assert (one["attempts"], one["state"], one["partition"], one["cpus"]) == ("2", "COMPLETED", "gpu", "4")
    assert (one["submit"], one["start"]) == ("2026-11-03T00:00:00+00:00", "2026-11-03T00:00:00+00:00")
    assert one["end"] == "2026-11-03T03:00:00+00:00"
    assert float(one["cpu_hours"]) == 6.0
    assert unguard(one["job_name"]) == '=1+1\n|"<b>'
    assert float(found["2"]["cpu_hours"]) == 2.0
    assert found["2"]["db_inx"] == str(2**63 + 5)
    assert (found["3"]["end"], found["3"]["state"], float(found["3"]["cpu_hours"])) == ("", "RUNNING", 1.0)


def test_the_rows_sum_to_the_figure() -> None:
    engine = usage()
    question = Question(("cpu_hours", "mem_gb_hours"), SINCE_S, UNTIL_S)
    totals = engine.ask(question, Scope(everything=True)).totals
    with billing_jobs(engine, SINCE_S, UNTIL_S, "UTC") as sheet:
        found = rows(sheet)
    for name, total in totals.items():
        assert sum(float(row[name]) for row in found) == pytest.approx(total)


def test_an_account_and_month_is_one_row() -> None:
    found = rows(billing_months(usage(), at("2026-10-01"), at("2027-01-01"), "UTC"))
    assert [(row["month"], row["account"], float(row["cpu_hours"])) for row in found] == [
        ("2026-10", "biology", 1.0), ("2026-11", "biology", 2.0), ("2026-11", "physics", 7.0),
        ("2026-12", "physics", pytest.approx(59 / 60)),
    ]  # fmt: skip


def test_the_jobs_behind_a_figure_are_only_those_of_the_scope() -> None:
    question = Question(("cpu_hours",), SINCE_S, UNTIL_S, by=("account",))
    made = Made("Jobs", Scope(user="bob"), 0)
    with job_rows(usage(), question, made, {"account": "biology"}) as sheet:
        found = rows(sheet)
    assert [(row["job_id"], row["cpu_hours"]) for row in found] == [("2", "2")]


def test_more_rows_than_the_site_allows_are_refused() -> None:
    with (
        billing_jobs(usage(), SINCE_S, UNTIL_S, "UTC", most_rows=2) as sheet,
        pytest.raises(TooManyRows, match="2 rows"),
    ):
        rows(sheet)


@pytest.mark.parametrize(
    ("heading", "columns"), [("A row a job", job_columns()), ("A row an account and month", month_columns())]
)
def test_the_documented_columns_are_those_of_the_file(heading: str, columns: Any) -> None:
    section = DOCS.read_text(encoding="utf-8").split(f"### {heading}\n")[1].split("\n#")[0]
    documented = re.findall(r"^\| `(\w+)` \| (\w+) \|", section, re.MULTILINE)
    assert documented == [(column.name, column.kind) for column in columns]


def test_the_columns_of_the_file_are_promised_in_their_order() -> None:
    with billing_jobs(usage(), SINCE_S, UNTIL_S, "UTC") as sheet:
        assert list(rows(sheet)[0]) == [column.name for column in job_columns()]


def test_what_does_not_fit_in_memory_goes_into_the_folder_that_is_named(tmp_path: Path) -> None:
    with billing_jobs(usage(), SINCE_S, UNTIL_S, "UTC", scratch=tmp_path) as sheet:
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert sheet.rows.read_all().num_rows
    assert list(tmp_path.iterdir()) == []
