"""Saved filters of the history: named addresses, each a person's own; one of them can be what the page begins with."""

from __future__ import annotations

import secrets
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session as DbSession

from backend.accounting.history.words import of_query, read_words
from backend.identity import Viewer, policy
from backend.store import Database, audit
from backend.store.models import SavedFilter

MOST = 50  # of one person
LONGEST_NAME = 80
LONGEST_QUERY = 2000


class FilterRefused(Exception):
    """It is not kept; the message is for the person. `part`: the field it is about."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


class FilterNotFound(Exception):
    """There is none, or it is another's."""


@dataclass(frozen=True)
class Filter:
    """`query`: the words of the address, `state=FAILED&window=90d`. `start`: the page begins with it."""

    id: str
    name: str
    query: str
    start: bool
    created_s: int


class SavedFilters:
    """Blocking, used from any thread."""

    def __init__(self, db: Database, zone: str, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._zone = ZoneInfo(zone)
        self._clock = clock

    def of(self, viewer: Viewer) -> list[Filter]:
        """The viewer's, by name."""
        with self._db.read() as rows:
            found = rows.scalars(select(SavedFilter).where(SavedFilter.owner == viewer.name))
            return sorted((_filter(row) for row in found), key=lambda each: (each.name.casefold(), each.id))

    def save(self, viewer: Viewer, name: str, query: str, address: str = "") -> Filter:
        """Raises FilterRefused, NotAsked for an address that asks nothing."""
        name = _checked_name(name)
        self._check_query(query)
        with self._db.begin() as rows:
            mine = select(func.count()).where(SavedFilter.owner == viewer.name)
            if (rows.scalar(mine) or 0) >= MOST:
                raise FilterRefused("name", f"You have {MOST} filters: delete some first.")
            row = SavedFilter(id=secrets.token_hex(8), owner=viewer.name, name=name, query=query, start=False,
                              created_s=int(self._clock()))  # fmt: skip
            rows.add(row)
            audit(rows, viewer.name, "filter.save", row.id, "done", address, name=name)
            return _filter(row)

    def rename(self, viewer: Viewer, filter_id: str, name: str, address: str = "") -> Filter:
        """Raises FilterNotFound, FilterRefused."""
        name = _checked_name(name)
        with self._db.begin() as rows:
            row = self._own(rows, viewer, filter_id)
            row.name = name
            audit(rows, viewer.name, "filter.rename", row.id, "done", address, name=name)
            return _filter(row)

    def delete(self, viewer: Viewer, filter_id: str, address: str = "") -> None:
        """Raises FilterNotFound."""
        with self._db.begin() as rows:
            row = self._own(rows, viewer, filter_id)
            audit(rows, viewer.name, "filter.delete", row.id, "done", address, name=row.name)
            rows.delete(row)

    def start_with(self, viewer: Viewer, filter_id: str, *, start: bool, address: str = "") -> Filter:
        """Begin the page with it, or with none of them. Raises FilterNotFound."""
        with self._db.begin() as rows:
            row = self._own(rows, viewer, filter_id)
            rows.execute(update(SavedFilter).where(SavedFilter.owner == viewer.name).values(start=False))
            row.start = start
            rows.flush()
            audit(rows, viewer.name, "filter.start", row.id, "done", address, start=start)
            return _filter(row)

    def _own(self, rows: DbSession, viewer: Viewer, filter_id: str) -> SavedFilter:
        row = rows.get(SavedFilter, filter_id)
        if row is None or not policy.allowed(viewer, "filter.change", row):
            raise FilterNotFound
        return row

    def _check_query(self, query: str) -> None:
        if len(query) > LONGEST_QUERY:
            raise FilterRefused("query", "That filter is too long to be kept.")
        read_words(of_query(parse_qsl(query)), zone=self._zone, now_s=self._clock())


def _checked_name(text: str) -> str:
    name = " ".join(text.split())
    if not 1 <= len(name) <= LONGEST_NAME or any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        raise FilterRefused("name", f"A filter needs a name of 1 to {LONGEST_NAME} characters.")
    return name


def _filter(row: SavedFilter) -> Filter:
    return Filter(row.id, row.name, row.query, row.start, row.created_s)
