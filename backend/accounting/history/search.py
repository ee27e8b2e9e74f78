"""Finding jobs among all there ever were: the newest files first, and no further than the page needs.

Rows are found in two steps: the narrow columns that decide, then everything of the few rows that are shown. Files are
taken by the month in which their jobs ended, one at first, then four times as many at a time.
"""

# ruff: noqa: S608 - the text is put together from the words in this package only; what was asked goes as parameters
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from backend.accounting.history.asked import Asked, Marked, Measured, keys_table, of_keys
from backend.accounting.history.chunks import GROWTH, OPEN, chunks, source
from backend.accounting.history.conditions import WORKED_OUT, beyond, both, column, order, place
from backend.accounting.history.question import MOST_ROWS, SORTS, Cursor, HistoryPage, HistoryQuestion, JobKey, NotAsked
from backend.accounting.model import JOBS
from backend.accounting.usage.figures.atoms import Sql, quoted
from backend.accounting.usage.figures.filters import AccountTree, scope_condition
from backend.accounting.usage.terms.question import Scope
from backend.accounting.warehouse import Reading, Warehouse

COUNT_FOR_S = 0.12  # nobody counts on after so long: it is the page that was asked for
_WIDE = ", ".join(quoted(name) for name in JOBS.names) + "".join(f", {text} AS {n}" for n, text in WORKED_OUT.items())


class History:
    """Blocking and thread-safe: call it from a thread.

    Its methods raise NotAsked, WarehouseUnusable, and TelemetryUnusable where a filter needs what was measured.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        measured: Measured | None = None,
        marked: Marked | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.warehouse = warehouse
        self._measured = measured
        self._marked = marked
        self._clock = clock
        self._lock = threading.Lock()
        self._tree: tuple[int, AccountTree] | None = None

    def search(
        self,
        question: HistoryQuestion,
        scope: Scope,
        *,
        limit: int = 50,
        cursor: Cursor | None = None,
        count_for_s: float = COUNT_FOR_S,
    ) -> HistoryPage:
        """One page of the jobs in the scope that the question asks for."""
        began = time.perf_counter()
        checked(question, limit)
        self.warehouse.refresh()
        state = self.warehouse.state.clusters
        with self.warehouse.reading() as reading:
            asked = Asked(
                question,
                scope,
                self._accounts(reading),
                clusters=tuple(name for name in sorted(state) if name in question.clusters or not question.clusters),
                now_s=int(self._clock()),
                measured=self._measured,
                keys=self._keys(question),
            )
            page = _page(reading, asked, limit, cursor)
            shown = page.table.num_rows
            if page.after is None and page.before is None:
                total, exact = shown, True
            else:
                total, exact = _count(reading, asked, began + count_for_s)
                # Rows of other pages that nobody has counted are there all the same.
                total = max(total, shown + (page.after is not None) + (page.before is not None))
        known = [each.synced_s for each in state.values() if each.synced_s is not None]
        as_of_s = min(known, default=None)
        return replace(page, total=total, exact=exact, as_of_s=as_of_s, took_s=time.perf_counter() - began)

    def rows(self, keys: Sequence[JobKey], scope: Scope) -> pa.Table:
        """Those of these jobs that are there and in the scope, in no order; columns as of a page."""
        if not keys:
            return _none()
        ids = sorted({key.job_id for key in keys})
        oldest_s = min(key.origin_s for key in keys)
        self.warehouse.refresh()
        with self.warehouse.reading() as reading:
            files = [
                file
                for file in reading.files
                if file.max_job_id >= ids[0] and file.min_job_id <= ids[-1] and file.max_s >= oldest_s
            ]
            reading.con.register("asked_keys", keys_table(keys))
            return self._wide_rows(reading, scope, source(reading, files), ids, of_keys("asked_keys"))

    def numbered(self, cluster: str, job_id: int, scope: Scope) -> pa.Table:
        """The jobs of that number in the scope, the newest first: one, unless numbers have come again."""
        self.warehouse.refresh()
        with self.warehouse.reading() as reading:
            files = [
                file
                for file in reading.files
                if file.cluster == cluster and file.min_job_id <= job_id <= file.max_job_id
            ]
            reading.con.register("asked_keys", pa.table({"cluster": [cluster]}))
            of_cluster = "r.cluster IN (SELECT t.cluster FROM asked_keys t)"
            return self._wide_rows(reading, scope, source(reading, files), [job_id], of_cluster)

    def _wide_rows(self, reading: Reading, scope: Scope, ended: str, ids: Sequence[int], which: str) -> pa.Table:
        listed = ", ".join(str(int(each)) for each in ids)
        seen = scope_condition(scope, self._accounts(reading), column)
        where = both(seen, Sql(f"r.job_id IN ({listed}) AND r.last_attempt AND {which}"))
        text = f"SELECT {_WIDE} FROM ({ended} UNION ALL {OPEN}) r WHERE {where.text} ORDER BY submit_s DESC"
        return reading.con.sql(text, params=dict(where.values) or None).to_arrow_table()

    def _accounts(self, reading: Reading) -> AccountTree:
        with self._lock:
            if self._tree is None or self._tree[0] != reading.generation:
                self._tree = (reading.generation, AccountTree.read(reading.con))
            return self._tree[1]

    def _keys(self, question: HistoryQuestion) -> Sequence[JobKey] | None:
        if not question.tags:
            return None
        return self._marked.with_tags(question.tags) if self._marked is not None else ()


def checked(question: HistoryQuestion, limit: int = 1) -> None:
    """Raises NotAsked."""
    if question.sort not in SORTS:
        raise NotAsked("sort", f"The history is sorted by one of {', '.join(SORTS)}.")
    if not 1 <= limit <= MOST_ROWS:
        raise NotAsked("limit", f"limit: a number from 1 to {MOST_ROWS} is wanted.")
    if question.since_s is not None and question.until_s is not None and question.since_s >= question.until_s:
        raise NotAsked("until", "The window is empty: its end must be later than its beginning.")


@dataclass(frozen=True)
class Found:
    """A row of the page, where it stands and where the rest of it is."""

    cursor: Cursor
    user: str | None
    path: str | None  # None: it is open


def _page(reading: Reading, asked: Asked, limit: int, cursor: Cursor | None) -> HistoryPage:
    back = cursor is not None and cursor.way == "before"
    found = _find(reading, asked, limit + 1, cursor, descending=asked.question.descending is not back)
    more = len(found) > limit
    found = found[:limit]
    if back:
        found.reverse()
    if not found:
        return HistoryPage(_none(), 0, True, None, None)
    first = replace(found[0].cursor, way="before") if (more if back else cursor is not None) else None
    last = found[-1].cursor if back or more else None
    return HistoryPage(_wide(reading, found), 0, False, first, last)


def _find(reading: Reading, asked: Asked, wanted: int, cursor: Cursor | None, *, descending: bool) -> list[Found]:
    """So many rows from the cursor on."""
    found: list[Found] = []
    if asked.nothing():
        return found
    question = asked.question
    number = place(question.sort, descending=question.descending)
    for chunk in chunks(reading, question, asked.now_s, cursor, descending=descending):
        rows = asked.rows(reading, chunk)
        values: dict[str, Any] = dict(rows.values)
        text = f'SELECT {number} AS place_at, job_id, submit_s, cluster, "user", filename {rows.text}'
        if cursor is not None:
            further = beyond(cursor, number, descending=descending)
            text += f" AND {further.text}"
            values |= further.values
        text += f" ORDER BY {order(descending=descending)} LIMIT {wanted - len(found):d}"
        found += [Found(Cursor(*row[:4]), *row[4:]) for row in reading.con.execute(text, values or None).fetchall()]
        if len(found) >= wanted:
            break
    return found


def _wide(reading: Reading, found: Sequence[Found]) -> pa.Table:
    """All that is known of these rows, in their order."""
    paths = {each.path for each in found}
    files = [file for file in reading.files if reading.path(file) in paths]
    ids = ", ".join(str(job_id) for job_id in sorted({each.cursor.job_id for each in found}))
    users = sorted({each.user for each in found if each.user is not None})
    near, values = f"job_id IN ({ids})", dict[str, Any]()
    if all(each.user is not None for each in found):
        # Rows of a file are in the order of user: most of it is left out unread.
        values = {f"user_{at}": name for at, name in enumerate(users)}
        near += f' AND "user" IN ({", ".join(f"${name}" for name in values)})'
    reading.con.register("wanted", pa.table({
        "place": pa.array(range(len(found)), pa.int64()),
        "cluster": pa.array([each.cursor.cluster for each in found], pa.string()),
        "job_id": pa.array([each.cursor.job_id for each in found], pa.int64()),
        "submit_s": pa.array([each.cursor.submit_s for each in found], pa.int64()),
    }))  # fmt: skip
    text = (
        f"SELECT {_WIDE} FROM (SELECT r.*, w.place FROM "
        f"(SELECT * FROM ({source(reading, files)} UNION ALL {OPEN}) WHERE {near}) r "
        "JOIN wanted w USING (cluster, job_id, submit_s)) ORDER BY place"
    )
    return reading.con.sql(text, params=values or None).to_arrow_table()


def _count(reading: Reading, asked: Asked, until: float) -> tuple[int, bool]:
    """How many there are in all, and whether that is all: counting ends when its time is over,
    but not before the first files."""
    total, last = 0, -1.0
    for chunk in chunks(reading, asked.question, asked.now_s, None, descending=True):
        # What was last counted says how long the next chunk may take.
        began = time.perf_counter()
        if last >= 0 and began + GROWTH * last > until:
            return total, False
        try:
            rows = asked.rows(reading, chunk)
        except NotAsked:  # of the page's own chunks it is told
            return total, False
        total += reading.con.execute(f"SELECT count(*) {rows.text}", dict(rows.values) or None).fetchall()[0][0]
        if not chunk.open:
            last = time.perf_counter() - began
    return total, True


def _none() -> pa.Table:
    """No rows, with all columns."""
    kinds = {"wall_s": pa.int64(), "wait_s": pa.int64(), "cpu_percent": pa.float64(), "memory_percent": pa.float64()}
    plain = [(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in JOBS]
    return pa.schema([*plain, *kinds.items()]).empty_table()
