"""The console's own database: one engine a process, short transactions, migrations at start."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session as DbSession

from backend.store.migrate import upgrade

BUSY_TIMEOUT_S = 15.0
READ_ONLY = "carme_read_only"
BESIDE = ("", "-wal", "-shm")  # SQLite's files are called as the database is, and this


class DatabaseUnusable(Exception):
    """The database can't be opened; the message says why, without its password."""


class Database:
    """Transactions on the database at `url`; used from any thread, by several processes at once.

    SQLite runs in WAL mode; `begin()` takes the write lock at once (BEGIN IMMEDIATE), so that what a
    transaction has read still holds when it writes, and a second writer waits instead of failing. `read()`
    never waits.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        if self.sqlite and self.url.database:
            path = Path(self.url.database)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.url.database != ":memory:":
                # SQLite gives the files beside it the mode of this one: it must be right before they are made.
                with contextlib.suppress(OSError):  # said better by what opens it
                    path.touch(mode=0o600)
        self.engine = _engine(self.url, sqlite=self.sqlite)

    @contextmanager
    def begin(self) -> Iterator[DbSession]:
        """A transaction that commits when the block ends and rolls back when it raises."""
        with DbSession(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[DbSession]:
        """A consistent look that takes no write lock; nothing written in it is kept."""
        with DbSession(self.engine.execution_options(**{READ_ONLY: True}), expire_on_commit=False) as session:
            yield session  # closing rolls back, and what was read stays readable

    def upgrade(self) -> None:
        """Bring the tables to this release's; safe when several processes start at once. Raises
        DatabaseUnusable."""
        try:
            upgrade(self.engine)
        except SQLAlchemyError as error:
            shown = self.url.render_as_string(hide_password=True)
            raise DatabaseUnusable(f"{shown}: {error}") from error
        if self.sqlite and self.url.database:
            for beside in BESIDE:
                with contextlib.suppress(FileNotFoundError):
                    Path(self.url.database + beside).chmod(0o600)

    def size_bytes(self) -> int | None:
        """On this machine's disk; None where a server keeps it."""
        if not self.sqlite or not self.url.database or self.url.database == ":memory:":
            return None
        files = (Path(self.url.database + ending) for ending in BESIDE)
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        self.engine.dispose()


def _engine(url: Any, *, sqlite: bool) -> Engine:
    if not sqlite:
        return create_engine(url, pool_pre_ping=True, pool_recycle=1800)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, pool_size=10, max_overflow=20)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves; the driver's own comes too late
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get(READ_ONLY)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine
