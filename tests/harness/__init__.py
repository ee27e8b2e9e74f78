"""Real munge, MariaDB, slurmdbd, slurmctld, slurmd and slapd, in a namespace of their own."""

from __future__ import annotations

from tests.harness.cluster import Cluster, DatabaseAccess
from tests.harness.errors import (
    CommandFailed,
    HarnessError,
    NeedsRoot,
    NotACluster,
    PackagesMissing,
    StartFailed,
)
from tests.harness.people import PEOPLE, Person

__all__ = [
    "PEOPLE", "Cluster", "CommandFailed", "DatabaseAccess", "HarnessError", "NeedsRoot", "NotACluster",
    "PackagesMissing", "Person", "StartFailed",
]  # fmt: skip
