"""Real accounts, held against what Open XDMoD says of them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from backend.accounting.usage import Answer, Question, Scope, Usage
from tests.unit.usage_kit import Accounts, at, job

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "xdmod-pozidriv"
METRICS = ("jobs_ended", "jobs_started", "cpu_hours", "wall_hours", "node_hours", "wait_hours")
COLUMNS = (
    "jobid jobidraw cluster partition qos account group gid user uid submit eligible start end elapsed exitcode state "
    "nnodes ncpus reqcpus reqmem reqtres alloctres timelimit nodelist jobname"
)  # as the file says of itself

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the accounts of a real cluster are not at {FOLDER}")


def _time_s(text: str) -> int | None:
    if not re.match(r"\d", text):
        return None
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp())


def _rows() -> Iterator[dict[str, Any]]:
    for line in (FOLDER / "jobs.sacct").read_text(encoding="utf-8").splitlines():
        cells = dict(zip(COLUMNS.split(), line.split("|", COLUMNS.count(" ")), strict=True))
        allocated = cells["nodelist"] != "None assigned"
        yield job(
            int(cells["jobidraw"]), _time_s(cells["start"]), _time_s(cells["end"]),
            submit_s=_time_s(cells["submit"]), eligible_s=_time_s(cells["eligible"]), cluster=cells["cluster"],
            user=cells["user"], account=cells["account"], partition=cells["partition"], qos=cells["qos"],
            state=cells["state"].split()[0], nodes=int(cells["nnodes"]) if allocated else 0, cpus=int(cells["ncpus"]),
            node_list=cells["nodelist"] if allocated else "",
        )  # fmt: skip


@pytest.fixture(scope="module")
def usage() -> Usage:
    return Usage(Accounts(_rows()), "UTC")


def _by_day(usage: Usage, definitions: Any) -> Answer:
    question = Question(METRICS, at("2016-12-22"), at("2017-01-02"), by=("day",), definitions=definitions)
    return usage.ask(question, Scope(everything=True))


def test_each_day_is_as_xdmod_reports_it_to_the_last_digit(usage: Usage) -> None:
    with (FOLDER / "expected.csv").open(newline="", encoding="utf-8") as file:
        expected = list(csv.DictReader(file))
    answer = _by_day(usage, "xdmod")
    found = [
        {"day": row["day"]}
        | {name: f"{row[name]:.4f}" if name.endswith("hours") else str(row[name]) for name in METRICS}
        for row in answer.table.to_pylist()
    ]
    assert found == [{name: row[name] for name in ("day", *METRICS)} for row in expected]


def test_our_own_definitions_differ_only_where_a_job_never_got_a_node(usage: Usage) -> None:
    ours, theirs = _by_day(usage, "carme").totals, _by_day(usage, "xdmod").totals
    assert ours["jobs_ended"] > theirs["jobs_ended"]
    assert ours["node_hours"] == theirs["node_hours"]


def test_the_days_of_real_accounts_sum_to_the_window(usage: Usage) -> None:
    for metric in ("cpu_hours", "wall_hours", "node_hours", "wait_hours"):
        table = _by_day(usage, "carme").table
        assert sum(round(3600 * hours) for hours in table[metric].to_pylist()) == round(
            3600 * _by_day(usage, "carme").totals[metric]
        )
