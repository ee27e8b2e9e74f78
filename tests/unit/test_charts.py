"""Charts of answers: the marks add up to the figures, names stay text, every figure stands in the table twin."""

from __future__ import annotations

import json
import math
from typing import Any

import pyarrow as pa
import pytest
from bokeh.models import ColumnDataSource, CustomJS
from bokeh.models.annotations import BoxAnnotation
from hypothesis import given
from hypothesis import strategies as st

from backend.accounting.usage import Answer, Question
from pages.parts.charts import BELOW, REST, Chart, Look, NothingToDraw, amounts, buckets, build
from pages.parts.charts.capacity import Piece, Record, capacity
from pages.parts.charts.look import SERIES, ink_on
from pages.parts.charts.tree import Area, grow, squarify
from tests.unit.usage_kit import at

HOSTILE = "<img src=x onerror=alert(1)>\"'`&lt;\u2028\u202eada"
SINCE, UNTIL = at("2026-03-02T00:00"), at("2026-03-05T00:00")  # Monday to Wednesday
DAYS = ("2026-03-02", "2026-03-03", "2026-03-04")


def answer(
    by: tuple[str, ...], rows: list[dict[str, Any]], seen: int | None = UNTIL, window: tuple[int, int] = (SINCE, UNTIL)
) -> Answer:
    metrics = tuple(name for name in rows[0] if name not in by) if rows else ("cpu_hours",)
    table = pa.Table.from_pylist(rows) if rows else pa.table({name: [] for name in (*by, *metrics)})
    question = Question(metrics, *window, by=by, zone="UTC")
    return Answer(question, table, {}, {}, as_of_s=seen)


def by_user(people: int = 12) -> list[dict[str, Any]]:
    return [
        {"day": day, "user": f"user{n:02d}", "cpu_hours": float((n + 1) * (d + 1))}
        for d, day in enumerate(DAYS)
        for n in range(people)
    ]


def marks(chart: Chart) -> dict[str, Any]:
    source = chart.figure.select_one({"type": ColumnDataSource, "name": "marks"})
    assert isinstance(source, ColumnDataSource)
    return dict(source.data)


def cells(chart: Chart) -> list[dict[str, Any]]:
    return [json.loads(cell) for cell in marks(chart)["cell"]]


# -- over time -----------------------------------------------------------------------------------------------


def test_the_stack_of_a_day_is_as_high_as_its_sum() -> None:
    data = marks(build("time", answer(("day", "user"), by_user()), Look()))
    for place, day in enumerate(DAYS):
        tops = [top for left, top in zip(data["left"], data["top"], strict=True) if round(left + 0.41) == place]
        assert max(tops) == sum(row["cpu_hours"] for row in by_user() if row["day"] == day)


def test_the_largest_have_colours_and_the_others_are_drawn_together() -> None:
    chart = build("time", answer(("day", "user"), by_user()), Look())
    assert [key.name for key in chart.legend] == [f"user{n:02d}" for n in range(11, 11 - SERIES, -1)] + ["4 others"]
    tops, bottoms = marks(chart)["top"], marks(chart)["bottom"]
    rest = [place for place, cell in enumerate(cells(chart)) if cell["user"] == REST]
    assert sum(tops[place] - bottoms[place] for place in rest) == sum(
        row["cpu_hours"] for row in by_user() if row["user"] < "user04"
    )
    assert len({key.colour for key in chart.legend}) == SERIES + 1


def test_the_twin_of_a_stack_holds_the_same_sum() -> None:
    chart = build("time", answer(("day", "user"), by_user()), Look())
    assert sum(row[-1].value for row in chart.twin.rows) == sum(row["cpu_hours"] for row in by_user())  # type: ignore[misc]
    assert chart.twin.heads[-1] == ("All", True)


def test_days_without_jobs_are_there_and_empty() -> None:
    chart = build("time", answer(("day",), [{"day": DAYS[2], "cpu_hours": 3.0}]), Look())
    assert [row[1].text for row in chart.twin.rows] == ["0", "0", "3.00"]


def test_a_mean_is_a_line_and_has_no_others() -> None:
    rows = [{**row, "cpu_efficiency": 0.5, "jobs": 1} for row in by_user()]
    rows = [{name: row[name] for name in ("day", "user", "cpu_efficiency", "jobs")} for row in rows]
    chart = build("time", answer(("day", "user"), rows), Look())
    assert "top" not in marks(chart)
    assert all(cell["user"] != REST for cell in cells(chart))


def test_what_has_not_happened_yet_is_no_zero() -> None:
    half = build("time", answer(("day",), [{"day": DAYS[0], "cpu_hours": 3.0}], seen=SINCE + 3600), Look())
    assert "so far" in marks(half)["tip_body"][0]
    assert list(half.figure.select({"type": BoxAnnotation}))


def test_a_week_that_began_before_the_window_says_from_when() -> None:
    window = (at("2026-03-04T00:00"), at("2026-03-12T00:00"))
    chart = build("time", answer(("week",), [{"week": "2026-W10", "cpu_hours": 1.0}], window=window), Look())
    assert "from 4 Mar" in chart.twin.rows[0][0].text


def test_the_period_before_is_a_line_as_high_as_it_was() -> None:
    chart = build("time", answer(("day", "user"), by_user(2)), Look(), before=[1000.0, None, 5.0])
    assert chart.figure.y_range.end >= 1000
    assert chart.legend[-1].dashed
    assert [row[-1].value for row in chart.twin.rows] == [1000.0, None, 5.0]


@pytest.mark.parametrize("kind", ["time", "rank", "week", "wait", "tree"])
def test_an_empty_answer_says_so(kind: str) -> None:
    by = {"time": ("day", "user"), "week": ("hour",), "wait": ("job_size",), "tree": ("account",)}.get(kind, ("user",))
    with pytest.raises(NothingToDraw):
        build(kind, answer(by, []), Look())


def test_a_name_is_text_whatever_is_in_it() -> None:
    for kind, by in (("time", ("day", "user")), ("rank", ("user",)), ("tree", ("account",))):
        row = {"day": DAYS[0], "user": HOSTILE, "account": HOSTILE, "cpu_hours": 1.0}
        chart = build(kind, answer(by, [{name: row[name] for name in (*by, "cpu_hours")}]), Look())
        assert HOSTILE in chart.message()["twin"]["heads"][1][0] + str(chart.twin.rows[0][0].text)
        assert HOSTILE in marks(chart)["tip_head"][0]
        assert not list(chart.figure.select({"type": CustomJS}))


def test_a_chart_brings_no_models_of_other_packages() -> None:
    message = build("time", answer(("day", "user"), by_user()), Look()).message()
    assert message["item"]["doc"]["defs"] == []
    assert len(json.dumps(message, allow_nan=False)) < 60_000


# -- the others ----------------------------------------------------------------------------------------------


def test_a_ranking_is_ordered_and_its_others_add_up() -> None:
    rows = [{"user": f"u{n:02d}", "cpu_hours": float(n + 1)} for n in range(30)]
    data = marks(build("rank", answer(("user",), rows), Look()))
    assert list(data["value"][:3]) == [30.0, 29.0, 28.0]
    assert sum(data["value"]) == sum(row["cpu_hours"] for row in rows)
    assert json.loads(data["cell"][-1]) == {"user": REST}


def test_a_ranking_shows_what_was_before() -> None:
    chart = build("rank", answer(("user",), [{"user": "ada", "cpu_hours": 3.0}]), Look(), before={"ada": 2.0})
    assert [cell.text for cell in chart.twin.rows[0]][-2:] == ["2.00", "+50 %"]


def test_an_hour_of_the_week_is_the_mean_of_those_that_were() -> None:
    rows = [{"hour": f"2026-03-0{day}T08:00+00:00", "cpu_hours": 6.0} for day in (2, 9)]
    window = (at("2026-03-02T00:00"), at("2026-03-17T00:00"))  # three Mondays, the third without a job
    chart = build("week", answer(("hour",), rows, window=window, seen=window[1]), Look())
    place = cells(chart).index({"weekday": 0, "hour_of_day": 8})
    assert marks(chart)["tip_head"][place] == "Monday 08:00–09:00 · 4.00"
    assert chart.twin.rows[8][1].value == 4.0
    assert marks(chart)["tip_body"][place] == "mean of 3 such hours"


def test_hours_that_are_still_to_come_dont_lower_the_mean() -> None:
    rows = [{"hour": "2026-03-02T08:00+00:00", "cpu_hours": 6.0}]
    window = (at("2026-03-02T00:00"), at("2026-03-17T00:00"))
    chart = build("week", answer(("hour",), rows, window=window, seen=at("2026-03-03T00:00")), Look())
    assert chart.twin.rows[8][1].value == 6.0
    assert chart.twin.rows[8][2].value is None


def test_what_cant_be_added_up_is_refused_with_a_reason() -> None:
    for kind, by in (("week", ("hour",)), ("tree", ("account",))):
        with pytest.raises(NothingToDraw, match="added up"):
            build(kind, answer(by, [{by[0]: "x", "cpu_efficiency": 0.5}]), Look())


def test_waits_are_drawn_from_the_median_to_the_ninetieth() -> None:
    rows = [
        {"job_size": size, "wait_median_s": 0.0, "wait_p90_s": 600.0 * n, "jobs_started": n}
        for n, size in ((2, "513+"), (1, "3-4"), (3, "1"))
    ]
    chart = build("wait", answer(("job_size",), rows), Look())
    assert [row[0].text for row in chart.twin.rows] == ["1", "3-4", "513+"]
    assert list(marks(chart)["median"]) == [1.0, 1.0, 1.0]  # a logarithm knows no zero


def test_the_tree_is_as_large_as_its_parts_and_leaves_the_root_out() -> None:
    parents = {"physics": "root", "astro": "physics", "bio": "root", "root": None}
    rows = [{"account": name, "cpu_hours": value} for name, value in (("astro", 4.0), ("physics", 1.0), ("bio", 5.0))]
    chart = build("tree", answer(("account",), rows), Look(), parents=parents)
    table = {row[0].text.strip(): row for row in chart.twin.rows}
    assert table["physics"][1].value == 5.0
    assert table["physics"][1].place == {"account": "physics", BELOW: 1}
    assert table["physics"][2].value == 1.0
    assert "root" not in table


def test_accounts_that_are_each_others_parents_end_somewhere() -> None:
    roots = grow({"a": 1.0, "b": 2.0}, {"a": "b", "b": "a"})
    assert sum(node.whole for node in roots) == 3.0


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=40), st.floats(50, 2000), st.floats(50, 2000))
def test_a_treemap_fills_its_place_in_proportion(weights: list[float], width: float, height: float) -> None:
    weights.sort(reverse=True)
    found = squarify(weights, Area(0, 0, width, height))
    whole = sum(weights)
    for area, weight in zip(found, weights, strict=True):
        assert math.isclose(area.width * area.height, weight / whole * width * height, rel_tol=1e-6, abs_tol=1e-3)
        assert area.x >= -1e-6 and area.y >= -1e-6
        assert area.x + area.width <= width * (1 + 1e-6) and area.y + area.height <= height * (1 + 1e-6)


def test_the_cluster_is_full_at_a_hundred_percent() -> None:
    pieces = [Piece(day, {"allocated": 60.0, "idle": 20.0, "down": 20.0}) for day in DAYS[:2]]
    chart = capacity(Record(pieces, "day", "UTC", SINCE, UNTIL, "CPU", UNTIL), Look())
    assert max(marks(chart)["top"]) == pytest.approx(100)
    assert [key.name for key in chart.legend] == ["allocated 60.0 %", "idle 20.0 %", "down 20.0 %"]
    assert [cell.text for cell in chart.twin.rows[2][1:]] == ["–", "–", "–", "–"]


# -- how figures are written ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (None, "cpu_hours", "–"), (float("nan"), "cpu_hours", "–"), (0, "cpu_hours", "0"),
        (1234567.8, "cpu_hours", "1,234,568"),
        (123.44, "gpu_hours", "123.4"), (0.00042, "gpu_hours", "0.00042"), (0.731, "cpu_efficiency", "73.1 %"),
        (1234.0, "jobs", "1,234"), (12000.0, "wait_median_s", "3 h 20 min"), (0.4, "wait_p90_s", "0 s"),
    ],
)  # fmt: skip
def test_a_figure_has_as_many_digits_as_say_something(value: float | None, metric: str, text: str) -> None:
    assert amounts.amount(value, metric) == text


@given(st.floats(1e-6, 1e12), st.sampled_from(["cpu_hours", "jobs", "wait_median_s", "cpu_efficiency"]))
def test_an_axis_reaches_over_what_it_shows(top: float, metric: str) -> None:
    places, names, end = amounts.ticks(top, metric)
    assert end >= top * (1 - 1e-9)
    assert 2 <= len(places) <= 8
    assert places[0] == 0 and set(names) == set(places)


@given(st.integers(0, 0xFFFFFF))
def test_words_on_a_tile_can_be_read(colour: int) -> None:
    def luminance(hex_colour: str) -> float:
        parts = [int(hex_colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    ground = f"#{colour:06x}"
    lighter, darker = sorted((luminance(ground), luminance(ink_on(ground))), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.0


@pytest.mark.parametrize("grain", buckets.GRAINS)
def test_an_axis_of_time_has_as_many_labels_as_fit(grain: str) -> None:
    days = {"hour": 3, "day": 95, "week": 600, "month": 1500, "quarter": 3000, "year": 9000}[grain]
    pieces = buckets.of(grain, "Europe/Berlin", SINCE, SINCE + days * 86400)
    found = buckets.labels(grain, [piece.from_s for piece in pieces], "Europe/Berlin", 9)
    assert 1 <= len(found) <= 9 or grain == "year"


def test_waits_of_seconds_and_of_days_are_told_apart() -> None:
    rows = [
        {"day": day, "wait_median_s": wait, "jobs": 1} for day, wait in zip(DAYS, (0.0, 5.0, 90_000.0), strict=True)
    ]
    chart = build("time", answer(("day",), rows), Look())
    assert list(marks(chart)["y"]) == [1.0, 5.0, 90_000.0]
    assert "logarithmic" in chart.notes[0]
    assert [row[1].text for row in chart.twin.rows] == ["0 s", "5 s", "25 h"]
