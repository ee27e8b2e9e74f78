"""Whatever is put in, in whatever order and cut into whatever commits: the warehouse equals a plain dictionary."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.accounting.warehouse import Warehouse
from tests.unit.warehouse_kit import T0, ZONE, job, jobs, read, waiting

RANK = {"sacct": 1, "slurmdbd": 2}
MONTH_S = 31 * 86400
Key = tuple[int, int]
# Not a multiple of a quarter of an hour apart: such rows would be one job seen in two time zones.
SUBMITS = [T0, T0 + 110, T0 + MONTH_S + 7, T0 + 14 * MONTH_S + 13]

ended = st.builds(
    job,
    st.integers(1, 2),
    st.sampled_from(SUBMITS),
    state=st.sampled_from(["COMPLETED", "REQUEUED", "NODE_FAIL"]),
    cpus=st.integers(1, 3),
    source=st.sampled_from(["slurmdbd", "slurmdbd", "sacct"]),
)
still_open = st.builds(waiting, st.integers(1, 2), st.sampled_from(SUBMITS), cpus=st.integers(1, 3))
step = st.one_of(
    st.tuples(st.just("upsert"), st.lists(st.one_of(ended, ended, still_open), min_size=2, max_size=6)),
    st.tuples(st.just("open"), st.lists(still_open, max_size=4)),
    st.tuples(st.just("commit"), st.none()),
    st.tuples(st.just("abandon"), st.none()),
    st.tuples(st.just("compact"), st.none()),
)


@dataclass
class Model:
    """The rows by key, and which were put in as ended since the last commit."""

    rows: dict[Key, Mapping[str, Any]] = field(default_factory=dict)
    ended_now: set[Key] = field(default_factory=set)

    def upsert(self, batch: list[dict[str, Any]]) -> None:
        best: dict[Key, dict[str, Any]] = {}
        for row in batch:
            key = (row["job_id"], row["submit_s"])
            if key not in best or RANK[row["source"]] >= RANK[best[key]["source"]]:
                best[key] = row
        for key, row in best.items():
            known = self.rows.get(key)
            if known is None or RANK[row["source"]] >= RANK[known["source"]]:
                self.rows[key] = row
        self.ended_now |= {key for key, row in best.items() if row["end_s"] is not None}

    def replace_open(self, batch: list[dict[str, Any]]) -> None:
        now = {(row["job_id"], row["submit_s"]): row for row in batch}
        now = {key: row for key, row in now.items() if key not in self.ended_now}
        self.rows = {key: row for key, row in self.rows.items() if row["end_s"] is not None or key in now}
        for key, row in now.items():
            known = self.rows.get(key)
            if known is None or RANK[row["source"]] >= RANK[known["source"]]:
                self.rows[key] = row

    def attempts(self) -> set[tuple[Any, ...]]:
        """job_id, submit_s, state, cpus, source, origin_s, attempt, last_attempt."""
        found = []
        for key in sorted(self.rows):
            row, before = self.rows[key], found[-1] if found else None
            follows = before is not None and before["job_id"] == row["job_id"] and _follows(before, row)
            if follows and before is not None:
                before["last"] = False
            origin = before["origin"] if follows and before is not None else row["submit_s"]
            number = before["number"] + 1 if follows and before is not None else 1
            last = row["state"] != "REQUEUED"
            found.append({**row, "origin": origin, "number": number, "last": last})
        return {
            (r["job_id"], r["submit_s"], r["state"], r["cpus"], r["source"], r["origin"], r["number"], r["last"])
            for r in found
        }


def _follows(before: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    gap = row["submit_s"] - (before["end_s"] or before["seen_s"])
    return bool(gap <= (31 * 86400 if before["state"] == "REQUEUED" else 86400))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, min_size=4, max_size=12))
def test_the_warehouse_equals_a_dictionary(steps: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model, committed = Model(), Model()
        manager = Warehouse.write(folder, ZONE)
        writer = manager.__enter__()
        for what, batch in [*steps, ("commit", None)]:
            if what == "upsert":
                writer.upsert(jobs(*batch), cluster="c1")
                model.upsert(batch)
            elif what == "open":
                writer.replace_open("c1", jobs(*batch))
                model.replace_open(batch)
            elif what == "commit":
                writer.commit(roll_up=False)
                committed = Model(dict(model.rows))
                model = Model(dict(model.rows))
            elif what == "abandon":
                manager.__exit__(None, None, None)
                model = Model(dict(committed.rows))
                manager = Warehouse.write(folder, ZONE)
                writer = manager.__enter__()
            else:  # compaction commits what there is
                writer.commit(roll_up=False)
                writer.compact(everything=True)
                committed, model = Model(dict(model.rows)), Model(dict(model.rows))
        writer.commit()
        manager.__exit__(None, None, None)
        names = "job_id, submit_s, state, cpus, source, origin_s, attempt, last_attempt"
        rolled = "(select coalesce(sum(cpu_s), 0) from usage_day where level = 'full')"
        detail = "(select coalesce(sum(cpus * (end_s - start_s)), 0) from jobs where end_s > 0)"
        found = read(folder, f"select {names}, {rolled} = {detail} from jobs")
        assert len(found) == len(set(found))
        assert set(found) == {(*row, True) for row in model.attempts()}
