"""Names behind the numbers of a job's row: associations, users, groups, QOS, reservations, wckeys, TRES.

What was deleted keeps its row in slurmdbd as long as a job needs it; what was removed all the same shows as its
number, as in sacct.
"""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backend.accounting import model
from backend.accounting.dbd.connection import Connection
from backend.accounting.dbd.rows.bulk import INT, TEXT, Field, read, text_of
from backend.accounting.dbd.rows.tres import TresParser
from backend.accounting.dbd.schema import Schema


class Lookup:
    """Number → name, for whole columns."""

    def __init__(self, names: Mapping[int, str | None]) -> None:
        self.names = dict(names)
        known = sorted((number, name) for number, name in self.names.items() if name is not None)
        words = {name: at for at, name in enumerate(dict.fromkeys(name for _, name in known))}
        self._keys = np.array([number for number, _ in known] or [-1], np.int64)
        self._codes = np.array([words[name] for _, name in known] or [-1], np.int32)
        self._words = pa.array(list(words), pa.string())

    def column(self, numbers: npt.NDArray[np.int64]) -> pa.DictionaryArray:
        """The names; null where there is none."""
        at = np.minimum(np.searchsorted(self._keys, numbers), len(self._keys) - 1)
        codes = np.where(self._keys[at] == numbers, self._codes[at], -1).astype(np.int32)
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32(), mask=codes < 0), self._words)

    def unknown(self, numbers: npt.NDArray[np.int64]) -> list[int]:
        """Those that have no entry."""
        at = np.minimum(np.searchsorted(self._keys, numbers), len(self._keys) - 1)
        unnamed = numbers[self._keys[at] != numbers]
        return [number for number in sorted(set(unnamed.tolist())) if number not in self.names]


class Asked:
    """Number → name by asking for each number once: users and groups of this machine, numbers as they are."""

    def __init__(self, ask: Callable[[int], str | None]) -> None:
        self._ask = ask
        self._names: dict[int, str | None] = {}

    def column(self, numbers: npt.NDArray[np.int64]) -> pa.DictionaryArray:
        """The names; null where there is none."""
        coded = pa.array(numbers, pa.int64()).dictionary_encode()
        asked: list[int] = coded.dictionary.to_pylist()
        for number in asked:
            if number not in self._names:
                self._names[number] = self._ask(number)
        words = list(dict.fromkeys(name for number in asked if (name := self._names[number]) is not None))
        place = {name: at for at, name in enumerate(words)}
        found = [self._names[number] for number in asked]
        codes = pa.array([None if name is None else place[name] for name in found], pa.int32())
        return pa.DictionaryArray.from_arrays(codes.take(coded.indices), pa.array(words, pa.string()))


@dataclass
class Names:
    """All names of one cluster, as of one moment."""

    users: Lookup  # by association
    accounts: Lookup  # by association
    qos: Lookup
    reservations: Lookup
    wckeys: Lookup
    tres: TresParser
    groups: Asked = field(default_factory=lambda: Asked(group_name))
    uids: Asked = field(default_factory=lambda: Asked(user_name))


def group_name(gid: int) -> str | None:
    """A group's name, or its number; root's group is one as any other."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def user_name(uid: int) -> str:
    """A user's name, or its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def read_tres(connection: Connection) -> dict[int, str]:
    """TRES names as Slurm prints them, by id: cpu, mem, gres/gpu:a100. Raises SourceError."""
    fields = [Field("id", "id"), Field("type", "type", TEXT), Field("name", "name", TEXT)]
    table = read(connection, fields, "tres_table")
    kinds, names = text_of(table["type"]).to_pylist(), text_of(table["name"]).to_pylist()
    return {
        number: f"{kind}/{name}" if name else kind
        for number, kind, name in zip(table["id"].to_pylist(), kinds, names, strict=True)
    }


def read_names(connection: Connection, schema: Schema, cluster: str, tres: Mapping[int, str]) -> Names:
    """Raises SourceError."""
    assoc = read(
        connection,
        [Field("id", "id_assoc"), Field("user", "user", TEXT), Field("acct", "acct", TEXT)],
        schema.table(cluster, "assoc_table"),
    )
    ids = assoc["id"].to_pylist()
    users = [user or None for user in text_of(assoc["user"]).to_pylist()]
    return Names(
        users=Lookup(dict(zip(ids, users, strict=True))),
        accounts=Lookup(dict(zip(ids, text_of(assoc["acct"]).to_pylist(), strict=True))),
        qos=_numbered(connection, "qos_table", "id", "name"),
        # A reservation that was changed has a row for each span; the name is the same, or the last one given.
        reservations=_numbered(
            connection, schema.table(cluster, "resv_table"), "id_resv", "resv_name", order="time_start"
        ),
        wckeys=_numbered(connection, schema.table(cluster, "wckey_table"), "id_wckey", "wckey_name"),
        tres=TresParser(tres),
    )


def _numbered(connection: Connection, table: str, number: str, name: str, order: str = "") -> Lookup:
    fields = [Field("id", number), Field("name", name, TEXT), Field("at", order or "0", INT)]
    found = read(connection, fields, table).sort_by("at")
    return Lookup(dict(zip(found["id"].to_pylist(), text_of(found["name"]).to_pylist(), strict=True)))


def read_accounts(connection: Connection, schema: Schema, cluster: str) -> pa.Table:
    """The account tree of a cluster with its coordinators, schema ACCOUNTS. Raises SourceError.

    The tree is in the accounts' own associations (`user` is empty); `parent_acct` holds in every release, where
    `lft` and `rgt` went and `lineage` came.
    """
    own = read(
        connection,
        [Field("acct", "acct", TEXT), Field("parent", "parent_acct", TEXT), Field("deleted", "deleted")],
        f"{schema.table(cluster, 'assoc_table')} WHERE user = ''",
    )
    told = read(
        connection,
        [Field("name", "name", TEXT), Field("description", "description", TEXT),
         Field("organization", "organization", TEXT), Field("deleted", "deleted")],
        "acct_table",
    )  # fmt: skip
    coordinating = read(
        connection, [Field("acct", "acct", TEXT), Field("user", "user", TEXT)], "acct_coord_table WHERE deleted = 0"
    )
    coordinators: dict[str, list[str]] = {}
    pairs = zip(text_of(coordinating["acct"]).to_pylist(), text_of(coordinating["user"]).to_pylist(), strict=True)
    for account, user in sorted(pairs):
        coordinators.setdefault(account, []).append(user)
    about = {
        name: (description, organization)
        for name, description, organization in zip(
            *(text_of(told[column]).to_pylist() for column in ("name", "description", "organization")), strict=True
        )
    }
    rows = [
        {
            "name": name,
            "parent": parent or None,
            "description": about.get(name, ("", ""))[0],
            "organization": about.get(name, ("", ""))[1],
            "deleted": bool(deleted),
            "coordinators": coordinators.get(name, []),
        }
        for name, parent, deleted in zip(
            text_of(own["acct"]).to_pylist(), text_of(own["parent"]).to_pylist(), own["deleted"].to_pylist(),
            strict=True,
        )
    ]  # fmt: skip
    return pa.Table.from_pylist(sorted(rows, key=lambda row: str(row["name"])), schema=model.ACCOUNTS)
