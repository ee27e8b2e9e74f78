"""Prices and budgets with all they need, for the processes that use them."""

from __future__ import annotations

from backend.accounting.budgets.budgets import Budgets
from backend.accounting.budgets.people import AccountPeople
from backend.accounting.budgets.watching import BudgetWatch, Console
from backend.accounting.usage import Usage
from backend.cluster.snapshot import SnapshotReader
from backend.coordinators import Coordinators
from backend.identity import Identity
from backend.notices import Mailer
from backend.store import Database, SecretBox
from config import Settings


def open_watch(settings: Settings, db: Database, usage: Usage, snapshots: SnapshotReader) -> BudgetWatch:
    """`snapshots` should be the watch's alone: it goes on to the newest one before each look."""
    box = SecretBox(settings.instance.data_dir, settings.store.key, settings.store.key_file)
    identity = Identity(settings, db, box)
    identity.coordinates_by(Coordinators(snapshots))
    return BudgetWatch(
        Budgets(db, usage, AccountPeople(snapshots, usage)),
        identity,
        Mailer(settings.mail),
        Console(settings.instance.name, settings.web.public_url.rstrip("/")),
        refresh=snapshots.refresh,
    )
