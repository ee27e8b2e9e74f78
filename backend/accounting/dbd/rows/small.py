"""The small tables: reservations, what happened to nodes, and the cluster's own hourly roll-up."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from backend.accounting import model
from backend.accounting.dbd.connection import Connection
from backend.accounting.dbd.rows.bulk import REAL, TEXT, Field, read, text_of
from backend.accounting.dbd.rows.tres import TresParser
from backend.accounting.dbd.schema import Schema

# States of a node in the event table, by the base state's number of slurm.h, and the flags that matter here.
NODE_STATES = ("UNKNOWN", "DOWN", "IDLE", "ALLOCATED", "ERROR", "MIXED", "FUTURE")
NODE_BASE = 0xF
NODE_FLAGS = {
    1 << 4: "RESERVED", 1 << 5: "UNDRAIN", 1 << 6: "CLOUD", 1 << 7: "RESUME", 1 << 9: "DRAIN",
    1 << 10: "COMPLETING", 1 << 11: "NO_RESPOND", 1 << 12: "POWERED_DOWN", 1 << 13: "FAIL",
    1 << 14: "POWERING_UP", 1 << 15: "MAINT",
}  # fmt: skip


def read_reservations(connection: Connection, schema: Schema, cluster: str, tres: Mapping[int, str]) -> pa.Table:
    """Every span of every reservation, schema RESERVATIONS. Raises SourceError."""
    # From 25.05 on a reservation that was begun by force counts from that moment
    forced = schema.has(cluster, "resv_table", "time_force")
    found = read(
        connection,
        [
            Field("id", "id_resv"),
            Field("name", "resv_name", TEXT),
            Field("start_s", "GREATEST(time_start, time_force)" if forced else "time_start"),
            Field("end_s", "time_end"),
            Field("tres", "tres", TEXT),
            Field("assocs", "assoclist", TEXT),
            Field("unused_wall_s", "unused_wall", REAL),
            Field("node_list", "nodelist", TEXT),
        ],
        schema.table(cluster, "resv_table"),
    )
    return _as(found, model.RESERVATIONS, tres)


def read_events(connection: Connection, schema: Schema, cluster: str, tres: Mapping[int, str]) -> pa.Table:
    """What happened to nodes, and (with an empty name) to the cluster's size, schema EVENTS. Raises SourceError."""
    found = read(
        connection,
        [
            Field("node", "node_name", TEXT),
            Field("start_s", "time_start"),
            Field("end_s", "NULLIF(time_end, 0)"),
            Field("number", "state"),
            Field("reason", "reason", TEXT),
            Field("tres", "tres", TEXT),
        ],
        schema.table(cluster, "event_table"),
    )
    words = {number: node_state(number) for number in pc.unique(found["number"]).to_pylist()}
    states = pa.array([words[number] for number in found["number"].to_pylist()], pa.string())
    return _as(found.append_column("state", states), model.EVENTS, tres)


def node_state(number: int) -> str:
    """DOWN, IDLE+DRAIN, ... as a node's state is written."""
    base = number & NODE_BASE
    name = NODE_STATES[base] if base < len(NODE_STATES) else f"STATE {base}"
    return "+".join([name, *(word for flag, word in NODE_FLAGS.items() if number & flag)])


def read_capacity(
    connection: Connection, schema: Schema, cluster: str, tres: Mapping[int, str], since_s: int
) -> pa.Table:
    """slurmdbd's hourly roll-up of the whole cluster from an hour on, schema CAPACITY. Raises SourceError."""
    name = "usage_hour_table"
    # resv_secs became plan_secs in 21.08
    planned = "plan_secs" if schema.has(cluster, name, "plan_secs") else "resv_secs"
    ids = ", ".join(str(int(number)) for number in tres)
    found = read(
        connection,
        [
            Field("hour_s", "time_start"),
            Field("id", "id_tres"),
            Field("count", "`count`"),
            Field("alloc_s", "alloc_secs"),
            Field("down_s", "down_secs"),
            Field("planned_down_s", "pdown_secs"),
            Field("idle_s", "idle_secs"),
            Field("planned_s", planned),
            Field("over_s", "over_secs"),
        ],
        f"{schema.table(cluster, name)} FORCE INDEX (PRIMARY) WHERE id_tres IN ({ids or '0'}) AND time_start >= %s",
        (since_s,),
    )
    names = pa.array([tres.get(number, str(number)) for number in found["id"].to_pylist()], pa.string())
    return found.append_column("tres", names).select(model.CAPACITY.names).cast(model.CAPACITY)


def _as(found: pa.Table, wanted: pa.Schema, tres: Mapping[int, str]) -> pa.Table:
    """The columns wanted: texts as text, TRES by name."""
    arrays = []
    for field in wanted:
        column = found[field.name]
        if column.type == TEXT:
            column = text_of(column)
        if field.name == "tres":
            column = TresParser(tres).columns(column).text
        arrays.append(column.cast(field.type))
    return pa.table(arrays, schema=wanted)
