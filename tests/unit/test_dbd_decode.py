"""Texts and numbers of slurmdbd taken apart, without a database."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backend.accounting.dbd.comparing import _due, month_span
from backend.accounting.dbd.cursor import Cursor
from backend.accounting.dbd.rows import reasons
from backend.accounting.dbd.rows.bulk import INT, TEXT, Field, _parse, text_of
from backend.accounting.dbd.rows.decode import state_name
from backend.accounting.dbd.rows.names import Lookup
from backend.accounting.dbd.rows.small import node_state
from backend.accounting.dbd.rows.tres import TresParser, parse
from backend.accounting.dbd.schema import quoted
from backend.checks.accounts import writing_grants

NAMES = {1: "cpu", 2: "mem", 3: "energy", 4: "node", 5: "billing", 1001: "gres/gpu", 1002: "gres/gpu:a100",
         1003: "gres/gpu:h100"}  # fmt: skip
LARGEST = 2**62 - 1


def test_tres_are_written_as_sacct_prints_them() -> None:
    text = parse("1=8,2=32768,3=12,4=1,5=8,1001=2,1002=2", NAMES).text
    assert text == "billing=8,cpu=8,gres/gpu:a100=2,gres/gpu=2,mem=32G,node=1"


AMOUNTS = [(1000, "1000M"), (1024, "1G"), (1536, "1536M"), (1 << 20, "1T"), (0, "0M")]
COUNT = st.integers(0, LARGEST)
ENERGY = st.one_of(st.none(), st.integers(0, 2**64 - 1))
NUMBER = st.one_of(st.none(), st.integers(-(2**62), 2**62))
BYTES = st.one_of(st.none(), st.binary(max_size=30))


@pytest.mark.parametrize(("memory", "shown"), AMOUNTS)
def test_memory_is_in_the_largest_exact_unit(memory: int, shown: str) -> None:
    assert parse(f"2={memory}", NAMES).text == f"mem={shown}"


def test_the_untyped_gpu_count_is_the_total() -> None:
    assert parse("1001=3,1002=2", NAMES).gpus == 3
    assert parse("1002=2,1003=1", NAMES).gpus == 3
    assert parse("1001=2", NAMES).gpu_type is None
    assert parse("1001=3,1002=2,1003=1", NAMES).gpu_type == "a100=2,h100=1"


def test_unknown_tres_keep_their_number() -> None:
    assert parse("1=1,1077=4", NAMES).text == "cpu=1,tres/1077=4"


@given(st.text(max_size=40))
@example("²=²")  # a digit to Python, but no number
def test_what_makes_no_sense_in_a_text_is_left_out(text: str) -> None:
    known = parse("1=4,2=100", NAMES)
    assert parse(f"1=4,2=100,x{text.replace(',', '')}", NAMES) == known
    assert parse(text, NAMES).cpus >= 0


@given(st.lists(st.tuples(COUNT, COUNT, COUNT, ENERGY), max_size=20))
def test_columns_say_what_each_text_says(rows: list[tuple[int, int, int, int | None]]) -> None:
    texts = [
        f"1={cpu},2={mem}" + (f",3={energy}" if energy is not None else "") + f",1001={gpus}"
        for cpu, mem, gpus, energy in rows
    ]
    columns = TresParser(NAMES).columns(pa.array(texts, pa.string()))
    assert columns.cpus.tolist() == [row[0] for row in rows]
    assert columns.mem_mb.to_pylist() == [row[1] for row in rows]
    assert columns.gpus.tolist() == [row[2] for row in rows]
    known = [row[3] if row[3] is not None and row[3] < 10**18 else None for row in rows]
    assert columns.energy_j.to_pylist() == known


def test_an_energy_at_the_front_leaves_no_trace() -> None:
    columns = TresParser(NAMES).columns(pa.array(["3=5,1=2", "", None]))
    assert columns.text.to_pylist() == ["cpu=2", "", ""]
    assert columns.empty.tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("number", "name"),
    [(0, "PENDING"), (11, "OUT_OF_MEMORY"), (12, "STATE 12"), (0x400, "REQUEUED"), (0x403, "REQUEUED"),
     (0x2000, "RESIZING"), (0x80004, "REVOKED"), (0x8003, "COMPLETED")],
)  # fmt: skip
def test_states(number: int, name: str) -> None:
    assert state_name(number) == name


def test_reasons_have_slurms_words() -> None:
    assert [reasons.word(number) for number in (0, 1, 3, 16, 34, 999)] == [
        None, "Priority", "Resources", "JobHeldUser", "reason 34", "reason 999",
    ]  # fmt: skip


def test_node_states_have_their_flags() -> None:
    assert node_state(2 | 1 << 9) == "IDLE+DRAIN"


def test_names_may_repeat_and_be_absent() -> None:
    lookup = Lookup({3: "ada", 9: "ada", 4: None, 2**32 - 2: "bob"})
    column = lookup.column(np.array([9, 3, 4, 5, 2**32 - 2], np.int64))
    assert column.to_pylist() == ["ada", "ada", None, None, "bob"]
    assert column.dictionary.to_pylist() == ["ada", "bob"]
    assert lookup.unknown(np.array([3, 5, 4])) == [5]


@given(st.lists(st.tuples(NUMBER, BYTES), min_size=1, max_size=20))
def test_lines_with_any_bytes_are_parsed_back(rows: list[tuple[int | None, bytes | None]]) -> None:
    lines = [
        ("" if number is None else str(number)).encode()
        + b","
        + (b"" if text is None else b'"' + text.replace(b'"', b'""') + b'"')
        for number, text in rows
    ]
    table = _parse(b"\n".join(lines), [Field("number", "", INT), Field("text", "", TEXT)])
    assert list(zip(table["number"].to_pylist(), table["text"].to_pylist(), strict=True)) == rows


def test_bytes_that_are_no_utf8_are_latin1() -> None:
    assert text_of(pa.array([b"caf\xe9", "café".encode(), None])).to_pylist() == ["café", "café", None]


def test_identifiers_are_quoted() -> None:
    assert quoted("my-cluster`; drop_job_table") == "`my-cluster``; drop_job_table`"


def test_a_month_is_half_open() -> None:
    begin, end = month_span("2026-12")
    assert month_span("2027-01")[0] == end
    assert end - begin == 31 * 86_400


def test_months_take_turns_and_the_oldest_is_always_looked_at() -> None:
    months = ["2026-01", "2026-02", "2026-03"]
    assert _due(months, "") == ["2026-01", "2026-02"]
    assert _due(months, "2026-02") == ["2026-01", "2026-03"]
    assert _due(months, "2026-03") == ["2026-01", "2026-02"]
    assert _due([], "") == []


def test_the_cursor_of_another_release_is_understood() -> None:
    cursor = Cursor(loaded=True, key=2**63, runaway_jobs=(1, 2))
    assert Cursor.of({**cursor.kept(), "later": 1}) == cursor
    assert Cursor.of({}) == Cursor()


def test_grants_beyond_reading_are_named() -> None:
    assert writing_grants(["GRANT USAGE ON *.* TO `a`@`b`", "GRANT SELECT ON `d`.* TO `a`@`b`"]) == ""
    assert writing_grants(["GRANT SELECT, INSERT, DROP ON `d`.* TO `a`@`b`"]) == "DROP, INSERT"
    assert writing_grants(["GRANT ALL PRIVILEGES ON *.* TO `root`@`b`"]) == "ALL PRIVILEGES"
