"""The sockets on which the web process and the proxy listen, or why they can't."""

from __future__ import annotations

import errno
import resource
import socket

from tornado.netutil import bind_sockets

from backend.starting import CantStart

_ADVICE = {
    errno.EADDRINUSE: "another program has this port (ss -ltnp shows which): end it, or choose another",
    errno.EACCES: "ports below 1024 are not for everyone: choose a higher one",
}


class CantListen(CantStart):
    """The address and port can't be had; the message says what to change."""


def listening(address: str, port: int, *, key: str, flag: str) -> list[socket.socket]:
    """Sockets on every address that `address` means; port 0 is any. Raises CantListen.

    `key` and `flag` name the setting and the option of the command line that choose the port.
    """
    try:
        return bind_sockets(port, address)
    except OSError as error:
        why = _ADVICE.get(error.errno or 0, error.strerror or str(error))
        raise CantListen(f"{address} port {port}: {why} ({flag}, or {key} in the settings)") from error


def allow_many_connections() -> None:
    """As many open files as the system lets us: the usual 1024 are taken by a thousand idle connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
