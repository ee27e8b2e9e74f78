"""Behind a mark or a cell: its jobs with what each contributes, or the smaller cells it is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from backend.accounting.usage import CATALOGUE, TIME, Answer, BadQuestion, Question
from backend.accounting.usage.terms.zones import Stretch
from pages.parts.charts import BELOW, REST, amounts, buckets
from pages.parts.charts.chart import named
from pages.parts.charts.groups import called, grouped, weights
from pages.parts.charts.look import SERIES
from pages.parts.charts.ranking import MOST as MOST_RANKED
from pages.parts.charts.week import DAYS
from pages.parts.desk import whole
from pages.parts.topics import Message
from pages.parts.usage.picture import Asker, dimension_title, parents

PAGE_ROWS = 50
MOST_PARTS = 1000
MOST_KEYS = 4
LONGEST = 300
Cell = dict[str, str | int | None]
FACTS = (
    "cluster", "job_id", "job_name", "user", "account", "partition", "state", "submit_s", "start_s", "end_s", "seen_s",
    "nodes", "cpus", "gpus", "gpu_type", "attempt", "array_job_id", "array_task_id", "node_list",
)  # fmt: skip
_OWN_KEYS = frozenset({BELOW, "weekday", "hour_of_day"})


def read_cell(text: str) -> Cell:
    """A cell's address as the charts write it. Raises BadQuestion."""
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        found = None
    dimensions = {each.name for each in CATALOGUE.dimensions}
    if (
        not isinstance(found, dict)
        or len(found) > MOST_KEYS
        or not set(found) <= dimensions | _OWN_KEYS
        or not all(_usable(name, value) for name, value in found.items())
    ):
        raise BadQuestion("cell", "There is no such mark in this chart.")
    return found


def _usable(name: str, value: object) -> bool:
    if name in _OWN_KEYS:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 24
    return value is None or (isinstance(value, str) and len(value) <= LONGEST and whole(value) and "\x00" not in value)


def drill(asker: Asker, cell: Cell, offset: int) -> Message:
    """The jobs of the cell, PAGE_ROWS from `offset` on; or its parts, each a cell of its own. Raises BadQuestion."""
    metric = asker.metric
    rest = next((name for name, value in cell.items() if value == REST), None)
    if rest is not None:
        return _others(asker, cell, rest, metric)
    if "weekday" in cell or "hour_of_day" in cell:
        return _hours(asker, cell, metric)
    return _jobs(asker, cell, metric, offset)


def heading(asker: Asker, cell: Mapping[str, str | int | None]) -> str:
    """The cell in words: ada · Tue 3 Nov 2026."""
    words = []
    for name, value in cell.items():
        if name in TIME:
            label = next((each for each in _pieces(asker, name) if each.label == value), None)
            words.append(buckets.name(name, label.from_s, asker.view.zone) if label else str(value))
        elif name == BELOW:
            words.append("with all below")
        elif name == "job_size":
            words.append(f"{value} node{'' if value == '1' else 's'}")
        elif name not in _OWN_KEYS:
            words.append(called(name, value) if value != REST else f"all other {dimension_title(name)}s")
    return " · ".join(words) or "All jobs"


def _pieces(asker: Asker, grain: str) -> Sequence[Stretch]:
    return buckets.of(grain, asker.view.zone, asker.window.since_s, asker.window.until_s)


# -- jobs ----------------------------------------------------------------------------------------------------


def _jobs(asker: Asker, cell: Cell, metric: str, offset: int) -> Message:
    question, exact = behind(asker, cell, metric)
    found = asker.usage.jobs(question, asker.scope, exact, order=f"-{metric}", limit=PAGE_ROWS, offset=offset)
    rows = found.table.to_pylist()
    total = found.sums.get(metric)
    return {
        "kind": "jobs",
        "heading": heading(asker, cell),
        "metric": CATALOGUE.metric(metric).title,
        "additive": CATALOGUE.metric(metric).additive,
        "total": amounts.amount(total, metric),
        "exact": None if total is None else repr(total),
        "rows": [_row(row, metric) for row in rows],
        "offset": offset,
        "count": found.total_rows,
        "method": asker.ask((metric,)).methods[metric],
    }


def behind(asker: Asker, cell: Cell, metric: str) -> tuple[Question, Cell]:
    """The question and the engine's cell whose jobs are those of a mark; a file of them asks the same."""
    if REST in cell.values() or {"weekday", "hour_of_day"} & set(cell):
        raise BadQuestion("cell", "That mark is several cells: open one of them.")
    exact = {name: value for name, value in cell.items() if name not in _OWN_KEYS}
    if BELOW in cell:
        exact.pop("account", None)
    return replace(_narrowed(asker, cell, metric), by=tuple(exact)), exact


def _narrowed(asker: Asker, cell: Cell, metric: str) -> Question:
    """The view's question; of an account with all below it, only these."""
    question = asker.view.question(asker.window, (metric,))
    if BELOW not in cell:
        return question
    answer = asker.ask((metric,), ("account",))
    names = sorted(_below(answer, parents(asker), cell.get("account")))
    kept = tuple(each for each in question.where if each[0] != "account")
    return replace(question, where=(*kept, ("account", tuple(names))))


def _below(answer: Answer, above: Mapping[str, str | None], account: str | int | None) -> set[str]:
    """The accounts of the answer that lie in this one's part of the tree, itself among them."""
    inside: set[str] = set()
    for name in answer.table["account"].to_pylist():
        at, seen = name, set()
        while at and at not in seen:
            if at == account:
                inside.add(name)
                break
            seen.add(at)
            at = above.get(at)
    if not inside:
        raise BadQuestion("cell", "There is no such mark in this chart.")
    return inside


def _row(row: Mapping[str, Any], metric: str) -> Message:
    value = row.get(metric)
    return {
        **{name: row.get(name) for name in FACTS},
        "contribution": amounts.amount(value, metric),
        "exact": None if value is None else repr(value),
    }


# -- parts ---------------------------------------------------------------------------------------------------


def _others(asker: Asker, cell: Cell, dimension: str, metric: str) -> Message:
    """Those that the chart draws together, each by itself."""
    kept = {name: value for name, value in cell.items() if name != dimension}
    grain = next((name for name in kept if name in TIME), "")
    by = (grain, dimension) if grain else (dimension,)
    most = MOST_RANKED if asker.view.chart == "rank" else SERIES
    # Who is among the others depends on the whole window, as in the chart.
    answer = asker.ask((metric,), (asker.grain, dimension) if most == SERIES else (dimension,))
    rows = [row for row in answer.table.to_pylist() if row[metric] is not None]
    top = set(grouped(weights(rows, dimension, metric), most).top)
    if most == MOST_RANKED:
        rows.sort(key=lambda row: (-row[metric], str(row[dimension])))
        top = {row[dimension] for row in rows[:MOST_RANKED]}
    shown = asker.ask((metric,), by).table.to_pylist()
    shown = [row for row in shown if row[dimension] not in top and row[metric] is not None]
    shown = [row for row in shown if all(row[name] == value for name, value in kept.items()) and row[metric] > 0]
    shown.sort(key=lambda row: -row[metric])
    parts = [
        [
            called(dimension, row[dimension]),
            amounts.amount(row[metric], metric),
            named({**kept, dimension: row[dimension]}),
        ]
        for row in shown
    ]
    head, total = CATALOGUE.dimension(dimension).title, sum(row[metric] for row in shown)
    return _parts(heading(asker, cell), metric, head, parts, total)


def _hours(asker: Asker, cell: Cell, metric: str) -> Message:
    """Every such hour of the week in the window."""
    weekday, hour = cell.get("weekday"), cell.get("hour_of_day")
    sums = {row["hour"]: row[metric] for row in asker.ask((metric,), ("hour",)).table.to_pylist()}
    parts, total = [], 0.0
    for piece in _pieces(asker, "hour"):
        moment = buckets.local(piece.from_s, asker.view.zone)
        if (moment.weekday(), moment.hour) != (weekday, hour) or not sums.get(piece.label):
            continue
        value = sums[piece.label]
        total += value
        words = f"{moment:%a} {moment.day} {moment:%b %Y}"
        parts.append([words, amounts.amount(value, metric), named({"hour": piece.label})])
    words = f"{DAYS[int(weekday or 0) % 7]}s, {int(hour or 0):02d}:00–{(int(hour or 0) + 1) % 24:02d}:00"
    return _parts(words, metric, "Day", parts, total)


def _parts(heading: str, metric: str, head: str, parts: list[list[str | None]], total: float) -> Message:
    return {
        "kind": "parts",
        "heading": heading,
        "metric": CATALOGUE.metric(metric).title,
        "head": head,
        "total": amounts.amount(total, metric),
        "exact": repr(total),
        "rows": parts[:MOST_PARTS],
        "count": len(parts),
        "method": CATALOGUE.metric(metric).method,
    }


__all__ = ["PAGE_ROWS", "drill", "heading", "read_cell"]
