"""Whose jobs and which: the scope and the filters of a question as conditions with parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb

from backend.accounting.projects import Projects
from backend.accounting.usage.figures.atoms import DIMENSIONS, WORKED_OUT, Sql, quoted
from backend.accounting.usage.terms.catalogue import PROJECT
from backend.accounting.usage.terms.question import Scope

# A dimension's expression: of a row of `jobs`, or the column of the roll-up.
Column = Callable[[str], str]
Where = tuple[tuple[str, tuple[str, ...]], ...]
NO_PROJECTS = Projects()


def of_jobs(name: str) -> str:
    return f"({DIMENSIONS[name]})"


def of_atoms(name: str) -> str:
    return f"({DIMENSIONS[name]})" if name in WORKED_OUT else quoted(name)


@dataclass(frozen=True)
class AccountTree:
    """Which accounts lie below which, by cluster; deleted ones too, for their jobs are still there. And the project of
    each account that is in one."""

    children: Mapping[str, Mapping[str, frozenset[str]]]
    projects: Mapping[tuple[str, str], str] = field(default_factory=dict)  # by cluster and account

    @classmethod
    def read(
        cls, con: duckdb.DuckDBPyConnection, projects: Projects = NO_PROJECTS, clusters: Iterable[str] = ()
    ) -> AccountTree:
        """`clusters`: those that have jobs, whether or not their accounts are known."""
        children: dict[str, dict[str, set[str]]] = {}
        parents: dict[str, dict[str, str]] = {cluster: {} for cluster in clusters}
        # Where an account is there twice, the one that is still in use says what is above it.
        found = con.execute("SELECT cluster, name, parent FROM accounts ORDER BY deleted DESC").fetchall()
        for cluster, name, parent in found:
            below = children.setdefault(cluster, {})
            parents.setdefault(cluster, {})[name] = parent or ""
            if parent and parent != name:
                below.setdefault(parent, set()).add(name)
        return cls(
            {cluster: {name: frozenset(names) for name, names in below.items()} for cluster, below in children.items()},
            projects.of_accounts(parents),
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


def jobs_in_scope(scope: Scope, tree: AccountTree) -> Sql:
    """A condition on rows of `jobs`, or of `ended_jobs` and `open_jobs`: those that the scope lets see."""
    return scope_condition(scope, tree, of_jobs)


def put_projects(con: duckdb.DuckDBPyConnection, tree: AccountTree) -> None:
    """Makes the temporary table in which the dimension project looks an account up."""
    pairs = sorted(tree.projects.items())
    con.execute(
        "CREATE OR REPLACE TEMP TABLE project_of AS SELECT unnest($clusters::VARCHAR[]) AS of_cluster, "
        "unnest($accounts::VARCHAR[]) AS of_account, unnest($names::VARCHAR[]) AS of_name",
        {
            "clusters": [cluster for (cluster, _), _ in pairs],
            "accounts": [account for (_, account), _ in pairs],
            "names": [name for _, name in pairs],
        },
    )


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
        if name == PROJECT:
            condition = _projects(tree, wanted, column, key)
            tests.append(condition.text)
            values |= condition.values
            continue
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


def cell_condition(cell: Mapping[str, str | None], tree: AccountTree, column: Column) -> Sql:
    """Rows of one group of an answer: here an account is only itself."""
    tests, values = ["true"], dict[str, Any]()
    for name, value in cell.items():
        if name == PROJECT:
            condition = _projects(tree, (value or "",), column, "cell_project")
            tests.append(condition.text)
            values |= condition.values
        elif value is None:
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


def _projects(tree: AccountTree, names: Iterable[str], column: Column, key: str) -> Sql:
    """Rows of the accounts of these projects; of "" those of accounts that are in none.

    By account, not by the dimension: a test of columns that the files and the roll-up hold.
    """
    names = frozenset(names)
    wanted = [pair for pair, name in tree.projects.items() if name in names]
    text, values = _among(wanted, column, key)
    if "" not in names:
        return Sql(text, values)
    none, of_any = _among(tree.projects, column, f"{key}_any")
    return Sql(f"({text} OR coalesce(NOT {none}, true))", {**values, **of_any})


def _among(pairs: Iterable[tuple[str, str]], column: Column, key: str) -> tuple[str, dict[str, Any]]:
    rows = [{"c": cluster, "a": account} for cluster, account in sorted(pairs)]
    if not rows:
        return "false", {}
    # The first test is implied by the second, and is one that the files' statistics understand.
    return (
        f"(list_contains(${key}, {column('account')}) AND "
        f"{{'c': {column('cluster')}, 'a': {column('account')}}} IN (SELECT unnest(${key}_pairs)))",
        {key: sorted({row["a"] for row in rows}), f"{key}_pairs": rows},
    )
