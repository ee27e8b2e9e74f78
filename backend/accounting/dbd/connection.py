"""One connection to slurmdbd's database, with a read-only account: short statements, no locks, plain errors."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Sequence
from typing import Any

import pymysql
from pymysql.constants import CR, ER

from config.sections import Slurmdbd

CONNECT_S = 10
ANSWER_S = 120
_DENIED = {
    ER.ACCESS_DENIED_ERROR,
    ER.DBACCESS_DENIED_ERROR,
    ER.TABLEACCESS_DENIED_ERROR,
    ER.COLUMNACCESS_DENIED_ERROR,
    ER.BAD_DB_ERROR,
}


class SourceError(Exception):
    """The accounts can't be read; the message says why, for a person."""


class DatabaseAway(SourceError):
    """The database does not answer."""


class DatabaseRefuses(SourceError):
    """The account is wrong, or may not read what is needed."""


class Connection:
    """A lazy connection that is made again after a failure. Not for several threads at once.

    Every method raises DatabaseAway, DatabaseRefuses or SourceError.
    """

    def __init__(self, settings: Slurmdbd) -> None:
        self.settings = settings
        self.where = str(settings.socket) if settings.socket else f"{settings.host}:{settings.port}"
        self._link: Any = None
        self._lock = threading.Lock()
        self.max_packet_bytes = 0

    def rows(self, sql: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a small answer."""
        with self._lock:
            try:
                link = self._link or self._connect()
                with link.cursor() as cursor:
                    cursor.execute(sql, tuple(arguments) or None)
                    return list(cursor.fetchall())
            except (pymysql.MySQLError, OSError) as error:
                self._drop()
                raise self._named(error) from error

    def close(self) -> None:
        """End it; the next statement connects again."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._link is not None:
            with contextlib.suppress(pymysql.MySQLError, OSError):
                self._link.close()
            self._link = None

    def _connect(self) -> Any:
        settings = self.settings
        tls = ssl.create_default_context(cafile=str(settings.tls_ca_file)) if settings.tls_ca_file else None
        self._link = pymysql.connect(
            host=settings.host,
            port=settings.port,
            unix_socket=str(settings.socket) if settings.socket else None,
            user=settings.user,
            password=settings.password,
            database=settings.database,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=CONNECT_S,
            read_timeout=ANSWER_S,
            write_timeout=ANSWER_S,
            ssl=tls,
            program_name="carme",
        )
        with self._link.cursor() as cursor:
            # Each statement sees the committed rows of its moment, holds no lock and keeps no old versions alive.
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            cursor.execute("SET SESSION sql_mode = ''")
            cursor.execute("SET SESSION group_concat_max_len = @@max_allowed_packet")
            cursor.execute("SELECT @@max_allowed_packet")
            self.max_packet_bytes = int(cursor.fetchone()[0])
            for option in (
                f"max_statement_time = {ANSWER_S}",  # MariaDB
                f"max_execution_time = {ANSWER_S * 1000}",  # MySQL
                "in_predicate_conversion_threshold = 0",  # MariaDB: a list of keys must not become a join over a scan
            ):
                with contextlib.suppress(pymysql.MySQLError):
                    cursor.execute(f"SET SESSION {option}")
        return self._link

    def _named(self, error: Exception) -> SourceError:
        if not isinstance(error, pymysql.MySQLError) or not error.args:
            return DatabaseAway(f"The database of slurmdbd at {self.where} does not answer: {error}")
        code, words = error.args[0], error.args[-1]
        if code in _DENIED:
            return DatabaseRefuses(f"The database of slurmdbd at {self.where} refuses {self.settings.user}: {words}")
        if isinstance(error, pymysql.OperationalError | pymysql.InterfaceError) or code == CR.CR_SERVER_LOST:
            return DatabaseAway(f"The database of slurmdbd at {self.where} does not answer: {words}")
        return SourceError(f"The database of slurmdbd at {self.where} says: {words}")
