"""The runner of reports with all it needs, for the process that runs it."""

from __future__ import annotations

from backend.accounting.reports.members import Members
from backend.accounting.reports.runner import ReportRunner
from backend.accounting.reports.saved import Reports
from backend.accounting.usage import Usage
from backend.cluster.snapshot import SnapshotReader
from backend.coordinators import Coordinators
from backend.identity import Identity
from backend.notices import Mailer
from backend.store import Database, SecretBox
from config import Settings


def open_runner(settings: Settings, db: Database, usage: Usage, snapshots: SnapshotReader) -> ReportRunner:
    """`snapshots` should be the runner's alone: it goes on to the newest one before each look."""
    box = SecretBox(settings.instance.data_dir, settings.store.key, settings.store.key_file)
    identity = Identity(settings, db, box)
    identity.coordinates_by(Coordinators(snapshots))
    reports = Reports(settings, db, usage, members=Members(snapshots))
    return ReportRunner(reports, identity, Mailer(settings.mail), refresh=snapshots.refresh)
