"""Bringing a database to this release's tables, once, however many processes start at the same time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text
from sqlalchemy.engine import Connection

MIGRATIONS = Path(__file__).with_name("migrations")
# How to take and give back the upgrade lock; PostgreSQL's locks have numbers.
LOCKS = {
    "mysql": ("SELECT GET_LOCK('carme-upgrade', 120)", "SELECT RELEASE_LOCK('carme-upgrade')"),
    "postgresql": ("SELECT 1 FROM pg_advisory_lock(426835439461)", "SELECT pg_advisory_unlock(426835439461)"),
}


class UpgradeBlocked(Exception):
    """Another process holds the upgrade lock for too long."""


def configuration(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def head() -> str | None:
    """The revision this release wants."""
    return ScriptDirectory.from_config(configuration()).get_current_head()


def current(connection: Connection) -> str | None:
    """The revision the database has; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(engine: Engine) -> None:
    """Run the migrations that are missing, under a lock. Raises UpgradeBlocked, SQLAlchemyError."""
    with _lock(engine), engine.begin() as connection:
        if current(connection) != head():
            command.upgrade(configuration(connection), "head")


@contextmanager
def _lock(engine: Engine) -> Iterator[None]:
    backend = engine.url.get_backend_name()
    if backend == "sqlite":
        database = engine.url.database
        if not database or database == ":memory:":
            yield
            return
        with os.fdopen(os.open(database + ".upgrade", os.O_RDWR | os.O_CREAT, 0o600), "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    take, give = LOCKS[backend]
    with engine.connect() as connection:
        if connection.execute(text(take)).scalar() != 1:
            raise UpgradeBlocked("another process has been upgrading the database for two minutes")
        try:
            yield
        finally:
            connection.execute(text(give))
