"""An answer of the usage engine as a sheet: its columns with their titles and method notes, and what was asked."""

from __future__ import annotations

from dataclasses import dataclass

from backend.accounting.exports.sheet import Chart, ChartKind, Column, Kind, Sheet, column_kind, reader
from backend.accounting.usage import CATALOGUE, TIME, Answer, Question, Scope

MOST_NAMED = 5  # values of a filter, or accounts of a scope, that are told by name


@dataclass(frozen=True)
class Made:
    """What an answer does not tell about the file it becomes."""

    title: str
    scope: Scope
    made_s: int
    chart: ChartKind = "bars"
    most_rows: int | None = None


def sheet_of(answer: Answer, made: Made) -> Sheet:
    """The answer's table with everything needed to read it. Can be written once; call again for another format."""
    question = answer.question
    return Sheet(
        title=made.title,
        columns=tuple(_column(answer, name) for name in answer.table.column_names),
        rows=reader(answer.table),
        question=in_words(question),
        since_s=question.since_s,
        until_s=question.until_s,
        zone=question.zone,
        scope=scope_in_words(made.scope),
        as_of_s=answer.as_of_s,
        made_s=made.made_s,
        totals={name: answer.totals.get(name) for name in question.metrics},
        notes=answer.notes,
        chart=chart_of(question, made.chart),
        most_rows=made.most_rows,
    )


def _column(answer: Answer, name: str) -> Column:
    kind = column_kind(name, answer.table.schema.field(name).type)
    if name in answer.question.metrics:
        metric = CATALOGUE.metric(name)
        shown: Kind = "share" if metric.unit == "%" else kind
        unit = "" if metric.unit in ("%", "count") else metric.unit
        return Column(name, shown, metric.title, unit, answer.methods.get(name, metric.method))
    return Column(name, kind, CATALOGUE.dimension(name).title)


def chart_of(question: Question, kind: ChartKind) -> Chart | None:
    """The first metric along time, else along the first dimension; the next dimension splits it."""
    if kind == "none" or not question.by:
        return None
    along = next((name for name in question.by if name in TIME), question.by[0])
    rest = [name for name in question.by if name != along]
    additive = CATALOGUE.metric(question.metrics[0]).additive
    return Chart(kind if additive else "lines", along, question.metrics[0], rest[0] if rest else "")


def in_words(question: Question) -> str:
    """`CPU hours and jobs by day and user; account: physics`."""
    words = _and([CATALOGUE.metric(name).title for name in question.metrics])
    if question.by:
        words += " by " + _and([CATALOGUE.dimension(name).title.lower() for name in question.by])
    for name, values in question.where:
        named = _listed([value or "none" for value in values])
        words += f"; {CATALOGUE.dimension(name, 'where').title.lower()}: {named}"
    if question.definitions == "xdmod":
        words += "; as Open XDMoD counts"
    if question.limit is not None:
        words += f"; at most {question.limit:,} rows"
    return words


def scope_in_words(scope: Scope) -> str:
    """Whose jobs the rows may be of."""
    if scope.everything:
        return "All jobs"
    words = f"Jobs of {scope.user}" if scope.user else "No jobs"
    if scope.accounts:
        words += f", and all jobs of the accounts {_listed(sorted(scope.accounts))}"
    return words


def _listed(values: list[str]) -> str:
    shown = ", ".join(values[:MOST_NAMED])
    return shown if len(values) <= MOST_NAMED else f"{shown} and {len(values) - MOST_NAMED} more"


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
