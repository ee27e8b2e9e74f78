"""The ways the harness fails, each with what to do next."""

from __future__ import annotations


class HarnessError(Exception):
    """Anything the harness can't do; the message is for the person who ran it."""


class NeedsRoot(HarnessError):
    """Neither root nor passwordless sudo."""

    def __init__(self) -> None:
        super().__init__(
            "The real cluster needs root: munge, Slurm and slapd act as several users. "
            "Run this as root, or as a user with passwordless sudo."
        )


class PackagesMissing(HarnessError):
    """Debian packages could not be installed."""


class StartFailed(HarnessError):
    """A daemon ended or stayed silent at start-up; the message ends with its log."""


class NotACluster(HarnessError):
    """The folder holds no running cluster."""


class CommandFailed(HarnessError):
    """The holder refused or failed a request."""
