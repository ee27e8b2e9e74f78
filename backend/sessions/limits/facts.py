"""The parts of a snapshot that bear on a launch, as plain rows, and what of them concerns one person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from backend.cluster.model import ENDED_STATES, Snapshot

Row = Mapping[str, Any]
_NODE_COLUMNS = [
    "name",
    "available",
    "partitions",
    "cpus",
    "cpus_allocated",
    "memory_mb",
    "memory_allocated_mb",
    "gpu_types",
]


@dataclass(frozen=True)
class Facts:
    """What the scheduler offers and forbids, of one snapshot."""

    cluster: str
    partitions: tuple[Row, ...]
    qos: Mapping[str, Row]
    nodes: tuple[Row, ...]
    reservations: tuple[Row, ...]
    accounts: Mapping[str, Row]
    knows_nodes: bool
    knows_associations: bool

    def partition(self, name: str) -> Row | None:
        """The partition of this name."""
        return next((row for row in self.partitions if row["name"] == name), None)

    def default_partition(self) -> Row | None:
        """Where a job goes that names none."""
        return next((row for row in self.partitions if row["default"]), None)

    def nodes_of(self, partition: str) -> list[Row]:
        """The partition's nodes; all of them for ""."""
        return [row for row in self.nodes if not partition or partition in (row["partitions"] or ())]


@dataclass(frozen=True)
class PersonFacts:
    """What concerns one person. `jobs` are those of theirs that wait or run: account, partition and QOS."""

    name: str
    groups: frozenset[str]
    associations: tuple[Row, ...]  # the person's own, and the accounts' rows above them
    jobs: tuple[Row, ...]

    def account_names(self) -> list[str]:
        """The accounts the person may charge, the default one first."""
        own = [row for row in self.associations if row["user"] == self.name]
        own.sort(key=lambda row: (not row["default_account"], row["account"]))
        return list(dict.fromkeys(row["account"] for row in own))

    def chain(self, account: str, partition: str) -> list[Row]:
        """The associations whose limits apply, closest first: the person's, the account's, its parents'."""
        own = [row for row in self.associations if row["user"] == self.name and row["account"] == account]
        own = [row for row in own if row["partition"] in ("", partition)]
        own.sort(key=lambda row: row["partition"] == "")  # the one of this very partition counts first
        found: list[Row] = own[:1]
        above = {row["account"]: row for row in self.associations if row["user"] == ""}
        seen: set[str] = set()
        while account in above and account not in seen:
            seen.add(account)
            found.append(above[account])
            account = above[account]["parent"]
        return found


def facts_of(snapshot: Snapshot) -> Facts:
    """The facts of a snapshot; some milliseconds for thousands of nodes: keep them per `snapshot.version`."""
    return Facts(
        cluster=snapshot.cluster,
        partitions=tuple(snapshot.partitions.rows()),
        qos={row["name"]: row for row in snapshot.qos.rows()},
        nodes=tuple(snapshot.nodes.table.select(_NODE_COLUMNS).to_pylist()),
        reservations=tuple(snapshot.reservations.rows()),
        accounts={row["name"]: row for row in snapshot.accounts.rows()},
        knows_nodes=snapshot.nodes.taken_s is not None and snapshot.nodes.table.num_rows > 0,
        knows_associations=snapshot.associations.taken_s is not None and snapshot.associations.table.num_rows > 0,
    )


def person_facts(snapshot: Snapshot, name: str, groups: Sequence[str]) -> PersonFacts:
    """What of a snapshot concerns this person."""
    table = snapshot.associations.table
    mine = table.filter(pc.or_(pc.equal(table["user"], name), pc.equal(table["user"], "")))
    jobs = snapshot.jobs.table.select(["user", "account", "partition", "qos", "state", "array_pending"])
    jobs = jobs.filter(pc.equal(jobs["user"], name))
    live = [row for row in jobs.to_pylist() if row["state"] not in ENDED_STATES]
    return PersonFacts(name, frozenset(groups), tuple(mine.to_pylist()), tuple(live))
