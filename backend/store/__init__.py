"""The console's own database: tables, transactions, migrations, audit, secrets at rest."""

from backend.store import models
from backend.store.audit import CONSOLE, Outcome, audit
from backend.store.database import Database, DatabaseUnusable
from backend.store.migrate import UpgradeBlocked
from backend.store.secrets import KeyUnusable, NotDecrypted, SecretBox, digest, new_token, same
from backend.store.trail import Asked, kinds, trail

__all__ = [
    "CONSOLE",
    "Asked",
    "Database",
    "DatabaseUnusable",
    "KeyUnusable",
    "NotDecrypted",
    "Outcome",
    "SecretBox",
    "UpgradeBlocked",
    "audit",
    "digest",
    "kinds",
    "models",
    "new_token",
    "same",
    "trail",
]
