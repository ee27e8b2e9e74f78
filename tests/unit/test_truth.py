"""Slurm's tools are read as they print, and every difference between them and the console has its name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.accounting.model import JOBS, SUSPENDS
from backend.accounting.truth import assocs, comparison, idle, ours, sacct, sreport
from backend.accounting.truth.figures import Cell, Owner, total
from backend.accounting.truth.window import Window, closed_part, month_before, month_of, month_window
from backend.accounting.usage import Usage
from backend.accounting.warehouse import Warehouse
from backend.cluster.slurm import Commands, Marks
from tests.bench._jobs import CLUSTER, job_tables
from tests.unit.usage_kit import job, suspended

HOUR = 3600
MARKS = Marks("<mark>", "\n")


def cpu(account: str, user: str = "") -> Cell:
    return Cell(account, user, "cpu")


# -- windows -------------------------------------------------------------------------------------------------


def test_a_month_is_the_zones() -> None:
    window = month_window("2026-03", "Europe/Berlin")
    assert window.since_s == datetime(2026, 2, 28, 23, tzinfo=UTC).timestamp()
    assert window.until_s == datetime(2026, 3, 31, 22, tzinfo=UTC).timestamp()
    assert window.clock == "UTC"


def test_a_zone_whose_hours_are_not_utcs_is_asked_in_its_own() -> None:
    window = month_window("2026-03", "Asia/Kolkata")
    assert window.clock == "Asia/Kolkata"
    asked = sreport.arguments("c", window, window.clock)
    assert "start=2026-03-01T00:00:00" in asked
    assert "end=2026-04-01T00:00:00" in asked


@pytest.mark.parametrize("word", ["2026-13", "2026-1", "2026-00", "26-01", "", "2026-01-01", "２０２６-01"])
def test_what_is_no_month_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="no month"):
        month_window(word, "UTC")


@given(
    st.integers(1990, 2099),
    st.integers(1, 12),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
)
def test_months_follow_each_other_without_gap(year: int, number: int, zone: str) -> None:
    month = f"{year}-{number:02}"
    assert month_window(month_before(month), zone).until_s == month_window(month, zone).since_s
    assert month_of(month_window(month, zone).since_s, zone) == month


@given(st.integers(0, 40 * 24 * HOUR))
def test_a_month_is_compared_in_whole_hours_and_never_beyond_what_is_rolled_up(later: int) -> None:
    whole = month_window("2026-02", "Asia/Kolkata")
    part = closed_part(whole, whole.since_s + later)
    assert (part.until_s - part.since_s) % HOUR == 0
    assert part.until_s <= min(whole.since_s + later, whole.until_s)
    assert part.until_s > min(whole.since_s + later, whole.until_s) - HOUR


def test_days_of_a_window_are_all_of_it() -> None:
    window = Window(10 * HOUR, 71 * HOUR)
    days = list(window.days())
    assert [day.since_s for day in days[1:]] == [day.until_s for day in days[:-1]]
    assert (days[0].since_s, days[-1].until_s) == (window.since_s, window.until_s)


# -- sreport, sacctmgr ---------------------------------------------------------------------------------------


def test_sreports_lines_are_users_and_accounts_with_all_below() -> None:
    report = sreport.parse("c|physics||cpu|30\nc|astro|ada|cpu|10\nc|astro|ada|mem|7\nother|astro|ada|cpu|99\n", "c")
    assert report.figures == {cpu("physics"): 30, cpu("astro", "ada"): 10, Cell("astro", "ada", "mem"): 7}


def test_a_user_with_associations_by_partition_is_summed() -> None:
    assert sreport.parse("c|a|ada|cpu|10\nc|a|ada|cpu|5\n", "c").figures == {cpu("a", "ada"): 15}


def test_gpus_tracked_by_type_only_are_summed() -> None:
    gpu = Cell("a", "ada", "gres/gpu")
    assert sreport.parse("c|a|ada|gres/gpu:a100|10\nc|a|ada|gres/gpu:h100|5\n", "c").figures == {gpu: 15}
    both = sreport.parse("c|a|ada|gres/gpu:a100|10\nc|a|ada|gres/gpu|12\n", "c")
    assert both.figures == {gpu: 12}


@given(st.text())
def test_whatever_sreport_prints_is_figures_or_problems(output: str) -> None:
    report = sreport.parse(output, "c")
    assert len(report.figures) + len(report.problems) <= len(output.splitlines())


def test_a_line_of_another_shape_is_told_not_guessed() -> None:
    report = sreport.parse("c|a|b|c|cpu|10\n", "c")
    assert report.figures == {}
    assert "makes no sense" in report.problems[0]


def test_associations_tell_owners_and_the_tree() -> None:
    found = assocs.parse("1|root||\n3|physics||root\n5|astro||physics\n8|astro|ada|\n")
    assert found.owners[8] == Owner("astro", "ada")
    assert found.owners[5] == Owner("astro")
    assert found.parents == {"root": "", "physics": "root", "astro": "physics"}


def test_an_account_has_all_below_it_and_a_tree_that_bites_its_tail_ends() -> None:
    parents = {"astro": "physics", "physics": "root", "root": ""}
    assert total({cpu("astro", "ada"): 5, cpu("physics"): 2}, parents) == {
        cpu("astro", "ada"): 5, cpu("astro"): 5, cpu("physics"): 7, cpu("root"): 7,
    }  # fmt: skip
    assert total({cpu("a", "x"): 1}, {"a": "b", "b": "a"}) == {cpu("a", "x"): 1, cpu("a"): 1, cpu("b"): 1}


# -- sacct ---------------------------------------------------------------------------------------------------


def answer(*rows: tuple[object, ...]) -> bytes:
    return b"".join(b"".join(str(field).encode() + MARKS.field.encode() for field in row) + b"\n" for row in rows)


WINDOW = Window(1_010_000, 1_020_000)
ALLOC = "billing=4,cpu=4,gres/gpu:a100=1,gres/gpu=1,mem=8000M,node=1"


def test_sacct_rows_are_elapsed_seconds_by_tres_and_what_was_suspended() -> None:
    rows = sacct.parse([answer((3, 1, 1_010_000, 1_013_000, 2_900, "astro", "ada", ALLOC))], MARKS, WINDOW)
    assert rows.figures[cpu("astro", "ada")] == 4 * 2_900
    assert rows.figures[Cell("astro", "ada", "mem")] == 8_000 * 2_900
    assert rows.suspended[cpu("astro", "ada")] == 4 * 100


def test_a_job_that_starts_behind_the_window_has_no_part_in_it() -> None:
    # sacct cuts its end to the window and subtracts: an elapsed time near 2**32
    rows = sacct.parse([answer((3, 1, 1_100_000, 1_020_000, 2**32 - 80_000, "astro", "ada", ALLOC))], MARKS, WINDOW)
    assert rows.figures == {}
    assert rows.rows == 1


def test_pending_and_zero_length_rows_add_nothing() -> None:
    rows = sacct.parse(
        [answer((1, 1, "Unknown", "Unknown", 0, "a", "u", ""), (2, 1, 1_010_500, 1_010_500, 0, "a", "u", ALLOC))],
        MARKS,
        WINDOW,
    )
    assert (rows.figures, rows.rows, rows.problems) == ({}, 2, ())


@given(st.lists(st.integers(1, 40)))
def test_sacct_may_come_in_pieces_of_any_size(cuts: list[int]) -> None:
    text = answer(*((n, 1, 1_010_000, 1_010_000 + n, n, "astro", "ada|bob\n", ALLOC) for n in range(1, 6)))
    pieces, rest = [], text
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    assert sacct.parse([*pieces, rest], MARKS, WINDOW) == sacct.parse([text], MARKS, WINDOW)


@given(st.binary())
def test_whatever_sacct_prints_never_raises(output: bytes) -> None:
    sacct.parse([output], MARKS, WINDOW)


def test_an_answer_that_ends_in_the_middle_is_a_problem() -> None:
    rows = sacct.parse([answer((3, 1, 1_010_000, 1_013_000, 3_000, "astro", "ada", ALLOC))[:-20]], MARKS, WINDOW)
    assert rows.rows == 0
    assert "in the middle" in rows.problems[0]


# -- idle reservations ---------------------------------------------------------------------------------------

OWNERS = {5: Owner("astro"), 6: Owner("particle"), 8: Owner("astro", "ada")}
DAY = Window(0, 24 * HOUR)


def reservation(start_s: int, end_s: int | None, cpus: int, *numbers: str) -> idle.Reservation:
    return idle.Reservation("lab", start_s, end_s, [("cpu", cpus), ("node", 1)], numbers)


def test_an_idle_reservation_is_shared_by_its_associations_each_hours_remainder_dropped() -> None:
    found = idle.idle([reservation(HOUR - 1, 2 * HOUR, 5, "5", "6", "8")], [], OWNERS, DAY)
    share = 5 * 1 // 3 + 5 * HOUR // 3
    assert found == {cpu("astro"): share, cpu("particle"): share, cpu("astro", "ada"): share}


def test_a_job_counts_for_the_whole_reservation_while_it_runs() -> None:
    jobs = [idle.ReservedJob("lab", 100, 700, frozenset({"cpu"}))]
    assert idle.idle([reservation(0, HOUR, 64, "6")], jobs, OWNERS, DAY) == {cpu("particle"): 64 * (HOUR - 600)}


def test_jobs_of_other_reservations_and_beyond_its_end_do_not_count() -> None:
    jobs = [
        idle.ReservedJob("else", 0, HOUR, frozenset({"cpu"})),
        idle.ReservedJob("lab", HOUR - 10, 9 * HOUR, frozenset({"cpu"})),
    ]
    found = idle.idle([reservation(0, HOUR, 2, "6")], jobs, OWNERS, DAY)
    assert found == {cpu("particle"): 2 * (HOUR - 10)}


def test_an_hour_that_is_more_than_used_gives_nothing_back() -> None:
    jobs = [idle.ReservedJob("lab", 0, HOUR, frozenset({"cpu"})) for _ in range(3)]
    found = idle.idle([reservation(0, 2 * HOUR, 2, "6")], jobs, OWNERS, DAY)
    assert found == {cpu("particle"): 2 * HOUR}


def test_a_reservation_for_nobody_known_is_charged_to_nobody() -> None:
    assert idle.idle([reservation(0, HOUR, 2), reservation(0, HOUR, 2, "77", "-5")], [], OWNERS, DAY) == {}


@given(st.integers(0, 30 * HOUR), st.integers(1, 30 * HOUR), st.integers(1, 100), st.integers(0, 23))
def test_idle_time_adds_up_over_adjacent_windows(start_s: int, length_s: int, cpus: int, cut: int) -> None:
    spans = [reservation(start_s, start_s + length_s, cpus, "5", "6")]
    jobs = [idle.ReservedJob("lab", start_s + 5, start_s + length_s // 2, frozenset({"cpu"}))]
    halves = [
        idle.idle(spans, jobs, OWNERS, window) for window in (Window(0, cut * HOUR), Window(cut * HOUR, 24 * HOUR))
    ]
    summed = {cell: sum(half.get(cell, 0) for half in halves) for cell in (cpu("astro"), cpu("particle"))}
    together = idle.idle(spans, jobs, OWNERS, DAY)
    assert summed == {cell: together.get(cell, 0) for cell in summed}


# -- the comparison ------------------------------------------------------------------------------------------


class Printed(Commands):
    """Commands whose answers are given: what Slurm printed for these jobs."""

    answers: dict[str, str]

    def stream(self, name: str, *arguments: str):  # type: ignore[no-untyped-def]
        text = _ANSWERS[name]
        if name == "sacct":
            mark = next(word.partition("=")[2] for word in arguments if word.startswith("--delimiter="))
            text = text.replace("|", mark)
        yield text.encode()


_ANSWERS: dict[str, str] = {}
MONTH = month_window("2026-03", "UTC")
TREE = "1|root||\n3|physics||root\n8|physics|ada|\n"


def compared(
    folder: Path, jobs: list[dict[str, object]], held: list[dict[str, object]], **printed: str
) -> comparison.Comparison:
    with Warehouse.write(folder, "UTC") as writer:
        writer.upsert(pa.Table.from_pylist(jobs, schema=JOBS), pa.Table.from_pylist(held, schema=SUSPENDS), cluster="c")
        writer.put_table("c", "capacity", pa.table({
            "hour_s": [MONTH.until_s - HOUR], "tres": ["cpu"],
            **{name: [0] for name in ("count", "alloc_s", "down_s", "planned_down_s", "idle_s", "planned_s", "over_s")},
        }))  # fmt: skip
        writer.set_state("c", source="slurmdbd", synced_s=MONTH.until_s + 60)
        writer.commit()
    warehouse = Warehouse(folder)
    _ANSWERS.update({"sacctmgr": TREE, "sreport": "", "sacct": "", **printed})
    return comparison.compare(Printed(None, None, 5.0), warehouse, Usage(warehouse, "UTC"), "c", "2026-03", "UTC")


def line(found: comparison.Comparison, user: str = "ada", tres: str = "cpu") -> comparison.Line:
    return next(each for each in found.lines if (each.account, each.user, each.tres) == ("physics", user, tres))


def run(job_id: int, begin: int, length: int, **more: object) -> dict[str, object]:
    return job(job_id, MONTH.since_s + begin, MONTH.since_s + begin + length, mem_mb=0, billing=0, nodes=0, **more)


def lines_of(figure: int) -> str:
    return f"c|root||cpu|{figure}\nc|physics||cpu|{figure}\nc|physics|ada|cpu|{figure}\n"


def sacct_row(number: int, begin: int, length: int, elapsed: int) -> str:
    start = MONTH.since_s + begin
    return f"{number}|{start}|{start}|{start + length}|{elapsed}|physics|ada|cpu=1|\n"


def test_the_same_figures_agree(tmp_path: Path) -> None:
    found = compared(tmp_path, [run(1, 10, 100)], [], sreport=lines_of(100), sacct=sacct_row(1, 10, 100, 100))
    # The answer is the same for each day that is asked: cut to the day, it counts on the first only
    assert found.agrees
    assert line(found).sreport == comparison.Beside(100)


def test_one_second_without_a_reason_is_enough_to_part(tmp_path: Path) -> None:
    found = compared(tmp_path, [run(1, 10, 100)], [], sreport=lines_of(101), sacct=sacct_row(1, 10, 100, 100))
    assert not found.agrees
    assert line(found).sreport == comparison.Beside(101, {}, 1)
    assert line(found).sacct.rest == 0


def test_imported_rows_are_named_in_both(tmp_path: Path) -> None:
    rows = [run(1, 10, 100), run(2, 10, 50, source="sacct")]
    found = compared(tmp_path, rows, [], sreport=lines_of(100), sacct=sacct_row(1, 10, 100, 100))
    assert found.agrees
    assert line(found).console == 150
    assert line(found).sreport.parts == line(found).sacct.parts == {"imported": -50}


def test_purged_rows_are_missed_by_sacct_alone(tmp_path: Path) -> None:
    found = compared(tmp_path, [run(1, 10, 100, gone=True)], [], sreport=lines_of(100))
    assert found.agrees
    assert line(found).sreport.parts == {}
    assert line(found).sacct.parts == {"gone": -100}


def test_suspended_time_is_out_of_cpus_and_for_other_tres_out_of_sacct_only(tmp_path: Path) -> None:
    row = run(1, 10, 100, gpus=2, suspended_s=40)
    held = suspended(row, (MONTH.since_s + 20, MONTH.since_s + 60))
    gpu = lines_of(200).replace("cpu", "gres/gpu")
    found = compared(
        tmp_path, [row], held, sreport=lines_of(60) + gpu,
        sacct=sacct_row(1, 10, 100, 60).replace("cpu=1", "cpu=1,gres/gpu=2"),
    )  # fmt: skip
    assert found.agrees
    assert line(found).sacct.parts == {}
    assert line(found, tres="gres/gpu").sacct.parts == {"suspended": -80}


def test_a_requeued_attempt_is_what_xdmod_leaves_out(tmp_path: Path) -> None:
    row = run(1, 10, 100, state="REQUEUED")
    found = compared(tmp_path, [row], [], sreport=lines_of(100), sacct=sacct_row(1, 10, 100, 100))
    assert line(found).xdmod == comparison.Beside(0, {"requeued": -100})


def test_a_cluster_that_is_not_slurmdbds_has_nothing_to_compare(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    with pytest.raises(comparison.NothingToCompare, match="do not come from slurmdbd"):
        comparison.known_part(warehouse, "c", MONTH)


def test_an_hour_not_rolled_up_is_not_compared(tmp_path: Path) -> None:
    with Warehouse.write(tmp_path, "UTC") as writer:
        writer.upsert(pa.Table.from_pylist([run(1, 10, 100)], schema=JOBS), None, cluster="c")
        writer.set_state("c", source="slurmdbd", synced_s=MONTH.until_s)
        writer.commit()
    with pytest.raises(comparison.NothingToCompare, match="not rolled up"):
        comparison.known_part(Warehouse(tmp_path), "c", MONTH)


def test_the_parts_are_the_engines_figures_computed_another_way(tmp_path: Path) -> None:
    row = run(1, -50, 100, gpus=1, suspended_s=30)
    with Warehouse.write(tmp_path, "UTC") as writer:
        held = suspended(row, (MONTH.since_s - 10, MONTH.since_s + 20))
        writer.upsert(
            pa.Table.from_pylist([row], schema=JOBS), pa.Table.from_pylist(held, schema=SUSPENDS), cluster="c"
        )
        writer.commit()
    warehouse = Warehouse(tmp_path)
    window = Window(MONTH.since_s, MONTH.until_s)
    parts = ours.parts(warehouse, "c", window)
    assert parts.everything == ours.figures(Usage(warehouse, "UTC"), "c", window, "UTC")
    assert parts.everything[cpu("physics", "ada")] == 30
    assert parts.suspended[cpu("physics", "ada")] == 20


def test_many_jobs_of_four_years_are_the_same_counted_both_ways(tmp_path: Path) -> None:
    with Warehouse.write(tmp_path, "Europe/Berlin") as writer:
        for table in job_tables(12_000):
            writer.upsert(table, None, cluster=CLUSTER)
        writer.commit()
    warehouse = Warehouse(tmp_path)
    usage = Usage(warehouse, "Europe/Berlin")
    for month, zone in (("2024-03", "Europe/Berlin"), ("2024-10", "Asia/Kolkata"), ("2025-02", "UTC")):
        window = month_window(month, zone)
        parts = ours.parts(warehouse, CLUSTER, window)
        assert len(parts.everything) > 30
        assert parts.everything == ours.figures(usage, CLUSTER, window, zone)
