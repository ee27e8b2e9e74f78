"""Prices and budgets as plain frozen facts, what may be asked of them, and how it can fail."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

LARGEST = Decimal(10) ** 12
DECIMALS = 8
# What a budget can be in, and how an amount of it is called.
METRICS = {"cost": "Cost", "gpu_hours": "GPU hours", "cpu_hours": "CPU hours", "billing_hours": "Billing hours"}
THRESHOLDS = (50, 80, 100)


class BudgetError(Exception):
    """A price or a budget can't be had or kept; the message is for the person."""


class BudgetNotFound(BudgetError):
    """There is none, or none the viewer may see: both look alike."""

    def __init__(self) -> None:
        super().__init__("There is no such budget, or it is not shown to you.")


class BudgetRefused(BudgetError):
    """What is asked for is not possible or not allowed. `part`: the field to change."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True)
class PriceDraft:
    """A price as a person wants it. `day`: as 2026-11-01, in the site's zone."""

    tres: str
    amount: str
    day: str
    partition: str = ""
    qos: str = ""


@dataclass(frozen=True)
class PriceRow:
    """A price of the list. `until_s`: when the next one of the same takes its place."""

    id: str
    tres: str
    partition: str
    qos: str
    amount: str
    from_s: int
    until_s: int | None
    created_s: int
    created_by: str


@dataclass(frozen=True)
class BudgetDraft:
    """A budget as a person wants it: of an account or of a project, the other is "".

    Days as 2026-11-01, in the site's zone; `until` is its last one.
    """

    account: str
    metric: str
    amount: str
    since: str
    until: str
    thresholds: tuple[int, ...] = THRESHOLDS
    watchers: tuple[str, ...] = ()
    note: str = ""
    project: str = ""


@dataclass(frozen=True)
class BudgetRow:
    """A budget, of an account or of a project: the other is ""."""

    id: str
    account: str
    metric: str
    amount: Decimal
    from_s: int
    until_s: int
    thresholds: tuple[int, ...]
    watchers: tuple[str, ...]
    note: str
    edition: int
    created_s: int
    created_by: str
    ended_s: int | None
    ended_by: str | None
    project: str = ""

    @property
    def whose(self) -> str:
        """`physics`, or `project folding`."""
        return f"project {self.project}" if self.project else self.account


@dataclass(frozen=True)
class Notice:
    """A threshold that was reached. `mails`: to whom, how it went, why."""

    threshold: int
    used: float
    reached_s: int
    state: str
    mails: tuple[dict[str, str], ...]
    edition: int


def decimal_of(text: str, part: str = "amount", *, zero: bool = False) -> Decimal:
    """An amount of money or hours, exact. Raises BudgetRefused."""
    plain = text.strip().replace("\u202f", "").replace("'", "")
    try:
        value = Decimal(plain)
    except InvalidOperation as error:
        hint = f" Write it like {plain.replace(',', '.')}." if plain.count(",") == 1 and "." not in plain else ""
        raise BudgetRefused(part, f"Write a number with a point, such as 0.05.{hint}") from error
    if not value.is_finite() or value < 0 or value > LARGEST:
        raise BudgetRefused(part, "It must be between 0 and a million million.")
    if not zero and value == 0:
        raise BudgetRefused(part, "It must be more than 0.")
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > DECIMALS:
        raise BudgetRefused(part, f"At most {DECIMALS} decimals.")
    return value


def plain(value: Decimal) -> str:
    """Without an exponent and without zeros at the end."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
