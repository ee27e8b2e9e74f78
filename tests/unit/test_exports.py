"""Tables as files: what is written comes back as it was, typed, in whatever format, and never as a formula."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.utils.escape import unescape

from backend.accounting.exports import FORMATS, Column, Sheet, UnknownFormat, file_name, unguard, write
from backend.accounting.exports import xlsx as xlsx_format
from backend.accounting.exports.formulas import guard, guard_all
from backend.accounting.exports.sheet import ARROW, WrongColumns, column_kind

HOSTILE = (
    "two\nlines", "a|b", 'say "hi"', "<script>alert(1)</script>", "<r><t>x</t></r>", "مرحبا بالعالم", "שלום עולם",
    "=1+1", "+49", "-2", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''x", " =1", "＝1+1", "a,b;c", "", " ", "_x000D_",
    "\x01bell", "日本語", "🚀", "l\r\nf", "\u202e=1", "\ufeff=1", "NULL", "nan", "0012", "1e5", "a" * 500,
)  # fmt: skip
COLUMNS = (
    Column("user", "text", "User"),
    Column("jobs", "whole", "Jobs"),
    Column("cpu_hours", "number", "CPU hours", "h", "CPUs × seconds, clipped to the window."),
    Column("start_s", "time", "Start"),
    Column("day", "day", "Day"),
    Column("db_inx", "id", "Database index"),
    Column("gone", "flag", "Gone"),
)
ZONE = "Europe/Berlin"


def sheet(rows: list[tuple[Any, ...]], columns: tuple[Column, ...] = COLUMNS, **more: Any) -> Sheet:
    schema = pa.schema([(column.name, ARROW[column.kind]) for column in columns])
    arrays = [pa.array([row[at] for row in rows], field.type) for at, field in enumerate(schema)]
    table = pa.Table.from_arrays(arrays, schema=schema)
    given: dict[str, Any] = {"title": "Usage of <b>March</b>", "zone": ZONE, "since_s": 1_772_319_600, **more}
    return Sheet(columns=columns, rows=table.to_reader(max_chunksize=3), **given)


def written(made: Sheet, kind: str) -> bytes:
    out = io.BytesIO()
    write(made, kind, out)
    return out.getvalue()


def texts(values: list[str | None]) -> Sheet:
    return sheet([(value,) for value in values], (Column("user", "text"),))


ROW = ("ada", 3, 0.1 + 0.2, 1_774_746_000, "2026-03-29", 2**64 - 1, True)
NOTHING = (None,) * len(COLUMNS)


def csv_back(raw: bytes) -> list[str]:
    return [unguard(row[0]) if row else "" for row in csv.reader(io.StringIO(raw.decode(), newline=""))][1:]


def xlsx_back(raw: bytes) -> list[Any]:
    page = openpyxl.load_workbook(io.BytesIO(raw))["Data"]
    return [page.cell(row, 1) for row in range(2, page.max_row + 1)]


def held(cell: Any) -> str:
    """A cell's text as Excel shows it."""
    return "" if cell.value is None else unescape(str(cell.value))


def test_csv_keeps_numbers_whole_and_undefined_ones_empty() -> None:
    rows = list(csv.reader(io.StringIO(written(sheet([ROW, NOTHING]), "csv").decode())))
    assert rows[0] == [column.name for column in COLUMNS]
    assert rows[1] == [
        "ada", "3", "0.30000000000000004", "2026-03-29T03:00:00+02:00", "2026-03-29", "18446744073709551615", "true",
    ]  # fmt: skip
    assert rows[2] == [""] * len(COLUMNS)


def test_csv_tells_an_empty_text_from_none() -> None:
    assert written(texts(["", None]), "csv").decode().splitlines() == ["user", '""', ""]


@pytest.mark.parametrize("text", HOSTILE)
def test_csv_text_comes_back_and_starts_no_formula(text: str) -> None:
    raw = written(texts([text]), "csv")
    assert csv_back(raw) == [text]
    cell = next(iter(list(csv.reader(io.StringIO(raw.decode(), newline="")))[1:]))[0]
    assert not cell.lstrip(" \t\r\n\ufeff\u202e\x01").startswith(tuple("=+-@＝"))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40), min_size=1))
@settings(deadline=None, max_examples=200)
def test_any_text_comes_back_from_csv(values: list[str]) -> None:
    assert csv_back(written(texts(list(values)), "csv")) == values


@given(st.text())
def test_guarding_can_be_undone_and_is_the_same_for_one_and_for_many(text: str) -> None:
    assert unguard(guard(text)) == text
    if not any(0xD800 <= ord(c) < 0xE000 for c in text):
        assert guard_all(pa.array([text])).to_pylist() == [guard(text)]


def test_negative_numbers_are_not_guarded() -> None:
    assert written(sheet([(-5,)], (Column("n", "whole"),)), "csv") == b"n\n-5\n"


def test_json_has_ids_as_texts_and_null_for_what_is_undefined() -> None:
    made = sheet([ROW, ("b", 1, float("nan"), None, None, None, None)], totals={"jobs": 4, "cpu_hours": None})
    found = json.loads(written(made, "json"))
    assert found["rows"][0] == {
        "user": "ada", "jobs": 3, "cpu_hours": 0.1 + 0.2, "start_s": "2026-03-29T03:00:00+02:00", "day": "2026-03-29",
        "db_inx": "18446744073709551615", "gone": True,
    }  # fmt: skip
    assert found["rows"][1]["cpu_hours"] is None
    assert found["title"] == "Usage of <b>March</b>"
    assert found["columns"][2]["note"].startswith("CPUs")
    assert found["totals"] == {"jobs": 4, "cpu_hours": None}


def test_an_empty_table_is_a_whole_file_in_every_format() -> None:
    assert json.loads(written(sheet([]), "json"))["rows"] == []
    assert written(sheet([]), "csv").decode() == ",".join(c.name for c in COLUMNS) + "\n"
    assert pq.read_table(io.BytesIO(written(sheet([]), "parquet"))).num_rows == 0
    assert xlsx_back(written(sheet([]), "xlsx")) == []


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40)))
@settings(deadline=None)
def test_any_text_comes_back_from_json_and_parquet(values: list[str]) -> None:
    assert [row["user"] for row in json.loads(written(texts(list(values)), "json"))["rows"]] == values
    assert pq.read_table(io.BytesIO(written(texts(list(values)), "parquet")))["user"].to_pylist() == values


def test_parquet_is_typed_and_says_what_it_is() -> None:
    table = pq.read_table(io.BytesIO(written(sheet([ROW, NOTHING]), "parquet")))
    assert table.schema.field("start_s").type.tz == ZONE
    assert table.to_pylist()[0] == {
        "user": "ada", "jobs": 3, "cpu_hours": 0.1 + 0.2, "start_s": datetime(2026, 3, 29, 3, tzinfo=ZoneInfo(ZONE)),
        "day": date(2026, 3, 29), "db_inx": 2**64 - 1, "gone": True,
    }  # fmt: skip
    assert json.loads(table.schema.metadata[b"carme"])["title"] == "Usage of <b>March</b>"
    assert table.schema.field("cpu_hours").metadata[b"note"].startswith(b"CPUs")


def test_xlsx_is_typed_and_its_header_stays_in_sight() -> None:
    book = openpyxl.load_workbook(io.BytesIO(written(sheet([ROW, NOTHING]), "xlsx")))
    page = book["Data"]
    assert [cell.value for cell in page[1]] == [column.name for column in COLUMNS]
    assert [cell.value for cell in page[2]] == [
        "ada", 3, 0.1 + 0.2, datetime(2026, 3, 29, 3), datetime(2026, 3, 29), "18446744073709551615", True,
    ]  # fmt: skip
    assert [cell.value for cell in page[3]] == [None] * len(COLUMNS)
    assert [page["B2"].number_format, page["D2"].number_format] == ["#,##0", "yyyy-mm-dd hh:mm:ss"]
    assert page.freeze_panes == "A2"


def test_xlsx_has_a_sheet_that_says_how_the_figures_are_made() -> None:
    made = sheet([ROW], question="CPU hours by user", scope="all jobs", notes=("2 jobs are running",))
    page = openpyxl.load_workbook(io.BytesIO(written(made, "xlsx")))["Method"]
    said = {str(row[0].value): [cell.value for cell in row[1:]] for row in page.iter_rows() if row[0].value}
    assert said["Question"][0] == "CPU hours by user"
    assert said["Whose jobs"][0] == "all jobs"
    assert said["Time zone"][0] == ZONE
    assert said["cpu_hours"] == ["CPU hours (h)", "CPUs × seconds, clipped to the window."]
    assert page["A1"].value == "Usage of <b>March</b>"


@pytest.mark.parametrize("text", HOSTILE)
def test_xlsx_text_comes_back_as_a_text(text: str) -> None:
    cell = xlsx_back(written(texts([text, "end"]), "xlsx"))[0]
    assert (held(cell), cell.data_type in ("s", "n")) == (text, True)
    assert cell.number_format == "@"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=20))
@settings(deadline=None, max_examples=60)
def test_any_text_comes_back_from_xlsx(values: list[str]) -> None:
    cells = xlsx_back(written(texts([*values, "end"]), "xlsx"))
    assert [held(cell) for cell in cells[:-1]] == values
    assert all(cell.data_type != "f" for cell in cells)


def test_xlsx_holds_no_formula_at_all() -> None:
    with zipfile.ZipFile(io.BytesIO(written(texts(list(HOSTILE)), "xlsx"))) as book:
        assert b"<f>" not in book.read("xl/worksheets/sheet1.xml")


def test_xlsx_goes_on_in_the_next_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx_format, "SHEET_ROWS", 4)
    made = sheet([(number,) for number in range(10)], (Column("n", "whole"),))
    book = openpyxl.load_workbook(io.BytesIO(written(made, "xlsx")))
    assert book.sheetnames == ["Data", "Data 2", "Data 3", "Method"]
    found = [[cell.value for cell in book[name]["A"]] for name in book.sheetnames[:3]]
    assert found == [["n", 0, 1, 2, 3], ["n", 4, 5, 6, 7], ["n", 8, 9]]


def test_xlsx_writes_whole_numbers_beyond_a_double_as_texts() -> None:
    made = sheet([(2**53 + 1,)], (Column("n", "whole"),))
    assert xlsx_back(written(made, "xlsx"))[0].value == str(2**53 + 1)


def test_xlsx_cuts_a_text_that_no_cell_holds() -> None:
    value = xlsx_back(written(texts(["x" * 40_000]), "xlsx"))[0].value
    assert (len(value), value[-1]) == (32_767, "…")


def test_rows_that_are_not_what_the_sheet_says_are_refused() -> None:
    made = sheet([ROW])
    with pytest.raises(WrongColumns):
        written(Sheet(title="x", columns=COLUMNS[:2], rows=made.rows), "csv")


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(UnknownFormat, match="exe"):
        written(sheet([ROW]), "exe")


def test_columns_know_what_they_hold_by_type_and_name() -> None:
    assert column_kind("start_s", pa.int64()) == "time"
    assert column_kind("suspended_s", pa.int64()) == "whole"
    assert column_kind("db_inx", pa.uint64()) == "id"
    assert column_kind("user", pa.dictionary(pa.int32(), pa.string())) == "text"
    assert column_kind("day", pa.string()) == "day"


@given(st.text(max_size=200))
def test_a_file_name_is_no_path_and_no_header(title: str) -> None:
    name = file_name(title, "csv", dated="2026-03")
    assert name.isascii()
    assert all(c.isalnum() or c in "-_." for c in name)
    assert not name.startswith((".", "-"))
    assert name.endswith("-2026-03.csv")


def test_every_format_has_a_type() -> None:
    assert set(FORMATS) == {"csv", "xlsx", "parquet", "json", "pdf"}
    assert all("/" in kind.media_type for kind in FORMATS.values())
