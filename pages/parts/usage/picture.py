"""One view as a picture: the chart with its table twin, the breakdown below it, and what there is to know about it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.accounting.usage import CATALOGUE, Answer, Scope, Usage
from pages.parts import charts
from pages.parts.charts import amounts, capacity
from pages.parts.charts.chart import named
from pages.parts.charts.groups import Value, called
from pages.parts.charts.look import Look
from pages.parts.topics import Message
from pages.parts.usage import windows
from pages.parts.usage.view import View
from pages.parts.usage.windows import Window

MOST_HOURS_DAYS = 800  # of the week's chart: more hours than that nobody waits for
RUNNING = "still run"  # in the engine's note of jobs that are counted so far
ROWS = 15  # of the breakdown; more when asked for
MOST_ROWS = 2000
FIGURES = ("cpu_hours", "gpu_hours", "jobs", "wait_median_s", "cpu_efficiency")


@dataclass(frozen=True)
class Asker:
    """A view with what it is asked of: the engine, whose jobs, and the moment."""

    usage: Usage
    scope: Scope
    view: View
    window: Window
    seen_s: int | None  # until when the accounts are known
    oldest_s: int | None = None  # the earliest submission they hold
    narrowed: bool = False  # to the person's own jobs, by choice

    def ask(self, metrics: Sequence[str], by: Sequence[str] = ()) -> Answer:
        question = self.view.question(self.window, tuple(dict.fromkeys(metrics)), tuple(by))
        return self.usage.ask(question, self.scope)

    def ask_before(self, metrics: Sequence[str], by: Sequence[str] = ()) -> Answer:
        """The same of the period before, as far as it is comparable."""
        since_s, until_s = windows.before(self.window, self.seen_s)
        window = Window(since_s, until_s, "", self.window.zone)
        question = self.view.question(window, tuple(dict.fromkeys(metrics)), tuple(by))
        return self.usage.ask(question, self.scope)

    @property
    def comparable(self) -> bool:
        """Whether the accounts reach back to the beginning of the period before."""
        return self.oldest_s is None or windows.before(self.window, self.seen_s)[0] >= self.oldest_s

    @property
    def metric(self) -> str:
        """What the chart is about: two of them have a subject of their own."""
        return {"wait": "wait_median_s", "capacity": "utilisation"}.get(self.view.chart, self.view.metric)

    @property
    def grain(self) -> str:
        return self.view.grain or windows.grain(self.window)


def picture(asker: Asker, look: Look) -> Message:
    """The chart and the breakdown as JSON values; `chart.refused` says why there is none. Raises BadQuestion."""
    view = asker.view
    answers: list[Answer] = []
    try:
        chart = _chart(asker, look, answers).message()
        about = answers[0] if answers else asker.ask((asker.metric,))
    except charts.NothingToDraw as nothing:
        about = asker.ask((asker.metric,))
        chart = {"kind": view.chart, "refused": _why(asker, str(nothing), about)}
    return {
        "chart": chart,
        "title": title(asker),
        "breakdown": breakdown(asker) if view.chart in ("time", "rank") and view.by else None,
        "notes": list(dict.fromkeys(note for answer in answers for note in answer.notes)),
        "methods": explained(about.methods),
        "as_of_s": about.as_of_s,
        "as_of": _as_of(about.as_of_s, view.zone),
        "words": words(asker),
        "took_s": round(sum(answer.took_s for answer in answers), 3),
        "grain": asker.grain,
    }


def _why(asker: Asker, nothing: str, about: Answer) -> str:
    """Of accounts that end before the window, as after an import, that is the reason; of a metric that nobody has
    measured, this."""
    if asker.seen_s is None or asker.seen_s > asker.window.since_s:
        reasons = [note for note in about.notes if RUNNING not in note]
        return " ".join(reasons) if about.totals.get(asker.metric) is None and reasons else nothing
    last = charts.buckets.local(asker.seen_s, asker.view.zone)
    return f"The accounts end on {last.day} {last:%b %Y}, before this window begins."


def _as_of(seen_s: int | None, zone: str) -> str:
    """14:03:22, with its day when that is another one than today's."""
    if seen_s is None:
        return ""
    seen, now = charts.buckets.local(seen_s, zone), charts.buckets.local(int(time.time()), zone)
    day = "" if seen.date() == now.date() else f"{seen.day} {seen:%b %Y}, "
    return f"{day}{seen:%H:%M:%S}"


def asks(asker: Asker) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The metrics and dimensions whose answer holds what the view shows: for files and for other doors."""
    view = asker.view
    by = {
        "time": (asker.grain, view.by), "rank": (view.by,), "week": ("hour",), "wait": ("job_size",),
        "tree": ("account",), "capacity": (asker.grain,),
    }[view.chart]  # fmt: skip
    metrics = tuple(charts.WAIT_METRICS) if view.chart == "wait" else (asker.metric,)
    return metrics, tuple(name for name in by if name)


def words(asker: Asker) -> list[list[str]]:
    """The question as the command line, REST and downloads take it: names and values, some of them repeated."""
    view, window = asker.view, asker.window
    metrics, by = asks(asker)
    pairs = [
        ["since", f"@{window.since_s}"],
        ["until", f"@{window.until_s}"],
        ["metric", ",".join(metrics)],
        ["by", ",".join(by)],
        ["tz", view.zone],
        ["definitions", view.definitions],
    ]
    pairs += [["where", f"{name}={value}"] for name, values in view.where for value in values]
    if asker.narrowed and asker.scope.user:
        pairs.append(["where", f"user={asker.scope.user}"])
    return pairs


def title(asker: Asker) -> str:
    """The question in words: GPU hours by user, 24 Oct – 22 Nov 2026."""
    view = asker.view
    metric = CATALOGUE.metric(view.metric).title
    by = f" by {dimension_title(view.by)}" if view.by else ""
    words = {
        "time": f"{metric}{by}",
        "rank": f"{metric}{by}",
        "week": f"{metric} by hour of the week",
        "wait": "Wait by size of job",
        "tree": f"{metric} by account, as a tree",
        "capacity": "Utilisation of the cluster",
    }[view.chart]
    return f"{words}, {asker.window.words()}"


def dimension_title(name: str) -> str:
    title = CATALOGUE.dimension(name).title
    return title if title.isupper() or title[:2].isupper() else title[0].lower() + title[1:]


def _chart(asker: Asker, look: Look, answers: list[Answer]) -> charts.Chart:
    view = asker.view
    match view.chart:
        case "time":
            by = (asker.grain, view.by) if view.by else (asker.grain,)
            answer = asker.ask((view.metric,) if amounts.stacks(view.metric) else (view.metric, "jobs"), by)
            answers.append(answer)
            return charts.build(
                "time", answer, look, before=_before_in_time(asker) if view.compare and asker.comparable else ()
            )
        case "rank":
            if not view.by:
                raise charts.NothingToDraw("Choose what to rank by.")
            answer = asker.ask((view.metric,), (view.by,))
            answers.append(answer)
            return charts.build(
                "rank", answer, look, before=_before_by(asker, view.by) if view.compare and asker.comparable else None
            )
        case "week":
            if asker.window.days > MOST_HOURS_DAYS:
                raise charts.NothingToDraw("The window is too long to look at every hour of it: two years at most.")
            answers.append(asker.ask((view.metric,), ("hour",)))
            return charts.build("week", answers[0], look)
        case "wait":
            answers.append(asker.ask(charts.WAIT_METRICS, ("job_size",)))
            return charts.build("wait", answers[0], look)
        case "tree":
            answers.append(asker.ask((view.metric,), ("account",)))
            return charts.build("tree", answers[0], look, parents=parents(asker))
        case _:
            return _capacity(asker, look)


def _before_in_time(asker: Asker) -> list[float | None]:
    """The totals of the period before, one for each of its buckets."""
    metric, grain = asker.view.metric, asker.grain
    since_s, until_s = windows.before(asker.window, asker.seen_s)
    found = {row[grain]: row[metric] for row in asker.ask_before((metric,), (grain,)).table.to_pylist()}
    pieces = charts.buckets.of(grain, asker.view.zone, since_s, until_s)
    return [float(found.get(piece.label) or 0) for piece in pieces]


def _before_by(asker: Asker, dimension: str) -> dict[Value, float | None]:
    metric = asker.view.metric
    return {row[dimension]: row[metric] for row in asker.ask_before((metric,), (dimension,)).table.to_pylist()}


def parents(asker: Asker) -> dict[str, str | None]:
    """Each account's parent, of any cluster."""
    with asker.usage.warehouse.cursor() as con:
        return dict(con.execute("SELECT name, parent FROM accounts ORDER BY deleted DESC").fetchall())


def _capacity(asker: Asker, look: Look) -> charts.Chart:
    view, window = asker.view, asker.window
    gpu = view.metric in ("gpu_hours", "gpu_utilisation")
    table = asker.usage.capacity(
        window.since_s,
        window.until_s,
        asker.grain,
        tres="gres/gpu" if gpu else "cpu",
        zone=view.zone,
        clusters=dict(view.where).get("cluster", ()),
    )
    pieces = [
        capacity.Piece(row[asker.grain], {name: float(row[name] or 0) for name, _ in capacity.PARTS})
        for row in table.to_pylist()
    ]
    record = capacity.Record(
        pieces,
        asker.grain,
        view.zone,
        window.since_s,
        window.until_s,
        tres="GPU" if gpu else "CPU",
        seen_s=asker.seen_s,
    )
    return capacity.capacity(record, look)


# -- the breakdown -------------------------------------------------------------------------------------------


def breakdown(asker: Asker) -> Message:
    """A row for each value of the dimension: figure, share, change, jobs, efficiency; sorted and cut as asked."""
    view = asker.view
    metric, by = view.metric, view.by
    metrics = tuple(dict.fromkeys((metric, "jobs", "cpu_efficiency")))
    rows = asker.ask(metrics, (by,)).table.to_pylist()
    earlier = _before_by(asker, by) if asker.comparable else {}
    whole = sum(row[metric] or 0 for row in rows) if amounts.stacks(metric) else 0
    for row in rows:
        row["share"] = row[metric] / whole if whole and row[metric] is not None else None
        row["change"] = change(metric, row[metric], earlier.get(row[by]))
    columns = [by, metric, *(["share"] if whole else []), *(["change"] if asker.comparable else []), *metrics[1:]]
    sort = view.sort if view.sort.removeprefix("-") in columns else f"-{metric}"
    _sort(rows, sort.removeprefix("-"), sort.startswith("-"))
    shown = rows[: MOST_ROWS if view.every else ROWS]
    return {
        "columns": [[name, _head(name, by), name != by] for name in columns],
        "sort": sort,
        "rows": [
            {
                "name": called(by, row[by]),
                "value": "" if row[by] is None else str(row[by]),
                "cells": [_cell(name, row[name], row[metric] if name == "change" else None) for name in columns[1:]],
                "cell": named({by: row[by]}) if row[metric] else None,
            }
            for row in shown
        ],
        "hidden": len(rows) - len(shown),
        "count": len(rows),
    }


def _sort(rows: list[dict[str, Any]], name: str, descending: bool) -> None:
    """What is unknown comes last either way."""
    known = [row for row in rows if row[name] is not None]
    unknown = [row for row in rows if row[name] is None]
    if known and isinstance(known[0][name], str):
        known.sort(key=lambda row: str(row[name]).casefold(), reverse=descending)
    else:
        known.sort(key=lambda row: row[name], reverse=descending)
    rows[:] = known + unknown


def _head(name: str, by: str) -> str:
    if name == by:
        return CATALOGUE.dimension(by).title
    return {"share": "Share", "change": "Change"}.get(name) or CATALOGUE.metric(name).title


def _cell(name: str, value: float | None, of: float | None) -> str:
    if name == "share":
        return amounts.NONE if value is None else f"{100 * value:.1f} %"
    if name == "change":
        return change_words(value) if value is not None else "new" if of else amounts.NONE
    return amounts.amount(value, name)


def change(metric: str, now: float | None, before: float | None) -> float | None:
    """As a share of what was before; of shares, their difference."""
    if now is None or before is None or not math.isfinite(now) or not math.isfinite(before):
        return None
    if amounts.shape(metric) == "share":
        return now - before
    return amounts.change(now, before)


def change_words(value: float) -> str:
    """+12 %, −3 %, ×14."""
    if abs(value) < 0.005:
        return "±0 %"
    if value >= 9.995:
        return f"×{value + 1:.0f}"
    return f"{'+' if value > 0 else '−'}{abs(100 * value):.0f} %"


# -- the big figures -----------------------------------------------------------------------------------------


def figures(asker: Asker) -> Message:
    """The view's metric and a few others over the whole window, with their change against the period before."""
    names = tuple(dict.fromkeys((asker.metric, *FIGURES)))[:5]
    now = asker.ask(names)
    before = asker.ask_before(names).totals if asker.comparable else {}
    found = []
    for name in names:
        value = now.totals[name]
        if name != asker.metric and not value:
            continue  # a cluster without GPUs needs no zero of them
        metric = CATALOGUE.metric(name)
        grown = change(name, value, before.get(name))
        found.append(
            {
                "name": name,
                "title": metric.title,
                "text": amounts.amount(value, name),
                "exact": None if value is None else repr(value),
                "before": amounts.amount(before.get(name), name),
                "change": None if grown is None else _points(name, grown),
                "up": None if grown is None or abs(grown) < 0.005 else grown > 0,
                "method": now.methods[name],
            }
        )
    return {
        "main": asker.metric,
        "figures": found,
        "against": windows.before_words(asker.window, asker.seen_s, asker.oldest_s),
        "notes": list(now.notes),
        "so_far": any(RUNNING in note for note in now.notes),
    }


def _points(metric: str, grown: float) -> str:
    if amounts.shape(metric) != "share":
        return change_words(grown)
    return f"{'+' if grown >= 0 else '−'}{abs(100 * grown):.1f} points"


def explained(methods: Mapping[str, str]) -> list[list[str]]:
    """Titles and method notes."""
    return [[CATALOGUE.metric(name).title, note] for name, note in methods.items()]
