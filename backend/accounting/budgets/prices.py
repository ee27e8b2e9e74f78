"""The price list in the database: history is never rewritten.

What has been reckoned with a price keeps it. So a price that is in force is neither changed nor deleted, a later one
follows it from a later day; and one that would take the place of a wider price (the same resource, less narrowed) can't
begin where that one has been in force. Only usage that never had a price may get one afterwards.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.orm import Session as DbSession

from backend.accounting.budgets.days import day_of, name_of, start_s, tomorrow_s
from backend.accounting.budgets.model import BudgetNotFound, BudgetRefused, PriceDraft, PriceRow, decimal_of, plain
from backend.accounting.usage import GPU, PRICED, Price, PriceList
from backend.identity import Viewer, policy
from backend.store import Database, audit
from backend.store.models import ListedPrice, PriceListState

LIST_ID = 1
LONGEST_NAME = 64
MOST_PRICES = 2000
GPU_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
CURRENCY = re.compile(r"[^\W\d_]{1,8}|[$€£¥₹₽₩₺]")


class PriceBook:
    """Blocking, used from any thread. `zone`: the site's, in which days begin."""

    def __init__(self, db: Database, zone: str, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._zone = zone
        self._clock = clock
        self._lock = threading.Lock()
        self._known = PriceList(version=-1)

    def current(self) -> PriceList:
        """As it is now; read anew only when it has changed."""
        with self._db.read() as rows:
            state = rows.get(PriceListState, LIST_ID)
            version, currency = (state.version, state.currency) if state is not None else (0, "")
            if self._known.version == version:
                return self._known
            found = PriceList(tuple(_price(row) for row in rows.scalars(select(ListedPrice))), currency, version)
        with self._lock:
            if self._known.version < version:
                self._known = found
        return found

    def listed(self) -> list[PriceRow]:
        """All of it, each thing's newest price first."""
        with self._db.read() as rows:
            found = list(rows.scalars(select(ListedPrice).order_by(
                ListedPrice.tres, ListedPrice.partition, ListedPrice.qos, ListedPrice.from_s.desc()
            )))  # fmt: skip
        after: dict[tuple[str, str, str], int] = {}
        listed = []
        for row in found:
            key = (row.tres, row.partition, row.qos)
            listed.append(PriceRow(
                row.id, row.tres, row.partition, row.qos, row.amount, row.from_s, after.get(key), row.created_s,
                row.created_by,
            ))  # fmt: skip
            after[key] = row.from_s
        return listed

    def set(self, viewer: Viewer, draft: PriceDraft, address: str = "") -> str:
        """A new price; one of the same thing and day that is not in force yet is replaced. Raises BudgetRefused."""
        self._may(viewer)
        price = self._read(draft)
        with self._db.begin() as rows:
            known = list(rows.scalars(select(ListedPrice)))
            if len(known) >= MOST_PRICES:
                raise BudgetRefused("tres", f"The price list holds {MOST_PRICES} prices: no more fit.")
            self._keeps_history(price, [_price(row) for row in known])
            same = [row for row in known if _price(row).about == price.about and row.from_s == price.from_s]
            now_s = int(self._clock())
            row = same[0] if same else ListedPrice(
                id=secrets.token_hex(16), tres=price.tres, partition=price.partition, qos=price.qos,
                from_s=price.from_s,
            )  # fmt: skip
            before = row.amount if same else None
            row.amount, row.created_s, row.created_by = plain(price.amount), now_s, viewer.name
            rows.add(row)
            self._changed(rows)
            audit(
                rows, viewer.name, "prices.set", _target(price), address=address, amount=row.amount,
                day=name_of(price.from_s, self._zone), before=before,
            )  # fmt: skip
            return row.id

    def withdraw(self, viewer: Viewer, price_id: str, address: str = "") -> None:
        """Take back a price that is not in force yet. Raises BudgetNotFound, BudgetRefused."""
        self._may(viewer)
        with self._db.begin() as rows:
            row = rows.get(ListedPrice, price_id)
            if row is None:
                raise BudgetNotFound
            if row.from_s <= self._clock():
                raise BudgetRefused(
                    "day", "This price is in force: usage has been reckoned with it. Let a later price follow it."
                )
            rows.delete(row)
            self._changed(rows)
            audit(
                rows, viewer.name, "prices.withdraw", _target(_price(row)), address=address, amount=row.amount,
                day=name_of(row.from_s, self._zone),
            )  # fmt: skip

    def set_currency(self, viewer: Viewer, currency: str, address: str = "") -> None:
        """Raises BudgetRefused: also once a price is in force, whose amount would mean something else."""
        self._may(viewer)
        text = currency.strip()
        if not CURRENCY.fullmatch(text):
            raise BudgetRefused("currency", "Write a short name or a sign, such as EUR or €.")
        with self._db.begin() as rows:
            state = rows.get(PriceListState, LIST_ID)
            if state is not None and state.currency == text:
                return
            now_s = self._clock()
            if state is not None and state.currency and any(
                row.from_s <= now_s for row in rows.scalars(select(ListedPrice))
            ):  # fmt: skip
                raise BudgetRefused(
                    "currency", f"Prices in {state.currency} are in force: their amounts would mean something else."
                )
            before = state.currency if state is not None else ""
            self._changed(rows).currency = text
            audit(rows, viewer.name, "prices.currency", text, address=address, before=before)

    def _may(self, viewer: Viewer) -> None:
        if not policy.allowed(viewer, "prices.edit"):
            raise BudgetRefused("tres", "Only operators and admins set prices.")

    def _changed(self, rows: DbSession) -> PriceListState:
        state = rows.get(PriceListState, LIST_ID)
        if state is None:
            state = PriceListState(id=LIST_ID, currency="", version=0)
            rows.add(state)
        state.version += 1
        return state

    def _read(self, draft: PriceDraft) -> Price:
        tres = draft.tres.strip()
        base, colon, kind = tres.partition(":")
        if base not in PRICED or (colon and base != GPU):
            raise BudgetRefused("tres", f"Prices are for {', '.join(PRICED)} and {GPU}:TYPE.")
        if colon and not GPU_TYPE.fullmatch(kind):
            raise BudgetRefused("tres", "Name the type of GPU as Slurm does, such as a100.")
        for part, name in (("partition", draft.partition), ("qos", draft.qos)):
            if len(name.strip()) > LONGEST_NAME or any(not each.isprintable() or each == "," for each in name):
                raise BudgetRefused(part, "Write one name as Slurm has it.")
        day = day_of(draft.day, "day")
        return Price(
            tres, decimal_of(draft.amount, zero=True), start_s(day, self._zone), draft.partition.strip(),
            draft.qos.strip(),
        )  # fmt: skip

    def _keeps_history(self, price: Price, known: Iterable[Price]) -> None:
        """Raises BudgetRefused when usage that has a price would get another one."""
        next_s = tomorrow_s(self._clock(), self._zone)
        if price.from_s >= next_s:
            return
        tomorrow = name_of(next_s, self._zone)
        for other in known:
            if other.from_s >= next_s:  # not in force yet
                continue
            if other.about == price.about:
                since = name_of(other.from_s, self._zone)
                raise BudgetRefused(
                    "day",
                    f"This has a price since {since}, and what was reckoned stays: a new one can begin on {tomorrow} "
                    "at the earliest. Only what never had a price may begin in the past.",
                )
            if other.meets(price) and other.rank < price.rank:
                since = name_of(other.from_s, self._zone)
                raise BudgetRefused(
                    "day",
                    f"Such usage has had the price of {_target(other)} since {since}, and what was reckoned stays: "
                    f"this one can begin on {tomorrow} at the earliest.",
                )


def _price(row: ListedPrice) -> Price:
    return Price(row.tres, Decimal(row.amount), row.from_s, row.partition, row.qos)


def _target(price: Price) -> str:
    narrowed = [f"partition {price.partition}" if price.partition else "", f"QOS {price.qos}" if price.qos else ""]
    return ", ".join([price.tres, *filter(None, narrowed)])
