"""Connections to the directory's servers: always TLS, the certificate always checked, the next server when
one fails."""

from __future__ import annotations

import logging
import math
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from ldap3 import NONE, SYNC, Connection, Server, Tls
from ldap3.core.exceptions import LDAPException

from backend.identity.directories.ldap.answers import REQUEST_POLICY, BindAnswer, bind_answer
from backend.identity.errors import DirectoryDown
from config import Ldap

log = logging.getLogger("carme.identity")

REST_S = 30.0  # a server that failed is asked last for so long


class ServerFailed(Exception):
    """This server can't be used now: the next one may be."""


class CheckedTls(Tls):  # type: ignore[misc]  # ldap3 has no types
    """TLS by the standard library's own rules: chain, host name or address, SNI.

    ldap3's own check runs after the handshake with a function that newer Pythons lack, and knows no
    addresses.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        connection.socket = self._context.wrap_socket(
            connection.socket, server_hostname=connection.server.host
        )


class Servers:
    """The configured servers, the one that worked last first."""

    def __init__(self, settings: Ldap, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._failed: dict[str, float] = {}
        self._lock = threading.Lock()
        self._down_since: float | None = None
        self.why = ""

    @property
    def down_since(self) -> float | None:
        """Since when no server answers; None while one does."""
        return self._down_since

    def in_order(self) -> list[str]:
        now = self._clock()
        with self._lock:
            resting = {uri for uri, when in self._failed.items() if now - when < REST_S}
        return sorted(self._settings.servers, key=lambda uri: uri in resting)

    @contextmanager
    def service(self) -> Iterator[tuple[str, Connection]]:
        """A connection bound as the service account, and its server. Raises DirectoryDown."""
        settings = self._settings
        failures = []
        for uri in self.in_order():
            try:
                connection = self.open(uri, settings.bind_dn, settings.bind_password.encode())
                answer = bind(connection)
                if answer.verdict != "right":
                    close(connection)
                    raise ServerFailed(f"the service account was refused: {answer.verdict} {answer.message}")
            except ServerFailed as failure:
                failures.append(self._note_failure(uri, failure))
                continue
            self._note_success(uri)
            try:
                yield uri, connection
            finally:
                close(connection)
            return
        raise self._all_failed(failures)

    def any_open(self, name: str, password: bytes) -> Connection:
        """An open, encrypted, not yet bound connection to the first server that works. Raises
        DirectoryDown."""
        failures = []
        for uri in self.in_order():
            try:
                connection = self.open(uri, name, password)
            except ServerFailed as failure:
                failures.append(self._note_failure(uri, failure))
                continue
            self._note_success(uri)
            return connection
        raise self._all_failed(failures)

    def open(self, uri: str, name: str, password: bytes) -> Connection:
        """Connect to one server and encrypt; the bind is the caller's. Raises ServerFailed."""
        try:
            connection = Connection(
                self._server(uri),
                user=name,
                password=password,
                client_strategy=SYNC,
                auto_referrals=False,
                receive_timeout=math.ceil(self._settings.timeout_s),
                check_names=False,
                auto_escape=False,  # what goes into a filter is escaped where it is put in
            )
            connection.open(read_server_info=False)
            if self._settings.tls == "starttls" and not connection.start_tls(read_server_info=False):
                close(connection)
                raise ServerFailed("StartTLS was refused")
        except (LDAPException, OSError, ssl.SSLError, ValueError) as error:
            raise ServerFailed(f"{type(error).__name__}: {error}") from error
        if not isinstance(connection.socket, ssl.SSLSocket):
            close(connection)
            raise ServerFailed("the connection is not encrypted")
        return connection

    def _server(self, uri: str) -> Server:
        parts = urlsplit(uri)
        secure = self._settings.tls == "ldaps"
        try:
            context = ssl.create_default_context(cafile=self._settings.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ServerFailed(f"ldap.ca_file {self._settings.ca_file}: {error}") from error
        return Server(
            parts.hostname,
            port=parts.port or (636 if secure else 389),
            use_ssl=secure,
            tls=CheckedTls(context),
            connect_timeout=self._settings.timeout_s,
            get_info=NONE,
            allowed_referral_hosts=[],
        )

    def _note_failure(self, uri: str, failure: ServerFailed) -> str:
        with self._lock:
            self._failed[uri] = self._clock()
        log.warning("directory server %s: %s", uri, failure)
        return f"{uri}: {failure}"

    def _note_success(self, uri: str) -> None:
        with self._lock:
            self._failed.pop(uri, None)
            self._down_since = None
            self.why = ""

    def _all_failed(self, failures: list[str]) -> DirectoryDown:
        with self._lock:
            if self._down_since is None:
                self._down_since = self._clock()
            self.why = "; ".join(failures)
            return DirectoryDown(self._down_since, self.why)


def bind(connection: Connection) -> BindAnswer:
    """Bind and read the verdict. Raises ServerFailed when no answer came."""
    try:
        connection.bind(read_server_info=False, controls=REQUEST_POLICY)
    except (LDAPException, OSError, ValueError) as error:
        raise ServerFailed(f"{type(error).__name__}: {error}") from error
    return bind_answer(connection.result or {})


def close(connection: Connection) -> None:
    try:
        connection.unbind()
    except (LDAPException, OSError) as error:
        log.debug("closing a directory connection: %s", error)
