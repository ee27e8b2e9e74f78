"""A listing into the warehouse: block by block, each a commit of its own, so that nothing is done twice or by halves
however it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from backend.accounting.model import JOBS
from backend.accounting.sacct.columns import Columns
from backend.accounting.sacct.lines import blocks
from backend.accounting.sacct.rows import SOURCE, Bad, Rows, rows_of
from backend.accounting.warehouse import Upserted, Warehouse, Writer


class NoCluster(Exception):
    """The listing doesn't say of which cluster it is, and nothing else does."""


@dataclass
class Imported:
    """What became of a listing."""

    lines: int = 0  # of jobs, that were understood
    steps: int = 0
    bad: int = 0
    rows: Upserted = field(default_factory=Upserted)
    open_rows: int = 0  # jobs that had not ended
    left: int = 0  # of these, left to the source that follows the cluster
    clusters: set[str] = field(default_factory=set)
    latest_s: int = 0


def import_sacct(
    stream: BinaryIO,
    folder: Path,
    *,
    zone: str,
    site_zone: str,
    columns: Columns | None = None,
    cluster: str | None = None,
    on_bad: Callable[[Bad], None] = lambda bad: None,
    on_block: Callable[[Imported], None] = lambda done: None,
) -> Imported:
    """Read a listing of `sacct --parsable2` and put its jobs into the warehouse in `folder`.

    `zone`: of the listing's times; `site_zone`: of the console's days. `cluster`: of a listing without that column.
    `on_bad` hears of each line that is left out, in order; `on_block` of progress. Once more is the same as once.
    Raises UnknownColumns, NoCluster, WarehouseBusy, WarehouseUnusable; what was committed before stays.
    """
    done = Imported()
    waiting: list[pa.Table] = []
    for found, block in blocks(stream, columns):
        if "cluster" not in found and cluster is None:
            cluster = _only_cluster(folder)
        rows = rows_of(block, zone, cluster)
        _count(done, rows)
        for bad in rows.bad:
            on_bad(bad)
        waiting.append(rows.open)
        with Warehouse.write(folder, site_zone) as writer:
            for name, table in _by_cluster(rows.ended):
                done.clusters.add(name)
                done.rows += writer.upsert(table, cluster=name)
                _name_source(writer, name)
            writer.commit(roll_up=False)
        on_block(done)
    with Warehouse.write(folder, site_zone) as writer:
        if waiting:
            _put_open(writer, _seen(pa.concat_tables(waiting), done.latest_s), done)
        for name in done.clusters:
            _mark(writer, name, zone, done.latest_s)
        writer.commit()
    return done


def _only_cluster(folder: Path) -> str:
    warehouse = Warehouse(folder, memory_mb=64)
    try:
        warehouse.refresh()
        known = sorted(warehouse.state.clusters)
    finally:
        warehouse.close()
    if len(known) != 1:
        raise NoCluster("the listing has no column Cluster: say which it is (--cluster NAME)")
    return known[0]


def _count(done: Imported, rows: Rows) -> None:
    done.lines += rows.ended.num_rows + rows.open.num_rows
    done.open_rows += rows.open.num_rows
    done.steps += rows.steps
    done.bad += len(rows.bad)
    done.latest_s = max(done.latest_s, rows.latest_s)


def _by_cluster(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    for name in pc.unique(table["cluster"].cast(pa.string())).to_pylist():
        yield name, table.filter(pc.equal(table["cluster"].cast(pa.string()), name))


def _seen(table: pa.Table, latest_s: int) -> pa.Table:
    """Jobs that had not ended were seen so when the listing was made: not before the last time in it."""
    seen = pc.coalesce(table["seen_s"], pa.scalar(latest_s, pa.int64()))
    return table.set_column(JOBS.get_field_index("seen_s"), "seen_s", seen).cast(JOBS)


def _put_open(writer: Writer, table: pa.Table, done: Imported) -> None:
    for name, rows in _by_cluster(table):
        done.clusters.add(name)
        if writer.state(name).source not in ("", SOURCE):  # it is asked for them all the time
            done.left += rows.num_rows
            continue
        done.rows += writer.upsert(rows, cluster=name)
        _name_source(writer, name)


def _name_source(writer: Writer, cluster: str) -> None:
    if not writer.state(cluster).source:
        writer.set_state(cluster, source=SOURCE)


def _mark(writer: Writer, cluster: str, zone: str, latest_s: int) -> None:
    state = writer.state(cluster)
    if state.source == SOURCE:
        writer.set_state(cluster, synced_s=max(latest_s, state.synced_s or 0) or None, zone=zone)
