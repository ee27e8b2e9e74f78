"""The settings, the data folder, the database and its key."""

from __future__ import annotations

import os
import pwd
import shutil
import stat

from sqlalchemy import text

from backend.checks.finding import Outcome, bad, doubtful, good
from backend.store import Database, DatabaseUnusable, KeyUnusable, NotDecrypted, SecretBox, UpgradeBlocked
from config import Settings

LEAST_FREE_BYTES = 1 << 30


def check_settings(settings: Settings) -> Outcome:
    """Which file holds."""
    if settings.source is None:
        return good("the defaults (no settings file)")
    mode = stat.S_IMODE(settings.source.stat().st_mode)
    if mode & stat.S_IWOTH:
        return bad(f"{settings.source} can be written by everybody", f"chmod o-w {settings.source}")
    return good(f"{settings.source}, mode {mode:04o}")


def check_data(settings: Settings) -> Outcome:
    """Ours, closed to others, with room."""
    folder = settings.instance.data_dir
    if not folder.exists():
        return doubtful(f"{folder} does not exist yet", "`carme serve` makes it.")
    found = folder.stat()
    owner = _user(found.st_uid)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return bad(f"{folder} of {owner} is not open to us", "chown -R it to the user that runs the console")
    if stat.S_IMODE(found.st_mode) & 0o027:
        return bad(f"{folder} is open to others (mode {stat.S_IMODE(found.st_mode):04o})", f"chmod 700 {folder}")
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        return doubtful(f"{folder} has only {free >> 20} MB left", "Make room on its file system.")
    return good(f"{folder} of {owner}, {free >> 30} GB free")


def check_database(settings: Settings) -> Outcome:
    """Reachable, of this release, and its secrets can be read."""
    try:
        db = Database(settings.store.url)
        shown = db.url.render_as_string(hide_password=True)
        db.upgrade()
    except UpgradeBlocked as error:
        return bad(str(error), "Stop the other console on this database, then try again.")
    except DatabaseUnusable as error:
        return bad(str(error), "Check store.url, that the server runs, and the password file.")
    try:
        with db.read() as rows:
            kind = "sqlite_version()" if db.sqlite else "version()"
            version = rows.execute(text(f"SELECT {kind}")).scalar_one()
        return _check_key(settings, f"{shown} (version {version})")
    finally:
        db.close()


def _check_key(settings: Settings, database: str) -> Outcome:
    try:
        box = SecretBox(settings.instance.data_dir, settings.store.key, settings.store.key_file)
        box.derive("doctor")
    except (KeyUnusable, NotDecrypted) as error:
        return bad(
            f"{database}, but its key can't be used: {error}",
            "Bring back the key file that belongs to this database: without it second factors are lost.",
        )
    return good(database)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
