"""The console's side: the engine's figures, and, row by row, the parts of them that Slurm's tools see differently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from backend.accounting.truth.figures import Cell, Figures
from backend.accounting.truth.idle import Reservation, ReservedJob, amounts
from backend.accounting.truth.window import Window
from backend.accounting.usage import Answer, Definitions, Question, Scope
from backend.accounting.warehouse import Warehouse

# TRES -> the engine's metric, and how many of our seconds × amount one of its units is
METRICS = {
    "cpu": ("cpu_hours", 3600),
    "gres/gpu": ("gpu_hours", 3600),
    "node": ("node_hours", 3600),
    "mem": ("mem_gb_hours", 3600 * 1024),
    "billing": ("billing_hours", 3600),
}
_COLUMNS = {"cpu": "cpus", "gres/gpu": "gpus", "node": "nodes", "mem": "mem_mb", "billing": "billing"}


class Asks(Protocol):
    """The usage engine."""

    def ask(self, question: Question, scope: Scope) -> Answer: ...


def figures(usage: Asks, cluster: str, window: Window, zone: str, definitions: Definitions = "carme") -> Figures:
    """What the console shows for the window, by account and user, in whole seconds."""
    question = Question(
        metrics=tuple(metric for metric, _ in METRICS.values()),
        since_s=window.since_s,
        until_s=window.until_s,
        by=("account", "user"),
        where=(("cluster", (cluster,)),),
        zone=zone,
        definitions=definitions,
    )
    found: Figures = {}
    for row in usage.ask(question, Scope(everything=True)).table.to_pylist():
        for tres, (metric, unit) in METRICS.items():
            amount = round((row[metric] or 0) * unit)
            if amount:
                cell = Cell(row["account"] or "", row["user"] or "", tres)
                found[cell] = found.get(cell, 0) + amount
    return found


@dataclass
class Parts:
    """Parts of the console's figures, each by account and user. CPU without suspended time."""

    everything: Figures = field(default_factory=dict)
    running: Figures = field(default_factory=dict)  # attempts that had not ended
    gone: Figures = field(default_factory=dict)  # rows that slurmdbd has purged since
    foreign: Figures = field(default_factory=dict)  # rows that slurmdbd never had: imported
    requeued: Figures = field(default_factory=dict)  # attempts that ended by requeue or resize
    nowhere: Figures = field(default_factory=dict)  # attempts that ended without a node
    suspended: Figures = field(default_factory=dict)  # suspended seconds × TRES, of every TRES
    suspended_now: Figures = field(default_factory=dict)  # of these, in a suspension that lasts
    suspended_ended: Figures = field(default_factory=dict)  # of these, of jobs that XDMoD counts


# A row's seconds in the window, and of these the suspended ones
_ROWS = """
with part as (
    select cluster, job_id, submit_s, coalesce(account, '') as account, coalesce("user", '') as person,
           cpus, gpus, nodes, mem_mb, billing, tres, reservation, node_list, state, source, gone,
           end_s is null as running,
           greatest(start_s, $since) as from_s, least(coalesce(end_s, seen_s), $until) as to_s
    from jobs
    where cluster = $cluster and start_s < $until and coalesce(end_s, seen_s) > $since
), held as (
    select part.job_id, part.submit_s,
           sum(greatest(0, least(coalesce(s.to_s, part.to_s), part.to_s) - greatest(s.from_s, part.from_s))) as all_s,
           sum(case when s.to_s is null then greatest(0, part.to_s - greatest(s.from_s, part.from_s)) else 0 end)
               as now_s
    from part join suspends s
      on s.cluster = $cluster and s.job_id = part.job_id and s.submit_s = part.submit_s
    group by all
), seconds as (
    select part.*, part.to_s - part.from_s as span_s, coalesce(held.all_s, 0) as held_s,
           coalesce(held.now_s, 0) as held_now_s
    from part left join held using (job_id, submit_s)
    where part.to_s > part.from_s
)
"""

_AGAIN = "coalesce(state, '') in ('REQUEUED', 'RESIZING', 'REVOKED')"
_NO_NODE = "(coalesce(nodes, 0) = 0 and coalesce(node_list, '') = '')"
_KINDS = {
    "everything": "true",
    "running": "running",
    "gone": "gone and source = 'slurmdbd'",
    "foreign": "source <> 'slurmdbd'",
    "requeued": f"not running and {_AGAIN}",
    "nowhere": f"not running and not {_AGAIN} and {_NO_NODE}",
}


def _parts_sql() -> str:
    sums = []
    for number, (tres, column) in enumerate(_COLUMNS.items()):
        seconds = "(span_s - held_s)" if tres == "cpu" else "span_s"
        for kind, condition in _KINDS.items():
            sums.append(f"sum({column} * {seconds}) filter (where {condition}) as {kind}_{number}")
        sums.append(f"sum({column} * held_s) as suspended_{number}")
        sums.append(f"sum({column} * held_now_s) as suspended_now_{number}")
        counted = f"not running and not {_AGAIN} and not {_NO_NODE}"
        sums.append(f"sum({column} * held_s) filter (where {counted}) as suspended_ended_{number}")
    # Every word of it is ours: what comes from outside is bound
    return f"{_ROWS} select account, person, {', '.join(sums)} from seconds group by all"  # noqa: S608


def parts(warehouse: Warehouse, cluster: str, window: Window) -> Parts:
    """Computed from the detail by plain SQL, without the engine."""
    found = Parts()
    with warehouse.cursor() as connection:
        for row in _asked(connection, _parts_sql(), cluster, window):
            for number, tres in enumerate(_COLUMNS):
                cell = Cell(row["account"], row["person"], tres)
                for kind in (*_KINDS, "suspended", "suspended_now", "suspended_ended"):
                    amount = row[f"{kind}_{number}"]
                    if amount:
                        getattr(found, kind)[cell] = int(amount)
    return found


def reservations(warehouse: Warehouse, cluster: str, window: Window) -> tuple[list[Reservation], list[ReservedJob]]:
    """What is needed to tell the idle time of reservations."""
    with warehouse.cursor() as connection:
        spans = [
            Reservation(
                name=row["name"],
                start_s=row["start_s"],
                end_s=row["end_s"] or None,
                # slurmdbd has the CPUs first; the order decides where it stops looking for idle TRES
                tres=sorted(amounts(row["tres"] or ""), key=lambda item: item[0] != "cpu"),
                assocs=tuple(part for part in (row["assocs"] or "").split(",") if part),
            )
            for row in _asked(
                connection,
                """select name, start_s, end_s, tres, assocs from reservations
                   where cluster = $cluster and start_s < $until and (coalesce(end_s, 0) = 0 or end_s > $since)
                   order by start_s""",
                cluster,
                window,
            )
        ]
        names = {span.name for span in spans}
        jobs = [
            ReservedJob(row["reservation"], row["from_s"], row["to_s"], _had(row))
            for row in _asked(
                connection,
                f"{_ROWS} select reservation, from_s, to_s, tres, span_s, held_s from seconds "  # noqa: S608
                "where reservation is not null",
                cluster,
                window,
            )
            if row["reservation"] in names
        ]
    return spans, jobs


def _had(row: dict[str, Any]) -> frozenset[str]:
    names = {name for name, amount in amounts(row["tres"] or "") if amount}
    if row["held_s"] >= row["span_s"]:
        names.discard("cpu")
    return frozenset(names)


def _asked(connection: duckdb.DuckDBPyConnection, sql: str, cluster: str, window: Window) -> Iterator[dict[str, Any]]:
    arguments = {"cluster": cluster, "since": window.since_s, "until": window.until_s}
    used = {name: value for name, value in arguments.items() if f"${name}" in sql}
    reader: pa.RecordBatchReader = connection.sql(sql, params=used).to_arrow_reader(10_000)
    for batch in reader:
        yield from batch.to_pylist()
