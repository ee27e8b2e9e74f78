"""Which account belongs to which project."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

Parents = Mapping[str, Mapping[str, str]]  # by cluster: each account's parent


@dataclass(frozen=True)
class Project:
    """`accounts`: as the file names them, `bio` or (of one cluster alone) `alpha:bio`; those below belong to it too."""

    name: str
    title: str
    accounts: tuple[str, ...]

    @property
    def heads(self) -> frozenset[str]:
        """The accounts it names, without the clusters."""
        return frozenset(account.rpartition(":")[2] for account in self.accounts)


@dataclass(frozen=True)
class Projects:
    """All of them. `version` grows with every change."""

    listed: tuple[Project, ...] = ()
    version: int = 0

    def named(self, name: str) -> Project | None:
        return next((project for project in self.listed if project.name == name), None)

    def of_accounts(self, parents: Parents) -> dict[tuple[str, str], str]:
        """The project's name by cluster and account; an account of no project is not among them.

        The nearest account that is named, the account itself first, decides; `alpha:bio` goes before `bio`.
        """
        found: dict[tuple[str, str], str] = {}
        for cluster, above in parents.items():
            named = self._named(cluster)
            for account in {*above, *named}:
                nearest = next((each for each in _upwards(account, above) if each in named), None)
                if nearest is not None:
                    found[cluster, account] = named[nearest]
        return found

    def strangers(self, known: Collection[tuple[str, str]]) -> list[str]:
        """The accounts, as written, that are not among the known (cluster, name); none while none is known."""
        clusters = {cluster for cluster, _ in known}
        return [
            said
            for project in self.listed
            for said in project.accounts
            for of_cluster, _, account in [said.rpartition(":")]
            if known and not any((cluster, account) in known for cluster in ([of_cluster] if of_cluster else clusters))
        ]

    def _named(self, cluster: str) -> dict[str, str]:
        """The project's name by account, of those that are named for this cluster."""
        everywhere: dict[str, str] = {}
        here: dict[str, str] = {}
        for project in self.listed:
            for said in project.accounts:
                of_cluster, colon, account = said.rpartition(":")
                if not colon:
                    everywhere[account] = project.name
                elif of_cluster == cluster:
                    here[account] = project.name
        return everywhere | here


class Declared(Protocol):
    """Where the projects are kept."""

    def current(self) -> Projects: ...


def _upwards(account: str, above: Mapping[str, str]) -> Iterator[str]:
    """The account and those above it, each once."""
    seen: set[str] = set()
    while account and account not in seen:
        seen.add(account)
        yield account
        account = above.get(account, "")
