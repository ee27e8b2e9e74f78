"""What the engine needs of a warehouse."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import duckdb

from backend.accounting.warehouse import WarehouseState


class Source(Protocol):
    """Cursors have the views `jobs`, `suspends`, `usage_day`, `accounts`, `capacity`, of one generation."""

    @property
    def generation(self) -> int: ...

    @property
    def state(self) -> WarehouseState: ...

    @property
    def rollup_zone(self) -> str | None: ...

    def refresh(self) -> bool: ...

    def cursor(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]: ...
