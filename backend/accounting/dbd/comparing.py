"""Noticing what changed behind our back: late edits, deleted rows, purges, archives and their return.

Every hour or so the rows of the trailing window are read again; of the months before, the oldest and the next in
turn are counted on both sides, and looked into where the counts differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import pyarrow as pa

from backend.accounting.dbd.cursor import Cursor
from backend.accounting.dbd.rows.reader import Reader
from backend.accounting.rounds import Round, gathered
from backend.accounting.warehouse import Writer

LONGEST_MONTH_S = 31 * 86_400
MONTHS_A_TURN = 2
UPSERT_ROWS = 60_000


@dataclass(frozen=True)
class Standing:
    """Ended rows of slurmdbd in the warehouse that count as still there."""

    months: dict[str, int]  # "2026-01" (UTC, of the end) → rows
    oldest_s: int | None


def compare(reader: Reader, cluster: str, turn: Round, cursor: Cursor, *, now_s: int, trailing_s: int) -> None:
    """One turn; commits what it found. Raises SourceError, Stopped, WarehouseBusy."""
    turn.warehouse.refresh()
    with turn.writer() as writer:
        window_s = now_s - trailing_s
        _reread(reader, cluster, turn, writer, keys=reader.ended_keys(cluster, window_s), seen_s=now_s)
        writer.set_state(cluster, cursor=replace(cursor, compared_s=now_s).kept())
        writer.commit()
        turn.warehouse.refresh()
        _settle(reader, cluster, turn, writer, since_s=window_s, until_s=now_s)
        standing = read_standing(turn, cluster)
        oldest_s = reader.oldest_end_s(cluster)
        if standing.oldest_s is not None and (oldest_s is None or oldest_s > standing.oldest_s):
            purged_s = oldest_s if oldest_s is not None else now_s
            writer.mark_gone(cluster, before_s=purged_s)
            writer.set_state(cluster, purged_before_s=purged_s)
        months = sorted(month for month in standing.months if oldest_s and month_span(month)[1] > oldest_s)
        due = months if turn.rebuild else _due(months, cursor.month)
        for month in due:
            since_s, until_s = month_span(month)
            until_s = min(until_s, window_s)
            if since_s < until_s and reader.count_ended(cluster, since_s, until_s) != _count(
                turn, cluster, since_s, until_s
            ):
                _settle(reader, cluster, turn, writer, since_s=since_s, until_s=until_s)
        cursor = replace(cursor, compared_s=now_s, month=due[-1] if due else "")
        writer.set_state(cluster, cursor=cursor.kept())
        writer.commit()


def _due(months: list[str], last: str) -> list[str]:
    """The oldest month, where purges begin, and the next after the last one."""
    following = [month for month in months[1:] if month > last] or months[1:]
    return [*months[:1], *following[: MONTHS_A_TURN - 1]]


def month_span(month: str) -> tuple[int, int]:
    """[first second, first second of the next) of a month in UTC."""
    year, number = int(month[:4]), int(month[5:])
    begin = datetime(year, number, 1, tzinfo=timezone.utc)
    end = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=timezone.utc)
    return int(begin.timestamp()), int(end.timestamp())


def read_standing(turn: Round, cluster: str) -> Standing:
    """Counted in the warehouse."""
    with turn.warehouse.cursor() as look:
        rows = look.execute(
            "select strftime(make_timestamp(end_s * 1000000), '%Y-%m') as month, count(*), min(end_s) from jobs "
            "where cluster = ? and source = 'slurmdbd' and not gone and end_s is not null group by month",
            [cluster],
        ).fetchall()
    return Standing({month: count for month, count, _ in rows}, min((oldest for _, _, oldest in rows), default=None))


def _count(turn: Round, cluster: str, since_s: int, until_s: int) -> int:
    with turn.warehouse.cursor() as look:
        found = look.execute(
            "select count(*) from jobs where cluster = ? and source = 'slurmdbd' and not gone "
            "and end_s >= ? and end_s < ?",
            [cluster, since_s, until_s],
        ).fetchone()
    return int(found[0]) if found else 0


def _settle(reader: Reader, cluster: str, turn: Round, writer: Writer, *, since_s: int, until_s: int) -> None:
    """Make both sides the same for rows that ended in [since_s, until_s)."""
    there = set(reader.ended_keys(cluster, since_s, until_s))
    with turn.warehouse.cursor() as look:
        rows = look.execute(
            "select db_inx, job_id, submit_s from jobs where cluster = ? and source = 'slurmdbd' and not gone "
            "and end_s >= ? and end_s < ?",
            [cluster, since_s, until_s],
        ).fetchall()
    ours = {inx: (job_id, submit_s) for inx, job_id, submit_s in rows}
    missing = there.difference(ours)
    absent = set(ours).difference(there)
    # Not in this window any more: its end was edited, or the row is gone.
    found = _reread(reader, cluster, turn, writer, keys=sorted(missing | absent), seen_s=until_s)
    gone = absent - found
    writer.mark_gone(cluster, keys=[ours[inx] for inx in gone])


def _reread(
    reader: Reader, cluster: str, turn: Round, writer: Writer, *, keys: Iterable[int], seen_s: int
) -> set[int]:
    """Put the rows of these keys in again, as they are now; gives the keys that are there."""
    found: set[int] = set()
    suspends: list[pa.Table] = []

    def jobs() -> Iterable[pa.Table]:
        for batch in reader.rows(cluster, list(keys), seen_s):
            turn.go_on()
            found.update(batch.jobs["db_inx"].to_pylist())
            suspends.append(batch.suspends)
            yield batch.jobs

    for table in gathered(jobs(), UPSERT_ROWS):
        told = pa.concat_tables(suspends).unify_dictionaries()
        suspends.clear()
        writer.upsert(turn.with_apps(table.unify_dictionaries(), cluster), told, cluster=cluster)
    return found
