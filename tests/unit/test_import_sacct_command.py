"""`carme import-sacct`: what it prints, how it ends, what it leaves behind."""

from __future__ import annotations

import io
import json
import os
from itertools import takewhile
from pathlib import Path
from tempfile import gettempdir

import pytest
from sqlalchemy import select

from app.cli import main
from backend.store import Database
from backend.store.models import Audit
from tests.unit.test_import_sacct import HEADER, line
from tests.unit.warehouse_kit import T0, read


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, in UTC."""
    monkeypatch.setenv("CARME_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CARME_INSTANCE__TIME_ZONE", "UTC")
    monkeypatch.delenv("CARME_CONFIG", raising=False)
    return tmp_path / "data"


@pytest.fixture
def listing(tmp_path: Path) -> Path:
    """Two jobs and a line that is none."""
    path = tmp_path / "jobs.sacct"
    path.write_text("\n".join([HEADER, line(), line(jobid="8", jobidraw="8"), line(state="DANCING"), ""]))
    return path


def audits(data: Path) -> list[tuple[str, str, str, dict[str, object]]]:
    database = Database(f"sqlite:///{data / 'carme.db'}")
    with database.read() as rows:
        found = rows.execute(select(Audit.action, Audit.target, Audit.outcome, Audit.detail)).all()
    database.close()
    return [tuple(row) for row in found if row[0] == "accounting.import"]  # type: ignore[misc]


def test_jobs_are_taken_and_bad_lines_named(data: Path, listing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import-sacct", str(listing)]) == 1
    told = capsys.readouterr()
    assert told.err == "line 4: State: not one of Slurm's\n"
    assert "2 jobs of c1: 2 new" in told.out
    assert "State: not one of Slurm's: 4" in told.out
    assert read(data / "accounting", "select job_id, submit_s from jobs order by 1") == [(7, T0), (8, T0)]


def test_every_import_leaves_an_audit_line(data: Path, listing: Path) -> None:
    main(["import-sacct", str(listing)])
    ((_, target, outcome, detail),) = audits(data)
    assert (target, outcome) == ("jobs.sacct", "done")
    assert (detail["new"], detail["bad"], detail["clusters"]) == (2, 1, ["c1"])


def test_the_zone_and_the_columns_can_be_said(data: Path, listing: Path) -> None:
    listing.write_text(line() + "\n")
    columns = HEADER.replace("|", ",")
    assert main(["import-sacct", str(listing), "--tz", "Europe/Berlin", "--columns", columns]) == 0
    assert read(data / "accounting", "select submit_s from jobs") == [(T0 - 3600,)]


def test_json_tells_all(data: Path, listing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["import-sacct", str(listing), "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert (facts["jobs"], facts["new"], facts["bad"]) == (2, 2, 1)
    assert facts["bad_lines"] == [{"why": "State: not one of Slurm's", "lines": "4", "count": 1}]


def test_standard_input_is_read(data: Path, listing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Standard:
        buffer = io.BytesIO(f"{HEADER}\n{line()}\n".encode())

    monkeypatch.setattr("sys.stdin", Standard)
    assert main(["import-sacct", "-"]) == 0
    assert read(data / "accounting", "select job_id from jobs") == [(7,)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tz", "Mars/Olympus"], "no zone"),
        (["--columns", "jobid,user"], "submit"),
        (["--columns", HEADER.replace("|", ",").replace("cluster", "x")], "--cluster NAME"),
    ],
)
def test_wrong_use_is_explained(
    data: Path, listing: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["import-sacct", str(listing), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import-sacct", "/no/such/file"]) == 1
    assert "/no/such/file" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_root_leaves_no_file_of_its_own_in_anothers_data_folder(data: Path, listing: Path) -> None:
    data.mkdir()
    for folder in (data, *takewhile(lambda each: each != Path(gettempdir()), data.parents)):
        folder.chmod(0o755)
    os.chown(data, 65534, 65534)
    main(["import-sacct", str(listing)])
    assert {path.stat().st_uid for path in data.rglob("*")} == {65534}
