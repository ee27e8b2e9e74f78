"""slurmdbd's accounts brought into the warehouse: all of them once, then what is new each turn.

A round asks for rows that ended lately, rows newer than any seen, all open rows, and those that were open before;
each by an index. What changes later or goes away is noticed by `comparing`, now and then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from backend.accounting.dbd import comparing
from backend.accounting.dbd.cursor import Cursor
from backend.accounting.dbd.rows.reader import Batch, Reader, empty_batch
from backend.accounting.dbd.runaways import bounded
from backend.accounting.model import CAPACITY
from backend.accounting.rounds import Round
from backend.accounting.warehouse import Writer
from config import Settings

log = logging.getLogger(__name__)

NAME = "slurmdbd"
OVERLAP_S = 300  # rows may arrive so much later than they say they ended
UPSERT_ROWS = 40_000
COMMIT_ROWS = 240_000  # of a first load: what a kill may cost
SMALL_EVERY_S = 300
KEEP_HOURS_S = 2 * 86_400  # hours of the roll-up that slurmdbd may still write again


class SlurmdbdSource:
    """Follows one database. Not for several threads at once."""

    name = NAME

    def __init__(self, settings: Settings) -> None:
        self.reader = Reader(settings.slurmdbd)
        self.settings = settings.accounting

    def clusters(self) -> Sequence[str]:
        """Raises SourceError."""
        return self.reader.clusters()

    def close(self) -> None:
        """End the connections."""
        self.reader.close()

    def bring(self, cluster: str, turn: Round) -> None:
        """One turn. Raises SourceError, Stopped, WarehouseBusy."""
        state = turn.state(cluster)
        cursor = Cursor.of(state.cursor if state.source == NAME else {})
        if turn.rebuild:
            cursor = Cursor()
            with turn.writer() as writer:
                writer.rebuild()
                writer.set_state(cluster, source=NAME, cursor=cursor.kept(), zone=turn.zone)
                writer.commit()
        now_s = self.reader.now_s()
        if not cursor.loaded:
            cursor = self._load(cluster, turn, cursor, now_s)
            now_s = self.reader.now_s()
        cursor = self._follow(cluster, turn, cursor, now_s)
        if now_s - cursor.compared_s >= self.settings.trailing_every_s or turn.rebuild:
            self.reader.forget()
            comparing.compare(
                self.reader, cluster, turn, cursor, now_s=now_s, trailing_s=self.settings.trailing_s
            )

    # The first time

    def _load(self, cluster: str, turn: Round, cursor: Cursor, now_s: int) -> Cursor:
        """Every ended row, in order of its key; goes on where an earlier run ended."""
        reader = self.reader
        if not cursor.upto:
            cursor = replace(cursor, upto=reader.last_key(cluster), since_s=now_s - OVERLAP_S)
            with turn.writer() as writer:
                self._put_small(writer, cluster, cursor)
                writer.set_state(cluster, source=NAME, zone=turn.zone, progress=0.0, cursor=cursor.kept())
                writer.commit(roll_up=False)
        began, before = time.monotonic(), turn.state(cluster).rows
        total = max(1, reader.estimated_rows(cluster))
        done = before
        batches = reader.load(cluster, cursor.key, cursor.upto, now_s)
        for part in _portions(batches, COMMIT_ROWS):
            with turn.writer() as writer:
                for batch in part:
                    turn.go_on()
                    writer.upsert(turn.with_apps(batch.jobs, cluster), batch.suspends, cluster=cluster)
                    done += batch.jobs.num_rows
                    cursor = replace(cursor, key=batch.last_key)
                    turn.progress(cluster, min(0.99, done / total), done)
                    pa.default_memory_pool().release_unused()  # else Arrow keeps twice what a batch takes
                writer.set_state(cluster, cursor=cursor.kept(), progress=min(0.99, done / total))
                writer.commit(roll_up=False)  # all at once by the round that follows
        cursor = replace(cursor, loaded=True, key=cursor.upto, last_key=cursor.upto)
        with turn.writer() as writer:
            writer.set_state(cluster, cursor=cursor.kept(), progress=None, purged_before_s=self._purged(cluster))
            writer.commit(roll_up=False)
        turn.progress(cluster, 1.0, done)
        log.info("%s: %d rows loaded in %.1f s", cluster, done - before, time.monotonic() - began)
        return cursor

    def _purged(self, cluster: str) -> int | None:
        """Until when slurmdbd had purged jobs before we came: its own roll-up then begins earlier than they do."""
        oldest_s, usage_s = self.reader.oldest_end_s(cluster), self.reader.oldest_usage_s(cluster)
        if oldest_s is None or usage_s is None:
            return None
        return oldest_s if usage_s + comparing.LONGEST_MONTH_S < oldest_s else None

    # Each round

    def _follow(self, cluster: str, turn: Round, cursor: Cursor, now_s: int) -> Cursor:
        """What ended, what is new, what is open."""
        reader = self.reader
        queue = turn.queue(cluster)
        open_keys = reader.open_keys(cluster)
        ended_keys = reader.ended_keys(cluster, cursor.since_s)
        newer_keys = reader.newer_keys(cluster, cursor.last_key)
        with turn.writer() as writer:
            was_open = writer.open_rows(cluster)
            left = set(was_open["db_inx"].drop_null().to_pylist()).difference(open_keys)
            wanted = sorted(left.union(ended_keys, newer_keys).difference(open_keys))
            still_open = []
            last_end_s = 0
            for batch in _gathered(reader.rows(cluster, wanted, now_s), UPSERT_ROWS):
                ended, waiting = _split(batch)
                still_open.append(waiting)  # began while we were reading
                if ended.jobs.num_rows:
                    writer.upsert(turn.with_apps(ended.jobs, cluster), ended.suspends, cluster=cluster)
                    last_end_s = max(last_end_s, _latest(ended.jobs, now_s))
            for batch in reader.rows(cluster, open_keys, now_s):
                ended, waiting = _split(batch)
                if ended.jobs.num_rows:  # ended while we were reading
                    writer.upsert(turn.with_apps(ended.jobs, cluster), ended.suspends, cluster=cluster)
                still_open.append(waiting)
            waiting = _together(still_open)
            waiting_jobs, runaways = bounded(waiting.jobs, was_open, queue)
            writer.replace_open(cluster, turn.with_apps(waiting_jobs, cluster), waiting.suspends)
            cursor = replace(
                cursor,
                since_s=max(cursor.since_s, last_end_s - OVERLAP_S),
                last_key=max([cursor.last_key, *newer_keys[-1:]]),
                runaways=len(runaways),
                runaway_jobs=tuple(runaways[:20]),
            )
            rolled_up_s = reader.rolled_up_s(cluster)
            if rolled_up_s != cursor.rolled_up_s or now_s - cursor.small_s >= SMALL_EVERY_S:
                cursor = replace(cursor, rolled_up_s=rolled_up_s, small_s=now_s)
                self._put_small(writer, cluster, cursor, turn)
            writer.set_state(
                cluster, source=NAME, zone=turn.zone, synced_s=now_s, error="", error_since_s=None, progress=None,
                cursor=cursor.kept(),
            )  # fmt: skip
            writer.commit()
        return cursor

    def _put_small(self, writer: Writer, cluster: str, cursor: Cursor, turn: Round | None = None) -> None:
        reader = self.reader
        writer.put_table(cluster, "accounts", reader.accounts(cluster))
        writer.put_table(cluster, "reservations", reader.reservations(cluster))
        writer.put_table(cluster, "events", reader.events(cluster))
        known = _known_hours(turn, cluster) if turn else None
        if known is None or not known.num_rows:
            writer.put_table(cluster, "capacity", reader.capacity(cluster, 0))
            return
        since_s = max(0, pc.max(known["hour_s"]).as_py() - KEEP_HOURS_S)
        older = known.filter(pc.less(known["hour_s"], since_s))
        writer.put_table(cluster, "capacity", pa.concat_tables([older, reader.capacity(cluster, since_s)]))


def _known_hours(turn: Round, cluster: str) -> pa.Table:
    columns = ", ".join(f'"{name}"' for name in CAPACITY.names)
    with turn.warehouse.cursor() as look:
        # Our own names
        found = look.sql(f"select {columns} from capacity where cluster = ?", params=[cluster])  # noqa: S608
        return found.to_arrow_table().cast(CAPACITY)


def _portions(batches: Iterator[Batch], rows: int) -> Iterator[Iterator[Batch]]:
    """Batches of about UPSERT_ROWS in portions of some `rows`; a portion must be used up before the next."""
    larger = iter(_gathered(batches, UPSERT_ROWS))
    for first in larger:

        def portion(batch: Batch = first) -> Iterator[Batch]:
            count = batch.jobs.num_rows
            yield batch
            while count < rows:
                following = next(larger, None)
                if following is None:
                    return
                count += following.jobs.num_rows
                yield following

        yield portion()


def _gathered(batches: Iterator[Batch], rows: int) -> Iterator[Batch]:
    waiting: list[Batch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(each.jobs.num_rows for each in waiting) >= rows:
            yield _together(waiting)
            waiting = []
    if waiting:
        yield _together(waiting)


def _together(batches: Sequence[Batch]) -> Batch:
    if not batches:
        return empty_batch()
    return Batch(
        pa.concat_tables([batch.jobs for batch in batches]).unify_dictionaries(),
        pa.concat_tables([batch.suspends for batch in batches]).unify_dictionaries(),
        batches[-1].last_key,
    )


def _split(batch: Batch) -> tuple[Batch, Batch]:
    """Ended rows and open ones, each with all suspensions: who takes them keeps those of the rows it is given."""
    ended = pc.is_valid(batch.jobs["end_s"])
    return (
        Batch(batch.jobs.filter(ended), batch.suspends),
        Batch(batch.jobs.filter(pc.invert(ended)), batch.suspends),
    )


def _latest(jobs: pa.Table, now_s: int) -> int:
    """The latest end; one in the future is a clock that was wrong."""
    return min(now_s, int(pc.max(jobs["end_s"]).as_py() or 0))
