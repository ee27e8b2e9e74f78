"""Whatever the accounts and the question: the engine says what the slow reference says, by every path."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.accounting.usage import CATALOGUE, Question, Scope, Usage
from backend.accounting.usage.figures.formulas import OVERLAPPING
from tests.unit import usage_reference as reference
from tests.unit.usage_kit import Accounts, Declared, at, job, suspended

METRICS = tuple(
    metric.name for metric in CATALOGUE.metrics
    if metric.name not in ("cost", "gpu_efficiency", "utilisation", "gpu_utilisation")
)  # fmt: skip
NAMES = tuple(each.name for each in CATALOGUE.dimensions if each.kind != "time")
TIMES = ("hour", "day", "week", "month", "quarter", "year")
# A change of the clock within: Berlin's day of 23 h, 25 h; Lord Howe's half hour; one that skips midnight, one that
# repeats the hour before; and a zone of a quarter of an hour.
PLACES = (
    ("Europe/Berlin", "2026-03-29"), ("Europe/Berlin", "2026-10-25"), ("Australia/Lord_Howe", "2026-04-04"),
    ("America/Sao_Paulo", "2018-11-04"), ("America/Sao_Paulo", "2018-02-17"), ("Asia/Kathmandu", "2026-12-31"),
    ("UTC", "2026-02-28"), ("America/Havana", "2026-11-01"),
)  # fmt: skip
BELOW = {
    "c": {"physics": {"physics", "quantum", "spin"}, "quantum": {"quantum", "spin"}},
    "d": {"chemistry": {"chemistry", "spin"}},
}
ACCOUNTS = [
    {"cluster": "c", "name": "quantum", "parent": "physics"}, {"cluster": "c", "name": "spin", "parent": "quantum"},
    {"cluster": "d", "name": "spin", "parent": "chemistry"}, {"cluster": "d", "name": "physics", "parent": "root"},
]  # fmt: skip
PROJECTS = Declared(P=["physics", "d:spin"], Q=["quantum", "d:chemistry"])
PROJECT_OF = {
    ("c", "physics"): "P", ("c", "quantum"): "Q", ("c", "spin"): "Q", ("d", "physics"): "P", ("d", "quantum"): "Q",
    ("d", "chemistry"): "Q", ("d", "spin"): "P",
}  # fmt: skip
VALUES = {
    "cluster": ["c", "d"], "user": ["ada", "bob", "eve"], "account": ["physics", "quantum", "spin", "chemistry"],
    "partition": ["cpu", "gpu", "debug,high"], "qos": ["normal", "high"], "reservation": [None, None, "course"],
    "app": [None, "jupyterlab"], "wckey": [None, "w"], "nodes": [1, 2, 3, 9], "cpus": [1, 4, 64],
    "mem_mb": [0, 1, 512, 7000], "billing": [0, 1, 17], "energy_j": [None, None, 0, 1, 999_999],
    "gpu_type": [None, "a100", "h100", "a100=2,h100=1"], "exit_status": [0, 1], "exit_signal": [0, 9],
    "cpu_used_s": [None, 0.0, 12.345, 7000.5], "mem_peak_mb": [None, 100, 600], "time_limit_s": [None, 3600, 86400],
}  # fmt: skip
LENGTH_S = 4 * 86400


@st.composite
def histories(draw: st.DrawFn, first_s: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of JOBS and of SUSPENDS: jobs of every kind within some days."""
    hours = st.integers(0, LENGTH_S // 900).map(lambda quarter: first_s + 900 * quarter)
    times = hours | st.integers(first_s, first_s + LENGTH_S)
    rows: list[dict[str, Any]] = []
    stops: list[dict[str, Any]] = []
    now_s = draw(times)

    def attempt(job_id: int, time_s: list[int], **said: Any) -> dict[str, Any]:
        columns = {name: draw(st.sampled_from(values)) for name, values in VALUES.items()}
        gpus = {None: 0, "a100=2,h100=1": 3}.get(columns["gpu_type"], 2)
        # A uid may be unknown (imported rows), or belong to someone whose name was reused.
        uid = draw(st.sampled_from([None, {"ada": 1, "bob": 2, "eve": 3}[columns["user"]], 1]))
        submit_s, eligible_s, start_s, end_s = time_s
        row = job(job_id, start_s, end_s, submit_s=submit_s, **(columns | {"gpus": gpus, "uid": uid} | said))
        row["eligible_s"] = draw(st.sampled_from([eligible_s, eligible_s, None, end_s]))
        return row

    for number in range(draw(st.integers(1, 6))):
        job_id = 10 * (number + 1)
        moments = sorted(draw(st.lists(times, min_size=4, max_size=4)))
        match draw(st.sampled_from(["ended", "ended", "running", "pending", "never", "requeued", "het", "revoked"])):
            case "ended":
                row = attempt(job_id, moments)
                if draw(st.booleans()) and moments[3] > moments[2]:
                    row["suspended_s"] = draw(st.integers(1, moments[3] - moments[2]))
                    inside = st.integers(moments[2] - 100, moments[3] + 100)
                    pairs = draw(st.lists(st.tuples(inside, inside), max_size=3))
                    stops += suspended(row, *((min(pair), max(pair)) for pair in pairs))
                elif draw(st.booleans()):
                    row["start_s"] = row["end_s"] + draw(st.integers(0, 3))  # it started after it ended
                rows.append(row)
            case "running":
                seen_s = max(now_s, moments[2])
                row = attempt(job_id, moments, state="RUNNING", seen_s=seen_s)
                row["end_s"] = None
                if draw(st.booleans()) and seen_s > moments[2]:
                    row |= {"state": "SUSPENDED", "suspended_s": 1}
                    stops += suspended(row, (draw(st.integers(moments[2], seen_s)), None))
                rows.append(row)
            case "pending":
                row = attempt(job_id, moments, state="PENDING", seen_s=max(now_s, moments[0] + 1), gpus=0, nodes=0)
                row |= {"start_s": None, "end_s": None, "array_pending": draw(st.sampled_from([0, 1, 7]))}
                rows.append(row)
            case "never":
                rows.append(attempt(job_id, moments, state="CANCELLED", nodes=0, gpus=0) | {"start_s": None})
            case "requeued":
                later = sorted(draw(st.lists(st.integers(moments[3], moments[3] + 86400), min_size=3, max_size=3)))
                state = draw(st.sampled_from(["REQUEUED", "RESIZING"]))
                rows.append(attempt(job_id, moments, state=state, last_attempt=False))
                more = {"origin_s": moments[0], "attempt": 2}
                rows.append(attempt(job_id, [moments[3], *later], state="COMPLETED", **more))
            case "het":
                for offset in range(2):
                    rows.append(attempt(job_id + offset, moments, het_job_id=job_id, het_offset=offset))
            case "revoked":
                rows.append(attempt(job_id, moments, state="REVOKED"))
    return rows, stops


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, ...]:
    zone, day = draw(st.sampled_from(PLACES))
    first_s = at(day) - 86400
    rows, stops = draw(histories(first_s))
    since_s, until_s = sorted(
        draw(st.lists(st.integers(-100, LENGTH_S // 900 + 100), min_size=2, max_size=2, unique=True))
    )
    shift = draw(st.sampled_from([0, 0, 0, 1, -457]))
    where = {}
    for name in draw(st.lists(st.sampled_from(NAMES), max_size=2, unique=True)):
        some = [*VALUES.get(name, ()), *{"state": ["COMPLETED", "RUNNING", "REQUEUED"], "exit": ["0:0", "1:9"],
                                         "job_size": ["0", "1", "3-4"],
                                         "project": ["P", "Q", None, "gone"]}.get(name, ())]  # fmt: skip
        where[name] = tuple(value or "" for value in draw(st.lists(st.sampled_from(some), min_size=1, max_size=3)))
    by = draw(st.lists(st.sampled_from(NAMES + TIMES), max_size=3, unique=True))
    question = Question(
        METRICS, first_s + 900 * since_s + shift, first_s + 900 * until_s + shift,
        by=tuple(by), where=tuple(where.items()),
        zone=draw(st.sampled_from([zone, zone, "UTC"])), definitions=draw(st.sampled_from(["carme", "carme", "xdmod"])),
    )  # fmt: skip
    scope = draw(
        st.sampled_from(
            [
                Scope(everything=True),
                Scope(everything=True),
                Scope(user="ada"),
                Scope(user="ada", uid=1),
                Scope(user="bob", uid=2, accounts=frozenset({"quantum"})),
                Scope(uid=3),
                Scope(),
            ]
        )
    )
    return rows, stops, question, scope, draw(st.sampled_from([zone, "UTC", "Europe/Berlin"]))


def _near(one: Any, other: Any) -> bool:
    """The same to the last digit; but quantiles, which are interpolated."""
    return one == other if one is None or other is None else one == pytest.approx(other, rel=1e-12, abs=0)


def _same(found: dict[Any, dict[str, Any]], expected: dict[Any, dict[str, Any]]) -> None:
    assert found.keys() == expected.keys()
    for key, metrics in expected.items():
        for metric, value in metrics.items():
            equal = _near(found[key][metric], value) if "wait_" in metric else found[key][metric] == value
            assert equal, (key, metric, found[key][metric], value)


def _groups(usage: Usage, question: Question, scope: Scope) -> dict[Any, dict[str, Any]]:
    rows = usage.ask(question, scope).table.to_pylist()
    found = {tuple(row[name] for name in question.by): {m: row[m] for m in question.metrics} for row in rows}
    assert len(found) == len(rows)
    return found


EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@EXAMPLES
@given(cases())
def test_the_engine_agrees_with_the_reference(case: tuple[Any, ...]) -> None:
    rows, stops, question, scope, rollup_zone = case
    rolled = Usage(Accounts(rows, stops, accounts=ACCOUNTS, rollup_zone=rollup_zone), "UTC", projects=PROJECTS)
    detail = Usage(Accounts(rows, stops, accounts=ACCOUNTS, rollup_zone=None), "UTC", projects=PROJECTS)
    expected = reference.answer(question, scope, rows, stops, BELOW, project_of=PROJECT_OF)
    alone = replace(question, by=())
    whole = reference.answer(alone, scope, rows, stops, BELOW, project_of=PROJECT_OF)
    for usage in (rolled, detail):
        if question.by:
            _same(_groups(usage, question, scope), expected)
        totals = {(): usage.ask(question, scope).totals}
        _same(totals, whole or {(): reference.Group().metrics()})


@EXAMPLES
@given(cases())
def test_buckets_and_groups_sum_to_the_window(case: tuple[Any, ...]) -> None:
    rows, stops, question, scope, rollup_zone = case
    usage = Usage(Accounts(rows, stops, accounts=ACCOUNTS, rollup_zone=rollup_zone), "UTC", projects=PROJECTS)
    additive = [m.name for m in CATALOGUE.metrics if m.additive and m.name in METRICS and m.name not in OVERLAPPING]
    answer = usage.ask(question, scope)
    for metric in additive:
        per = {"mem_gb_hours": 3600 * 1024, "energy_kwh": 3_600_000, "cpu_hours_unused": 3_600_000}.get(metric, 3600)
        parts = [round(value * per) for value in answer.table[metric].to_pylist() if value is not None]
        assert sum(parts) == round((answer.totals[metric] or 0) * per)


@EXAMPLES
@given(cases(), st.data())
def test_the_jobs_behind_a_cell_sum_to_its_figure(case: tuple[Any, ...], data: st.DataObject) -> None:
    rows, stops, question, scope, rollup_zone = case
    usage = Usage(Accounts(rows, stops, accounts=ACCOUNTS, rollup_zone=rollup_zone), "UTC", projects=PROJECTS)
    groups = _groups(usage, question, scope)
    if not groups:
        return
    key = data.draw(st.sampled_from(sorted(groups, key=str)))
    cell = dict(zip(question.by, key, strict=True))
    drilled = usage.jobs(question, scope, cell, order="-cpu_hours", limit=None)
    _same({key: drilled.sums}, {key: groups[key]})
    assert drilled.total_rows == drilled.table.num_rows
    for metric, raw in (("jobs", "jobs"), ("attempts", "attempts"), ("jobs_ended", "ended"), ("cpu_hours", "cpu_s")):
        added = sum(drilled.table[f"added_{raw}"].to_pylist())
        assert added / (3600 if raw == "cpu_s" else 1) == groups[key][metric]
    expected = {(row["cluster"], row["job_id"], row["submit_s"]) for row in rows if reference.seen(row, scope, BELOW)}
    shown = drilled.table.select(["cluster", "job_id", "submit_s"]).to_pylist()
    assert {tuple(row.values()) for row in shown} <= expected
    assert len({tuple(row.values()) for row in shown}) == len(shown)
