"""How long jobs wait by their size: from the median to what nine of ten don't exceed."""

from __future__ import annotations

import re
from typing import Any

from bokeh.models import ColumnDataSource

from backend.accounting.usage import Answer
from pages.parts.charts.amounts import log_marks, span
from pages.parts.charts.chart import Cell, Chart, Key, NothingToDraw, Twin, blank, mark, named, touchable
from pages.parts.charts.groups import called
from pages.parts.charts.look import Look

METRICS = ("wait_median_s", "wait_p90_s", "jobs_started")


def waiting(answer: Answer, look: Look, title: str = "") -> Chart:
    """`answer` by one dimension, usually job_size, with the metrics of METRICS. Raises NothingToDraw."""
    dimension = answer.question.by[0]
    rows = [row for row in answer.table.to_pylist() if None not in (row["wait_median_s"], row["wait_p90_s"])]
    if not rows:
        raise NothingToDraw("No job started in this window, so none has waited.")
    rows.sort(key=lambda row: _size(row[dimension]))
    places, names, low, high = log_marks([row[name] for row in rows for name in METRICS[:2]])
    height = 290 if look.narrow else 330
    made = blank(look, height, (-0.6, len(rows) - 0.4), (low, high), y_axis_type="log")
    mark(made.yaxis[0], places, names)
    made.xaxis[0].axis_label = "Nodes of the job" if dimension == "job_size" else None
    mark(
        made.xaxis[0],
        [float(index) for index in range(len(rows))],
        {float(index): called(dimension, row[dimension]) for index, row in enumerate(rows)},
    )
    columns: dict[str, list[Any]] = {
        "x": list(range(len(rows))),
        "median": [max(1.0, row["wait_median_s"]) for row in rows],
        "p90": [max(1.0, row["wait_p90_s"]) for row in rows],
        "tip_head": [
            f"{_words(dimension, row[dimension])} · median {span(row['wait_median_s'])}, p90 {span(row['wait_p90_s'])}"
            for row in rows
        ],
        "tip_body": [f"{row.get('jobs_started') or 0:,} jobs started" for row in rows],
        "cell": [named({dimension: row[dimension]}) for row in rows],
    }
    source = ColumnDataSource(columns)
    width = min(0.5, 56 * len(rows) / max(look.width, 1))
    bars = made.vbar(
        x="x", bottom="median", top="p90", width=width, fill_color=look.accent, fill_alpha=0.28, line_color=None,
        source=source, hover_fill_color=look.accent, hover_fill_alpha=0.45,
    )  # fmt: skip
    made.scatter("x", "p90", source=source, marker="dash", size=22, line_color=look.accent, line_width=3)
    dots = made.scatter("x", "median", source=source, size=11, fill_color=look.accent, line_color=look.ground)
    touchable(made, source, look, bars, dots)
    slowest = max(rows, key=lambda row: row["wait_median_s"])
    return Chart(
        kind="wait",
        figure=made,
        height=height,
        name=f"Wait by size of job: the longest median is {span(slowest['wait_median_s'])}, of "
        f"{_words(dimension, slowest[dimension])}. The table holds every figure.",
        legend=(
            Key("half of the jobs wait no longer (dot)", look.accent),
            Key("nine of ten wait no longer (line)", look.accent, dashed=True),
        ),
        twin=Twin(
            (
                (dimension.replace("_", " ").capitalize(), False),
                ("Median wait", True),
                ("90 % wait at most", True),
                ("Jobs started", True),
            ),
            tuple(
                (
                    Cell(called(dimension, row[dimension]), _size(row[dimension])[0]),
                    Cell(span(row["wait_median_s"]), row["wait_median_s"], {dimension: row[dimension]}),
                    Cell(span(row["wait_p90_s"]), row["wait_p90_s"]),
                    Cell(f"{row.get('jobs_started') or 0:,}", row.get("jobs_started")),
                )
                for row in rows
            ),
        ),
        notes=("From eligible to start, of first attempts; the scale is logarithmic.",),
    )  # fmt: skip


def _size(value: object) -> tuple[int, str]:
    """1, 2, 3–4, …: by the first number."""
    found = re.search(r"\d+", str(value))
    return (int(found[0]) if found else 1 << 40, str(value))


def _words(dimension: str, value: str | int | None) -> str:
    return f"{value} node{'' if str(value) == '1' else 's'}" if dimension == "job_size" else called(dimension, value)
