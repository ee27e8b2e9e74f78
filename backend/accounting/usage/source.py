"""What the engine needs of a warehouse."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import duckdb

from backend.accounting.warehouse import Reading, WarehouseState


class Source(Protocol):
    """Cursors have the views `jobs` with its parts `ended_jobs` and `open_jobs`, `suspends`, `usage_day`, `accounts`
    and `capacity`, of one generation.
    """

    @property
    def generation(self) -> int: ...

    @property
    def state(self) -> WarehouseState: ...

    @property
    def rollup_zone(self) -> str | None: ...

    def refresh(self) -> bool: ...

    def cursor(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]: ...

    def reading(self) -> AbstractContextManager[Reading]: ...


def first_row(con: duckdb.DuckDBPyConnection, text: str, values: Mapping[str, Any] | None = None) -> tuple[Any, ...]:
    """Of a statement that gives one row or none (then: an empty tuple). Takes all, so that the connection is free."""
    found: list[tuple[Any, ...]] = con.execute(text, values).fetchall()
    return found[0] if found else ()
