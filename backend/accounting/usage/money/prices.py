"""The price list as the engine needs it: what an hour of each resource costs, where, and from when."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

GPU = "gres/gpu"
# What has a price, and the metric that is priced: for a CPU, a GB (1024 MB), a node, a unit of Slurm's billing weight
# and a GPU, each for an hour.
PRICED = {
    "cpu": "cpu_hours",
    "mem": "mem_gb_hours",
    "node": "node_hours",
    "billing": "billing_hours",
    GPU: "gpu_hours",
}


@dataclass(frozen=True)
class Price:
    """`tres`: one of PRICED, or gres/gpu:TYPE. Without a partition or QOS it is for all of them."""

    tres: str
    amount: Decimal  # of the list's currency, for a unit-hour
    from_s: int
    partition: str = ""
    qos: str = ""

    @property
    def about(self) -> tuple[str, str, str]:
        """What it is the price of: a later price of the same takes its place."""
        return (self.tres, self.partition, self.qos)

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """The greatest one applies: a type of GPU over GPUs of any, partition and QOS over partition over QOS."""
        return (self.tres.startswith(f"{GPU}:"), bool(self.partition), bool(self.qos))

    def meets(self, other: Price) -> bool:
        """Whether some usage could have either price."""
        pair = {self.tres, other.tres}
        same = len(pair) == 1 or (GPU in pair and all(tres.startswith(GPU) for tres in pair))
        return (
            same
            and (not self.partition or not other.partition or self.partition == other.partition)
            and (not self.qos or not other.qos or self.qos == other.qos)
        )


@dataclass(frozen=True)
class Segment:
    """A stretch of time in which no price changes: [from_s, to_s)."""

    from_s: int
    to_s: int


@dataclass(frozen=True)
class PriceList:
    """`version` grows with every change of it."""

    prices: tuple[Price, ...] = ()
    currency: str = ""
    version: int = 0

    @property
    def first_s(self) -> int | None:
        """When the first price came into force; None without any."""
        return min((price.from_s for price in self.prices), default=None)

    def segments(self, since_s: int, until_s: int) -> tuple[Segment, ...]:
        """The window cut where prices change, without what lies before the first."""
        if self.first_s is None or self.first_s >= until_s:
            return ()
        start_s = max(since_s, self.first_s)
        cuts = sorted({start_s, until_s, *(p.from_s for p in self.prices if start_s < p.from_s < until_s)})
        return tuple(Segment(*pair) for pair in itertools.pairwise(cuts))

    def in_force(self, at_s: int) -> tuple[Price, ...]:
        """Of each thing with a price the newest one that has begun."""
        found: dict[tuple[str, str, str], Price] = {}
        for price in self.prices:
            known = found.get(price.about)
            if price.from_s <= at_s and (known is None or known.from_s < price.from_s):
                found[price.about] = price
        return tuple(found.values())


def rates(in_force: Iterable[Price], partition: str | None, qos: str | None, gpu_type: str | None) -> dict[str, float]:
    """What a unit-hour of each of PRICED costs for such jobs; nothing where no price applies."""
    best: dict[str, Price] = {}
    for price in in_force:
        base, _, kind = price.tres.partition(":")
        if (kind and kind != gpu_type) or price.partition not in ("", partition) or price.qos not in ("", qos):
            continue
        if base not in best or best[base].rank < price.rank:
            best[base] = price
    return {base: float(best[base].amount) if base in best else 0.0 for base in PRICED}


class Prices(Protocol):
    """Where the price list is kept."""

    def current(self) -> PriceList: ...


class NoPrices:
    """A site that charges nothing."""

    def current(self) -> PriceList:
        return PriceList()
