"""Whose jobs and which: the scope and the filters of a question as conditions with parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from backend.accounting.usage.figures.atoms import DIMENSIONS, Sql, quoted
from backend.accounting.usage.terms.question import Scope

# A dimension's expression: of a row of `jobs`, or the column of the roll-up.
Column = Callable[[str], str]
Where = tuple[tuple[str, tuple[str, ...]], ...]


def of_jobs(name: str) -> str:
    return f"({DIMENSIONS[name]})"


def of_atoms(name: str) -> str:
    return quoted(name)


@dataclass(frozen=True)
class AccountTree:
    """Which accounts lie below which, by cluster; deleted ones too, for their jobs are still there."""

    children: Mapping[str, Mapping[str, frozenset[str]]]

    @classmethod
    def read(cls, con: duckdb.DuckDBPyConnection) -> AccountTree:
        children: dict[str, dict[str, set[str]]] = {}
        for cluster, name, parent in con.execute("SELECT cluster, name, parent FROM accounts").fetchall():
            below = children.setdefault(cluster, {})
            if parent and parent != name:
                below.setdefault(parent, set()).add(name)
        return cls(
            {cluster: {name: frozenset(names) for name, names in below.items()} for cluster, below in children.items()}
        )

    def below(self, names: Iterable[str]) -> dict[str, frozenset[str]]:
        """The accounts and all below them, by cluster."""
        names = frozenset(names)
        found = {}
        for cluster, children in self.children.items():
            seen: set[str] = set()
            rest = list(names)
            while rest:
                name = rest.pop()
                if name not in seen:
                    seen.add(name)
                    rest.extend(children.get(name, ()))
            found[cluster] = frozenset(seen)
        return found


def jobs_in_scope(con: duckdb.DuckDBPyConnection, scope: Scope) -> Sql:
    """A condition on rows of `jobs`, or of `ended_jobs` and `open_jobs`: those that the scope lets see."""
    return scope_condition(scope, AccountTree.read(con), of_jobs)


def scope_condition(scope: Scope, tree: AccountTree, column: Column) -> Sql:
    """Rows that the scope lets see; of an empty scope none."""
    if scope.everything:
        return Sql("true")
    ways: list[str] = []
    values: dict[str, Any] = {}
    if scope.uid is not None:
        ways.append(f"{column('uid')} = $scope_uid")
        values["scope_uid"] = scope.uid
    if scope.user is not None:
        # A name may have belonged to somebody else: where the row knows its uid, that decides.
        unknown = f"{column('uid')} IS NULL AND " if scope.uid is not None else ""
        ways.append(f"({unknown}{column('user')} = $scope_user)")
        values["scope_user"] = scope.user
    if scope.accounts:
        accounts = _accounts(tree, scope.accounts, column, "scope_account")
        ways.append(accounts.text)
        values |= accounts.values
    return Sql(f"({' OR '.join(ways)})" if ways else "false", values)


def filter_condition(where: Where, tree: AccountTree, column: Column, prefix: str = "where") -> Sql:
    """Rows that pass the filters. An empty value stands for jobs that have none."""
    tests, values = ["true"], dict[str, Any]()
    merged: dict[str, tuple[str, ...]] = {}
    for name, wanted in where:
        merged[name] = (*merged.get(name, ()), *wanted)
    for name, wanted in merged.items():
        key = f"{prefix}_{name}"
        if name == "account":
            condition = _accounts(tree, [value for value in wanted if value], column, key)
        else:
            condition = Sql(f"{column(name)} IN (SELECT unnest(${key}))", {key: [value for value in wanted if value]})
            if len(wanted) == 1 and wanted[0]:
                condition = Sql(f"{column(name)} = ${key}", {key: wanted[0]})
        text = condition.text if any(wanted) else "false"
        tests.append(f"({text} OR {column(name)} IS NULL)" if "" in wanted else text)
        if any(wanted):
            values |= condition.values
    return Sql(" AND ".join(tests), values)


def cell_condition(cell: Mapping[str, str | None], column: Column) -> Sql:
    """Rows of one group of an answer: here an account is only itself."""
    tests, values = ["true"], dict[str, Any]()
    for name, value in cell.items():
        if value is None:
            tests.append(f"{column(name)} IS NULL")
        else:
            tests.append(f"{column(name)} = $cell_{name}")
            values[f"cell_{name}"] = value
    return Sql(" AND ".join(tests), values)


def _accounts(tree: AccountTree, names: Iterable[str], column: Column, key: str) -> Sql:
    names = frozenset(names)
    below = tree.below(names)
    everywhere = names.union(*below.values())
    if all(everywhere in (names, accounts) for accounts in below.values()):
        # The tree is the same everywhere, or there is one: a plain list, which the files' statistics understand.
        return Sql(f"list_contains(${key}, {column('account')})", {key: sorted(everywhere)})
    pairs = sorted((cluster, account) for cluster, accounts in below.items() for account in accounts - names)
    return Sql(
        f"(list_contains(${key}, {column('account')}) OR "
        f"list_contains(${key}_pairs, {{'c': {column('cluster')}, 'a': {column('account')}}}))",
        {key: sorted(names), f"{key}_pairs": [{"c": cluster, "a": account} for cluster, account in pairs]},
    )
