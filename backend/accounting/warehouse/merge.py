"""How rows of several sources and several attempts become one account of each job. Pure functions on tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backend.accounting.warehouse.files import PLAIN_JOBS, Ints, Keys, keys_of

Bools = npt.NDArray[np.bool_]

# Of two rows with the same key the better informed counts: slurmdbd knows all that sacct prints, and more.
PRECEDENCE = {"sacct": 1, "local": 2, "slurmdbd": 3}
REQUEUED = ("REQUEUED", "RESIZING")
# Slurm submits the next attempt in the second in which the one before ended. The rest is for clocks that were set,
# and for `scontrol requeue` of a job that had completed a while ago.
REQUEUED_WITHIN_S = 31 * 86400
RESTARTED_WITHIN_S = 86400
# One job in two time zones: the offsets of all zones are multiples of a quarter of an hour, and less than 15 h apart.
ZONE_STEP_S, ZONE_MAX_S = 900, 15 * 3600

DERIVED = ("origin_s", "attempt", "last_attempt")


@dataclass(frozen=True)
class Merged:
    """What a batch changes. `leave`: which known rows go (or are written anew); `write`: the rows to write."""

    leave: Bools
    write: pa.Table
    new: int  # rows that were not known
    changed: int  # rows that differ from what was known, by the batch itself
    unchanged: int
    outranked: int  # rows of which a better source has its own


def latest_of(table: pa.Table) -> pa.Table:
    """The table with each key once: of several rows that of the better source, else the last."""
    keys, ranks = keys_of(table), _ranks(table)
    if np.all(keys[1:] > keys[:-1]):  # as slurmdbd's rows mostly come
        return table
    order = np.lexsort((np.arange(len(keys)), ranks, keys))
    last = np.append(keys[order][1:] != keys[order][:-1], True) if len(keys) else np.zeros(0, bool)
    if last.all():
        return table
    return table.take(pa.array(np.sort(order[last])))


def merge(known: pa.Table, batch: pa.Table, forced: Keys) -> Merged:
    """Put a batch (each key once) over what is `known` of the same job ids (all rows of them).

    `forced`: keys whose rows count as changed although they look the same.
    """
    both = pa.concat_tables([known, batch]).combine_chunks()
    keys, ranks = keys_of(both), _ranks(both)
    is_new = np.arange(len(keys)) >= known.num_rows
    order = np.lexsort((is_new, ranks, keys))
    ordered = keys[order]
    winner = np.append(ordered[1:] != ordered[:-1], True) if len(keys) else np.zeros(0, bool)
    best = order[winner]  # rows that count, by job and submit time
    lost = np.ones(len(keys), bool)
    lost[best] = False

    # A known row that the batch repeats word for word stays where it is.
    again = np.flatnonzero(winner[1:] & ~winner[:-1] & is_new[order[1:]]) if len(keys) else np.zeros(0, int)
    old_rows, new_rows = order[again], order[again + 1]
    replaces = ~is_new[old_rows]
    old_rows, new_rows = old_rows[replaces], new_rows[replaces]
    same = _same_rows(both, old_rows, new_rows) & ~np.isin(keys[new_rows], forced)
    stays = np.arange(len(keys))
    stays[new_rows[same]] = old_rows[same]
    best = stays[best]
    lost[new_rows[same]], lost[old_rows[same]] = True, False

    twins = _twins(both, best, ranks)
    lost[best[twins]] = True
    best = best[~twins]

    derived = _attempts(both, best, keys)
    shifted = np.zeros(len(keys), bool)
    shifted[best] = _differs(both, best, derived)
    written = is_new[best] | shifted[best]
    rows = best[written]
    as_is = len(rows) == both.num_rows and np.array_equal(rows, np.arange(len(rows)))
    write = both if as_is else both.take(pa.array(rows))
    for name, values in zip(DERIVED, derived, strict=True):
        at = PLAIN_JOBS.get_field_index(name)
        write = write.set_column(at, PLAIN_JOBS.field(at), pa.array(values[written], PLAIN_JOBS.field(at).type))
    new_winners = int(is_new[best].sum())
    changed = int((~same).sum())
    unchanged = int(same.sum())
    return Merged(
        leave=lost[: known.num_rows] | shifted[: known.num_rows],
        write=write,
        new=new_winners - changed,
        changed=changed,
        unchanged=unchanged,
        outranked=batch.num_rows - new_winners - unchanged,
    )


def _ranks(table: pa.Table) -> Ints:
    names = pa.array(list(PRECEDENCE))
    at = pc.index_in(table["source"], names)
    if at.null_count:
        raise ValueError(f"a row whose source is not one of {', '.join(PRECEDENCE)}")
    return np.array(list(PRECEDENCE.values()))[at.to_numpy()]


def _same_rows(table: pa.Table, left: Ints, right: Ints) -> Bools:
    """Whether rows agree in all that a source says (not in what is derived here)."""
    same = np.ones(len(left), bool)
    if not len(left):
        return same
    one, other = table.take(pa.array(left)), table.take(pa.array(right))
    for name in PLAIN_JOBS.names:
        if name not in DERIVED:
            same &= _equal(one[name], other[name])
    return same


def _equal(one: pa.ChunkedArray, other: pa.ChunkedArray) -> Bools:
    """Equal values; null equals null."""
    values = pc.fill_null(pc.equal(one, other), False)
    return pc.or_(values, pc.and_(pc.is_null(one), pc.is_null(other))).to_numpy()


def _twins(table: pa.Table, best: Ints, ranks: Ints) -> Bools:
    """Which rows are the same job as one of a better source, written in another time zone or in the hour that
    comes twice when summer time ends. sacct prints local times, so an import can be off by such a step.
    """
    found = np.zeros(len(best), bool)
    if len(best) < 2:
        return found
    ids = table["job_id"].to_numpy()[best]
    mixed = (ids[1:] == ids[:-1]) & (ranks[best[1:]] != ranks[best[:-1]])
    if not mixed.any():
        return found
    at = np.flatnonzero(np.isin(ids, ids[1:][mixed]))
    columns = ("job_id", "submit_s", "start_s", "end_s", "user", "cpus")
    rows = table.select(columns).take(pa.array(best[at])).to_pylist()
    by_job: dict[int, list[int]] = {}
    for n, row in enumerate(rows):
        by_job.setdefault(row["job_id"], []).append(n)
    for group in by_job.values():
        better = {n: int(ranks[best[at[n]]]) for n in group}
        taken: set[int] = set()
        for n in sorted(group, key=better.__getitem__):
            for other in group:
                if other not in taken and better[other] > better[n] and _one_zone_apart(rows[n], rows[other]):
                    taken.add(other)
                    found[at[n]] = True
                    break
    return found


def _one_zone_apart(row: dict[str, int], other: dict[str, int]) -> bool:
    if row["user"] != other["user"] or row["cpus"] != other["cpus"] or _length(row) != _length(other):
        return False
    gap = row["submit_s"] - other["submit_s"]
    return gap != 0 and gap % ZONE_STEP_S == 0 and abs(gap) < ZONE_MAX_S


def _length(row: dict[str, int]) -> int | None:
    if row["start_s"] is None or row["end_s"] is None:
        return None
    return row["end_s"] - row["start_s"]


def _attempts(table: pa.Table, best: Ints, keys: Keys) -> tuple[Ints, Ints, Bools]:
    """origin_s, attempt and last_attempt of each row, in order of job and submit time."""
    count = len(best)
    if not count:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, bool)
    ids, submit = (keys[best] >> np.uint64(32)).astype(np.int64), table["submit_s"].to_numpy()[best]
    follows = np.zeros(count, bool)  # continues the job of the row before
    same_id = np.flatnonzero(ids[1:] == ids[:-1])
    states = pc.is_in(table["state"], pa.array(REQUEUED)).to_numpy()
    requeued = states[best]
    if same_id.size:
        before, after = best[same_id], best[same_id + 1]
        one = table.select(["uid", "user", "job_name", "end_s", "seen_s"]).take(pa.array(before))
        other = table.select(["uid", "user", "job_name"]).take(pa.array(after))
        uids = pc.fill_null(pc.equal(one["uid"], other["uid"]), _both_names(one, other))
        ended = pc.coalesce(one["end_s"], one["seen_s"], pa.scalar(0, pa.int64())).to_numpy()
        gap = submit[same_id + 1] - ended
        named = _equal(one["job_name"], other["job_name"])
        again = np.where(requeued[same_id], gap <= REQUEUED_WITHIN_S, named & (gap <= RESTARTED_WITHIN_S))
        follows[same_id + 1] = again & uids.to_numpy()
    first = np.maximum.accumulate(np.where(follows, 0, np.arange(count)))
    origin = submit[first]
    attempt = np.arange(count) - first + 1
    followed = np.append(follows[1:], False)
    return origin, attempt, ~followed & ~requeued


def _both_names(one: pa.Table, other: pa.Table) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(one["user"], other["user"]), False)


def _differs(table: pa.Table, best: Ints, derived: tuple[Ints, Ints, Bools]) -> Bools:
    """Whether what is derived now differs from what the row says."""
    differs = np.zeros(len(best), bool)
    for name, values in zip(DERIVED, derived, strict=True):
        column = table[name].take(pa.array(best))
        now = pa.array(values, column.type)
        differs |= ~_equal(column, pa.chunked_array([now]))
    return differs


def with_derived(rows: pa.Table, keys: Keys, old: pa.Table, old_keys: Keys) -> pa.Table:
    """Rows that were known already keep what was derived for them."""
    order = np.argsort(old_keys)
    at = pa.array(order[np.searchsorted(old_keys[order], keys)])
    for name in DERIVED:
        index = PLAIN_JOBS.get_field_index(name)
        rows = rows.set_column(index, PLAIN_JOBS.field(index), old[name].take(at))
    return rows


def differing(was: pa.Table, now: pa.Table) -> Keys:
    """Keys whose suspensions are not the same in both."""
    sets: list[set[tuple[int, ...]]] = []
    for table in (was, now):
        columns = [keys_of(table).tolist(), *(table[name].to_pylist() for name in ("from_s", "to_s"))]
        sets.append(set(zip(*columns, strict=True)))
    return np.unique(np.array([row[0] for row in sets[0] ^ sets[1]], np.uint64))
