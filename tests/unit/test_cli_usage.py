"""`carme usage` and `carme report` on a data folder of their own."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import openpyxl
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from app.cli import main
from backend.accounting.reports import Draft
from backend.services import open_services
from backend.store.models import Audit
from config import load_settings
from tests.unit.usage_rest_kit import fill

NOVEMBER = ("--since", "2026-11-01", "--until", "2026-12-01")
ASKED = ("usage", *NOVEMBER, "--by", "day,user", "--metric", "cpu_hours")


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("CARME_", "SUDO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CARME_DATA", str(tmp_path / "data"))
    fill(tmp_path / "data")
    return tmp_path / "data"


def carme(*arguments: str) -> int:
    return main(list(arguments))


def test_the_table_shows_every_person_s_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert carme(*ASKED) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["day", "user", "cpu_hours"]
    assert lines[1].split() == ["2026-11-03", "ada", "4.0000"]
    assert len(lines) == 6


def test_usage_is_by_project_where_projects_are_set_up(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("usage", *NOVEMBER, "--by", "project", "--metric", "cpu_hours")
    assert carme(*asked) == 2
    assert "accounting.projects_file" in capsys.readouterr().err
    file = data.with_name("projects.toml")
    file.write_text('[[project]]\nname = "optics"\naccounts = ["lasers"]\n')
    monkeypatch.setenv("CARME_ACCOUNTING__PROJECTS_FILE", str(file))
    assert carme(*asked) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [["optics", "10.0000"], ["26.0000"]]
    file.write_text("[[project]]")
    assert carme(*asked) == 1
    assert "projects.toml: project 1.name" in capsys.readouterr().err


def test_csv_has_the_names_as_columns_and_every_digit(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    third = ("--since", "2026-11-03T01:00", "--until", "2026-11-03T01:00:01")
    assert carme("usage", *third, "--by", "day", "--metric", "cpu_hours,jobs", "--format", "csv") == 0
    (row,) = csv.DictReader(io.StringIO(capsysbinary.readouterr().out.decode()))
    assert list(row) == ["day", "cpu_hours", "jobs"]
    assert float(row["cpu_hours"]) == 8 / 3600
    assert row["day"] == "2026-11-03"


def test_json_has_every_digit_and_says_how_it_was_counted(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert carme(*ASKED, "--format", "json") == 0
    found = json.loads(capsysbinary.readouterr().out)
    assert found["rows"][0] == {"day": "2026-11-03", "user": "ada", "cpu_hours": 4.0}
    assert found["totals"] == {"cpu_hours": 36.0}
    assert found["columns"][2]["note"]


def test_a_day_is_the_zone_s(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    asked = ("usage", *NOVEMBER, "--by", "day", "--metric", "jobs_started", "--where", "user=ada", "--format", "csv")
    assert carme(*asked, "--tz", "America/Los_Angeles") == 0
    rows = list(csv.DictReader(io.StringIO(capsysbinary.readouterr().out.decode())))
    assert {row["day"]: row["jobs_started"] for row in rows} == {"2026-11-02": "1", "2026-11-03": "1"}


def test_filters_are_alternatives_of_one_key_and_together_of_several(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    where = ("--where", "user=ada", "user=eve", "--where", "account=physics")
    assert carme("usage", *NOVEMBER, "--metric", "cpu_hours", *where, "--format", "csv") == 0
    (row,) = csv.DictReader(io.StringIO(capsysbinary.readouterr().out.decode()))
    assert float(row["cpu_hours"]) == 12.0


def test_the_largest_come_first_and_only_so_many(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    top = ("--by", "user", "--metric", "cpu_hours", "--order=-cpu_hours", "--limit", "2", "--format", "csv")
    assert carme("usage", *NOVEMBER, *top) == 0
    rows = list(csv.DictReader(io.StringIO(capsysbinary.readouterr().out.decode())))
    assert [row["user"] for row in rows] == ["bob", "leo"]


def test_files_of_every_kind(tmp_path: Path) -> None:
    for kind in ("parquet", "xlsx", "csv", "json", "pdf"):
        assert carme(*ASKED, "--format", kind, "-o", str(tmp_path / f"usage.{kind}")) == 0
    assert pq.read_table(tmp_path / "usage.parquet").num_rows == 5
    book = openpyxl.load_workbook(tmp_path / "usage.xlsx")
    assert "bob" in [cell.value for row in book.worksheets[0].iter_rows() for cell in row]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "usage.csv", "usage.json", "usage.parquet", "usage.pdf", "usage.xlsx",
    ]  # fmt: skip


def test_a_failed_question_leaves_the_file_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "usage.csv"
    path.write_text("before")
    wrong = ("usage", *NOVEMBER, "--metric", "happiness", "--format", "csv", "-o", str(path))
    assert carme(*wrong) == 2
    assert "happiness" in capsys.readouterr().err
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["usage.csv"]
    assert carme(*ASKED, "--format", "csv", "-o", str(tmp_path / "nowhere" / "x.csv")) == 1
    assert carme(*ASKED, "-o", str(path)) == 2  # a table is no file


@pytest.mark.parametrize(
    "wrong",
    [
        ("--since", "soon", "--until", "2026-12-01", "--metric", "cpu_hours"),
        ("--since", "2026-12-01", "--until", "2026-11-01", "--metric", "cpu_hours"),
        (*NOVEMBER, "--metric", "cpu_hours", "--by", "colour"),
        (*NOVEMBER, "--metric", "cpu_hours", "--where", "user"),
        (*NOVEMBER, "--metric", "cpu_hours", "--tz", "Mars"),
        (*NOVEMBER, "--metric", "cpu_hours", "--definitions", "theirs"),
        (*NOVEMBER, "--metric", "cpu_hours", "--format", "exe"),
        NOVEMBER,
    ],
)
def test_wrong_use_is_told_with_status_2(wrong: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert carme("usage", *wrong) == 2
    assert capsys.readouterr().err


def test_without_accounts_there_are_no_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CARME_DATA", str(tmp_path / "empty"))
    assert carme(*ASKED) == 0
    assert capsys.readouterr().out.splitlines() == ["day  user  cpu_hours"]


XDMOD = Path(__file__).resolve().parents[3] / "shared" / "data" / "xdmod-pozidriv"
COLUMNS = (
    "jobid jobidraw cluster partition qos account group gid user uid submit eligible start end elapsed exitcode state "
    "nnodes ncpus reqcpus reqmem reqtres alloctres timelimit nodelist jobname"
)


@pytest.mark.skipif(not (XDMOD / "jobs.sacct").exists(), reason="the accounts of a real cluster are not at hand")
def test_a_real_cluster_s_accounts_are_what_xdmod_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setenv("CARME_DATA", str(tmp_path / "real"))
    columns = COLUMNS.replace(" ", ",")
    assert carme("import-sacct", str(XDMOD / "jobs.sacct"), "--tz", "UTC", "--columns", columns) == 0
    capsysbinary.readouterr()
    with (XDMOD / "expected.csv").open(newline="") as file:
        expected = list(csv.DictReader(file))
    metrics = [name for name in expected[0] if name != "day"]
    asked = ("usage", "--since", "2016-01-01", "--until", "2019-01-01", "--by", "day", "--metric", ",".join(metrics))
    assert carme(*asked, "--definitions", "xdmod", "--tz", "UTC", "--format", "csv") == 0
    found = {row["day"]: row for row in csv.DictReader(io.StringIO(capsysbinary.readouterr().out.decode()))}
    assert set(found) == {row["day"] for row in expected}
    for row in expected:
        for name in metrics:
            digits = len(row[name].partition(".")[2])
            assert f"{float(found[row['day']][name]):.{digits}f}" == row[name], (row["day"], name)


# Saved reports


def saved(data: Path, owner: str = "ada", name: str = "Monthly hours", **question: object) -> str:
    services = open_services(load_settings(None, {"CARME_DATA": str(data)}))
    if services.identity.standing(owner) is None:
        services.identity.add_person("console", owner, "correct horse battery staple", uid=1001)
    viewer = services.identity.standing(owner)
    assert viewer is not None
    asked = {"metrics": ["cpu_hours"], "by": ["user"], "since": "2026-11-01", "until": "2026-12-01"}
    report = services.reports.save(viewer, Draft(name, asked | question))
    services.db.close()
    return report.id


def ran(capsysbinary: pytest.CaptureFixture[bytes], *arguments: str) -> dict[str, float]:
    assert carme("report", "run", *arguments, "--format", "csv") == 0
    rows = csv.DictReader(io.StringIO(capsysbinary.readouterr().out.decode()))
    return {row["user"]: float(row["cpu_hours"]) for row in rows}


def test_reports_are_listed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = saved(data)
    assert carme("report", "list") == 0
    assert "Monthly hours  ada" in capsys.readouterr().out
    assert carme("report", "list", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["id"], found["question"]["metrics"]) == (report, ["cpu_hours"])


def test_a_report_is_run_by_name_or_id_over_everybody_s_jobs(
    data: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    report = saved(data)
    everyone = {"ada": 6.0, "bob": 14.0, "eve": 6.0, "leo": 10.0}
    assert ran(capsysbinary, "Monthly hours") == everyone
    assert ran(capsysbinary, report) == everyone
    assert ran(capsysbinary, report, "--as", "ada") == {"ada": 6.0}


def test_one_about_its_owner_s_jobs_stays_so(data: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    saved(data, who="mine")
    assert ran(capsysbinary, "Monthly hours") == {"ada": 6.0}


def test_a_name_of_several_needs_an_owner_and_none_is_told(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(data)
    saved(data, owner="bob")
    assert carme("report", "run", "Monthly hours") == 2
    assert "ada, bob" in capsys.readouterr().err
    assert carme("report", "run", "Monthly hours", "--owner", "bob") == 0
    assert carme("report", "run", "Weekly hours") == 1
    assert carme("report", "run", "Monthly hours", "--owner", "ada", "--as", "nobody") == 1


def test_reading_everything_anew_leaves_a_line(data: Path) -> None:
    assert carme("sync") == 1  # nothing runs here that could be asked
    assert carme("sync", "--rebuild") == 1
    services = open_services(load_settings(None, {"CARME_DATA": str(data)}))
    with services.db.read() as rows:
        (line,) = rows.scalars(select(Audit).where(Audit.action == "accounting.rebuild"))
        assert (line.outcome, line.actor[:4]) == ("failed", "cli:")
    services.db.close()
