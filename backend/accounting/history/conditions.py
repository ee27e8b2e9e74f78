"""The filters of a question as SQL with parameters; no text that was asked for is ever part of the statement."""

from __future__ import annotations

from typing import Any

from backend.accounting.history.question import Cursor, HistoryQuestion, Range
from backend.accounting.usage.figures.atoms import Sql, quoted
from backend.accounting.usage.figures.filters import AccountTree, filter_condition, scope_condition
from backend.accounting.usage.terms.question import Scope

FAR_S = 2**62  # where an open job's end is: after all others

# As the usage engine has it: a row that ended before it began has not run; a running one is known until it was seen.
_STOP = "coalesce(end_s, greatest(start_s, seen_s))"
WALL = f"CASE WHEN start_s IS NOT NULL THEN greatest(0, {_STOP} - start_s) END"
_CPU_HAD = f"(cpus::BIGINT * greatest(0, {_STOP} - start_s - coalesce(suspended_s, 0)))"
CPU_PERCENT = f"CASE WHEN end_s IS NOT NULL AND {_CPU_HAD} > 0 THEN 100 * cpu_used_s / {_CPU_HAD} END"
WAIT = "CASE WHEN eligible_s > 0 AND start_s IS NOT NULL THEN greatest(0, start_s - eligible_s) END"
# MaxRSS is of one task, so it is held against what the job had on one node.
MEMORY_PERCENT = "CASE WHEN mem_mb > 0 THEN 100 * mem_peak_mb * greatest(nodes, 1) / mem_mb END"

WORKED_OUT = {
    "wall_s": f"({WALL})::BIGINT",
    "wait_s": f"({WAIT})::BIGINT",
    "cpu_percent": f"({CPU_PERCENT})::DOUBLE",
    "memory_percent": f"({MEMORY_PERCENT})::DOUBLE",
}
"""Columns beside those of the warehouse, and how they come about; null where that is not known."""

ORDERS = {
    "end_s": "end_s", "start_s": "start_s", "submit_s": "submit_s", "job_id": "job_id", "wall_s": WALL,
    "wait_s": WAIT, "cpus": "cpus", "gpus": "gpus", "nodes": "nodes", "mem_mb": "mem_mb", "cpu_percent": CPU_PERCENT,
}  # fmt: skip


def column(name: str) -> str:
    return quoted(name)


def place(sort: str, *, descending: bool) -> str:
    """What rows are put in order by, as a number that is never null: what is not known comes last."""
    if sort == "end_s":
        return f"coalesce(end_s, {FAR_S})"
    kind = "DOUBLE" if sort == "cpu_percent" else "BIGINT"
    return f"coalesce(({ORDERS[sort]})::{kind}, {-1 if descending else FAR_S})"


def order(*, descending: bool) -> str:
    """After the number of `place` no two rows are the same, so that pages neither overlap nor leave one out."""
    way = "DESC" if descending else "ASC"
    return f"place_at {way}, job_id {way}, submit_s {way}, cluster {way}"


def beyond(cursor: Cursor, number: str, *, descending: bool) -> Sql:
    """Rows that come after the cursor's place in this direction. `number`: as `place` gives it."""
    sign = "<" if descending else ">"
    return Sql(
        f"({number} {sign}= $cursor_at AND ({number} {sign} $cursor_at OR job_id {sign} $cursor_job OR "
        f"(job_id = $cursor_job AND (submit_s {sign} $cursor_submit OR "
        f"(submit_s = $cursor_submit AND cluster {sign} $cursor_cluster)))))",
        {
            "cursor_at": cursor.at, "cursor_job": cursor.job_id, "cursor_submit": cursor.submit_s,
            "cursor_cluster": cursor.cluster,
        },
    )  # fmt: skip


def matching(question: HistoryQuestion, scope: Scope, tree: AccountTree) -> Sql:
    """All but the tags and what was measured, which the warehouse does not know."""
    found = [Sql("last_attempt"), scope_condition(scope, tree, column), *_alone(scope)]
    where = tuple(
        (name, values)
        for name, values in (
            ("user", question.users), ("account", question.accounts), ("partition", question.partitions),
            ("qos", question.qos), ("cluster", question.clusters), ("app", question.apps), ("state", question.states),
        )
        if values
    )  # fmt: skip
    found.append(filter_condition(where, tree, column))
    if question.since_s is not None:
        found.append(Sql("(end_s >= $since_s OR end_s IS NULL)", {"since_s": question.since_s}))
    if question.until_s is not None:
        found.append(Sql("end_s < $until_s", {"until_s": question.until_s}))
    if "PENDING" not in question.states:
        found.append(Sql("(end_s IS NOT NULL OR start_s IS NOT NULL)"))
    if question.gpu_types:
        found.append(_models(question.gpu_types))
    if question.jobs:
        # Whole numbers, so they may stand in the text: the files' statistics understand them there.
        listed = ", ".join(str(int(number)) for number in question.jobs)
        found.append(Sql(f"(job_id IN ({listed}) OR array_job_id IN ({listed}))"))
    if question.name:
        found.append(Sql("contains(lower(job_name), lower($job_name))", {"job_name": question.name}))
    for name, text, wanted in (
        ("gpus", "gpus", question.gpus), ("nodes", "nodes", question.nodes), ("cpus", "cpus", question.cpus),
        ("wall", WALL, question.wall_s), ("cpu_percent", CPU_PERCENT, question.cpu_percent),
    ):  # fmt: skip
        if wanted is not None:
            found.append(within(name, f"({text})", wanted))
    return both(*found)


def _alone(scope: Scope) -> list[Sql]:
    """Of one person's rows once more what the files' statistics understand: a test of one column."""
    if scope.everything or scope.accounts or scope.uid is None:
        return []
    return [Sql("(uid = $scope_uid OR uid IS NULL)")]


def both(*conditions: Sql) -> Sql:
    """All of them."""
    values: dict[str, Any] = {}
    for each in conditions:
        values |= each.values
    return Sql(" AND ".join(f"({each.text})" for each in conditions) or "true", values)


def within(name: str, text: str, wanted: Range) -> Sql:
    """Rows whose value is known and in the range."""
    tests, values = [f"{text} IS NOT NULL"], dict[str, Any]()
    if wanted.least is not None:
        tests.append(f"{text} >= ${name}_least")
        values[f"{name}_least"] = wanted.least
    if wanted.most is not None:
        tests.append(f"{text} <= ${name}_most")
        values[f"{name}_most"] = wanted.most
    return Sql(" AND ".join(tests), values)


def _models(names: tuple[str, ...]) -> Sql:
    return Sql(
        "(gpus > 0 AND (list_contains($gpu_types, gpu_type) OR (contains(gpu_type, '=') AND list_has_any("
        "list_transform(string_split(gpu_type, ','), lambda part: split_part(part, '=', 1)), $gpu_types))))",
        {"gpu_types": list(names)},
    )
