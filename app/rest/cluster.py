"""The cluster: what there is, what is in use, how fresh the facts are."""

from __future__ import annotations

from typing import Any, ClassVar

from app.rest import schemas
from app.rest.base import Operation, Parameter, RestHandler
from app.rest.schemas import NUMBER, TEXT, many, maybe, plain, thing
from backend.cluster import NODES, PARTITIONS, RESERVATIONS, Part, Snapshot
from backend.cluster.views import (
    GpuModel,
    QueueSummary,
    Totals,
    gpus_by_model,
    node_kind,
    queue_summary,
    totals,
)

FRESHNESS = thing(
    {
        "taken_s": maybe(NUMBER),
        "duration_s": maybe(NUMBER),
        "every_s": NUMBER,
        "error": maybe(TEXT),
        "failing_since_s": maybe(NUMBER),
    }
)
PARTS = ("jobs", "nodes", "partitions", "reservations", "qos", "associations", "accounts")


def freshness(part: Part) -> dict[str, Any]:
    """How old a part of the snapshot is, and why the last attempt failed."""
    return {
        "taken_s": part.taken_s,
        "duration_s": part.duration_s,
        "every_s": part.every_s,
        "error": part.error,
        "failing_since_s": part.failing_since_s,
    }


class ClusterHandler(RestHandler):
    """Reads the newest snapshot."""

    def snapshot(self) -> Snapshot:
        """Blocks for the disk."""
        self.services.snapshots.refresh()
        return self.services.snapshots.current


class Cluster(ClusterHandler):
    """`/cluster`."""

    operations: ClassVar = {
        "GET": Operation(
            "The cluster in numbers",
            {
                200: thing(
                    {
                        "cluster": TEXT,
                        "totals": schemas.of(Totals),
                        "gpus": many(schemas.of(GpuModel)),
                        "queue": schemas.of(QueueSummary),
                        "parts": thing(dict.fromkeys(PARTS, FRESHNESS)),
                    }
                )
            },
        )
    }

    async def get(self) -> None:
        self.json(await self.run(self._summary))

    def _summary(self) -> dict[str, Any]:
        snapshot = self.snapshot()
        found: dict[str, Any] = plain(
            {
                "cluster": snapshot.cluster,
                "totals": totals(snapshot),
                "gpus": gpus_by_model(snapshot),
                "queue": queue_summary(snapshot),
                "parts": {name: freshness(getattr(snapshot, name)) for name in PARTS},
            }
        )
        return found


class Nodes(ClusterHandler):
    """`/cluster/nodes`."""

    operations: ClassVar = {
        "GET": Operation(
            "Every node: state, resources, what is in use, who drained it and why",
            {200: thing({"nodes": many(schemas.of_rows(NODES, {"kind": TEXT})), "freshness": FRESHNESS})},
            parameters=(Parameter("partition", TEXT, "only nodes of this partition", many=True),),
        )
    }

    async def get(self) -> None:
        self.json(await self.run(self._find))

    def _find(self) -> dict[str, Any]:
        part, wanted = self.snapshot().nodes, set(self.texts("partition"))
        rows = [row for row in part.rows() if not wanted or not wanted.isdisjoint(row["partitions"] or [])]
        shown = [{**row, "kind": node_kind(row["state"], row["flags"])} for row in rows]
        return {"nodes": plain(shown), "freshness": plain(freshness(part))}


class Partitions(ClusterHandler):
    """`/cluster/partitions`."""

    operations: ClassVar = {
        "GET": Operation(
            "Every partition with its limits",
            {200: thing({"partitions": many(schemas.of_rows(PARTITIONS)), "freshness": FRESHNESS})},
        )
    }

    async def get(self) -> None:
        part = (await self.run(self.snapshot)).partitions
        self.json({"partitions": plain(part.rows()), "freshness": plain(freshness(part))})


class Reservations(ClusterHandler):
    """`/cluster/reservations`."""

    operations: ClassVar = {
        "GET": Operation(
            "Every reservation",
            {200: thing({"reservations": many(schemas.of_rows(RESERVATIONS)), "freshness": FRESHNESS})},
        )
    }

    async def get(self) -> None:
        part = (await self.run(self.snapshot)).reservations
        self.json({"reservations": plain(part.rows()), "freshness": plain(freshness(part))})
