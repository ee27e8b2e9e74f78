"""An answer as what the embed's page shows: a chart where the report has one, and the same figures as a table."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from backend.accounting.embeds import Embed, Figures
from backend.accounting.embeds.service import MOST_ROWS
from backend.accounting.exports import in_words
from backend.accounting.usage import CATALOGUE, Answer, Question
from pages.parts.charts import Look, NothingToDraw, build
from pages.parts.charts.amounts import amount
from pages.parts.charts.groups import called

WIDTHS = (360, 560, 900, 1300)  # pixels for which charts are laid out; what lies between is stretched


@dataclass(frozen=True)
class EmbedLook:
    dark: bool = False
    width: int = WIDTHS[2]


def drawn(embed: Embed, figures: Figures, look: EmbedLook) -> bytes:
    """JSON; every text in it is plain text, for text nodes."""
    answer = figures.answer
    notes = list(answer.notes)
    if figures.cut:
        notes.append(f"Only the first {MOST_ROWS:,} rows are shown.")
    said: dict[str, Any] = {
        "title": embed.title,
        "live": embed.live,
        "asked": in_words(replace(answer.question, limit=asked_limit(answer.question))),
        "window": window(answer),
        "as_of": moment(answer.as_of_s, answer.question.zone),
        "made": None if embed.live else moment(embed.created_s, answer.question.zone),
        "totals": totals(answer),
        "methods": [{"name": CATALOGUE.metric(name).title, "note": note} for name, note in answer.methods.items()],
        "chart": chart(embed, answer, look, notes),
        "table": table(answer),
        "notes": notes,
    }
    return json.dumps(said, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def chart(embed: Embed, answer: Answer, look: EmbedLook, notes: list[str]) -> dict[str, Any] | None:
    """The chart as its builder describes it; None, and a note why, where there is nothing to draw."""
    if not embed.chart:
        return None
    try:
        return build(embed.chart, answer, Look(dark=look.dark, width=look.width, alone=True)).message()
    except NothingToDraw as error:
        notes.append(str(error))
        return None


def asked_limit(question: Question) -> int | None:
    """The report's own limit; a figure's is no part of what was asked."""
    return question.limit if question.limit is not None and question.limit < MOST_ROWS else None


def table(answer: Answer) -> dict[str, Any]:
    """`heads`: title and whether it holds numbers; `rows` of texts."""
    question = answer.question
    heads = [[CATALOGUE.dimension(name).title, False] for name in question.by]
    heads += [[CATALOGUE.metric(name).title, True] for name in question.metrics]
    rows = []
    for row in answer.table.to_pylist():
        cells = [called(name, row[name]) for name in question.by]
        cells += [amount(row[name], name) for name in question.metrics]
        rows.append(cells)
    return {"heads": heads, "rows": rows}


def totals(answer: Answer) -> list[dict[str, str]]:
    """Each metric over the whole window."""
    found = answer.totals.items()
    return [{"name": CATALOGUE.metric(name).title, "text": amount(value, name)} for name, value in found]


def window(answer: Answer) -> str:
    """In words: 1 Nov 2026 – 30 Nov 2026 (Europe/Berlin), or with hours where it begins or ends within a day."""
    zone = ZoneInfo(answer.question.zone)
    since = datetime.fromtimestamp(answer.question.since_s, zone)
    until = datetime.fromtimestamp(answer.question.until_s, zone)
    if any(each.hour or each.minute or each.second for each in (since, until)):
        return f"{_day(since)} {since:%H:%M} – {_day(until)} {until:%H:%M} ({zone.key})"
    last = datetime.fromtimestamp(answer.question.until_s - 1, zone)
    days = _day(since) if last.date() == since.date() else f"{_day(since)} – {_day(last)}"
    return f"{days} ({zone.key})"


def moment(at_s: int | None, zone: str) -> str | None:
    if at_s is None:
        return None
    at = datetime.fromtimestamp(at_s, ZoneInfo(zone))
    return f"{_day(at)} {at:%H:%M}"


def _day(at: datetime) -> str:
    return f"{at.day} {at:%b %Y}"
