"""A table on paper: everything is there to read, and whatever is drawn otherwise stands beside in the original."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader
from pypdf.generic import ContentStream

from backend.accounting.exports import Chart, Column, Sheet
from backend.accounting.exports.pdf import document
from backend.accounting.exports.pdf.chart import arranged, round_step
from backend.accounting.exports.pdf.script import set_text
from tests.unit.test_exports import COLUMNS, HOSTILE, ROW, sheet, texts, written


def pages(made: Sheet) -> PdfReader:
    return PdfReader(io.BytesIO(written(made, "pdf")))


def text_of(made: Sheet) -> str:
    return "\n".join(page.extract_text() for page in pages(made).pages)


def originals(reader: PdfReader) -> list[str]:
    """The ActualText of every span: what a reader copies instead of what is drawn."""
    found = []
    for page in reader.pages:
        for operands, operator in ContentStream(page.get_contents(), reader).operations:
            if operator == b"BDC" and "/ActualText" in operands[1]:
                raw = operands[1]["/ActualText"].original_bytes
                found.append(raw.removeprefix(b"\xfe\xff").decode("utf-16-be"))
    return found


def test_it_says_what_was_asked_of_whom_and_how_the_figures_are_made() -> None:
    said = text_of(sheet([ROW], question="CPU hours by user", scope="all jobs", notes=("2 jobs are running.",)))
    for words in (
        "Usage of <b>March</b>", "CPU hours by user", "all jobs", "Europe/Berlin", "2 jobs are running.",
        "CPUs × seconds, clipped to the window.", "2026-03-29 03:00:00", "0.30", "1 / 1",
    ):  # fmt: skip
        assert words in said


def test_pages_are_numbered_and_repeat_the_header() -> None:
    made = sheet([(f"user{number}",) for number in range(120)], (Column("user", "text", "Person"),))
    found = [page.extract_text() for page in pages(made).pages]
    assert len(found) > 1
    assert all("Person" in page and f"{number} / {len(found)}" in page for number, page in enumerate(found, 1))
    assert "user119" in found[-1]


def test_what_is_left_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MOST_ROWS", 10)
    made = sheet([(f"user{number}",) for number in range(20)], (Column("user", "text"),))
    said = text_of(made)
    assert "Only the first 10 rows" in said
    assert "user9" in said
    assert "user10" not in said


@pytest.mark.parametrize("text", [text for text in HOSTILE if text not in ("", " ")])
def test_a_text_of_any_kind_can_be_read_or_copied(text: str) -> None:
    reader = pages(texts([text]))
    assert text in originals(reader) or text in reader.pages[0].extract_text()


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
@settings(deadline=None, max_examples=60)
def test_any_text_makes_a_whole_page(text: str) -> None:
    drawn = set_text(text, 8)
    assert drawn.faithful or text in originals(pages(texts([text])))


def test_right_to_left_text_is_joined_and_in_reading_order() -> None:
    hebrew = set_text("שלום", 8)
    assert "".join(part for _, part in hebrew.pieces) == "םולש"
    assert "".join(part for _, part in set_text("שלום (a) 12", 8).pieces) == "12 (a) םולש"  # brackets are mirrored
    arabic = "".join(part for _, part in set_text("مرحبا", 8).pieces)
    assert all(0xFB50 <= ord(c) <= 0xFEFF for c in arabic)  # presentation forms: drawn joined


def test_east_asian_text_is_set_in_a_font_that_has_it() -> None:
    assert {name for name, _ in set_text("日本語 한국어 かな", 8).pieces} >= {"STSong-Light", "HYGothic-Medium"}
    assert "日本語" in text_of(texts(["日本語"]))


def test_a_long_text_is_cut_on_paper_and_whole_beside() -> None:
    reader = pages(texts(["word " * 100]))
    assert "word " * 100 in originals(reader)
    assert "…" in reader.pages[0].extract_text()


CHARTED = (Column("day", "day", "Day"), Column("user", "text", "User"), Column("cpu_hours", "number", "CPU hours", "h"))


def test_a_chart_over_time_shows_the_largest_and_sums_up_the_rest() -> None:
    rows: list[tuple[Any, ...]] = [
        (f"2026-03-{day:02}", f"u{user}", float(user)) for day in (1, 2) for user in range(12)
    ]
    table = pa.table({"day": [r[0] for r in rows], "user": [r[1] for r in rows], "cpu_hours": [r[2] for r in rows]})
    chart = Chart("bars", "day", "cpu_hours", "user")
    labels, series = arranged(table, chart)
    assert labels == ["2026-03-01", "2026-03-02"]
    assert [each.name for each in series][:2] == ["u11", "u10"]
    assert series[-1].name == "6 others"
    assert sum(each.values[0] or 0 for each in series) == sum(range(12))
    said = text_of(sheet(rows, CHARTED, chart=chart))
    assert "6 others" in said


def test_a_chart_along_names_is_a_ranking() -> None:
    table = pa.table({"user": ["a", "b", "c"], "cpu_hours": [1.0, 3.0, None]})
    labels, series = arranged(table, Chart("bars", "user", "cpu_hours"))
    assert (labels, series[0].values) == (["b", "a", "c"], (3.0, 1.0, 0.0))


@given(st.floats(1e-6, 1e15))
def test_an_axis_has_a_few_round_steps(highest: float) -> None:
    assert 0.9 <= highest / round_step(highest) <= 6.01


def test_a_wide_table_stays_on_the_page() -> None:
    wide = tuple(Column(f"column_{number}", "text") for number in range(30))
    reader = pages(sheet([tuple("a rather long text" for _ in wide)], wide))
    assert reader.pages[0].mediabox.width > reader.pages[0].mediabox.height
    assert len(COLUMNS) > document.MANY_COLUMNS
