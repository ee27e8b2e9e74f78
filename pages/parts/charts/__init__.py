"""Charts of answers: each kind one function from an answer of the usage engine and a look to a `Chart`.

Used by the usage page, by embeds and by reports: `build(kind, answer, look)`. A chart shows what the answer holds and
nothing else; where that is nothing it raises NothingToDraw, whose text is for the person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from backend.accounting.usage import CATALOGUE, Answer
from pages.parts.charts import buckets
from pages.parts.charts.chart import Cell, Chart, Key, NothingToDraw, Place, Twin
from pages.parts.charts.look import Look
from pages.parts.charts.over_time import REST, over_time
from pages.parts.charts.ranking import ranking
from pages.parts.charts.tree import BELOW, tree
from pages.parts.charts.waiting import METRICS as WAIT_METRICS
from pages.parts.charts.waiting import waiting
from pages.parts.charts.week import week

# What an answer must be by: "time" a grain and perhaps one dimension; "rank" and "wait" one dimension; "week" hour;
# "tree" account.
KINDS: Mapping[str, Callable[..., Chart]] = {
    "time": over_time,
    "rank": ranking,
    "week": week,
    "wait": waiting,
    "tree": tree,
}


def build(kind: str, answer: Answer, look: Look, **more: Any) -> Chart:
    """The chart of one of KINDS; `more` is what that kind takes beside the answer. Raises NothingToDraw."""
    title = more.pop("title", "") or CATALOGUE.metric(answer.question.metrics[0]).title
    return KINDS[kind](answer, look, title=title, **more)


__all__ = [
    "BELOW",
    "KINDS",
    "REST",
    "WAIT_METRICS",
    "Cell",
    "Chart",
    "Key",
    "Look",
    "NothingToDraw",
    "Place",
    "Twin",
    "buckets",
    "build",
]  # fmt: skip
