"""The SQL of the smallest contributions: what one attempt adds to one stretch of time, in whole seconds.

Everything that is counted comes from here: the daily roll-up is these sums kept, an answer is these sums over the
window, a drill is these sums by job. They are integers and add up over rows and over adjacent stretches, so a figure
never depends on how it was cut.

Definitions (of carme; those of XDMoD are in `_XDMOD`):
- An attempt runs in [begin, stop): start to end, or to when it was last seen; one that ends before it starts, not at
  all. What never started is there for one second, when it ended or was last seen waiting.
- CPU and wall time are cut by suspended intervals, as slurmdbd and sacct do; where only their sum is known they are
  taken to be the last seconds of the attempt.
- Energy is spread evenly by whole joules: the floor of the share up to a moment, less that up to an earlier one.
- Of a job with GPUs of several types, GPU seconds go to each type, all else to the mix.
- Counts of jobs are those of first or last attempts and of the first component of a heterogeneous job.
"""

# ruff: noqa: S608 - the text is put together from the words in this package only; what was asked goes as parameters
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.accounting.usage.terms.catalogue import JOB_SIZES
from backend.accounting.usage.terms.question import Definitions

KEY = ("cluster", "job_id", "submit_s")


@dataclass(frozen=True)
class Sql:
    """Text made of fixed words only; everything that was asked is among the parameters, as $name."""

    text: str
    values: Mapping[str, Any] = field(default_factory=dict)


def _job_size() -> str:
    ranges = [size.rstrip("+").split("-")[-1] for size in JOB_SIZES[:-1]]
    whens = " ".join(f"WHEN nodes <= {most} THEN '{size}'" for most, size in zip(ranges, JOB_SIZES, strict=False))
    return f"CASE WHEN nodes IS NULL THEN '0' {whens} ELSE '{JOB_SIZES[-1]}' END"


# Of a row of `jobs`. A dimension is null where a job has none; "exit" while it has not ended. The project is of a row
# of the roll-up too (see `filters.put_projects`).
DIMENSIONS = {
    "cluster": "cluster",
    "user": '"user"',
    "uid": "uid",
    "account": "account",
    "partition": '"partition"',
    "qos": "qos",
    "state": "state",
    "job_size": _job_size(),
    "gpu_type": "CASE WHEN gpus > 0 THEN gpu_type END",
    "reservation": "reservation",
    "app": "app",
    "exit": "CASE WHEN end_s IS NOT NULL THEN concat(coalesce(exit_status, 0), ':', coalesce(exit_signal, 0)) END",
    "wckey": "wckey",
    "project": "(SELECT of_name FROM project_of WHERE of_cluster = cluster AND of_account = account)",
}
WORKED_OUT = frozenset({"project"})  # of other dimensions, anew with each question: the roll-up does not hold it

_RAN = "greatest(0, least(b.stop_s, p.to_s) - greatest(b.begin_s, p.from_s))"
_CUT = "greatest(0, least(b.cut_to_s, p.to_s) - greatest(b.cut_from_s, p.from_s))"
_ENDED_HERE = "b.end_s >= p.from_s AND b.end_s < p.to_s"
_STARTED_HERE = "b.counts_start AND b.begin_s >= p.from_s AND b.begin_s < p.to_s"
_HERE = "b.begin_s < p.to_s AND greatest(b.stop_s, b.begin_s + 1) > p.from_s"
_BEGUN = "b.begin_s >= p.from_s AND b.begin_s < p.to_s"
# Counted once a bucket, in the piece of it where it is first there.
_FIRST_HERE = (
    "greatest(b.begin_s, p.bucket_s) >= p.from_s AND greatest(b.begin_s, p.bucket_s) < p.to_s "
    "AND greatest(b.stop_s, b.begin_s + 1) > p.bucket_s"
)
_USED = f"{_ENDED_HERE} AND b.stop_s > b.begin_s"
_CPU_RAN = "b.cpus * greatest(0, b.stop_s - b.begin_s - b.suspended_s)"
_RUN_S = "(b.stop_s - b.begin_s)"


def _joules(until: str) -> str:
    return f"(b.energy_j::HUGEINT * ({until} - b.begin_s)) // {_RUN_S}"


# Of an attempt `b` and a piece of time `p`.
RAW = {
    "cpu_s": f"{_RAN} * b.cpus",
    "gpu_s": f"{_RAN} * b.gpus",
    "node_s": f"{_RAN} * b.nodes",
    "wall_s": _RAN,
    "mem_mb_s": f"{_RAN} * b.mem_mb",
    "billing_s": f"{_RAN} * b.billing",
    "energy_j": (
        f"CASE WHEN b.energy_j IS NULL OR NOT ({_HERE}) THEN NULL WHEN b.stop_s <= b.begin_s THEN b.energy_j "
        f"ELSE ({_joules('least(b.stop_s, p.to_s)')} - {_joules('greatest(b.begin_s, p.from_s)')})::BIGINT END"
    ),
    "attempts": f"CASE WHEN {_FIRST_HERE} THEN b.weight ELSE 0 END",
    "jobs": f"CASE WHEN b.simple AND {_FIRST_HERE} THEN b.weight ELSE 0 END",
    "attempts_on": f"CASE WHEN {_HERE} THEN b.weight ELSE 0 END",
    "attempts_new": f"CASE WHEN {_BEGUN} THEN b.weight ELSE 0 END",
    "jobs_on": f"CASE WHEN b.simple AND {_HERE} THEN b.weight ELSE 0 END",
    "jobs_new": f"CASE WHEN b.simple AND {_BEGUN} THEN b.weight ELSE 0 END",
    "started": f"CASE WHEN {_STARTED_HERE} THEN 1 ELSE 0 END",
    "ended": f"CASE WHEN b.counts_end AND {_ENDED_HERE} THEN b.weight ELSE 0 END",
    "wait_s": f"CASE WHEN b.wait_s IS NOT NULL AND {_STARTED_HERE} THEN b.wait_s ELSE 0 END",
    "waits": f"CASE WHEN b.wait_s IS NOT NULL AND {_STARTED_HERE} THEN 1 ELSE 0 END",
    "cpu_used_ms": f"CASE WHEN b.cpu_used_ms IS NOT NULL AND {_USED} THEN b.cpu_used_ms ELSE 0 END",
    "cpu_ran_s": f"CASE WHEN b.cpu_used_ms IS NOT NULL AND {_USED} THEN {_CPU_RAN} ELSE 0 END",
    "mem_used_mb_s": (
        f"CASE WHEN b.mem_peak_mb IS NOT NULL AND b.mem_mb > 0 AND {_USED} THEN b.mem_peak_mb * {_RUN_S} ELSE 0 END"
    ),
    "mem_ran_mb_s": (
        f"CASE WHEN b.mem_peak_mb IS NOT NULL AND b.mem_mb > 0 AND {_USED} THEN b.mem_mb * {_RUN_S} ELSE 0 END"
    ),
    "time_used_s": f"CASE WHEN b.time_limit_s > 0 AND {_USED} THEN {_RUN_S} ELSE 0 END",
    "time_limit_s": f"CASE WHEN b.time_limit_s > 0 AND {_USED} THEN b.time_limit_s ELSE 0 END",
    "submitted": "0",  # in a branch of its own: a job may be submitted long before it is there
}

_BEGIN = (
    "CASE WHEN start_s IS NULL THEN coalesce(end_s, seen_s - 1, submit_s) "
    "ELSE least(start_s, end_s) END"  # DuckDB's least and greatest leave nulls out
)
_STOP = (
    "CASE WHEN start_s IS NULL THEN coalesce(end_s, seen_s - 1, submit_s) "
    "ELSE coalesce(end_s, greatest(start_s, seen_s)) END"
)
_LEADER = "coalesce(het_offset, 0) = 0"
_AMOUNTS = """
    coalesce(cpus, 0)::BIGINT AS cpus, coalesce(gpus, 0)::BIGINT AS gpus, coalesce(nodes, 0)::BIGINT AS nodes,
    coalesce(mem_mb, 0) AS mem_mb, coalesce(billing, 0) AS billing, energy_j, mem_peak_mb, time_limit_s,
    round(cpu_used_s * 1000)::BIGINT AS cpu_used_ms, end_s"""

_CARME = f"""
    {_BEGIN} AS begin_s, {_STOP} AS stop_s, {_AMOUNTS},
    CASE WHEN start_s IS NULL THEN 0 ELSE coalesce(suspended_s, 0) END AS suspended_s,
    CASE WHEN start_s IS NULL AND array_pending > 1 THEN array_pending::BIGINT ELSE 1 END AS weight,
    attempt = 1 AND last_attempt AND het_job_id IS NULL AS simple,
    attempt = 1 AND {_LEADER} AS counts_submit,
    attempt = 1 AND {_LEADER} AND start_s IS NOT NULL AS counts_start,
    last_attempt AND {_LEADER} AS counts_end,
    CASE WHEN eligible_s > 0 THEN greatest(0, start_s - eligible_s) + 0 * start_s END AS wait_s"""
_CARME_ROWS = "state IS DISTINCT FROM 'REVOKED'"

_XDMOD = f"""
    least(start_s, end_s) AS begin_s, end_s AS stop_s, {_AMOUNTS},
    0 AS suspended_s, 1 AS weight, true AS simple, true AS counts_submit, true AS counts_start, true AS counts_end,
    greatest(0, start_s - submit_s) AS wait_s"""
_XDMOD_ROWS = (
    "start_s IS NOT NULL AND end_s IS NOT NULL AND nodes > 0 AND state NOT IN ('REVOKED', 'REQUEUED', 'RESIZING')"
)


def pieces_sql(prefix: str, pieces: Iterable[tuple[int, int, int, int]]) -> Sql:
    """A relation of (bucket, bucket_s, from_s, to_s): stretches of time, and when the bucket of each begins."""
    names = ("bucket", "bucket_s", "from_s", "to_s")
    columns = list(zip(*pieces, strict=True))
    picked = ", ".join(f"unnest(${prefix}_{name}) AS {name}" for name in names)
    values = {f"{prefix}_{name}": list(column) for name, column in zip(names, columns, strict=True)}
    return Sql(f"(SELECT {picked})", values)


def attempts(relation: str, columns: Iterable[str], rows: str, definitions: Definitions = "carme") -> str:
    """The attempts of a relation of JOBS rows that count, as `b` of RAW: `columns` (dimensions, columns of KEY)."""
    amounts, counted = (_CARME, _CARME_ROWS) if definitions == "carme" else (_XDMOD, _XDMOD_ROWS)
    picked = "".join(f"{DIMENSIONS.get(name, name)} AS {quoted(name)}, " for name in columns)
    return f"SELECT {picked}{amounts} FROM {relation} WHERE {counted} AND ({rows})"


def quoted(name: str) -> str:
    """Of our own names only: some are words of SQL."""
    return f'"{name}"'


def atoms(
    relation: str,
    columns: tuple[str, ...],
    raws: tuple[str, ...],
    *,
    rows: str = "true",
    pieces: str,
    definitions: Definitions = "carme",
) -> str:
    """SQL of `bucket, *columns, *raws`: contributions, several rows of each attempt; only their sums have a meaning.

    `rows`: which rows of the relation may matter at all. `pieces`: a relation of (bucket, bucket_s, from_s, to_s).
    """
    head = "p.bucket AS bucket" + "".join(f", b.{quoted(name)} AS {quoted(name)}" for name in columns)
    branches = []

    def branch(source: str, on: str, columns_head: str, exprs: Mapping[str, str]) -> None:
        picked = "".join(f", {exprs.get(raw, nothing(raw))} AS {quoted(raw)}" for raw in raws)
        branches.append(f"SELECT {columns_head}{picked} FROM ({source}) b JOIN {pieces} p ON {on}")

    main = attempts(relation, columns, rows, definitions)
    branch(main, "b.begin_s < p.to_s AND b.stop_s >= p.from_s", head, {raw: RAW[raw] for raw in raws})
    if "submitted" in raws:
        submitted = (
            "SELECT *, least(submitted_s, begin_s) AS at_s "
            f"FROM ({_with(main, 'submit_s AS submitted_s')}) WHERE counts_submit"
        )
        branch(submitted, "b.at_s >= p.from_s AND b.at_s < p.to_s", head, {"submitted": "b.weight"})
    if definitions == "carme" and {"cpu_s", "wall_s"} & set(raws):
        branch(
            _suspensions(relation, columns, rows),
            "b.cut_from_s < p.to_s AND b.cut_to_s > p.from_s",
            head,
            {"cpu_s": f"-({_CUT} * b.cpus)", "wall_s": f"-({_CUT})"},
        )
    if "gpu_type" in columns and "gpu_s" in raws:
        branch(
            _typed(main),
            "b.begin_s < p.to_s AND b.stop_s > p.from_s",
            head,
            {"gpu_s": f"{_RAN} * b.of_type"},
        )
    return "\nUNION ALL\n".join(branches)


def of_each(
    relation: str,
    columns: tuple[str, ...],
    raws: tuple[str, ...],
    *,
    rows: str,
    pieces: str,
    definitions: Definitions = "carme",
) -> str:
    """SQL of `*columns, *raws`: the same for one stretch of time, each attempt in one row, GPUs not split by type.

    `columns` hold KEY. `pieces`: of one row.
    """
    main = _with(attempts(relation, columns, rows, definitions), "submit_s AS submitted_s")
    submitted = "least(b.submitted_s, b.begin_s)"
    exprs = {raw: RAW[raw] for raw in raws} | {
        "submitted": f"CASE WHEN b.counts_submit AND {submitted} >= p.from_s AND {submitted} < p.to_s "
        "THEN b.weight ELSE 0 END"
    }
    cuts = ""
    if definitions == "carme" and {"cpu_s", "wall_s"} & set(raws):
        exprs |= {"cpu_s": f"({_RAN} - coalesce(c.cut_s, 0)) * b.cpus", "wall_s": f"{_RAN} - coalesce(c.cut_s, 0)"}
        same = " AND ".join(f"c.k_{name} = b.{name}" for name in KEY)
        keys = ", ".join(f"b.k_{name}" for name in KEY)
        stopped = f"({_suspensions(relation, (), rows)}) b JOIN {pieces} p"
        cuts = f"""
            LEFT JOIN (SELECT {keys}, sum({_CUT})::BIGINT AS cut_s FROM {stopped}
                       ON b.cut_from_s < p.to_s AND b.cut_to_s > p.from_s GROUP BY {keys}) c ON {same}"""
    head = ", ".join(f"b.{quoted(name)} AS {quoted(name)}" for name in columns)
    picked = "".join(f", {exprs[raw]} AS {quoted(raw)}" for raw in raws)
    return f"""
        SELECT {head}{picked} FROM ({main}) b
        JOIN {pieces} p ON b.stop_s >= p.from_s AND {submitted} < p.to_s{cuts}"""


def nothing(raw: str) -> str:
    """What a branch adds to a sum that isn't its own. Of energy not even 0: no sum means unknown."""
    return "NULL::BIGINT" if raw == "energy_j" else "0"


def _with(main: str, extra: str) -> str:
    return main.replace("SELECT ", f"SELECT {extra}, ", 1)


def _suspensions(relation: str, columns: tuple[str, ...], rows: str) -> str:
    """Each attempt once for each stretch it was suspended; stretches that overlap count once."""
    keys = [f"{name} AS k_{name}" for name in KEY]
    main = _with(attempts(relation, columns, f"({rows}) AND suspended_s > 0 AND start_s IS NOT NULL"), ", ".join(keys))
    joined = f"""
        SELECT a.*, CASE WHEN s.job_id IS NULL THEN greatest(a.begin_s, a.stop_s - a.suspended_s)
                         ELSE greatest(s.from_s, a.begin_s) END AS s_from_s,
               CASE WHEN s.job_id IS NULL THEN a.stop_s ELSE least(coalesce(s.to_s, a.stop_s), a.stop_s) END AS cut_to_s
        FROM ({main}) a LEFT JOIN suspends s
          ON s.cluster = a.k_cluster AND s.job_id = a.k_job_id AND s.submit_s = a.k_submit_s"""
    earlier = (
        "max(cut_to_s) OVER (PARTITION BY k_cluster, k_job_id, k_submit_s ORDER BY s_from_s, cut_to_s "
        "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
    )
    return f"""
        SELECT * FROM (SELECT *, greatest(s_from_s, {earlier}) AS cut_from_s FROM ({joined}) WHERE cut_to_s > s_from_s)
        WHERE cut_to_s > cut_from_s"""


def _typed(main: str) -> str:
    """Attempts with GPUs of several types: each type gets its own, the mix gives them up."""
    parts = "unnest(string_split(gpu_type, ',')) AS part"
    count = "CAST(split_part(part, '=', 2) AS BIGINT)"
    moved = f"unnest([{{'t': split_part(part, '=', 1), 'n': {count}}}, {{'t': gpu_type, 'n': -{count}}}])"
    return f"""
        SELECT * EXCLUDE (gpu_type, part, moved), moved.t AS gpu_type, moved.n AS of_type
        FROM (SELECT *, {moved} AS moved FROM (SELECT *, {parts} FROM ({main}) WHERE contains(gpu_type, '=')))"""
