"""An answer as a sheet: named, explained, and drawn by what it is about."""

from __future__ import annotations

import io
import json

import openpyxl
import pyarrow as pa
import pytest

from backend.accounting.exports import Chart, Made, chart_of, in_words, scope_in_words, sheet_of, write
from backend.accounting.usage import Answer, Question, Scope

QUESTION = Question(
    metrics=("cpu_hours", "cpu_efficiency"), since_s=1_772_319_600, until_s=1_774_994_400, by=("day", "user"),
    where=(("account", ("physics", "")),), zone="Europe/Berlin",
)  # fmt: skip
ANSWER = Answer(
    question=QUESTION,
    table=pa.table(
        {
            "day": ["2026-03-01"],
            "user": pa.array(["ada"]).dictionary_encode(),
            "cpu_hours": [1.5],
            "cpu_efficiency": [0.25],
        }
    ),
    totals={"cpu_hours": 1.5, "cpu_efficiency": None},
    methods={"cpu_hours": "CPUs × time."},
    notes=("1 job is running.",),
    as_of_s=1_774_994_000,
)  # fmt: skip
MADE = Made("Usage", Scope(user="ada", accounts=frozenset({"physics"})), made_s=1_774_994_500)


def written(kind: str) -> bytes:
    out = io.BytesIO()
    write(sheet_of(ANSWER, MADE), kind, out)
    return out.getvalue()


def test_columns_have_the_names_that_were_asked() -> None:
    assert written("csv").decode().splitlines() == ["day,user,cpu_hours,cpu_efficiency", '"2026-03-01","ada",1.5,0.25']


def test_json_says_what_was_asked_and_of_whose_jobs() -> None:
    said = json.loads(written("json"))
    assert said["question"] == "CPU hours and CPU efficiency by day and user; account: physics, none"
    assert said["scope"] == "Jobs of ada, and all jobs of the accounts physics"
    assert said["columns"][2] == {
        "name": "cpu_hours", "kind": "number", "title": "CPU hours", "unit": "h", "note": "CPUs × time.",
    }  # fmt: skip
    assert said["totals"] == {"cpu_hours": 1.5, "cpu_efficiency": None}


def test_a_share_is_a_percentage_in_a_spreadsheet() -> None:
    page = openpyxl.load_workbook(io.BytesIO(written("xlsx")))["Data"]
    assert (page["D2"].value, page["D2"].number_format) == (0.25, "0.0%")


@pytest.mark.parametrize(
    ("by", "kind", "metric", "chart"),
    [
        (("user", "day"), "bars", "cpu_hours", Chart("bars", "day", "cpu_hours", "user")),
        (("user",), "bars", "cpu_hours", Chart("bars", "user", "cpu_hours")),
        (("day",), "bars", "cpu_efficiency", Chart("lines", "day", "cpu_efficiency")),
        ((), "bars", "cpu_hours", None),
        (("day",), "none", "cpu_hours", None),
    ],
)
def test_a_chart_follows_the_question(by: tuple[str, ...], kind: str, metric: str, chart: Chart | None) -> None:
    question = Question(metrics=(metric,), since_s=0, until_s=1, by=by)
    assert chart_of(question, kind) == chart  # type: ignore[arg-type]


def test_a_scope_is_told_in_words() -> None:
    assert scope_in_words(Scope(everything=True)) == "All jobs"
    assert scope_in_words(Scope(user="ada")) == "Jobs of ada"
    many = Scope(user="ada", accounts=frozenset(f"a{number}" for number in range(7)))
    assert scope_in_words(many).endswith("a0, a1, a2, a3, a4 and 2 more")


def test_a_question_without_dimensions_is_told_plainly() -> None:
    assert in_words(Question(metrics=("jobs",), since_s=0, until_s=1, limit=10)) == "Jobs; at most 10 rows"
