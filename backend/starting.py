"""The one way a process says that it can't start as things stand."""

from __future__ import annotations


class CantStart(Exception):
    """Something a person must change first: a port, a socket or a key, or the data folder is in use.

    What may pass by itself, such as a database that is away, is another error, and is tried again for ever.
    """
